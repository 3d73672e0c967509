"""The results of a pool, as they come from the core."""

from __future__ import annotations

import signal
import sys
import threading
from collections import deque
from multiprocessing import TimeoutError, pool as _stock
from multiprocessing.pool import MaybeEncodingError
from typing import TYPE_CHECKING

from . import _kinfolk
from ._pickling import dumps, loads

if TYPE_CHECKING:
    from .pool import Pool

__all__ = [
    "ApplyResult",
    "Job",
    "MapIterator",
    "MapResult",
    "Window",
    "WorkerDied",
    "first_failure",
    "reraise",
]

_StockResult, _StockIterator = _stock.ApplyResult, _stock.IMapIterator

#: How many chunks are under way for each worker, at most; of small ones more.
_UNDER_WAY, _MORE = 4, 64
#: A chunk of fewer items is small.
_SMALL = 64


class WorkerDied(RuntimeError):
    """The worker that ran an item died. The item may have been half done."""

    __module__ = "kinfolk"

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


class _Failure:
    """What came of an item instead of a value."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Job:
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


class Window:
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

    def __init__(self, pool: Pool, job: Job, callback, error_callback) -> None:
        self._pool: Pool | None = pool
        self._work: Job | None = job
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
        reraise(self._value)

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
                    failure = first_failure(first, results)
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


class MapResult(ApplyResult):
    """The results of `Pool.map_async`, when all are there."""

    _many = True


class MapIterator(_StockIterator):
    """The results of `Pool.imap`, as they are asked for."""

    def __init__(self, pool: Pool, job: Job, items, size: int, buffer, ordered: bool) -> None:
        self._pool: Pool | None = pool
        self._work = job
        self._source = items
        self._size, self._buffer, self._ordered = size, buffer, ordered
        self._window = Window(pool._processes, size)
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
            reraise(result.error)
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


def first_failure(first: int, results: list) -> tuple[int, BaseException]:
    """The first failure among results, and its number."""
    for number, result in enumerate(results, first):
        if type(result) is _Failure:
            return number, result.error
    raise AssertionError("there is one")


def reraise(error: BaseException):
    """Raises it without a circle of references from its frames."""
    try:
        raise error
    finally:
        del error
