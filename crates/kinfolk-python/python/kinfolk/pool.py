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
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from multiprocessing import TimeoutError, pool as _stock, util
from multiprocessing.connection import wait
from multiprocessing.pool import CLOSE, INIT, RUN, TERMINATE, MaybeEncodingError, ThreadPool
from typing import NamedTuple

from . import _kinfolk, _worker
from ._pickling import dumps, loads

__all__ = ["Pool", "ThreadPool", "WorkerDied", "WorkerState"]

_StockPool, _StockResult = _stock.Pool, _stock.ApplyResult
_StockIterator = _stock.IMapIterator

#: How a function is called for an item: as the first byte of what travels.
_PLAIN, _STAR, _APPLY = b"\0", b"\1", b"\2"
#: How many chunks are under way for each worker, at most; of small ones more.
_UNDER_WAY, _MORE = 4, 64
#: A chunk of fewer items is small.
_SMALL = 64
#: No limit is chosen for this call.
_POOLS = object()


class WorkerDied(RuntimeError):
    """The worker that ran an item died. The item may have been half done."""

    def __init__(self, message: str, pid: int, exitcode: int | None, item: int) -> None:
        super().__init__(message, pid, exitcode, item)
        self.pid = pid
        """The process id of the worker."""
        self.exitcode = exitcode
        """Its exit code; `None` if that is not known."""
        self.item = item
        """Which item it was, from 0."""

    @property
    def signal(self) -> int | None:
        """The number of the signal that killed it; `None` if it exited."""
        return -self.exitcode if self.exitcode is not None and self.exitcode < 0 else None

    def __str__(self) -> str:
        return self.args[0]


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


class _Failure:
    """What came of an item instead of a value."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


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
        self._crew = _Crew(
            self._core, context, self.Process, self._pool, (initializer, initargs, memory_limit)
        )
        self._cache = self._crew.told
        self._crew.start_first()
        self._worker_handler = threading.Thread(target=_Crew.look_after, args=(self._crew,))
        self._result_handler = threading.Thread(target=_Crew.call_back, args=(self._crew,))
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
            _raise(result.error)
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

    def _begin(self, func, kind: bytes, background: bool, timeout, retries) -> _Job:
        timeout = self._timeout if timeout is _POOLS else timeout
        retries = self._retries if retries is _POOLS else retries
        try:
            function, reason = kind + dumps(func), None
        except Exception as error:
            function, reason = kind, error
        return _Job(self._core.begin(function, background, timeout, retries), reason)

    def _map_now(self, func, iterable, kind, chunksize, timeout, retries, progress) -> list:
        self._check_running()
        items = list(iterable)
        size = 1 if self._has_limit(timeout) else self._size(len(items), chunksize)
        job = self._begin(func, kind, False, timeout, retries)
        values = [None] * len(items)
        tell = _progress(progress)
        window = _Window(self._processes, size)
        place = taken = 0
        first_failure: tuple[int, BaseException] | None = None
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
                if failed and (first_failure is None or first < first_failure[0]):
                    first_failure = _first_failure(first, results)
                values[first : first + len(results)] = results
                taken += len(results)
                if tell is not None:
                    tell(taken, len(items))
        except BaseException:
            job.core.cancel()
            raise
        if first_failure is not None:
            _raise(first_failure[1])
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


class _Job:
    """What was asked of the core in one call, and why items of it could not be encoded."""

    def __init__(self, core: _kinfolk.Job, unpicklable: Exception | None) -> None:
        self.core = core
        self._unpicklable = unpicklable
        self._refused: dict[int, BaseException] = {}

    def give(self, items: list, place: int, size: int, most: int) -> tuple[int, int]:
        """Gives items from a place on, in at most so many chunks; returns where it
        stopped, and how many chunks they were."""
        encode = dumps if self._unpicklable is None else self._refuse
        if self._unpicklable is not None:
            items, place, end = [_Opaque] * (len(items) - place), 0, len(items)
            _, chunks, refused = self.core.give(items, place, size, sys.maxsize, encode)
            place = end
        else:
            place, chunks, refused = self.core.give(items, place, size, most, encode)
        self._refused.update(refused)
        return place, chunks

    def take(self, number: int | None, timeout: float | None):
        """As the core's."""
        return self.core.take(number, timeout, loads, self._fail)

    def _refuse(self, _item):
        assert self._unpicklable is not None
        raise self._unpicklable

    def _fail(self, number: int, kind: str, what, more) -> _Failure:
        """What came of an item, of the core's words."""
        error: BaseException
        if number in self._refused:
            error = self._refused.pop(number)
        elif kind == "raised":
            error = _rebuild(what, more, number)
        elif kind == "unreadable":
            error = what
        elif kind == "died":
            pid, exitcode = more
            hint = " (out of memory?)" if exitcode == -signal.SIGKILL else ""
            error = WorkerDied(what + hint, pid, exitcode, number)
        elif kind == "timeout":
            error = TimeoutError(what)
        elif kind == "cancelled":
            from concurrent.futures import CancelledError

            error = CancelledError(what)
        else:
            error = RuntimeError(what)
        return _Failure(error)


