"""Pipes and connections: whole messages, whoever is killed, and the standard library's peers."""

from __future__ import annotations

import array
import multiprocessing
import os
import random
import signal
import socket
import sys
import threading
import time
import unittest
from multiprocessing import connection as stock

import kinfolk
from kinfolk.connection import Client, Connection, Listener, Pipe, wait
from support import METHODS, PATIENCE, TestCase, open_fds, start, stop

KEY = b"a key of both sides"
#: What the standard library authenticates with.
LEGACY = sys.version_info < (3, 12)


def echo(connection) -> None:
    """Sends back what comes."""
    while True:
        try:
            connection.send(connection.recv())
        except EOFError:
            return


def hand_over(connection) -> None:
    """Receives an end of a pipe, and sends something by it."""
    end = connection.recv()
    end.send("by the end that came")
    end.close()


def send_for_ever(connection, number: int) -> None:
    """Sends messages that can be checked, of any size."""
    for count in range(1 << 30):
        size = count * 7919 % 300_000
        connection.send_bytes(bytes([number]) * size + size.to_bytes(4, "big"))


def serve_stock(connection, key: bytes | None, family: str) -> None:
    """Listens as the standard library does, and sends back what comes."""
    with stock.Listener(family=family, authkey=key) as listener:
        connection.send(listener.address)
        with listener.accept() as client:
            echo(client)


def ask_stock(address, key: bytes | None) -> None:
    """Connects as the standard library does, and is asked."""
    with stock.Client(address, authkey=key) as client:
        echo(client)


