"""A run is repeated from its record alone: the configuration folder is deleted before."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Loop, new_loop
from planted import SMALL, TEACHER, log_frame, write_log

from fuxictr_loopfm.commands.cli import main
from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.errors import ConfigError, DataError
from fuxictr_loopfm.evidence.benchmark.benchmark import Benchmark, BenchmarkPlan
from fuxictr_loopfm.evidence.benchmark.configs import BASE, COMMON
from fuxictr_loopfm.evidence.paper.run import run_table
from fuxictr_loopfm.evidence.paper.table import load_table
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.packing import packed
from fuxictr_loopfm.records.record import RunRecord, read_records, write_record
from fuxictr_loopfm.runs.repeat import tuple_places, with_tuples
from fuxictr_loopfm.runs.rerun import Places, rerun
from fuxictr_loopfm.runs.run_expid import run as run_expid

ROOT = Path(__file__).resolve().parents[2]


def rerun_command(record: Path, loop: Loop, *options: str) -> None:
    where = ["--data", str(loop.prepared.folder), "--data-root", str(loop.root / "data")]
    main(["rerun", str(record), *where, *options])


def rows_of(printed: str) -> dict[str, list[str]]:
    """Recorded, found and equal by the name of the value."""
    lines = [line.split() for line in printed.splitlines()]
    start = lines.index(["value", "recorded", "found", "equal"])
    return {line[0]: line[1:] for line in lines[start + 1 :] if len(line) == 4}


@pytest.fixture
def ran(own_loop: Loop, tmp_path: Path) -> Path:
    """The record of a run with every artifact; its configuration is gone."""
    path = write_record(tmp_path / "records", own_loop.run("kd_loopfm_label", seed=5))
    shutil.rmtree(own_loop.config)
    return path


@pytest.mark.parametrize("fresh", [False, True])
def test_a_vertical_run_repeats_from_its_record(
    own_loop: Loop, ran: Path, capsys: pytest.CaptureFixture[str], fresh: bool, tmp_path: Path
) -> None:
    before = sorted(own_loop.artifacts.rglob("*"))
    options = ["--fresh"] if fresh else []
    rerun_command(ran, own_loop, *options, "--out", str(tmp_path / "again"))
    found = rows_of(capsys.readouterr().out)
    assert {"AUC", "gAUC", "logloss", "NE", "teacher", "store", "log", "weights"} <= set(found)
    assert all(equal == "yes" for _, _, equal in found.values())
    (first,), (again,) = read_records([ran]), read_records([tmp_path / "again"])
    kept = {"metrics", "fingerprints", "config", "repeat", "command", "method", "model", "split"}
    assert {name: getattr(first, name) for name in kept} == {
        name: getattr(again, name) for name in kept
    }
    assert sorted(own_loop.artifacts.rglob("*")) == before


def test_fresh_builds_the_teacher_again(
    own_loop: Loop, ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def note(run: Any) -> None:
        trained.append(run.teacher.expid)
        raise ConfigError("seen")

    monkeypatch.setattr("fuxictr_loopfm.pipeline.teacher.TeacherRun._train", note)
    rerun_command(ran, own_loop)
    assert trained == []
    with pytest.raises(SystemExit):
        rerun_command(ran, own_loop, "--fresh")
    assert trained == [TEACHER]


def test_a_changed_metric_is_found(
    own_loop: Loop, ran: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (record,) = read_records([ran])
    metrics = {**record.metrics, "AUC": record.metrics["AUC"] + 1e-12}
    changed = write_record(tmp_path / "changed", replace(record, metrics=metrics))
    with pytest.raises(SystemExit) as stopped:
        rerun_command(changed, own_loop)
    assert stopped.value.code == 1
    printed = capsys.readouterr()
    assert {name for name, row in rows_of(printed.out).items() if row[2] == "NO"} == {"AUC"}
    assert "1 of" in printed.err and "differ: AUC" in printed.err
    assert "Code, versions and processor are the same" in printed.err


def test_a_teachers_run_repeats(
    own_loop: Loop, tmp_path: Path, zoo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_expid(zoo / "run_expid.py", str(own_loop.config), TEACHER, -1)
    (path,) = (zoo / "records").rglob("*.json")
    shutil.rmtree(own_loop.config)
    for options in ([], ["--fresh"]):
        rerun_command(path, own_loop, *options)
        found = rows_of(capsys.readouterr().out)
        assert found["weights"][2] == found["AUC"][2] == "yes" and "store" not in found


def tree(folder: Path) -> Checkout:
    """A checkout with our models and no configurations or data."""
    (folder / "data_prep").mkdir(parents=True)
    (folder / "model_zoo").symlink_to(ROOT / "model_zoo")
    return Checkout(folder)


def test_a_row_of_a_benchmark_repeats_from_a_packed_file(
    planted_log: PreparedDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout = tree(tmp_path / "checkout")
    plan = BenchmarkPlan(
        ("DeepFM:small",), ("base", "KD+LoopFM"), 2, tmp_path / "out", None, -1, "make benchmark",
        teacher="DeepFM",
    )  # fmt: skip
    records = Benchmark(checkout, planted_log, plan).run()
    shutil.rmtree(tmp_path / "out")
    path = tmp_path / "records.jsonl"
    path.write_text(packed([record.to_dict() for record in records]))
    loop = Loop(checkout.root, tmp_path / "none", planted_log)
    rerun_command(path, loop, "--method", "KD+LoopFM", "--seed", "2020")
    found = rows_of(capsys.readouterr().out)
    assert found["weights"] == [records[3].repeat["weights"]] * 2 + ["yes"]
    assert all(row[2] == "yes" for row in found.values())
    with pytest.raises(SystemExit):
        rerun_command(path, loop, "--seed", "2020")
    message = capsys.readouterr().err
    assert "found 2" in message and records[1].expid in message and records[3].expid in message


def test_a_row_of_a_papers_table_repeats(
    planted_log: PreparedDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its experiment and its teacher were changed by code, after the configuration was read."""
    checkout = tree(tmp_path / "checkout")
    whole = load_table(ROOT / "benchmark_configs" / "paper", 10)
    rows = [row for row in whole.rows if row.name == whole.baseline]
    rows += [row for row in whole.rows if "features" in row.teacher][:1]
    table = replace(whole, rows=tuple(rows), transfer_ratio=())
    records = run_table(checkout, planted_log, table, 1, tmp_path / "out", -1, ["DeepFM"])
    assert {record.paper_table for record in records} == {10}
    changed = [record for record in records if "teacher_overrides" in record.config]
    assert changed, "no row changes the teacher"
    path = write_record(tmp_path / "records", changed[0])
    shutil.rmtree(tmp_path / "out")
    loop = Loop(checkout.root, tmp_path / "none", planted_log)
    rerun_command(path, loop, "--fresh", "--out", str(tmp_path / "again"))
    assert all(row[2] == "yes" for row in rows_of(capsys.readouterr().out).values())
    assert read_records([tmp_path / "again"])[0].paper_table == 10


