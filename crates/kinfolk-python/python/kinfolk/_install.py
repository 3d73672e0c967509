"""Makes the standard library's `multiprocessing` use kinfolk."""

from __future__ import annotations

from multiprocessing import (
    popen_fork,
    popen_forkserver,
    pool as stock_pool,
    popen_spawn_posix,
    queues as stock_queues,
    spawn,
    synchronize as stock_synchronize,
)

from . import pool, popen, queues, synchronize

__all__ = ["install"]


def install() -> None:
    """Makes `multiprocessing` itself, in this process and in the children that it starts
    from now on, use kinfolk's locks, queues and ways to start.

    What was imported from its modules `queues`, `synchronize` and `popen_*` before is not
    changed. Nothing happens when it is called again. kinfolk must be importable in a new
    interpreter.
    """
    for module, ours in ((stock_synchronize, synchronize), (stock_queues, queues)):
        for name in ours.__all__:
            setattr(module, name, getattr(ours, name))
    stock_pool.Pool = pool.Pool
    popen_fork.Popen = popen.ForkPopen
    popen_spawn_posix.Popen = popen.SpawnPopen
    popen_forkserver.Popen = popen.ForkServerPopen
    spawn.get_preparation_data = _preparation_data


class _Installed:
    """Installs kinfolk where it is decoded: in a child, before anything of the user's."""

    def __reduce__(self):
        return install, ()


_stock_preparation_data = spawn.get_preparation_data


def _preparation_data(name: str) -> dict:
    return {"kinfolk": _Installed()} | _stock_preparation_data(name)
