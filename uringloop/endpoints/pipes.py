"""Pipes: those that somebody else has opened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..reporting import logger
from ..sockets import Sockets
from ..transports.read_pipe import ReadPipeTransport
from ..transports.write_pipe import WritePipeTransport

ProtocolFactory = Callable[[], asyncio.BaseProtocol]


class Pipes(Sockets):
    """The pipe API of the event loop."""

    async def connect_read_pipe(  # type: ignore[override]
        self, protocol_factory: ProtocolFactory, pipe: Any
    ) -> tuple[ReadPipeTransport, asyncio.BaseProtocol]:
        """Give a protocol what comes from the pipe, a file object; see the Python documentation.

        The transport owns the pipe from now on and closes it. Raises ValueError for a file that is neither a pipe
        nor a socket nor a character device.
        """
        protocol = protocol_factory()
        waiter = self.create_future()
        transport = ReadPipeTransport(self, pipe, protocol, waiter)
        await self._until_connected(transport, waiter)
        if self._debug:
            logger.debug("Read pipe connected: (%r, %r)", transport, protocol)
        return transport, protocol

    async def connect_write_pipe(  # type: ignore[override]
        self, protocol_factory: ProtocolFactory, pipe: Any
    ) -> tuple[WritePipeTransport, asyncio.BaseProtocol]:
        """Write to the pipe, a file object, what a protocol has to write; otherwise as connect_read_pipe()."""
        protocol = protocol_factory()
        waiter = self.create_future()
        transport = WritePipeTransport(self, pipe, protocol, waiter)
        await self._until_connected(transport, waiter)
        if self._debug:
            logger.debug("Write pipe connected: (%r, %r)", transport, protocol)
        return transport, protocol

    async def _until_connected(
        self, transport: ReadPipeTransport | WritePipeTransport, waiter: asyncio.Future[None]
    ) -> None:
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
