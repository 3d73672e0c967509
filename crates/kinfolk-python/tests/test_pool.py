"""Pools: the methods of the standard library's, and that no worker's death breaks them."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
import unittest
from concurrent.futures import CancelledError
from multiprocessing.pool import MaybeEncodingError, RemoteTraceback

import kinfolk
import kinfolk.pool
from kinfolk import WorkerDied
from support import PATIENCE, TestCase, is_alive

#: How long each shoot-out lasts.
SECONDS = float(os.environ.get("KINFOLK_SOAK", "0.5"))


def square(n):
    return n * n


def wait_for_ever(_=None):
    threading.Event().wait()


def pid(_=None):
    return os.getpid()


def die_at(number, n):
    if n == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def die_once(path):
    """Dies, unless it has done so before."""
    if not os.path.exists(path):
        open(path, "x").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def leave(code):
    sys.exit(code)


def interrupt():
    raise KeyboardInterrupt


class Odd(Exception):
    """An exception that cannot be unpickled."""

    def __init__(self, one, two):
        super().__init__(one)


def raise_odd():
    raise Odd(1, 2)


def fail_with(text):
    raise ValueError(text)


def refuse():
    raise OSError("not today")


class Unloadable:
    """What cannot be loaded in a worker."""

    def __call__(self, _):
        pass

    def __reduce__(self):
        return fail_with, ("it cannot be loaded",)


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


class DeadlyToLoad:
    """What kills who loads it."""

    def __call__(self, _):
        pass

    def __reduce__(self):
        return kill_self, ()


def hold(megabytes):
    return len(bytearray(megabytes << 20))


def count_calls(path, n):
    """Notes in a file that it was called, by one write."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{n}\n".encode())
    os.close(fd)
    return n


class Methods(TestCase):
    def test_all_methods_give_what_the_standard_library_does(self) -> None:
        for context in self.for_each_method():
            with context.Pool(2) as pool:
                self.assertIsInstance(pool, kinfolk.pool.Pool)
                self.assertEqual(pool.apply(pow, (2, 5)), 32)
                self.assertEqual(pool.apply_async(int, ("11",), {"base": 2}).get(), 3)
                numbers = [square(n) for n in range(1000)]
                self.assertEqual(pool.map(square, range(1000)), numbers)
                self.assertEqual(pool.map(square, range(1000), 7), numbers)
                self.assertEqual(pool.map_async(square, range(1000)).get(), numbers)
                self.assertEqual(pool.starmap(pow, [(2, 3), (3, 2)]), [8, 9])
                self.assertEqual(pool.starmap_async(pow, [(2, 3)]).get(), [8])
                self.assertEqual(list(pool.imap(square, range(1000), 3)), numbers)
                self.assertEqual(sorted(pool.imap_unordered(square, range(1000))), numbers)
                self.assertEqual(pool.map(square, []), [])
            pool.join()

    def test_values_of_all_kinds_come_back_as_they_were(self) -> None:
        values = [
            None, True, False, 0, -1, 2**63 - 1, -(2**63), 2**63, 10**40, 0.5, float("inf"),
            "", "é", "\ud800", b"", b"bytes", bytearray(b"more"), (), [1], {"a": (1, 2)}, {3},
            "x" * 300_000, b"y" * 3_000_000,
        ]
        with kinfolk.Pool(2) as pool:
            back = pool.map(identity, values, 1)
        self.assertEqual(back, values)
        self.assertEqual([type(value) for value in back], [type(value) for value in values])
        pool.join()

    def test_imap_takes_no_more_than_it_may(self) -> None:
        taken = itertools.count()
        with kinfolk.Pool(2) as pool:
            results = pool.imap(square, ((next(taken), 5)[1] for _ in itertools.repeat(0)), buffer=7)
            for _ in range(10):
                self.assertEqual(next(results), 25)
            self.assertLessEqual(next(taken), 10 + 7)
            endless = pool.imap_unordered(square, itertools.count())
            self.assertIsInstance(next(endless), int)
        pool.join()

    def test_what_lazy_maps_have_not_taken_they_take_at_a_join(self) -> None:
        pool = kinfolk.Pool(2)
        results = pool.imap(square, iter(range(5000)), buffer=2)
        pool.close()
        self.assertEqual(next(results), 0)
        pool.join()
        self.assertEqual(list(results), [square(n) for n in range(1, 5000)])

    def test_a_result_can_be_asked_for_again_and_callbacks_are_called_before(self) -> None:
        with kinfolk.Pool(1) as pool:
            called: list = []
            result = pool.map_async(square, range(5), callback=called.append)
            self.assertEqual(result.get(), [0, 1, 4, 9, 16])
            self.assertEqual(called, [result.get()])
            self.assertTrue(result.successful())
            failed = pool.apply_async(fail_with, ("x",), error_callback=called.append)
            for _ in range(2):
                with self.assertRaises(ValueError):
                    failed.get()
            self.assertIsInstance(called[1], ValueError)
            slow = pool.apply_async(wait_for_ever)
            self.assertFalse(slow.ready())
            with self.assertRaises(ValueError):
                slow.successful()
            with self.assertRaises(kinfolk.TimeoutError):
                slow.get(0.01)
        pool.join()

    def test_a_callback_may_use_the_pool_and_end_it(self) -> None:
        pool = kinfolk.Pool(1, maxtasksperchild=1)
        ended = threading.Event()

        def use(_) -> None:
            self.assertEqual(pool.apply(square, (3,)), 9)
            pool.terminate()
            ended.set()

        pool.apply_async(square, (2,), callback=use)
        self.assertTrue(ended.wait(PATIENCE))
        pool.join()

    def test_workers_are_replaced_after_their_share_of_chunks(self) -> None:
        with kinfolk.Pool(1, maxtasksperchild=2) as pool:
            pids = pool.map(pid, range(6), chunksize=1)
            self.assertEqual(len(set(pids)), 3)
            self.assertEqual(len(set(pool.map(pid, range(100), chunksize=100))), 1)
        pool.join()

    def test_progress_is_told(self) -> None:
        told: list = []
        with kinfolk.Pool(2) as pool:
            pool.map(square, range(50), 1, progress=lambda done, total: told.append((done, total)))
            pool.map(square, range(50), progress=True)
        self.assertEqual(told[-1], (50, 50))
        self.assertEqual(told, sorted(told))
        pool.join()

    def test_workers_tell_what_they_are_at(self) -> None:
        with kinfolk.Pool(2) as pool:
            pool.map(square, range(10), 1)
            workers = pool.workers()
            self.assertEqual({one.pid for one in workers}, {one.pid for one in pool._pool})
            self.assertEqual(sum(one.items for one in workers), 10)
            self.assertTrue(any(one.ready for one in workers))
        pool.join()

    def test_it_is_the_standard_library_s(self) -> None:
        import multiprocessing.pool

        with kinfolk.Pool(1) as pool:
            self.assertIsInstance(pool, multiprocessing.pool.Pool)
            result = pool.apply_async(square, (2,))
            self.assertIsInstance(result, multiprocessing.pool.AsyncResult)
            self.assertEqual(result.get(), 4)
        pool.join()
        with self.assertRaises(ValueError):
            pool.apply(square, (2,))


