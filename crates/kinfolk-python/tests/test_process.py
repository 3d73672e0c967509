"""Processes: how they end, and who with them."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest
import unittest.mock
from multiprocessing.connection import wait

import kinfolk
from support import PATIENCE, TestCase, is_alive, open_fds, start, stop


def sleep(*_args) -> None:
    """Does nothing for a long time."""
    time.sleep(3600)


def start_grandchild(method: str, connection) -> None:
    """Starts a process that starts nothing, tells its id, and does nothing."""
    child = start(kinfolk.get_context(method), sleep)
    connection.send(child.pid)
    sleep()


def tell_parent(connection) -> None:
    """Tells who the parent is."""
    parent = kinfolk.parent_process()
    connection.send((parent.pid, parent.name, parent.is_alive()))


def exit_with(code: int) -> None:
    """Ends with a code."""
    sys.exit(code)


def wait_for_end(pid: int) -> None:
    """Waits until a process that is nobody's here has ended."""
    while is_alive(pid):
        time.sleep(0.001)


class Processes(TestCase):
    def test_it_ends_as_the_reference_says(self) -> None:
        for context in self.for_each_method():
            for code, end in ((0, None), (3, None), (-signal.SIGTERM, "terminate"), (-9, "kill")):
                process = start(context, exit_with if end is None else sleep, code)
                if end is not None:
                    getattr(process, end)()
                process.join()
                self.assertEqual(process.exitcode, code)
                self.assertFalse(process.is_alive())
                process.close()
                self.assertRaises(ValueError, lambda: process.exitcode)

    def test_its_sentinel_is_ready_when_it_has_ended(self) -> None:
        for context in self.for_each_method():
            process = start(context, sleep)
            self.assertEqual(wait([process.sentinel], 0), [])
            process.kill()
            self.assertEqual(wait([process.sentinel], PATIENCE), [process.sentinel])
            self.assertEqual(process.exitcode, -9)

    def test_it_ends_with_its_parent(self) -> None:
        for context in self.for_each_method():
            for method in ("spawn", "forkserver", "fork"):
                ours, theirs = context.Pipe()
                parent = start(context, start_grandchild, method, theirs)
                grandchild = ours.recv()
                self.assertTrue(is_alive(grandchild))
                stop(parent)
                wait_for_end(grandchild)

    def test_a_sibling_by_fork_does_not_keep_it_alive(self) -> None:
        program = """
            import os, signal, time, kinfolk

            def sleep():
                time.sleep(3600)

            if __name__ == "__main__":
                context = kinfolk.get_context("fork")
                first = context.Process(target=sleep)
                first.start()
                second = os.fork()
                if second == 0:
                    os.closerange(0, 3)
                    sleep()
                print(first.pid, second, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
        """
        output = run_program(self, program, -9)
        first, second = map(int, output.split())
        try:
            wait_for_end(first)
            self.assertTrue(is_alive(second), "it was started by other means")
        finally:
            os.kill(second, signal.SIGKILL)

    def test_its_tree_is_killed(self) -> None:
        for context in self.for_each_method():
            ours, theirs = context.Pipe()
            process = start(context, start_grandchild, "spawn", theirs)
            grandchild = ours.recv()
            end = process.kill_tree()
            self.assertGreaterEqual(end.signaled, 2)
            process.join()
            wait_for_end(grandchild)
            self.assertEqual(process.kill_tree(), (0, False))
        self.assertRaises(ValueError, kinfolk.Process(target=sleep).kill_tree)

    def test_it_knows_its_parent(self) -> None:
        for context in self.for_each_method():
            ours, theirs = context.Pipe()
            process = start(context, tell_parent, theirs)
            self.assertEqual(ours.recv(), (os.getpid(), "MainProcess", True))
            process.join()

    def test_a_status_that_another_took_is_no_hang(self) -> None:
        process = start(kinfolk.get_context("fork"), exit_with, 3)
        os.waitpid(process.pid, 0)
        process.join()
        self.assertEqual(process.exitcode, 255)
        self.assertFalse(process.is_alive())

    def test_a_killed_fork_server_loses_the_status_and_nothing_else(self) -> None:
        from multiprocessing import forkserver

        context = kinfolk.get_context("forkserver")
        process = start(context, sleep)
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
        self.assertTrue(process.is_alive())
        stop(process)
        self.assertEqual(process.exitcode, 255)
        another = start(context, exit_with, 3)
        another.join()
        self.assertEqual(another.exitcode, 3)

    def test_a_fork_server_that_cannot_begin_is_an_error(self) -> None:
        program = """
            import os, kinfolk

            if __name__ == "program":
                os._exit(1)

            if __name__ == "__main__":
                context = kinfolk.get_context("forkserver")
                context.set_forkserver_preload(["program"])
                try:
                    context.Process().start()
                except (EOFError, ConnectionError):
                    print("an error")
        """
        self.assertEqual(run_program(self, program), "an error\n")

    def test_a_process_without_a_descriptor_for_it_is_an_error_and_is_ended(self) -> None:
        for context in self.for_each_method():
            start(context, exit_with, 0).join()
            before = open_fds()
            process = context.Process(target=sleep)
            error = OSError(errno.EMFILE, "no free descriptor")
            with unittest.mock.patch("os.pidfd_open", side_effect=error) as opened:
                with self.assertRaises(OSError) as raised:
                    process.start()
            self.assertIs(raised.exception, error)
            wait_for_end(opened.call_args.args[0])
            self.assertRaises(ChildProcessError, os.waitpid, opened.call_args.args[0], 0)
            error.__traceback__ = None
            del raised
            self.assertEqual(open_fds(), before)

    def test_processes_leave_no_descriptor(self) -> None:
        for context in self.for_each_method():
            start(context, exit_with, 0).join()
            before = open_fds()
            for _ in range(5):
                process = start(context, exit_with, 0)
                process.join()
                process.close()
            self.assertEqual(open_fds(), before)


