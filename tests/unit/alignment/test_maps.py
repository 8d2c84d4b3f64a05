"""Maps back to the first checkpoint's space: exact where they can be."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fuxictr_loopfm.alignment.alignments import build_alignment
from fuxictr_loopfm.compression.quantizer import build_codec

CODECS = st.sampled_from(["int4_kmeans", "int4_uniform", "int8", "f16", "f32"])


def drawn(seed: int, rows: int, width: int) -> Tensor:
    """Embeddings in a ball inside [-1, 1]^d, so that a turned one needs no cut."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, width))
    values *= random.random((rows, 1)) * 0.45 / np.linalg.norm(values, axis=1, keepdims=True)
    return torch.from_numpy(values.astype(np.float32))


def orthogonal(seed: int, width: int) -> Tensor:
    random = np.random.default_rng(seed)
    turned, _ = np.linalg.qr(random.normal(size=(width, width)))
    return torch.from_numpy(turned.astype(np.float32))


@settings(max_examples=60)
@given(st.integers(0, 1 << 31), st.integers(1, 16), CODECS, st.floats(-0.5, 0.5))
def test_an_orthogonal_map_undone_gives_the_old_codes_within_the_codecs_error(
    seed: int, width: int, kind: str, shift: float
) -> None:
    first = drawn(seed, 20 * width + 20, width)
    turned = first @ orthogonal(seed + 1, width) + shift
    anchors = len(first) // 2
    alignment = build_alignment("procrustes", {})
    alignment.fit(first[:anchors], turned[:anchors])
    found = alignment.apply(turned[anchors:]).numpy()
    old = first[anchors:].numpy()
    np.testing.assert_allclose(found, old, atol=1e-5)
    codec = build_codec(kind, width)
    codec.fit(first[:anchors].numpy())
    decoded = codec.decode(codec.encode(found))
    error = np.abs(codec.decode(codec.encode(old)) - old)
    assert (np.abs(decoded - old) <= error + 3e-5).all(), "as near as the old code itself"


@settings(max_examples=60)
@given(st.integers(0, 1 << 31), st.integers(2, 10))
def test_a_map_of_least_squares_undoes_any_linear_change(seed: int, width: int) -> None:
    first = drawn(seed, 40 * width, width)
    random = np.random.default_rng(seed)
    scale = torch.from_numpy(random.uniform(0.5, 2, width)).float()
    newest = first @ (orthogonal(seed, width) * scale) + 0.1
    alignment = build_alignment("ridge", {"rho": 0.0})
    alignment.fit(first, newest)
    np.testing.assert_allclose(alignment.apply(newest).numpy(), first.numpy(), atol=1e-4)
    turned_only = build_alignment("procrustes", {})
    turned_only.fit(first, newest)
    left = (turned_only.apply(newest) - first).square().sum()
    assert left <= (newest - first).square().sum() + 1e-6, "never farther than it was"


def test_a_map_limits_to_the_range_of_codes_and_ignores_later_rows() -> None:
    first, other = drawn(1, 50, 4), drawn(2, 50, 4)
    for kind in ("procrustes", "ridge"):
        one = build_alignment(kind, {})
        assert one.apply(other) is other, "the first checkpoint's own embeddings stay"
        one.fit(first, other)
        assert one.apply(50 * other).abs().max() <= 1
        again = build_alignment(kind, {})
        again.load_state(one.state())
        assert torch.equal(again.apply(other), one.apply(other))
        single = torch.cat([one.apply(row[None]) for row in other])
        torch.testing.assert_close(single, one.apply(other))


def test_a_constant_dimension_is_no_trouble() -> None:
    first = drawn(3, 30, 5)
    newest = first.clone()
    newest[:, 2] = 0.25
    for kind in ("procrustes", "ridge"):
        alignment = build_alignment(kind, {"rho": 1e-3})
        alignment.fit(first, newest)
        assert torch.isfinite(alignment.apply(newest)).all()
