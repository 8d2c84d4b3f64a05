"""The ``loopfm`` command: every stage by itself, and help with an example."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from conftest import Loop
from fuxictr.features import FeatureMap
from fuxictr.pytorch.dataloaders.npz_dataloader import NpzDataLoader
from planted import DEEPFM_ZOO

from fuxictr_loopfm.commands.cli import build_parser, main
from fuxictr_loopfm.commands.registry import COMMANDS, ENTRY_POINTS, load_commands
from fuxictr_loopfm.config.checkout import Checkout
from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.layers.batch import HistoryBatch
from fuxictr_loopfm.pipeline.histories import Histories
from fuxictr_loopfm.pipeline.workspace import Workspace
from fuxictr_loopfm.runs.export import export_histories

ROOT = Path(__file__).parents[2]
HISTORY = "loopfm_history"


def expid(loop: Loop, name: str) -> list[str]:
    return ["--config", str(loop.config), "--expid", name]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fuxictr_loopfm", command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and done.stderr == ""
    assert f"usage: loopfm {command}" in done.stdout
    assert re.search(rf"example:\s+loopfm {command} \S", " ".join(done.stdout.split()))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_is_one_that_the_parser_takes(command: str) -> None:
    example = load_commands()[command].EXAMPLE.split()
    assert example[:2] == ["loopfm", command]
    build_parser().parse_args(example[1:])


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, fuxictr_loopfm; from fuxictr_loopfm.commands.cli import build_parser\n"
        "build_parser()\n"
        "print(sorted({'torch', 'fuxictr', 'pandas', 'numpy', 'ray'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


GREET = """
from fuxictr_loopfm.errors import ConfigError
SUMMARY, EXAMPLE = "Greet.", "loopfm greet world"
def add_options(parser): parser.add_argument("whom")
def run(options):
    if options.whom == "nobody": raise ConfigError("whom: expected somebody, found nobody")
    print("hello", options.whom)
"""


def install_command(site: Path, name: str, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``pip install`` leaves of a package with one module and one entry point."""
    module = f"toy_{site.name}"
    (site / f"{module}-1.dist-info").mkdir(parents=True)
    (site / f"{module}.py").write_text(source)
    metadata = site / f"{module}-1.dist-info"
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\n{name} = {module}\n")
    monkeypatch.syspath_prepend(site)


def test_an_installed_package_adds_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install_command(tmp_path / "greets", "greet", GREET, monkeypatch)
    main(["greet", "world"])
    assert shown(capsys) == "hello world\n"
    with pytest.raises(SystemExit) as stopped:
        main(["greet", "nobody"])
    assert stopped.value.code == 1
    assert capsys.readouterr().err == "error: whom: expected somebody, found nobody\n"
    with pytest.raises(SystemExit):
        main(["--help"])
    assert re.search(r"greet +Greet\.", shown(capsys))


