"""Runs the tests of an installed kinfolk: `python tests/run.py [test_module...]`."""

from __future__ import annotations

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent


def main(names: list[str]) -> int:
    """Runs each module of tests in an interpreter of its own; returns an exit code."""
    failed = []
    for path in sorted(HERE.glob("test_*.py")):
        if names and path.stem not in names:
            continue
        print(f"-- {path.stem}", flush=True)
        command = [sys.executable, "-W", "error", "-m", "unittest", path.stem]
        if subprocess.run(command, cwd=HERE, check=False).returncode != 0:
            failed.append(path.stem)
    if failed:
        print("failed:", *failed)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
