"""TLS connections: their making, what they say of themselves, and their end."""

from __future__ import annotations

import asyncio
import functools
import ssl
import sys
import time

import pytest
from support.checks import forget, turns
from support.protocols import Echo, Recorder
from support.sockets import pattern, shrink
from support.tls import (
    NAME,
    PROMPTLY,
    Peer,
    certified_context,
    client_context,
    demanding_context,
    encrypted,
    ended,
    of_version,
    server_context,
)

LARGE = 3_000_000

versions = pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["tls1.2", "tls1.3"]
)
sides = pytest.mark.parametrize("side", ["client", "server"])


# every way to make one


@pytest.fixture(params=["tcp", "unix"])
def family(request):
    return request.param


async def connected(loop, family, tmp_path, **options):
    """A server that echoes, and a client of it; extra options go to both."""
    if family == "unix":
        path = str(tmp_path / "socket")
        server = await loop.create_unix_server(Echo, path, ssl=server_context(), **options)
        connect = functools.partial(loop.create_unix_connection, Recorder, path)
    else:
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context(), **options)
        connect = functools.partial(loop.create_connection, Recorder, *server.sockets[0].getsockname())
    return server, await connect(ssl=client_context(), server_hostname=NAME, **options)


async def test_a_server_and_its_client(loop, family, tmp_path):
    server, (transport, protocol) = await connected(loop, family, tmp_path)
    transport.write(b"hello")
    assert await protocol.receives(5) == b"hello"
    transport.close()
    await protocol.ends()
    assert protocol.calls == ["made", "data", "eof", "lost"]
    assert protocol.error is None
    server.close()
    await server.wait_closed()
    await turns(5)


async def test_the_host_is_the_name_to_verify(loop):
    """The certificate is for "localhost" and for 127.0.0.1."""
    async with await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context()) as server:
        port = server.sockets[0].getsockname()[1]
        for host in ("localhost", "127.0.0.1"):
            transport, protocol = await loop.create_connection(Recorder, host, port, ssl=client_context())
            assert transport.get_extra_info("ssl_object").server_hostname == host
            transport.close()
            await protocol.ends()


@pytest.mark.parametrize("stream", ["tcp", "unix"])
async def test_sockets_that_were_connected_elsewhere(loop, sockets, stream):
    async with encrypted(sockets, stream=stream) as ends:
        ends.client.transport.write(b"question")
        assert await ends.server.receives(8) == b"question"
        ends.server.transport.write(b"answer")
        assert await ends.client.receives(6) == b"answer"


async def test_streams(loop, family, tmp_path):
    async def handle(reader, writer):
        writer.write(await reader.readline())
        assert writer.get_extra_info("ssl_object").server_side
        writer.close()
        await writer.wait_closed()
        handled.set_result(None)

    handled = loop.create_future()
    if family == "unix":
        path = str(tmp_path / "socket")
        server = await asyncio.start_unix_server(handle, path, ssl=server_context())
        connect = functools.partial(asyncio.open_unix_connection, path)
    else:
        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=server_context())
        connect = functools.partial(asyncio.open_connection, *server.sockets[0].getsockname())
    async with server:
        reader, writer = await connect(ssl=client_context(), server_hostname=NAME)
        assert not writer.can_write_eof()
        writer.write(b"line\n")
        assert await reader.read() == b"line\n"
        writer.close()
        await writer.wait_closed()
        await handled


async def test_many_connections_at_once(loop):
    async def ask(number):
        reader, writer = await asyncio.open_connection(*address, ssl=client_tls, server_hostname=NAME)
        message = b"%d " % number * number
        writer.write(message)
        assert await reader.readexactly(len(message)) == message
        writer.close()
        await writer.wait_closed()

    client_tls = client_context()
    server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context(), backlog=200)
    address = server.sockets[0].getsockname()
    await asyncio.gather(*(ask(number) for number in range(100)))
    server.close()
    await server.wait_closed()
    await turns(5)


# what they say of themselves


@versions
async def test_extra_info(loop, sockets, version):
    client_tls = of_version(client_context(), version)
    server_tls = server_context()
    async with encrypted(sockets, client_tls=client_tls, server_tls=server_tls) as ends:
        info = ends.client.transport.get_extra_info
        assert isinstance(info("ssl_object"), ssl.SSLObject)
        assert info("ssl_object").version() == {771: "TLSv1.2", 772: "TLSv1.3"}[version]
        assert info("sslcontext") is client_tls
        assert info("peercert")["subject"] == ((("commonName", NAME),),)
        assert info("cipher") == info("ssl_object").cipher()
        assert info("compression") is None
        assert info("peername") == ends.server.transport.get_extra_info("sockname")
        assert info("socket").getsockname() == info("sockname")
        assert info("nothing", "of the kind") == "of the kind"
        info = ends.server.transport.get_extra_info
        assert info("sslcontext") is server_tls
        assert info("peercert") is None
        assert info("cipher") == ends.client.transport.get_extra_info("cipher")


async def test_what_both_can_talk_is_agreed_on(loop, sockets):
    client_tls, server_tls = client_context(), server_context()
    client_tls.set_alpn_protocols(["h2", "http/1.1"])
    server_tls.set_alpn_protocols(["http/1.1", "http/1.0"])
    async with encrypted(sockets, client_tls=client_tls, server_tls=server_tls) as ends:
        for end in (ends.client, ends.server):
            assert end.transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"


