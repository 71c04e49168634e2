"""The sending side of a stream transport.

Rules of this file:
- As long as everything goes well, what is written is sent promptly: by the outbox, with nothing in flight after it.
- What that does not suit (a large write, what the socket refused, what something else has to follow) is sent
  by an operation, of which there is at most one in flight; what is written meanwhile waits for it.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from ..operations.base import CANCELED, TRY_AGAIN, os_error
from ..operations.send import Send
from .outgoing import NOTHING, Outgoing

if TYPE_CHECKING:
    from .file_turn import FileTurn
    from .stream import StreamTransport

_PROMPT_SIZE = 64 * 1024  # bytes; more seldom finds room at once
_COPIED_SIZE = 4 * 1024  # bytes; a write to which this much is prepended is hardly slower
_NO_ERROR = (*TRY_AGAIN, CANCELED)


class Writer(Outgoing, Send):
    """The send of a stream transport, and what waits to be sent."""

    __slots__ = (
        "_ended", "_file", "_in_flight", "_proactor", "_protocol_paused", "_queued", "_transport", "_waiting",
        "data", "fd", "high", "key", "low", "pending", "prompt_limit", "size", "sock", "ticket",
    )  # fmt: skip

    _JOIN_SIZE = 256 * 1024

    def __init__(self, transport: StreamTransport, sock: socket.socket) -> None:
        Send.__init__(self, transport._fd)
        Outgoing.__init__(self, transport)
        self.sock = sock
        self._proactor = transport._proactor
        self.pending = transport._proactor.outbox.pending
        self._in_flight = False
        self._ended = False  # write_eof() was called
        self._file: FileTurn | None = None
        self.prompt_limit = _PROMPT_SIZE
        """How long (bytes) a write may be that is put in the outbox; 0 while none may be."""

    # Prompt sends

    def add_to_pending(self, data: bytes) -> bool:
        """Have the data go with an earlier write of this turn, or return False if they are long."""
        pending = self.pending[self]
        if len(pending) > _COPIED_SIZE or len(pending) + len(data) > self.prompt_limit:
            return False
        self.pending[self] = pending + data
        return True

    def withdraw(self) -> None:
        """Send nothing promptly from now on; what was in the outbox waits for an operation."""
        self.prompt_limit = 0
        pending = self.pending.pop(self, b"")
        if pending:
            self._take_back(pending)

    def refused(self, data: bytes, result: int) -> None:
        """Have an operation send what the outbox could not."""
        if self._transport._lost:
            return
        self.prompt_limit = 0
        if result < 0 and result not in _NO_ERROR:
            self._fail(os_error(result))
        else:
            self._take_back(memoryview(data)[max(result, 0) :])

    def _take_back(self, data: bytes | memoryview) -> None:
        self._put_first(data)
        self.size += len(data)
        if not self._queued:
            self._queue()

    def _be_prompt(self) -> None:
        self.prompt_limit = min(self.high, _PROMPT_SIZE)

    # The transport's side

    def write(self, data: bytes) -> None:
        """Send the data at the end of the turn, by an operation."""
        self.withdraw()
        super().write(data)

    def set_limits(self, high: int | None, low: int | None) -> None:
        """Set the limits of flow control, and that of prompt sends, which may not be higher."""
        super().set_limits(high, low)
        if self.prompt_limit > self.high:
            self.withdraw()

    @property
    def total_size(self) -> int:
        """How many bytes were written and not yet sent."""
        return self.size + len(self.pending.get(self, b""))

    @property
    def ended(self) -> bool:
        """Whether end() was called."""
        return self._ended

    @property
    def refuses(self) -> bool:
        """Whether no write is taken: any more, or for the time of a file."""
        return self._ended or self._file is not None

    @property
    def idle(self) -> bool:
        """Whether everything is sent."""
        return not self.size and self._file is None

    def end(self) -> None:
        """Shut down the sending side when everything is sent."""
        self.withdraw()
        self._ended = True
        if self.idle and not self._queued:
            self.sock.shutdown(socket.SHUT_WR)

    def drop(self) -> None:
        """Forget what was not sent."""
        self.withdraw()
        self._waiting = NOTHING
        self.size = 0
        self._proactor.cancel(self)
        if self._file is not None:
            self._file.interrupt()

    def begin_file(self, turn: FileTurn) -> None:
        """Take no writes until end_file(). Raises RuntimeError if a file is being sent already."""
        if self._file is not None:
            raise RuntimeError("unable to send a file; sendfile is in progress")
        self.withdraw()
        self._file = turn

    def end_file(self) -> None:
        """Take writes again, and do what had to wait for the file."""
        self._file = None
        if not self.size and not self._transport._lost:
            self._drained()

    # The turn's end, and the kernel's side

    def flush(self) -> None:
        """Submit what waits, unless a send is in flight: then it goes when that has completed."""
        self._queued = False
        if self._in_flight:
            return
        if self._waiting:
            self.data = self._take()
            self._in_flight = True
            self._proactor.submit(self)
        elif not self._transport._lost:
            self._sent(b"", 0)  # all went at once: see what follows

    def complete(self, result: int, flags: int) -> None:
        """Account for what was sent and see what follows."""
        self._in_flight = False
        data, self.data = self.data, b""
        if self._transport._lost:
            return
        if result < 0 and result not in _NO_ERROR:
            self._fail(os_error(result))
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
                self.sock.shutdown(socket.SHUT_WR)
            except OSError as error:
                self._fail(error)
        else:
            self._be_prompt()

    def _fail(self, error: OSError) -> None:
        self._transport._fatal_error(error, "Fatal write error on socket transport")

    def _send_now(self) -> None:
        if self._in_flight:
            return
        data = self._take()
        try:
            count = self.sock.send(data, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            count = 0
        except OSError as error:
            self._fail(error)
            return
        self.size -= count
        if count < len(data):
            self._put_first(memoryview(data)[count:])
