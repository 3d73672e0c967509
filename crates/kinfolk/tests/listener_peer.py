"""The other side of listener_python.rs: CPython's own multiprocessing.connection.

    python3 - < this file, with a line of arguments on standard input after it

It is run by `-c`, and reads: what to do, the address, the key and the sizes of messages.
"""

import multiprocessing
import multiprocessing.connection as connection
import sys


def address_of(text):
    """An address as multiprocessing has it."""
    if "/" in text:
        return text
    host, port = text.rsplit(":", 1)
    return (host, int(port))


def pattern(size):
    """The bytes of a message."""
    return (bytes(range(127)) * (size // 127 + 1))[:size]


def say(*words):
    """Tells the test."""
    print(*words, flush=True)


def connect(address, key, sizes):
    """Is a client: has messages come back, and ends."""
    with connection.Client(address, authkey=key) as end:
        for size in sizes:
            end.send_bytes(pattern(size))
            assert connection.wait([end]) == [end]
            assert end.recv_bytes() == pattern(size)
    say("done")


def refused(address, key, _):
    """Is a client that is not let in."""
    try:
        connection.Client(address, authkey=key)
    except (multiprocessing.AuthenticationError, AssertionError, EOFError, OSError) as error:
        say("refused", type(error).__name__)
    else:
        say("let in")


def listen(address, key, sizes):
    """Is a listener: refuses clients, and sends messages of one back until it ends."""
    with connection.Listener(address, authkey=key) as listener:
        where = listener.address
        say(where if isinstance(where, str) else "%s:%d" % where)
        while True:
            try:
                end = listener.accept()
            except (multiprocessing.AuthenticationError, EOFError, OSError) as error:
                say("refused", type(error).__name__)
                continue
            break
        with end:
            for size in sizes:
                got = end.recv_bytes()
                assert got == pattern(size), (len(got), size)
                end.send_bytes(got)
            try:
                end.recv_bytes()
            except EOFError:
                say("done")


def main():
    """Does what the first line says."""
    what, address, key, *sizes = sys.stdin.readline().split()
    sizes = [int(size) for size in sizes]
    {"connect": connect, "refused": refused, "listen": listen}[what](
        address_of(address), bytes.fromhex(key), sizes
    )


if __name__ == "__main__":
    main()
