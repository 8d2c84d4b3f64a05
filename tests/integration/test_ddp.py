"""Two gloo processes train what one process trains; the file is also what they run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuxictr.pytorch.models import BaseModel
from planted import TEACHER, load

from fuxictr_loopfm.errors import ConfigError, ProvenanceError
from fuxictr_loopfm.host import distributed
from fuxictr_loopfm.host.model import feature_map_of
from fuxictr_loopfm.host.replica import train_on_all_ranks
from fuxictr_loopfm.host.trainer import evaluate
from fuxictr_loopfm.runs import run_expid
from fuxictr_loopfm.runs.vertical import Run, loaders, train_vertical

# 1,000 training rows: 27 batches that two ranks cannot halve, and a last one of a single row.
UNEVEN: dict[str, Any] = {"batch_size": 37, "seed": 3, "embedding_regularizer": 1e-4}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "base": ("base", UNEVEN),
    "KD": ("kd", UNEVEN),
    "KD+LoopFM": ("kd_loopfm", UNEVEN),
    "early stopping": (
        "loopfm",
        {**UNEVEN, "loopfm_validation": True, "shuffle": True, "epochs": 2},
    ),
    # Each rank reads rows of its own; a regulariser would make the tables dense.
    "sparse tables": (
        "kd_loopfm",
        {**UNEVEN, "embedding_regularizer": 0, "loopfm_table_optimizer": "sparse"},
    ),
}
# Each rank normalises by its own rows and drops its own units: not what one process trains.
OTHERWISE = "batch norm and dropout"
CASES_OF_RANKS = {
    **CASES,
    OTHERWISE: ("kd_loopfm", {**UNEVEN, "batch_size": 39, "batch_norm": True, "net_dropout": 0.2}),
}
# Sums in another order differ by single precision's 1e-7 of their size, and by measurement grow to
# 2e-6 over these runs. One step moves a weight by the learning rate, 2e-2.
TOLERANCE = 1e-5
# One pair of the test period's clicks and non-clicks that changes places moves AUC by 4e-5.
METRIC_TOLERANCE = 1e-4


def trained(config: Path, case: str) -> dict[str, Any]:
    """What a case comes to in this process's role: weights, metrics and test predictions."""
    expid, overrides = CASES_OF_RANKS[case]
    run = Run(*load(config, expid, **overrides))
    made = train_vertical(run)
    assert hasattr(run.model, "loopfm_tables") == (case == "sparse tables")
    values, predictions = evaluate(run.model, made["test"])
    return {
        "weights": {name: value.clone() for name, value in run.model.state_dict().items()},
        "metrics": values,
        "validated": float(getattr(run.model, "_best_metric", 0.0)),
        "predictions": {name: torch.from_numpy(value) for name, value in predictions.items()},
    }


def loaded_after_another_run(config: Path) -> dict[str, torch.Tensor]:
    """What ranks load of a case once its checkpoint's name is another run's."""
    expid, overrides = CASES["base"]
    run = Run(*load(config, expid, **overrides))
    train_vertical(run)
    if distributed.rank() == 0:
        checkpoint = Path(run.model.checkpoint)
        checkpoint.unlink()
        checkpoint.write_bytes(b"another run's")
    torch.distributed.barrier()
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.zero_()
    run.model.load_weights(run.model.checkpoint)
    return {name: value.clone() for name, value in run.model.state_dict().items()}


def as_rank(config: Path, out: Path) -> None:
    """What each process does."""
    with distributed.joined(-1):
        rank = distributed.rank()
        for case in CASES_OF_RANKS:
            torch.save(trained(config, case), out / f"{case}-{rank}.pt")
        torch.save(loaded_after_another_run(config), out / f"loaded-{rank}.pt")
        try:
            values = {"store": f"made on machine {rank}", "code": "c"}
            distributed.require_same(values, torch.device("cpu"))
        except ProvenanceError as error:
            (out / f"refusal-{rank}").write_text(str(error))


# Without FuxiCTR, which takes longer to import than the rest takes to run.
FAILING = """
import os, pathlib, signal, sys, time
from datetime import timedelta
import torch
from fuxictr_loopfm.host import distributed

how, finished = sys.argv[1:]
if how == "stalls":
    distributed.TIMEOUT = timedelta(seconds=3)
with distributed.joined(-1):
    torch.distributed.barrier()
    if distributed.rank() == 1 and how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if distributed.rank() == 1:
        time.sleep(600)
    torch.distributed.all_reduce(torch.zeros(1))
    pathlib.Path(finished).touch()
"""


def torchrun(*arguments: Any, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Start two processes; a hang is cut short by this test's own limit, far below torch's."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", "2", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, timeout=500
    )


