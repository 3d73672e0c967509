"""What the tests have in common."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import unittest
import warnings

import kinfolk

#: Each start method.
METHODS = ("spawn", "forkserver", "fork")

#: A test that takes longer hangs.
PATIENCE = 120


class TestCase(unittest.TestCase):
    """A test that shows where it hangs, and leaves no process and no descriptor."""

    def setUp(self) -> None:
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        self.addCleanup(faulthandler.cancel_dump_traceback_later)
        self.addCleanup(self._check_children)
        # Tests kill holders of locks on purpose.
        self.enterContext(warnings.catch_warnings())
        warnings.simplefilter("ignore", kinfolk.AbandonedWarning)

    def _check_children(self) -> None:
        for child in multiprocessing.active_children():
            child.kill()
            child.join()
            self.fail(f"{child} was left behind")

    def for_each_method(self):
        """Yields the context of each start method, as a subtest."""
        for method in METHODS:
            with self.subTest(method):
                yield kinfolk.get_context(method)


def start(context, target, *args):
    """Starts a process."""
    process = context.Process(target=target, args=args)
    process.start()
    return process


def stop(process) -> None:
    """Ends a process."""
    process.kill()
    process.join()


def open_fds() -> set[str]:
    """The descriptors of this process."""
    return set(os.listdir("/proc/self/fd"))


def is_alive(pid: int) -> bool:
    """Whether a process of any parent runs."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
