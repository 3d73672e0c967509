"""Measures CPython's multiprocessing.connection.

    python3 connection.py BENCH SIZE

Runs a batch for each line of its input, and writes its figure. Started by the bench.
"""

import multiprocessing
import multiprocessing.connection as connection
import sys
import time

TIMES = 500


def serve(pipe):
    """Accepts clients, and waits for each to end."""
    with connection.Listener(None, "AF_UNIX", authkey=KEY) as listener:
        pipe.send(listener.address)
        while True:
            with listener.accept() as end:
                try:
                    end.recv_bytes()
                except EOFError:
                    pass


KEY = b"of one family"


def handshake(_):
    """Connects and ends."""
    here, there = multiprocessing.Pipe()
    multiprocessing.Process(target=serve, args=(there,), daemon=True).start()
    address = here.recv()

    def batch():
        begin = time.perf_counter_ns()
        for _ in range(TIMES):
            connection.Client(address, authkey=KEY).close()
        return (time.perf_counter_ns() - begin) / TIMES

    return batch


BENCHES = {"handshake": handshake}


def main():
    """Runs batches."""
    batch = BENCHES[sys.argv[1]](int(sys.argv[2]))
    for _ in sys.stdin:
        print(batch(), flush=True)


if __name__ == "__main__":
    main()
