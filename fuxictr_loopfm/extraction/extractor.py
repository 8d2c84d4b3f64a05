"""Runs a teacher over batches of impressions and yields the logit and embedding of each.

Distillation and the event store both read what comes out of this one inference pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fuxictr_loopfm.errors import DataError
from fuxictr_loopfm.extraction.tap import SOFT_LABEL, Tap, TapRecorder

EVENT_ID = "event_id"
# float32 predictions may be exactly 0 or 1, whose log odds are infinite.
_SMALLEST_PROBABILITY = 1e-7
# Integers above this are no longer all exact in float32.
_EXACT_IN_FLOAT32 = 1 << 24


class EmbeddingBatch(NamedTuple):
    """What one batch of B impressions leaves behind; d is the width of an embedding."""

    event_id: NDArray[np.int64]  # (B,)
    embedding: NDArray[np.float32]  # (B, d)
    logit: NDArray[np.float32]  # (B,) natural-log odds of the teacher's prediction


def extract(
    model: nn.Module,
    taps: Sequence[Tap] | TapRecorder,
    encode: Callable[[Tensor], Tensor] | None,
    batches: Iterable[Mapping[str, Any]],
) -> Iterator[EmbeddingBatch]:
    """Run the teacher in eval mode, without gradients, and yield one result per batch, in order.

    The teacher is in eval mode until the iterator is exhausted or closed; then every module is
    put back into the mode it had. Gradient mode is the caller's own between two results.

    Args:
        model: the teacher; ``model(batch)`` returns a dictionary with ``y_pred`` (B, 1).
        taps: what to read, or a recorder on ``model`` that has been entered.
        encode: activations (B, D) to embeddings (B, d), such as ``Autoencoder.encode``. None
            keeps the activations; a lone ``soft_label`` p then becomes 2 p - 1 (ours).
        batches: dictionaries of tensors with an ``event_id`` (B,), which the model does not get.
            FuxiCTR's models move the others to their device themselves.

    Yields:
        event_id (B,) int64, embedding (B, d) float32 and logit (B,) float32 of a batch, on the CPU.

    Raises:
        DataError: no or inexact event ids, a probability outside [0, 1], row counts that differ,
            or NaN or infinite values.
    """
    recording = nullcontext(taps) if isinstance(taps, TapRecorder) else TapRecorder(model, taps)
    with _evaluating(model), recording as recorder:
        for batch in batches:
            yield _run(model, recorder, encode, batch)


def require_variation(embedding: NDArray[np.float32], taps: str) -> None:
    """Refuse embeddings that are the same for every impression, as those of a dead layer are.

    Args:
        embedding: (n, d) float32, of any n impressions; one alone says nothing.
        taps: names of the tapped layers, for the message.

    Raises:
        DataError: all rows are equal.
    """
    if len(embedding) > 1 and bool((embedding == embedding[0]).all()):
        raise DataError(
            f"loopfm_taps={taps}: expected activations that differ between impressions, found the "
            f"same in all {len(embedding)}: the layer is dead, and its history would say nothing. "
            "Tap another layer, or lower the teacher's learning_rate."
        )


def _run(
    model: nn.Module,
    recorder: TapRecorder,
    encode: Callable[[Tensor], Tensor] | None,
    batch: Mapping[str, Any],
) -> EmbeddingBatch:
    event_id = _event_ids(batch)
    inputs = {name: value for name, value in batch.items() if name != EVENT_ID}
    with torch.no_grad():
        output = model(inputs)
        if not isinstance(output, Mapping) or not isinstance(output.get("y_pred"), Tensor):
            raise DataError(
                f"extraction: {type(model).__name__}: expected a dictionary with the tensor "
                f"y_pred, found {type(output).__name__}"
            )
        activations = recorder.read()
        if encode is not None:
            activations = encode(activations)
        elif [tap.name for tap in recorder.taps] == [SOFT_LABEL]:
            activations = 2.0 * activations - 1.0
    embedding = activations.detach().float().cpu().numpy()
    result = EmbeddingBatch(event_id, embedding, _logits(output["y_pred"]))
    _check(result)
    return result


def _event_ids(batch: Mapping[str, Any]) -> NDArray[np.int64]:
    """(B,) int64; loaders that keep all columns in one matrix deliver them as floats."""
    if EVENT_ID not in batch:
        raise DataError(
            f"extraction: batch: expected the column {EVENT_ID}, found {', '.join(batch)}"
        )
    ids = torch.as_tensor(batch[EVENT_ID]).detach().cpu().reshape(-1)
    if ids.is_floating_point():
        inexact = ids.dtype != torch.float64 and bool((ids.abs() >= _EXACT_IN_FLOAT32).any())
        if inexact or bool((ids != ids.round()).any()):
            raise DataError(
                f"extraction: {EVENT_ID}: expected whole numbers, found {ids.dtype} values that "
                "are none or too large to be exact; deliver int64"
            )
    return ids.to(torch.int64).numpy()


def _logits(prediction: Tensor) -> NDArray[np.float32]:
    """(B,) float32 log odds, in float64 until the end: 1 - p loses its digits in float32."""
    p = prediction.detach().double().cpu().reshape(-1).numpy()
    if not ((p >= 0.0) & (p <= 1.0)).all():
        row = int(np.flatnonzero(~((p >= 0.0) & (p <= 1.0)))[0])
        raise DataError(
            f"extraction: y_pred: expected probabilities in [0, 1], found {p[row]} in row {row}; "
            "the teacher must be a binary classifier that has not diverged"
        )
    p = np.clip(p, _SMALLEST_PROBABILITY, 1.0 - _SMALLEST_PROBABILITY)
    return (np.log(p) - np.log1p(-p)).astype(np.float32)


def _check(result: EmbeddingBatch) -> None:
    rows = [len(part) for part in result]
    if len(set(rows)) != 1:
        raise DataError(
            f"extraction: expected as many embeddings and predictions as event ids ({rows[0]}), "
            f"found {rows[1]} and {rows[2]}"
        )
    if not np.isfinite(result.embedding).all():
        raise DataError("extraction: the compressor returned NaN or infinite embeddings")


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    # Module by module: a model may keep some parts in eval mode while it trains.
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
