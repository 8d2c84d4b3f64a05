"""One thread that prepares the next batches while the consumer works on the current one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")

THREAD_NAME = "loopfm-prefetch"


@dataclass(frozen=True)
class _End:
    """Last entry of the queue; carries the producer's exception if there was one."""

    error: BaseException | None = None


def prefetched(source: Iterator[Item], depth: int = 2) -> Iterator[Item]:
    """Yield the items of ``source``, produced at most ``depth`` ahead by a daemon thread.

    The thread starts with the first item asked for. It ends when the source does, or when the
    consumer closes, breaks off or drops the generator. An exception of the source is raised in the
    consumer after the items that came before it.

    Args:
        source: consumed by the thread only.
        depth: items produced and not yet consumed, 1 or more.
    """
    ready: SimpleQueue[Item | _End] = SimpleQueue()
    free_slots = threading.Semaphore(depth)
    stop = threading.Event()
    thread = threading.Thread(
        target=_produce, args=(source, ready, free_slots, stop), name=THREAD_NAME, daemon=True
    )
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            free_slots.release()
            yield item
    finally:
        stop.set()
        free_slots.release()
        thread.join()


def _produce(
    source: Iterator[Item],
    ready: SimpleQueue[Item | _End],
    free_slots: threading.Semaphore,
    stop: threading.Event,
) -> None:
    error = None
    try:
        while True:
            free_slots.acquire()
            if stop.is_set():
                return
            ready.put(next(source))
    except StopIteration:
        pass
    except BaseException as caught:  # raised again in the consumer
        error = caught
    ready.put(_End(error))