def test_a_run_without_a_prepared_log_repeats(
    tmp_path: Path, zoo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = log_frame()[["click", "user_id", "item_id", "genre"]]
    raw = tmp_path / "raw"
    raw.mkdir()
    for name, rows in (("train", frame[:1_200]), ("valid", frame[1_200:1_600])):
        rows.to_csv(raw / f"{name}.csv", index=False)
    frame[1_600:].to_csv(raw / "test.csv", index=False)
    config = tmp_path / "configs"
    config.mkdir()
    columns = {"name": ["user_id", "item_id", "genre"], "active": True, "dtype": "str"}
    data = {
        "data_root": str(tmp_path / "data"), "data_format": "csv", "min_categr_count": 1,
        "feature_cols": [{**columns, "type": "categorical"}],
        "label_col": {"name": "click", "dtype": "float"},
        **{f"{name}_data": str(raw / f"{name}.csv") for name in ("train", "valid", "test")},
    }  # fmt: skip
    model = {**BASE, **COMMON, **SMALL, "dataset_id": "Plain_x1", "epochs": 2, "shuffle": True}
    model |= {"metrics": ["AUC", "logloss"], "monitor": "AUC"}
    model["model_root"] = str(tmp_path / "checkpoints")
    for name, value in (("model", {"plain": model}), ("dataset", {"Plain_x1": data})):
        (config / f"{name}_config.yaml").write_text(yaml.safe_dump(value))
    run_expid(zoo / "run_expid.py", str(config), "plain", -1)
    (path,) = (zoo / "records").rglob("*.json")
    shutil.rmtree(config)
    main(["rerun", str(path), "--data", str(tmp_path), "--data-root", str(tmp_path / "again")])
    found = rows_of(capsys.readouterr().out)
    assert {"AUC", "weights"} <= set(found) and all(row[2] == "yes" for row in found.values())
    (raw / "test.csv").write_text((raw / "test.csv").read_text() + "1,u1,i1,g1\n")
    with pytest.raises(SystemExit):
        main(["rerun", str(path), "--data", str(raw), "--data-root", str(tmp_path / "again")])
    assert "test_data: expected a file test.csv with sha256" in capsys.readouterr().err


def test_other_data_are_refused(own_loop: Loop, ran: Path, tmp_path: Path) -> None:
    other = write_log(tmp_path / "other", log_frame(seed=8))
    (record,) = read_records([ran])
    with pytest.raises(DataError, match="expected fingerprint .* found") as refused:
        rerun(record, Places(Checkout(ROOT), other.folder, own_loop.root / "data"))
    assert record.fingerprints["data"] in str(refused.value) and "--data" in str(refused.value)
    with pytest.raises(DataError, match=f"data set of record {record.expid}, found none"):
        rerun(record, Places(tree(tmp_path / "empty"), None, own_loop.root / "data"))


def test_an_altered_event_file_is_refused(own_loop: Loop, ran: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(own_loop.prepared.folder, copied)
    data = bytearray((copied / "events.parquet").read_bytes())
    data[200] ^= 1
    (copied / "events.parquet").write_bytes(data)
    (record,) = read_records([ran])
    with pytest.raises(DataError, match="sha256"):
        rerun(record, Places(Checkout(ROOT), copied, own_loop.root / "data"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"repeat": {}}, "did not note .* Repeat it by its command: test"),
        ({"world_size": 2}, "world_size: expected 1, found 2"),
        ({"config": {"seed": 5}}, "found none"),
        ({"repeat": {"kind": "vertical"}}, "repeat: expected what a run notes"),
    ],
)
def test_a_record_that_is_not_enough_is_refused(
    own_loop: Loop, ran: Path, changes: dict[str, Any], said: str
) -> None:
    (record,) = read_records([ran])
    with pytest.raises(ConfigError, match=said):
        rerun(replace(record, **changes), places_of(own_loop))


