"""Tasks that workers of any engine can import."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from fuxictr_loopfm.errors import ConfigError
from fuxictr_loopfm.files.atomic import atomic_path, write_text


@dataclass(frozen=True)
class WriteShard:
    """Writes the shard's file, and notes every attempt; ``deaths`` says how often a shard dies."""

    folder: Path
    deaths: tuple[tuple[int, int], ...] = ()

    def __call__(self, shard: int) -> None:
        attempt = len(self.attempts(shard))
        with open(self.folder / f"attempts-{shard}", "a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
        if attempt < dict(self.deaths).get(shard, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        write_text(self.folder / f"shard-{shard}", f"content of {shard}")

    def attempts(self, shard: int) -> list[str]:
        """Process of each attempt so far."""
        path = self.folder / f"attempts-{shard}"
        return path.read_text(encoding="utf-8").split() if path.is_file() else []

    def files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted(self.folder.glob("shard-*"))}


@dataclass(frozen=True)
class StopHalfWay:
    """Waits in the middle of a file, and says so."""

    folder: Path

    def __call__(self, shard: int) -> None:
        with atomic_path(self.folder / f"shard-{shard}") as temporary:
            temporary.write_text("half")
            (self.folder / f"waiting-{shard}-{os.getpid()}").touch()
            time.sleep(60)


def refuse_shard_1(shard: int) -> None:
    if shard == 1:
        raise ConfigError([f"shard {shard}: expected an even number", "and a second problem"])


def divide_by_zero(shard: int) -> None:
    raise ZeroDivisionError(f"in shard {shard}")
