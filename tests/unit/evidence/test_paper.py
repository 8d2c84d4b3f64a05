from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.config.key_rules import read_keys
from fuxictr_loopfm.data.columns import ColumnPlan
from fuxictr_loopfm.errors import ConfigError, DataError
from fuxictr_loopfm.evidence.benchmark import runner
from fuxictr_loopfm.evidence.benchmark.runner import predictions_path
from fuxictr_loopfm.evidence.paper.overrides import resolved, without_columns
from fuxictr_loopfm.evidence.paper.ratio import pair_results
from fuxictr_loopfm.evidence.paper.render import (
    HEADINGS,
    paper_difference,
    table_lines,
    to_markdown,
    to_terminal,
    write_table,
)
from fuxictr_loopfm.evidence.paper.run import paper_command, run_table
from fuxictr_loopfm.evidence.paper.table import PaperTable, load_table, table_from_dict
from fuxictr_loopfm.prepared.dataset import (
    Column,
    DatasetSpec,
    Periods,
    PreparedDataset,
    SequenceColumn,
    write_prepared,
)
from fuxictr_loopfm.records.record import RunRecord, read_records
from fuxictr_loopfm.runs.repeat import teacher_note
from fuxictr_loopfm.runs.reporting import make_record
from tests.unit.evidence.runs import run as run_of

CHECKOUT = Checkout.find()
TABLES = {n: load_table(CHECKOUT.configs("paper"), n) for n in range(1, 12)}
POOLING_AND_METHODS = (1, 2, 3, 4, 6, 7, 8, 9, 11)


# The committed tables


def test_equal_names_mean_equal_settings_in_all_tables():
    rows: dict[str, Any] = {}
    verticals: dict[str, Any] = {}
    for table in TABLES.values():
        for row in table.rows:
            settings = (table.settings(row), row.teacher)
            assert rows.setdefault(row.name, settings) == settings, (table.number, row.name)
        for vertical in table.vertical_models:
            assert verticals.setdefault(vertical.name, vertical) == vertical
    slugs = {re.sub(r"[^a-z0-9]+", "_", name.lower()) for name in rows}
    assert len(slugs) == len(rows)


def test_every_setting_is_a_valid_key():
    for table in TABLES.values():
        for row in table.rows:
            params = {"loopfm_teacher": "t", **table.settings(row)}
            read_keys(params, f"table {table.number}, {row.name}")


@pytest.mark.parametrize("number", POOLING_AND_METHODS)
def test_tables_of_pooling_and_methods_have_histories_of_other_users(number):
    rows = [r for r in TABLES[number].rows if r.set.get("loopfm_control") == "shuffled_users"]
    assert rows
    assert all(row.control and row.set.get("loopfm_history") for row in rows)


def test_what_reads_the_teacher_of_the_served_impression_is_an_oracle():
    for table in TABLES.values():
        for row in table.rows:
            current = row.set.get("loopfm_current", "none") != "none"
            entity_only = row.set.get("loopfm_taps") == "user_only"
            assert row.oracle == (current and not entity_only), (table.number, row.name)


def test_rows_are_either_the_papers_or_ours():
    # The teacher-free baseline of Table 10 is in neither: it only serves the ratios.
    for table in TABLES.values():
        for row in table.rows:
            neither = table.number == 10 and row.name == "base"
            assert bool(row.paper) + row.ours == (0 if neither else 1), (table.number, row.name)


def auc(number: int, name: str, model: str = "DeepFM", group: str = "") -> float:
    figure = TABLES[number].row(name, group).figure(model)
    assert figure is not None and figure.auc is not None
    return figure.auc


