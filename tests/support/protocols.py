"""Protocols that record what a transport calls them with."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from support.checks import until
from support.sockets import SocketMaker


class _Base(asyncio.BaseProtocol):
    transport: asyncio.Transport

    def __init__(self, keep_open: bool = False) -> None:
        self.calls: list[str] = []  # consecutive deliveries of data count as one
        self.data = bytearray()
        self.error: BaseException | None = None
        self.keep_open = keep_open
        self.lost = asyncio.Event()

    def note(self, call: str) -> None:
        if call != "data" or self.calls[-1:] != ["data"]:
            self.calls.append(call)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.note("made")

    def eof_received(self) -> bool:
        self.note("eof")
        return self.keep_open

    def connection_lost(self, exc: BaseException | None) -> None:
        self.note("lost")
        self.error = exc
        self.lost.set()

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")

    async def receives(self, count: int) -> bytes:
        """Wait until so many bytes have come; return all that came."""
        await until(lambda: len(self.data) >= count)
        return bytes(self.data)

    async def ends(self) -> None:
        """Wait until the connection is lost."""
        await until(self.lost.is_set)


class Recorder(_Base, asyncio.Protocol):
    """Records calls and data."""

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        self.data += data
        self.note("data")


class BufferedRecorder(_Base, asyncio.BufferedProtocol):
    """The same, receiving into a buffer of its own."""

    def __init__(self, size: int = 4096, keep_open: bool = False) -> None:
        super().__init__(keep_open)
        self.buffer = bytearray(size)

    def get_buffer(self, sizehint: int) -> bytearray:
        assert isinstance(sizehint, int)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        assert 0 < nbytes <= len(self.buffer)
        self.data += self.buffer[:nbytes]
        self.note("data")


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@dataclass
class Link:
    """A transport with its protocol and its socket, and the plain socket at the other end."""

    transport: asyncio.Transport
    protocol: Any
    sock: socket.socket
    peer: socket.socket


@contextlib.asynccontextmanager
async def linked(sockets: SocketMaker, protocol: Any = None, stream: str = "tcp") -> AsyncIterator[Link]:
    """Connect a protocol, a `Recorder` unless told, to a plain socket."""
    loop = asyncio.get_running_loop()
    ours, peer = sockets.pair(stream)
    protocol = protocol or Recorder()
    transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
    try:
        yield Link(transport, protocol, ours, peer)
    finally:
        await dropped(transport)


async def dropped(transport: asyncio.BaseTransport) -> None:
    """Abort the transport if need be and wait until its socket is closed."""
    if transport.get_extra_info("socket").fileno() != -1:
        transport.abort()  # type: ignore[attr-defined]
        await closed(transport)


async def closed(transport: asyncio.BaseTransport) -> None:
    """Wait until the transport has closed its socket."""
    sock = transport.get_extra_info("socket")
    await until(lambda: sock.fileno() == -1)
