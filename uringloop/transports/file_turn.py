"""The time in which a stream transport sends a file."""

from __future__ import annotations

import asyncio
from typing import IO, TYPE_CHECKING

from .file_send import FileSend

if TYPE_CHECKING:
    from .stream import StreamTransport


class FileTurn:
    """A file's turn at the connection: writes are refused until `end()`.

    What was written before goes first, and a transport that is closed meanwhile stays open until the end. Only an
    abort, or an error of the connection, ends the turn early: whoever waits then gets a ConnectionError.
    """

    def __init__(self, transport: StreamTransport) -> None:
        """Begin the turn. Raises RuntimeError if it is another file's."""
        self._transport = transport
        self._drained: asyncio.Future[None] | None = None
        self._send: FileSend | None = None
        transport._writer.begin_file(self)

    async def send(self, file: IO[bytes], offset: int, count: int | None) -> int:
        """Send from the file what FileSend does, when its turn has come."""
        loop = self._transport._loop
        send = FileSend(loop, self._transport._sock, file, offset, count)
        if self._transport._writer.size:
            self._drained = loop.create_future()
            await self._drained
        self._send = send
        return await send.run()

    def end(self) -> None:
        """Let the transport go on."""
        self._transport._writer.end_file()

    def drained(self) -> None:
        """Take note that what was written before is sent."""
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def interrupt(self) -> None:
        """End the turn early: on return the kernel does not hold the socket for it."""
        error = ConnectionError("Connection was closed while a file was sent")
        if self._send is not None:
            self._send.interrupt(error)
        elif self._drained is not None and not self._drained.done():
            self._drained.set_exception(error)