def test_figures_agree_with_what_the_papers_text_says_of_them():
    # Sec. 5.3.1: DMIN gains 6.52% with LoopFM. Sec. 5.3.2: 0.0364 (6.09%) over KD.
    assert auc(1, "LoopFM", "DMIN") / auc(1, "base", "DMIN") - 1 == pytest.approx(0.0652, abs=5e-5)
    table = TABLES[2]
    assert paper_difference(table, table.row("KD+LoopFM"), "DeepFM") == pytest.approx(0.0364)
    gains = [
        paper_difference(table, table.row(name), "DeepFM")
        for name in ("KD+current embedding", "KD+FitNets", "KD+entity-only")
    ]
    assert gains == pytest.approx([0.0005, 0.0004, 0.0003])
    # Sec. 5.3.4: 0.0017 and 0.0047 over raw ids; both together 0.0060 and 0.0119.
    for model, alone, both in (
        ("DMIN:teacher_size", 0.0017, 0.0060),
        ("DMIN:emb2", 0.0047, 0.0119),
    ):
        raw = auc(4, "raw_seq", model)
        assert auc(4, "LoopFM", model) - raw == pytest.approx(alone)
        assert auc(4, "LoopFM+raw", model) - raw == pytest.approx(both)
    # Sec. 5.3.5: widths spread by 0.0008. Sec. 8: DMR gains 1.7%, without sequences 1.6%.
    widths = [auc(5, f"KD+LoopFM (d={d} of 128)") for d in (8, 16, 32, 64, 128)]
    assert max(widths) - min(widths) == pytest.approx(0.0008)
    best = auc(6, "KD+LoopFM (mean, watched only)", "DMR")
    assert best / auc(6, "base", "DMR") - 1 == pytest.approx(0.017, abs=5e-4)
    alone = auc(7, "LoopFM (mean, watched only)", "DeepFM:no_sequences")
    assert alone / auc(7, "base", "DeepFM:no_sequences") - 1 == pytest.approx(0.016, abs=5e-4)
    # Sec. 9: DMR +2.29% on Amazon. App. 14: item embeddings have 86% of the gain over KD.
    assert auc(8, "KD+LoopFM", "DMR") / auc(8, "base", "DMR") - 1 == pytest.approx(0.0229, abs=1e-4)
    gain = auc(11, "KD+LoopFM") - auc(11, "KD")
    item = auc(11, "KD+LoopFM (item_only)") - auc(11, "KD")
    assert item / gain == pytest.approx(0.86, abs=0.005)
    # Table 10 prints the gains over KD of the same teacher; 0.0356 comes from unrounded values.
    table = TABLES[10]
    for width, gain in {2: 0.0356, 4: 0.0366, 8: 0.0332, 16: 0.0380, 32: 0.0371}.items():
        row = table.row(f"KD+LoopFM (teacher e={width})")
        assert paper_difference(table, row, "DeepFM") == pytest.approx(gain, abs=1.1e-4)
        assert row.teacher["hidden_units"] == [16 * width, 8 * width, 4 * width]


def test_the_default_of_each_block_is_compared_within_its_block():
    table = TABLES[5]
    row = table.row("KD+LoopFM (every period)")
    assert paper_difference(table, row, "DeepFM") == pytest.approx(0.6311 - 0.6344)
    row = table.row("KD+LoopFM (L=200)")
    assert paper_difference(table, row, "DeepFM") == pytest.approx(0.6352 - 0.6346)
    assert len(table.runs()) == len(table.rows) - 2


# Reading a definition


def definition(**changes: Any) -> dict[str, Any]:
    return {
        "number": 2,
        "title": "Two ways",
        "paper_dataset": "TaobaoAd",
        "protocol": "stream",
        "vertical_models": ["DeepFM", {"name": "DMIN:emb2", "model": "DMIN"}],
        "baseline": "KD",
        "history": {"loopfm_encoder": "dmin"},
        "rows": [
            {"name": "KD", "set": {"loopfm_kd": "aux_head"}, "paper": {"DeepFM": {"auc": 0.5980}}},
            {
                "name": "LoopFM",
                "set": {"loopfm_history": "embedding", "loopfm_max_len": 7},
                "group": "Past",
                "paper": {"DeepFM": {"auc": 0.6344, "logloss": 0.1940}},
            },
            {"name": "shuffled", "control": True, "ours": True, "note": "a hint"},
        ],
        **changes,
    }


def table(**changes: Any) -> PaperTable:
    return table_from_dict(definition(**changes), "t.yaml")


def test_history_settings_go_to_rows_with_a_history_only():
    found = table(protocol="stream, early stopping")
    assert found.settings(found.row("KD")) == {
        "loopfm_validation": True,
        "loopfm_kd": "aux_head",
    }
    assert found.settings(found.row("LoopFM")) == {
        "loopfm_validation": True,
        "loopfm_encoder": "dmin",
        "loopfm_history": "embedding",
        "loopfm_max_len": 7,
    }


