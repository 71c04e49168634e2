"""The time in which a stream transport sends a file, straight from the kernel's memory of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..operations.poll import WRITABLE, Poll

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
        self._waiter: asyncio.Future[None] | None = None
        self._poll: Poll | None = None
        transport._writer.begin_file(self)

    async def until_drained(self) -> None:
        """Wait until what was written before is sent."""
        if self._transport._writer.size:
            await self._wait()

    async def until_room(self) -> None:
        """Wait until the socket takes more."""
        self._poll = Poll(self._transport._proactor, self._transport._fd, WRITABLE, self.wake)
        self._poll.start()
        try:
            await self._wait()
        finally:
            self._stop_poll()

    def end(self) -> None:
        """Let the transport go on."""
        self._transport._writer.end_file()

    def wake(self) -> None:
        """Let go on who waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def interrupt(self) -> None:
        """End the turn early: on return the kernel does not hold the socket for it."""
        self._stop_poll()
        self.wake()

    async def _wait(self) -> None:
        self._waiter = self._transport._loop.create_future()
        await self._waiter
        if self._transport._lost:
            raise ConnectionError("Connection was closed while a file was sent")

    def _stop_poll(self) -> None:
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.stop()
