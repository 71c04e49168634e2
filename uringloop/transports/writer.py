"""The sending side of a stream transport.

Rule of this file: at most one send is in flight; what is written meanwhile waits for it.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from ..operations.base import os_error
from ..operations.send import Send
from .outgoing import Outgoing

if TYPE_CHECKING:
    from .file_turn import FileTurn
    from .stream import StreamTransport

_JOIN_SIZE = 256 * 1024  # bytes
_TRY_AGAIN = (-errno.EAGAIN, -errno.EINTR, -errno.ENOBUFS, -errno.ECANCELED)


class Writer(Outgoing, Send):
    """The send of a stream transport, and what waits to be sent."""

    def __init__(self, transport: StreamTransport, sock: socket.socket) -> None:
        Send.__init__(self, sock.fileno())
        Outgoing.__init__(self, transport, _JOIN_SIZE)
        self._sock = sock
        self._submit = transport._proactor.submit
        self._in_flight = False
        self._ended = False  # write_eof() was called
        self._file: FileTurn | None = None
        self.refuses = False  # no write is taken any more, or for the time of a file
        self.must_follow_up = False  # something is to be done when everything is sent

    # The transport's side

    @property
    def ended(self) -> bool:
        """Whether end() was called."""
        return self._ended

    @property
    def idle(self) -> bool:
        """Whether everything is sent."""
        return not self.size and self._file is None

    def end(self) -> None:
        """Shut down the sending side when everything is sent."""
        self._ended = True
        self.refuses = True
        self.must_follow_up = True
        if self.idle and not self._queued:
            self._sock.shutdown(socket.SHUT_WR)

    def drop(self) -> None:
        """Forget what was not sent."""
        self._waiting.clear()
        self.size = 0
        self._transport._proactor.cancel(self)
        if self._file is not None:
            self._file.interrupt()

    def begin_file(self, turn: FileTurn) -> None:
        """Take no writes until end_file(). Raises RuntimeError if a file is being sent already."""
        if self._file is not None:
            raise RuntimeError("unable to send a file; sendfile is in progress")
        self._file = turn
        self.refuses = True
        self.must_follow_up = True

    def end_file(self) -> None:
        """Take writes again, and do what had to wait for the file."""
        self._file = None
        self.refuses = self._ended
        self.must_follow_up = self._ended or self._transport._closing
        if not self.size and not self._transport._lost:
            self._drained()

    # The turn's end, and the kernel's side

    def flush(self) -> None:
        """Submit what waits, unless a send is in flight: then it goes when that has completed."""
        self._queued = False
        if self._in_flight:
            return
        waiting = self._waiting
        if waiting:
            self.data = waiting.pop() if len(waiting) == 1 else self._take()
            self._in_flight = True
            self._submit(self)
        elif not self._transport._lost:
            self._sent(b"", 0)  # all went at once: see what follows

    def complete(self, result: int, flags: int) -> None:
        """Account for what was sent and see what follows."""
        self._in_flight = False
        data, self.data = self.data, b""
        if result == self.size and not self._protocol_paused:  # all is sent: what _sent() does, without the call
            self.size = 0
            if self.must_follow_up:
                self._drained()
            return
        if self._transport._lost:
            return
        if result < 0 and result not in _TRY_AGAIN:
            self._transport._fatal_error(os_error(result), "Fatal write error on socket transport")
            return
        self._sent(data, max(result, 0))
        if self._waiting and not self._queued:
            self._queue()

    def _drained(self) -> None:
        if self._file is not None:
            self._file.drained()
        elif self._transport._closing:
            if not self._transport._lost:
                self._transport._finish(None)
        elif self._ended:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError as error:
                self._transport._fatal_error(error, "Fatal write error on socket transport")

    def _send_now(self) -> None:
        if self._in_flight:
            return
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
