"""One byte for two dimensions: k-means over pairs, at the size of the 4-bit codecs (numpy, scipy).

Sixteen levels in each dimension are a grid of 256 points in the plane of a pair. Placing these
256 points freely follows how the two dimensions go together, which no choice of levels can. Ours.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fuxictr_loopfm.compression.codec import Array, Codec, FloatArray, within_one
from fuxictr_loopfm.errors import DataError, StoreError

NUM_PAIR_CENTRES = 256
_SIDE = 255  # odd, so that 0 is a point of the grid
_CELLS = 256 * 256
_ROUNDS = 60
_TOLERANCE = 3e-4
_DECIMALS = 5


class Int4PairKMeansCodec(Codec):
    """256 learned points for each pair of neighbouring dimensions; code 0 is exactly (0, 0).

    An odd last dimension is paired with a constant 0. Values are first rounded to 1/127; a value
    near the border of two points' regions may therefore take either of them.
    """

    kind = "int4_kmeans_pair"
    packed_as = "bytes"

    def __init__(self, dim: int, centres: FloatArray | None = None) -> None:
        super().__init__(dim, (dim + 1) // 2, np.uint8)
        self._centres: FloatArray | None = None
        if centres is not None:
            self._set_centres(centres)

    def _set_centres(self, centres: FloatArray) -> None:
        """Take (w, 256, 2) points."""
        self._centres = centres
        # A pair as one item, so that a lookup is one copy.
        self._table = np.ascontiguousarray(centres).view(np.complex64).reshape(-1)
        self._nearest: NDArray[np.uint8] | None = None

    def _fitted(self, values: FloatArray) -> Int4PairKMeansCodec:
        cells = self._cells(values)
        pairs = [fit_pair(np.bincount(cells[:, i], minlength=_CELLS)) for i in range(self.width)]
        self._set_centres(np.stack(pairs))
        return self

    def _encode(self, values: FloatArray) -> Array:
        centres = self._fitted_centres()
        if self._nearest is None:
            points = _cell_points()
            nearest = [cKDTree(of_pair).query(points)[1] for of_pair in centres]
            self._nearest = np.stack(nearest).astype(np.uint8).reshape(-1)
        places = self._cells(values) + np.arange(self.width) * _CELLS
        return np.take(self._nearest, places, mode="clip")

    def _decode(self, codes: Array) -> FloatArray:
        self._fitted_centres()
        places = codes + np.arange(self.width, dtype=np.int32) * NUM_PAIR_CENTRES
        decoded = np.take(self._table, places, mode="clip").view(np.float32)
        return np.ascontiguousarray(decoded[..., : self.dim]) if self.dim % 2 else decoded

    def _cells(self, values: FloatArray) -> NDArray[np.int64]:
        """Cell of the 255 x 255 grid over [-1, 1]^2 that each pair of a row falls in, (n, w)."""
        steps = np.rint(np.clip(values, -1.0, 1.0) * np.float32(_SIDE // 2)).astype(np.int64)
        steps += _SIDE // 2
        if self.dim % 2:
            steps = np.pad(steps, ((0, 0), (0, 1)), constant_values=_SIDE // 2)
        return steps[:, ::2] * 256 + steps[:, 1::2]

    def _fitted_centres(self) -> FloatArray:
        if self._centres is None:
            raise DataError(f"codec {self.kind}: no centres yet; call fit first")
        return self._centres

    def to_dict(self) -> dict[str, Any]:
        """As in the base class, with the 256 ``centres`` by code, each x then y, of every pair."""
        flat = self._fitted_centres().reshape(self.width, -1).astype(np.float64)
        return {**super().to_dict(), "centres": np.round(flat, _DECIMALS).tolist()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], dim: int) -> Int4PairKMeansCodec:
        """As in the base class, with the ``centres`` of every pair."""
        width = (dim + 1) // 2
        expected = (
            f"codec.centres: expected {width} lists of {2 * NUM_PAIR_CENTRES} numbers in [-1, 1], "
            "the first two of each 0"
        )
        centres = within_one(value.get("centres"), (width, 2 * NUM_PAIR_CENTRES), expected)
        if centres[:, :2].any():
            raise StoreError(f"{expected}, found a list that begins otherwise")
        return cls(dim, centres.reshape(width, NUM_PAIR_CENTRES, 2))


def _cell_points() -> NDArray[np.float64]:
    """(65536, 2) the point in the middle of each cell; those beyond the grid are never used."""
    steps = (np.arange(256) - _SIDE // 2) / (_SIDE // 2)
    return np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)


def fit_pair(count: NDArray[np.int64]) -> FloatArray:
    """Points that locally minimise the squared distance to the values of a pair.

    Lloyd's iterations over the occupied cells, from regions made by cutting the worst one in two
    again and again. No randomness.

    Args:
        count: (65536,) values in each cell.

    Returns:
        (256, 2) float32 rounded to ``_DECIMALS``, (0, 0) first.
    """
    occupied = np.flatnonzero(count)
    points, weight = _cell_points()[occupied], count[occupied].astype(np.float64)
    centres = _cut_into_regions(points, weight)
    # One point is pinned: the one for which that changes least.
    pinned = int(np.square(centres).sum(axis=1).argmin())
    centres[[0, pinned]] = centres[[pinned, 0]]
    centres[0], before = 0.0, np.inf
    for _ in range(_ROUNDS):
        distance, nearest = cKDTree(centres).query(points)
        mass = np.bincount(nearest, weight, NUM_PAIR_CENTRES)
        sums = [np.bincount(nearest, weight * axis, NUM_PAIR_CENTRES) for axis in points.T]
        means = np.stack(sums, axis=1) / np.maximum(mass, 1)[:, None]
        centres = np.where(mass[:, None] > 0, means, centres)
        centres[0] = 0.0
        error = float((weight * distance**2).sum())
        if before - error <= _TOLERANCE * before:
            break
        before = error
    return np.round(centres, _DECIMALS).astype(np.float32)


def _cut_into_regions(
    points: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(256, 2) means of regions with about the same squared error each; zeros if too few points."""
    regions = [(0.0, 0, np.arange(len(points)))]  # negated error, order of making, rows
    whole: list[NDArray[np.int64]] = []
    while regions and len(regions) + len(whole) < NUM_PAIR_CENTRES:
        _, made, rows = heapq.heappop(regions)
        mean = np.average(points[rows], axis=0, weights=weight[rows])
        spread = weight[rows] @ np.square(points[rows] - mean)
        side = points[rows, int(spread.argmax())] > mean[int(spread.argmax())]
        if side.all() or not side.any():
            whole.append(rows)
            continue
        for half, part in enumerate((rows[side], rows[~side])):
            centre = np.average(points[part], axis=0, weights=weight[part])
            error = float((weight[part] @ np.square(points[part] - centre)).sum())
            heapq.heappush(regions, (-error, 2 * made + half + 1, part))
    whole += [rows for _, _, rows in regions]
    centres = np.zeros((NUM_PAIR_CENTRES, 2))
    means = [np.average(points[rows], axis=0, weights=weight[rows]) for rows in whole]
    centres[: len(means)] = means
    return centres
