"""Reading an extraction log forwards, a few rows in memory at a time."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuxictr_loopfm.errors import StoreError
from fuxictr_loopfm.store import h5
from fuxictr_loopfm.store.extraction_log import ExtractionLog, open_part
from fuxictr_loopfm.store.schema import REBUILD


class ExtractionReader:
    """Embeddings and logits of events that are asked for in rising order; a context manager.

    Args:
        folder: a complete extraction log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.manifest = ExtractionLog.read_manifest(folder)
        self._parts = iter(self.manifest.parts)
        self._logged = np.empty(0, np.int64)
        self._datasets: dict[str, Any] = {}
        self._file = ExitStack()

    def __enter__(self) -> ExtractionReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def take(self, event_id: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Embeddings (n, d) float32 and logits (n,) float32 of events.

        Args:
            event_id: (n,) rising, and later than those of earlier calls.

        Raises:
            StoreError: an event was not logged, or a part is damaged.
        """
        embedding = np.empty((len(event_id), self.manifest.dim), np.float32)
        logit = np.empty(len(event_id), np.float32)
        done = 0
        while done < len(event_id):
            until = self._logged[-1] if len(self._logged) else -1
            stop = done + int(np.searchsorted(event_id[done:], until, side="right"))
            if stop > done:
                self._take_of_part(event_id[done:stop], embedding[done:stop], logit[done:stop])
            done = stop
            if done < len(event_id):
                self._next_part(int(event_id[done]))
        return embedding, logit

    def _take_of_part(
        self, event_id: NDArray[np.int64], embedding: NDArray[Any], logit: NDArray[Any]
    ) -> None:
        position = np.searchsorted(self._logged, event_id)
        unknown = self._logged[position] != event_id
        if unknown.any():
            self._refuse(int(event_id[np.argmax(unknown)]))
        start, stop = int(position[0]), int(position[-1]) + 1
        for name, target in (("embedding", embedding), ("logit", logit)):
            target[:] = h5.read_rows(self._datasets[name], start, stop)[position - start]

    def _next_part(self, wanted: int) -> None:
        part = next(self._parts, None)
        if part is None:
            self._refuse(wanted)
            return
        path = self._folder / f"{part.name}.h5"
        self._file.close()
        file = self._file.enter_context(open_part(self._folder, part))
        rows = (part.rows,)
        shapes = {"event_id": rows, "embedding": (*rows, self.manifest.dim), "logit": rows}
        for name, shape in shapes.items():
            dtype = np.int64 if name == "event_id" else np.float32
            self._datasets[name] = h5.find_dataset(file, path, name, shape, dtype)
        self._logged = h5.read_array(self._datasets["event_id"])

    def _refuse(self, event_id: int) -> None:
        raise StoreError(
            f"{self._folder}: event_id: expected event {event_id} of the prepared log, found none. "
            f"{REBUILD}"
        )
