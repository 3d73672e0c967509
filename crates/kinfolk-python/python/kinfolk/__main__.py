"""Runs an unchanged program on kinfolk: `python -m kinfolk script.py [args]`.

As the interpreter itself, it also takes `-m module` and `-c command`.
"""

from __future__ import annotations

import importlib.util
import io
import os
import sys
import types
from importlib.machinery import ModuleSpec

from ._install import install

USAGE = "usage: python -m kinfolk (script.py | -m module | -c command) [args]"


def main(args: list[str]) -> None:
    """Runs the program that the arguments name."""
    match args:
        case ["-c", command, *rest]:
            sys.argv = ["-c", *rest]
            sys.path[0] = ""
            run(compile(command, "<string>", "exec"))
        case ["-m", module, *rest]:
            spec = find(module)
            sys.argv = [spec.origin or module, *rest]
            run(spec.loader.get_code(spec.name), spec)
        case [script, *_] if not script.startswith("-"):
            sys.argv = args
            sys.path[0] = os.path.dirname(os.path.abspath(script))
            with io.open_code(script) as file:
                code = compile(file.read(), script, "exec")
            run(code, file=script)
        case _:
            sys.exit(USAGE)


def find(name: str) -> ModuleSpec:
    """Finds a module, or the one that a package has for this."""
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{name}.__main__")
    if spec is None or not hasattr(spec.loader, "get_code"):
        sys.exit(f"no module named {name} that can be run")
    return spec


def run(
    code: types.CodeType, spec: ModuleSpec | None = None, file: str | None = None
) -> None:
    """Runs code as the main module, which children find as they find any."""
    module = types.ModuleType("__main__")
    module.__spec__ = spec
    module.__builtins__ = __builtins__
    if spec is not None:
        module.__package__, module.__file__ = spec.parent, spec.origin
        module.__loader__ = spec.loader
    elif file is not None:
        module.__package__, module.__file__ = None, file
    sys.modules["__main__"] = module
    exec(code, module.__dict__)


if __name__ == "__main__":
    install()
    main(sys.argv[1:])