def places_of(loop: Loop) -> Places:
    return Places(Checkout(ROOT), loop.prepared.folder, loop.root / "data")


def test_a_changed_configuration_is_refused(own_loop: Loop, ran: Path) -> None:
    (record,) = read_records([ran])
    config = {**record.config, "learning_rate": 0.5}
    with pytest.raises(ConfigError, match="configuration in the record was changed"):
        rerun(replace(record, config=config), places_of(own_loop))


def test_other_code_and_versions_are_named(
    own_loop: Loop, ran: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (record,) = read_records([ran])
    older = replace(
        record,
        fingerprints={**record.fingerprints, "code": "0" * 64},
        environment={**record.environment, "torch": "1.0"},
    )
    rerun_command(write_record(tmp_path / "older", older), own_loop)
    printed = capsys.readouterr().out
    assert "not the same here: code: recorded 0000000000000000" in printed
    assert "not the same here: torch: recorded 1.0, here " in printed
    assert "equal to the last bit" in printed


def test_a_model_of_another_zoo_needs_that_zoo(
    planted_log: PreparedDataset, tmp_path: Path
) -> None:
    zoo = tmp_path / "theirs"
    shutil.copytree(ROOT / "model_zoo" / "DeepFM" / "src", zoo / "Ours" / "src")
    source = zoo / "Ours" / "src"
    for file in source.glob("*.py"):
        file.write_text(file.read_text().replace("DeepFM", "Ours"))
    for file in source.glob("DeepFM*.py"):
        file.rename(file.with_name(file.name.replace("DeepFM", "Ours")))
    loop = new_loop(tmp_path / "loop", planted_log)
    record = loop.run("base", model="Ours", loopfm_model_zoo=str(zoo))
    assert record.repeat["zoo"] == "given"
    with pytest.raises(ConfigError, match="expected --zoo"):
        rerun(record, places_of(loop))
    again = rerun(record, replace(places_of(loop), zoo=zoo))
    assert again.metrics == record.metrics and again.repeat == record.repeat


def test_tuples_come_back_where_they_were() -> None:
    config = {"field": [("a", "b"), "c"], "pair": (1, [2, (3,)]), "plain": [[1], 2]}
    places = {tuple(place) for place in tuple_places(config)}
    assert with_tuples(json.loads(json.dumps(config)), places) == config


def test_a_record_names_no_folder_of_this_machine(own_loop: Loop, ran: Path) -> None:
    assert str(own_loop.root) not in ran.read_text()
    assert isinstance(read_records([ran])[0], RunRecord)
