from __future__ import annotations

import csv
import json
import re
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from fuxictr_loopfm.analysis.resampling import Estimate
from fuxictr_loopfm.analysis.transfer_ratio import TransferRatio
from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.errors import ConfigError, DataError
from fuxictr_loopfm.evidence.benchmark.runner import predictions_path
from fuxictr_loopfm.evidence.paper.ratio import PairResult, joined_ratios, pair_results, read_ratios
from fuxictr_loopfm.evidence.paper.table import load_table
from fuxictr_loopfm.evidence.publish.publish import (
    committed,
    fill_documents,
    filled_document,
    outdated,
    publish,
)
from fuxictr_loopfm.records.record import RunRecord, write_record
from tests.made_up import run_record as make

DEFINITIONS = Checkout.find().configs("paper")
DATASET = "tiny_s1"
KEYS = {"base": {}, "KD": {"loopfm_kd": "aux_head"}, "LoopFM": {"loopfm_history": "embedding"}}
PARAMS = {
    "model": "DeepFM", "dataset_id": DATASET, "embedding_dim": 16, "seed": 2019,
    "loopfm_teacher": "DMIN_tiny_teacher_s1", "loopfm_kd": "none", "loopfm_history": None,
    "loopfm_teacher_config": "../../runs/tiny_s1/configs/DMIN_tiny_teacher_s1",
}  # fmt: skip
COLUMNS = [{"name": ["user", "item"], "active": True, "type": "categorical"}]


def run(method="base", seed=1, variant="", table=0, model="DeepFM", **changes) -> RunRecord:
    """A run of the leaderboard, or of the row ``method`` made for a table of the paper."""
    slug = re.sub(r"[^a-z0-9]+", "_", method.lower()).strip("_")
    name = "_".join(filter(None, (model, DATASET, variant, "paper" if table else "", slug)))
    own = {key: value for key, value in PARAMS.items() if key != "loopfm_teacher_config"}
    size = {"embedding_dim": 4} if variant else {}
    config = {**own, **size, **KEYS.get(method, {}), "seed": seed, "feature_cols": COLUMNS}
    auc = 0.7 + 0.001 * seed + 0.01 * len(method)
    values = {
        "expid": name,
        "model": f"{model}:{variant}" if variant else model,
        "method": method,
        "dataset_id": DATASET,
        "seed": seed,
        "metrics": {"AUC": auc, "gAUC": 0.6, "logloss": 0.5, "NE": 0.9},
        "config": config,
        "paper_table": table or None,
        "command": f"make paper TABLE={table} SEEDS=2" if table else "make benchmark SEEDS=2",
        "started": f"2026-01-31T12:00:{seed:02d}.000+00:00",
    }
    return make(**{**values, **changes})


def of_table(number: int, model="DeepFM", made_for=None, **changes) -> list[RunRecord]:
    rows = [row.name for row in load_table(DEFINITIONS, number).runs()]
    return [
        run(r, s, table=made_for or number, model=model, **changes) for r in rows for s in (1, 2)
    ]


@pytest.fixture(name="checkout")
def fixture_checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "checkout"
    for folder in ("model_zoo", "data_prep"):
        (root / folder).mkdir(parents=True)
    (root / "data_prep" / "tiny.py").write_text(f'DATASET_ID = "{DATASET}"\n')
    checkout = Checkout(root)
    checkout.configs("paper").mkdir(parents=True)
    for number in (1, 2, 9, 10):
        path = DEFINITIONS / f"table_{number:02d}.yaml"
        (checkout.configs("paper") / path.name).write_text(path.read_text())
    return checkout


def results(folder: Path, records: list[RunRecord]) -> Path:
    """A results folder as ``loopfm benchmark`` leaves it."""
    for record in records:
        write_record(folder / "records", record)
    for model in {record.model.partition(":")[0] for record in records}:
        configs = folder / "configs" / f"{model}_{DATASET}"
        configs.mkdir(parents=True, exist_ok=True)
        sections = {"Base": {"verbose": 1}, f"{model}_{DATASET}_base": {**PARAMS, "model": model}}
        (configs / "model_config.yaml").write_text(yaml.safe_dump(sections))
        dataset = {"feature_cols": COLUMNS, "label_col": {"name": "click"}}
        (configs / "dataset_config.yaml").write_text(yaml.safe_dump({DATASET: dataset}))
    return folder


