"""Ends that use streams."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from chaos.end import End


class StreamEnd(End):
    """Reads with and without a time limit, which loses nothing."""

    _writer: asyncio.StreamWriter | None = None
    _reader: asyncio.StreamReader

    async def attach(self, sock: socket.socket, **tls: Any) -> None:
        if tls and "server_hostname" not in tls:
            reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = await self.loop.connect_accepted_socket(lambda: protocol, sock, **tls)
            self._take(reader, asyncio.StreamWriter(transport, protocol, reader, self.loop))
        else:
            self._take(*await asyncio.open_connection(sock=sock, **tls))

    async def accept(self, listener: socket.socket, **tls: Any) -> None:
        connected = asyncio.Event()

        def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._take(reader, writer)
            connected.set()

        server = await asyncio.start_server(take, sock=listener, **tls)
        try:
            await connected.wait()
        finally:
            server.close()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._sock = writer.get_extra_info("socket")
        self.may_eof = writer.can_write_eof()

    async def send(self) -> None:
        assert self._writer is not None
        while self.outgoing.unsent:
            self.check_fault()
            self._writer.write(self.outgoing.send(self.size()))
            if self.outgoing.unsent and self.random.random() < 0.8:
                await self._writer.drain()
            await self.rest()
        if self.may_eof:
            await self._writer.drain()
            self._writer.write_eof()  # without it, the other end may have closed by now, since it has everything

    async def receive(self) -> None:
        while self.may_eof or self.incoming.received < self.incoming.total:
            self.check_fault()
            limit = self.random.uniform(0, 0.002) if self.random.random() < 0.5 else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    data = await self._reader.read(self.size())
                    if not data:
                        break
                    self.incoming.arrived(data)
            await self.rest()
        if self.incoming.received < self.incoming.total:
            raise EOFError("the stream ended early")

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            await asyncio.shield(self._writer.wait_closed())  # a cancel would make it useless for abort()

    async def abort(self) -> None:
        # asyncio's transports fail when they are asked for anything after their end
        if self._writer is not None and self._sock.fileno() != -1:
            self._writer.transport.abort()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    def socket_option(self, level: int, option: int, value: int | bytes) -> None:
        self._sock.setsockopt(level, option, value)
