"""The stream transport: a connected socket, read and written by protocol callbacks."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..borrowed import SendfileMode
from .base import address_of, describe_socket, peer_of
from .outgoing import snapshot
from .reader import Reader
from .writer import Writer
from .writing import WritingTransport

if TYPE_CHECKING:
    from ..sockets import Sockets
    from .server import Server

_WRITELINES = "writelines" if sys.version_info >= (3, 12) else "write"  # what asyncio calls it in its complaint


_family_of = socket.SocketType.family.__get__
"""Of a socket, as a number: to make one of Python's enumeration of it takes longer than all the rest."""


def disable_nagle(sock: socket.socket) -> None:
    """Have what is written sent without delay; a listener hands this on to the connections that it accepts."""
    if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.proto in (0, socket.IPPROTO_TCP):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)


class _Gone:
    """What a transport that has ended is to its operations that complete after that."""

    _closing = True
    _lost = 1


_GONE: Any = _Gone()


class StreamTransport(WritingTransport, asyncio.Transport):
    """A connection; see the Python documentation of asyncio.Transport."""

    __slots__ = ("_address", "_description", "_peer", "_reader", "_server", "_sock", "_writer")

    _start_tls_compatible = True
    _sendfile_compatible = SendfileMode.TRY_NATIVE
    _LOST_WRITE = "socket.send() raised exception."

    _writer: Writer

    def __init__(
        self,
        loop: Sockets,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        server: Server | None = None,
        peer: Any = None,
    ) -> None:
        """`waiter` is set when the protocol has been told of the connection; `server` counts its connections.

        `peer` is the address of the other side, asked for if it is None.
        """
        super().__init__(loop, sock.fileno(), protocol, None)
        self._sock = sock
        self._peer = peer_of(sock) if peer is None else peer
        self._address: Any = None  # of this side, once the socket does not know it any more
        self._description: dict[str, Any] | None = None
        self._server = server
        try:
            family = _family_of(sock)
        except TypeError:  # it only acts like a socket
            family = sock.family
        may_multishot = self._proactor.ring.may_multishot(family)
        self._reader = Reader(self, may_multishot, before=loop._receives.find(sock) if loop._receives else None)
        self._writer = Writer(self, sock)
        if server is not None:
            server._attach()
        self._begin(self._reader.start, waiter)

    @property
    def _extra(self) -> dict[str, Any]:
        """What get_extra_info(), which is asyncio's, looks in; put together when it does: it may never do so."""
        if self._description is None:
            address = address_of(self._sock) if self._address is None else self._address
            self._description = describe_socket(self._sock, address, self._peer)
        return self._description

    # Receiving

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Make another protocol take what comes from now on."""
        super().set_protocol(protocol)
        self._reader.set_protocol(protocol)

    def is_reading(self) -> bool:
        """Tell whether the protocol is given what arrives."""
        return not self._closing and not self._reader.paused

    def pause_reading(self) -> None:
        """Give the protocol nothing until resume_reading()."""
        if self.is_reading():
            self._reader.pause()
            self._log("%r pauses reading")

    def resume_reading(self) -> None:
        """Give the protocol what arrives again."""
        if not self._closing and self._reader.paused:
            self._reader.resume()
            self._log("%r resumes reading")

    # Sending

    def write(self, data: Any) -> None:
        """Send the data. It may be changed afterwards; what the socket does not take waits in a buffer."""
        if type(data) is not bytes:
            data = snapshot(data)
        writer = self._writer
        if 0 < len(data) <= writer.prompt_limit:
            pending = writer.pending
            if writer not in pending:
                pending[writer] = data
                return
            if writer.add_to_pending(data):
                return
        if writer.refuses:
            self._refuse("write")
        if self._lost and data:
            self._ignore_write()
        elif data:
            writer.write(data)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Send each of the data."""
        if self._writer.refuses:
            self._refuse(_WRITELINES)
        super().writelines(list_of_data)

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be sent."""
        return self._writer.total_size

    def _refuse(self, call: str) -> None:
        if self._writer.ended:
            raise RuntimeError(f"Cannot call {call}() after write_eof()")
        raise RuntimeError(f"unable to {call}; sendfile is in progress")

    def write_eof(self) -> None:
        """Shut down the sending side when what was written is sent; receiving goes on."""
        if not self._closing and not self._writer.ended:
            self._writer.end()

    # The end

    def close(self) -> None:
        """Close when what was written is sent. The protocol gets nothing more but connection_lost()."""
        if self._closing:
            return
        self._closing = True
        self._reader.stop()
        self._writer.withdraw()
        if self._writer.idle:
            self._finish(None)

    def _release_operations(self) -> None:
        self._reader.stop()
        self._writer.drop()

    def _close_file(self) -> None:
        self._address = address_of(self._sock)
        self._sock.close()
        # No reference cycle: the garbage collector may be late, and the protocol hold much.
        self._reader._protocol = None
        self._reader._transport = self._writer._transport = _GONE
        server, self._server = self._server, None
        if server is not None:
            server._detach()
