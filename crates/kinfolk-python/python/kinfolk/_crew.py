"""The workers of a pool, and who looks after them."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing.connection import wait
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from . import _kinfolk, _worker

if TYPE_CHECKING:
    from ._results import ApplyResult, MapIterator

__all__ = ["Crew"]


class Crew:
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
        self.feeds: WeakValueDictionary[int, MapIterator] = WeakValueDictionary()

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
