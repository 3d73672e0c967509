"""How processes are started: as the standard library does, with a lifeline.

Each child inherits one end of a pipe whose other end its parent alone holds: when that
is gone, however, the system kills the child. And each parent has a pidfd of its child,
which is its sentinel and what signals go to: no other process that got the number
meets them.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import threading
from multiprocessing import (
    context,
    forkserver,
    popen_fork,
    popen_forkserver,
    popen_spawn_posix,
    reduction,
    spawn,
    util,
)
from multiprocessing.connection import wait

from . import _kinfolk

__all__ = ["ForkPopen", "ForkServerPopen", "SpawnPopen"]

#: The exit code of a process whose status somebody else has taken.
_UNKNOWN = 255


class _Start:
    """A process on its way into its child, where it is tied to its lifeline first.

    The standard library's ways to start look at nothing but this.
    """

    def __init__(self, process, end: int) -> None:
        self._name = process._name
        self._process = process
        self._end = end

    def __reduce__(self):
        return _arrive, (reduction.DupFd(self._end), self._process)

    def _bootstrap(self, parent_sentinel=None) -> int:
        _hold(self._end)
        return self._process._bootstrap(parent_sentinel=parent_sentinel)


def _arrive(end, process):
    """Ties this process to its lifeline; returns what it is to be."""
    _hold(end.detach())
    return process


def _hold(end: int) -> None:
    """Ties this process to its lifeline, or ends it if its parent is gone."""
    if not _kinfolk.hold_lifeline(end):
        os._exit(1)
    os.close(end)


class _TiedPopen(popen_fork.Popen):
    """What the three have in common."""

    pidfd: int | None = None

    def __init__(self, process_obj) -> None:
        self._reaping = threading.Lock()
        self._lifeline, end = _kinfolk.Lifeline.make()
        try:
            super().__init__(_Start(process_obj, end))
        finally:
            os.close(end)

    def _launch(self, process_obj) -> None:
        super()._launch(process_obj)
        self._open_pidfd()

    def _open_pidfd(self) -> None:
        """Makes the sentinel a descriptor of the process, which still is one."""
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            # Where the system reaps for this process, it may be gone already.
            return
        except OSError:
            self._abandon()
            raise
        self.sentinel = self.pidfd
        self._close_pidfd = util.Finalize(self, os.close, (self.pidfd,))

    def _abandon(self) -> None:
        """Ends the process, which nobody will know of."""
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Returns the exit code if the process has ended, waiting for it unless told
        not to."""
        if flag != os.WNOHANG:
            wait([self.sentinel])
        with self._reaping:
            code = super().poll()
            if code is None and wait([self.sentinel], 0):
                # It ended after the first look, or another has taken its status.
                code = super().poll()
                if code is None:
                    code = self.returncode = _UNKNOWN
        return code

    def wait(self, timeout: float | None = None) -> int | None:
        """Returns the exit code once the process has ended; `None` if it has not in
        time."""
        if self.returncode is None and not wait([self.sentinel], timeout):
            return None
        return self.poll()

    def _send_signal(self, sig: int) -> None:
        if self.pidfd is None or self.returncode is not None:
            return
        try:
            signal.pidfd_send_signal(self.pidfd, sig)
        except ProcessLookupError:
            pass
        except OSError:
            if self.wait(timeout=0.1) is None:
                raise

    def close(self) -> None:
        """Closes all descriptors."""
        super().close()
        if self.pidfd is not None:
            self.pidfd = None
            self._close_pidfd()


class ForkPopen(_TiedPopen):
    """A process by a fork."""


class SpawnPopen(_TiedPopen, popen_spawn_posix.Popen):
    """A process by a new interpreter."""


class ForkServerPopen(_TiedPopen, popen_forkserver.Popen):
    """A process by a fork of the standard library's fork server."""

    def _launch(self, process_obj) -> None:
        # As the standard library does, but for the order: the child, which waits for
        # what it is, has not ended when its descriptor is opened.
        data = io.BytesIO()
        context.set_spawning_popen(self)
        try:
            reduction.dump(spawn.get_preparation_data(process_obj._name), data)
            reduction.dump(process_obj, data)
        finally:
            context.set_spawning_popen(None)
        self._status, write, self.pid = _request(self._fds)
        self.sentinel = self._status
        parent_write = os.dup(write)
        self.finalizer = util.Finalize(self, util.close_fds, (parent_write, self._status))
        with open(write, "wb") as pipe:
            self._open_pidfd()
            pipe.write(data.getbuffer())

    def _abandon(self) -> None:
        # It ends, for nobody tells it what it is.
        self.finalizer()

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Returns the exit code, which the fork server tells, if the process has ended,
        waiting for it unless told not to."""
        if not wait([self.sentinel], 0 if flag == os.WNOHANG else None):
            return self.returncode
        with self._reaping:
            if self.returncode is None:
                try:
                    self.returncode = forkserver.read_signed(self._status)
                except (OSError, EOFError):
                    # The server was killed.
                    self.returncode = _UNKNOWN
        return self.returncode


def _request(fds: list[int]) -> tuple[int, int, int]:
    """Asks the fork server for a child, and a new server if that one was killed. A new
    one that ends at once, as its preloaded modules may make it, would do so again.

    Returns where the child's id and its status come from, where it waits for what it is,
    and its id. One that was asked for in vain ends, for nobody tells it what it is.
    """
    while True:
        before = forkserver._forkserver._forkserver_pid
        forkserver.ensure_running()
        server = forkserver._forkserver._forkserver_pid
        try:
            status, write = forkserver.connect_to_new_process(fds)
            try:
                return status, write, forkserver.read_signed(status)
            except EOFError:
                util.close_fds(status, write)
                raise
        except (EOFError, ConnectionError):
            if server != before or not _has_ended(server):
                raise


def _has_ended(pid: int) -> bool:
    """Whether a child of this process has ended, or does within a second."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(wait([pidfd], 1))
    finally:
        os.close(pidfd)


def _forget_server(server) -> None:
    """Makes a fork start a fork server of its own: it can use none of its parent's."""
    if server._forkserver_pid is not None:
        os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = server._forkserver_pid = None
        server._forkserver_address = None


util.register_after_fork(forkserver._forkserver, _forget_server)
