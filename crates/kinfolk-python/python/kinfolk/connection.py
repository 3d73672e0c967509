"""Pipes that no kill tears, and connections between programs.

A message of a pipe is sent whole or not at all, whenever its sender is killed, and who
waits for one learns at once that all senders are gone. Listeners and clients speak the
standard library's protocol, with its processes, too: but a silent client keeps no other
one from being accepted, and nobody authenticates by MD5 unless that is allowed.
"""

from __future__ import annotations

import importlib
import io
import pickle
import socket
import struct
import threading
import time
from multiprocessing import AuthenticationError, connection as _stock, reduction, util
from multiprocessing.connection import wait

from . import _kinfolk

__all__ = ["Client", "Connection", "Listener", "Pipe", "wait"]

#: Types of values without parts.
_ATOMS = frozenset((bool, bytes, float, int, str, type(None)))

#: How many clients may be authenticating at once: one more, and the oldest is dropped.
_MOST_GUESTS = 128


class Connection(_stock.Connection):
    """An end of a pipe, or a side of a connection between a Listener and a Client.

    Ends of pipes carry whole messages, of any size, by any number of processes and
    threads at once. A connection is a stream, as the standard library's: a process that
    is killed while it sends ends it in the middle of a message, which is an OSError to
    the other side.
    """

    def __init__(self, handle: int, readable: bool = True, writable: bool = True) -> None:
        super().__init__(handle, readable, writable)
        self._is_pipe = _kinfolk.is_pipe(self._handle)

    def send(self, obj) -> None:
        """Sends an object."""
        self._check_closed()
        self._check_writable()
        self._send_bytes(_dumps(obj))

    def recv(self):
        """Receives an object. EOFError if there is none, and nobody to send one."""
        if not self._is_pipe:
            return super().recv()
        self._check_closed()
        self._check_readable()
        return reduction.ForkingPickler.loads(_kinfolk.pipe_recv(self._handle))

    # What the standard library's methods are built on.

    def _send_bytes(self, buf) -> None:
        if not self._is_pipe:
            super()._send_bytes(buf)
        else:
            _kinfolk.pipe_send(self._handle, _as_bytes(buf))

    def _recv_bytes(self, maxsize: int | None = None) -> io.BytesIO | None:
        if not self._is_pipe:
            return super()._recv_bytes(maxsize)
        message = _kinfolk.pipe_recv(self._handle, maxsize)
        if message is None:
            return None
        buffer = io.BytesIO(message)
        buffer.seek(len(message))
        return buffer

    def _poll(self, timeout: float | None) -> bool:
        if not self._is_pipe:
            return super()._poll(timeout)
        return _kinfolk.pipe_poll(self._handle, timeout)


def _dumps(obj) -> bytes:
    """Encodes an object as the standard library does."""
    if type(obj) in _ATOMS:
        # Nobody's reducers concern them: without a pickler that knows those.
        return pickle.dumps(obj)
    buffer = io.BytesIO()
    reduction.ForkingPickler(buffer).dump(obj)
    return buffer.getvalue()


def _as_bytes(buffer: bytes | memoryview) -> bytes:
    """The bytes of a buffer, which nobody changes: without a copy where they are such."""
    if isinstance(buffer, bytes):
        return buffer
    whole = buffer.obj
    return whole if type(whole) is bytes and len(whole) == len(buffer) else bytes(buffer)


def _reduce(connection: Connection):
    descriptor = reduction.DupFd(connection.fileno())
    return _rebuild, (descriptor, connection.readable, connection.writable)


def _rebuild(descriptor, readable: bool, writable: bool) -> Connection:
    return Connection(descriptor.detach(), readable, writable)


reduction.register(Connection, _reduce)


def Pipe(duplex: bool = True) -> tuple[Connection, Connection]:
    """Returns both ends of a pipe: of one way, the first receives and the second sends."""
    one, other = _kinfolk.pipe()
    return Connection(one, writable=duplex), Connection(other, readable=duplex)