def test_models_may_be_the_tables_its_variants_or_others():
    found = table()
    assert [v.name for v in found.verticals(None)] == ["DeepFM", "DMIN:emb2"]
    assert [v.name for v in found.verticals(["DMIN", "DeepFM:small"])] == [
        "DMIN:emb2",
        "DeepFM:small",
    ]
    assert found.verticals(["DMIN:emb2", "DMIN"])[0].model == "DMIN"
    with pytest.raises(ConfigError, match="expected a size among"):
        found.verticals(["DeepFM:huge"])


def test_a_definition_that_contradicts_itself_names_all_its_problems():
    rows = [
        {"name": "KD", "set": {"a": 1}, "group": "x"},
        {"name": "KD", "set": {"a": 2}},
        {"name": "K D", "baseline": "nothing", "paper": {"DIN": {"auc": 1, "acu": 1}}},
        {"name": "K+D"},
        {"name": "K+D"},
    ]
    pairs = [{"name": "p", "kind": "initial launch", "start": "KD", "end": "gone"}]
    wrong = definition(rows=rows, baseline="base", protocol="flow", transfer_ratio=pairs)
    with pytest.raises(ConfigError) as caught:
        table_from_dict(wrong, "t.yaml")
    text = str(caught.value)
    for part in (
        "t.yaml: protocol: expected one of ['stream', 'stream, early stopping'], found 'flow'",
        "t.yaml: baseline: expected the name of a row, found 'base'",
        "t.yaml: p: expected the name of a row, found 'gone'",
        "t.yaml: p: start_teacher: expected the row whose teacher is FM1, found none",
        "t.yaml: KD: two rows of this name have different settings",
        "t.yaml: K D and K+D: names that differ in signs only",
        "t.yaml: K D: baseline: expected the name of a row, found 'nothing'",
        "t.yaml: K D: paper: DIN is none of ['DMIN:emb2', 'DeepFM']",
        "t.yaml: K D: paper: DIN: unknown ['acu']",
        "t.yaml: K+D: stands twice under ''",
    ):
        assert part in text


def test_unknown_and_missing_keys_are_named():
    with pytest.raises(ConfigError) as caught:
        table(rows=[{"name": "KD", "sett": {}}, {"set": {}}, "KD"], colour="red")
    text = str(caught.value)
    for part in (
        "rows: KD: sett: unknown, known: [",
        "rows: name: missing",
        "rows: expected a mapping, found 'KD'",
        "t.yaml: colour: unknown",
    ):
        assert part in text


def test_a_table_that_does_not_exist_is_refused(tmp_path):
    (tmp_path / "table_03.yaml").write_text("title: x\n")
    with pytest.raises(ConfigError, match=r"TABLE=12: expected one of \[3\]"):
        load_table(tmp_path, 12)


# Ours beside the paper's


def run(method: str, seed: int, value: float, **changes: Any) -> RunRecord:
    """A run of a row, on a data set that is not the table's."""
    own = {"expid": re.sub(r"\W", "_", method), "encoder": "", "split": "by day"}
    own |= {"dataset_id": "KuaiRandPure_s1"}
    return run_of(method, seed, value, **{**own, "config": {"method": method}, **changes})


KD = [0.70, 0.71, 0.69]
LOOP = [0.73, 0.72, 0.71]


def runs() -> list[RunRecord]:
    return [
        *(run("KD", seed, value) for seed, value in enumerate(KD)),
        *(run("LoopFM", seed, value) for seed, value in enumerate(LOOP)),
    ]


def cells_of(found: PaperTable, records: list[RunRecord], model: str = "DeepFM"):
    lines = table_lines(found, records, model)
    rows = [line for line in lines if not isinstance(line, str)]
    return {row[0]: dict(zip(HEADINGS, row, strict=True)) for row in rows}


