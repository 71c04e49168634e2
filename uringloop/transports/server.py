"""The server: listening sockets, and the connections that they bring."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections.abc import Callable, Iterable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from ..borrowed import TransportSocket, accept_descriptor
from ..lanes import adopt_descriptor, kind_of
from ..operations.accept import Accept
from ..operations.base import os_error
from .stream import disable_nagle

if TYPE_CHECKING:
    from ..sockets import Sockets

ACCEPT_RETRY_DELAY = 1.0
"""Seconds that a listener waits when the system has no descriptor or memory left for a connection."""

_OUT_OF_RESOURCES = (-errno.EMFILE, -errno.ENFILE, -errno.ENOBUFS, -errno.ENOMEM)

Connected = Callable[[socket.socket, Any, "Server"], object]
"""Makes the transport of an accepted connection; None for its peer's address has that asked for."""


class _Listener(Accept):
    """The accept of one listening socket.

    It takes one connection at a time, and then queues behind the accepts of other processes that share the socket.
    Of multishot accepts, the kernel would have the one that is first in line take all connections.
    """

    def __init__(self, loop: Sockets, server: Server, sock: socket.socket) -> None:
        super().__init__(sock.fileno())
        self._loop = loop
        self._server = server
        self._stopped = False
        self._context = copy_context()
        self._was_listening = False  # before this server did
        self.sock = sock
        self._kind = kind_of(sock)

    def listen(self, backlog: int) -> None:
        """Begin to listen and accept.

        Each connection is made in a copy of the caller's context; since Python 3.15, of the server's maker's.
        """
        if sys.version_info < (3, 15):
            self._context = copy_context()
        self._was_listening = bool(self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        disable_nagle(self.sock)
        self.sock.listen(backlog)
        self._loop.call_soon(self.start)  # not now: the caller has its server before the first connection

    def start(self) -> None:
        """Begin to accept; does nothing if the server was closed meanwhile."""
        if not self._stopped:
            self._loop._proactor.submit(self)

    def stop(self) -> None:
        """Accept no more and close the socket."""
        self._stopped = True
        self._loop._proactor.cancel(self)
        self.sock.close()

    def complete(self, result: int, flags: int) -> None:
        """Make a connection of the descriptor, and keep accepting."""
        if self._stopped:
            self.discard(result, flags)
            return
        if result in _OUT_OF_RESOURCES:
            self._report(os_error(result))
            self._loop.call_later(ACCEPT_RETRY_DELAY, self.start)
            return
        peer = self.peer()  # before start(), which makes room for the next
        self.start()  # first: an exception out of what follows must not be the end of it
        if result >= 0:
            self._hand_over(result, peer)
            self._take_those_waiting()

    def _take_those_waiting(self) -> None:
        """Accept what has come meanwhile: with one connection in each turn, a busy loop would be slow."""
        for _ in range(self._server._backlog):
            if self._stopped:
                break
            try:
                fd, peer = accept_descriptor(self.sock)
            except OSError:  # none is left; whatever else it is, the accept in flight will be told as well
                break
            self._hand_over(fd, peer)

    def _hand_over(self, fd: int, peer: Any) -> None:
        connection = adopt_descriptor(self._kind, fd)
        if self._was_listening:  # it may have come before the listener had anything to hand on
            disable_nagle(connection)
        self._context.copy().run(self._server._connected, connection, peer, self._server)

    def _report(self, error: OSError) -> None:
        self._loop.call_exception_handler(
            {
                "message": "socket.accept() out of system resource",
                "exception": error,
                "socket": TransportSocket(self.sock),
            }
        )


class Server(asyncio.AbstractServer):
    """What create_server() returns; see the Python documentation of asyncio.Server."""

    def __init__(
        self,
        loop: Sockets,
        sockets: Iterable[socket.socket],
        connected: Connected,
        backlog: int,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        """Have `connected` called for each connection, `closed` once when the sockets are closed."""
        self._loop = loop
        self._listeners: list[_Listener] | None = [_Listener(loop, self, sock) for sock in sockets]
        self._connected = connected
        self._backlog = backlog
        self._on_close = closed
        self._connection_count = 0
        self._waiters: list[asyncio.Future[None]] | None = []
        self._serving = False
        self._serving_forever: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} sockets={self.sockets!r}>"

    @property
    def sockets(self) -> tuple[TransportSocket, ...]:
        """The listening sockets."""
        return tuple(TransportSocket(listener.sock) for listener in self._listeners or ())

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop."""
        return self._loop

    def is_serving(self) -> bool:
        """Tell whether connections are accepted."""
        return self._serving

    async def start_serving(self) -> None:
        """Begin to accept connections, unless that has begun. Raises RuntimeError if the server is closed."""
        self._start_serving()
        await asyncio.sleep(0)

    def _start_serving(self) -> None:
        if self._listeners is None:
            raise RuntimeError(f"server {self!r} is closed")
        if self._serving:
            return
        self._serving = True
        for listener in self._listeners:
            listener.listen(self._backlog)

    async def serve_forever(self) -> None:
        """Accept connections until cancelled; then close, and wait for the connections to end.

        Since Python 3.14 those are closed, too. Raises RuntimeError if the server is closed, or somebody waits here
        already.
        """
        if self._serving_forever is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        self._start_serving()
        self._serving_forever = self._loop.create_future()
        try:
            await self._serving_forever
        except asyncio.CancelledError:
            self.close()
            if sys.version_info >= (3, 14):
                self.close_clients()
            await self.wait_closed()
            raise
        finally:
            self._serving_forever = None

    def close(self) -> None:
        """Stop accepting and close the listening sockets; connections live on."""
        listeners, self._listeners = self._listeners, None
        if listeners is None:
            return
        for listener in listeners:
            listener.stop()
        self._on_close()
        self._serving = False
        if self._serving_forever is not None and not self._serving_forever.done():
            self._serving_forever.cancel()
        self._wake_if_over()

    def close_clients(self) -> None:
        """Close all connections."""
        for transport in self._transports():
            transport.close()

    def abort_clients(self) -> None:
        """Abort all connections."""
        for transport in self._transports():
            transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the server is closed and its connections have ended.

        Python 3.11 does not wait for a server that is closed already, and neither do we there.
        """
        if self._waiters is None or (sys.version_info < (3, 12) and self._listeners is None):
            return
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def _transports(self) -> list[Any]:
        """Return those of the connections; one that nobody refers to any more ends by itself."""
        references = list(self._loop._transports.values())  # any may be collected, and so leave them, at any moment
        transports = [reference() for reference in references]
        return [transport for transport in transports if getattr(transport, "_server", None) is self]

    def _attach(self) -> None:
        self._connection_count += 1

    def _detach(self) -> None:
        self._connection_count -= 1
        self._wake_if_over()

    def _wake_if_over(self) -> None:
        if self._listeners is None and not self._connection_count and self._waiters is not None:
            waiters, self._waiters = self._waiters, None
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
