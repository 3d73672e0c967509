"""Pools of workers that no worker's death can break.

A `Pool` is a subclass of the standard library's, with the same methods and what these
could not have: a killed worker costs the item that it was at, which raises `WorkerDied`;
all else that it was sent goes to others, and another worker takes its place.

How it works: the Rust core decides which worker does what, sends it there through a queue
in shared memory of the worker's own, and so knows what a dead one was at. Whoever waits
for a result waits for the workers himself, without the interpreter's lock. The pool has
two threads: one starts workers as processes of the pool's context, when the core asks for
them, and tells the core how each ended; the other waits for the workers while nobody else
does, and calls callbacks. The core never calls Python.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterable
from multiprocessing import pool as _stock, util
from multiprocessing.pool import CLOSE, INIT, RUN, TERMINATE, ThreadPool
from typing import NamedTuple

from . import _kinfolk
from ._crew import Crew
from ._pickling import dumps
from ._results import (
    ApplyResult,
    Job,
    MapIterator,
    MapResult,
    Window,
    WorkerDied,
    first_failure,
    reraise,
)

__all__ = ["Pool", "ThreadPool", "WorkerDied", "WorkerState"]

_StockPool = _stock.Pool

#: How a function is called for an item: as the first byte of what travels.
_PLAIN, _STAR, _APPLY = b"\0", b"\1", b"\2"
#: No limit is chosen for this call.
_POOLS = object()


class WorkerState(NamedTuple):
    """What a worker of a pool is at."""

    pid: int
    """Its process id."""
    name: str
    """Its name."""
    ready: bool
    """Whether it has begun: its initializer has returned."""
    items: int
    """How many items it was given."""
    pending: int
    """How many it has at this moment."""
    busy: float
    """For how many seconds it has run items, as far as it has said so."""
    alive: float
    """For how many seconds it was there."""


class Pool(_StockPool):
    """A pool of worker processes.

    Beside what the standard library's takes: `timeout`, how many seconds an item may take
    before its worker is ended and it raises `TimeoutError`; `retries`, how often an item is
    tried again whose worker died; `memory_limit`, how many bytes of data each worker may
    have. `timeout` and `retries` can be chosen in each call, too.

    `maxtasksperchild` counts chunks. What is not done when the pool is terminated raises
    `concurrent.futures.CancelledError`. If workers cannot begin, three times in a row, what
    was asked for raises the reason; what is asked for next tries again.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable = (),
        maxtasksperchild: int | None = None,
        context=None,
        *,
        timeout: float | None = None,
        retries: int = 0,
        memory_limit: int | None = None,
    ) -> None:
        if not isinstance(self, Pool):
            # The standard library's pool of threads, when this stands in its module.
            _StockPool.__init__(self, processes, initializer, initargs, maxtasksperchild, context)
            return
        # First, for __del__ if this raises.
        self._pool: list = []
        self._state = INIT
        if context is None:
            from .context import _default_context

            context = _default_context.get_context()
        self._ctx = context
        if processes is None:
            count = getattr(os, "process_cpu_count", os.cpu_count)
            processes = count() or 1
        if processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None:
            if not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0:
                raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._processes = processes
        self._maxtasksperchild = maxtasksperchild
        self._initializer, self._initargs = initializer, initargs
        self._timeout, self._retries = timeout, retries
        self._core = _kinfolk.PoolCore(processes, maxtasksperchild, memory_limit is not None)
        self._crew = Crew(
            self._core, context, self.Process, self._pool, (initializer, initargs, memory_limit)
        )
        self._cache = self._crew.told
        self._crew.start_first()
        self._worker_handler = threading.Thread(target=Crew.look_after, args=(self._crew,))
        self._result_handler = threading.Thread(target=Crew.call_back, args=(self._crew,))
        self._task_handler = self._worker_handler
        for thread in (self._worker_handler, self._result_handler):
            thread.daemon = True
            thread.start()
        self._terminate = util.Finalize(self, self._crew.terminate, exitpriority=15)
        self._state = RUN

    def __del__(self, _warn=warnings.warn, RUN=RUN) -> None:
        if self._state == RUN:
            _warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self)

    def apply(self, func, args=(), kwds={}, *, timeout=_POOLS, retries=_POOLS):
        """Calls `func(*args, **kwds)` in a worker, and returns the result."""
        self._check_running()
        job = self._begin(func, _APPLY, False, timeout, retries)
        try:
            job.give([(args, kwds)], 0, 1, 1)
            _, (result,), failed = job.take(None, None)
        except BaseException:
            # Nobody else has it.
            job.core.cancel()
            raise
        if failed:
            reraise(result.error)
        return result

    def apply_async(
        self,
        func,
        args=(),
        kwds={},
        callback=None,
        error_callback=None,
        *,
        timeout=_POOLS,
        retries=_POOLS,
    ) -> ApplyResult:
        """Calls `func(*args, **kwds)` in a worker meanwhile; callbacks are called with the
        result, or with what was raised, in a thread of the pool."""
        self._check_running()
        job = self._begin(func, _APPLY, True, timeout, retries)
        result = ApplyResult(self, job, callback, error_callback)
        result._give([(args, kwds)], 1)
        return result._leave()

    def map(
        self, func, iterable, chunksize=None, *, timeout=_POOLS, retries=_POOLS, progress=None
    ) -> list:
        """Calls `func(item)` for each item, and returns the results in their order, when
        all are done; or raises what the first that failed has raised.

        `progress` is called with how many are done and of how many; with `True` it is a bar
        of tqdm, if that is installed.
        """
        return self._map_now(func, iterable, _PLAIN, chunksize, timeout, retries, progress)

    def starmap(
        self, func, iterable, chunksize=None, *, timeout=_POOLS, retries=_POOLS, progress=None
    ) -> list:
        """As `map`, but calls `func(*item)`."""
        return self._map_now(func, iterable, _STAR, chunksize, timeout, retries, progress)

    def map_async(
        self,
        func,
        iterable,
        chunksize=None,
        callback=None,
        error_callback=None,
        *,
        timeout=_POOLS,
        retries=_POOLS,
    ) -> MapResult:
        """As `map`, meanwhile; callbacks are called as of `apply_async`. All items are
        encoded before it returns."""
        return self._map_later(
            func, iterable, _PLAIN, chunksize, callback, error_callback, timeout, retries
        )

    def starmap_async(
        self,
        func,
        iterable,
        chunksize=None,
        callback=None,
        error_callback=None,
        *,
        timeout=_POOLS,
        retries=_POOLS,
    ) -> MapResult:
        """As `map_async`, but calls `func(*item)`."""
        return self._map_later(
            func, iterable, _STAR, chunksize, callback, error_callback, timeout, retries
        )

    def imap(
        self, func, iterable, chunksize=1, *, timeout=_POOLS, retries=_POOLS, buffer=None
    ) -> MapIterator:
        """Returns an iterator of the results of `func(item)`, in the items' order.

        It is lazy: items are taken from `iterable` by the thread that asks for results (or
        joins the pool), no more than `buffer` ahead of them; some chunks for each worker
        unless told otherwise.
        """
        return self._imap(func, iterable, chunksize, timeout, retries, buffer, True)

    def imap_unordered(
        self, func, iterable, chunksize=1, *, timeout=_POOLS, retries=_POOLS, buffer=None
    ) -> MapIterator:
        """As `imap`, but gives results as they come."""
        return self._imap(func, iterable, chunksize, timeout, retries, buffer, False)

    def close(self) -> None:
        """Takes no more tasks. Those that there are, are done; then the workers end."""
        util.debug("closing pool")
        if self._state == RUN:
            self._state = CLOSE
            self._crew.close()

    def terminate(self) -> None:
        """Kills all workers, and what they have started. May be called from anywhere."""
        util.debug("terminating pool")
        self._state = TERMINATE
        self._terminate()

    def join(self) -> None:
        """Waits until all is done and all workers have ended, after `close` or `terminate`.
        What lazy maps have not taken yet they take now."""
        util.debug("joining pool")
        if self._state == RUN:
            raise ValueError("Pool is still running")
        elif self._state not in (CLOSE, TERMINATE):
            raise ValueError("In unknown state")
        if self._state == CLOSE:
            self._crew.exhaust()
        self._core.join()
        for thread in (self._worker_handler, self._result_handler):
            if thread is not threading.current_thread():
                thread.join()

    def workers(self) -> list[WorkerState]:
        """Returns what each worker is at."""
        return [WorkerState(*state) for state in self._core.workers()]

    def _repopulate_pool(self) -> None:
        self._crew.attend()

    def _begin(self, func, kind: bytes, background: bool, timeout, retries) -> Job:
        timeout = self._timeout if timeout is _POOLS else timeout
        retries = self._retries if retries is _POOLS else retries
        try:
            function, reason = kind + dumps(func), None
        except Exception as error:
            function, reason = kind, error
        return Job(self._core.begin(function, background, timeout, retries), reason)

    def _map_now(self, func, iterable, kind, chunksize, timeout, retries, progress) -> list:
        self._check_running()
        items = list(iterable)
        size = 1 if self._has_limit(timeout) else self._size(len(items), chunksize)
        job = self._begin(func, kind, False, timeout, retries)
        values = [None] * len(items)
        tell = _progress(progress)
        window = Window(self._processes, size)
        place = taken = 0
        failure: tuple[int, BaseException] | None = None
        try:
            while True:
                room = window.room(taken)
                if place < len(items) and room:
                    place, chunks = job.give(items, place, size, room)
                    window.gave(place, chunks)
                batch = job.take(None, None)
                if batch is None:
                    break
                first, results, failed = batch
                if failed and (failure is None or first < failure[0]):
                    failure = first_failure(first, results)
                values[first : first + len(results)] = results
                taken += len(results)
                if tell is not None:
                    tell(taken, len(items))
        except BaseException:
            job.core.cancel()
            raise
        if failure is not None:
            reraise(failure[1])
        return values

    def _map_later(
        self, func, iterable, kind, chunksize, callback, error_callback, timeout, retries
    ) -> MapResult:
        self._check_running()
        items = list(iterable)
        size = 1 if self._has_limit(timeout) else self._size(len(items), chunksize)
        job = self._begin(func, kind, True, timeout, retries)
        if not items:
            callback = error_callback = None
        result = MapResult(self, job, callback, error_callback)
        result._give(items, size)
        return result._leave()

    def _imap(self, func, iterable, chunksize, timeout, retries, buffer, ordered) -> MapIterator:
        self._check_running()
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize:n}")
        if buffer is not None and buffer < 1:
            raise ValueError("buffer must be at least 1")
        size = 1 if self._has_limit(timeout) else chunksize
        job = self._begin(func, _PLAIN, True, timeout, retries)
        return MapIterator(self, job, iter(iterable), size, buffer, ordered)

    def _has_limit(self, timeout) -> bool:
        return (self._timeout if timeout is _POOLS else timeout) is not None

    def _size(self, length: int, chunksize: int | None) -> int:
        if chunksize is not None:
            return max(1, chunksize)
        # As the standard library's.
        return max(1, -(-length // (self._processes * 4)))


def _progress(progress) -> Callable[[int, int], object] | None:
    if progress is None or progress is False:
        return None
    if progress is not True:
        return progress
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None
    bar = tqdm()

    def tell(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return tell