def test_ours_stands_beside_the_papers():
    shown = cells_of(table(), runs())
    # Deviations of KD: 0, 0.01, -0.01; gains: 0.03, 0.01, 0.02.
    p = ttest_rel(LOOP, KD).pvalue
    assert shown["KD"]["AUC"] == "0.7000 ± 0.0100"
    assert (shown["KD"]["dAUC"], shown["KD"]["p"]) == ("-", "-")
    assert shown["LoopFM"] == {
        "Row": "LoopFM",
        "AUC": "0.7200 ± 0.0100",
        "dAUC": "+0.0200",
        "p": f"{p:.4f} (n=3)",
        "Logloss": "0.5000 ± 0.0000",
        "NE": "0.9000 ± 0.0000",
        "Paper AUC": "0.6344",
        "Paper dAUC": "+0.0364",
        "Note": "paper: TaobaoAd",
    }
    assert shown["shuffled"]["AUC"] == "-"
    assert shown["shuffled"]["Note"] == "control; ours; a hint; not run"


def test_the_same_data_set_needs_no_mark_and_a_model_without_figures_has_none():
    same = [replace(record, dataset_id="TaobaoAd_s1") for record in runs()]
    assert cells_of(table(), same)["LoopFM"]["Note"] == ""
    other = [replace(record, model="DIN") for record in runs()]
    shown = cells_of(table(), other, "DIN")["LoopFM"]
    assert (shown["Paper AUC"], shown["Paper dAUC"], shown["Note"]) == ("-", "-", "")


def test_a_row_may_have_a_baseline_of_its_own():
    rows = definition()["rows"]
    rows[0]["baseline"] = "LoopFM"
    shown = cells_of(table(rows=rows), runs())
    assert shown["KD"]["dAUC"] == "-0.0200"
    assert shown["KD"]["Paper dAUC"] == "-0.0364"
    assert shown["KD"]["Note"] == "paper: TaobaoAd; against LoopFM"


def test_figures_of_which_only_a_part_survived():
    shown = cells_of(TABLES[9], [run("base", 1, 0.7), run("KD", 1, 0.71)])
    assert (shown["base"]["Paper AUC"], shown["base"]["Paper dAUC"]) == ("? ± 0.0011", "-")
    assert (shown["KD"]["Paper AUC"], shown["KD"]["Paper dAUC"]) == ("? ± 0.0011", "+0.0094")
    assert shown["KD"]["dAUC"] == "+0.0100"


def test_markdown_and_terminal_show_every_row_group_and_context():
    page, plain = to_markdown(table(), runs()), to_terminal(table(), runs())
    for text in (page, plain):
        for part in (
            "Two ways",
            "DeepFM",
            "KuaiRandPure_s1",
            "0.7200 ± 0.0100",
            "+0.0364",
            "a hint",
        ):
            assert part in text
    assert "| **Past** |" in page
    assert "\n[Past]\n" in plain
    assert "> Split: KuaiRandPure_s1: by day" in page
    body = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in body} == {len(HEADINGS) + 1}


def test_records_of_two_data_sets_do_not_make_a_table(tmp_path):
    mixed = [*runs(), run("KD", 9, 0.5, dataset_id="Other_s1")]
    with pytest.raises(DataError, match="records of one data set, found .*Other_s1"):
        write_table(table(), mixed, tmp_path)
    assert not list(tmp_path.iterdir())


# Transfer ratios

PAIRS = [
    {"name": "up", "kind": "upgrade", "start": "KD", "end": "LoopFM"},
    {
        "name": "first",
        "kind": "initial launch",
        "start": "shuffled",
        "end": "LoopFM",
        "start_teacher": "KD",
    },
]


def keep(folder: Path, record: RunRecord, p: list[float], teacher: list[float] | None) -> None:
    folder.mkdir(exist_ok=True)
    arrays: dict[str, Any] = {"y": [1, 0, 1, 0], "user": [0, 0, 1, 1], "p": p}
    if teacher is not None:
        arrays["p_teacher"] = teacher
    np.savez(predictions_path(folder, record), **arrays)


