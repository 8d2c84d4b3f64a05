"""Runs the shards of a stage: in this process, in several, or as tasks of a Ray cluster.

A task writes its shard's file under a temporary name and renames it; it does nothing if the file is
there already. So an engine only has to call each task often enough. What is written does not depend
on the engine, a shard whose worker died is run again, and no data passes through the engine.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import traceback
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol

from fuxictr_loopfm.errors import ConfigError, LoopFMError

ENGINES = ("processes", "ray")
ATTEMPTS = 3
# Sent to a worker in the place of a shard: there are no more.
_STOP = -1

Task = Callable[[int], None]


class Watcher(Protocol):
    """Is told in the calling process how the shards get on, for example to draw a bar."""

    def begun(self, shard: int) -> None:
        """A worker has the shard; again if that one was killed."""

    def done(self, shard: int) -> None:
        """The shard's task returned."""

    def failed(self, shard: int) -> None:
        """The shard's task raised, or its workers were killed too often."""


class _Nobody:
    """Where nobody watches."""

    def begun(self, shard: int) -> None:
        pass

    def done(self, shard: int) -> None:
        pass

    def failed(self, shard: int) -> None:
        pass


def run_shards(
    task: Task,
    shards: Sequence[int],
    *,
    engine: str = "processes",
    workers: int = 1,
    watcher: Watcher | None = None,
) -> None:
    """Call ``task(shard)`` for every shard; return when all are done.

    If a worker is killed, a fresh one runs its shard again and the others go on. If a task raises,
    no further shard is begun, the shards under way are finished, and the error is raised. What was
    written stays, and the next run skips it.

    Args:
        task: writes the file of one shard atomically and skips a finished one. It is sent to the
            workers, so it must be importable there: a module's function, a ``functools.partial``
            of one, or an instance of a module's dataclass.
        shards: their numbers, from 0 up.
        engine: "processes" starts processes on this machine, none for one worker; "ray" uses the
            cluster at RAY_ADDRESS, or a local one that ends with the call.
        workers: how many shards run at a time.
        watcher: told of shards that processes or the caller run, not of those of Ray.

    Raises:
        ConfigError: an unknown engine, no worker, or Ray is asked for and not installed.
        LoopFMError: the workers of one shard were killed ``ATTEMPTS`` times; or the task's own.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine: expected one of {list(ENGINES)}, found {engine!r}")
    if workers < 1:
        raise ConfigError(f"workers: expected 1 or more, found {workers}")
    if not len(shards):
        return
    workers, watcher = min(workers, len(shards)), watcher or _Nobody()
    if engine == "ray":
        _run_on_ray(task, shards, workers)
    elif workers == 1:
        _run_here(task, shards, watcher)
    else:
        _Pool(task, shards, workers, watcher).run()


def _run_here(task: Task, shards: Sequence[int], watcher: Watcher) -> None:
    for shard in shards:
        watcher.begun(shard)
        try:
            task(shard)
        except Exception:
            watcher.failed(shard)
            raise
        watcher.done(shard)


@dataclass(frozen=True)
class _Failure:
    """What a worker sends for a shard that failed.

    Attributes:
        error: to be raised in the parent.
        text: the worker's traceback, "" if the worker is dead.
    """

    error: Exception
    text: str


class _WorkerTraceback(Exception):
    """Shows a worker's traceback as the cause of the error that is raised here."""


def _serve(task: Task, pipe: Connection) -> None:
    """The body of a worker process: shards come in, None or the failure goes out."""
    # An exception unwinds the task, which deletes its temporary files. The parent prints the
    # message of a stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        while (shard := pipe.recv()) != _STOP:
            try:
                task(shard)
            except Exception as error:
                # The pipe pickles. Of these errors it is known that they come out as they were.
                known = isinstance(error, (LoopFMError, OSError))
                sent = error if known else RuntimeError(f"{type(error).__name__}: {error}")
                pipe.send(_Failure(sent, traceback.format_exc()))
            else:
                pipe.send(None)
    except (EOFError, BrokenPipeError):
        return  # The parent is gone.


class _Worker:
    """One process and the shard it is at."""

    def __init__(self, task: Task) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=_serve, args=(task, theirs), daemon=True
        )
        # Ctrl-C sends SIGINT to parent and workers. The parent answers it and ends the workers, so
        # they are started with the signal blocked. The tracker first: starting it, as the first
        # worker would, lifts the block.
        resource_tracker.ensure_running()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        # While a copy of that end is open, the pipe of a dead worker would not report its end.
        theirs.close()
        self.shard: int | None = None

    def begin(self, shard: int) -> bool:
        """Hand the worker a shard; False if it died while it was idle."""
        try:
            self.pipe.send(shard)
        except OSError:
            return False
        self.shard = shard
        return True

    def result(self) -> _Failure | None:
        """None if the shard is done, else its failure.

        Raises:
            EOFError, OSError: the worker is dead.
        """
        found: _Failure | None = self.pipe.recv()
        return found

    def stop(self) -> None:
        """Let an idle worker end, and wait for that."""
        self.begin(_STOP)
        self.pipe.close()
        self.process.join()