@pytest.mark.parametrize(
    ("name", "source", "problem"),
    [
        ("verify", GREET, "expected a new name, found that of another command"),
        ("greet", "import no_such_module", "importing it failed: ModuleNotFoundError"),
        ("greet", "SUMMARY = EXAMPLE = ''", "found none of the name add_options and run"),
    ],
)
def test_a_command_that_does_not_fit_is_named(
    name: str, source: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / f"site_{len(problem)}"
    install_command(site, name, source, monkeypatch)
    with pytest.raises(ConfigError, match=f"entry point {name} = toy_{site.name} .*{problem}"):
        build_parser()


def test_the_stages_by_themselves(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    main(["extract", *expid(loop, "loopfm_label")])
    assert re.match(r"1333 events logged, dim 4: .*extraction-[0-9a-f]{16}", shown(capsys))
    assert loop.folders("store") == []
    main(["structure", *expid(loop, "loopfm_label")])
    described = shown(capsys)
    (store,) = loop.folders("store")
    assert "1,333" in described or "1333" in described
    main(["inspect", str(store)])
    assert shown(capsys) == described
    main(["inspect", str(loop.prepared.folder)])
    assert "Planted_s1: 2,000 events, 100 users, 40 items" in shown(capsys)
    main(["verify", str(store), "--prepared", str(loop.prepared.folder)])
    report = shown(capsys)
    assert "1333 events of 100 keys in 1 shard(s): checksums hold" in report
    assert "keys, times, labels and periods of every event agree" in report
    main(["verify", str(store)])
    assert "not checked against the log" in shown(capsys)


def test_structure_builds_a_store_for_each_key_of_a_history(
    loop: Loop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = shutil.copytree(loop.config, tmp_path / "config")
    path = config / "dataset_config.yaml"
    described = yaml.safe_load(path.read_text(encoding="utf-8"))
    columns = described["Planted_s1"]["feature_cols"]
    columns.append({**columns[-1], "name": "of_the_item", "key": "item_id"})
    path.write_text(yaml.safe_dump(described), encoding="utf-8")
    main(["structure", "--config", str(config), "--expid", "loopfm_label"])
    keys = re.findall(r"(?m)^key +(\S+) \(", shown(capsys))
    assert keys == ["user_id", "item_id"]


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def exported(loop: Loop, out: Path, **overrides: Any) -> tuple[FeatureMap, Workspace]:
    """The feature map that FuxiCTR reads of an export."""
    _, workspace = loop.load("loopfm", **overrides)
    export_histories(workspace, out, ["train", "test"])
    feature_map = FeatureMap(workspace.params["dataset_id"], str(out))
    feature_map.load(str(out / "feature_map.json"), workspace.params)
    return feature_map, workspace


@pytest.mark.parametrize("prefix", [None, 2])
def test_fuxictrs_own_loader_reads_an_export(loop: Loop, tmp_path: Path, prefix: Any) -> None:
    feature_map, workspace = exported(loop, tmp_path, loopfm_prefix_dim=prefix)
    source = Histories(workspace).sources("test")[HISTORY]
    rows = workspace.view.rows("test")
    events = source.batch(np.arange(rows.start, rows.stop))
    assert isinstance(events, HistoryBatch) and isinstance(events.embedding, torch.Tensor)
    histories = events.spans.pairs(events.embedding).split(events.spans.length.tolist())
    width, dim = workspace.keys.max_len, prefix or 4
    assert feature_map.features[HISTORY]["pretrain_dim"] == width * dim
    loader = NpzDataLoader(feature_map, str(tmp_path / "test.npz"), batch_size=400, num_workers=0)
    (batch,) = list(loader)
    found = batch[HISTORY].reshape(len(histories), width, dim)
    assert events.spans.longest == width, "someone has a full history"
    for padded, history in zip(found, histories, strict=True):
        torch.testing.assert_close(padded[width - len(history) :].float(), history)
        assert not padded[: width - len(history)].any()
    for name in ("user_id", "item_id", "event_id"):
        assert batch[name].tolist() == workspace.view.column(name)[rows].tolist()
    assert batch["item_his"].shape == (len(histories), 5)


def test_both_export_formats_hold_the_same(
    loop: Loop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "exported"
    main(["export", *expid(loop, "loopfm"), "--out", str(out), "--split", "test"])
    written = [Path(line).name for line in shown(capsys).split()]
    assert written == ["test.npz", "test.parquet", "feature_map.json"]
    assert sorted(path.name for path in out.iterdir()) == sorted(written)
    arrays, table = np.load(out / "test.npz"), pq.read_table(out / "test.parquet")
    assert set(arrays.files) == set(table.column_names)
    for name in table.column_names:
        values = np.array(table.column(name).to_pylist())
        np.testing.assert_array_equal(values, arrays[name])


def test_export_without_embeddings_is_refused(
    loop: Loop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["export", *expid(loop, "raw"), "--out", str(tmp_path / "out")])
    assert stopped.value.code == 1 and not (tmp_path / "out").exists()
    assert "expected a history with the column embedding, found ids" in capsys.readouterr().err


def test_benchmark_and_leaderboard(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout = Checkout(tmp_path / "checkout")
    (checkout.root / "data_prep").mkdir(parents=True)
    checkout.zoo.mkdir()
    for name in ("DeepFM", "DMIN"):
        (checkout.zoo / name).symlink_to(DEEPFM_ZOO / name)
    monkeypatch.setattr(Checkout, "find", classmethod(lambda _: checkout))
    out = tmp_path / "runs"
    data = ["--dataset", "Planted_s1", "--data", str(loop.prepared.folder)]
    methods = ["--methods", "base", "KD+LoopFM+label", "--seeds", "2"]
    main(["benchmark", *data, "--models", "DeepFM:small", *methods, "--out", str(out)])
    table = shown(capsys)
    assert "KD+LoopFM+label" in table and "DeepFM:small" in table
    written = {path.name for path in out.iterdir()}
    assert written >= {"leaderboard.csv", "leaderboard.md", "leaderboard.html", "records"}
    rows = (out / "leaderboard.csv").read_text().splitlines()
    assert len(rows) == 3 and rows[0].startswith("dataset_id,model,group,method,")
    command = json.loads(next((out / "records").rglob("*.json")).read_text())["command"]
    assert command == (
        'make benchmark DATASET=Planted_s1 DATA=<raw folder> MODELS="DeepFM:small" '
        'METHODS="base KD+LoopFM+label" SEEDS=2'
    )
    main(["leaderboard", str(out / "records"), "--out", str(tmp_path / "again")])
    assert shown(capsys).strip() in table
    again = (tmp_path / "again" / "leaderboard.csv").read_text()
    assert again == (out / "leaderboard.csv").read_text()
