#!/usr/bin/env python3
"""Plants bugs, one at a time, and checks that the tests catch each.

A test of the tests: run by `ci/test --long`. The tree is copied to a folder of
its own below `target`; a mutant is caught if the tests named with it fail.
With words as arguments, only those whose names have one of them. With `--check` alone
(in `ci/test`), only whether each still has its place in the code.
"""

import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
COPY = ROOT / "target/mutants/tree"
SOURCE = "crates/kinfolk/src/"

# What goes wrong; the file, what stands there and what is planted; the tests.
MUTANTS = [
    (
        "a dead owner keeps its lock",
        "sync/owner.rs",
        "if ask && !owner.is_alive() =>",
        "if ask && owner.pid() == 0 =>",
        ["lock"],
    ),
    (
        "nobody is told of a dead owner",
        "sync/owner.rs",
        "(mine | WAITERS, Taken::From(owner))",
        "(mine | WAITERS, { let _ = Taken::From(owner); Taken::Free })",
        ["lock"],
    ),
    (
        "a living owner is taken for a dead one",
        "sys/identity.rs",
        "if self == Self::mine() {\n            return true;",
        "if self != Self::mine() {\n            return false;",
        ["lock"],
    ),
    (
        "a process id alone names a process",
        "sys/identity.rs",
        "let same = self.0 & !PID == 0 || Self::new(pid, stat.started) == self;",
        "let same = Self::new(pid, 0).pid() == self.pid();",
        ["lib"],
    ),
    (
        "a fork takes itself for its parent",
        "sys/identity.rs",
        "Advice::LinuxWipeOnFork",
        "Advice::Normal",
        ["lock", "sync"],
    ),
    (
        "the permits of the dead are lost",
        "sync/semaphore.rs",
        "self.commit(value + back, place, process, 0);",
        "self.commit(value, place, process, 0 * back);",
        ["sync"],
    ),
    (
        "a notification dies with who got it",
        "sync/condition.rs",
        "            self.notify(1);\n            waiter.process",
        "            waiter.process",
        ["sync"],
    ),
    (
        "a dead party is waited for",
        "sync/barrier.rs",
        "process.is_some_and(|process| !process.is_alive())",
        "process.is_some_and(|process| process.pid() == 0)",
        ["sync"],
    ),
    (
        "a message is seen before it is written",
        "queue/ring.rs",
        "                self.word(start)?.store(first, Ordering::Relaxed);\n",
        "                body.tail.0.store(at.plus(skip + need, 1).0, Ordering::Release);\n"
        "                self.word(start)?.store(first, Ordering::Relaxed);\n",
        ["queue"],
    ),
    (
        "a message is taken without being taken out",
        "queue/ring.rs",
        "            body.head.0.store(end.0, Ordering::Release);\n",
        "            if end.position() % 64 != 0 { body.head.0.store(end.0, Ordering::Release); }\n",
        ["queue"],
    ),
    (
        "a lease counts before its message is out of the ring, or never",
        "queue/arena.rs",
        "Some(Lease::Held(holder)) if ask && is_past(head, extent) => {",
        "Some(Lease::Held(holder)) if ask && !is_past(head, extent) => {",
        ["leases"],
    ),
    (
        "nobody looks for the other side",
        "queue/end.rs",
        "sides::other_is_gone(side)",
        "sides::other_is_gone(side).map(|_| false)",
        ["queue"],
    ),
    (
        "a number is copied byte by byte",
        "shm/cells.rs",
        "if twos < 3 { 1 << twos } else { 8 }",
        "if twos < 3 { 1 } else { 1 }",
        ["value"],
    ),
    (
        "NULs at the end of an item are lost",
        "shm/item.rs",
        "if bytes.last() == Some(&0) {",
        "if bytes.last() == Some(&0) && bytes.len() > MOST_EXACT {",
        ["shareable_list"],
    ),
    (
        "a killed change of an item is not seen",
        "shm/list.rs",
        "self.memory.write(self.code(index), &[CHANGING])?;",
        "self.memory.read(self.code(index), &mut [CHANGING])?;",
        ["shareable_list"],
    ),
    (
        "a message is committed before its words in another's eyes",
        "queue/ring.rs",
        "body.tail.0.store(end.0, Ordering::Release);",
        "body.tail.0.store(end.0, Ordering::Relaxed);",
        ["model"],
    ),
    (
        "what an owner did is not ordered before its release",
        "sync/owner.rs",
        "self.0.compare_exchange(mine, 0, Ordering::Release, Ordering::Relaxed);",
        "self.0.compare_exchange(mine, 0, Ordering::Relaxed, Ordering::Relaxed);",
        ["model"],
    ),
    (
        "a word is released and nobody woken",
        "sync/owner.rs",
        "let flagged = seen | WAITERS;",
        "let flagged = seen;",
        ["model"],
    ),
    (
        "a change is not ordered before the look at who sleeps",
        "sync/signal.rs",
        "        after_release();\n        self.0.load",
        "        if false { after_release() }\n        self.0.load",
        ["model"],
    ),
    (
        "a sleeper sleeps over a wake that came before",
        "sync/signal.rs",
        "futex::wait(&self.0, odd, limit);",
        "futex::wait(&self.0, odd | self.0.load(Ordering::SeqCst), limit);",
        ["model"],
    ),
    (
        "an event is set after its wake",
        "sync/event.rs",
        "Ok(_) if seen & WAITERS != 0 => {",
        "Ok(_) if seen & WAITERS == 0 => {",
        ["model"],
    ),
    (
        "a redo record counts before it is written",
        "sync/semaphore.rs",
        "        self.redo.value.store(value, Ordering::Relaxed);\n",
        "        self.redo.place.store(place as u64 + 1, Ordering::Relaxed);\n"
        "        self.redo.value.store(value, Ordering::Relaxed);\n",
        ["model"],
    ),
    (
        "a sender that waits for room knows what another has seen",
        "queue/waiting.rs",
        "self.body().space.0.sleep(nap, || self.head() != head);",
        "let _ = head;\n"
        "        let head = Mark(self.body().sending.other.load(Ordering::SeqCst));\n"
        "        self.body().space.0.sleep(nap, || self.head() != head);",
        ["model"],
    ),
    (
        "nobody rings the bell of the dead",
        "queue/ring.rs",
        "            body.armed.store(1, Ordering::SeqCst);\n        }\n        section",
        "        }\n        section",
        ["model"],
    ),
    (
        "a lease that the dead did not finish is one",
        "queue/ring.rs",
        "            self.revoke_leases();\n",
        "            let _ = Self::revoke_leases;\n",
        ["model"],
    ),
    (
        "a notification is swallowed between the condition and its lock",
        "sync/condition.rs",
        "        (lock.lock(), notified)\n",
        "        drop(enlisted);\n        (lock.lock(), notified)\n",
        ["stepping::condition"],
    ),
    (
        "a message is visible before it is copied",
        "queue/ring.rs",
        "                self.memory().write(start + UNIT, bytes).ok_or_else(broken)?;\n",
        "                body.tail.0.store(at.plus(skip + need, 1).0, Ordering::Release);\n"
        "                self.memory().write(start + UNIT, bytes).ok_or_else(broken)?;\n",
        ["stepping::queue::sending"],
    ),
    (
        "a lease counts before its message is out of the ring",
        "queue/arena.rs",
        "Some(Lease::Held(holder)) if ask && is_past(head, extent) => {",
        "Some(Lease::Held(holder)) if ask => {",
        ["stepping::queue::leases"],
    ),
]


