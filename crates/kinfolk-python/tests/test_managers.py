"""Managers: whoever dies, and the standard library's managers and clients."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import time
import unittest
from multiprocessing import managers as stock

import kinfolk
from kinfolk.managers import BaseManager, SharedMemoryManager, SyncManager
from support import METHODS, TestCase, is_alive, start, stop

KEY = b"a key of both sides"


class Counter:
    """An object of a user's class."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, number: int) -> int:
        """Adds."""
        self._count += number
        return self._count


class Counters(BaseManager):
    """A manager of it."""


Counters.register("Counter", Counter)


class StockCounters(stock.BaseManager):
    """The same, of the standard library's."""


StockCounters.register("Counter", Counter)


def fill(shared, numbers) -> None:
    """Changes both."""
    numbers.append(len(numbers))
    shared["by"] = os.getpid()


def add_for_ever(counter) -> None:
    """Calls a manager's object again and again."""
    while True:
        counter.add(1)


def start_manager(connection) -> None:
    """Starts a manager, tells who its server is, and does nothing."""
    manager = kinfolk.Manager()
    connection.send(manager._process.pid)
    time.sleep(3600)


class Managers(TestCase):
    def test_proxies_travel_to_processes_of_any_kind(self) -> None:
        for context in self.for_each_method():
            with context.Manager() as manager:
                self.assertIsInstance(manager, SyncManager)
                shared, numbers = manager.dict(), manager.list([0])
                for module in (kinfolk, multiprocessing):
                    for method in METHODS:
                        process = start(module.get_context(method), fill, shared, numbers)
                        process.join()
                        self.assertEqual(process.exitcode, 0)
                        self.assertEqual(shared.copy(), {"by": process.pid})
                self.assertEqual(numbers[:], list(range(1 + 2 * len(METHODS))))

    def test_all_its_types_are_there(self) -> None:
        with kinfolk.Manager() as manager:
            for lock in (manager.Lock(), manager.RLock(), manager.Semaphore(2)):
                with lock:
                    pass
            queue, value, array = manager.Queue(), manager.Value("i", 1), manager.Array("i", [1])
            queue.put(value.value + array[0])
            self.assertEqual(queue.get(), 2)
            nested = manager.list([manager.dict(a=1)])
            self.assertEqual(nested[0]["a"], 1)

    def test_its_server_ends_with_its_parent(self) -> None:
        for context in self.for_each_method():
            ours, theirs = context.Pipe()
            parent = start(context, start_manager, theirs)
            server = ours.recv()
            self.assertTrue(is_alive(server))
            stop(parent)
            while is_alive(server):
                time.sleep(0.001)
            ours.close()
            theirs.close()

    def test_a_killed_client_hinders_nobody(self) -> None:
        for context in self.for_each_method():
            with Counters(ctx=context) as manager:
                counter = manager.Counter()
                for _ in range(3):
                    before = counter.add(0)
                    process = start(context, add_for_ever, counter)
                    while counter.add(0) == before:
                        pass
                    stop(process)
                self.assertGreater(counter.add(1), 3)

    def test_a_killed_server_is_an_error_to_its_clients(self) -> None:
        manager = kinfolk.Manager()
        numbers = manager.list([1])
        self.assertEqual(numbers[0], 1)
        manager._process.kill()
        manager._process.join()
        with self.assertRaises((EOFError, OSError)):
            numbers.append(1)
        manager.shutdown()

    def test_strangers_keep_nobody_out(self) -> None:
        with Counters(address=("localhost", 0), authkey=KEY) as manager:
            strangers = [socket.create_connection(manager.address) for _ in range(40)]
            for stranger in strangers[20:]:
                stranger.send(b"GET / HTTP/1.1\r\n\r\n")
            other = Counters(address=manager.address, authkey=b"another")
            self.assertRaises(kinfolk.AuthenticationError, other.connect)
            self.assertEqual(manager.Counter().add(2), 2)
            for stranger in strangers:
                stranger.close()

    def test_clients_and_servers_of_the_standard_library(self) -> None:
        pairs = [(Counters, Counters)]
        if sys.version_info >= (3, 12):
            # Before, the standard library's authenticates by MD5.
            pairs += [(Counters, StockCounters), (StockCounters, Counters)]
        for server, client in pairs:
            with self.subTest(server=server.__module__, client=client.__module__):
                context = multiprocessing.get_context("spawn")
                with server(address=("localhost", 0), authkey=KEY, ctx=context) as manager:
                    other = client(address=manager.address, authkey=KEY)
                    other.connect()
                    self.assertEqual(other.Counter().add(3), 3)

    def test_xml_in_place_of_pickles(self) -> None:
        with Counters(authkey=KEY, serializer="xmlrpclib") as manager:
            self.assertEqual(manager.Counter().add(4), 4)

    def test_shared_memory_ends_with_its_manager(self) -> None:
        with SharedMemoryManager() as manager:
            numbers = manager.ShareableList([1, 2.5, "three"])
            memory = manager.SharedMemory(size=100)
            self.assertEqual(list(numbers), [1, 2.5, "three"])
            name = memory.name
            memory.close()
            numbers.shm.close()
        self.assertFalse(os.path.exists(f"/dev/shm/{name}"))


if __name__ == "__main__":
    unittest.main()
