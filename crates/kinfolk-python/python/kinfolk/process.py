"""The processes: the standard library's, started so that none is orphaned."""

from __future__ import annotations

import signal
from multiprocessing import context as _stock
from typing import NamedTuple

from . import _kinfolk

__all__ = ["ForkProcess", "ForkServerProcess", "Process", "SpawnProcess", "TreeEnd"]


class TreeEnd(NamedTuple):
    """What ending a process with its descendants has reached."""

    signaled: int
    """How many processes got the signal."""
    complete: bool
    """Whether these are known to be all: never of a process that may have lost some
    whose own parent had ended."""


class _Tied(_stock.process.BaseProcess):
    """A process that ends with its parent, and can be ended with its descendants."""

    def terminate_tree(self) -> TreeEnd:
        """Sends SIGTERM to the process and all its descendants that can be found."""
        return self._signal_tree(signal.SIGTERM)

    def kill_tree(self) -> TreeEnd:
        """Sends SIGKILL to the process and all its descendants that can be found."""
        return self._signal_tree(signal.SIGKILL)

    def _signal_tree(self, number: signal.Signals) -> TreeEnd:
        self._check_closed()
        if self._popen is None:
            raise ValueError("process not started")
        if self._popen.returncode is not None or self._popen.pidfd is None:
            return TreeEnd(0, False)
        return TreeEnd(*_kinfolk.signal_tree(self._popen.pid, self._popen.pidfd, number))


class Process(_Tied, _stock.Process):
    """A process that is started by the default start method."""

    @staticmethod
    def _Popen(process_obj):
        from .context import _default_context

        return _default_context.get_context().Process._Popen(process_obj)


class ForkProcess(_Tied, _stock.ForkProcess):
    """A process that is started by a fork."""

    @staticmethod
    def _Popen(process_obj):
        from .popen import ForkPopen

        return ForkPopen(process_obj)


class SpawnProcess(_Tied, _stock.SpawnProcess):
    """A process that is started by a new interpreter."""

    @staticmethod
    def _Popen(process_obj):
        from .popen import SpawnPopen

        return SpawnPopen(process_obj)


class ForkServerProcess(_Tied, _stock.ForkServerProcess):
    """A process that is started by a fork of a helper."""

    @staticmethod
    def _Popen(process_obj):
        from .popen import ForkServerPopen

        return ForkServerPopen(process_obj)
