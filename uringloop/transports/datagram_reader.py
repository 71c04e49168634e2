"""The receiving side of a datagram transport.

Rules of this file:
- There are two forms, chosen once:
  MessageReader   a multishot receive into pool buffers, for UDP where that is sound. A quarter cheaper.
  ReadyReader     a poll, then receives by system call: for every family, and for datagrams of up to 256 KiB.
- The next receive is submitted before a datagram is delivered, so that nothing the protocol raises can end them.
- While reading is paused datagrams stay with the kernel, which drops those that it has no room for.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

from ..operations.base import F_MORE, os_error
from ..operations.message import ReceiveMessages
from ..operations.poll import READABLE, Poll

if TYPE_CHECKING:
    from .datagram import DatagramTransport

_LARGEST_DATAGRAM = 256 * 1024  # bytes, as with asyncio; what is beyond is cut off
_LARGEST_BATCH = 32  # datagrams received in one turn, so that others have theirs
_TRY_AGAIN = (-errno.EAGAIN, -errno.EINTR, -errno.ENOBUFS, -errno.ECANCELED)


def reader_for(transport: DatagramTransport, sock: socket.socket) -> MessageReader | ReadyReader:
    """Return a reader of the form that suits the socket."""
    if (
        transport._proactor.ring.features.multishot_recv
        and sock.family in (socket.AF_INET, socket.AF_INET6)
        and sock.type == socket.SOCK_DGRAM
    ):
        return MessageReader(transport, sock)
    return ReadyReader(transport, sock)


class MessageReader(ReceiveMessages):
    """Receives by an operation of the ring."""

    __slots__ = ("_held", "_proactor", "_running", "_transport")

    def __init__(self, transport: DatagramTransport, sock: socket.socket) -> None:
        super().__init__(transport._proactor.ring, sock.fileno(), sock.family)
        self._transport = transport
        self._proactor = transport._proactor
        self._running = False
        self._held: deque[tuple[bytes, Any]] = deque()  # what arrived before the pause took effect

    def start(self) -> None:
        """Begin to receive, or go on."""
        self._running = True
        if self._held:
            self._transport._loop.call_soon(self._deliver_held)
        if not self._proactor.is_in_flight(self):
            self._proactor.submit(self)

    def pause(self) -> None:
        """Deliver nothing until start(); on return the kernel holds the socket no longer."""
        self._running = False
        self._proactor.cancel(self)

    def stop(self) -> None:
        """Deliver nothing any more; on return the kernel holds the socket no longer."""
        self.pause()
        self._held.clear()

    def complete(self, result: int, flags: int) -> None:
        """Deliver a datagram or an error."""
        if self._running and not flags & F_MORE:
            self._proactor.submit(self)
        if result >= 0:
            data, address = self.read(result, flags)
            if self._running and not self._held:
                self._transport._tell("datagram_received", data, address)
            elif not self._transport._closing:
                self._held.append((data, address))
        elif result not in _TRY_AGAIN and not self._transport._closing:
            self._transport._tell("error_received", os_error(result))

    def _deliver_held(self) -> None:
        while self._held and self._running:
            self._transport._tell("datagram_received", *self._held.popleft())


class ReadyReader:
    """Receives by system call when the socket is readable.

    That nothing more is there costs a system call and an exception to learn. So the number of datagrams received in
    a turn begins with one, and doubles as long as there are as many.
    """

    def __init__(self, transport: DatagramTransport, sock: socket.socket) -> None:
        self._transport = transport
        self._sock = sock
        self._poll: Poll | None = None  # while running
        self._memory = memoryview(bytearray(_LARGEST_DATAGRAM))
        self._batch = 1

    def start(self) -> None:
        """Begin to receive, or go on."""
        if self._poll is None:
            self._poll = Poll(self._transport._proactor, self._sock.fileno(), READABLE, self._receive)
            self._poll.start()

    def pause(self) -> None:
        """Deliver nothing until start(); on return the kernel holds the socket no longer."""
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.stop()

    stop = pause

    def _receive(self) -> None:
        """Receive a batch, or an error."""
        for _ in range(self._batch):
            try:
                size, address = self._sock.recvfrom_into(self._memory)
            except (BlockingIOError, InterruptedError):
                self._batch = 1
                return
            except OSError as error:
                self._transport._tell("error_received", error)
                return
            self._transport._tell("datagram_received", self._memory[:size].tobytes(), address)
            if self._poll is None:
                return
        self._batch = min(2 * self._batch, _LARGEST_BATCH)
