"""Measures CPython's multiprocessing.Pool.

    python3 pool.py BENCH SIZE

Runs a batch for each line of its input, and writes its figure. Started by the bench.
"""

import multiprocessing
import os
import signal
import statistics
import sys
import time

WORKERS = 2
BUSY = 1e-3


def square(n):
    """Squares a number."""
    return n * n


def busy(n):
    """Is busy for a while."""
    end = time.perf_counter() + BUSY
    while time.perf_counter() < end:
        pass
    return n


def same(array):
    """Gives an array back."""
    return array


def set_barrier(barrier):
    """Keeps a barrier for `meet`."""
    global meeting
    meeting = barrier


def meet(_):
    """Waits until all workers are here."""
    meeting.wait()


def timed(times, work):
    """The time of one of so many operations, in nanoseconds."""
    begin = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - begin) / times


def pool_map(count):
    """Maps numbers."""
    pool = multiprocessing.Pool(WORKERS)
    return lambda: timed(count, lambda: pool.map(square, range(count)))


def pool_apply(under_way):
    """Applies a function to one number after the other, or to many at a time."""
    pool = multiprocessing.Pool(WORKERS)
    if under_way == 1:
        times = 2_000

        def work():
            for n in range(times):
                pool.apply(square, (n,))
    else:
        times = 20_000

        def work():
            for _ in pool.imap(square, range(times)):
                pass

    return lambda: timed(times, work)


def pool_busy(count):
    """Maps numbers, a millisecond each."""
    pool = multiprocessing.Pool(WORKERS)
    return lambda: timed(count, lambda: pool.map(busy, range(count)))


def pool_arrays(size):
    """Has arrays come and go."""
    count = 64
    pool = multiprocessing.Pool(WORKERS)
    arrays = [bytes(size) for _ in range(count)]

    def work():
        arrays[:] = pool.map(same, arrays, 1)

    return lambda: timed(count, work)


def pool_ready(workers):
    """Makes a pool, until all its workers have met."""

    def batch():
        begin = time.perf_counter_ns()
        barrier = multiprocessing.Barrier(workers)
        with multiprocessing.Pool(workers, set_barrier, (barrier,)) as pool:
            pool.map(meet, range(workers), 1)
            return time.perf_counter_ns() - begin

    return batch


def pool_recovery(_):
    """Kills a worker, until its replacement has taken the next item."""
    pool = multiprocessing.Pool(1)

    def recovery():
        pid = pool.apply(os.getpid)
        pool.apply_async(time.sleep, (1_000,))
        following = pool.apply_async(os.getpid)
        time.sleep(0.02)
        begin = time.perf_counter_ns()
        os.kill(pid, signal.SIGKILL)
        following.get()
        return time.perf_counter_ns() - begin

    return lambda: statistics.median(recovery() for _ in range(11))


BENCHES = {
    "pool-map": pool_map,
    "pool-apply": pool_apply,
    "pool-busy": pool_busy,
    "pool-arrays": pool_arrays,
    "pool-ready": pool_ready,
    "pool-recovery": pool_recovery,
}


def main():
    """Runs batches."""
    batch = BENCHES[sys.argv[1]](int(sys.argv[2]))
    for _ in sys.stdin:
        print(batch(), flush=True)


if __name__ == "__main__":
    main()
