"""The servers that are measured, each written as a user of asyncio would.

``python -m perf.servers --loop NAME --kind KIND`` serves on a free port of
127.0.0.1, or on a Unix path, prints the port or the path once clients can
connect, and runs until it is killed.
"""

import argparse
import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

from perf import loops

READ_SIZE = 64 * 1024
"""Bytes that one read asks for where the user says."""

BACKLOG = 1024
"""Connections that may wait to be accepted."""

GREETING = "Hello, World!"
"""What the HTTP servers answer."""


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


async def serve_factory(listener: socket.socket, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
    """Serve the listener's connections by protocols."""
    loop = asyncio.get_running_loop()
    server: asyncio.AbstractServer
    if listener.family == socket.AF_UNIX:
        server = await loop.create_unix_server(protocol, sock=listener, backlog=BACKLOG)
    else:
        server = await loop.create_server(protocol, sock=listener, backlog=BACKLOG)
    await server.serve_forever()


async def serve_protocol(listener: socket.socket) -> None:
    """Serve by an asyncio.Protocol."""
    await serve_factory(listener, Echo)


async def serve_buffered(listener: socket.socket) -> None:
    """Serve by an asyncio.BufferedProtocol."""
    await serve_factory(listener, BufferedEcho)


async def echo_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what the reader gives until it ends."""
    while data := await reader.read(READ_SIZE):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def serve_streams(listener: socket.socket) -> None:
    """Serve by a stream reader and writer."""
    start = asyncio.start_unix_server if listener.family == socket.AF_UNIX else asyncio.start_server
    server = await start(echo_stream, sock=listener, backlog=BACKLOG)
    await server.serve_forever()


async def echo_sock(connection: socket.socket) -> None:
    """Send back what the socket receives until it ends."""
    loop = asyncio.get_running_loop()
    with connection:
        while data := await loop.sock_recv(connection, READ_SIZE):
            await loop.sock_sendall(connection, data)


async def serve_sock(listener: socket.socket) -> None:
    """Serve by the loop's socket methods, one task per connection."""
    loop = asyncio.get_running_loop()
    listener.setblocking(False)
    async with asyncio.TaskGroup() as tasks:
        while True:
            connection, _ = await loop.sock_accept(listener)
            tasks.create_task(echo_sock(connection))


async def greet(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer an ASGI request with the greeting."""
    body = GREETING.encode()
    headers = [
        (b"content-type", b"text/plain"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def serve_uvicorn(listener: socket.socket) -> None:
    """Serve the greeting by uvicorn and httptools."""
    import uvicorn  # noqa: PLC0415  # the other servers do without it

    config = uvicorn.Config(
        greet,
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
    await uvicorn.Server(config).serve(sockets=[listener])


async def serve_aiohttp(listener: socket.socket) -> None:
    """Serve the greeting by aiohttp."""
    from aiohttp import web  # noqa: PLC0415  # the other servers do without it

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=GREETING)

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=BACKLOG).start()
    await asyncio.Event().wait()


KINDS: dict[str, Callable[[socket.socket], Awaitable[None]]] = {
    "protocol": serve_protocol,
    "buffered": serve_buffered,
    "streams": serve_streams,
    "sock": serve_sock,
    "http-uvicorn": serve_uvicorn,
    "http-aiohttp": serve_aiohttp,
}
"""What serves a listener's connections, by the name of its kind."""


def listen(path: str | None) -> tuple[socket.socket, str]:
    """Return a listening socket, and the port or the path to connect to."""
    if path is not None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(BACKLOG)
        return listener, path
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    # What is accepted inherits it, so that every loop and kind has it alike.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener, str(listener.getsockname()[1])


async def serve(kind: str, path: str | None) -> None:
    """Serve until killed."""
    listener, address = listen(path)
    # The socket listens already: who connects before the server is set up
    # waits in its backlog.
    print(address, flush=True)
    await KINDS[kind](listener)


def main() -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(prog="perf.servers", description=__doc__)
    parser.add_argument("--loop", required=True, choices=loops.NAMES)
    parser.add_argument("--kind", required=True, choices=KINDS)
    parser.add_argument("--unix", metavar="PATH", help="serve here, not on a port")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=loops.factory(options.loop)) as runner:
        runner.run(serve(options.kind, options.unix))


if __name__ == "__main__":
    main()
