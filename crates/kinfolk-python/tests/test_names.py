"""The table of names in the documentation, beside the reference's own lists."""

from __future__ import annotations

import importlib
import inspect
import multiprocessing
import pathlib
import pkgutil
import re
import unittest

import kinfolk
import kinfolk.connection
import kinfolk.managers
import kinfolk.pool
import kinfolk.popen
import kinfolk.queues
import kinfolk.synchronize
from support import TestCase

README = pathlib.Path(__file__).parent.parent / "README.md"


def table() -> list[tuple[str, list[str], str]]:
    """The rows of the table: module, names, what they are here."""
    row = re.compile(r"^\| `(multiprocessing[\w.]*)` \| ([^|]*)\| ([^|]*) \|$", re.MULTILINE)
    return [(module, names.split(), here) for module, names, here in row.findall(README.read_text())]


def reference_modules() -> list[str]:
    """The modules of the reference on this system."""
    found = pkgutil.walk_packages(multiprocessing.__path__, "multiprocessing.")
    return ["multiprocessing"] + [module.name for module in found if "win32" not in module.name]


class Names(TestCase):
    def test_each_name_of_each_module_is_in_the_table_once(self) -> None:
        listed: dict[str, list[str]] = {}
        for module, names, _ in table():
            listed.setdefault(module, []).extend(names)
        for name in reference_modules():
            module = importlib.import_module(name)
            names = getattr(module, "__all__", None)
            if names is None:
                continue
            with self.subTest(name):
                self.assertEqual(sorted(listed[name]), sorted(names))

    def test_what_the_table_says_is_true(self) -> None:
        ours = {
            "multiprocessing": kinfolk,
            "multiprocessing.connection": kinfolk.connection,
            "multiprocessing.managers": kinfolk.managers,
            "multiprocessing.pool": kinfolk.pool,
            "multiprocessing.queues": kinfolk.queues,
            "multiprocessing.synchronize": kinfolk.synchronize,
        }
        for module, names, here in table():
            if module not in ours:
                continue
            stock = importlib.import_module(module)
            for name in names:
                with self.subTest(f"{module}.{name}"):
                    mine, theirs = getattr(ours[module], name), getattr(stock, name)
                    if inspect.ismethod(mine):
                        same = mine.__func__ is theirs.__func__
                    else:
                        same = mine is theirs
                    self.assertEqual(same, not here.startswith("kinfolk"))

    def test_all_documented_names_are_here_with_the_same_signatures(self) -> None:
        for name in multiprocessing.__all__:
            with self.subTest(name):
                self.assertIn(name, kinfolk.__all__)
                theirs = getattr(multiprocessing, name)
                if callable(theirs) and not inspect.isclass(theirs):
                    mine = inspect.signature(getattr(kinfolk, name)).parameters.values()
                    # Options of kinfolk's own have no place in the order.
                    mine = [one.name for one in mine if one.kind is not one.VAR_KEYWORD]
                    self.assertEqual(mine, list(inspect.signature(theirs).parameters))

    def test_each_public_name_is_documented(self) -> None:
        modules = [
            kinfolk, kinfolk.connection, kinfolk.context, kinfolk.managers, kinfolk.pool,
            kinfolk.popen, kinfolk.queues, kinfolk.synchronize,
        ]  # fmt: skip
        for module in modules:
            self.assertTrue(module.__doc__)
            for name in module.__all__:
                thing = getattr(module, name)
                if inspect.isclass(thing) and thing.__module__.startswith("kinfolk"):
                    self.assertTrue(thing.__doc__, name)


if __name__ == "__main__":
    unittest.main()
