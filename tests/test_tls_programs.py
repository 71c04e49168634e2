"""TLS with real programs at the other end: aiohttp, Python's blocking clients, OpenSSL's command line."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import shutil
import socket
import urllib.request

import aiohttp
import pytest
from aiohttp import web
from support.checks import turns
from support.protocols import Echo
from support.sockets import pattern
from support.tls import NAME, certificate, client_context, server_context

SIZES = [0, 1, 100, 16_384, 1_000_000] * 6


@contextlib.asynccontextmanager
async def https():
    """Serve HTTP over TLS by aiohttp; yield the port. What is posted comes back."""

    async def echo(request):
        return web.Response(body=await request.read())

    application = web.Application(client_max_size=10_000_000)
    application.router.add_route("*", "/", echo)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context()).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
        await turns(5)


async def test_aiohttps_client_and_server(loop):
    async def ask(session, url, size):
        data = pattern(size)
        async with session.post(url, data=data) as response:
            assert hashlib.sha256(await response.read()).digest() == hashlib.sha256(data).digest()

    async with https() as port:
        connector = aiohttp.TCPConnector(ssl=client_context())
        async with aiohttp.ClientSession(connector=connector) as session:
            url = f"https://127.0.0.1:{port}/"
            await asyncio.gather(*(ask(session, url, size) for size in SIZES))
        await asyncio.sleep(0.01)  # aiohttp closes its connections without waiting for them


async def test_aiohttps_client_refuses_an_unknown_certificate(loop, reports):
    async with https() as port, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorCertificateError, match="self-signed certificate"):
            await session.get(f"https://127.0.0.1:{port}/")
        await asyncio.sleep(0.01)
    reports.take_all()  # in debug mode, the failure at the server's end


async def test_http_client(loop):
    def talk(port):
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=client_context(), timeout=10)
        with contextlib.closing(connection):
            for size in SIZES:
                connection.request("POST", "/", pattern(size))
                assert connection.getresponse().read() == pattern(size)

    async with https() as port:
        await asyncio.gather(*(loop.run_in_executor(None, talk, port) for _ in range(3)))


async def test_urllib(loop):
    def ask(port):
        request = urllib.request.Request(f"https://127.0.0.1:{port}/", data=b"question")
        with urllib.request.urlopen(request, timeout=10, context=client_context()) as response:
            return response.status, response.read()

    async with https() as port:
        assert await loop.run_in_executor(None, ask, port) == (200, b"question")


async def test_a_client_that_blocks_and_resumes_its_session(loop):
    def talk():
        context, session = client_context(), None
        for number in range(3):
            with (
                socket.create_connection(address, timeout=10) as sock,
                context.wrap_socket(sock, server_hostname=NAME, session=session) as tls,
            ):
                tls.sendall(b"%d" % number)
                assert tls.recv(10) == b"%d" % number
                assert tls.session_reused == bool(number)
                session = tls.session
                tls.unwrap()

    server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context())
    address = server.sockets[0].getsockname()
    await loop.run_in_executor(None, talk)
    server.close()
    await server.wait_closed()
    await turns(5)


async def test_a_client_that_half_closes(loop):
    """After unwrap() on its side alone: the server answers the close_notify at once."""

    def talk():
        with socket.create_connection(address, timeout=10) as sock:
            tls = client_context().wrap_socket(sock, server_hostname=NAME, suppress_ragged_eofs=False)
            tls.sendall(b"x" * 100_000)
            sent = b""
            while len(sent) < 100_000:
                sent += tls.recv(65_536)
            plain = tls.unwrap()
            assert plain.recv(1) == b""
            plain.close()
            return sent

    server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context())
    address = server.sockets[0].getsockname()
    assert await loop.run_in_executor(None, talk) == b"x" * 100_000
    server.close()
    await server.wait_closed()
    await turns(5)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl command")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_openssl_s_client(loop, version):
    server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context())
    port = server.sockets[0].getsockname()[1]
    client = await asyncio.create_subprocess_exec(
        "openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-quiet", "-no_ign_eof", version,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    client.stdin.write(b"hello\n")
    assert await client.stdout.readline() == b"hello\n"
    client.stdin.close()
    assert await client.wait() == 0
    server.close()
    await server.wait_closed()
    await turns(5)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl command")
async def test_openssl_s_server(loop, tmp_path):
    pem = tmp_path / "pem"
    pem.write_bytes(certificate(NAME))
    server = await asyncio.create_subprocess_exec(
        "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", str(pem), "-key", str(pem), "-rev",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    while not (line := await server.stdout.readline()).startswith(b"ACCEPT "):
        assert line
    port = int(line.rpartition(b":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context())
    for word in (b"stressed", b"drawer"):
        writer.write(word + b"\n")
        assert await reader.readline() == word[::-1] + b"\n"
    writer.close()
    await writer.wait_closed()
    server.kill()
    await server.communicate()