def identity(value):
    return value


class Ends(TestCase):
    def test_who_waits_for_the_end_of_a_pool_hears_of_it(self) -> None:
        for _ in range(50):
            pool = kinfolk.Pool(3)
            pool.close()
            pool.join()


class Deaths(TestCase):
    def test_a_killed_worker_costs_its_item_alone(self) -> None:
        import functools

        for context in self.for_each_method():
            with context.Pool(2) as pool:
                results = pool.imap(functools.partial(die_at, 17), range(40), 10)
                values, died = [], []
                while True:
                    try:
                        values.append(next(results))
                    except StopIteration:
                        break
                    except WorkerDied as error:
                        died.append(error)
                self.assertEqual(values, [n for n in range(40) if n != 17])
                (error,) = died
                self.assertEqual((error.item, error.signal), (17, signal.SIGKILL))
                self.assertIn(f"(pid {error.pid}) was killed by signal 9", str(error))
                self.assertIn("item 17", str(error))
            pool.join()

    def test_no_item_is_run_twice_for_a_death(self) -> None:
        import functools
        import tempfile

        with tempfile.TemporaryDirectory() as folder, kinfolk.Pool(2) as pool:
            path = os.path.join(folder, "calls")
            result = pool.map_async(functools.partial(count_calls, path), range(2000))
            for _ in range(5):
                time.sleep(0.005)
                for worker in pool._pool[:1]:
                    worker.kill()
            try:
                result.get()
            except WorkerDied:
                pass
            with open(path) as file:
                calls = [int(line) for line in file]
        self.assertEqual(len(calls), len(set(calls)))
        pool.join()

    def test_an_item_is_tried_again_if_that_is_wanted(self) -> None:
        import tempfile

        with tempfile.TemporaryDirectory() as folder, kinfolk.Pool(1, retries=1) as pool:
            self.assertEqual(pool.apply(die_once, (os.path.join(folder, "one"),)), "done")
            with self.assertRaises(WorkerDied):
                pool.apply(die_once, (os.path.join(folder, "two"),), retries=0)
        pool.join()

    def test_an_item_that_takes_too_long_costs_itself(self) -> None:
        with kinfolk.Pool(2, timeout=PATIENCE) as pool:
            with self.assertRaisesRegex(kinfolk.TimeoutError, "item 0"):
                pool.apply(wait_for_ever, timeout=0.05)
            self.assertEqual(pool.apply(square, (3,)), 9)
        pool.join()

    def test_what_is_cancelled_is_ended(self) -> None:
        with kinfolk.Pool(1) as pool:
            slow = pool.map_async(wait_for_ever, range(3))
            other = pool.apply_async(square, (4,))
            self.assertTrue(slow.cancel())
            with self.assertRaises(CancelledError):
                slow.get()
            self.assertEqual(other.get(), 16)
            self.assertFalse(slow.cancel())
            results = pool.imap(wait_for_ever, itertools.count())
            self.assertTrue(results.cancel())
            with self.assertRaises(CancelledError):
                next(results)
        pool.join()

    def test_what_a_terminated_pool_has_not_done_raises(self) -> None:
        for context in self.for_each_method():
            pool = context.Pool(2)
            result = pool.map_async(wait_for_ever, range(10))
            workers = [worker.pid for worker in pool._pool]
            pool.terminate()
            pool.join()
            with self.assertRaises(CancelledError):
                result.get()
            self.assertFalse(any(map(is_alive, workers)))

    def test_a_pool_that_is_dropped_ends_its_workers(self) -> None:
        pool = kinfolk.Pool(2)
        workers = [worker.pid for worker in pool._pool]
        with self.assertWarns(ResourceWarning):
            del pool
        self.assertFalse(any(map(is_alive, workers)))

    def test_an_idle_worker_that_is_killed_is_replaced(self) -> None:
        with kinfolk.Pool(2) as pool:
            before = set(pool.map(pid, range(100)))
            for worker in list(pool._pool):
                worker.kill()
            self.assertTrue(before.isdisjoint(pool.map(pid, range(100))))
        pool.join()

    def test_a_worker_at_its_limit_of_memory(self) -> None:
        with kinfolk.Pool(1, memory_limit=256 << 20) as pool:
            with self.assertRaises((MemoryError, WorkerDied)):
                pool.apply(hold, (1024,))
            self.assertEqual(pool.apply(hold, (8,)), 8 << 20)
        pool.join()


