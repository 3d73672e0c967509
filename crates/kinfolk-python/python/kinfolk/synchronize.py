"""Locks and what is built of them, of which no killed holder deprives the others.

Each class is a subclass of the standard library's of the same name, on another base:
an object in shared memory, which a child inherits as a file descriptor.
"""

from __future__ import annotations

import operator
import threading
from multiprocessing import context, reduction, synchronize, util

from . import _kinfolk
from .inherit import of_fds

__all__ = [
    "Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "RLock", "Semaphore",
]  # fmt: skip


class _SemLock(synchronize.SemLock):
    """What a lock or semaphore is built on."""

    _kind: str
    _is_fork_ctx = False

    def __init__(self, value: int = 1) -> None:
        self._build_on(_kinfolk.SemLock(self._kind, value))

    def _build_on(self, semlock: _kinfolk.SemLock) -> None:
        self._semlock = semlock
        self._make_methods()
        util.register_after_fork(self, operator.methodcaller("_after_fork"))

    def _after_fork(self) -> None:
        self._semlock._after_fork()

    def locked(self) -> bool:
        """Whether it could not be acquired without waiting, at this moment."""
        return self._semlock._is_zero()

    def __getstate__(self):
        context.assert_spawning(self)
        return self._semlock.maxvalue, reduction.DupFd(self._semlock.fileno())

    def __setstate__(self, state) -> None:
        maxvalue, memory = state
        self._build_on(of_fds(lambda fd: _kinfolk.SemLock(self._kind, maxvalue, fd), memory))


class Lock(_SemLock, synchronize.Lock):
    """A lock that is not recursive, and that any process or thread may release.

    When its holder ends, killed or not, another one gets it, with a warning:
    `kinfolk.AbandonedWarning`.
    """

    _kind = "lock"

    def __init__(self, *, ctx) -> None:
        super().__init__()


class RLock(_SemLock, synchronize.RLock):
    """A recursive lock, which the thread that holds it releases.

    When its holder ends, killed or not, another one gets it, with a warning:
    `kinfolk.AbandonedWarning`.
    """

    _kind = "rlock"

    def __init__(self, *, ctx) -> None:
        super().__init__()


class Semaphore(_SemLock, synchronize.Semaphore):
    """A semaphore.

    The permits of a process that is killed return, but never more than it began with.
    What a process that ends by itself has taken remains taken.
    """

    _kind = "semaphore"

    def __init__(self, value: int = 1, *, ctx) -> None:
        super().__init__(value)

    def _build_on(self, semlock: _kinfolk.SemLock) -> None:
        super()._build_on(semlock)
        self._at_exit()

    def _after_fork(self) -> None:
        super()._after_fork()
        self._at_exit()

    def _at_exit(self) -> None:
        """Leaves the permits taken at the end of this process, after all else."""
        util.Finalize(self, self._semlock.leave_taken, exitpriority=-100)


class BoundedSemaphore(Semaphore, synchronize.BoundedSemaphore):
    """A semaphore that never has more permits than it began with."""

    _kind = "bounded_semaphore"


class Condition(synchronize.Condition):
    """A condition, under a lock of any kind.

    A waiter that is killed swallows no notification.
    """

    def __init__(self, lock=None, *, ctx) -> None:
        self._lock = lock or ctx.RLock()
        self._build_on(_kinfolk.Condition())

    def _build_on(self, condition: _kinfolk.Condition) -> None:
        self._condition = condition
        # What the standard library's own has in their place.
        self._sleeping_count = _Count(condition.waiting)
        self._woken_count = self._wait_semaphore = _Count(int)
        self._make_methods()

    def __getstate__(self):
        context.assert_spawning(self)
        return self._lock, reduction.DupFd(self._condition.fileno())

    def __setstate__(self, state) -> None:
        self._lock, memory = state
        self._build_on(of_fds(_kinfolk.Condition, memory))

    def wait(self, timeout: float | None = None) -> bool:
        """Releases the lock, waits for a notification, and acquires it again. Returns
        whether there was one in time."""
        assert self._lock._semlock._is_mine(), "must acquire() condition before using wait()"
        times = range(self._lock._semlock._count())

        def release() -> None:
            for _ in times:
                self._lock.release()

        def acquire() -> None:
            for _ in times:
                self._lock.acquire()

        return self._condition.wait(release, acquire, timeout)

    def notify(self, n: int = 1) -> None:
        """Wakes so many waiters, those that wait longest."""
        assert self._lock._semlock._is_mine(), "lock is not owned"
        self._condition.notify(n)


class _Count:
    """A number where the standard library has a semaphore."""

    def __init__(self, get_value) -> None:
        self.get_value = self._get_value = get_value
        self._semlock = self


class Event(synchronize.Event):
    """A flag to wait for."""

    def __init__(self, *, ctx) -> None:
        self._event = _kinfolk.Event()

    def __getstate__(self):
        context.assert_spawning(self)
        return reduction.DupFd(self._event.fileno())

    def __setstate__(self, memory) -> None:
        self._event = of_fds(_kinfolk.Event, memory)

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._event.is_set()

    def set(self) -> None:
        """Sets it, and wakes all who wait for it."""
        self._event.set()

    def clear(self) -> None:
        """Makes it not set."""
        self._event.clear()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is set; returns whether it was in time."""
        return self._event.wait(timeout)

    def __repr__(self) -> str:
        state = "set" if self.is_set() else "unset"
        return f"<{type(self).__qualname__} at {id(self):#x} {state}>"


class Barrier(synchronize.Barrier):
    """A point where a number of parties wait for each other.

    If one of them is killed, or interrupted by a signal, the barrier is broken.
    """

    def __init__(self, parties: int, action=None, timeout: float | None = None, *, ctx) -> None:
        self._action, self._timeout = action, timeout
        self._barrier = _kinfolk.Barrier(parties)

    def __getstate__(self):
        context.assert_spawning(self)
        return self._action, self._timeout, reduction.DupFd(self._barrier.fileno())

    def __setstate__(self, state) -> None:
        self._action, self._timeout, memory = state
        self._barrier = of_fds(_kinfolk.Barrier.of_fd, memory)

    def wait(self, timeout: float | None = None) -> int:
        """Waits until all parties have arrived; returns a number that no other gets."""
        if timeout is None:
            timeout = self._timeout
        place = self._barrier.wait(timeout, self._action)
        if place is None:
            raise threading.BrokenBarrierError
        return place

    def reset(self) -> None:
        """Makes it as new; who waits gets BrokenBarrierError."""
        self._barrier.reset()

    def abort(self) -> None:
        """Breaks it."""
        self._barrier.abort()

    @property
    def parties(self) -> int:
        """The number of parties."""
        return self._barrier.parties

    @property
    def n_waiting(self) -> int:
        """The number of parties that wait."""
        return self._barrier.waiting

    @property
    def broken(self) -> bool:
        """Whether it is broken."""
        return self._barrier.broken
