#!/usr/bin/env python3
"""Checks that the rooms of the house use only those below them.

System calls stand in `sys` alone, and each room of `crates/kinfolk/src` uses
`crate::` paths of its own floor or lower ones only.
"""

import pathlib
import re
import sys

SOURCE = pathlib.Path(__file__).resolve().parent.parent / "crates/kinfolk/src"

# Lower numbers may be used by higher ones, and each room by itself.
FLOORS = {
    "error": 0,
    "sys": 1,
    "wire": 2,
    "wait": 2,
    "sync": 3,
    "log": 4,
    "connection": 4,
    "process": 4,
    "queue": 4,
    "shm": 4,
    "pool": 5,
    "manager": 6,
}

# The one constant table outside of `sys`: errors are told apart by number.
SYSTEM_CALLS_ALLOWED = {"error.rs", "wire/frame.rs"}

# Rooms of one floor that may nevertheless use each other, and why.
EXCEPTIONS = {
    ("log", "process"),  # a line names the process that writes it
    ("process", "log"),
    ("connection", "fd"),
    ("connection", "process"),  # a process's key is the default of its connections
    ("connection", "log"),
}


def main() -> int:
    wrong = []
    for path in sorted(SOURCE.rglob("*.rs")):
        name = path.relative_to(SOURCE).as_posix()
        room = name.split("/")[0].removesuffix(".rs")
        text = path.read_text()
        lines = text.splitlines()
        if len(lines) > 800:
            wrong.append(f"{name}: {len(lines)} lines, more than 800")
        if room in ("lib", "testing"):
            continue
        for number, line in enumerate(lines, 1):
            code = line.split("//")[0]
            if room != "sys" and name not in SYSTEM_CALLS_ALLOWED:
                if re.search(r"\b(libc|rustix)::", code):
                    wrong.append(f"{name}:{number}: a system call outside of sys")
            for used in re.findall(r"\bcrate::([a-z_]+)\b", code):
                if used == room or used not in FLOORS or (room, used) in EXCEPTIONS:
                    continue
                if FLOORS[used] >= FLOORS[room]:
                    wrong.append(f"{name}:{number}: {room} uses {used}, which is not below it")
    for line in wrong:
        print(line)
    print(f"{len(wrong)} arrows or files are wrong" if wrong else "every arrow points down")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