class Errors(TestCase):
    def test_an_error_says_where_it_was(self) -> None:
        with kinfolk.Pool(1) as pool:
            (worker,) = pool._pool
            with self.assertRaises(ValueError) as caught:
                pool.map(fail_with, ["a", "b"])
            cause = caught.exception.__cause__
            self.assertIsInstance(cause, RemoteTraceback)
            self.assertIn(f"(pid {worker.pid}), item 0:", str(cause))
            self.assertIn("raise ValueError(text)", str(cause))
        pool.join()

    def test_exits_and_interrupts_are_delivered(self) -> None:
        with kinfolk.Pool(1) as pool:
            with self.assertRaises(SystemExit) as caught:
                pool.apply(leave, (3,))
            self.assertEqual(caught.exception.code, 3)
            with self.assertRaises(KeyboardInterrupt):
                pool.apply(interrupt)
            self.assertEqual(pool.apply(square, (3,)), 9)
        pool.join()

    def test_what_cannot_be_unpickled_is_said(self) -> None:
        with kinfolk.Pool(1) as pool:
            with self.assertRaisesRegex(MaybeEncodingError, "Odd"):
                pool.apply(raise_odd)
            with self.assertRaises(MaybeEncodingError):
                pool.apply(threading.Lock)
            self.assertEqual(pool.apply(square, (3,)), 9)
        pool.join()

    def test_what_cannot_be_pickled_raises_that(self) -> None:
        with kinfolk.Pool(1) as pool:
            with self.assertRaises(TypeError):
                pool.map(identity, [1, threading.Lock(), 3])
            with self.assertRaises(TypeError):
                pool.map(threading.Lock().acquire, [1, 2])
            results = pool.imap(identity, [1, threading.Lock(), 3])
            self.assertEqual(next(results), 1)
            with self.assertRaises(TypeError):
                next(results)
            self.assertEqual(next(results), 3)
        pool.join()

    def test_a_function_that_cannot_be_loaded_fails_its_task(self) -> None:
        with kinfolk.Pool(1) as pool:
            workers = [worker.pid for worker in pool._pool]
            with self.assertRaisesRegex(ValueError, "it cannot be loaded"):
                pool.map(Unloadable(), range(3))
            self.assertEqual(workers, [worker.pid for worker in pool._pool])
            with self.assertRaises(WorkerDied):
                pool.apply(DeadlyToLoad(), (1,))
            self.assertEqual(pool.apply(square, (3,)), 9)
        pool.join()

    def test_an_initializer_that_raises_fails_tasks_and_is_not_tried_for_ever(self) -> None:
        for context in self.for_each_method():
            with context.Pool(2, refuse) as pool:
                with self.assertRaisesRegex(RuntimeError, "(?s)cannot begin.*not today"):
                    pool.map(square, range(5))
                with self.assertRaisesRegex(RuntimeError, "not today"):
                    pool.apply(square, (1,))
            pool.join()


