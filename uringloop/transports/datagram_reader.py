"""The receiving side of a datagram transport: a poll, then receives by system call.

A multishot RECVMSG into pool buffers was tried. Of the 5 us that an echoed datagram costs it saves 0.3, or 1 if
there is one in a turn; but where datagrams come while the loop is busy it costs 2 more, since it is woken for each.
And it takes no datagram larger than a pool buffer.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from ..operations.poll import READABLE, Poll

if TYPE_CHECKING:
    from .datagram import DatagramTransport

_LARGEST_DATAGRAM = 256 * 1024  # bytes, as with asyncio; what is beyond is cut off
_LARGEST_BATCH = 32  # datagrams received in one turn, so that others have theirs
_FULL_BEFORE_MORE = 4  # batches in a row


class DatagramReader:
    """Receives datagrams in batches, one batch in a turn.

    That nothing more is there costs a system call and an exception to learn, a quarter of what a datagram costs. So
    a batch is as large as the last one that was found to end early, and larger after several that did not.
    """

    def __init__(self, transport: DatagramTransport, sock: socket.socket) -> None:
        self._transport = transport
        self._sock = sock
        self._poll: Poll | None = None  # while receiving
        # One for all: memory for each receive, of this size, would be mapped and unmapped each time.
        self._memory = memoryview(bytearray(_LARGEST_DATAGRAM))
        self._batch = 1
        self._full_in_a_row = 0

    def start(self) -> None:
        """Begin to receive, or go on."""
        if self._poll is None:
            self._poll = Poll(self._transport._proactor, self._sock.fileno(), READABLE, self._receive)
            self._poll.start()

    def stop(self) -> None:
        """Deliver nothing until start(); what arrives stays with the kernel as far as it has room."""
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.stop()

    def _receive(self) -> None:
        """Receive a batch, or an error."""
        receive, memory, deliver = self._sock.recvfrom_into, self._memory, self._transport._deliver
        for count in range(self._batch):
            try:
                size, address = receive(memory)
            except (BlockingIOError, InterruptedError):
                self._full_in_a_row = 0
                self._batch = count or 1
                return
            except OSError as error:
                self._transport._tell_error(error)
                return
            deliver(memory[:size].tobytes(), address)
            if self._poll is None:
                return
        self._full_in_a_row += 1
        if self._full_in_a_row == _FULL_BEFORE_MORE:
            self._full_in_a_row = 0
            self._batch = min(2 * self._batch, _LARGEST_BATCH)
