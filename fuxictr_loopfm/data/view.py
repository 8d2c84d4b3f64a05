"""One view of a prepared data set in FuxiCTR ids: what the loaders and the histories read."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from fuxictr_loopfm.data.artifact import (
    FEATURE_MAP_FILE,
    MANIFEST_FILE,
    REBUILD,
    Manifest,
    file_problems,
    read_manifest,
)
from fuxictr_loopfm.data.ragged import EncodedSequence, Padding, load_sequence
from fuxictr_loopfm.data.tables import read_column
from fuxictr_loopfm.errors import DataError


class EncodedView:
    """The encoded columns of N events, cut into splits that are contiguous in event_id.

    Attributes:
        folder: holds ``encoded.json``, ``feature_map.json``, ``feature_vocab.json`` and the data.
        manifest: the contents of ``encoded.json``.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def open(cls, folder: Path | str) -> EncodedView:
        """Open what ``build_view`` wrote; no data is read.

        Raises:
            DataError: the folder is incomplete, altered, of another version, or no view.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        if "parts" not in manifest:
            raise DataError(
                f"{folder / MANIFEST_FILE}: expected a view of a prepared data set, found "
                f"{manifest.get('view')!r}. Give each data set a dataset_id of its own."
            )
        return cls(folder, manifest)

    @property
    def feature_map_path(self) -> Path:
        """FuxiCTR's feature map."""
        return self.folder / FEATURE_MAP_FILE

    @property
    def fingerprint(self) -> str:
        """Identifies the prepared data, the view and the encoded columns, not the histories."""
        return str(self.manifest["fingerprint"])

    @property
    def view(self) -> str:
        """``teacher`` or ``vertical``."""
        return str(self.manifest["view"])

    @property
    def params(self) -> dict[str, Any]:
        """The FuxiCTR params that determined the encoding."""
        return dict(self.manifest["params"])

    @property
    def group_id(self) -> str:
        """Name of the column that groups events for gAUC."""
        return str(self.manifest["group_id"])

    @property
    def num_events(self) -> int:
        """N, events of the prepared data set."""
        return int(self.manifest["rows"])

    def rows(self, split: str) -> slice:
        """The events of a split, by event_id; start equals stop if the split is empty.

        Raises:
            DataError: the view has no such split.
        """
        splits = self.manifest["splits"]
        if split not in splits:
            raise DataError(f"{self.folder}: expected a split of {list(splits)}, found {split!r}")
        return slice(*splits[split])

    def path(self, split: str) -> Path:
        """The parquet file of a split; an empty split has none."""
        self.rows(split)
        return self.folder / f"{split}.parquet"

    def column(self, name: str) -> np.ndarray:
        """One encoded column of all events, by event_id.

        Returns:
            (N,) int64 ids, float32 numbers or labels; (N, max_len) for sequences given as text.
        Raises:
            DataError: there is no such column.
        """
        values: np.ndarray | None = None
        for file, (start, stop) in self.manifest["parts"].items():
            part = read_column([self.folder / file], name)
            if len(part) != stop - start or stop > self.num_events:
                raise DataError(
                    f"{self.folder / file}: expected rows {start} to {stop} of {self.num_events}, "
                    f"found {len(part)} rows. {REBUILD}"
                )
            if values is None:
                values = np.empty((self.num_events, *part.shape[1:]), dtype=part.dtype)
            values[start:stop] = part
        assert values is not None  # a prepared data set has rows
        return values

    @cached_property
    def labels(self) -> np.ndarray:
        """(N,) the first label column, by event_id."""
        return self.column(self.manifest["labels"][0])

    def sequence(self, name: str) -> EncodedSequence:
        """The encoded tokens of a prepared sequence, mapped from disk.

        Raises:
            DataError: the view has no such sequence.
        """
        index = self._sequence_index(name)
        max_len = self.manifest["sequences"][index]["max_len"]
        return load_sequence(self.folder, index, max_len)

    def padding(self, name: str) -> Padding:
        """The side on which a prepared sequence is padded: ``pre`` or ``post``."""
        return cast(Padding, self.manifest["sequences"][self._sequence_index(name)]["padding"])

    def verify(self) -> None:
        """Compare every file with its checksum.

        Raises:
            DataError: some differ; names all of them.
        """
        problems = file_problems(self.folder, self.manifest)
        if problems:
            raise DataError("\n".join(problems))

    def _sequence_index(self, name: str) -> int:
        names = [entry["name"] for entry in self.manifest["sequences"]]
        if name not in names:
            raise DataError(
                f"{self.folder}: expected one of the prepared sequences {names}, found {name!r}"
            )
        return names.index(name)
