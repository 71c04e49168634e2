"""A file written to a transport piece by piece, where the kernel cannot send it: by TLS, or from no real file."""

from __future__ import annotations

import asyncio
from typing import Any


class FileFeeder(asyncio.Protocol):
    """Takes the protocol's place while a file is written, to learn when the transport has enough.

    The protocol goes on to be told of flow control and of the end. Nothing is received meanwhile.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: Any) -> None:
        """Take the protocol's place until `leave()`."""
        self._loop = loop
        self._transport = transport
        self._protocol: Any = transport.get_protocol()
        self._was_reading = transport.is_reading()
        self._room: asyncio.Future[None] | None = None
        transport.pause_reading()
        transport.set_protocol(self)

    def leave(self) -> None:
        """Give the protocol its place again."""
        self._transport.set_protocol(self._protocol)
        if self._was_reading:
            self._transport.resume_reading()

    async def write(self, data: memoryview) -> None:
        """Write a piece when the transport wants more. Raises ConnectionError if it is closed."""
        transport = self._transport
        # Above the high-water mark the transport has paused the protocol, whichever it was, and will resume it.
        if transport.get_write_buffer_size() > transport.get_write_buffer_limits()[1]:
            self._room = self._loop.create_future()
            await self._room
        if transport.is_closing():
            raise ConnectionError("Connection closed by peer")
        transport.write(bytes(data))

    def pause_writing(self) -> None:
        """Pass it on."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Go on."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Go on, to fail, and pass it on."""
        if self._room is not None and not self._room.done():
            self._room.set_exception(exc or ConnectionError("Connection is closed by peer"))
        self._protocol.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Complain: reading is paused."""
        raise RuntimeError("Invalid state: reading should be paused")

    def eof_received(self) -> None:
        """Complain: reading is paused."""
        raise RuntimeError("Invalid state: reading should be paused")
