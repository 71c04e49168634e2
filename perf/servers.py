"""Runs a server that is measured.

``python -m perf.servers --loop NAME --kind KIND`` serves on a free port of
127.0.0.1, or on a Unix path, prints the port or the path once clients can
connect, and runs until it is killed.
"""

import argparse
import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable

from perf import echo, loops, web
from perf.build import certificate

Serve = Callable[[socket.socket, ssl.SSLContext | None], Awaitable[None]]

KINDS: dict[str, Serve] = {
    "protocol": echo.serve_protocol,
    "buffered": echo.serve_buffered,
    "streams": echo.serve_streams,
    "sock": echo.serve_sock,
    "http-uvicorn": web.serve_uvicorn,
    "http-aiohttp": web.serve_aiohttp,
}
"""What serves a listener's connections, by the name of its kind."""


def listen(path: str | None) -> tuple[socket.socket, str]:
    """Return a listening socket, and the port or the path to connect to."""
    if path is not None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(echo.BACKLOG)
        return listener, path
    listener = socket.create_server(("127.0.0.1", 0), backlog=echo.BACKLOG)
    # What is accepted inherits it, so that every loop and kind has it alike.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener, str(listener.getsockname()[1])


def tls_context() -> ssl.SSLContext:
    """Return what encrypts a server's connections."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate())
    return context


async def serve(options: argparse.Namespace) -> None:
    """Serve until killed."""
    if options.over == "udp":
        await echo.serve_datagrams()
        return
    context = tls_context() if options.over == "tls" else None
    listener, address = listen(options.unix)
    # The socket listens already: who connects before the server is set up
    # waits in its backlog.
    print(address, flush=True)
    await KINDS[options.kind](listener, context)


def main() -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(prog="perf.servers", description=__doc__)
    parser.add_argument("--loop", required=True, choices=loops.NAMES)
    parser.add_argument("--kind", required=True, choices=KINDS)
    parser.add_argument("--over", default="tcp", choices=["tcp", "unix", "tls", "udp"])
    parser.add_argument("--unix", metavar="PATH", help="serve here, not on a port")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=loops.factory(options.loop)) as runner:
        runner.run(serve(options))


if __name__ == "__main__":
    main()