def test_ratios_average_the_losses_of_the_seeds(tmp_path):
    found = table(transfer_ratio=PAIRS)
    records = [run(m, seed, 0.7) for m in ("KD", "LoopFM", "shuffled") for seed in (1, 2)]
    for record in records:
        good = [0.8, 0.2] * 2 if record.seed == 1 else [0.6, 0.4] * 2
        if record.method == "LoopFM":
            keep(tmp_path, record, good, [0.9, 0.1] * 2)
        elif record.method == "KD":
            keep(tmp_path, record, [0.5] * 4, [0.5] * 4)
        else:
            keep(tmp_path, record, [0.4, 0.6] * 2, None)
    upgrade, launch = pair_results(found, records, tmp_path)
    gain, teacher = 1 + (np.log2(0.8) + np.log2(0.6)) / 2, 1 + np.log2(0.9)
    assert upgrade.ratio is not None and launch.ratio is not None
    assert upgrade.seeds == (1, 2)
    assert upgrade.ratio.ratio.value == pytest.approx(gain / teacher, rel=1e-6)
    assert launch.ratio.ratio.value == pytest.approx((gain - 1 - np.log2(0.4)) / teacher, rel=1e-6)
    assert upgrade.cells()[-1].startswith(f"{gain / teacher:.3f} (")
    assert upgrade.to_dict()["ratio"]["dNE_FM"]["value"] == pytest.approx(teacher, rel=1e-6)


def test_a_pair_without_a_ratio_says_why(tmp_path):
    found = table(transfer_ratio=PAIRS)
    records = [run("KD", 1, 0.7), run("LoopFM", 1, 0.7)]
    keep(tmp_path, records[0], [0.5] * 4, [0.5] * 4)
    missing, not_run = pair_results(found, records, tmp_path)
    assert missing.refused.endswith("the predictions were not kept; run the table again")
    assert not_run.refused == "its rows have not been run"
    keep(tmp_path, records[1], [0.6, 0.4] * 2, [0.5] * 4)
    same = pair_results(found, records, tmp_path)[0]
    assert "contains 0" in same.refused
    twice = [same, replace(same, pair=replace(same.pair, name="again"))]
    for text in (to_markdown(found, records, twice), to_terminal(found, records, twice)):
        assert "Refused for DeepFM (up; again): upgrade ratio: expected" in text
        assert text.count("contains 0") == 1


# What rows change


def test_params_are_changed_by_the_models_own_name_or_not_at_all():
    params = {"model": "DMIN", "embedding_dim": 8, "dnn_hidden_units": [4]}
    changes = {"hidden_units": [2], "embedding_dim": 2, "loopfm_kd": "none"}
    assert resolved(changes, params, "row") == {
        "dnn_hidden_units": [2],
        "embedding_dim": 2,
        "loopfm_kd": "none",
    }
    with pytest.raises(ConfigError, match="row: DMIN has no param embeding_dim .did you mean"):
        resolved({"embeding_dim": 2}, params, "row")


def test_columns_go_together_with_what_names_them():
    params = {
        "feature_cols": [
            {"name": ["user", "item", "cate"], "dtype": "str", "type": "categorical"},
            {"name": "old", "active": False},
            {"name": "item_his", "dtype": "str", "type": "sequence"},
            {"name": "cate_his", "dtype": "str", "type": "sequence"},
            {"name": "loopfm_history", "type": "loopfm_sequence"},
        ],
        "label_col": {"name": "click", "dtype": "float"},
        "feature_specs": [{"name": "item_his", "x": 1}, {"name": "user", "x": 2}],
        "din_target_field": ["item", "cate"],
        "din_sequence_field": ["item_his", "cate_his"],
        "target_field": [("item", "cate")],
        "sequence_field": [("item_his", "cate_his")],
        "neg_seq_field": ["item_his"],
    }
    experiment: Any = SimpleNamespace(params=params, columns=ColumnPlan.from_params(params))
    assert without_columns(experiment, {"item_his"}) == {
        "use_features": ["user", "item", "cate", "cate_his", "event_id", "group_id"],
        "feature_specs": [{"name": "user", "x": 2}],
        "din_target_field": ["cate"],
        "din_sequence_field": ["cate_his"],
        "target_field": None,
        "sequence_field": None,
        "neg_seq_field": None,
    }
    assert without_columns(experiment, {"something else"}) == {}


