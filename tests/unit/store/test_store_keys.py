"""Which columns can be keys, and the fixed hash that places them."""

from __future__ import annotations

import numpy as np
import pytest

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.store.keys import factorize_keys, shard_of_keys


@pytest.mark.parametrize(
    ("values", "keys", "codes"),
    [
        (np.array([5, -2, 5], np.int32), [-2, 5], [1, 0, 1]),
        (np.array([2**63 - 1, 0], np.uint64), [0, 2**63 - 1], [1, 0]),
        (np.array([3, 2**62], object), [3, 2**62], [0, 1]),
        (np.array(["b", "", "b"], object), [b"", b"b"], [1, 0, 1]),
        (np.array(["é", "z"]), [b"z", "é".encode()], [1, 0]),
        (np.array([b"x", b"a"]), [b"a", b"x"], [1, 0]),
        (np.array([], object), [], []),
        (np.array([], "U5"), [], []),
    ],
)
def test_keys_are_sorted_and_codes_point_at_them(values, keys, codes):
    found_keys, found_codes = factorize_keys(values)
    assert found_keys.tolist() == keys and found_codes.tolist() == codes
    assert found_keys.dtype == np.int64 or found_keys.dtype.kind == "S"
    assert found_codes.dtype == np.int64


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.array([1.0]), "float64"),
        (np.array([True]), "bool"),
        (np.array(["a", None], object), "mixed"),
        (np.array(["a", np.nan], object), "mixed"),
        (np.array(["a", 1], object), "mixed"),
        (np.array([1, True], object), "mixed"),
        (np.array([1.5, 2.5], object), "floating"),
        (np.array([2**63], np.uint64), "within int64"),
        (np.array([2**70], object), "within int64"),
        (np.array(["a\0b"], object), "NUL"),
        (np.array(["\ud800"], object), "Unicode"),
        (np.array([[1]]), "one dimension"),
        (np.array(["2020-01-01"], "datetime64[D]"), "datetime64"),
    ],
)
def test_other_columns_are_refused_by_name(values, words):
    with pytest.raises(DataError, match=rf"member_id: .*{words}"):
        factorize_keys(values, "member_id")


def scalar_mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) % 2**64
    return value ^ (value >> 31)


def test_int_hash_is_splitmix64():
    keys = np.array([0, 1, -1, 2**62, -(2**63)])
    expected = [scalar_mix(int(key) % 2**64) % 7 for key in keys]
    assert shard_of_keys(keys, 7).tolist() == expected


def test_bytes_hash_is_fnv1a_and_ignores_the_width():
    words = [b"", b"a", b"foobar"]
    fnv = [0xCBF29CE484222325, 0xAF63DC4C8601EC8C, 0x85944171F73967E8]  # published FNV-1a values
    expected = [scalar_mix(value) % 1000 for value in fnv]
    for width in (6, 20):
        assert shard_of_keys(np.array(words, f"S{width}"), 1000).tolist() == expected


def test_the_hash_spreads_consecutive_keys():
    counts = np.bincount(shard_of_keys(np.arange(8000), 8), minlength=8)
    assert counts.min() > 850 and counts.max() < 1150