@pytest.fixture(scope="module")
def out(loop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks left of every case; rank 0 built the artifacts, nothing was there before."""
    folder = tmp_path_factory.mktemp("ranks")
    done = torchrun(__file__, loop.config, folder)
    assert done.returncode == 0, done.stderr
    return folder


def of_ranks(out: Path, case: str) -> list[dict[str, Any]]:
    return [torch.load(out / f"{case}-{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_ddp_trains_what_one_process_trains(loop: Any, out: Path, case: str) -> None:
    one, two = trained(loop.config, case), of_ranks(out, case)[0]
    assert two["weights"].keys() == one["weights"].keys()
    for name, value in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], value, atol=TOLERANCE, rtol=0.0)
    for name, value in one["predictions"].items():
        torch.testing.assert_close(two["predictions"][name], value, atol=TOLERANCE, rtol=0.0)
    assert two["validated"] == pytest.approx(one["validated"], abs=METRIC_TOLERANCE)
    assert two["metrics"] == pytest.approx(one["metrics"], abs=METRIC_TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES_OF_RANKS)
def test_ddp_ranks_end_with_equal_weights_and_metrics(out: Path, case: str) -> None:
    first, second = of_ranks(out, case)
    for kind in ("weights", "predictions"):
        for name, value in first[kind].items():
            assert torch.equal(second[kind][name], value), name
    assert first["metrics"] == second["metrics"]


@pytest.mark.slow
def test_ddp_ranks_load_what_their_run_saved(out: Path) -> None:
    wanted = of_ranks(out, "base")[0]["weights"]
    for rank in range(2):
        found = torch.load(out / f"loaded-{rank}.pt", weights_only=True)
        assert all(torch.equal(found[name], value) for name, value in wanted.items())


@pytest.mark.slow
def test_ddp_refuses_ranks_that_read_different_artifacts(out: Path) -> None:
    for rank in range(2):
        message = (out / f"refusal-{rank}").read_text()
        assert message.startswith("torchrun: store: expected the same on every rank")
        assert f"made on machine {rank}" in message and "code" not in message.split(".")[0]


@pytest.mark.slow
@pytest.mark.parametrize("failure", ["dies", "stalls"])
def test_ddp_ends_when_a_rank(tmp_path: Path, failure: str) -> None:
    script, finished = tmp_path / "failing.py", tmp_path / "finished"
    script.write_text(FAILING)
    done = torchrun(script, failure, finished)
    assert done.returncode != 0 and "ChildFailedError" in done.stderr
    assert ("SIGKILL" in done.stderr) == (failure == "dies")
    assert not finished.exists()


@pytest.mark.slow
def test_ddp_run_expid_leaves_one_record(loop: Any, zoo: Path) -> None:
    arguments = ["--config", str(loop.config), "--expid", "kd_loopfm_label", "--gpu", "-1"]
    done = torchrun("run_expid.py", *arguments, cwd=zoo)
    assert done.returncode == 0, done.stderr
    (path,) = zoo.rglob("*-seed*.json")
    record = json.loads(path.read_text())
    alone = loop.run("kd_loopfm_label")
    assert record["metrics"] == pytest.approx(alone.metrics, abs=METRIC_TOLERANCE)
    for name in ("data", "teacher", "store", "config"):
        assert record["fingerprints"][name] == alone.fingerprints[name]
    assert (record["world_size"], alone.world_size) == (2, 1)
    assert record["command"] == ("torchrun --nproc_per_node 2 run_expid.py " + " ".join(arguments))
    (results,) = zoo.glob("*.csv")
    assert len(results.read_text().splitlines()) == 1


@pytest.mark.parametrize(("batch_size", "ranks"), [(37, 1), (37, 2), (37, 3), (38, 7)])
@pytest.mark.parametrize("shuffle", [False, True])
def test_ddp_shares_hold_every_row_of_every_batch_once(
    loop: Any, monkeypatch: pytest.MonkeyPatch, batch_size: int, ranks: int, shuffle: bool
) -> None:
    def users(rank: int, count: int) -> list[np.ndarray]:
        monkeypatch.setattr(distributed, "share", lambda: (rank, count))
        run = Run(*loop.load("base", batch_size=batch_size, shuffle=shuffle))
        feature_map = feature_map_of(run.experiment, run.workspace.view)
        loader = loaders(run, feature_map, {"train": {}, "test": {}})["train"]
        found = [batch["user_id"].numpy() for batch in loader]
        assert len(found) == len(loader) == -(-1000 // batch_size)
        assert sorted(loader.own_rows()) == list(loader.own_rows())
        assert len(loader.own_rows()) == sum(map(len, found))
        return found

    whole = users(0, 1)
    shares = [users(rank, ranks) for rank in range(ranks)]
    for number, batch in enumerate(whole[:-1]):
        parts = [share[number] for share in shares]
        np.testing.assert_array_equal(np.concatenate(parts), batch)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for share in shares:  # the last batch has less than two rows a rank: all read all of it
        np.testing.assert_array_equal(share[-1], whole[-1])


def test_ddp_without_the_gpus_says_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    started = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    for name, value in {**started, "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(ConfigError, match="each of the 2 processes of this machine, found 1"),
        distributed.joined(0),
    ):
        pass


def test_ddp_refuses_what_it_cannot_divide(loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own_step = type("OwnStep", (BaseModel,), {"train_step": lambda self, batch: None})
    with pytest.raises(ConfigError, match="OwnStep has a train_step of its own"):
        train_on_all_ranks(own_step.__new__(own_step), loop.load("kd")[0].keys)
    with pytest.raises(ConfigError, match="loopfm_hint: crd"):
        train_on_all_ranks(BaseModel.__new__(BaseModel), loop.load("kd", loopfm_hint="crd")[0].keys)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(ConfigError, match="teacher: expected a vertical model"):
        run_expid.run(loop.root / "run_expid.py", str(loop.config), TEACHER, -1)


if __name__ == "__main__":
    as_rank(*map(Path, sys.argv[1:]))