# Running


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedDataset:
    both = ("teacher", "vertical")
    spec = DatasetSpec(
        dataset_id="tiny_s1",
        label="click",
        user="user",
        item="item",
        time_unit="ordinal",
        columns=(Column("user"), Column("item"), Column("age", views=("teacher",))),
        sequences=(SequenceColumn("item_his", "item", 2, views=both),),
        item_columns=("item",),
        periods=Periods(4, (1, 2), (3, 4), (3,), (4,)),
        period_rule="two events each",
        source="made up",
    )
    frame = pd.DataFrame(
        {
            "timestamp": range(8),
            "period": [1, 1, 2, 2, 3, 3, 4, 4],
            "click": [0, 1] * 4,
            "user": ["u", "v"] * 4,
            "item": ["a", "b", "b", "a"] * 2,
            "age": ["1"] * 8,
        }
    )
    nothing = (np.array([b"a"]), np.zeros(8, dtype=np.int64), np.zeros(8, dtype=np.uint16))
    return write_prepared(tmp_path / "prepared", spec, frame, {"item_his": nothing})


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Runs without training: what was run with which teacher, in order."""
    calls: list[tuple[Any, ...]] = []

    class Model:
        def parameters(self) -> list[Any]:
            return []

    def run_vertical(experiment, workspace, *, model_name, command, method):
        calls.append((model_name, method, experiment, workspace.teacher))
        metrics = {"AUC": 0.6 + 0.001 * len(calls), "logloss": 0.5, "NE": 0.9}
        record = make_record(
            experiment,
            Model(),
            metrics=metrics,
            data=workspace.prepared.fingerprint,
            train_seconds=1.0,
            bytes_per_event=0.0,
            started="2026-01-31T12:00:00+00:00",
            model=model_name,
            method=method,
            dataset_id=workspace.prepared.spec.dataset_id,
            protocol="stream",
            split="by period",
            command=command,
            repeat={"teacher": workspace.teacher and teacher_note(workspace.teacher)},
        )
        predictions = {"y_true": np.array([0.0, 1.0]), "y_pred": np.array([0.3, 0.6])}
        return record, {}, predictions

    def no_teacher_needed(self: Any) -> np.ndarray:
        return np.array([np.nan] * 6 + [0.0, np.log(3.0)], dtype=np.float32)

    monkeypatch.setattr(runner, "run_vertical", run_vertical)
    monkeypatch.setattr(runner.Workspace, "teacher_logit", property(no_teacher_needed))
    return calls


def small(**changes: Any) -> PaperTable:
    rows = [
        {"name": "base"},
        {"name": "KD", "set": {"loopfm_kd": "aux_head"}},
        {
            "name": "KD (small teacher)",
            "set": {"loopfm_kd": "aux_head"},
            "teacher": {"embedding_dim": 2, "hidden_units": [5], "features": "vertical"},
        },
        {"name": "LoopFM", "set": {"loopfm_history": "embedding"}, "group": "again"},
    ]
    values = {"vertical_models": ["DeepFM"], "baseline": "base", "rows": rows, **changes}
    return table_from_dict(definition(**values), "t.yaml")


def start(prepared, tmp_path, found: PaperTable, seeds: int = 2, **changes: Any):
    out = tmp_path / "out"
    return run_table(CHECKOUT, prepared, found, seeds, out, -1, **changes), out


def test_every_row_runs_with_every_seed_and_is_not_run_twice(prepared, tmp_path, trained):
    records, out = start(prepared, tmp_path, small())
    names = ["base", "KD", "KD (small teacher)", "LoopFM"]
    assert [(r.method, r.seed) for r in records] == [(n, s) for n in names for s in (2019, 2020)]
    assert [r.expid for r in records[::2]] == [
        "DeepFM_tiny_s1_paper_base",
        "DeepFM_tiny_s1_paper_kd",
        "DeepFM_tiny_s1_paper_kd_small_teacher",
        "DeepFM_tiny_s1_paper_loopfm",
    ]
    assert {r.model for r in records} == {"DeepFM"}
    assert records[0].command == "make paper TABLE=2 DATASET=tiny_s1 DATA=<raw folder> SEEDS=2"
    assert records[-1].config["loopfm_encoder"] == "dmin"
    assert records[0].config["loopfm_encoder"] == "mean"
    written = {record.file_name: record for record in read_records([out / "records"])}
    assert written == {record.file_name: record for record in records}
    again, _ = start(prepared, tmp_path, small(), seeds=3)
    assert len(again) == 12
    assert len(trained) == 8 + 4
    assert [r for r in again if r.seed < 2021] == records


def test_a_row_with_a_teacher_of_its_own_is_another_run(prepared, tmp_path, trained):
    records, _ = start(prepared, tmp_path, small(), seeds=1)
    by_name = {method: (experiment, teacher) for _, method, experiment, teacher in trained}
    full, poor = by_name["KD"][1], by_name["KD (small teacher)"][1]
    assert full.params["embedding_dim"] != 2
    assert poor.params["embedding_dim"] == 2
    assert poor.params["dnn_hidden_units"] == [5]
    assert poor.params["use_features"] == ["user", "item", "item_his", "event_id", "group_id"]
    assert poor.params["sequence_field"] == ["item_his"]
    marks = [record.config.get("teacher_fingerprint") for record in records]
    assert marks[0] is None
    assert marks[1] == marks[3] != marks[2]
    changed = small()
    changed.row("KD (small teacher)").teacher["embedding_dim"] = 3
    start(prepared, tmp_path, changed, seeds=1)
    assert [method for _, method, *_ in trained[4:]] == ["KD (small teacher)"]


def test_models_take_the_teachers_size_or_lose_their_sequences(prepared, tmp_path, trained):
    verticals = [
        {"name": "DMIN:emb2", "model": "DMIN", "size": "teacher", "set": {"embedding_dim": 2}},
        {"name": "DMIN:bare", "model": "DMIN", "own_sequences": False},
    ]
    rows = [{"name": "base"}]
    start(prepared, tmp_path, small(vertical_models=verticals, rows=rows), seeds=1)
    sized, bare = (experiment.params for _, _, experiment, _ in trained)
    teacher = trained[0][3].params
    assert sized["embedding_dim"] == 2
    assert sized["dnn_hidden_units"] == teacher["dnn_hidden_units"]
    assert sized["sequence_field"] == ["item_his"]
    assert sized["model_id"] == "DMIN_tiny_s1_emb2_paper_base"
    assert bare["use_features"] == ["user", "item", "event_id", "group_id"]
    assert bare["sequence_field"] is None
    assert bare["target_field"] is None


def test_predictions_are_kept_where_a_table_asks_for_them(prepared, tmp_path, trained):
    start(prepared, tmp_path, small(), seeds=1)
    pairs = [{"name": "up", "kind": "upgrade", "start": "KD (small teacher)", "end": "KD"}]
    asking = small(transfer_ratio=pairs)
    records, out = start(prepared, tmp_path, asking, seeds=1)
    assert len(trained) == 8
    with np.load(predictions_path(out / "records", records[1])) as found:
        assert found["y"].tolist() == [0, 1]
        assert found["user"].tolist() == [0, 1]
        assert found["p"].tolist() == pytest.approx([0.3, 0.6])
        assert found["p_teacher"].tolist() == pytest.approx([0.5, 0.75])
    with np.load(predictions_path(out / "records", records[0])) as found:
        assert "p_teacher" not in found
    start(prepared, tmp_path, asking, seeds=1)
    assert len(trained) == 8
    text = write_table(asking, records, out)
    assert "Transfer ratio" in text
    assert (out / "table_02_transfer_ratio.json").is_file()
    assert "## Transfer ratio" in (out / "table_02.md").read_text(encoding="utf-8")


def test_a_wrong_setting_is_found_before_anything_runs(prepared, tmp_path, trained):
    rows = [{"name": "base"}, {"name": "KD", "set": {"loopfm_kdd": "aux_head"}}]
    with pytest.raises(ConfigError, match="unknown key loopfm_kdd .did you mean 'loopfm_kd"):
        start(prepared, tmp_path, small(rows=rows))
    with pytest.raises(ConfigError, match="SEEDS: expected at least 1"):
        start(prepared, tmp_path, small(), seeds=0)
    with pytest.raises(ConfigError, match="did you mean 'DeepFM"):
        start(prepared, tmp_path, small(), models=["DeepFMM"])
    assert trained == []


def test_the_command_names_models_and_zoo_without_paths():
    command = paper_command(TABLES[3], "KuaiRandPure_s1", 5, ["DeepFM", "DMIN"], Path("/x/zoo"))
    assert command == (
        "make paper TABLE=3 DATASET=KuaiRandPure_s1 DATA=<raw folder> "
        'MODELS="DeepFM DMIN" SEEDS=5 ZOO=<model_zoo folder>'
    )
