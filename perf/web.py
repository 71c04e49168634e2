"""The HTTP servers that are measured."""

import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from perf.echo import BACKLOG, for_ever

GREETING = "Hello, World!"
"""What they answer."""


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


async def serve_uvicorn(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    """Serve the greeting by uvicorn and httptools."""
    import uvicorn  # noqa: PLC0415  # only this server needs it

    config = uvicorn.Config(
        greet,
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
    await uvicorn.Server(config).serve(sockets=[listener])


async def serve_aiohttp(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    """Serve the greeting by aiohttp."""
    from aiohttp import web  # noqa: PLC0415  # only this server needs it

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=GREETING)

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener, ssl_context=context, backlog=BACKLOG).start()
    await for_ever()
