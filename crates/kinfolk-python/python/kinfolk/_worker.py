"""A worker of a pool: what its process runs."""

from __future__ import annotations

import signal
import traceback
import types
from multiprocessing import reduction
from multiprocessing.pool import MaybeEncodingError

from . import _kinfolk
from ._pickling import dumps, loads

__all__ = ["Ends", "work"]


class Ends:
    """The descriptors of a lane, on their way into its worker."""

    def __init__(self, fds) -> None:
        self._fds = fds

    def __reduce__(self):
        return Ends, (tuple(reduction.DupFd(fd) for fd in self._fds),)

    def open(self) -> _kinfolk.PoolWorker:
        """Returns the worker of this process, which is made once."""
        import os

        if isinstance(self._fds[0], int):
            # They came by a fork, and are its parent's.
            return _kinfolk.PoolWorker.of_fds(list(self._fds))
        fds = [fd.detach() for fd in self._fds]
        try:
            return _kinfolk.PoolWorker.of_fds(fds)
        finally:
            for fd in fds:
                os.close(fd)


def work(ends: Ends, initializer, initargs, memory_limit: int | None) -> None:
    """Does what the pool sends, until it wants no more."""
    # Ctrl-C is for the parent, which ends its workers. It was blocked until now.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    worker = ends.open()
    try:
        if memory_limit is not None:
            import resource

            resource.setrlimit(resource.RLIMIT_DATA, (memory_limit, memory_limit))
        if initializer is not None:
            initializer(*initargs)
    except BaseException as error:
        worker.fail(f"its initializer raised\n{_trace(error)}")
        raise SystemExit(1) from None
    worker.begin()
    worker.work(_load, dumps, loads, _raised, _unsent)


def _load(pickle: bytes) -> tuple[object, bool]:
    """Makes a function, and says whether that is the same each time: one that has
    something of its own is made anew for each chunk, as the standard library does."""
    function = loads(pickle)
    kinds = (types.FunctionType, types.BuiltinFunctionType, type)
    return function, isinstance(function, kinds) and b"cloudpickle" not in pickle


def _raised(error: BaseException) -> bytes:
    """Encodes what a function has raised: with what is left if the parent cannot decode
    it."""
    try:
        pickle = dumps(error)
    except Exception as reason:
        pickle = dumps(MaybeEncodingError(reason, error))
    return dumps((pickle, _trace(error), repr(error)))


def _unsent(reason: Exception, result: object) -> bytes:
    """Encodes that a result could not be encoded."""
    error = MaybeEncodingError(reason, result)
    error.__cause__ = reason
    return _raised(error)


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
