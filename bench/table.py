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


class Case(NamedTuple):
    """What a bench was measured at."""

    size: int
    producers: int | None = None
    consumers: int | None = None


class Goal(NamedTuple):
    """A figure, mostly a ratio of medians, that is to lie between two bounds.

    Without bounds it is only reported.
    """

    bench: str
    case: Case
    text: str
    # Gets a function from a contender, and perhaps a case, to its median.
    figure: Callable
    low: float = float("-inf")
    high: float = float("inf")
    # How the figure is written.
    show: Callable = "{:.2f}".format


def slower(contender):
    """By which factor kinfolk is slower."""
    return lambda median: median(OURS) / median(contender)


def faster(contender):
    """By which factor kinfolk is faster: of a throughput, its share."""
    return lambda median: median(contender) / median(OURS)


def itself(median):
    """The figure of kinfolk, in its unit."""
    return median(OURS)


def time(nanoseconds):
    """A time with three digits."""
    for unit, factor in (("ns", 1), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)):
        value = nanoseconds / factor
        if value < 999.5 or unit == "s":
            return f"{three_digits(value)} {unit}"
    raise AssertionError


def share(percent):
    """A share of a processor."""
    return f"{three_digits(percent)} %"


def signed(nanoseconds):
    """A time more, or less."""
    return ("+" if nanoseconds >= 0 else "−") + time(abs(nanoseconds))


def three_digits(value):
    """A number with three digits, where two are behind the point at most."""
    digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f}"


# How a figure of a unit is written.
UNITS = {"ns": time, "% of a core": share}

GIB = 1 << 30
MS = 1e6
NOTHING = Case(0)
CPYTHON = "CPython's Pool"
CPYTHON_CLIENT = "CPython's Client"
CPYTHON_MANAGER = "CPython's Manager"
MAPPED = Case(1_000_000)
SINGLE, MANY = Case(1), Case(128)
# How long an item of `pool-busy` keeps one of two workers.
BUSY = MS / 2
HANDOVER = Case(100_000_000)

GOALS = [
    Goal("start-forkserver", NOTHING, "≤ 2 × floor", slower("floor"), high=2),
    Goal(
        "start-forkserver", NOTHING, "≥ 5 × faster than procspawn", faster("procspawn"), low=5
    ),
    Goal(
        "start-forkserver", Case(GIB), "as at 0 B ± 20 %",
        lambda median: median(OURS) / median(OURS, NOTHING), low=0.8, high=1.2,
    ),
    Goal("start-spawn", NOTHING, "≤ 1.25 × floor", slower("floor"), high=1.25),
    Goal("pipe-rtt", Case(8), "≤ 1.15 × floor", slower("floor"), high=1.15),
    Goal("pipe-rtt", Case(8), "faster than ipc-channel", faster("ipc-channel"), low=1),
]
for size in (8, 1 << 10, 1 << 16, 1 << 20, 1 << 24):
    GOALS += [
        Goal("pipe-throughput", Case(size), "≥ 0.85 × floor", faster("floor"), low=0.85),
        Goal("pipe-throughput", Case(size), "≥ ipc-channel", faster("ipc-channel"), low=1),
    ]
GOALS.append(Goal("pipe-handover", HANDOVER, "≤ 1 ms", itself, high=MS, show=time))
for ends in (1, 2):
    case = Case(8, ends, ends)
    GOALS += [
        Goal("queue-throughput", case, "≤ 1.5 × floor", slower("floor"), high=1.5),
        Goal(
            "queue-throughput", case, "≥ 20 × ipc-channel", faster("ipc-channel"), low=20
        ),
    ]
