"""The inner loops of table steps on a CPU, compiled by numba: one pass over the rows of a batch.

Written out, a step is a dozen passes over a few thousand rows, and each pass of torch costs more in
its call than in its work. The torch forms of the same arithmetic are in ``rules.py``; they run on
GPUs, and tests hold the two equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

Array = np.ndarray
Function = TypeVar("Function", bound=Callable[..., Any])
# Gaps up to this are taken term by term: as fast, and as the dense optimizer does it.
_FEW = 4
# Division by zero gives infinity, as in numpy: checks would keep loops from being vectorised.
_numba: Any = njit(cache=True, error_model="numpy")


def _compiled(function: Function) -> Function:
    return cast(Function, _numba(function))


@_compiled
def distinct(index: Array, mark: Array) -> tuple[Array, Array]:
    """Distinct values of ``index`` (M,) in order of appearance, and where each value is among them.

    Args:
        index: (M,) int64 rows.
        mark: (N,) int32, all -1, and -1 again afterwards.
    Returns:
        (U,) int64 rows and (M,) int64 places.
    """
    rows = np.empty(len(index), np.int64)
    inverse = np.empty(len(index), np.int64)
    count = 0
    for i in range(len(index)):
        row = index[i]
        if mark[row] < 0:
            mark[row] = count
            rows[count] = row
            count += 1
        inverse[i] = mark[row]
    for i in range(count):
        mark[rows[i]] = -1
    return rows[:count].copy(), inverse


@_compiled
def summed(inverse: Array, grad: Array, count: int) -> Array:
    """(U, w) sums of the rows of ``grad`` (M, w) that have one place in ``inverse`` (M,)."""
    total = np.zeros((count, grad.shape[1]), np.float32)
    for i in range(len(inverse)):
        place = inverse[i]
        for c in range(grad.shape[1]):
            total[place, c] += grad[i, c]
    return total


@_compiled
def _corrections(
    step: int, constants: tuple[float, float, float, float, float]
) -> tuple[float, float]:
    """What bias correction makes of the learning rate, negative, and of the root; float32."""
    lr, beta1, beta2, _, _ = constants
    f = np.float32
    return f(-lr / (1.0 - beta1**step)), f(math.sqrt(1.0 - beta2**step))


@_compiled
def _move(
    weight: Array,
    first: Array,
    second: Array,
    corrections: tuple[float, float],
    constants: tuple[float, float, float, float, float],
) -> None:
    """Move one row (w,) by its momenta after a step, in torch's order of operations.

    The same order gives the same bits as the dense optimizer for rows that are read often, whose
    rounding errors would add up otherwise.

    Args:
        weight, first, second: of the row.
        corrections: ``_corrections`` of the step.
        constants: lr, beta1, beta2, eps, shrink.
    """
    _, _, _, eps, shrink = constants
    rate, correction = corrections
    f = np.float32
    small = f(eps)
    if shrink != 1.0:
        for c in range(len(weight)):
            weight[c] -= f(1.0 - shrink) * weight[c]
    if len(second) == len(weight):
        for c in range(len(weight)):
            weight[c] += rate * first[c] / (f(math.sqrt(second[c])) / correction + small)
    else:
        root = f(math.sqrt(second[0])) / correction + small
        for c in range(len(weight)):
            weight[c] += rate * first[c] / root


@_compiled
def adam_update(
    weight: Array,
    first: Array,
    second: Array,
    rows: Array,
    grad: Array,
    step: Array,
    constants: tuple[float, float, float, float, float],
) -> None:
    """One step of Adam on rows of a block, in place; as ``rules.Adam.update``.

    Args:
        weight, first: (N, w) float32; second (N, w), or (N, 1) for one value a row.
        rows: (U,) int64. grad: (U, w) float32. step: (U,) int64, from 1.
        constants: lr, beta1, beta2, eps, shrink.
    """
    lr, beta1, beta2, _, shrink = constants
    f = np.float32
    width, widths = weight.shape[1], second.shape[1]
    take1, keep2, take2 = f(1.0 - beta1), f(beta2), f(1.0 - beta2)
    known = step[0] if len(step) else 0
    corrections = _corrections(known, constants)
    for i in range(len(rows)):
        row = rows[i]
        # Mostly all rows have one step, and powers cost more than the row.
        if step[i] != known:
            known = step[i]
            corrections = _corrections(known, constants)
        if widths == width:
            for c in range(width):
                second[row, c] = second[row, c] * keep2 + take2 * grad[i, c] * grad[i, c]
        else:
            square = f(0.0)
            for c in range(width):
                square += grad[i, c] * grad[i, c]
            second[row, 0] = second[row, 0] * keep2 + take2 * (square / f(width))
        for c in range(width):
            first[row, c] += take1 * (grad[i, c] - first[row, c])
        _move(weight[row], first[row], second[row], corrections, constants)


@_compiled
def adam_catch_up(
    weight: Array,
    first: Array,
    second: Array,
    last: Array,
    rows: Array,
    now: Array,
    nodes: Array,
    weights: Array,
    constants: tuple[float, float, float, float, float],
    limits: tuple[int, int],
) -> None:
    """Steps without a gradient on rows of a block, in place; as ``rules.Adam.catch_up``.

    Args:
        weight, first, second: as in ``adam_update``.
        last: (N,) int32, set to ``now`` for the rows.
        rows: (U,) int64. now: (U,) int64.
        nodes, weights: (S, 3) float64 of ``DecayTable``, S above every ``now``.
        constants: lr, beta1, beta2, eps, shrink.
        limits: the step from which the closed form holds, and the terms after which a sum ends.
    """
    lr, beta1, beta2, eps, shrink = constants
    first_step, num_terms = limits
    f = np.float32
    width, widths = weight.shape[1], second.shape[1]
    take1, keep2, small = f(1.0 - beta1), f(beta2), f(eps)
    root = np.empty(width, np.float32)
    for i in range(len(rows)):
        row, t = rows[i], now[i]
        s = last[row]
        if s >= t:
            continue
        last[row] = t
        gap = t - s
        if s == 0:
            if shrink != 1.0:
                for c in range(width):
                    weight[row, c] *= f(shrink**gap)
            continue
        if gap <= _FEW or s < first_step:
            terms = min(gap, num_terms)
            for j in range(1, terms + 1):
                for c in range(width):
                    first[row, c] -= take1 * first[row, c]
                for c in range(widths):
                    second[row, c] *= keep2
                corrections = _corrections(s + j, constants)
                _move(weight[row], first[row], second[row], corrections, constants)
            for c in range(width):
                first[row, c] *= f(beta1 ** (gap - terms))
                weight[row, c] *= f(shrink ** (gap - terms))
            for c in range(widths):
                second[row, c] *= f(beta2 ** (gap - terms))
            continue
        for c in range(width):
            root[c] = math.sqrt(second[row, c if widths == width else 0])
        # What the state would do for ever, less what its remainder would.
        left_first, left_second, shrunk = beta1**gap, beta2**gap, shrink**gap
        scale, own, rest = math.sqrt(left_second), lr * shrunk, lr * left_first
        a0, a1, a2 = f(nodes[s, 0]), f(nodes[s, 1]), f(nodes[s, 2])
        b0, b1, b2 = f(nodes[t, 0] * scale), f(nodes[t, 1] * scale), f(nodes[t, 2] * scale)
        u0, u1, u2 = f(own * weights[s, 0]), f(own * weights[s, 1]), f(own * weights[s, 2])
        v0, v1, v2 = f(rest * weights[t, 0]), f(rest * weights[t, 1]), f(rest * weights[t, 2])
        for c in range(width):
            x = root[c]
            before = u0 / (a0 * x + small) + u1 / (a1 * x + small) + u2 / (a2 * x + small)
            after = v0 / (b0 * x + small) + v1 / (b1 * x + small) + v2 / (b2 * x + small)
            weight[row, c] = weight[row, c] * f(shrunk) - (before - after) * first[row, c]
        for c in range(width):
            first[row, c] *= f(left_first)
        for c in range(widths):
            second[row, c] *= f(left_second)