def leaderboard_runs() -> list[RunRecord]:
    plain = [run(method, seed) for method in KEYS for seed in (1, 2)]
    return [*plain, *(run(method, seed, "small") for method in KEYS for seed in (1, 2))]


def state(checkout: Checkout) -> dict[str, bytes]:
    folder = checkout.configs(DATASET)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_runs_of_both_kinds_become_an_entry_a_leaderboard_and_a_table(checkout, tmp_path):
    board = results(tmp_path / "board", leaderboard_runs())
    paper = results(tmp_path / "paper", of_table(9))
    assert publish(checkout, [board, paper]) == {DATASET: 0}
    entry = f"DeepFM_{DATASET}"
    assert set(state(checkout)) == {
        "leaderboard.csv", "leaderboard.html", "leaderboard.md", "paper/table_09.md",
        *(f"{entry}/{name}" for name in (
            "README.md", "records.jsonl", f"{entry}.csv", "environment.txt",
            "model_config.yaml", "dataset_config.yaml", f"{entry}_tuner_config.yaml",
            f"{entry}_small_tuner_config.yaml", f"{entry}_paper_tuner_config.yaml",
        )),
    }  # fmt: skip
    found = committed(checkout, DATASET).records
    assert len(found) == len({(r.expid, r.seed) for r in found}) == 12 + 10
    assert {r.expid for r in found} == {r.expid for r in (*leaderboard_runs(), *of_table(9))}
    text = (checkout.configs(DATASET) / "leaderboard.md").read_text()
    assert "paper" not in text


def test_the_page_has_means_commands_and_the_way_to_the_data(checkout, tmp_path):
    publish(checkout, [results(tmp_path / "board", leaderboard_runs())])
    text = (checkout.configs(DATASET) / f"DeepFM_{DATASET}" / "README.md").read_text()
    aucs = [0.7 + 0.02 + 0.001, 0.7 + 0.02 + 0.002]
    assert f"{statistics.mean(aucs):.4f} ± {statistics.stdev(aucs):.4f}" in text
    assert "**DeepFM:small**" in text
    assert "make benchmark SEEDS=2    # 12 runs" in text
    assert f"loopfm prepare --dataset {DATASET}" in text and "data_prep/tiny.py" in text
    assert "user, item" in text


def test_the_csv_has_a_line_for_every_run(checkout, tmp_path):
    publish(checkout, [results(tmp_path / "board", leaderboard_runs())])
    with open(checkout.configs(DATASET) / f"DeepFM_{DATASET}" / f"DeepFM_{DATASET}.csv") as file:
        lines = {(line["expid"], int(line["seed"])): line for line in csv.DictReader(file)}
    assert lines.keys() == {(r.expid, r.seed) for r in leaderboard_runs()}
    for record in leaderboard_runs():
        line = lines[record.expid, record.seed]
        assert float(line["AUC"]) == pytest.approx(record.metrics["AUC"], abs=1e-6)
        assert (line["method"], line["model"]) == (record.method, record.model)


def test_every_commit_is_named_with_its_runs(checkout, tmp_path):
    runs = leaderboard_runs()
    late = {"environment": {"python": "3.12", "git_commit": "bbb-dirty"}}
    early = {"environment": {"python": "3.11", "git_commit": "aaa"}}
    runs = [replace(r, **(late if i < 3 else early)) for i, r in enumerate(runs)]
    publish(checkout, [results(tmp_path / "board", runs)])
    entry = checkout.configs(DATASET) / f"DeepFM_{DATASET}"
    for name in ("environment.txt", "README.md"):
        text = (entry / name).read_text()
        assert "git_commit: aaa (9 runs)" in text and "git_commit: bbb-dirty (3 runs)" in text
        assert "python: 3.12 (3 runs)" in text
    assert publish(checkout, []) == {DATASET: 0}
    assert "aaa (9 runs)" in (entry / "environment.txt").read_text()


