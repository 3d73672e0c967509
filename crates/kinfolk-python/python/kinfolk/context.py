"""The contexts: a start method each, and whatever the default one is at the time.

They are the standard library's, which makes all that is not overridden here. The
default start method is the standard library's, too: whoever sets it, sets it for both.
"""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import context as _stock
from typing import TYPE_CHECKING

from . import process

if TYPE_CHECKING:
    from . import connection, managers, pool, queues, synchronize

__all__ = ["DefaultContext", "ForkContext", "ForkServerContext", "SpawnContext"]


class _Factories(_stock.BaseContext):
    """Makes what is kinfolk's, and is to be found before what a stock context makes."""

    def Lock(self) -> synchronize.Lock:
        """Returns a lock that is not recursive."""
        from .synchronize import Lock

        return Lock(ctx=self.get_context())

    def RLock(self) -> synchronize.RLock:
        """Returns a recursive lock."""
        from .synchronize import RLock

        return RLock(ctx=self.get_context())

    def Condition(self, lock=None) -> synchronize.Condition:
        """Returns a condition, under a lock of its own unless one is given."""
        from .synchronize import Condition

        return Condition(lock, ctx=self.get_context())

    def Semaphore(self, value: int = 1) -> synchronize.Semaphore:
        """Returns a semaphore."""
        from .synchronize import Semaphore

        return Semaphore(value, ctx=self.get_context())

    def BoundedSemaphore(self, value: int = 1) -> synchronize.BoundedSemaphore:
        """Returns a semaphore that never has more permits than it began with."""
        from .synchronize import BoundedSemaphore

        return BoundedSemaphore(value, ctx=self.get_context())

    def Event(self) -> synchronize.Event:
        """Returns an event that is not set."""
        from .synchronize import Event

        return Event(ctx=self.get_context())

    def Barrier(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
    ) -> synchronize.Barrier:
        """Returns a barrier for a number of parties."""
        from .synchronize import Barrier

        return Barrier(parties, action, timeout, ctx=self.get_context())

    def Queue(self, maxsize: int = 0) -> queues.Queue:
        """Returns a queue."""
        from .queues import Queue

        return Queue(maxsize, ctx=self.get_context())

    def JoinableQueue(self, maxsize: int = 0) -> queues.JoinableQueue:
        """Returns a queue that can be waited for until all of it is done."""
        from .queues import JoinableQueue

        return JoinableQueue(maxsize, ctx=self.get_context())

    def SimpleQueue(self) -> queues.SimpleQueue:
        """Returns a queue with nothing but put, get and empty."""
        from .queues import SimpleQueue

        return SimpleQueue(ctx=self.get_context())

    def Pipe(self, duplex: bool = True) -> tuple[connection.Connection, connection.Connection]:
        """Returns both ends of a pipe: of one way, the first receives and the second
        sends."""
        from .connection import Pipe

        return Pipe(duplex)

    def Manager(self) -> managers.SyncManager:
        """Returns a manager, whose server has been started."""
        from .managers import SyncManager

        manager = SyncManager(ctx=self.get_context())
        manager.start()
        return manager

    def Pool(
        self, processes=None, initializer=None, initargs=(), maxtasksperchild=None, **options
    ) -> pool.Pool:
        """Returns a pool of processes; `options` are those of `kinfolk.pool.Pool`."""
        from .pool import Pool

        return Pool(
            processes,
            initializer,
            initargs,
            maxtasksperchild,
            context=self.get_context(),
            **options,
        )

    def get_context(self, method: str | None = None) -> _Factories:
        """Returns the context of a start method, or this one."""
        if method is None:
            return self
        try:
            context = _concrete_contexts[method]
        except KeyError:
            raise ValueError(f"cannot find context for {method!r}") from None
        context._check_available()
        return context


class ForkContext(_Factories, _stock.ForkContext):
    """Starts processes by a fork."""

    Process = process.ForkProcess


class SpawnContext(_Factories, _stock.SpawnContext):
    """Starts processes by a new interpreter."""

    Process = process.SpawnProcess


class ForkServerContext(_Factories, _stock.ForkServerContext):
    """Starts processes by a fork of a helper that has done nothing yet."""

    Process = process.ForkServerProcess


class DefaultContext(_Factories):
    """Starts processes by the standard library's default start method."""

    Process = process.Process

    def get_context(self, method: str | None = None) -> _Factories:
        """Returns the context of a start method, or of the default one."""
        return super().get_context(method or _stock._default_context.get_start_method())

    def get_start_method(self, allow_none=False):
        """Returns the default start method; `None` if it is open and may be."""
        return _stock._default_context.get_start_method(allow_none)

    def set_start_method(self, method, force=False):
        """Chooses the default start method, once unless forced."""
        _stock._default_context.set_start_method(method, force)

    def get_all_start_methods(self):
        """Returns the start methods, the default one first."""
        return _stock._default_context.get_all_start_methods()


_concrete_contexts = {
    "fork": ForkContext(),
    "spawn": SpawnContext(),
    "forkserver": ForkServerContext(),
}
_default_context = DefaultContext()
