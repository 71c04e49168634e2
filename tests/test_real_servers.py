"""Real servers on uringloop, with real clients."""

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import uringloop

if importlib.util.find_spec("aiohttp"):
    import aiohttp
    from aiohttp import web


def needs(*modules):
    """Skip the test where one of these is missing: a new Python may have to wait for them."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@contextlib.contextmanager
def uvicorn_server(tmp_path):
    """Run an ASGI application by uvicorn's command line, on uringloop; yield its port."""
    (tmp_path / "application.py").write_text(
        textwrap.dedent(
            """
            import asyncio

            async def app(scope, receive, send):
                body = b""
                while True:
                    message = await receive()
                    body += message.get("body", b"")
                    if not message.get("more_body"):
                        break
                loop = type(asyncio.get_running_loop())
                answer = f"{loop.__module__}.{loop.__name__} {len(body)}".encode()
                headers = [(b"content-length", str(len(answer)).encode())]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send({"type": "http.response.body", "body": answer})
            """
        )
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [
            sys.executable, "-m", "uvicorn", "--loop", "uringloop:new_event_loop", "--http", "httptools",
            "--lifespan", "off", "--log-level", "warning", "--fd", str(listener.fileno()),
            "application:app",
        ]  # fmt: skip
        server = subprocess.Popen(command, cwd=tmp_path, pass_fds=[listener.fileno()])
        try:
            yield listener.getsockname()[1]
        finally:
            server.terminate()
            assert server.wait(20) in {0, -15}


@needs("aiohttp", "httptools", "uvicorn")
def test_uvicorn_serves_on_our_loop(tmp_path):
    async def ask(port):
        async with aiohttp.ClientSession() as session:
            answers = []
            for size in (0, 10, 1_000_000):
                async with session.post(f"http://127.0.0.1:{port}/", data=os.urandom(size)) as response:
                    assert response.status == 200
                    answers.append(await response.text())
            return answers

    with uvicorn_server(tmp_path) as port:
        assert uringloop.run(ask(port)) == [f"uringloop.loop.Loop {size}" for size in (0, 10, 1_000_000)]


@needs("aiohttp")
def test_aiohttp_serves_and_asks_at_once():
    """Uploads and downloads by many clients at once, each checked by a hash."""

    async def echo(request):
        return web.Response(body=await request.read())

    async def ask(session, url, size):
        data = os.urandom(size)
        async with session.post(url, data=data) as response:
            assert hashlib.sha256(await response.read()).digest() == hashlib.sha256(data).digest()

    async def main():
        application = web.Application(client_max_size=10_000_000)
        application.router.add_post("/", echo)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        async with aiohttp.ClientSession() as session:
            sizes = [0, 1, 100, 10_000, 1_000_000] * 10
            await asyncio.gather(*(ask(session, f"http://127.0.0.1:{port}/", size) for size in sizes))
        await runner.cleanup()

    uringloop.run(main())


@needs("aiohttp")
def test_a_websocket_conversation():
    async def talk(request):
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for message in websocket:
            await websocket.send_str(message.data.upper())
        return websocket

    async def main():
        application = web.Application()
        application.router.add_get("/", talk)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as websocket:
            for word in ("one", "two", "three" * 100_000):
                await websocket.send_str(word)
                assert (await websocket.receive_str()) == word.upper()
        await runner.cleanup()

    uringloop.run(main())


@pytest.mark.parametrize("clients", [1, 200])
def test_clients_with_threads_are_served_by_a_stream_server(clients):
    started = threading.Event()
    state = {}

    async def echo(reader, writer):
        while data := await reader.read(1000):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def serve():
        server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=512)
        state.update(port=server.sockets[0].getsockname()[1], loop=asyncio.get_running_loop(), stop=asyncio.Event())
        started.set()
        await state["stop"].wait()
        server.close()
        await server.wait_closed()

    thread = threading.Thread(target=uringloop.run, args=(serve(),))
    thread.start()
    assert started.wait(10)
    connections = [socket.create_connection(("127.0.0.1", state["port"]), timeout=10) for _ in range(clients)]
    deadline = time.monotonic() + 20
    for round_number in range(5):
        for number, connection in enumerate(connections):
            connection.sendall(b"%d %d" % (round_number, number))
        for number, connection in enumerate(connections):
            assert connection.recv(1000) == b"%d %d" % (round_number, number)
            assert time.monotonic() < deadline
    for connection in connections:
        connection.close()
    state["loop"].call_soon_threadsafe(state["stop"].set)
    thread.join(20)
    assert not thread.is_alive()
