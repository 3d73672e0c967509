"""Random kills, for KINFOLK_SOAK seconds each: nobody hangs, nothing is broken."""

from __future__ import annotations

import os
import random
import threading
import time
import unittest

import kinfolk
from support import PATIENCE, TestCase, start, stop

#: How long each test kills.
SECONDS = float(os.environ.get("KINFOLK_SOAK", "2"))
#: The number of processes at a time.
CREW = 3


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

        faulthandler.dump_traceback_later(PATIENCE + 3 * SECONDS, exit=True)

    def kill_at_random(self, begin, meanwhile=lambda: None) -> int:
        """Kills and replaces processes that `begin` starts by number; returns how many."""
        randomness = random.Random(4711)
        crew = [begin(number) for number in range(CREW)]
        killed = 0
        end = time.monotonic() + SECONDS
        try:
            while time.monotonic() < end:
                time.sleep(randomness.uniform(0.0005, 0.02))
                meanwhile()
                number = randomness.randrange(CREW)
                stop(crew[number])
                crew[number] = begin(number)
                killed += 1
        finally:
            for process in crew:
                stop(process)
        return killed

    def test_a_lock(self) -> None:
        for context in self.for_each_method():
            for lock in (context.Lock(), context.RLock()):
                numbers = context.RawArray("Q", 2)
                begin = lambda _: start(context, add, lock, numbers)
                self.assertGreater(self.kill_at_random(begin), 0)
                self.assertTrue(lock.acquire(timeout=PATIENCE))
                # The last holder died between two lines at most.
                self.assertIn(numbers[0] - numbers[1], (0, 1))
                self.assertGreater(numbers[0], 0)

    def test_a_semaphore(self) -> None:
        for context in self.for_each_method():
            semaphore, users = context.BoundedSemaphore(2), context.BoundedSemaphore(CREW)
            begin = lambda _: start(context, use, semaphore, users)
            self.assertGreater(self.kill_at_random(begin), 0)
            for one in (semaphore, users):
                permits = 0
                one._semlock.reclaim()
                while one.acquire(block=False):
                    permits += 1
                self.assertEqual(permits, one._semlock.maxvalue)

    def test_a_condition(self) -> None:
        for context in self.for_each_method():
            condition, turn = context.Condition(), context.RawValue("Q")
            begin = lambda number: start(context, pass_on, condition, turn, number)
            self.assertGreater(self.kill_at_random(begin), 0)
            self.assertGreater(turn.value, 0)
            with condition:
                condition.notify_all()
                self.assertFalse(condition.wait(0.001))
            self.assertEqual(condition._sleeping_count.get_value(), 0)

    def test_a_queue(self) -> None:
        for context in self.for_each_method():
            tasks, results = context.Queue(100), context.Queue(100)
            names = iter(range(1_000_000))
            begin_one = lambda: start(context, produce, tasks, next(names))
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
            begin = lambda number: (
                begin_one() if number else start(context, consume, tasks, results)
            )
            try:
                killed = self.kill_at_random(begin)
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