class Contexts(TestCase):
    def test_they_are_the_standard_library_s(self) -> None:
        for context in self.for_each_method():
            self.assertIsInstance(context, multiprocessing.context.BaseContext)
            stock = type(multiprocessing.get_context(context.get_start_method()))
            self.assertIsInstance(context, stock)
            self.assertIsInstance(context.Process(), multiprocessing.process.BaseProcess)
            self.assertIs(context.get_context(), context)
        self.assertRaises(ValueError, kinfolk.get_context, "telepathy")

    def test_the_default_start_method_is_the_standard_library_s(self) -> None:
        program = """
            import multiprocessing, kinfolk
            kinfolk.set_start_method("spawn")
            print(multiprocessing.get_start_method(), kinfolk.get_start_method())
            multiprocessing.set_start_method("forkserver", force=True)
            print(type(kinfolk.get_context()).__name__, kinfolk.get_all_start_methods()[0])
        """
        said = run_program(self, program).split()
        self.assertEqual(said[:3], ["spawn", "spawn", "ForkServerContext"])
        self.assertEqual(said[3], multiprocessing.get_all_start_methods()[0])


class Programs(TestCase):
    PROGRAM = """
        import multiprocessing, sys
        from multiprocessing import Lock, Process, Queue

        def work(queue):
            kind = type(multiprocessing.get_context("spawn").Lock()).__module__
            queue.put((kind, __name__))

        if __name__ == "__main__":
            queue = Queue()
            for method in ("spawn", "forkserver", "fork"):
                process = multiprocessing.get_context(method).Process(target=work, args=(queue,))
                process.start()
                print(type(process._popen).__module__, *queue.get(), *sys.argv[1:])
                process.join()
    """

    def check(self, output: str, *main: str) -> None:
        """Looks at what the program said."""
        said = [line.split() for line in output.splitlines()]
        for line, name in zip(said, main, strict=True):
            expected = ["kinfolk.popen", "kinfolk.synchronize", name, "an", "argument"]
            self.assertEqual(line, expected)

    def test_a_script_runs_unchanged(self) -> None:
        output = run_program(self, self.PROGRAM, 0, ["-m", "kinfolk"], ["an", "argument"])
        self.check(output, "__mp_main__", "__mp_main__", "__main__")

    def test_a_module_runs_unchanged(self) -> None:
        output = run_program(self, self.PROGRAM, 0, ["-m", "kinfolk", "-m"], ["an", "argument"])
        self.check(output, "__mp_main__", "__mp_main__", "__main__")

    def test_a_command_runs(self) -> None:
        command = "import multiprocessing as m, sys; print(type(m.Lock()).__module__, sys.argv)"
        done = run(["-m", "kinfolk", "-c", command, "x"])
        self.assertEqual(done.stdout, "kinfolk.synchronize ['-c', 'x']\n")
        self.assertNotEqual(run(["-m", "kinfolk"]).returncode, 0)
        self.assertIn("no module named", run(["-m", "kinfolk", "-m", "no_such_module"]).stderr)


class Interpreters(TestCase):
    def test_a_subinterpreter_refuses_it_from_3_12_on(self) -> None:
        program = """
            try:
                import _interpreters
                run = _interpreters.exec
            except ImportError:
                import _xxsubinterpreters as _interpreters
                run = _interpreters.run_string
            code = "try: import kinfolk\\nexcept ImportError: pass\\nelse: print(kinfolk.Lock())"
            code += "\\nprint('done', flush=True)"
            run(_interpreters.create(), code)
        """
        works = "<Lock(owner=None)>\n" if sys.version_info < (3, 12) else ""
        self.assertEqual(run_program(self, program), works + "done\n")


def run(arguments: list[str], **options) -> subprocess.CompletedProcess:
    """Runs an interpreter."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def run_program(
    test: TestCase, program: str, status: int = 0, before: list[str] = [], after: list[str] = []
) -> str:
    """Runs a program in a file of its own; returns what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/program.py", "w") as file:
            file.write(textwrap.dedent(program))
        name = "program" if before[-1:] == ["-m"] else "program.py"
        done = run([*before, name, *after], cwd=folder)
    test.assertEqual(done.returncode, status, done.stderr)
    return done.stdout


if __name__ == "__main__":
    unittest.main()
