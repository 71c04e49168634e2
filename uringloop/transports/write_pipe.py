"""The transport that writes to a pipe.

Rules of this file:
- Data goes by a system call, since a pipe takes it at once or is full. Only the wait for room is an operation.
- What is written while the loop does not run goes at once: there is no turn whose end would send it.
"""

from __future__ import annotations

import asyncio
import os
import select
from typing import TYPE_CHECKING, Any

from ..operations.poll import WRITABLE, Poll
from ..reporting import logger
from .outgoing import NOTHING, Outgoing, snapshot
from .pipe import PipeTransport
from .writing import WritingTransport

if TYPE_CHECKING:
    from ..watchers import Watchers

# When its reader is gone a pipe has POLLERR, which a poll always answers with; a socket has this.
_READER_GONE = select.POLLRDHUP


class PipeWriter(Outgoing):
    """What waits to be written to a pipe."""

    _JOIN_SIZE = 64 * 1024  # what a pipe holds, unless told otherwise

    def __init__(self, transport: WritePipeTransport, fd: int) -> None:
        super().__init__(transport)
        self._fd = fd
        self._wait: Poll | None = None  # for room

    def write(self, data: bytes) -> None:
        """Write the data at the end of the turn, or at once if there is none."""
        super().write(data)
        if not self._transport._loop.is_running():
            self._send_now()

    def flush(self) -> None:
        """Write what waits, unless there is no room yet."""
        self._queued = False
        self._send_now()

    def drop(self) -> None:
        """Forget what was not written."""
        self._waiting = NOTHING
        self.size = 0
        self._end_wait()

    def _send_now(self) -> None:
        if self._wait is None:
            self._write()
            if self._waiting and self._wait is None:
                self._wait = Poll(self._transport._proactor, self._fd, WRITABLE, self._room)
                self._wait.start()

    def _room(self) -> None:
        self._write()
        if not self._waiting:
            self._end_wait()

    def _write(self) -> None:
        """Write until nothing waits or there is no room."""
        while self._waiting:
            data = self._take()
            try:
                count = os.write(self._fd, data)
            except (BlockingIOError, InterruptedError):
                count = 0
            except OSError as error:
                self._transport._fatal_error(error, "Fatal write error on pipe transport")
                return
            self._sent(data, count)
            if count < len(data):
                return

    def _end_wait(self) -> None:
        wait, self._wait = self._wait, None
        if wait is not None:
            wait.stop()

    def _drained(self) -> None:
        if self._transport._closing and not self._transport._lost:
            self._transport._finish(None)


class WritePipeTransport(PipeTransport, WritingTransport, asyncio.Transport):
    """A pipe that is written to; see the Python documentation of asyncio.WriteTransport."""

    _COMPLAINT = "Pipe transport is only for pipes, sockets and character devices"
    _LOST_WRITE = "pipe closed by peer or os.write(pipe, data) raised exception."

    def __init__(
        self, loop: Watchers, pipe: Any, protocol: asyncio.BaseProtocol, waiter: asyncio.Future[None] | None = None
    ) -> None:
        """`waiter` is set when the protocol has been told of the connection."""
        super().__init__(loop, pipe, protocol)
        self._writer = PipeWriter(self, self._fd)
        self._watch = Poll(self._proactor, self._fd, _READER_GONE, self._reader_has_gone)
        self._begin(self._start_watch, waiter)

    def write(self, data: Any) -> None:
        """Write the data. It may be changed afterwards; what the pipe does not take waits in a buffer.

        Raises TypeError for anything but bytes, a bytearray or a memoryview.
        """
        if type(data) is not bytes:
            data = snapshot(data)
        if self._closing:
            self._ignore_write()
        elif data:
            self._writer.write(data)

    def write_eof(self) -> None:
        """Close when what was written is in the pipe: there is no other way to say that it is over."""
        self.close()

    def close(self) -> None:
        """Close when what was written is in the pipe."""
        if self._closing:
            return
        self._closing = True
        if not self._writer.size:
            self._finish(None)

    def _start_watch(self) -> None:
        # Not for devices: the other side of a terminal may be closed now and be opened again.
        if not self._lost and not self._is_device:
            self._watch.start()

    def _reader_has_gone(self) -> None:
        if self._loop.get_debug():
            logger.info("%r was closed by peer", self)
        self._force_close(BrokenPipeError() if self._writer.size else None)

    def _release_operations(self) -> None:
        self._writer.drop()

    def _finish(self, error: BaseException | None) -> None:
        self._watch.stop()
        super()._finish(error)

    def _close_file(self) -> None:
        super()._close_file()
        del self._watch, self._writer._transport  # reference cycles, with all that the protocol holds