GOALS += [
    Goal("queue-throughput", Case(1 << 10, 1, 1), "≤ 1.5 × floor", slower("floor"), high=1.5),
    Goal("queue-throughput", Case(1 << 16, 1, 1), "≥ 0.6 × floor", faster("floor"), low=0.6),
    Goal("queue-throughput", Case(1 << 20, 1, 1), "≥ 0.5 × floor", faster("floor"), low=0.5),
    Goal("queue-rtt", Case(8), "≤ 2 × floor", slower("floor"), high=2),
    Goal("queue-rtt-parked", Case(8), "≤ 1.2 × floor", slower("floor"), high=1.2),
    Goal("queue-idle", NOTHING, "≤ 1 %", itself, high=1, show=share),
    Goal(
        "queue-idle-distinct", NOTHING, "of one queue",
        lambda median: median(OURS) / 64, show="{:.3f} %".format,
    ),
    Goal("lock", NOTHING, "≤ 6 ns", itself, high=6, show=time),
    Goal(
        "lock-contended", NOTHING, "≤ pthread robust mutex",
        slower("pthread robust mutex"), high=1,
    ),
    Goal("lock-recovery", NOTHING, "≤ 1 ms", itself, high=MS, show=time),
    Goal("pool-map", MAPPED, "≤ 1.5 × floor", slower("floor"), high=1.5),
    Goal("pool-map", MAPPED, "≥ 12 × faster than CPython's", faster(CPYTHON), low=12),
    Goal("pool-apply", SINGLE, "≤ 1.3 × floor", slower("floor"), high=1.3),
    Goal("pool-apply", MANY, "≤ 1.5 × floor", slower("floor"), high=1.5),
    Goal("pool-apply", MANY, "≥ 10 × faster than procspawn", faster("procspawn"), low=10),
    Goal(
        "pool-busy", Case(1_000), "≥ 98 % of ideal",
        lambda median: 100 * BUSY / median(OURS), low=98, show=share,
    ),
    Goal("pool-arrays", Case(8 << 20), "≥ 0.5 × floor", faster("floor"), low=0.5),
    Goal("pool-arrays", Case(8 << 20), "≥ 5 × faster than CPython's", faster(CPYTHON), low=5),
    Goal(
        "pool-ready", Case(8), "≤ floor + 2 ms",
        lambda median: median(OURS) - median("floor"), high=2 * MS, show=signed,
    ),
    Goal("pool-recovery", NOTHING, "≤ 10 ms", itself, high=10 * MS, show=time),
    Goal(
        "handshake", NOTHING, "≤ floor + 20 µs",
        lambda median: median(OURS) - median("floor"), high=20e3, show=signed,
    ),
    Goal("handshake", NOTHING, "faster than CPython's", faster(CPYTHON_CLIENT), low=1),
    Goal(
        "encrypted-throughput", Case(32 << 10), "≥ 1 GB/s",
        lambda median: (32 << 10) / median(OURS), low=1, show="{:.2f} GB/s".format,
    ),
    Goal("proxy-call", NOTHING, "≤ 1.2 × floor", slower("floor"), high=1.2),
    Goal("proxy-call", NOTHING, "faster than CPython's", faster(CPYTHON_MANAGER), low=1),
    Goal("proxy-call", NOTHING, "faster than tarpc", faster("tarpc"), low=1),
    Goal("proxy-many", SINGLE, "faster than CPython's", faster(CPYTHON_MANAGER), low=1),
    Goal(
        "proxy-many", Case(8), "≥ 10 × faster than CPython's", faster(CPYTHON_MANAGER), low=10
    ),
    Goal(
        "proxy-many", Case(8), "more calls a second than of one",
        lambda median: median(OURS, SINGLE) / median(OURS), low=1,
    ),
]

# What a bench's size and figure are of.
MEANING = {
    "start-forkserver": "start, typed result and join by a forkserver; size: resident in the parent",
    "start-spawn": "the same by executing the program anew",
    "pipe-rtt": "a typed value to another process and back",
    "pipe-throughput": "a message of bytes one way",
    "pipe-handover": "shared memory sent to another process, mapped there, and an answer",
    "queue-throughput": "a message from so many processes to so many; floor: Vyukov's ring at 8 B, "
    "a ring of bytes between one and one at 1 KiB and 64 KiB, a copy at 1 MiB; "
    "crossbeam-channel: between threads",
    "queue-rtt": "a number to another process and back, which looks for it; floor: words that both "
    "look at",
    "queue-rtt-parked": "the same, which has been asleep; floor: words that both sleep on",
    "queue-idle": "the processor time of 64 processes that wait for a message of one queue",
    "queue-idle-distinct": "the same with a queue each",
    "lock": "lock and unlock by one process; floor: a word, lost with its holder",
    "lock-contended": "the same by two processes at a time",
    "lock-recovery": "from the SIGKILL of the holder until a waiter, asleep for 20 ms, has the lock; "
    "floor: a pthread robust mutex",
    "pool-map": "the square of a number, as one of 1,000,000 by two workers; floor: forked workers, "
    "pipes, and 8,000 numbers at a time",
    "pool-apply": "the square of a number, alone, or as one of 128 under way to two workers; floor: "
    "forked workers and pipes, a number at a time; rayon: threads",
    "pool-busy": "1 ms of work, as one of 1,000 by two workers: at best half of it",
    "pool-arrays": "an array of bytes to a worker and back, as one of 64 by two workers; floor: two "
    "copies by one process",
    "pool-ready": "a pool made, until all its workers have answered; floor: as many processes by the "
    "forkserver, one after the other",
    "pool-recovery": "from the SIGKILL of the only worker, at an item, until the next item is done",
    "handshake": "a client connects to a listener by a unix socket, both prove that they know the "
    "key, and the connection ends; floor: three raw round trips instead of the proof",
    "encrypted-throughput": "a message of bytes one way by TCP, sealed; floor: not sealed, by bare "
    "system calls",
    "proxy-call": "a key of a dict in another process is looked up, over a unix socket; floor: 16 "
    "bytes there and back",
    "proxy-many": "the same by so many client processes at a time",
}

