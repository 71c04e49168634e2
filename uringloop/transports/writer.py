"""The sending side of a stream transport.

Rules of this file:
- What is written in a turn is collected, and sent by one operation at the end of the turn.
- At most one send is in flight; what is written meanwhile waits for it.
- A write that goes over the high-water mark is tried at once, so that flow control stops the protocol only when
  the socket is full, and not because the turn is not over.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from ..operations.base import os_error
from ..operations.send import Send

if TYPE_CHECKING:
    from .stream import StreamTransport

HIGH_WATER = 64 * 1024  # bytes
_JOIN_SIZE = 256 * 1024  # bytes; chunks are joined for one send until they are this many
_TRY_AGAIN = (-errno.EAGAIN, -errno.EINTR, -errno.ENOBUFS, -errno.ECANCELED)


class Writer(Send):
    """The send of a stream transport, and what waits to be sent."""

    __slots__ = (
        "_ended", "_in_flight", "_protocol_paused", "_queued", "_sock", "_transport", "_waiting", "high", "low", "size",
    )  # fmt: skip

    def __init__(self, transport: StreamTransport, sock: socket.socket) -> None:
        super().__init__(sock.fileno())
        self._transport = transport
        self._sock = sock
        self._waiting: list[bytes | memoryview] = []
        self._in_flight = False
        self._queued = False  # for the end of the turn
        self._ended = False  # write_eof() was called
        self._protocol_paused = False
        self.size = 0  # bytes, those in flight included
        self.high = HIGH_WATER
        self.low = HIGH_WATER // 4

    # The transport's side

    @property
    def ended(self) -> bool:
        """Whether end() was called."""
        return self._ended

    def write(self, data: bytes) -> None:
        """Send the data at the end of the turn."""
        self._waiting.append(data)
        self.size += len(data)
        if not self._queued:
            self._queue()
        if self.size > self.high:
            self._send_now()

    def end(self) -> None:
        """Shut down the sending side when everything is sent."""
        self._ended = True
        if not self.size:
            self._sock.shutdown(socket.SHUT_WR)

    def set_limits(self, high: int | None, low: int | None) -> None:
        """Set the sizes (bytes) above which the protocol is paused, and at or below which it is resumed."""
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self.high = high
        self.low = low
        self._pause_protocol_if_full()

    def drop(self) -> None:
        """Forget what was not sent."""
        self._waiting.clear()
        self.size = 0
        self._transport._proactor.cancel(self)

    # The turn's end, and the kernel's side

    def flush(self) -> None:
        """Submit what waits, unless a send is in flight: then it goes when that has completed."""
        self._queued = False
        if self._waiting and not self._in_flight:
            self.data = self._take()
            self._in_flight = True
            self._transport._proactor.submit(self)

    def complete(self, result: int, flags: int) -> None:
        """Account for what was sent and see what follows."""
        self._in_flight = False
        data, self.data = self.data, b""
        if self._transport._lost:
            return
        if result < 0 and result not in _TRY_AGAIN:
            self._transport._fatal_error(os_error(result), "Fatal write error on socket transport")
            return
        self._sent(data, max(result, 0))

    def _sent(self, data: bytes | memoryview, count: int) -> None:
        self.size -= count
        if count < len(data):
            self._waiting.insert(0, memoryview(data)[count:])
        if self._waiting and not self._queued:
            self._queue()
        if self._protocol_paused and self.size <= self.low:
            self._resume_protocol()
        if not self.size:
            self._drained()

    def _drained(self) -> None:
        if self._transport._closing:
            if not self._transport._lost:
                self._transport._finish(None)
        elif self._ended:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError as error:
                self._transport._fatal_error(error, "Fatal write error on socket transport")

    def _send_now(self) -> None:
        if not self._in_flight:
            data = self._take()
            try:
                count = self._sock.send(data, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                count = 0
            except OSError as error:
                self._transport._fatal_error(error, "Fatal write error on socket transport")
                return
            self.size -= count
            if count < len(data):
                self._waiting.insert(0, memoryview(data)[count:])
        self._pause_protocol_if_full()

    def _take(self) -> bytes | memoryview:
        """Remove from what waits as much as goes into one send."""
        waiting = self._waiting
        if len(waiting) == 1:
            return waiting.pop()
        size = count = 0
        while count < len(waiting) and size < _JOIN_SIZE:
            size += len(waiting[count])
            count += 1
        data = b"".join(waiting[:count]) if count > 1 else waiting[0]
        del waiting[:count]
        return data

    def _queue(self) -> None:
        self._queued = True
        self._transport._loop._unsent.append(self)

    # Flow control

    def _pause_protocol_if_full(self) -> None:
        if self.size > self.high and not self._protocol_paused:
            self._protocol_paused = True
            self._control_flow("pause_writing")

    def _resume_protocol(self) -> None:
        self._protocol_paused = False
        self._transport._context.run(self._control_flow, "resume_writing")

    def _control_flow(self, name: str) -> None:
        transport = self._transport
        try:
            getattr(transport._protocol, name)()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            transport._report(error, f"protocol.{name}() failed")
