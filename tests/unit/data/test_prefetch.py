"""The prefetch thread: order, bounded look-ahead, exceptions and a clean end."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from fuxictr_loopfm.data.prefetch import THREAD_NAME, prefetched


def _threads() -> int:
    return sum(thread.name == THREAD_NAME for thread in threading.enumerate())


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "condition not reached in time"
        time.sleep(0.001)


def test_items_come_in_order_and_the_thread_ends() -> None:
    assert list(prefetched(iter(range(100)))) == list(range(100))
    assert list(prefetched(iter([]))) == []
    assert _threads() == 0


def test_the_producer_runs_in_a_daemon_thread_and_at_most_depth_ahead() -> None:
    made: list[int] = []
    daemons = set()

    def source() -> Iterator[int]:
        for i in range(10):
            daemons.add(threading.current_thread().daemon)
            made.append(i)
            yield i

    items = prefetched(source(), depth=2)
    assert next(items) == 0
    # Item 0 is with the consumer, 1 and 2 wait; 3 is not made before the next request.
    _wait_until(lambda: len(made) == 3)
    time.sleep(0.05)
    assert made == [0, 1, 2]
    assert next(items) == 1
    _wait_until(lambda: len(made) == 4)
    assert daemons == {True}
    assert list(items) == list(range(2, 10))


def test_an_exception_arrives_after_the_items_before_it() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("broken at 3")

    seen = []
    with pytest.raises(ValueError, match="broken at 3"):
        for item in prefetched(source()):
            seen += [item]
    assert seen == [1, 2]
    assert _threads() == 0


def _endless() -> Iterator[int]:
    value = 0
    while True:
        yield value
        value += 1


def test_leaving_the_loop_early_ends_the_thread() -> None:
    for item in prefetched(_endless()):
        if item == 3:
            break
    gc.collect()
    assert _threads() == 0


def test_closing_or_dropping_the_iterator_ends_the_thread() -> None:
    items = prefetched(_endless())
    next(items)
    assert _threads() == 1
    items.close()  # type: ignore[attr-defined]
    assert _threads() == 0
    items = prefetched(_endless())
    next(items)
    del items
    gc.collect()
    assert _threads() == 0


def test_nothing_starts_before_the_first_item_is_wanted() -> None:
    items = prefetched(_endless())
    assert _threads() == 0
    del items
