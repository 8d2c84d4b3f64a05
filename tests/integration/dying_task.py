"""Tasks whose worker is killed once; apart from the tests, since workers import this module."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuxictr_loopfm.pipeline.extraction_task import ExtractionTask
from fuxictr_loopfm.pipeline.structuring_pass import StructuringTask
from fuxictr_loopfm.store.extraction_log import ExtractionLog
from fuxictr_loopfm.structuring import shards


@dataclass(frozen=True)
class DiesOnce:
    """Killed between a shard's file and its record."""

    task: StructuringTask
    folder: Path
    dying: int

    def __call__(self, shard: int) -> None:
        with open(self.folder / f"attempts-{shard}", "a", encoding="utf-8") as file:
            file.write(".")
        if shard == self.dying and self.attempts(shard) == 1:
            shards.write_json = _die
        self.task(shard)

    def attempts(self, shard: int) -> int:
        return len((self.folder / f"attempts-{shard}").read_text(encoding="utf-8"))


def _die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class DiesInTheMiddle:
    """Killed when a part has gone through the teacher and is not yet written."""

    task: ExtractionTask
    died: Path
    dying: int

    def __call__(self, shard: int) -> None:
        if shard == self.dying and not self.died.exists():
            ExtractionLog.write_part = staticmethod(self._die)  # type: ignore[method-assign]
        self.task(shard)

    def _die(self, *_: Any) -> None:
        self.died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
