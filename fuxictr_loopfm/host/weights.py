"""Files of a model's weights: never half-written, and never another run's.

FuxiCTR names a checkpoint by data set and expid alone, so two seeds or two processes of one expid
write the same file, and each would load the other's weights as its own best.
"""

from __future__ import annotations

import io
import os
import weakref
from pathlib import Path
from typing import Any

import torch

from fuxictr_loopfm.files.atomic import atomic_path


def save_weights(model: Any, path: Path | str) -> None:
    """Write a model's weights so that the file is never seen half-written."""
    OwnWeights(model).save(path)


class OwnWeights:
    """Takes the place of FuxiCTR's ``save_weights`` and ``load_weights`` of one model.

    What this model saved last stays open: a file keeps its contents while it is open, whoever
    gives its name to another. So a run always goes on with its own best weights.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._saved: tuple[str, int] | None = None
        self._close: Any = None

    def save(self, path: Path | str) -> None:
        """Write the weights.

        They go through memory: of a full disk torch says nothing that could be told to the user,
        and it writes the file's name, a temporary one, into the archive.
        """
        buffer = io.BytesIO()
        torch.save(self.model.state_dict(), buffer)
        with atomic_path(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())
            descriptor = os.open(temporary, os.O_RDONLY)
            if self._close is not None:
                self._close()
            self._saved = (os.path.abspath(path), descriptor)
            self._close = weakref.finalize(self, os.close, descriptor)

    def load(self, path: Path | str) -> None:
        """Read the weights that this model saved last at ``path``; else what is there."""
        model = self.model
        model.to(model.device)
        source: int | Path | str = path
        if self._saved is not None and self._saved[0] == os.path.abspath(path):
            source = self._saved[1]
            os.lseek(source, 0, os.SEEK_SET)
        with open(source, "rb", closefd=not isinstance(source, int)) as stream:
            model.load_state_dict(torch.load(stream, map_location="cpu", weights_only=True))

    def __getstate__(self) -> dict[str, Any]:
        # Models are sent to the workers of an extraction; an open file stays where it is.
        return {"model": self.model, "_saved": None, "_close": None}
