"""Managers: the standard library's, whose server ends with its parent, and which no client
that is silent or does not know the key can hold up.

The classes are subclasses of the standard library's and speak its protocol: their
proxies travel to its processes, and its clients may connect.
"""

from __future__ import annotations

from multiprocessing import AuthenticationError, managers as _stock, util
from traceback import format_exc

from .connection import Client, Listener, XmlClient, XmlListener
from .context import _default_context

__all__ = [
    "BaseManager", "BaseProxy", "SharedMemoryManager", "SyncManager", "Token",
]  # fmt: skip

BaseProxy = _stock.BaseProxy
Token = _stock.Token


class _Serializer(str):
    """The name of a way to encode over kinfolk's connections: where it is decoded, in a
    proxy, the standard library is told of it first."""

    def __reduce__(self):
        return _Serializer, (str(self),)


#: What a manager's serializer is called among those of the standard library.
_SERIALIZERS = {
    "pickle": _Serializer("kinfolk.pickle"),
    "xmlrpclib": _Serializer("kinfolk.xmlrpclib"),
}
_stock.listener_client[str(_SERIALIZERS["pickle"])] = (Listener, Client)
_stock.listener_client[str(_SERIALIZERS["xmlrpclib"])] = (XmlListener, XmlClient)


_accept_all = _stock.Server.accepter


class Server(_stock.Server):
    """The server of a manager: its clients authenticate before it has a thread for them."""

    def accepter(self) -> None:
        """Accepts clients, for as long as the server is there."""
        self.listener._authkey = self.authkey
        while True:
            try:
                _accept_all(self)
            except AuthenticationError as error:
                util.info("refused a client: %s", error)

    def _handle_request(self, c) -> None:
        """Does what a client that has authenticated asks for first."""
        request = None
        try:
            request = c.recv()
            _, name, args, kwargs = request
            if name not in self.public:
                raise AttributeError(f"{name!r} is nothing that a server does")
            reply = ("#RETURN", getattr(self, name)(c, *args, **kwargs))
        except Exception:
            reply = ("#TRACEBACK", format_exc())
        try:
            c.send(reply)
        except Exception as error:
            util.info("cannot send %r, the reply to %r: %s", reply, request, error)
            try:
                c.send(("#TRACEBACK", format_exc()))
            except Exception:
                # The client is gone.
                pass


class SharedMemoryServer(Server, _stock.SharedMemoryServer):
    """The server of a SharedMemoryManager."""


class BaseManager(_stock.BaseManager):
    """A server process for shared objects, which ends with the process that started it."""

    _Server = Server

    def __init__(
        self, address=None, authkey=None, serializer="pickle", ctx=None, **options
    ) -> None:
        serializer = _SERIALIZERS.get(serializer, serializer)
        super().__init__(
            address, authkey, serializer, ctx or _default_context.get_context(), **options
        )

    def get_server(self) -> Server:
        """Returns a server that runs in this process when it is told to."""
        if self._state.value != _stock.State.INITIAL:
            return super().get_server()
        return self._Server(self._registry, self._address, self._authkey, self._serializer)


class SyncManager(BaseManager, _stock.SyncManager):
    """A manager of locks, queues, containers and the like: `kinfolk.Manager()` starts one."""


class SharedMemoryManager(BaseManager, _stock.SharedMemoryManager):
    """A manager of shared memory, which it removes when it ends."""

    _Server = SharedMemoryServer