class Pipes(TestCase):
    def test_it_is_what_the_reference_has(self) -> None:
        a, b = kinfolk.Pipe()
        with a, b:
            self.assertIsInstance(a, stock.Connection)
            a.send({"any": [object, 1.5, None]})
            self.assertEqual(b.recv(), {"any": [object, 1.5, None]})
            for message in (b"", b"x", b"y" * 70_000, b"z" * (9 << 20)):
                b.send_bytes(message)
                self.assertEqual(a.recv_bytes(), message)
            b.send_bytes(array.array("i", [1, 2, 3]), 4, 4)
            into = array.array("i", [0, 0, 0])
            self.assertEqual(a.recv_bytes_into(into, 4), 4)
            self.assertEqual(into.tolist(), [0, 2, 0])
            b.send_bytes(b"longer than that")
            with self.assertRaises(kinfolk.BufferTooShort) as raised:
                a.recv_bytes_into(bytearray(3))
            self.assertEqual(raised.exception.args, (b"longer than that",))
            b.send_bytes(b"longer than that")
            self.assertRaises(OSError, a.recv_bytes, 3)
            self.assertFalse(a.readable)
        self.assertTrue(a.closed)
        self.assertRaises(OSError, a.fileno)
        self.assertRaises(OSError, a.send, 1)
        self.assertRaises(ValueError, Connection, -1)

    def test_one_way(self) -> None:
        reader, writer = Pipe(duplex=False)
        with reader, writer:
            self.assertEqual((reader.readable, reader.writable), (True, False))
            self.assertEqual((writer.readable, writer.writable), (False, True))
            self.assertRaises(OSError, reader.send, 1)
            self.assertRaises(OSError, writer.recv)
            self.assertFalse(reader.poll())
            self.assertFalse(reader.poll(0.001))
            writer.send(None)
            self.assertTrue(reader.poll(None))
            self.assertIsNone(reader.recv())
            writer.close()
            self.assertTrue(reader.poll())
            self.assertRaises(EOFError, reader.recv)

    def test_nobody_there_is_a_broken_pipe(self) -> None:
        a, b = Pipe()
        a.close()
        self.assertRaises(BrokenPipeError, b.send, 1)
        b.close()

    def test_what_cannot_be_sent_leaves_nothing(self) -> None:
        a, b = Pipe()
        with a, b:
            before = open_fds()
            self.assertRaises(Exception, a.send, lambda: None)
            self.assertFalse(b.poll())
            self.assertEqual(open_fds(), before)

    def test_it_wraps_any_stream_as_the_reference_does(self) -> None:
        for one, other in ((Connection, stock.Connection), (stock.Connection, Connection)):
            a, b = (end.detach() for end in socket.socketpair())
            with one(a) as sender, other(b) as receiver:
                sender.send("a stream")
                self.assertTrue(receiver.poll(PATIENCE))
                self.assertEqual(receiver.recv(), "a stream")
        reader, writer = os.pipe()
        with Connection(reader, writable=False) as end, Connection(writer, readable=False) as begin:
            begin.send_bytes(b"another")
            self.assertEqual(end.recv_bytes(), b"another")

    def test_ends_are_arguments_and_messages(self) -> None:
        for context in self.for_each_method():
            ours, theirs = context.Pipe()
            process = start(context, hand_over, theirs)
            theirs.close()
            receive, send = context.Pipe(duplex=False)
            ours.send(send)
            self.assertEqual(receive.recv(), "by the end that came")
            process.join()
            send.close()
            self.assertRaises(EOFError, receive.recv)
            ours.close()
            receive.close()

    def test_ends_travel_between_kinfolk_and_the_standard_library(self) -> None:
        for method in METHODS:
            for ends, processes in ((kinfolk, multiprocessing), (multiprocessing, kinfolk)):
                with self.subTest(method, processes=processes.__name__):
                    ours, theirs = ends.get_context(method).Pipe()
                    process = start(processes.get_context(method), echo, theirs)
                    theirs.close()
                    ours.send([1, "two"])
                    self.assertEqual(ours.recv(), [1, "two"])
                    stop(process)
                    self.assertRaises((EOFError, ConnectionResetError), ours.recv)
                    ours.close()

    def test_a_killed_peer_ends_the_wait(self) -> None:
        for context in self.for_each_method():
            ours, theirs = context.Pipe()
            process = start(context, echo, theirs)
            theirs.close()
            ours.send(1)
            self.assertEqual(ours.recv(), 1)
            killer = threading.Timer(0.01, process.kill)
            killer.start()
            self.assertRaises(EOFError, ours.recv)
            self.assertEqual(wait([ours, process.sentinel], PATIENCE)[0], ours)
            killer.join()
            process.join()
            ours.close()

    def test_no_kill_tears_a_message(self) -> None:
        randomness = random.Random(4711)
        for context in self.for_each_method():
            reader, writer = context.Pipe(duplex=False)
            received = 0
            for number in range(4):
                senders = [start(context, send_for_ever, writer, number) for _ in range(2)]
                for _ in range(randomness.randrange(1, 40)):
                    reader.recv_bytes()
                    received += 1
                for sender in senders:
                    stop(sender)
                while reader.poll():
                    message = reader.recv_bytes()
                    size = len(message) - 4
                    self.assertEqual(message, bytes([number]) * size + size.to_bytes(4, "big"))
                    received += 1
            self.assertGreater(received, 4)
            reader.close()
            writer.close()

    def test_a_signal_handler_runs_during_a_wait_and_may_end_it(self) -> None:
        def interrupt(*_args) -> None:
            raise InterruptedError

        self.addCleanup(signal.signal, signal.SIGUSR1, signal.signal(signal.SIGUSR1, interrupt))
        a, b = Pipe()

        def fill() -> None:
            while True:
                a.send_bytes(b"x" * 10_000)

        with a, b:
            for blocking in (a.recv, lambda: a.poll(None), lambda: a.poll(PATIENCE), fill):
                pid, thread = os.getpid(), signal.SIGUSR1
                timer = threading.Timer(0.01, os.kill, (pid, thread))
                timer.start()
                self.assertRaises(InterruptedError, blocking)
                timer.join()

    def test_closing_it_in_another_thread_ends_the_wait(self) -> None:
        a, b = Pipe()
        with b:
            closer = threading.Timer(0.01, a.close)
            closer.start()
            self.assertRaises(OSError, a.recv)
            closer.join()

    def test_many_threads_share_an_end(self) -> None:
        a, b = Pipe()
        received: list[int] = []

        def receive() -> None:
            while (number := b.recv()) is not None:
                received.append(number)

        with a, b:
            threads = [threading.Thread(target=receive) for _ in range(4)]
            for thread in threads:
                thread.start()
            for number in [*range(500), *[None] * 4]:
                a.send(number)
            for thread in threads:
                thread.join()
        self.assertEqual(sorted(received), list(range(500)))

    def test_wait_takes_whatever_has_a_descriptor(self) -> None:
        a, b = Pipe()
        left, right = socket.socketpair()
        queue = kinfolk.SimpleQueue()
        process = start(kinfolk.get_context("fork"), echo, a)
        with a, b, left, right:
            objects = [a, left, process.sentinel, queue._reader]
            self.assertEqual(wait(objects, 0), [])
            right.send(b"x")
            self.assertEqual(wait(objects, PATIENCE), [left])
            queue.put(1)
            stop(process)
            self.assertEqual(wait(objects, PATIENCE), objects[1:])


