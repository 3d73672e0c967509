"""Measures CPython's multiprocessing.Manager.

    python3 manager.py BENCH CLIENTS

Runs a batch for each line of its input, and writes its figure. Started by the bench.
"""

import multiprocessing
import sys
import time

# How many calls a client makes in a batch.
CALLS = 2_000


def calls(shared):
    """Looks a key up, again and again."""
    for _ in range(CALLS):
        shared.get("key")


def client(shared, gate):
    """A process that makes its calls for each batch."""
    # A process's first call makes its connection.
    shared.get("key")
    while gate.recv():
        calls(shared)
        gate.send(True)


def proxy_call(_):
    """One call after the other."""
    manager = multiprocessing.Manager()
    shared = manager.dict({"key": 7})

    # The manager ends with its handle, which the batch therefore keeps.
    def batch(_kept=manager):
        begin = time.perf_counter_ns()
        calls(shared)
        return (time.perf_counter_ns() - begin) / CALLS

    return batch


def proxy_many(clients):
    """So many clients at a time."""
    manager = multiprocessing.Manager()
    shared = manager.dict({"key": 7})
    gates = []
    for _ in range(clients):
        here, there = multiprocessing.Pipe()
        process = multiprocessing.Process(target=client, args=(shared, there), daemon=True)
        process.start()
        gates.append(here)

    # The manager's dict ends with the proxy, even if forks of this process have it.
    def batch(_kept=(manager, shared)):
        begin = time.perf_counter_ns()
        for gate in gates:
            gate.send(True)
        for gate in gates:
            gate.recv()
        return (time.perf_counter_ns() - begin) / (CALLS * clients)

    return batch


BENCHES = {"proxy-call": proxy_call, "proxy-many": proxy_many}


def main():
    """Runs batches."""
    batch = BENCHES[sys.argv[1]](int(sys.argv[2]))
    for _ in sys.stdin:
        print(batch(), flush=True)


if __name__ == "__main__":
    main()
