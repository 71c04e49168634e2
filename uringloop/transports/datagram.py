"""The datagram transport: a socket whose datagrams are received and sent by protocol callbacks."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import TYPE_CHECKING, Any

from .base import address_of, describe_socket, peer_of
from .datagram_reader import DatagramReader
from .datagram_writer import DatagramWriter
from .outgoing import snapshot
from .writing import BufferingTransport

if TYPE_CHECKING:
    from ..sockets import Sockets

_SENDS_EMPTY = sys.version_info >= (3, 13)  # asyncio's transports drop datagrams of no bytes before


class DatagramTransport(BufferingTransport, asyncio.Transport, asyncio.DatagramTransport):
    """A datagram endpoint; see the Python documentation of asyncio.DatagramTransport.

    Like asyncio's it is a Transport by its type, too, and its reading can be paused; but it writes no stream.
    """

    _LOST_WRITE = "socket.send() raised exception."

    _writer: DatagramWriter

    def __init__(
        self,
        loop: Sockets,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
    ) -> None:
        """`address`, if not None, is the only one to send to; `waiter` is set when the protocol has been told."""
        peer = peer_of(sock)
        super().__init__(loop, sock.fileno(), protocol, describe_socket(sock, address_of(sock), peer))
        self._sock = sock
        self._address = address
        self._reader = DatagramReader(self, sock)
        self._writer = DatagramWriter(self, sock, peer)
        self._paused = False
        self._begin(self._start_reading, waiter)

    # Receiving

    def is_reading(self) -> bool:
        """Tell whether the protocol is given what arrives."""
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        """Give the protocol nothing until resume_reading()."""
        if self.is_reading():
            self._paused = True
            self._reader.stop()
            self._log("%r pauses reading")

    def resume_reading(self) -> None:
        """Give the protocol what arrives again."""
        if not self._closing and self._paused:
            self._paused = False
            self._reader.start()
            self._log("%r resumes reading")

    def _start_reading(self) -> None:
        if self.is_reading():
            self._reader.start()

    def _tell_error(self, error: OSError) -> None:
        try:
            self._context.run(self._protocol.error_received, error)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as failure:
            self._report(failure, "Error: protocol.error_received() call failed.")

    # Sending

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send a datagram to the address, or to that of the endpoint.

        It may be changed afterwards; what the socket does not take waits in a buffer. Raises ValueError for an
        address that is not the endpoint's, if that has one, and TypeError for anything but bytes, a bytearray or a
        memoryview. Errors of the socket are told to the protocol.
        """
        if type(data) is not bytes:
            data = snapshot(data, "a bytes-like object")
        if not data and not _SENDS_EMPTY:
            return
        if self._address is not None:
            if addr is not None and addr != self._address:
                raise ValueError(f"Invalid address: must be None or {self._address}")
            addr = self._address
        if self._lost and (self._address is not None or not self._open):
            self._ignore_write()
        else:
            self._writer.send(data, addr)

    # The end

    def close(self) -> None:
        """Close when what waits has been sent. The protocol gets no more datagrams."""
        if self._closing:
            return
        self._closing = True
        self._reader.stop()
        if self._writer.idle:
            self._finish(None)

    def _release_operations(self) -> None:
        self._reader.stop()
        self._writer.drop()

    def _close_file(self) -> None:
        self._sock.close()
        del self._reader._transport, self._writer._transport  # a reference cycle, with all that the protocol holds