class Ends(TestCase):
    def run_script(self, text: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", text],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=os.path.dirname(__file__),
            start_new_session=True,
        )

    def test_an_interrupt_is_raised_once_and_workers_are_quiet(self) -> None:
        for context in self.for_each_method():
            method = context.get_start_method()
            script = f"""if 1:
                import kinfolk, test_pool
                with kinfolk.get_context({method!r}).Pool(2) as pool:
                    pool.map(test_pool.square, range(10))
                    print(*[worker.pid for worker in pool._pool], flush=True)
                    pool.map(test_pool.wait_for_ever, range(100))
            """
            with self.run_script(script) as process:
                workers = [int(pid) for pid in process.stdout.readline().split()]
                self.assertEqual(len(workers), 2)
                os.killpg(process.pid, signal.SIGINT)
                _, errors = process.communicate()
            self.assertEqual(errors.count("KeyboardInterrupt"), 1, errors)
            self.assertFalse(any(map(is_alive, workers)))

    def test_workers_end_with_a_killed_parent(self) -> None:
        for context in self.for_each_method():
            method = context.get_start_method()
            script = f"""if 1:
                import kinfolk, test_pool
                pool = kinfolk.get_context({method!r}).Pool(2)
                pool.map(test_pool.square, range(10))
                print(*[worker.pid for worker in pool._pool], flush=True)
                pool.map(test_pool.wait_for_ever, range(100))
            """
            with self.run_script(script) as process:
                workers = [int(pid) for pid in process.stdout.readline().split()]
                process.kill()
            while any(map(is_alive, workers)):
                time.sleep(0.001)


class ShootOut(TestCase):
    """Workers are killed at random: nobody hangs, and each item has its result or an error
    that says so."""

    def setUp(self) -> None:
        super().setUp()
        import faulthandler

        faulthandler.dump_traceback_later(PATIENCE + 12 * SECONDS, exit=True)

    def shoot(self, pool, stop: threading.Event, shots: list) -> None:
        randomness = random.Random(4711)
        while not stop.wait(randomness.uniform(0.0005, 0.02)):
            # One that has done something, so that the job goes on; now and then any.
            early = len(shots) % 5 == 4
            workers = [one.pid for one in pool.workers() if one.busy or early]
            if workers:
                try:
                    os.kill(randomness.choice(workers), signal.SIGKILL)
                except ProcessLookupError:
                    continue
                shots.append(1)

    def under_fire(self, context, job) -> None:
        stop, shots = threading.Event(), []
        with context.Pool(3) as pool:
            shooter = threading.Thread(target=self.shoot, args=(pool, stop, shots))
            shooter.start()
            try:
                end = time.monotonic() + SECONDS
                while not shots or time.monotonic() < end:
                    job(pool)
            finally:
                stop.set()
                shooter.join()
            self.assertEqual(pool.map(square, range(100), retries=100), [n * n for n in range(100)])
        pool.join()

    def test_imap(self) -> None:
        def job(pool) -> None:
            results = pool.imap(square, range(100), 5)
            for n in range(100):
                try:
                    self.assertEqual(next(results), n * n)
                except WorkerDied as error:
                    self.assertEqual(error.item, n)
            with self.assertRaises(StopIteration):
                next(results)

        for context in self.for_each_method():
            self.under_fire(context, job)

    def test_map(self) -> None:
        def job(pool) -> None:
            numbers = pool.map(square, range(100), retries=100)
            self.assertEqual(numbers, [n * n for n in range(100)])

        for context in self.for_each_method():
            self.under_fire(context, job)

    def test_apply(self) -> None:
        def job(pool) -> None:
            results = [pool.apply_async(square, (n,)) for n in range(50)]
            for n, result in enumerate(results):
                try:
                    self.assertEqual(result.get(), n * n)
                except WorkerDied as error:
                    self.assertEqual(error.signal, signal.SIGKILL)

        for context in self.for_each_method():
            self.under_fire(context, job)


if __name__ == "__main__":
    unittest.main()