class _Opaque:
    """In the place of an item whose function cannot be pickled."""


class _Window:
    """How many chunks may be under way."""

    def __init__(self, workers: int, size: int) -> None:
        self._most = workers * (_MORE if size < _SMALL else _UNDER_WAY)
        self._given = self._chunks = 0

    def room(self, taken: int) -> int:
        """How many more, when so many results were taken."""
        if not self._chunks:
            return self._most
        each = max(1, self._given // self._chunks)
        return max(0, self._most - -(-(self._given - taken) // each))

    def gave(self, given: int, chunks: int) -> None:
        """So many items are given in all, in so many chunks more."""
        self._given = given
        self._chunks += chunks


class ApplyResult(_StockResult):
    """The result of `Pool.apply_async`, when it is there."""

    _many = False

    def __init__(self, pool: Pool, job: _Job, callback, error_callback) -> None:
        self._pool: Pool | None = pool
        self._work: _Job | None = job
        self._callback, self._error_callback = callback, error_callback
        self._event = threading.Event()
        self._lock = threading.RLock()
        self._job = job.core.number
        self._total = 0

    def ready(self) -> bool:
        """Whether it is there, and callbacks were called."""
        work = self._work
        if self._event.is_set() or work is None:
            return True
        return not self._has_callback() and work.core.done()[0]

    def wait(self, timeout: float | None = None) -> None:
        """Waits until it is ready."""
        work = self._work
        if self._has_callback() or work is None:
            self._event.wait(timeout)
        else:
            work.core.wait(timeout)

    def get(self, timeout: float | None = None):
        """Waits for the result and returns it, or raises what was raised. Raises
        `TimeoutError` if it is not ready in time."""
        self.wait(timeout)
        if not self.ready():
            raise TimeoutError
        self._settle()
        if self._success:
            return self._value
        _raise(self._value)

    def successful(self) -> bool:
        """Whether nothing was raised. Raises ValueError if it is not ready."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        self._settle()
        return self._success

    def cancel(self) -> bool:
        """Cancels it: what was not begun is not, and the worker that is at it is ended.
        It raises `concurrent.futures.CancelledError`. Returns whether there was anything
        to cancel."""
        work = self._work
        return work is not None and work.core.cancel()

    def _has_callback(self) -> bool:
        return self._callback is not None or self._error_callback is not None

    def _give(self, items: list, size: int) -> None:
        assert self._work is not None
        self._total = len(items)
        place = 0
        while place < len(items):
            place, _ = self._work.give(items, place, size, sys.maxsize)

    def _leave(self):
        """Leaves it to the pool."""
        if self._has_callback():
            assert self._pool is not None and self._work is not None
            self._pool._crew.told[self._job] = self
            self._work.core.tell()
        return self

    def _settle(self) -> None:
        """Takes the results when all are there."""
        with self._lock:
            if self._work is None:
                return
            values = [None] * self._total
            failure: tuple[int, BaseException] | None = None
            while (batch := self._work.take(None, None)) is not None:
                first, results, failed = batch
                if failed and (failure is None or first < failure[0]):
                    failure = _first_failure(first, results)
                values[first : first + len(results)] = results
            self._success = failure is None
            if failure is not None:
                self._value = failure[1]
            else:
                self._value = values if self._many else values[0]
            self._work = self._pool = None

    def _finish(self) -> None:
        """Calls back, when all are there."""
        try:
            self._settle()
            if self._success and self._callback is not None:
                self._callback(self._value)
            elif not self._success and self._error_callback is not None:
                self._error_callback(self._value)
        except BaseException:
            thread = threading.current_thread()
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), thread)))
        finally:
            self._event.set()


AsyncResult = ApplyResult


class MapResult(ApplyResult):
    """The results of `Pool.map_async`, when all are there."""

    _many = True


class MapIterator(_StockIterator):
    """The results of `Pool.imap`, as they are asked for."""

    def __init__(self, pool: Pool, job: _Job, items, size: int, buffer, ordered: bool) -> None:
        self._pool: Pool | None = pool
        self._work = job
        self._source = items
        self._size, self._buffer, self._ordered = size, buffer, ordered
        self._window = _Window(pool._processes, size)
        self._lock = threading.RLock()
        self._results: deque = deque()
        self._given = self._taken = 0
        self._reason: BaseException | None = None
        self._crew = pool._crew
        self._crew.feeds[id(self)] = self
        self._feed(False)

    def next(self, timeout: float | None = None):
        """Returns the next result, or raises what was raised for it. Raises `TimeoutError`
        if it does not come in time."""
        with self._lock:
            while not self._results:
                self._feed(False)
                batch = self._work.take(self._taken if self._ordered else None, timeout)
                if batch is False:
                    raise TimeoutError
                if batch is None:
                    if self._source is not None:
                        continue
                    self._pool = None
                    if self._reason is not None:
                        reason, self._reason = self._reason, None
                        raise reason
                    raise StopIteration
                self._results.extend(batch[1])
                self._taken += len(batch[1])
            result = self._results.popleft()
        if type(result) is _Failure:
            _raise(result.error)
        return result

    __next__ = next

    def cancel(self) -> bool:
        """Takes no more items, and cancels those that were taken: they raise
        `concurrent.futures.CancelledError`. Returns whether there was anything to
        cancel."""
        with self._lock:
            self._end()
            return self._work.core.cancel()

    def __del__(self) -> None:
        # What was not taken is nobody's.
        if getattr(self, "_source", None) is not None:
            self._end()

    def _feed(self, all: bool) -> None:
        """Takes items as far as may be, or all."""
        with self._lock:
            while self._source is not None:
                room = sys.maxsize if all else self._room()
                if room <= 0:
                    return
                chunk: list = []
                try:
                    for _ in range(self._size):
                        chunk.append(next(self._source))
                except StopIteration:
                    self._end()
                except Exception as error:
                    # As the standard library does, without what was to be in its chunk.
                    self._reason = error
                    chunk.clear()
                    self._end()
                place = 0
                while place < len(chunk):
                    place, chunks = self._work.give(chunk, place, self._size, sys.maxsize)
                    self._window.gave(self._given + place, chunks)
                self._given += len(chunk)

    def _room(self) -> int:
        asked_for = self._taken - len(self._results)
        if self._buffer is not None:
            return self._buffer - (self._given - asked_for)
        return self._window.room(asked_for)

    def _end(self) -> None:
        self._source = None
        self._crew.exhausted(id(self))


class _Crew:
    """The workers of a pool, and who looks after them. It does not know the pool, which
    ends when nobody has it any more."""

    def __init__(self, core, ctx, make, processes: list, args: tuple) -> None:
        self._core, self._ctx, self._make, self._args = core, ctx, make, args
        self._processes = processes
        self._numbers: dict = {}
        self._lock = threading.RLock()
        self._closed = False
        #: The results that are to be told of.
        self.told: dict[int, ApplyResult] = {}
        #: The lazy maps that have not taken all they will.
        self.feeds: dict[int, MapIterator] = _weak()

    def start_first(self) -> None:
        """Starts the first workers: all or none."""
        started: list = []
        try:
            for number in self._core.asked():
                started.append((number, *self._start(number)))
        except BaseException:
            for _, process, _ in started:
                if process.exitcode is None:
                    process.terminate()
            for _, process, _ in started:
                process.join()
            raise
        for one in started:
            self._hand_in(*one)

    def attend(self) -> None:
        """Tells the core of workers that have ended, and starts those that it wants."""
        with self._lock:
            for process in list(self._processes):
                if process.exitcode is not None:
                    self._bury(process)
            for number in self._core.asked():
                try:
                    process, lane = self._start(number)
                except Exception as error:
                    self._core.start_failed(number, f"{type(error).__name__}: {error}")
                else:
                    self._hand_in(number, process, lane)

    def look_after(self) -> None:
        """Attends to the workers until there are none and will be none."""
        while True:
            wait([self._core, *[process.sentinel for process in list(self._processes)]], 0.5)
            self.attend()
            if self._core.join(0):
                return

    def call_back(self) -> None:
        """Waits for the workers while nobody else does, and calls callbacks."""
        while (number := self._core.serve()) is not None:
            result = self.told.pop(number, None)
            if result is not None:
                result._finish()
            result = None

    def close(self) -> None:
        """Takes no more tasks, when lazy maps have taken what they will."""
        with self._lock:
            self._closed = True
            if not self.feeds:
                self._core.close()

    def exhaust(self) -> None:
        """Has lazy maps take what they will."""
        for feed in list(self.feeds.values()):
            feed._feed(True)

    def exhausted(self, feed: int) -> None:
        """A lazy map has taken what it will."""
        self.feeds.pop(feed, None)
        if self._closed and not self.feeds:
            self._core.close()

    def terminate(self) -> None:
        """Kills all workers."""
        self._core.terminate()
        with self._lock:
            for process in list(self._processes):
                process.join(5)
                if process.exitcode is not None:
                    self._bury(process)

    def _start(self, number: int):
        lane = _kinfolk.Lane(number)
        process = self._make(
            self._ctx, target=_worker.work, args=(_worker.Ends(lane.fds()), *self._args)
        )
        process.name = process.name.replace("Process", "PoolWorker")
        process.daemon = True
        # It is quiet from its first moment.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return process, lane

    def _hand_in(self, number: int, process, lane) -> None:
        pidfd = getattr(process._popen, "pidfd", None)
        own = None
        if pidfd is None:
            try:
                pidfd = own = os.pidfd_open(process.pid)
            except ProcessLookupError:
                self._core.start_failed(number, f"{process.name} has ended at once")
                process.join()
                return
        try:
            wanted = self._core.hand_in(lane, process.name, process.pid, pidfd)
        finally:
            if own is not None:
                os.close(own)
        if wanted:
            self._numbers[process] = number
            self._processes.append(process)
        else:
            process.kill()
            process.join()

    def _bury(self, process) -> None:
        process.join()
        if process in self._processes:
            self._processes.remove(process)
            self._core.ended(self._numbers.pop(process), process.exitcode)


def _weak():
    from weakref import WeakValueDictionary

    return WeakValueDictionary()


def _rebuild(content: bytes, worker: str, item: int) -> BaseException:
    """What a function has raised, with where that was."""
    pickle, trace, text = loads(content)
    try:
        error = loads(pickle)
        if not isinstance(error, BaseException):
            raise TypeError("it is no exception any more")
    except BaseException as reason:
        error = MaybeEncodingError(reason, text)
    error.__cause__ = _stock.RemoteTraceback(f'\n"""\n{worker}, item {item}:\n{trace}"""')
    return error


def _first_failure(first: int, results: list) -> tuple[int, BaseException]:
    for number, result in enumerate(results, first):
        if type(result) is _Failure:
            return number, result.error
    raise AssertionError("there is one")


def _raise(error: BaseException):
    """Raises it without a circle of references from its frames."""
    try:
        raise error
    finally:
        del error


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
