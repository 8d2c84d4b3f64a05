"""Writing one shard file: rows may come in pieces, the bytes do not depend on the pieces."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike

from fuxictr_loopfm.files.atomic import require_space, sha256_file
from fuxictr_loopfm.store.h5 import header_attributes
from fuxictr_loopfm.store.schema import (
    EVENT_ID_DATASET,
    SHARD_FORMAT,
    ShardRecord,
    shard_file,
    shard_identity,
)

_NO_IDENTITY = "0" * 16


class ShardWriter:
    """A shard file under construction.

    Args:
        path: a name that readers do not look at yet.
        index: position among the shards.
        layout: shape and dtype of every dataset by path; row datasets count the pad row.
        plain: the manifest's dictionary; its shards and fingerprint are ignored.
    """

    def __init__(
        self,
        path: Path,
        index: int,
        layout: Mapping[str, tuple[tuple[int, ...], DTypeLike]],
        plain: Mapping[str, Any],
    ) -> None:
        self._path, self._index, self._plain = path, index, plain
        sizes = (math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in layout.values())
        require_space(path, sum(sizes))
        self._file = h5py.File(path, "w", libver="earliest")
        attributes = {**header_attributes(SHARD_FORMAT), "identity": _NO_IDENTITY}
        for name, text in attributes.items():
            self._file.attrs[name] = np.bytes_(text.encode("utf-8"))
        for name in sorted(layout):
            shape, dtype = layout[name]
            dtype = np.dtype(dtype).newbyteorder("<")
            dataset = self._file.create_dataset(name, shape, dtype, track_times=False)
            if dataset.size:
                # The first write claims the space, so datasets lie in the order of their names.
                dataset[:1] = np.zeros((1, *shape[1:]), dtype)
        self._written = dict.fromkeys(layout, 0)
        self._digests = {name: hashlib.sha256() for name in layout}

    def append(self, name: str, rows: np.ndarray[Any, Any]) -> None:
        """The next rows (n, ...) of a dataset, in the shape and dtype of its layout."""
        rows = np.ascontiguousarray(rows)
        if rows.size:
            first = self._written[name]
            self._file[name][first : first + len(rows)] = rows
            self._digests[name].update(rows.data)
        self._written[name] += len(rows)

    def finish(self) -> ShardRecord:
        """Close the file; its identity covers the checksums of what was written."""
        datasets = {name: digest.hexdigest() for name, digest in self._digests.items()}
        counts = {"rows": self._written[EVENT_ID_DATASET] - 1, "keys": self._written["key_id"]}
        identity = shard_identity(self._plain, self._index, {**counts, "datasets": datasets})
        self._file.attrs.modify("identity", np.bytes_(identity.encode("utf-8")))
        self._file.close()
        return ShardRecord(
            file=shard_file(self._index),
            **counts,
            bytes=os.stat(self._path).st_size,
            sha256=sha256_file(self._path),
            datasets=datasets,
        )

    def close(self) -> None:
        """Let go of the file, finished or not."""
        self._file.close()
