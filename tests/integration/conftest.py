"""The planted log, a configuration per method, and a logger that every test gets back as it was."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from planted import DEEPFM_ZOO, load, write_configs, write_log

from fuxictr_loopfm.config.experiment import Experiment
from fuxictr_loopfm.pipeline.workspace import Workspace
from fuxictr_loopfm.prepared.dataset import PreparedDataset
from fuxictr_loopfm.records.record import RunRecord
from fuxictr_loopfm.runs.vertical import run_vertical


@dataclass(frozen=True)
class Loop:
    """A prepared log, a configuration folder, and the artifacts that runs leave under ``root``."""

    root: Path
    config: Path
    prepared: PreparedDataset

    def load(self, expid: str, **overrides: Any) -> tuple[Experiment, Workspace]:
        return load(self.config, expid, **overrides)

    def run(self, expid: str, **overrides: Any) -> RunRecord:
        experiment, workspace = self.load(expid, **overrides)
        return run_vertical(experiment, workspace, model_name="DeepFM", command="test")[0]

    @property
    def artifacts(self) -> Path:
        return self.root / "data" / "artifacts" / self.prepared.spec.dataset_id

    def folders(self, kind: str) -> list[Path]:
        """Artifact folders of a kind: teacher, extraction or store."""
        return sorted(self.artifacts.glob(f"{kind}-*"))


def new_loop(root: Path, prepared: PreparedDataset, **teacher: Any) -> Loop:
    config = write_configs(root / "configs", root, prepared.folder, **teacher)
    return Loop(root, config, prepared)


@pytest.fixture(scope="session")
def planted_log(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """Read only."""
    return write_log(tmp_path_factory.mktemp("planted") / "prepared")


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory, planted_log: PreparedDataset) -> Loop:
    """Shared by the tests of a module."""
    return new_loop(tmp_path_factory.mktemp("loop"), planted_log)


@pytest.fixture
def own_loop(tmp_path: Path, planted_log: PreparedDataset) -> Loop:
    """For tests that break things."""
    return new_loop(tmp_path / "own", planted_log)


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """A ``model_zoo`` of its own: scripts write their results beside themselves."""
    folder = tmp_path / "model_zoo"
    (folder / "DeepFM").mkdir(parents=True)
    (folder / "DeepFM" / "src").symlink_to(DEEPFM_ZOO / "DeepFM" / "src")
    (folder / "run_expid.py").write_text((DEEPFM_ZOO / "run_expid.py").read_text())
    return folder


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """FuxiCTR's ``set_logger`` takes the root logger over; one thread is a model's default."""
    handlers, level = logging.root.handlers[:], logging.root.level
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    for handler in logging.root.handlers[:]:
        if handler not in handlers:
            logging.root.removeHandler(handler)
            handler.close()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