def main() -> int:
    if sys.argv[1:] == ["--check"]:
        return check()
    COPY.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(COPY, ignore_errors=True)
    skipped = shutil.ignore_patterns("target", ".git")
    shutil.copytree(ROOT, COPY, ignore=skipped)
    if check() != 0:
        return 1
    survived = []
    words = sys.argv[1:]
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant[0] for word in words)]
    for name, file, old, new, tests in chosen:
        path = COPY / SOURCE / file
        text = path.read_text()
        path.write_text(text.replace(old, new))
        caught = not passes(tests)
        path.write_text(text)
        print(f"{'caught' if caught else 'SURVIVED'}: {name}", flush=True)
        if not caught:
            survived.append(name)
    print(f"{len(chosen) - len(survived)} of {len(chosen)} mutants were caught")
    return 1 if survived else 0


def check() -> int:
    """Whether each mutant has its place in the code as it is."""
    lost = 0
    for name, file, old, _, _ in MUTANTS:
        times = (ROOT / SOURCE / file).read_text().count(old)
        if times != 1:
            print(f"{name}: {file} has its place {times} times, not once")
            lost += 1
    print(f"{len(MUTANTS) - lost} of {len(MUTANTS)} mutants have their place in the code")
    return 1 if lost else 0


def passes(tests: list[str]) -> bool:
    """Whether all of the tests pass; a mutant that does not compile is an error."""
    if tests[0].startswith("stepping::"):
        # Of the optimised build, as `ci/test` runs it.
        name = tests[0].removeprefix("stepping::")
        names = ["--release", "--package", "kinfolk-testkit", "--test", "stepping"]
        selected = ["--", "--exact", name]
    else:
        package = "kinfolk-model" if tests == ["model"] else "kinfolk"
        parts = (["--lib"] if test == "lib" else ["--test", test] for test in tests)
        names = ["--package", package, *(part for both in parts for part in both)]
        selected = []
    command = ["cargo", "test", "--quiet", *names]
    # A mutant may hang: its test need not wait as long as an honest one.
    environment = {"CARGO_TARGET_DIR": str(COPY.parent / "target"), "KINFOLK_PATIENCE": "30"}

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *more],
            cwd=COPY,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    built = run("--no-run")
    if built.returncode != 0:
        sys.exit(built.stderr)
    return run(*selected).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
