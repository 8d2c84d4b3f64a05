"""Codecs: hand-computed codes, error bounds, pad code, learned levels, descriptions, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fuxictr_loopfm.compression.lloyd import fit_centres
from fuxictr_loopfm.compression.quantizer import CODECS, build_codec, codec_from_dict
from fuxictr_loopfm.errors import ConfigError, DataError, StoreError

KINDS = ["f32", "f16", "int8", "int4_uniform", "int4_kmeans", "int4_kmeans_pair"]


def tanh_shaped(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scale, shift = rng.uniform(0.3, 1.5, dim), rng.normal(0.0, 0.4, dim)
    return np.tanh(rng.normal(size=(rows, dim)) * scale + shift).astype(np.float32)


def fitted(kind: str, dim: int, seed: int = 0):
    return build_codec(kind, dim).fit(tanh_shaped(500, dim, seed))


def mean_squared_error(codec, z: np.ndarray) -> float:
    return float(np.square(codec.decode(codec.encode(z)).astype(np.float64) - z).mean())


def test_int8_codes_by_hand():
    codec = build_codec("int8", 5)
    codes = codec.encode(np.array([[0.0, 1.0, -1.0, 0.5, 2.0]]))
    assert codes.dtype == np.int8
    assert codes.tolist() == [[0, 127, -127, 64, 127]]  # 63.5 rounds to even, 2.0 is clipped
    np.testing.assert_allclose(codec.decode(codes), [[0, 1, -1, 64 / 127, 1]], atol=1e-7)


def test_int4_uniform_codes_by_hand():
    codec = build_codec("int4_uniform", 4)
    codes = codec.encode(np.array([[1.0, -1.0, -0.125, 0.3]]))
    # 7 | -8 = 0b1000 in the high half; -1 = 0b1111 | round(2.4) = 2 in the high half.
    assert codes.tolist() == [[0x87, 0x2F]]
    assert codec.decode(codes).tolist() == [[0.875, -1.0, -0.125, 0.25]]


@pytest.mark.parametrize(("kind", "width", "row_bytes"), [
    ("f32", 7, 28), ("f16", 7, 14), ("int8", 7, 7), ("int4_uniform", 4, 4), ("int4_kmeans", 4, 4),
    ("int4_kmeans_pair", 4, 4),
])  # fmt: skip
def test_sizes_of_seven_dimensions(kind, width, row_bytes):
    codec = fitted(kind, 7)
    codes = codec.encode(tanh_shaped(3, 7))
    assert codes.shape == (3, width)
    assert codes.nbytes == 3 * codec.row_bytes == 3 * row_bytes
    assert codec.decode(codes).shape == (3, 7)


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5, 32])
@pytest.mark.parametrize("kind", KINDS)
def test_pad_code_decodes_to_exactly_zero(kind, dim):
    codec = fitted(kind, dim)
    decoded = codec.decode(np.broadcast_to(codec.pad_code, (2, 3, codec.width)))
    assert decoded.shape == (2, 3, dim)
    assert decoded.dtype == np.float32
    assert not decoded.any()
    assert not np.signbit(decoded).any()
    assert not codec.pad_code.view(np.uint8).any()


@pytest.mark.parametrize("kind", KINDS)
def test_zero_survives_a_round_trip_exactly(kind):
    codec = fitted(kind, 3)
    assert not codec.decode(codec.encode(np.zeros((1, 3)))).any()


BOUNDS = {
    "f32": lambda z: 0.0,
    "f16": lambda z: np.maximum(np.abs(z) * 2.0**-11, 2.0**-25),
    "int8": lambda z: 1 / 254 + 1e-7,
    "int4_uniform": lambda z: np.where(z > 15 / 16, z - 0.875, 1 / 16) + 1e-7,
}


@pytest.mark.parametrize("kind", BOUNDS)
@given(z=arrays(np.float32, (3, 5), elements=st.floats(-1, 1, width=32)))
@settings(max_examples=50, deadline=None)
def test_round_trip_stays_within_the_stated_error(kind, z):
    codec = build_codec(kind, 5)
    error = np.abs(codec.decode(codec.encode(z)).astype(np.float64) - z)
    assert (error <= BOUNDS[kind](z.astype(np.float64))).all()


@pytest.mark.parametrize("dim", [5, 6, 8])
def test_int4_kmeans_takes_the_nearest_centre(dim):
    codec = fitted("int4_kmeans", dim)
    centres = np.array(codec.to_dict()["centres"])
    z = np.random.default_rng(3).uniform(-1, 1, (2000, dim)).astype(np.float32)
    distance = np.abs(z[..., None].astype(np.float64) - centres)
    half_bin = 1.0 / 65_535
    chosen = np.abs(codec.decode(codec.encode(z)).astype(np.float64) - z)
    assert (chosen <= distance.min(axis=-1) + 2 * half_bin + 1e-6).all()
    ranked = np.sort(distance, axis=-1)
    clear = ranked[..., 1] - ranked[..., 0] > 2 * half_bin + 1e-6
    assert clear.mean() > 0.99
    nearest = centres[distance.argmin(axis=-1)]
    np.testing.assert_array_equal(codec.decode(codec.encode(z))[clear], nearest[clear])


@pytest.mark.parametrize("seed", range(3))
def test_int4_kmeans_beats_uniform_on_unseen_tanh_shaped_data(seed):
    z = tanh_shaped(40_000, 8, seed)
    train, test = z[:20_000], z[20_000:]
    learned = mean_squared_error(build_codec("int4_kmeans", 8).fit(train), test)
    uniform = mean_squared_error(build_codec("int4_uniform", 8), test)
    assert learned < 0.95 * uniform


def test_fit_recovers_sixteen_separate_values_exactly():
    values = np.linspace(-0.8, 0.7, 16)
    values[8] = 0.0
    z = np.repeat(values, 50).reshape(-1, 1)
    centres = fit_centres(z, 16)
    assert centres[0] == 0.0
    np.testing.assert_allclose(np.sort(centres), values, atol=1e-6)


def naive_lloyd_is_stable(centres: np.ndarray, z: np.ndarray) -> bool:
    nearest = np.abs(z.reshape(-1, 1) - centres).argmin(axis=1)
    means = [z.reshape(-1)[nearest == k].mean() if (nearest == k).any() else centres[k]
             for k in range(1, 16)]  # fmt: skip
    return bool(np.allclose(means, centres[1:], atol=1e-4))


def assert_good_fit(z: np.ndarray) -> None:
    centres = fit_centres(z, 16)
    assert centres.shape == (16,)
    assert centres[0] == 0.0
    assert (np.abs(centres) <= 1.0).all()
    assert (np.diff(centres[1:]) >= 0).all()
    assert naive_lloyd_is_stable(centres.astype(np.float64), z.astype(np.float64))

    def error(levels):
        return np.square(np.abs(z.reshape(-1, 1) - levels).min(axis=1)).mean()

    assert error(centres) <= error(np.arange(-8, 8) / 8) + 1e-9


@pytest.mark.parametrize("z", [
    tanh_shaped(2000, 3), -np.abs(tanh_shaped(2000, 2)), np.sign(tanh_shaped(500, 2)),
    np.full((50, 2), 0.25), np.zeros((10, 1)), np.array([[0.9]]),
], ids=["tanh", "negative", "saturated", "constant", "zeros", "single"])  # fmt: skip
def test_fit_is_a_fixed_point_of_lloyd_and_no_worse_than_uniform(z):
    assert_good_fit(z)


@pytest.mark.parametrize("seed", range(40))
def test_fit_copes_with_few_values_of_which_one_dominates(seed):
    # The dominating value fills several quantiles, so that the start has equal centres.
    rng = np.random.default_rng(seed)
    values = rng.uniform(-0.05, 0.05, rng.integers(2, 30))
    rest = rng.choice(values, rng.integers(5, 200))
    assert_good_fit(np.concatenate([rest, np.full(300, values[0])]).reshape(-1, 1))


def test_fit_is_deterministic_and_ignores_numpy_random_state():
    z = tanh_shaped(3000, 4)
    np.random.seed(1)
    first = build_codec("int4_kmeans", 4).fit(z).to_dict()
    np.random.seed(2)
    assert build_codec("int4_kmeans", 4).fit(z).to_dict() == first


def test_fit_on_a_long_log_uses_rows_from_all_of_it(monkeypatch):
    monkeypatch.setattr("fuxictr_loopfm.compression.lloyd.MAX_VALUES", 400)
    early, late = np.full((5000, 2), -0.53), np.full((5000, 2), 0.56)
    late[:, 1] = 0.27
    centres = fit_centres(np.concatenate([early, late]), 16)
    assert {-0.53, 0.27, 0.56} <= set(np.round(centres.astype(np.float64), 6))


@pytest.mark.parametrize("kind", [*KINDS, "none"])
def test_description_survives_json(kind):
    codec = fitted(kind, 5)
    z = tanh_shaped(20, 5, seed=9)
    again = codec_from_dict(json.loads(json.dumps(codec.to_dict())))
    assert again.to_dict() == codec.to_dict()
    assert again.row_bytes == codec.row_bytes
    assert again.dtype == codec.dtype
    np.testing.assert_array_equal(again.encode(z), codec.encode(z))
    np.testing.assert_array_equal(again.decode(again.encode(z)), codec.decode(codec.encode(z)))


def test_none_keeps_nothing():
    codec = build_codec("none", 4)
    assert codec.row_bytes == 0
    assert codec.encode(np.ones((3, 4))).shape == (3, 0)
    assert codec.decode(codec.encode(np.ones((3, 4)))).shape == (3, 0)
    assert build_codec("none", 0).pad_code.shape == (0,)


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_in_no_rows_out(kind):
    codec = fitted(kind, 5)
    codes = codec.encode(np.zeros((0, 5)))
    assert codes.shape == (0, codec.width)
    assert codes.dtype == codec.dtype
    assert codec.decode(codes).shape == (0, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_histories_decode_like_their_rows(kind):
    codec = fitted(kind, 6)
    codes = codec.encode(tanh_shaped(12, 6))
    np.testing.assert_array_equal(
        codec.decode(codes.reshape(3, 4, -1)), codec.decode(codes).reshape(3, 4, 6)
    )
    strided = codec.decode(codes[::2])
    np.testing.assert_array_equal(strided, codec.decode(codes)[::2])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [*KINDS, "none"])
def test_non_finite_embeddings_are_refused_with_their_place(kind, bad):
    z = np.zeros((4, 3))
    z[2, 1] = bad
    codec = fitted(kind, 3)
    for act in (codec.encode, codec.fit):
        with pytest.raises(DataError, match=f"codec {kind}.*{bad}.*row 2, dimension 1"):
            act(z)


def test_wrong_widths_types_and_ranges_are_refused():
    codec = build_codec("int8", 4)
    with pytest.raises(DataError, match=r"expected \(n, 4\), found \(2, 3\)"):
        codec.encode(np.zeros((2, 3)))
    with pytest.raises(DataError, match=r"expected \(\.\.\., 4\) int8, found \(2, 4\) uint8"):
        codec.decode(np.zeros((2, 4), np.uint8))
    with pytest.raises(DataError, match="65504, found 70000"):
        build_codec("f16", 1).encode(np.array([[7e4]]))
    with pytest.raises(DataError, match="no embeddings to fit"):
        build_codec("int4_kmeans", 4).fit(np.zeros((0, 4)))


@pytest.mark.parametrize("kind", ["int4_kmeans", "int4_kmeans_pair"])
def test_learned_codecs_before_fit_are_refused(kind):
    codec = build_codec(kind, 4)
    for act in (lambda: codec.encode(np.zeros((1, 4))), codec.to_dict,
                lambda: codec.decode(np.zeros((1, 2), np.uint8))):  # fmt: skip
        with pytest.raises(DataError, match="call fit first"):
            act()


def test_refitting_replaces_the_levels_everywhere():
    # Both values are nearest to the same starting level, so they get the same code.
    codec = build_codec("int4_kmeans", 2).fit(np.full((9, 2), 0.27))
    codec.decode(codec.encode(np.full((1, 2), 0.27)))
    codec.fit(np.full((9, 2), 0.29))
    np.testing.assert_allclose(codec.decode(codec.encode(np.full((1, 2), 0.29))), 0.29, atol=1e-6)


def test_unknown_kind_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"int4_kmeans.*found 'int3'"):
        build_codec("int3", 4)
    with pytest.raises(ConfigError, match="dim: expected 1 or more, found 0"):
        build_codec("int8", 0)


LEVELS, PAIRS = "int4_kmeans", "int4_kmeans_pair"


@pytest.mark.parametrize(("kind", "change", "message"), [
    (LEVELS, {"kind": "zip"}, "codec.kind.*'zip'"),
    (LEVELS, {"kind": ["f32"]}, "codec.kind"),
    (LEVELS, {"dim": 0}, "codec.dim: expected an integer from 1 up, found 0"),
    (LEVELS, {"dim": "4"}, "codec.dim"),
    (LEVELS, {"centres": None}, "codec.centres"),
    (LEVELS, {"centres": [0.0] * 15}, "codec.centres: expected 16"),
    (LEVELS, {"centres": [0.5] + [0.0] * 15}, "first of them 0"),
    (LEVELS, {"centres": [0.0] * 15 + [float("nan")]}, "codec.centres"),
    (LEVELS, {"centres": [0.0] * 15 + [1.5]}, "codec.centres"),
    (LEVELS, {"centres": "abc"}, "codec.centres"),
    (LEVELS, {"pad_code": [0]}, "codec.pad_code: expected 2 zeros"),
    (PAIRS, {"centres": None}, "codec.centres: expected 2 lists of 512"),
    (PAIRS, {"centres": [[0.0] * 512]}, "codec.centres"),
    (PAIRS, {"centres": [[0.0] * 512, [0.0, 0.1] + [0.0] * 510]}, "first two of each 0"),
    (PAIRS, {"centres": [[0.0] * 511 + [1.5], [0.0] * 512]}, "codec.centres"),
    (PAIRS, {"centres": [[0.0] * 511 + [float("nan")], [0.0] * 512]}, "codec.centres"),
])  # fmt: skip
def test_damaged_descriptions_are_refused(kind, change, message):
    good = fitted(kind, 4).to_dict()
    with pytest.raises(StoreError, match=message):
        codec_from_dict({**good, **change})


def pair_centres(codec) -> np.ndarray:
    return np.array(codec.to_dict()["centres"]).reshape(codec.width, 256, 2)


@pytest.mark.parametrize("dim", [5, 6])
def test_pairs_take_the_nearest_point(dim):
    codec = fitted("int4_kmeans_pair", dim)
    z = np.random.default_rng(3).uniform(-1, 1, (500, dim)).astype(np.float32)
    padded = np.pad(z.astype(np.float64), ((0, 0), (0, dim % 2))).reshape(500, -1, 1, 2)
    distance = np.linalg.norm(padded - pair_centres(codec), axis=-1)  # (n, w, 256)
    chosen = np.take_along_axis(distance, codec.encode(z)[..., None].astype(np.int64), -1)[..., 0]
    # A value is looked up at most half a step of 1/127 away from itself in each dimension.
    assert (chosen <= distance.min(axis=-1) + 2 * np.hypot(1, 1) / 254 + 1e-6).all()
    assert (chosen == distance.min(axis=-1)).mean() > 0.9


def test_pairs_decode_by_hand():
    codec = fitted("int4_kmeans_pair", 5)
    points = pair_centres(codec)
    decoded = codec.decode(np.array([[7, 0, 255], [0, 3, 9]], np.uint8))
    expected = [[*points[0, 7], 0, 0, points[2, 255, 0]], [0, 0, *points[1, 3], points[2, 9, 0]]]
    np.testing.assert_allclose(decoded, expected, atol=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_pairs_beat_levels_where_neighbours_go_together(seed):
    z = tanh_shaped(40_000, 8, seed)
    z[:, 1::2] = np.tanh(0.8 * np.arctanh(np.clip(z[:, ::2], -0.999, 0.999)) + 0.3 * z[:, 1::2])
    train, test = z[:20_000], z[20_000:]
    pairs = mean_squared_error(build_codec("int4_kmeans_pair", 8).fit(train), test)
    levels = mean_squared_error(build_codec("int4_kmeans", 8).fit(train), test)
    assert pairs < 0.7 * levels


def test_pair_fit_is_a_fixed_point_of_lloyd_up_to_its_tolerance():
    z = tanh_shaped(30_000, 2, seed=4)
    codec = build_codec("int4_kmeans_pair", 2).fit(z)
    points = pair_centres(codec)[0]
    assert points[0].tolist() == [0.0, 0.0]
    nearest = np.square(z[:, None, :] - points).sum(axis=-1).argmin(axis=1)
    error = mean_squared_error(codec, z)
    for code in np.unique(nearest[nearest > 0]):
        points[code] = z[nearest == code].mean(axis=0)
    moved = np.square(z - points[nearest]).mean()
    assert moved > 0.98 * error


def test_pair_fit_recovers_separate_points_exactly():
    values = np.array([[-60, 90], [0, 0], [12, -100], [127, 127]]) / 127
    z = np.repeat(values, [5, 1, 300, 2], axis=0)
    codec = build_codec("int4_kmeans_pair", 2).fit(z)
    np.testing.assert_allclose(codec.decode(codec.encode(z)), z, atol=1e-5)


def test_every_kind_is_tested_here():
    assert set(CODECS) == {*KINDS, "none"}
