"""Runs CPython's own tests of `multiprocessing` on kinfolk: `python tests/cpython.py spawn`.

They are those of the interpreter that runs this, unmodified, from its installation (or
Debian's `libpython3.11-testsuite`); `kinfolk.install()` puts kinfolk below them, in
children, too. What tests run by the command line of another interpreter is the standard
library's.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile

#: The tests that cannot hold, and why.
EXCEPTIONS = {
    "test_parent_process": "wants a grandchild that outlives its killed parent: here it dies with it",
    "test_mixed_startmethod": "wants an error where locks of a fork context may go to any process",
    "test_queue_feeder_donot_stop_onexc": "wants `put` to accept what cannot be pickled",
    "test_resource_tracker_sigkill": "wants a semaphore to start the resource tracker: none needs it",
}

if sys.version_info < (3, 13):
    EXCEPTIONS["WithThreadsTestPool.test_terminate"] = (
        "waits five minutes for a thread, if that has begun; of the standard library alone"
    )

MODULE = '''
import unittest
import test._test_multiprocessing as suite

suite.install_tests_in_module_dict(globals(), "{method}")
for case_name, case in list(globals().items()):
    for name, reason in {exceptions!r}.items():
        of, _, test = name.rpartition(".")
        if isinstance(case, type) and hasattr(case, test) and of in ("", case_name):
            setattr(case, test, unittest.skip(reason)(getattr(case, test)))
'''


def main(arguments: list[str]) -> int:
    """Runs the tests for a start method; returns an exit code."""
    if len(arguments) != 1 or arguments[0] not in ("spawn", "forkserver", "fork"):
        sys.exit("usage: python tests/cpython.py (spawn | forkserver | fork)")
    if not has_suite():
        print(f"skipped: {sys.executable} has no test._test_multiprocessing")
        return 0
    method = arguments[0]
    with tempfile.TemporaryDirectory() as folder:
        # A module, for children import it.
        module = pathlib.Path(folder) / f"kinfolk_cpython_{method}.py"
        module.write_text(MODULE.format(method=method, exceptions=EXCEPTIONS))
        command = [sys.executable, "-m", "kinfolk", "-m", "unittest", "-b", module.stem]
        for reason in EXCEPTIONS.items():
            print("not run: {}, which {}".format(*reason))
        sys.stdout.flush()
        environment = os.environ | {"PYTHONPATH": folder}
        return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


def has_suite() -> bool:
    """Whether this interpreter has the tests."""
    import importlib.util

    try:
        return importlib.util.find_spec("test._test_multiprocessing") is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