# Those whose size says nothing.
WITHOUT_SIZE = {
    "queue-idle", "queue-idle-distinct", "lock", "lock-contended", "lock-recovery",
    "pool-recovery", "handshake", "proxy-call",
}

# Those whose size is a number of something.
NUMBERED = {
    "pool-map": "items", "pool-apply": "under way", "pool-busy": "items", "pool-ready": "workers",
    "proxy-many": "clients",
}


class Missing(Exception):
    """The file does not hold what the table needs."""


class Figures(NamedTuple):
    """What a file holds."""

    # By bench and case, and then by contender.
    medians: dict
    # By bench: how its figures are written.
    units: dict
    # The least of any bench.
    rounds: int


def read(path):
    """The figures of a file."""
    medians, units, rounds = {}, {}, []
    for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
        figure = json.loads(line)
        if figure["unit"] not in UNITS:
            raise Missing(f"a unit that the table does not know: {figure['unit']}")
        units[figure["bench"]] = UNITS[figure["unit"]]
        case = Case(figure["size"], figure.get("producers"), figure.get("consumers"))
        key = figure["bench"], case
        medians.setdefault(key, {})[figure["contender"]] = figure["median"]
        rounds.append(figure["rounds"])
    known = {(goal.bench, goal.case) for goal in GOALS}
    if missing := known - medians.keys():
        raise Missing(f"not measured: {sorted(missing, key=str)}")
    if unknown := medians.keys() - known:
        raise Missing(f"measured, but without a goal: {sorted(unknown, key=str)}")
    return Figures(medians, units, min(rounds))


def judge(goal, medians):
    """What a goal says of itself: its text, the figure, and whether it was reached."""

    def median(contender, case=goal.case):
        try:
            return medians[goal.bench, case][contender]
        except KeyError:
            raise Missing(f"not measured: {contender} of {goal.bench} at {case}") from None

    figure = goal.figure(median)
    if goal.low == float("-inf") and goal.high == float("inf"):
        return f"{goal.text}: {goal.show(figure)}"
    verdict = "reached" if goal.low <= figure <= goal.high else "**missed**"
    return f"{goal.text}: {verdict} ({goal.show(figure)})"


def bytes_of(size):
    """A size in the largest unit that divides it."""
    units = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("MB", 10**6))
    for unit, factor in units:
        if size and size % factor == 0:
            return f"{size // factor} {unit}"
    return f"{size} B"


def title_of(bench, case):
    """What a bench was measured at, in words."""
    if bench in WITHOUT_SIZE:
        return "–"
    if bench in NUMBERED:
        things = NUMBERED[bench]
        return f"{case.size:,} {things.removesuffix('s') if case.size == 1 else things}"
    if case.producers is None:
        return bytes_of(case.size)
    return f"{bytes_of(case.size)}, {case.producers} → {case.consumers}"


def rows(figures):
    """The lines of the table."""
    yield "| bench | size | floor | kinfolk | peers | goals |"
    yield "|---|--:|--:|--:|---|---|"
    for bench, case in dict.fromkeys((goal.bench, goal.case) for goal in GOALS):
        contenders = dict(figures.medians[bench, case])
        show = figures.units[bench]
        floor = contenders.pop("floor", None)

        def beside(value):
            return f"{show(value)} ({value / floor:.2f}×)" if floor else show(value)

        goals = [judge(goal, figures.medians) for goal in GOALS if goal[:2] == (bench, case)]
        ours = contenders.pop(OURS)
        peers = [f"{name} {beside(value)}" for name, value in contenders.items()]
        yield (
            f"| `{bench}` | {title_of(bench, case)} | {show(floor) if floor else '–'} "
            f"| {beside(ours)} | {', '.join(peers)} | {'; '.join(goals)} |"
        )


def section(figures):
    """The whole text between the marks."""
    lines = [*rows(figures), ""]
    lines += [
        f"Medians of {figures.rounds} interleaved rounds in one run on Linux {platform.release()} "
        f"({platform.machine()}) with {os.cpu_count()} processors; × is the ratio to the floor, "
        "the same work by the simplest means, system calls if not said otherwise.",
        "",
    ]
    lines += [f"- `{bench}`: {text}." for bench, text in MEANING.items()]
    return "\n".join(lines)


def main():
    """Reads the file and rewrites the part of the README."""
    if len(sys.argv) != 3:
        return f"usage: {sys.argv[0]} FILE README.md"
    try:
        text = section(read(sys.argv[1]))
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