class Listeners(TestCase):
    def test_it_speaks_with_the_standard_library(self) -> None:
        context = multiprocessing.get_context("spawn")
        for family in ("AF_UNIX", "AF_INET"):
            for key in (None, KEY):
                with self.subTest(family, key=key):
                    ours, theirs = context.Pipe()
                    process = start(context, serve_stock, theirs, key, family)
                    with Client(ours.recv(), authkey=key, legacy=LEGACY) as client:
                        client.send(["question"])
                        self.assertEqual(client.recv(), ["question"])
                    process.join()
                    self.assertEqual(process.exitcode, 0)
                    with Listener(family=family, authkey=key, legacy=LEGACY) as listener:
                        process = start(context, ask_stock, listener.address, key)
                        with listener.accept() as client:
                            client.send("question")
                            self.assertEqual(client.recv(), "question")
                    process.join()
                    self.assertEqual(process.exitcode, 0)
                    ours.close()
                    theirs.close()

    def test_who_does_not_know_the_key_is_refused(self) -> None:
        with Listener(authkey=KEY) as listener:
            failed: list[BaseException] = []

            def connect() -> None:
                try:
                    Client(listener.address, authkey=b"another")
                except kinfolk.AuthenticationError as error:
                    failed.append(error)

            thread = threading.Thread(target=connect)
            thread.start()
            self.assertRaises(kinfolk.AuthenticationError, listener.accept)
            thread.join()
            self.assertEqual(len(failed), 1)

    def test_md5_is_refused(self) -> None:
        for known in (False, True):
            with Listener(authkey=KEY, legacy=known) as listener:
                client = socket.socket(socket.AF_UNIX)
                client.connect(listener.address)
                answer = threading.Thread(target=answer_by_md5, args=(client,))
                answer.start()
                if known:
                    listener.accept().close()
                else:
                    self.assertRaises(kinfolk.AuthenticationError, listener.accept)
                answer.join()
                client.close()

    def test_silent_and_hostile_clients_keep_nobody_out(self) -> None:
        with Listener(family="AF_INET", authkey=KEY, backlog=128) as listener:
            strangers = [socket.create_connection(listener.address) for _ in range(60)]
            for stranger, words in zip(
                strangers[20:], (b"", b"\x7f\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n", b"\0") * 10
            ):
                stranger.send(words)
                if words != b"\0":
                    stranger.close()
            process = start(kinfolk.get_context("spawn"), ask_stock_or_ours, listener.address)
            with listener.accept() as client:
                client.send("question")
                self.assertEqual(client.recv(), "question")
            process.join()
            for stranger in strangers:
                stranger.close()

    def test_who_has_not_authenticated_in_time_is_dropped(self) -> None:
        with Listener(authkey=KEY, handshake_timeout=0.01) as listener:
            with socket.socket(socket.AF_UNIX) as silent:
                silent.connect(listener.address)
                accepting = threading.Thread(target=self.accept_one, args=(listener,))
                accepting.start()
                # Its challenge, and then the end.
                while silent.recv(4096):
                    pass
                silent_fds = open_fds()
                Client(listener.address, authkey=KEY).close()
                accepting.join()
                self.assertEqual(len(open_fds()), len(silent_fds))

    def accept_one(self, listener) -> None:
        listener.accept().close()

    def test_every_wait_has_a_deadline_form(self) -> None:
        with Listener(authkey=KEY) as listener:
            self.assertRaises(TimeoutError, listener.accept, 0.01)
            with self.assertRaises(TimeoutError):
                Client(listener.address, authkey=KEY, timeout=0.01)
            waiting = []
            with self.assertRaises(TimeoutError):
                # The queue of those that are not accepted is full at last.
                while True:
                    waiting.append(Client(listener.address, timeout=0.01))
            for client in waiting:
                client.close()

    def test_a_listener_that_dies_ends_its_clients_wait(self) -> None:
        context = kinfolk.get_context("spawn")
        ours, theirs = context.Pipe()
        process = start(context, listen_and_sleep, theirs)
        address = ours.recv()
        killer = threading.Timer(0.05, process.kill)
        killer.start()
        with self.assertRaises((EOFError, OSError)):
            Client(address, authkey=KEY)
        killer.join()
        process.join()
        ours.close()
        theirs.close()

    def test_a_first_message_right_behind_the_handshake_comes(self) -> None:
        with Listener(authkey=KEY) as listener:

            def connect() -> None:
                with Client(listener.address, authkey=KEY) as client:
                    client.send_bytes(b"at once")

            thread = threading.Thread(target=connect)
            thread.start()
            with listener.accept() as client:
                thread.join()
                self.assertEqual(client.recv_bytes(), b"at once")


def listen_and_sleep(connection) -> None:
    """Listens, and accepts nobody."""
    with Listener(authkey=KEY) as listener:
        connection.send(listener.address)
        time.sleep(3600)


def ask_stock_or_ours(address) -> None:
    """Connects and is asked."""
    with Client(address, authkey=KEY) as client:
        echo(client)


def answer_by_md5(client: socket.socket) -> None:
    """Authenticates as Python did before 3.12."""
    import hmac

    connection = stock.Connection(client.fileno())
    try:
        challenge = connection.recv_bytes()[len(b"#CHALLENGE#") :]
        connection.send_bytes(hmac.new(KEY, challenge, "md5").digest())
        if connection.recv_bytes() == b"#WELCOME#":
            challenge = b"#CHALLENGE#" + os.urandom(20)
            connection.send_bytes(challenge)
            connection.recv_bytes()
            connection.send_bytes(b"#WELCOME#")
    except (EOFError, OSError):
        pass
    finally:
        # The socket owns it.
        connection._handle = None


if __name__ == "__main__":
    unittest.main()
