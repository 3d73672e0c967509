"""Queues that no kill breaks, without a thread that feeds them.

Each class is a subclass of the standard library's of the same name. A message is
encoded by the caller, who is told if it cannot be, and is in the queue when `put`
returns. A process that is killed has put whole messages or none, and takes with it only
what it has got.
"""

from __future__ import annotations

import io
import time
from collections import deque
from collections.abc import Iterable
from multiprocessing import context, queues, reduction, util
from multiprocessing.connection import wait
from queue import Empty, Full

from . import _kinfolk
from .inherit import of_fds
from .synchronize import BoundedSemaphore

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]

#: The most messages of a queue.
_MOST = 8_388_607
#: The most bytes of a queue, for small messages and for large ones each; and of one
#: message.
_BYTES = 1 << 30
#: The most messages of a SimpleQueue: whoever puts more waits, as at a pipe.
_PIPE = 16_384


class Queue(queues.Queue):
    """A queue of any number of producers and consumers.

    Without `maxsize` it grows: to 8,388,607 messages, 1,024 of them larger than 32 KiB,
    and 1 GiB of either. At more, `put` raises `Full`.
    """

    def __init__(self, maxsize: int = 0, *, ctx) -> None:
        self._maxsize = maxsize if maxsize > 0 else _MOST
        self._grows = maxsize <= 0
        self._ignore_epipe = False
        self._build_on(_kinfolk.Queue(min(self._maxsize, _MOST), _BYTES))

    def _build_on(self, ring: _kinfolk.Queue) -> None:
        self._ring = ring
        self._reader, self._writer = _Reader(ring), _Writer(ring)
        self._closed = self._used = False

    def __getstate__(self):
        context.assert_spawning(self)
        return self._ignore_epipe, self._maxsize, self._grows, _lend(self._ring)

    def __setstate__(self, state) -> None:
        self._ignore_epipe, self._maxsize, self._grows, fds = state
        self._build_on(of_fds(_kinfolk.Queue.of_fds, *fds))

    def put(self, obj, block: bool = True, timeout: float | None = None) -> None:
        """Puts an object, waiting while the queue is full.

        Raises what its encoding raises, and Full if there is no room in time.
        """
        self._check_open()
        try:
            message = _dumps(obj)
        except Exception as error:
            # A subclass that wants to be told is.
            if type(self)._on_queue_feeder_error is Queue._on_queue_feeder_error:
                raise
            self._on_queue_feeder_error(error, obj)
            return
        self._used = True
        if not self._ring.put(message, block and not self._grows, timeout):
            raise Full(*self._reason())

    def put_many(
        self, objs: Iterable, block: bool = True, timeout: float | None = None
    ) -> None:
        """Puts objects, in order; as many as there is room for become visible at once.

        Raises what the encoding of any raises, before any is put, and Full if there is
        no room for all in time: `args[1]` is how many were put then.
        """
        self._check_open()
        messages = [_dumps(obj) for obj in objs]
        self._used = True
        put = self._ring.put_many(messages, block and not self._grows, timeout)
        if put < len(messages):
            raise Full(*(self._reason() or ("the queue is full",)), put)

    def get(self, block: bool = True, timeout: float | None = None):
        """Gets an object, waiting until there is one. Raises Empty if none came in
        time."""
        self._check_open()
        message = self._take(block, timeout)
        if message is None:
            raise Empty
        return _loads(message)

    def get_many(self, most: int, block: bool = True, timeout: float | None = None) -> list:
        """Gets all objects that there are, at most so many, waiting until there is one.
        Raises Empty if none came in time."""
        self._check_open()
        messages = self._ring.get_many(most, block, timeout)
        if not messages:
            raise Empty
        return [_loads(message) for message in messages]

    def qsize(self) -> int:
        """Returns the number of objects in it, at this moment."""
        return self._reader.qsize()

    def empty(self) -> bool:
        """Whether it is empty, at this moment."""
        return self._reader.is_empty()

    def full(self) -> bool:
        """Whether it is full, at this moment."""
        return self.qsize() >= self._ring.capacity

    def close(self) -> None:
        """Makes this process use it no more."""
        self._closed = True
        if self._used:
            # As the standard library's, which has nothing to close before.
            self._reader.close()
            self._writer.close()

    def join_thread(self) -> None:
        """Does nothing: what was put is in the queue."""
        assert self._closed, f"Queue {self!r} not closed"

    def cancel_join_thread(self) -> None:
        """Does nothing, likewise."""

    def _terminate_broken(self) -> None:
        self._reader.close()
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")

    def _take(self, block: bool, timeout: float | None) -> bytes | None:
        return self._reader.take(block, timeout)

    def _reason(self) -> tuple:
        if not self._grows:
            return ()
        return (
            f"a queue holds at most {_MOST} objects, 1024 of them larger than 32 KiB, and "
            f"{_BYTES} bytes of either: get some first, or give it a maxsize to wait for room",
        )