class Listener(_stock.Listener):
    """Accepts the connections of clients, the standard library's among them.

    With a key, any number of clients may be authenticating at once. One that has not
    answered for `handshake_timeout` seconds is dropped. `legacy` allows authentication
    by MD5, which the standard library needs before Python 3.12.
    """

    def __init__(
        self,
        address=None,
        family: str | None = None,
        backlog: int = 1,
        authkey: bytes | None = None,
        *,
        handshake_timeout: float = 20.0,
        legacy: bool = False,
    ) -> None:
        super().__init__(address, family, backlog, authkey)
        self._handshake_timeout = handshake_timeout
        self._legacy = legacy
        self._forget()
        util.register_after_fork(self, Listener._forget)

    def _forget(self) -> None:
        """Leaves the clients that are authenticating to the parent of this fork."""
        self._guests: list[_Guest] = []
        self._accepting = threading.Lock()

    def accept(self, timeout: float | None = None) -> Connection:
        """Waits for a client, for at most so many seconds, then TimeoutError.

        AuthenticationError if one does not know the key. One that is gone again, or does
        not speak the protocol, is dropped.
        """
        if self._listener is None:
            raise OSError("listener is closed")
        listening = self._listener._socket
        end = _end(listening.gettimeout() if timeout is None else timeout)
        with self._accepting:
            while True:
                self._drop_late()
                first = min((guest.deadline for guest in self._guests), default=None)
                ends = [moment for moment in (end, first) if moment is not None]
                ready = wait([listening, *self._guests], _left(min(ends, default=None)))
                for one in ready:
                    guest = self._let_in(listening) if one is listening else one
                    if guest is not None and self._is_known(guest):
                        self._listener._last_accepted = guest.address
                        return guest.connection
                if not ready and end is not None and time.monotonic() >= end:
                    raise TimeoutError("no client was accepted in time")

    def _let_in(self, listening: socket.socket) -> _Guest | None:
        """Accepts a client, and begins with it if there is a key."""
        accepted, address = listening.accept()
        accepted.setblocking(True)
        guest = _Guest(Connection(accepted.detach()), address)
        if self._authkey is None:
            return guest
        try:
            guest.begin(self._authkey, self._legacy)
        except OSError:
            guest.connection.close()
            return None
        if len(self._guests) >= _MOST_GUESTS:
            self._guests.pop(0).connection.close()
        guest.deadline = time.monotonic() + self._handshake_timeout
        self._guests.append(guest)
        return None

    def _is_known(self, guest: _Guest) -> bool:
        """Goes on with a client; returns whether it is accepted."""
        if self._authkey is None:
            return True
        if guest not in self._guests:
            # It was dropped for another.
            return False
        try:
            known = guest.handshake.go_on()
        except AuthenticationError:
            self._drop(guest)
            raise
        except (EOFError, OSError, ValueError) as error:
            util.info("dropped a client: %s", error)
            self._drop(guest)
            return False
        guest.deadline = time.monotonic() + self._handshake_timeout
        if known:
            self._guests.remove(guest)
        return known

    def _drop_late(self) -> None:
        """Drops the clients that have not answered in time, unless they have just now."""
        now = time.monotonic()
        late = [guest for guest in self._guests if guest.deadline <= now]
        answered = wait(late, 0) if late else []
        for guest in late:
            if guest not in answered:
                util.info("dropped a client that has not authenticated in time")
                self._drop(guest)

    def _drop(self, guest: _Guest) -> None:
        self._guests.remove(guest)
        guest.connection.close()

    def close(self) -> None:
        """Stops listening; connections that were accepted go on."""
        super().close()
        while self._guests:
            self._guests.pop().connection.close()


class _Guest:
    """A client that is to prove that it knows the key."""

    handshake: _kinfolk.Handshake
    deadline: float

    def __init__(self, connection: Connection, address) -> None:
        self.connection = connection
        self.address = address

    def begin(self, key: bytes, legacy: bool) -> None:
        self.handshake = _kinfolk.Handshake(self.fileno(), True, key, legacy)

    def fileno(self) -> int:
        return self.connection.fileno()


def Client(
    address,
    family: str | None = None,
    authkey: bytes | None = None,
    *,
    timeout: float | None = None,
    legacy: bool = False,
) -> Connection:
    """Connects to a listener, the standard library's or kinfolk's.

    With `timeout`, TimeoutError if it has not accepted in so many seconds. `legacy`
    allows authentication by MD5, which the standard library needs before Python 3.12.
    """
    family = family or _stock.address_type(address)
    _stock._validate_family(family)
    if authkey is not None and not isinstance(authkey, bytes):
        raise TypeError("authkey should be a byte string")
    end = _end(timeout)
    with socket.socket(getattr(socket, family)) as connecting:
        _connect(connecting, address, timeout)
        connection = Connection(connecting.detach())
    if authkey is not None:
        try:
            handshake = _kinfolk.Handshake(connection.fileno(), False, authkey, legacy)
            while not handshake.go_on():
                if not wait([connection], _left(end)):
                    raise TimeoutError(f"the listener at {address!r} has not accepted in time")
        except BaseException:
            connection.close()
            raise
    return connection


def _connect(connecting: socket.socket, address, timeout: float | None) -> None:
    """Connects; unlike Python's own timeout this also covers the queue of a unix socket."""
    connecting.setblocking(True)
    if timeout is not None:
        microseconds = max(1, int(timeout * 1e6))
        limit = struct.pack("@ll", *divmod(microseconds, 1_000_000))
        connecting.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    try:
        connecting.connect(address)
    except BlockingIOError:
        raise TimeoutError(f"the listener at {address!r} has not accepted in time") from None
    if timeout is not None:
        connecting.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", 0, 0))


class XmlListener(Listener):
    """A listener whose connections carry XML in place of pickles."""

    def accept(self, timeout: float | None = None) -> _stock.ConnectionWrapper:
        """As `Listener.accept`."""
        return _xml(super().accept(timeout))


def XmlClient(*args, **kwargs) -> _stock.ConnectionWrapper:
    """As `Client`, with XML in place of pickles."""
    return _xml(Client(*args, **kwargs))


def _xml(connection: Connection) -> _stock.ConnectionWrapper:
    # Where the standard library's functions expect it.
    _stock.xmlrpclib = importlib.import_module("xmlrpc.client")
    return _stock.ConnectionWrapper(connection, _stock._xml_dumps, _stock._xml_loads)


def _end(timeout: float | None) -> float | None:
    """When a timeout that begins now ends."""
    return None if timeout is None else time.monotonic() + timeout


def _left(end: float | None) -> float | None:
    """How long it is until then."""
    return None if end is None else max(0.0, end - time.monotonic())
