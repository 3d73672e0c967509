"""Makes the standard library's `multiprocessing` use kinfolk."""

from __future__ import annotations

from multiprocessing import (
    connection as stock_connection,
    popen_fork,
    popen_forkserver,
    pool as stock_pool,
    popen_spawn_posix,
    queues as stock_queues,
    spawn,
    synchronize as stock_synchronize,
)

from . import connection, pool, popen, queues, synchronize

__all__ = ["install"]


def install() -> None:
    """Makes `multiprocessing` itself, in this process and in the children that it starts
    from now on, use kinfolk's locks, queues, connections, managers and ways to start.

    What was imported from its modules `connection`, `queues`, `synchronize` and `popen_*`
    before is not changed. Nothing happens when it is called again. kinfolk must be
    importable in a new interpreter.
    """
    # Not for who only imports kinfolk.
    from multiprocessing import managers as stock_managers

    from . import managers

    for module, ours in (
        (stock_connection, connection),
        (stock_queues, queues),
        (stock_synchronize, synchronize),
    ):
        for name in ours.__all__:
            setattr(module, name, getattr(ours, name))
    stock_connection.XmlListener = connection.XmlListener
    # Its manager classes name each other: they stay, and get another server.
    stock_managers.Server.accepter = managers.Server.accepter
    stock_managers.Server._handle_request = managers.Server._handle_request
    stock_managers.listener_client.update(
        pickle=(connection.Listener, connection.Client),
        xmlrpclib=(connection.XmlListener, connection.XmlClient),
    )
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