class _Pool:
    """Workers that are replaced when they die, and what is left for them to do."""

    def __init__(self, task: Task, shards: Sequence[int], workers: int, watcher: Watcher) -> None:
        self._task = task
        self._watcher = watcher
        self._todo = deque(shards)
        self._deaths: Counter[int] = Counter()
        self._failure: _Failure | None = None
        self._workers = [_Worker(task) for _ in range(workers)]

    def run(self) -> None:
        """Run all shards.

        Raises:
            LoopFMError, OSError, RuntimeError: the failure of a shard.
        """
        try:
            while self._hand_out():
                busy = {each.pipe: each for each in self._workers if each.shard is not None}
                for pipe in wait(list(busy)):
                    self._collect(busy[pipe])  # type: ignore[index]
            for worker in self._workers:
                worker.stop()
        finally:
            for worker in self._workers:
                worker.process.terminate()
            for worker in self._workers:
                worker.process.join()
        if self._failure is not None:
            raise self._failure.error from _WorkerTraceback(self._failure.text)

    def _hand_out(self) -> bool:
        """Give every idle worker a shard; False when nothing is under way any more."""
        if self._failure is not None:
            self._todo.clear()
        for position, worker in enumerate(self._workers):
            while self._todo and worker.shard is None:
                if worker.begin(self._todo[0]):
                    self._watcher.begun(self._todo.popleft())
                else:
                    worker = self._workers[position] = _Worker(self._task)
        return any(worker.shard is not None for worker in self._workers)

    def _collect(self, worker: _Worker) -> None:
        """Take the result of a worker whose pipe has something to read, or has ended."""
        shard, worker.shard = worker.shard, None
        assert shard is not None
        try:
            failure = worker.result()
        except (EOFError, OSError):
            worker.process.join()
            self._bury(worker, shard)
            return
        if failure is None:
            self._watcher.done(shard)
        else:
            self._fail(shard, failure)

    def _fail(self, shard: int, failure: _Failure) -> None:
        self._failure = failure
        self._watcher.failed(shard)

    def _bury(self, worker: _Worker, shard: int) -> None:
        """Put a fresh worker in a dead one's place and its shard back first in the line."""
        code = worker.process.exitcode
        self._deaths[shard] += 1
        logging.warning("The worker of shard %d died (exit code %s)", shard, code)
        if self._deaths[shard] >= ATTEMPTS:
            self._fail(shard, _Failure(_given_up(shard, f"exit code {code}"), ""))
            return
        self._todo.appendleft(shard)
        self._workers[self._workers.index(worker)] = _Worker(self._task)


def _given_up(shard: int, reason: str) -> LoopFMError:
    return LoopFMError(
        f"shard {shard}: its worker died {ATTEMPTS} times ({reason}; -9 is usually a lack of "
        f"memory). Use fewer workers or smaller shards, and run again; finished shards are kept."
    )


def _run_on_ray(task: Task, shards: Sequence[int], workers: int) -> None:
    """Run all shards on a cluster; it is left running if it ran before.

    Raises:
        ConfigError: Ray is not installed.
        Exception: the first failure of a shard.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            "engine: ray is not installed. Install fuxictr_loopfm[ray], or use 'processes'."
        ) from error
    started = not ray.is_initialized()
    if started:
        address = os.environ.get("RAY_ADDRESS")
        # Without an address Ray would join any cluster that it finds running.
        options: dict[str, Any] = (
            {"address": address}
            if address
            else {"address": "local", "num_cpus": workers, "include_dashboard": False}
        )
        ray.init(logging_level=logging.WARNING, **options)
    try:
        _ray_tasks(ray, task, shards, workers)
    finally:
        if started:
            ray.shutdown()


def _ray_tasks(ray: Any, task: Task, shards: Sequence[int], workers: int) -> None:
    """Keep ``workers`` shards under way; Ray itself runs again what a dead node was at."""
    remote = ray.remote(max_retries=ATTEMPTS - 1, num_cpus=1)(_call)
    function = ray.put(task)
    todo = deque(shards)
    running: dict[Any, int] = {}
    failure: Exception | None = None
    while running or (todo and failure is None):
        while todo and failure is None and len(running) < workers:
            shard = todo.popleft()
            running[remote.remote(function, shard)] = shard
        (done, *_), _ = ray.wait(list(running))
        shard = running.pop(done)
        try:
            ray.get(done)
        except ray.exceptions.RayTaskError as error:
            failure = error.cause if isinstance(error.cause, Exception) else error
        except ray.exceptions.RayError as error:
            failure = _given_up(shard, type(error).__name__)
    if failure is not None:
        raise failure


def _call(task: Task, shard: int) -> None:
    """A function, because Ray makes no task of a ``partial`` or of an instance."""
    task(shard)
