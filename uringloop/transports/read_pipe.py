"""The transport that reads a pipe.

It waits by a poll and reads by a system call. A read operation would save that call; measured, it saves nothing. A
pause would have to cancel it and could find bytes in it; and for which devices it waits, and for which it answers
EAGAIN, differs from kernel to kernel.
"""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Any

from ..operations.poll import READABLE, Poll
from ..reporting import logger
from .pipe import PipeTransport

if TYPE_CHECKING:
    from ..watchers import Watchers

# Bytes read at a time: what a pipe holds, unless told otherwise. A larger read costs more than it brings, because
# the memory for it is mapped and unmapped each time.
_READ_SIZE = 64 * 1024


class ReadPipeTransport(PipeTransport, asyncio.ReadTransport):
    """A pipe that is read; see the Python documentation of asyncio.ReadTransport."""

    _COMPLAINT = "Pipe transport is for pipes/sockets only."

    def __init__(
        self, loop: Watchers, pipe: Any, protocol: asyncio.BaseProtocol, waiter: asyncio.Future[None] | None = None
    ) -> None:
        """`waiter` is set when the protocol has been told of the connection."""
        super().__init__(loop, pipe, protocol)
        self._paused = False
        self._poll: Poll | None = None
        self._begin(self._start, waiter)

    def is_reading(self) -> bool:
        """Tell whether the protocol is given what arrives."""
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        """Give the protocol nothing until resume_reading(); what arrives meanwhile stays in the pipe."""
        if self.is_reading():
            self._paused = True
            self._stop()
            self._log("%r pauses reading")

    def resume_reading(self) -> None:
        """Give the protocol what arrives again."""
        if not self._closing and self._paused:
            self._paused = False
            self._start()
            self._log("%r resumes reading")

    def close(self) -> None:
        """Close the pipe. The protocol gets nothing more but connection_lost()."""
        self._force_close(None)

    def _start(self) -> None:
        if self.is_reading() and self._poll is None:
            self._poll = Poll(self._proactor, self._fd, READABLE, self._read)
            self._poll.start()

    def _stop(self) -> None:
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.stop()

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._fatal_error(error, "Fatal read error on pipe transport")
            return
        if data:
            self._deliver(data)
        else:
            self._end()

    def _deliver(self, data: bytes) -> None:
        try:
            self._context.run(self._protocol.data_received, data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # it costs the protocol this data, and not the pipe, as with asyncio
            self._report(error, "Error: protocol.data_received() call failed.")

    def _end(self) -> None:
        if self._loop.get_debug():
            logger.info("%r was closed by peer", self)
        self._closing = True
        self._stop()
        self._run_protocol("eof_received")
        self._force_close(None)

    def _fatal_error(self, error: BaseException, message: str) -> None:
        if isinstance(error, OSError) and error.errno != errno.EIO:  # EIO is the end of a terminal
            self._report(error, message)
            self._force_close(error)
        else:
            super()._fatal_error(error, message)

    def _release_operations(self) -> None:
        self._stop()
