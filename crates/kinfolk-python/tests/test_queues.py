"""Queues: what they carry, what they hold, and who uses them."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import queue
import signal
import time
import unittest
from multiprocessing.connection import wait

import kinfolk
from support import METHODS, PATIENCE, TestCase, start, stop


def double(tasks, results) -> None:
    """Doubles what comes until None."""
    for n in iter(tasks.get, None):
        results.put(2 * n)


def fill(target, count, size) -> None:
    """Puts many objects and ends."""
    for _ in range(count):
        target.put(b"x" * size)


def get_and_hang(source, got) -> None:
    """Gets an object and does nothing with it."""
    source.get()
    got.set()
    time.sleep(3600)


def work(source) -> None:
    """Gets objects and says so."""
    while True:
        source.get()
        source.task_done()


def square(n):
    """The square of a number."""
    return n * n


def die(_n) -> None:
    """Kills this process."""
    os.kill(os.getpid(), signal.SIGKILL)


class Unpicklable:
    def __reduce__(self):
        raise AttributeError("it cannot be pickled")


class Queues(TestCase):
    def test_all_arrives_in_order(self) -> None:
        for context in self.for_each_method():
            for make in (context.Queue, context.JoinableQueue, context.SimpleQueue):
                tasks, results = make(), make()
                worker = start(context, double, tasks, results)
                for size in (1, 10_000, 100_000, 3_000_000):
                    tasks.put("x" * size)
                    self.assertEqual(results.get(), "x" * 2 * size)
                for n in range(1000):
                    tasks.put(n)
                tasks.put(None)
                self.assertEqual([results.get() for _ in range(1000)], list(range(0, 2000, 2)))
                worker.join()
                self.assertTrue(results.empty())

    def test_they_cross_to_the_standard_library_s_processes_and_back(self) -> None:
        for method in METHODS:
            with self.subTest(method):
                ours, theirs = kinfolk.get_context(method), multiprocessing.get_context(method)
                for maker, starter in ((ours, theirs), (theirs, ours)):
                    for make in (maker.Queue, maker.SimpleQueue):
                        tasks, results = make(), make()
                        worker = start(starter, double, tasks, results)
                        tasks.put(21)
                        tasks.put(None)
                        self.assertEqual(results.get(), 42)
                        worker.join()

    def test_what_cannot_be_pickled_is_the_caller_s_error(self) -> None:
        for make in (kinfolk.Queue, kinfolk.JoinableQueue, kinfolk.SimpleQueue):
            target = make()
            self.assertRaises(AttributeError, target.put, Unpicklable())
            target.put(1)
            self.assertEqual(target.get(), 1)
        target = kinfolk.Queue()
        self.assertRaises(AttributeError, target.put_many, [1, Unpicklable()])
        self.assertTrue(target.empty())

    def test_a_subclass_that_wants_to_know_is_told(self) -> None:
        told = []

        class Telling(type(kinfolk.Queue())):
            def _on_queue_feeder_error(self, error, obj):
                told.append((error, obj))

        target, obj = Telling(ctx=kinfolk.get_context()), Unpicklable()
        target.put(obj)
        self.assertIs(told[0][1], obj)
        self.assertTrue(target.empty())

    def test_it_is_full_and_empty(self) -> None:
        target = kinfolk.Queue(2)
        self.assertTrue(target.empty())
        self.assertRaises(queue.Empty, target.get_nowait)
        self.assertRaises(queue.Empty, target.get, True, 0.001)
        target.put(1)
        target.put(2)
        self.assertTrue(target.full())
        self.assertRaises(queue.Full, target.put_nowait, 3)
        self.assertRaises(queue.Full, target.put, 3, timeout=0.001)
        self.assertEqual(target.qsize(), 2)
        self.assertEqual(target.get(), 1)
        self.assertFalse(target.full())

    def test_many_are_put_and_got_at_once(self) -> None:
        for make in (kinfolk.Queue, kinfolk.JoinableQueue):
            target = make()
            target.put_many(range(5))
            self.assertEqual(target.get_many(3), [0, 1, 2])
            self.assertEqual(target.get_many(9), [3, 4])
            self.assertRaises(queue.Empty, target.get_many, 9, False)
        with self.assertRaises(queue.Full) as full:
            kinfolk.Queue(3).put_many(range(5), timeout=0.001)
        self.assertEqual(full.exception.args[1], 3)

    def test_one_without_a_maxsize_says_when_it_can_hold_no_more(self) -> None:
        target = kinfolk.Queue()
        large = b"x" * 40_000
        with self.assertRaisesRegex(queue.Full, "maxsize"):
            for _ in range(2000):
                target.put(large)
        self.assertEqual(target.qsize(), 1024)

    def test_a_process_is_joined_before_its_objects_are_got(self) -> None:
        for context in self.for_each_method():
            target = context.Queue()
            filler = start(context, fill, target, 200, 100_000)
            filler.join()
            self.assertEqual(filler.exitcode, 0)
            self.assertEqual(target.qsize(), 200)

    def test_a_closed_one_refuses(self) -> None:
        target = kinfolk.Queue()
        self.assertRaises(AssertionError, target.join_thread)
        target.put(1)
        target.close()
        target.join_thread()
        target.cancel_join_thread()
        self.assertRaises(ValueError, target.put, 2)
        self.assertRaises(ValueError, target.get)
        self.assertRaises(OSError, target.empty)

    def test_it_is_waited_for_with_processes(self) -> None:
        for context in self.for_each_method():
            source, tasks = context.SimpleQueue(), context.SimpleQueue()
            worker = start(context, double, tasks, source)
            waited_for = [source._reader, worker.sentinel]
            self.assertEqual(wait(waited_for, 0), [])
            tasks.put(4)
            self.assertEqual(wait(waited_for, PATIENCE), [source._reader])
            self.assertTrue(source._reader.poll())
            self.assertFalse(source.empty())
            self.assertEqual(source.get(), 8)
            worker.kill()
            self.assertEqual(wait(waited_for, PATIENCE), [worker.sentinel])
            worker.join()

    def test_a_raw_fork_uses_it(self) -> None:
        target = kinfolk.Queue()
        pid = os.fork()
        if pid == 0:
            target.put(os.getpid())
            os._exit(0)
        self.assertEqual(target.get(), pid)
        os.waitpid(pid, 0)


class Joining(TestCase):
    def test_it_waits_until_all_is_done(self) -> None:
        for context in self.for_each_method():
            target = context.JoinableQueue()
            target.join()
            workers = [start(context, work, target) for _ in range(2)]
            for n in range(200):
                target.put(n)
            target.join()
            self.assertTrue(target.empty())
            self.assertRaises(ValueError, target.task_done)
            for worker in workers:
                stop(worker)

    def test_what_a_killed_process_had_got_is_waited_for_by_nobody(self) -> None:
        for context in self.for_each_method():
            target, got = context.JoinableQueue(), context.Event()
            target.put(1)
            victim = start(context, get_and_hang, target, got)
            got.wait()
            self.assertFalse(target._is_done())
            stop(victim)
            target.join()


class Users(TestCase):
    def test_the_standard_library_s_pool(self) -> None:
        for context in self.for_each_method():
            with context.Pool(2) as pool:
                self.assertEqual(pool.map(square, range(100)), [n * n for n in range(100)])
                self.assertEqual(pool.apply(square, (12,)), 144)
                self.assertEqual(sum(pool.imap_unordered(square, range(50), 7)), 40425)

    def test_the_standard_library_s_manager(self) -> None:
        for context in self.for_each_method():
            with context.Manager() as manager:
                items = manager.list()
                process = start(context, items.append, 5)
                process.join()
                self.assertEqual(list(items), [5])

    def test_values_and_arrays(self) -> None:
        for context in self.for_each_method():
            value, array = context.Value("i", 4), context.Array("d", 3)
            self.assertIs(type(value.get_lock()), type(kinfolk.RLock()))
            process = start(context, array.__setitem__, 1, 2.5)
            process.join()
            self.assertEqual((value.value, list(array)), (4, [0, 2.5, 0]))

    def test_concurrent_futures(self) -> None:
        for context in self.for_each_method():
            with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
                self.assertEqual(list(executor.map(square, range(50))), [n * n for n in range(50)])
                broken = concurrent.futures.process.BrokenProcessPool
                self.assertRaises(broken, executor.submit(die, 0).result, PATIENCE)


if __name__ == "__main__":
    unittest.main()
