"""Random kills, for KINFOLK_SOAK seconds each: nobody hangs, nothing is broken."""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
import unittest
import warnings

import kinfolk
from support import PATIENCE, TestCase, start, stop

#: How long each test kills.
SECONDS = float(os.environ.get("KINFOLK_SOAK", "0.5"))
#: The number of processes at a time.
CREW = 3


def work(ready, target, *args) -> None:
    """Says that it begins, and does so."""
    warnings.simplefilter("ignore", kinfolk.AbandonedWarning)
    ready.release()
    target(*args)


def add(lock, numbers) -> None:
    """Makes both numbers one larger, under the lock."""
    while True:
        with lock:
            numbers[0] = numbers[1] + 1
            numbers[1] = numbers[0]


def use(semaphore, users) -> None:
    """Takes a permit again and again, and looks whether others are too many."""
    while True:
        with semaphore:
            users.acquire()
            users.release()


def pass_on(condition, turn, me) -> None:
    """Waits for its turn and gives it to the next."""
    while True:
        with condition:
            condition.wait_for(lambda: turn.value % CREW == me, 0.2)
            turn.value += 1
            condition.notify_all()


def produce(target, number) -> None:
    """Puts its number, counting, in messages of any size."""
    count = 0
    while True:
        target.put((number, count, b"x" * (count % 7 * 9_000)))
        count += 1


def consume(source, results) -> None:
    """Passes on what comes."""
    while True:
        results.put(source.get())


class Kills(TestCase):
    def setUp(self) -> None:
        super().setUp()
        import faulthandler

        faulthandler.dump_traceback_later(PATIENCE + 6 * SECONDS, exit=True)

    def kill_at_random(self, context, job) -> int:
        """Kills and replaces processes at work, which `job` gives the number of each for;
        returns how many."""
        randomness = random.Random(4711)
        ready = context.Semaphore(0)

        def begin(number: int):
            process = start(context, work, ready, *job(number))
            ready.acquire()
            return process

        crew = [begin(number) for number in range(CREW)]
        killed = 0
        end = time.monotonic() + SECONDS
        while killed == 0 or time.monotonic() < end:
            time.sleep(randomness.uniform(0.0005, 0.02))
            number = randomness.randrange(CREW)
            stop(crew[number])
            crew[number] = begin(number)
            killed += 1
        for process in crew:
            stop(process)
        return killed

    def test_a_lock(self) -> None:
        for context in self.for_each_method():
            for lock in (context.Lock(), context.RLock()):
                numbers = context.RawArray("Q", 2)
                self.kill_at_random(context, lambda _: (add, lock, numbers))
                self.assertTrue(lock.acquire(timeout=PATIENCE))
                # The last holder died between two lines at most.
                self.assertIn(numbers[0] - numbers[1], (0, 1))
                self.assertGreater(numbers[0], 0)

    def test_a_semaphore(self) -> None:
        for context in self.for_each_method():
            semaphore, users = context.BoundedSemaphore(2), context.BoundedSemaphore(CREW)
            self.kill_at_random(context, lambda _: (use, semaphore, users))
            for one in (semaphore, users):
                permits = 0
                one._semlock.reclaim()
                while one.acquire(block=False):
                    permits += 1
                self.assertEqual(permits, one._semlock.maxvalue)

    def test_a_condition(self) -> None:
        for context in self.for_each_method():
            condition, turn = context.Condition(), context.RawValue("Q")
            self.kill_at_random(context, lambda number: (pass_on, condition, turn, number))
            self.assertGreater(turn.value, 0)
            with condition:
                condition.notify_all()
                self.assertFalse(condition.wait(0.001))
            self.assertEqual(condition._sleeping_count.get_value(), 0)

    def test_a_queue(self) -> None:
        for context in self.for_each_method():
            tasks, results = context.Queue(100), context.Queue(100)
            names = itertools.count()
            seen: dict[int, set[int]] = {}
            stopped = threading.Event()

            def watch() -> None:
                while (message := results.get()) is not None:
                    number, count, body = message
                    self.assertEqual(len(body), count % 7 * 9_000)
                    self.assertNotIn(count, seen.setdefault(number, set()), "it came twice")
                    seen[number].add(count)
                stopped.set()

            watcher = threading.Thread(target=watch)
            watcher.start()

            def job(number: int) -> tuple:
                return (produce, tasks, next(names)) if number else (consume, tasks, results)

            try:
                killed = self.kill_at_random(context, job)
                # All that is left comes: nobody who was killed took a lock with him.
                passer = start(context, consume, tasks, results)
                while not tasks.empty():
                    time.sleep(0.001)
                stop(passer)
            finally:
                results.put(None)
                watcher.join()
            self.assertTrue(stopped.is_set())
            missing = sum(max(counts) + 1 - len(counts) for counts in seen.values() if counts)
            # Each killed consumer had one message at most, and each was received whole.
            self.assertLessEqual(missing, killed + 1)
            self.assertGreater(sum(map(len, seen.values())), 0)


if __name__ == "__main__":
    unittest.main()