def test_publishing_anew_changes_no_byte(checkout, tmp_path):
    runs = [replace(r, environment={"python": f"3.{r.seed}", "a": "b"}) for r in leaderboard_runs()]
    board = results(tmp_path / "board", runs)
    publish(checkout, [board, results(tmp_path / "paper", of_table(9))])
    before = state(checkout)
    assert outdated(checkout) == []
    publish(checkout, [])
    assert state(checkout) == before
    publish(checkout, [board])
    assert state(checkout) == before


def test_a_number_changed_by_hand_is_found_in_every_page(checkout, tmp_path):
    board = results(tmp_path / "board", leaderboard_runs())
    publish(checkout, [board, results(tmp_path / "paper", of_table(9))])
    folder, entry = checkout.configs(DATASET), f"DeepFM_{DATASET}"
    pages = [folder / f"leaderboard.{suffix}" for suffix in ("md", "csv", "html")]
    pages += [folder / entry / n for n in ("README.md", f"{entry}.csv", "environment.txt")]
    pages += [folder / "paper" / "table_09.md", folder / entry / f"{entry}_tuner_config.yaml"]
    for path in pages:
        text = path.read_text()
        last = re.search(r"\d(?=\D*\Z)", text)
        path.write_text(f"{text[: last.start()]}{(int(last[0]) + 1) % 10}{text[last.end() :]}")
    assert sorted(outdated(checkout)) == sorted(pages)
    publish(checkout, [])
    assert outdated(checkout) == []


def test_a_removed_page_is_found(checkout, tmp_path):
    publish(checkout, [results(tmp_path / "board", leaderboard_runs())])
    path = checkout.configs(DATASET) / "leaderboard.html"
    path.unlink()
    assert outdated(checkout) == [path]


def test_new_runs_replace_all_seeds_of_their_expid(checkout, tmp_path):
    publish(checkout, [results(tmp_path / "old", leaderboard_runs())])
    better = run("KD", 7, metrics={"AUC": 0.9, "logloss": 0.5, "NE": 0.9})
    publish(checkout, [results(tmp_path / "new", [better])])
    found = committed(checkout, DATASET).records
    assert [r.seed for r in found if r.expid == better.expid] == [7]
    assert len(found) == 12 - 1


def test_a_table_needs_every_row_and_a_run_made_for_it(checkout, tmp_path):
    folder = checkout.configs(DATASET) / "paper"
    partial = [r for r in of_table(2) if r.method != "KD+FitNets"]
    # Tables 1 and 9 have the same rows; these runs were made for neither.
    by_chance = [replace(r, paper_table=3) for r in of_table(9)]
    runs = {(r.expid, r.seed): r for r in (*partial, *by_chance)}
    assert publish(checkout, [results(tmp_path / "a", list(runs.values()))]) == {DATASET: len(runs)}
    assert not folder.exists()
    publish(checkout, [tmp_path / "a"], tables=[9])
    assert [path.name for path in folder.iterdir()] == ["table_09.md"]
    # Once published, a table stays.
    publish(checkout, [tmp_path / "a"])
    assert [path.name for path in folder.iterdir()] == ["table_09.md"]
    with pytest.raises(DataError, match=r"tables \[2\]: expected a model with a run of every row"):
        publish(checkout, [tmp_path / "a"], tables=[2])


def test_a_model_that_is_not_the_tables_own_needs_a_run_made_for_it(checkout, tmp_path):
    runs = [*of_table(9), *of_table(9, "DIN", made_for=1), *of_table(9, "DMIN")]
    publish(checkout, [results(tmp_path / "a", runs)])
    text = (checkout.configs(DATASET) / "paper" / "table_09.md").read_text()
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == ["DeepFM", "DMIN"]
    assert (checkout.configs(DATASET) / f"DIN_{DATASET}" / "README.md").is_file()


