"""A file sent to a socket by the kernel, from its own memory of the file: sendfile(2)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import socket
import sys
from typing import IO, TYPE_CHECKING

from ..operations.poll import WRITABLE, Poll

if TYPE_CHECKING:
    from ..watchers import Watchers

_LARGEST_PART = sys.maxsize // 2 + 1  # bytes; what a system call can be asked for on a 32-bit machine, too


class FileSend:
    """Sends a part of the file in each turn in which the socket has room."""

    def __init__(
        self, loop: Watchers, sock: socket.socket, file: IO[bytes], offset: int, count: int | None
    ) -> None:
        """Prepare to send `count` bytes (None: all) from the offset on.

        Raises SendfileNotAvailableError for what is no file of the operating system's.
        """
        try:
            self._file_fd = file.fileno()
            self._size = os.fstat(self._file_fd).st_size
        except (AttributeError, io.UnsupportedOperation, OSError):
            raise asyncio.SendfileNotAvailableError("not a regular file") from None
        self._sock = sock
        self._offset = offset
        self._count = count
        self._total = 0
        self._finished: asyncio.Future[None] = loop.create_future()
        self._poll = Poll(loop._proactor, sock.fileno(), WRITABLE, self._send_part)

    async def run(self) -> int:
        """Send; return how many bytes were sent. In any case the file's position is then behind them.

        Raises SendfileNotAvailableError if the kernel refuses the first part, and OSError if it fails later.
        """
        if not self._count and not self._size:
            return 0
        try:
            self._send_part()
            if not self._finished.done():
                self._poll.start()
            await self._finished
        finally:
            self._poll.stop()
            with contextlib.suppress(OSError):  # a pipe has no position
                os.lseek(self._file_fd, self._offset + self._total, os.SEEK_SET)
        return self._total

    def interrupt(self, error: OSError) -> None:
        """Make run() raise the error; on return the kernel does not hold the socket for it."""
        self._poll.stop()
        if not self._finished.done():
            self._finished.set_exception(error)

    def _send_part(self) -> None:
        if self._finished.done():  # cancelled, and run() has not gone on yet
            return
        size = self._count - self._total if self._count else self._size
        try:
            sent = os.sendfile(
                self._sock.fileno(), self._file_fd, self._offset + self._total, min(size, _LARGEST_PART)
            )
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._finished.set_exception(self._failure(error))
            return
        self._total += sent
        if not sent or self._total == self._count:  # the end may be elsewhere than it was
            self._finished.set_result(None)

    def _failure(self, error: OSError) -> Exception:
        """Return what is to be raised for an error."""
        failure: Exception
        if not self._total:
            failure = asyncio.SendfileNotAvailableError("os.sendfile call failed")
        elif error.errno == errno.ENOTCONN:
            failure = ConnectionError("socket is not connected", errno.ENOTCONN)
        else:
            return error
        failure.__cause__ = error
        return failure
