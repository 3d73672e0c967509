#!/usr/bin/env python3
"""Puts the figures of a run into README.md.

    python3 bench/table.py FILE README.md

FILE is what `--json` wrote, on this machine: its kernel and processors are
named below the table. Everything that GOALS speaks of must be in it.
"""

import json
import os
import pathlib
import platform
import sys
from typing import Callable, NamedTuple

BEGIN = "<!-- figures: made by bench/table.py -->"
END = "<!-- end of figures -->"

OURS = "kinfolk"


class Goal(NamedTuple):
    """A ratio of medians that is to lie between two bounds."""

    bench: str
    size: int
    text: str
    # Gets a function from a contender, and perhaps a size, to its median.
    ratio: Callable
    low: float = 0.0
    high: float = float("inf")


def slower(contender):
    """By which factor kinfolk is slower."""
    return lambda median: median(OURS) / median(contender)


def faster(contender):
    """By which factor kinfolk is faster: of a throughput, its share."""
    return lambda median: median(contender) / median(OURS)


GIB = 1 << 30

GOALS = [
    Goal("start-forkserver", 0, "≤ 2 × floor", slower("floor"), high=2),
    Goal("start-forkserver", 0, "≥ 5 × faster than procspawn", faster("procspawn"), low=5),
    Goal(
        "start-forkserver", GIB, "as at 0 B ± 20 %",
        lambda median: median(OURS) / median(OURS, 0), low=0.8, high=1.2,
    ),
    Goal("start-spawn", 0, "≤ 1.25 × floor", slower("floor"), high=1.25),
    Goal("pipe-rtt", 8, "≤ 1.15 × floor", slower("floor"), high=1.15),
    Goal("pipe-rtt", 8, "faster than ipc-channel", faster("ipc-channel"), low=1),
]
for size in (8, 1 << 10, 1 << 16, 1 << 20, 1 << 24):
    GOALS += [
        Goal("pipe-throughput", size, "≥ 0.85 × floor", faster("floor"), low=0.85),
        Goal("pipe-throughput", size, "≥ ipc-channel", faster("ipc-channel"), low=1),
    ]

# What a bench's size and time are of.
MEANING = {
    "start-forkserver": "start, typed result and join by a forkserver; size: resident in the parent",
    "start-spawn": "the same by executing the program anew",
    "pipe-rtt": "a typed value to another process and back",
    "pipe-throughput": "a message of bytes one way",
}


class Missing(Exception):
    """The file does not hold what the table needs."""


def read(path):
    """The medians of a file, by bench, size and contender, and the least rounds."""
    medians, rounds = {}, []
    for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
        figure = json.loads(line)
        if figure["unit"] != "ns":
            raise Missing(f"a unit that the table does not know: {figure['unit']}")
        key = figure["bench"], figure["size"]
        medians.setdefault(key, {})[figure["contender"]] = figure["median"]
        rounds.append(figure["rounds"])
    known = {(goal.bench, goal.size) for goal in GOALS}
    if missing := known - medians.keys():
        raise Missing(f"not measured: {sorted(missing)}")
    if unknown := medians.keys() - known:
        raise Missing(f"measured, but without a goal: {sorted(unknown)}")
    return medians, min(rounds)


def judge(goal, medians):
    """What a goal says of itself: its text, the figure, and whether it was reached."""

    def median(contender, size=goal.size):
        try:
            return medians[goal.bench, size][contender]
        except KeyError:
            raise Missing(f"not measured: {contender} of {goal.bench} at {size}") from None

    ratio = goal.ratio(median)
    verdict = "reached" if goal.low <= ratio <= goal.high else "**missed**"
    return f"{goal.text}: {verdict} ({ratio:.2f})"


def time(nanoseconds):
    """A time with three digits."""
    for unit, factor in (("ns", 1), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)):
        value = nanoseconds / factor
        if value < 999.5 or unit == "s":
            digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
            return f"{value:.{digits}f} {unit}"
    raise AssertionError


def bytes_of(size):
    """A size in the largest unit that divides it."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size and size % factor == 0:
            return f"{size // factor} {unit}"
    return f"{size} B"


def rows(medians):
    """The lines of the table."""
    yield "| bench | size | floor | kinfolk | peers | goals |"
    yield "|---|--:|--:|--:|---|---|"
    for bench, size in dict.fromkeys((goal.bench, goal.size) for goal in GOALS):
        case = dict(medians[bench, size])
        goals = [judge(goal, medians) for goal in GOALS if goal[:2] == (bench, size)]
        floor, ours = case.pop("floor"), case.pop(OURS)
        peers = [f"{name} {time(value)} ({value / floor:.2f}×)" for name, value in case.items()]
        yield (
            f"| `{bench}` | {bytes_of(size)} | {time(floor)} | {time(ours)} ({ours / floor:.2f}×) "
            f"| {', '.join(peers)} | {'; '.join(goals)} |"
        )


def section(medians, rounds):
    """The whole text between the marks."""
    lines = [*rows(medians), ""]
    lines += [
        f"Medians of {rounds} interleaved rounds in one run on Linux {platform.release()} "
        f"({platform.machine()}) with {os.cpu_count()} processors; × is the ratio to the floor, "
        "the same work by raw system calls.",
        "",
    ]
    lines += [f"- `{bench}`: {text}." for bench, text in MEANING.items()]
    return "\n".join(lines)


def main():
    """Reads the file and rewrites the part of the README."""
    if len(sys.argv) != 3:
        return f"usage: {sys.argv[0]} FILE README.md"
    try:
        text = section(*read(sys.argv[1]))
    except Missing as error:
        return f"{sys.argv[1]}: {error}"
    readme = pathlib.Path(sys.argv[2])
    before, begin, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return f"{readme}: no place for the figures between '{BEGIN}' and '{END}'"
    readme.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