async def test_the_server_may_choose_its_context_by_the_name_asked_for(loop, sockets):
    asked = []

    def choose(tls, name, context):
        asked.append((name, context))
        tls.context = chosen

    server_tls, chosen = server_context("other"), server_context()
    server_tls.sni_callback = choose
    async with encrypted(sockets, server_tls=server_tls) as ends:
        assert asked == [(NAME, server_tls)]
        assert ends.server.transport.get_extra_info("ssl_object").context is chosen


@versions
async def test_a_client_with_a_certificate(loop, sockets, version):
    client_tls = of_version(certified_context(), version)
    async with encrypted(sockets, client_tls=client_tls, server_tls=demanding_context()) as ends:
        certificate = ends.server.transport.get_extra_info("peercert")
        assert certificate["subject"] == ((("commonName", "client"),),)


@versions
async def test_a_session_is_resumed_by_a_server_on_the_loop(loop, sockets, version):
    client_tls, server_tls = of_version(client_context(), version), server_context()
    session = None
    for resumed in (False, True, True):
        ours, theirs = sockets.tcp_pair()
        peer = Peer(theirs, client_tls, session=session)
        shaking = loop.create_task(peer.handshake())
        transport, _ = await loop.connect_accepted_socket(Echo, ours, ssl=server_tls)
        await shaking
        await peer.send(b"x")
        assert await peer.receive(1) == b"x"
        assert peer.tls.session_reused == resumed
        assert transport.get_extra_info("ssl_object").session_reused == resumed
        session = peer.tls.session
        assert session.has_ticket
        await peer.unwrap()
        await ended(transport)


# the end


@versions
@sides
async def test_both_ends_are_told_promptly_of_a_close(loop, sockets, version, side):
    async with encrypted(sockets, client_tls=of_version(client_context(), version)) as ends:
        began = time.monotonic()
        closing, other = (ends.client, ends.server) if side == "client" else (ends.server, ends.client)
        closing.transport.close()
        assert closing.transport.is_closing()
        await closing.ends()
        await other.ends()
        assert time.monotonic() - began < PROMPTLY
        assert closing.calls == other.calls == ["made", "eof", "lost"]
        assert closing.error is other.error is None


@pytest.mark.uringloop_only("they came with 3.13", when=sys.version_info < (3, 13))
@pytest.mark.parametrize("how", ["close_clients", "abort_clients"])
async def test_a_server_ends_its_connections(loop, family, tmp_path, how):
    """By closing what carries them, without a word of TLS."""
    server, (transport, protocol) = await connected(loop, family, tmp_path)
    transport.write(b"x")
    await protocol.receives(1)
    getattr(server, how)()
    await protocol.ends()
    assert protocol.calls == ["made", "data", "eof", "lost"]
    server.close()
    await server.wait_closed()
    await turns(5)


async def test_what_was_written_before_close_arrives(loop, sockets):
    data = pattern(LARGE)
    async with encrypted(sockets) as ends:
        ends.client.transport.write(data)
        ends.client.transport.close()
        await ends.server.ends()
        assert ends.server.data == data


async def test_both_close_at_once(loop, sockets):
    async with encrypted(sockets) as ends:
        ends.client.transport.close()
        ends.server.transport.close()
        await ends.client.ends()
        await ends.server.ends()
        assert ends.client.error is ends.server.error is None


async def test_a_kept_open_end_closes_all_the_same(loop, sockets, caplog):
    async with encrypted(sockets, server=Recorder(keep_open=True)) as ends:
        ends.client.transport.close()
        await ends.server.ends()
        assert "returning true from eof_received() has no effect when using ssl" in caplog.text


async def test_writes_after_close_are_dropped(loop, sockets, caplog):
    async with encrypted(sockets) as ends:
        transport = ends.client.transport
        transport.close()
        for _ in range(10):
            transport.write(b"too late")
        await ends.server.ends()
        assert ends.server.data == b""
        assert "SSL connection is closed" in caplog.text


@sides
async def test_an_abort_is_an_end_to_the_other_side(loop, sockets, side):
    async with encrypted(sockets) as ends:
        aborting, other = (ends.client, ends.server) if side == "client" else (ends.server, ends.client)
        shrink(aborting.transport.get_extra_info("socket"), other.transport.get_extra_info("socket"))
        aborting.transport.write(bytes(LARGE))
        aborting.transport.abort()
        await aborting.ends()
        assert aborting.error is None
        assert aborting.calls[-1] == "lost"
        assert "eof" not in aborting.calls
        await other.ends()
        assert len(other.data) < LARGE


def test_what_is_left_unclosed_warns(loop, sockets):
    async def connect():
        ours, theirs = sockets.tcp_pair()
        shaking = loop.create_task(Peer(theirs, server_side=True).handshake())
        made = await loop.create_connection(Recorder, sock=ours, ssl=client_context(), server_hostname=NAME)
        await shaking
        return [made], ours

    connections, sock = loop.run_until_complete(connect())
    loop.close()
    with pytest.warns(ResourceWarning, match="unclosed transport") as warned:
        forget(connections)
    assert len(warned) == 2  # the encrypted one, and the one that carries it
    assert sock.fileno() == -1


async def test_streams_that_are_closed_by_the_other_end(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    peer = Peer(theirs, server_side=True)
    opening = asyncio.open_connection(sock=ours, ssl=client_context(), server_hostname=NAME)
    _, (reader, writer) = await asyncio.gather(peer.handshake(), opening)
    await peer.send(b"last words")
    await peer.unwrap()
    peer.sock.close()
    assert await reader.read() == b"last words"
    writer.close()
    await writer.wait_closed()
