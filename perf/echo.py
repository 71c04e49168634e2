"""The echo servers that are measured, each written as a user of asyncio would."""

import asyncio
import socket
import ssl
import sys
from collections.abc import Callable
from typing import cast

READ_SIZE = 64 * 1024
"""Bytes that one read asks for where the user says."""

BACKLOG = 1024
"""Connections that may wait to be accepted."""


async def for_ever() -> None:
    """Wait while servers serve; rloop 0.5 stops listening when told to serve_forever()."""
    await asyncio.Event().wait()


class Echo(asyncio.Protocol):
    """Sends back what it receives."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    """Sends back what it receives into a buffer of its own."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(READ_SIZE))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        # A copy: the transport may hold on to what it could not send at once,
        # and the buffer is filled again before that.
        self.transport.write(bytes(self.buffer[:nbytes]))


async def serve_factory(
    protocol: Callable[[], asyncio.BaseProtocol], listener: socket.socket, context: ssl.SSLContext | None
) -> None:
    """Serve the listener's connections by protocols."""
    loop = asyncio.get_running_loop()
    if listener.family == socket.AF_UNIX:
        await loop.create_unix_server(protocol, sock=listener, backlog=BACKLOG)
    else:
        await loop.create_server(protocol, sock=listener, ssl=context, backlog=BACKLOG)
    await for_ever()


async def serve_protocol(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    """Serve by an asyncio.Protocol."""
    await serve_factory(Echo, listener, context)


async def serve_buffered(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    """Serve by an asyncio.BufferedProtocol."""
    await serve_factory(BufferedEcho, listener, context)


async def echo_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what the reader gives until it ends."""
    while data := await reader.read(READ_SIZE):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def serve_streams(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    """Serve by a stream reader and writer."""
    if listener.family == socket.AF_UNIX:
        await asyncio.start_unix_server(echo_stream, sock=listener, backlog=BACKLOG)
    else:
        await asyncio.start_server(echo_stream, sock=listener, ssl=context, backlog=BACKLOG)
    await for_ever()


async def echo_sock(connection: socket.socket) -> None:
    """Send back what the socket receives until it ends."""
    loop = asyncio.get_running_loop()
    with connection:
        while data := await loop.sock_recv(connection, READ_SIZE):
            await loop.sock_sendall(connection, data)


async def serve_sock(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    """Serve by the loop's socket methods, one task per connection; they know no encryption."""
    assert context is None
    loop = asyncio.get_running_loop()
    listener.setblocking(False)
    async with asyncio.TaskGroup() as tasks:
        while True:
            connection, _ = await loop.sock_accept(listener)
            tasks.create_task(echo_sock(connection))


class DatagramEcho(asyncio.DatagramProtocol):
    """Sends back each datagram to where it came from."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data, addr)

    def error_received(self, exc: Exception) -> None:
        print(f"error_received: {exc!r}", file=sys.stderr, flush=True)


async def serve_datagrams() -> None:
    """Serve by an asyncio.DatagramProtocol on a free port, and print that."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(DatagramEcho, ("127.0.0.1", 0))
    print(transport.get_extra_info("sockname")[1], flush=True)
    await for_ever()