def test_an_entry_without_configuration_gets_that_of_its_runs(checkout, tmp_path):
    board = results(tmp_path / "board", leaderboard_runs())
    publish(checkout, [board])
    path = checkout.configs(DATASET) / f"DeepFM_{DATASET}" / "model_config.yaml"
    section = yaml.safe_load(path.read_text())[f"DeepFM_{DATASET}_base"]
    committed_teacher = f"../../benchmark_configs/{DATASET}/DMIN_tiny_teacher_s1"
    assert section == {**PARAMS, "loopfm_teacher_config": committed_teacher}
    with pytest.raises(ConfigError, match=r"DIN_tiny_s1: expected model_config.yaml, found none"):
        folder = tmp_path / "bare"
        write_record(folder / "records", run(model="DIN"))
        publish(checkout, [folder])


def test_marked_tables_of_a_document_are_filled(checkout, tmp_path):
    publish(checkout, [results(tmp_path / "board", leaderboard_runs())])
    marks = f"<!-- leaderboard {DATASET} DeepFM:small -->\n{{}}<!-- /leaderboard -->"
    document = tmp_path / "page.md"
    document.write_text(f"before\n{marks.format('0.9999')}\nafter\n")
    assert outdated(checkout, [document]) == [document]
    fill_documents(checkout, [document])
    text = document.read_text()
    assert "0.9999" not in text and "| 1 | LoopFM |" in text
    assert text.startswith("before\n") and text.endswith("\nafter\n")
    assert outdated(checkout, [document]) == []
    with pytest.raises(DataError, match="expected published runs of other_s1, found none"):
        filled_document(checkout, marks.replace(DATASET, "other_s1"))


RATIO = TransferRatio(
    "upgrade", Estimate(0.01, 0.005, 0.015), Estimate(0.004, 0.001, 0.007),
    Estimate(0.4, 0.1, 0.9), 5, 50, 1000,
)  # fmt: skip


def test_transfer_ratios_survive_their_json_and_join_by_model(tmp_path):
    pairs = load_table(DEFINITIONS, 10).transfer_ratio
    old = [
        PairResult("DeepFM", pairs[0], (1, 2), RATIO),
        PairResult("DMIN", pairs[1], (1,), None, "too small"),
    ]
    new = [PairResult("DMIN", pairs[1], (1, 2), RATIO)]
    texts = [json.dumps([result.to_dict() for result in results]) for results in (old, new)]
    assert read_ratios(texts[0]) == old
    assert read_ratios(joined_ratios(*texts)) == [old[0], new[0]]
    for wrong in ("{", '[{"model": "DeepFM"}]', "[1]"):
        with pytest.raises(DataError, match="transfer ratios"):
            read_ratios(wrong)


def test_transfer_ratios_come_from_predictions_and_stay_without_them(checkout, tmp_path):
    records = of_table(10)
    paper = results(tmp_path / "paper", records)
    draw = np.random.default_rng(0)
    y, user = draw.integers(0, 2, 400).astype(np.int8), np.arange(400) // 4
    for record in records:
        skill = 0.5 if "e=2)" in record.method or "poorer" in record.method else 1.5
        p = 1 / (1 + np.exp(-skill * (y - 0.5) - draw.normal(0, 0.5, 400)))
        path = predictions_path(paper / "records", record)
        np.savez(path, y=y, p=p, p_teacher=p, user=user)
    publish(checkout, [paper])
    folder = checkout.configs(DATASET) / "paper"
    expected = pair_results(load_table(DEFINITIONS, 10), records, paper / "records")
    assert any(result.ratio is not None for result in expected)
    assert read_ratios((folder / "table_10_transfer_ratio.json").read_text()) == expected
    page = (folder / "table_10.md").read_text()
    shown = next(result for result in expected if result.ratio is not None)
    assert f"| {' | '.join(shown.cells())} |" in page
    publish(checkout, [])
    assert (folder / "table_10.md").read_text() == page and outdated(checkout) == []
