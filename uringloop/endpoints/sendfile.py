"""Files sent through sockets and transports."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Awaitable, Callable
from typing import IO, Any

from ..borrowed import SendfileMode
from ..sockets import Sockets
from ..transports.file_feeder import FileFeeder
from ..transports.file_send import FileSend
from ..transports.file_turn import FileTurn

_PIECE_SIZE = 256 * 1024  # bytes read at a time where the kernel cannot send the file


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
        raised. Raises ValueError for a file in text mode.
        """
        self._check_socket(sock)
        if sock.type != socket.SOCK_STREAM:
            raise ValueError("only SOCK_STREAM type sockets are supported")
        _check_part(file, offset, count)
        try:
            return await FileSend(self, sock, file, offset, count).run()
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

        As sock_sendfile(), but TLS always needs the fallback: without it, RuntimeError is raised, as it is for a
        transport that is closing. ConnectionError is raised if the connection ends. Nothing can be written to the
        transport meanwhile, and its protocol receives nothing.
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
            return await turn.send(file, offset, count)
        finally:
            turn.end()
            if was_reading:
                transport.resume_reading()

    async def _send_pieces(
        self, file: IO[bytes], offset: int, count: int | None, send: Callable[[memoryview], Awaitable[None]]
    ) -> int:
        """Read the file in the executor and send it."""
        if offset or _has_position(file):
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


def _has_position(file: Any) -> bool:
    """Tell whether the file has a position, as a pipe has not, and an object that can only be read from."""
    return hasattr(file, "seekable") and bool(file.seekable())


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
