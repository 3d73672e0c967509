"""Locks and what is built of them: what they do, and what a kill does to them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
import unittest
import warnings
from queue import SimpleQueue as ThreadQueue

import kinfolk
from support import METHODS, PATIENCE, TestCase, start, stop


def hold(lock, held) -> None:
    """Acquires a lock and keeps it."""
    lock.acquire()
    held.set()
    time.sleep(3600)


def release(lock) -> None:
    """Releases a lock."""
    lock.release()


def take(semaphore) -> None:
    """Acquires a permit and ends."""
    semaphore.acquire()


def add(lock, number, times) -> None:
    """Adds to a number, which only works undisturbed."""
    for _ in range(times):
        with lock:
            number.value += 1


def wait_for(condition, woken) -> None:
    """Waits for a condition, and says that it was notified."""
    with condition:
        if condition.wait(PATIENCE):
            woken.release()


def meet(barrier, places) -> None:
    """Meets at a barrier."""
    places.put(barrier.wait())


def until(look) -> None:
    """Waits until something is so."""
    while not look():
        time.sleep(0.001)


class Locks(TestCase):
    def test_they_exclude_each_other(self) -> None:
        for context in self.for_each_method():
            for lock in (context.Lock(), context.RLock(), context.Semaphore(1)):
                number = context.RawValue("i")
                workers = [start(context, add, lock, number, 500) for _ in range(3)]
                for worker in workers:
                    worker.join()
                self.assertEqual(number.value, 1500)

    def test_a_killed_holder_is_succeeded_and_named(self) -> None:
        for context in self.for_each_method():
            for lock in (context.Lock(), context.RLock()):
                held = context.Event()
                holder = start(context, hold, lock, held)
                held.wait()
                self.assertFalse(lock.acquire(timeout=0.01))
                stop(holder)
                with self.assertWarnsRegex(kinfolk.AbandonedWarning, str(holder.pid)):
                    self.assertTrue(lock.acquire(timeout=PATIENCE))
                lock.release()
                self.assertTrue(lock.acquire(block=False))

    def test_a_warning_that_is_an_error_leaves_the_lock_free(self) -> None:
        context = kinfolk.get_context("fork")
        lock, held = context.Lock(), context.Event()
        holder = start(context, hold, lock, held)
        held.wait()
        stop(holder)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.assertRaises(kinfolk.AbandonedWarning, lock.acquire)
        self.assertFalse(lock.locked())

    def test_anyone_releases_a_lock_and_its_thread_alone_an_rlock(self) -> None:
        for context in self.for_each_method():
            lock = context.Lock()
            lock.acquire()
            start(context, release, lock).join()
            self.assertFalse(lock.locked())
            self.assertRaises(ValueError, lock.release)
        rlock = kinfolk.RLock()
        self.assertRaises(AssertionError, rlock.release)
        with rlock, rlock:
            said = ThreadQueue()
            thread = threading.Thread(target=lambda: said.put(rlock.acquire(block=False)))
            thread.start()
            thread.join()
            self.assertFalse(said.get())
        self.assertFalse(rlock.locked())

    def test_the_permits_of_the_killed_return_and_those_of_others_do_not(self) -> None:
        for context in self.for_each_method():
            semaphore, held = context.BoundedSemaphore(2), context.Event()
            start(context, take, semaphore).join()
            self.assertEqual(semaphore.get_value(), 1)
            holder = start(context, hold, semaphore, held)
            held.wait()
            self.assertFalse(semaphore.acquire(block=False))
            stop(holder)
            self.assertTrue(semaphore.acquire(timeout=PATIENCE))
            semaphore.release()
            semaphore.release()
            self.assertEqual(semaphore.get_value(), 2)
            self.assertRaises(ValueError, semaphore.release)

    def test_they_cross_to_the_standard_library_s_processes_and_back(self) -> None:
        for method in METHODS:
            with self.subTest(method):
                ours, theirs = kinfolk.get_context(method), multiprocessing.get_context(method)
                for maker, starter in ((ours, theirs), (theirs, ours)):
                    lock, semaphore = maker.Lock(), maker.Semaphore(0)
                    lock.acquire()
                    start(starter, release, lock).join()
                    start(starter, release, semaphore).join()
                    self.assertTrue(lock.acquire(block=False))
                    self.assertTrue(semaphore.acquire(block=False))
        lock = kinfolk.get_context("fork").Lock()
        start(kinfolk.get_context("spawn"), take, lock).join()

    def test_they_are_pickled_while_a_process_is_started_only(self) -> None:
        context = kinfolk.get_context()
        for make in ("Lock", "RLock", "Semaphore", "Condition", "Event", "Queue", "SimpleQueue"):
            self.assertRaises(RuntimeError, pickle.dumps, getattr(context, make)())
        self.assertRaises(RuntimeError, pickle.dumps, context.Barrier(1))

    def test_they_have_what_the_standard_library_s_have(self) -> None:
        for ours, theirs in (
            (kinfolk.Lock(), multiprocessing.Lock()),
            (kinfolk.RLock(), multiprocessing.RLock()),
            (kinfolk.Semaphore(3), multiprocessing.Semaphore(3)),
            (kinfolk.BoundedSemaphore(3), multiprocessing.BoundedSemaphore(3)),
        ):
            self.assertIsInstance(ours, type(theirs))
            self.assertEqual(repr(ours), repr(theirs))
            for name in ("kind", "maxvalue"):
                self.assertEqual(getattr(ours._semlock, name), getattr(theirs._semlock, name))
            with ours, theirs:
                self.assertEqual(repr(ours), repr(theirs))
                for name in ("_count", "_is_mine", "_is_zero", "_get_value"):
                    mine, reference = getattr(ours._semlock, name), getattr(theirs._semlock, name)
                    self.assertEqual(mine(), reference(), name)
        self.assertEqual(repr(kinfolk.Condition()), repr(multiprocessing.Condition()))

    def test_no_lock_is_of_a_wrong_number(self) -> None:
        self.assertRaises(ValueError, kinfolk.Semaphore, -1)
        self.assertRaises(ValueError, kinfolk.Barrier, 0)
        self.assertRaises(ValueError, kinfolk.Lock().acquire, True, float("nan"))

    def test_a_signal_interrupts_each_wait(self) -> None:
        class Interrupt(Exception):
            pass

        def interrupt(*_args) -> None:
            raise Interrupt

        old = signal.signal(signal.SIGALRM, interrupt)
        self.addCleanup(signal.signal, signal.SIGALRM, old)
        lock, condition, full = kinfolk.Lock(), kinfolk.Condition(), kinfolk.Queue(1)
        lock.acquire()
        condition.acquire()
        full.put(0)
        for wait in (
            lock.acquire,
            kinfolk.Semaphore(0).acquire,
            kinfolk.Event().wait,
            condition.wait,
            kinfolk.Barrier(2).wait,
            kinfolk.Queue().get,
            kinfolk.SimpleQueue().get,
            lambda: full.put(1),
        ):
            for delay in (0.001, 0.05):
                signal.setitimer(signal.ITIMER_REAL, delay)
                # A barrier stays broken.
                self.assertRaises((Interrupt, threading.BrokenBarrierError), self.repeat, wait)
        self.assertTrue(condition._lock._semlock._is_mine())

    def repeat(self, wait) -> None:
        """Waits until a signal has come, which may be before the wait."""
        while True:
            wait()

    def test_a_handler_that_raises_nothing_ends_no_wait(self) -> None:
        event, seen = kinfolk.Event(), []

        def note(*_args) -> None:
            seen.append(len(seen))
            if len(seen) == 3:
                event.set()

        old = signal.signal(signal.SIGALRM, note)
        self.addCleanup(signal.signal, signal.SIGALRM, old)
        signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
        self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)
        self.assertTrue(event.wait(PATIENCE))
        self.assertGreaterEqual(len(seen), 3)


class Meetings(TestCase):
    def test_a_notification_is_not_lost_on_a_killed_waiter(self) -> None:
        for context in self.for_each_method():
            for lock in (context.Lock(), context.RLock()):
                condition, woken = context.Condition(lock), context.Semaphore(0)
                first = start(context, wait_for, condition, woken)
                until(lambda: condition._sleeping_count.get_value() == 1)
                second = start(context, wait_for, condition, woken)
                until(lambda: condition._sleeping_count.get_value() == 2)
                stop(first)
                with condition:
                    condition.notify()
                self.assertTrue(woken.acquire(timeout=PATIENCE))
                second.join()
                self.assertEqual(second.exitcode, 0)

    def test_a_condition_is_used_with_its_lock(self) -> None:
        condition = kinfolk.Condition(kinfolk.Lock())
        self.assertRaises(AssertionError, condition.wait)
        self.assertRaises(AssertionError, condition.notify)
        with condition:
            self.assertFalse(condition.wait(0.001))
            self.assertFalse(condition.wait_for(lambda: False, 0.001))
            self.assertTrue(condition.wait_for(lambda: True))

    def test_an_event_wakes_all(self) -> None:
        for context in self.for_each_method():
            event = context.Event()
            self.assertFalse(event.wait(0.001))
            waiters = [start(context, event.wait) for _ in range(3)]
            event.set()
            for waiter in waiters:
                waiter.join()
            self.assertTrue(event.is_set())
            event.clear()
            self.assertFalse(event.is_set())

    def test_a_barrier_lets_all_go_on_and_breaks_by_a_kill(self) -> None:
        for context in self.for_each_method():
            barrier, places = context.Barrier(3), context.SimpleQueue()
            parties = [start(context, meet, barrier, places) for _ in range(3)]
            self.assertEqual(sorted(places.get() for _ in range(3)), [0, 1, 2])
            for party in parties:
                party.join()
            # Who takes part by being there is one that has met before.
            victim = start(context, meet, barrier, places)
            until(lambda: barrier.n_waiting == 1)
            stop(victim)
            self.assertRaises(threading.BrokenBarrierError, barrier.wait)
            self.assertTrue(barrier.broken)
            barrier.reset()
            self.assertFalse(barrier.broken)

    def test_what_a_barrier_s_action_raises_breaks_it(self) -> None:
        acted = []
        self.assertEqual(kinfolk.Barrier(1, lambda: acted.append(1)).wait(), 0)
        self.assertEqual(acted, [1])
        barrier = kinfolk.Barrier(1, lambda: os.stat("/no/such/file"))
        self.assertRaises(FileNotFoundError, barrier.wait)
        self.assertTrue(barrier.broken)
        late = kinfolk.Barrier(2, timeout=0.001)
        self.assertRaises(threading.BrokenBarrierError, late.wait)


if __name__ == "__main__":
    unittest.main()