class JoinableQueue(Queue, queues.JoinableQueue):
    """A queue that can be waited for until all that was put is done.

    What a process has got and not done when it ends counts as done: nobody waits for it.
    """

    def __init__(self, maxsize: int = 0, *, ctx) -> None:
        super().__init__(maxsize, ctx=ctx)
        self._cond = ctx.Condition()
        self._working = _Working(ctx=ctx)

    def __getstate__(self):
        return super().__getstate__(), self._cond, self._working

    def __setstate__(self, state) -> None:
        state, self._cond, self._working = state
        super().__setstate__(state)

    def _take(self, block: bool, timeout: float | None) -> bytes | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            # Counted before it is out of the queue: who joins misses it at no time.
            self._working.acquire()
            message = None
            try:
                message = self._reader.take(False)
            finally:
                if message is None:
                    self._settle()
            if message is not None:
                return message
            left = None if deadline is None else max(0, deadline - time.monotonic())
            if not block or not wait([self._reader], left):
                return None

    def get_many(self, most: int, block: bool = True, timeout: float | None = None) -> list:
        """Gets all objects that there are, at most so many, waiting until there is one.
        Raises Empty if none came in time. Each is to be done."""
        objs = [self.get(block, timeout)]
        while len(objs) < most and (message := self._take(False, None)) is not None:
            objs.append(_loads(message))
        return objs

    def task_done(self) -> None:
        """Says that one that was got is done. Raises ValueError if none is left."""
        try:
            self._settle()
        except ValueError:
            raise ValueError("task_done() called too many times") from None

    def join(self) -> None:
        """Waits until all that was put was got and is done."""
        with self._cond:
            while not self._is_done():
                # Who is killed tells nobody.
                self._cond.wait(0.05)

    def _settle(self) -> None:
        self._working.release()
        with self._cond:
            if self._is_done():
                self._cond.notify_all()

    def _is_done(self) -> bool:
        self._working._semlock.reclaim()
        # An object goes from the queue into work, or is put: never unseen.
        return self.qsize() == 0 and not self._working.is_in_use() and self.qsize() == 0


class SimpleQueue(queues.SimpleQueue):
    """A queue with nothing but put, get and empty. Whoever puts more than 16,384 objects
    waits until some are got."""

    def __init__(self, *, ctx) -> None:
        self._build_on(_kinfolk.Queue(_PIPE, _BYTES))

    def _build_on(self, ring: _kinfolk.Queue) -> None:
        self._ring = ring
        self._reader, self._writer = _Reader(ring), _Writer(ring)
        self._poll = self._reader.poll
        # Nobody needs to exclude others; the standard library's pool does.
        self._rlock = self._wlock = _NoLock()

    def __getstate__(self):
        context.assert_spawning(self)
        return _lend(self._ring)

    def __setstate__(self, fds) -> None:
        self._build_on(of_fds(_kinfolk.Queue.of_fds, *fds))

    def put(self, obj) -> None:
        """Puts an object. Raises what its encoding raises."""
        self._writer.send(obj)

    def get(self):
        """Gets an object, waiting until there is one."""
        return self._reader.recv()

    def empty(self) -> bool:
        """Whether it is empty, at this moment."""
        return self._reader.is_empty()


class _Working(BoundedSemaphore):
    """Counts who works on something: whoever ends, however, does so no more."""

    def __init__(self, *, ctx) -> None:
        super().__init__(_kinfolk.SemLock.SEM_VALUE_MAX, ctx=ctx)

    def _at_exit(self) -> None:
        pass

    def is_in_use(self) -> bool:
        return self._semlock._get_value() < self._semlock.maxvalue


class _Reader:
    """A queue as the connection that the standard library reads of its own queues."""

    readable, writable = True, False

    def __init__(self, ring: _kinfolk.Queue) -> None:
        self._ring = ring
        self._taken: deque[bytes] = deque()
        self.closed = False
        # What is taken is this process's.
        util.register_after_fork(self, _Reader._forget)

    def _forget(self) -> None:
        self._taken.clear()

    def fileno(self) -> int:
        self._check_open()
        return self._ring.fileno()

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Whether there is a message, which is this process's from now on."""
        self._check_open()
        if not self._taken:
            message = self._ring.get(timeout != 0, timeout)
            if message is not None:
                self._taken.append(message)
        return bool(self._taken)

    def take(self, block: bool = True, timeout: float | None = None) -> bytes | None:
        """Takes a message, waiting for one; `None` if none came in time."""
        try:
            return self._taken.popleft()
        except IndexError:
            return self._ring.get(block, timeout)

    def qsize(self) -> int:
        return len(self._taken) + self._ring.qsize()

    def is_empty(self) -> bool:
        self._check_open()
        return self.qsize() == 0

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        self._check_open()
        message = self.take()
        if maxlength is not None and len(message) > maxlength:
            raise OSError("bad message length")
        return message

    def recv(self):
        return _loads(self.recv_bytes())

    def close(self) -> None:
        self.closed = True

    def _check_open(self) -> None:
        if self.closed:
            raise OSError("handle is closed")


class _Writer:
    """A queue as the connection that the standard library writes its own queues to."""

    readable, writable = False, True

    def __init__(self, ring: _kinfolk.Queue) -> None:
        self._ring = ring
        self.closed = False

    def send_bytes(self, message: bytes) -> None:
        if self.closed:
            raise OSError("handle is closed")
        self._ring.put(bytes(message))

    def send(self, obj) -> None:
        self.send_bytes(_dumps(obj))

    def close(self) -> None:
        self.closed = True


class _NoLock:
    """A lock that excludes nobody."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        return True

    def release(self) -> None:
        pass

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *args) -> None:
        pass


def _dumps(obj) -> bytes:
    """Encodes an object as the standard library does."""
    buffer = io.BytesIO()
    reduction.ForkingPickler(buffer).dump(obj)
    return buffer.getvalue()


_loads = reduction.ForkingPickler.loads


def _lend(ring: _kinfolk.Queue) -> tuple:
    """What a child makes a handle of a queue of."""
    return tuple(reduction.DupFd(fd) for fd in ring.fds())
