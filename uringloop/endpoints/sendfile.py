"""Files sent through sockets and transports."""

from __future__ import annotations

import asyncio
import errno
import functools
import io
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import IO, Any

from ..borrowed import SendfileMode
from ..operations.poll import WRITABLE
from ..sockets import Sockets
from ..transports.file_feeder import FileFeeder
from ..transports.file_turn import FileTurn

_PIECE_SIZE = 256 * 1024  # bytes read at a time where the kernel cannot send the file
_LARGEST_SEND = sys.maxsize // 2 + 1  # bytes; what a system call can be asked for on a 32-bit machine, too


class Sendfile(Sockets):
    """The file sending API of the event loop."""

    async def sock_sendfile(  # type: ignore[override]
        self,
        sock: socket.socket,
        file: IO[bytes],
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool = True,
    ) -> int:
        """Send `count` bytes of the file (None: all), from the offset on; return how many were sent.

        In the end, by an error too, the file's position is after the last byte that was sent. Where the kernel
        cannot send the file by itself it is read and sent, or, with `fallback` false, SendfileNotAvailableError is
        raised.
        """
        fd = self._check_socket(sock)
        if sock.type != socket.SOCK_STREAM:
            raise ValueError("only SOCK_STREAM type sockets are supported")
        _check_part(file, offset, count)
        try:
            until_room = functools.partial(self._wait_for, fd, WRITABLE)
            return await _send_by_kernel(sock, file, offset, count, until_room)
        except asyncio.SendfileNotAvailableError:
            if not fallback:
                raise
        return await self._send_pieces(file, offset, count, functools.partial(self.sock_sendall, sock))

    async def sendfile(
        self,
        transport: asyncio.WriteTransport,
        file: IO[bytes],
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool = True,
    ) -> int:
        """Send `count` bytes of the file (None: all), from the offset on; return how many were sent.

        As sock_sendfile(), but TLS always needs the fallback: without it, RuntimeError is raised. Nothing can be
        written to the transport meanwhile, and its protocol receives nothing.
        """
        if transport.is_closing():
            raise RuntimeError("Transport is closing")
        mode = getattr(transport, "_sendfile_compatible", SendfileMode.UNSUPPORTED)
        if mode is SendfileMode.UNSUPPORTED:
            raise RuntimeError(f"sendfile is not supported for transport {transport!r}")
        _check_part(file, offset, count)
        if mode is SendfileMode.TRY_NATIVE:
            try:
                return await self._sendfile_native(transport, file, offset, count)
            except asyncio.SendfileNotAvailableError:
                if not fallback:
                    raise
        if not fallback:
            raise RuntimeError(
                f"fallback is disabled and native sendfile is not supported for transport {transport!r}"
            )
        feeder = FileFeeder(self, transport)
        try:
            return await self._send_pieces(file, offset, count, feeder.write)
        finally:
            feeder.leave()

    async def _sendfile_native(self, transport: Any, file: IO[bytes], offset: int, count: int | None) -> int:
        turn = FileTurn(transport)
        was_reading = transport.is_reading()
        transport.pause_reading()
        try:
            await turn.until_drained()
            return await _send_by_kernel(transport._sock, file, offset, count, turn.until_room)
        finally:
            turn.end()
            if was_reading:
                transport.resume_reading()

    async def _send_pieces(
        self, file: IO[bytes], offset: int, count: int | None, send: Callable[[memoryview], Awaitable[None]]
    ) -> int:
        """Read the file in the executor and send it."""
        if offset:
            file.seek(offset)
        buffer = memoryview(bytearray(min(count or _PIECE_SIZE, _PIECE_SIZE)))
        total = 0
        try:
            while not count or total < count:
                piece = buffer[: count - total] if count else buffer
                size = await self.run_in_executor(None, file.readinto, piece)  # type: ignore[attr-defined]
                if not size:
                    break
                await send(piece[:size])
                total += size
        finally:
            if total and hasattr(file, "seek"):
                file.seek(offset + total)
        return total


async def _send_by_kernel(
    sock: socket.socket,
    file: IO[bytes],
    offset: int,
    count: int | None,
    until_room: Callable[[], Awaitable[None]],
) -> int:
    """Send the file by sendfile(2), a part whenever the socket has room.

    Raises SendfileNotAvailableError if the first part cannot be sent so.
    """
    file_fd, file_size = _regular(file)
    total = 0
    ready = True
    try:
        while (size := min(count - total if count else file_size, _LARGEST_SEND)) > 0:
            if not ready:
                await until_room()
            ready = False
            try:
                sent = os.sendfile(sock.fileno(), file_fd, offset + total, size)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as error:
                if not total:
                    raise asyncio.SendfileNotAvailableError("os.sendfile call failed") from error
                if error.errno == errno.ENOTCONN:
                    raise ConnectionError("socket is not connected", errno.ENOTCONN) from error
                raise
            if not sent:  # the end, though the size may have been another
                break
            total += sent
    finally:
        if total:
            os.lseek(file_fd, offset + total, os.SEEK_SET)
    return total


def _regular(file: IO[bytes]) -> tuple[int, int]:
    """Return the file's descriptor and its size in bytes."""
    try:
        fd = file.fileno()
        return fd, os.fstat(fd).st_size
    except (AttributeError, io.UnsupportedOperation, OSError):
        raise asyncio.SendfileNotAvailableError("not a regular file") from None


def _check_part(file: Any, offset: Any, count: Any) -> None:
    """Raise ValueError or TypeError for what is no part of a file."""
    if "b" not in getattr(file, "mode", "b"):
        raise ValueError("file should be opened in binary mode")
    if count is not None:
        message = f"count must be a positive integer (got {count!r})"
        if not isinstance(count, int):
            raise TypeError(message)
        if count <= 0:
            raise ValueError(message)
    message = f"offset must be a non-negative integer (got {offset!r})"
    if not isinstance(offset, int):
        raise TypeError(message)
    if offset < 0:
        raise ValueError(message)
