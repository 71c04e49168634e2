"""TLS connections: their making, what they say of themselves, their data, and their end."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import ssl
import sys
import time

import pytest
from support.checks import forget, stays, turns, until
from support.protocols import BufferedRecorder, Echo, Recorder
from support.running import variable
from support.sockets import pattern, shrink
from support.tls import (
    NAME,
    Peer,
    certified_context,
    client_context,
    demanding_context,
    encrypted,
    ended,
    of_version,
    server_context,
    with_peer,
)

LARGE = 3_000_000
PROMPTLY = 2.0
"""Seconds; what waits for a timeout of TLS in vain takes 30 or 60."""

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


# data


class ViewRecorder(BufferedRecorder):
    """Gives a view of its buffer, as asyncio's TLS needs it."""

    def get_buffer(self, sizehint):
        return memoryview(super().get_buffer(sizehint))


@pytest.mark.parametrize("recorder", [Recorder, ViewRecorder])
@pytest.mark.parametrize("stream", ["tcp", "unix"])
async def test_much_data_both_ways_at_once(loop, sockets, recorder, stream):
    data = pattern(LARGE)
    async with encrypted(sockets, recorder(), recorder(), stream=stream) as ends:
        for start in range(0, LARGE, 100_000):
            ends.client.transport.write(data[start : start + 100_000])
            ends.server.transport.write(data[start : start + 100_000])
        for end in (ends.client, ends.server):
            received = await end.receives(LARGE)
            assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()


@pytest.mark.uringloop_only("it reads all but the first record of what came into a copy of a bytearray's slice")
async def test_any_buffer_of_a_protocol_will_do(loop, sockets):
    data = pattern(LARGE)
    async with encrypted(sockets, server=BufferedRecorder(100_000)) as ends:
        ends.client.transport.write(data)
        assert await ends.server.receives(LARGE) == data


async def test_a_protocol_may_resize_its_buffer_when_it_has_been_updated(loop, sockets):
    class Resizing(BufferedRecorder):
        def buffer_updated(self, nbytes):
            super().buffer_updated(nbytes)
            self.buffer += bytes(100)

    async with encrypted(sockets, server=Resizing(5)) as ends:
        for number in range(50):
            ends.client.transport.write(b"message %2d" % number)
            await ends.server.receives(10 * number + 10)
        assert ends.server.data == b"".join(b"message %2d" % number for number in range(50))


async def check_that_all_is_read_of_a_stream_that_ends_without_a_word(sockets, recorder):
    data = pattern(200_000)
    async with with_peer(sockets, recorder(), server_side=True) as (protocol, peer):
        await peer.send(data)
        peer.sock.close()
        await protocol.ends()
        assert protocol.data == data
        assert protocol.calls == ["made", "data", "eof", "lost"]


async def test_all_is_read_of_a_stream_that_ends_without_a_word(loop, sockets):
    await check_that_all_is_read_of_a_stream_that_ends_without_a_word(sockets, Recorder)


@pytest.mark.uringloop_only("it reads one buffer more when the stream has ended")
async def test_a_buffered_protocol_reads_all_of_a_stream_that_ends_without_a_word(loop, sockets):
    await check_that_all_is_read_of_a_stream_that_ends_without_a_word(sockets, ViewRecorder)


@pytest.mark.parametrize("what", ["pause", "close", "abort", "replace"])
async def test_a_buffered_protocol_acts_while_more_than_its_buffer_holds_has_come(loop, sockets, what):
    class Acting(ViewRecorder):
        def buffer_updated(self, nbytes):
            super().buffer_updated(nbytes)
            if len(self.data) == 200:
                act()

    def act():
        transport = ends.server.transport
        if what == "pause":
            transport.pause_reading()
        elif what == "replace":
            transport.set_protocol(follower)
        else:
            getattr(transport, what)()

    data = pattern(10_000)
    follower = Recorder()
    async with encrypted(sockets, server=Acting(100)) as ends:
        ends.client.transport.write(data)
        if what == "pause":
            await ends.server.receives(200)
            await stays(lambda: len(ends.server.data) == 200)
            ends.server.transport.resume_reading()
            assert await ends.server.receives(len(data)) == data
        elif what == "replace":
            assert await follower.receives(len(data) - 200) == data[200:]
        else:
            await ends.server.ends()
            await ends.client.ends()
            assert ends.server.data == data[: len(ends.server.data)]
            assert what == "close" or len(ends.server.data) == 200


async def test_messages_of_every_size_in_any_kind_of_memory(loop, sockets):
    """What is written may be changed afterwards."""
    async with encrypted(sockets) as ends:
        expected = b""
        for size in (1, 2, 1000, 16_383, 16_384, 16_385, 70_000):
            memory = bytearray(pattern(size))
            expected += bytes(memory) * 3 + b"ab"
            ends.client.transport.write(memory)
            ends.client.transport.write(memoryview(memory))
            ends.client.transport.write(bytes(memory))
            ends.client.transport.writelines([b"a", bytearray(b"b")])
            memory[:] = bytes(size)
        ends.client.transport.write(b"")
        assert await ends.server.receives(len(expected)) == expected


async def test_a_paused_reader_gets_nothing_and_loses_nothing(loop, sockets):
    data = pattern(LARGE)
    async with encrypted(sockets) as ends:
        ends.server.transport.pause_reading()
        assert not ends.server.transport.is_reading()
        ends.client.transport.write(data)
        await stays(lambda: not ends.server.data)
        ends.server.transport.resume_reading()
        assert ends.server.transport.is_reading()
        assert await ends.server.receives(LARGE) == data


async def test_pausing_again_and_again(loop, sockets):
    class Pausing(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(0.0005, self.transport.resume_reading)

    data = pattern(500_000)
    async with encrypted(sockets, server=Pausing()) as ends:
        for start in range(0, len(data), 10_000):
            ends.client.transport.write(data[start : start + 10_000])
            await turns(3)
        assert await ends.server.receives(len(data)) == data


async def test_a_writer_is_paused_and_resumed(loop, sockets):
    async with encrypted(sockets) as ends:
        transport = ends.client.transport
        transport.set_write_buffer_limits(high=20_000, low=5_000)
        assert transport.get_write_buffer_limits() == (5_000, 20_000)
        assert transport.get_write_buffer_size() == 0
        ends.server.transport.pause_reading()
        sent = 0
        while "pause" not in ends.client.calls:
            transport.write(bytes(50_000))
            sent += 50_000
            await turns(2)
            assert sent < 100_000_000
        assert transport.get_write_buffer_size() >= 20_000
        await stays(lambda: ends.client.calls == ["made", "pause"])
        ends.server.transport.resume_reading()
        await until(lambda: ends.client.calls == ["made", "pause", "resume"])
        assert len(await ends.server.receives(sent)) == sent
        assert transport.get_write_buffer_size() == 0


async def test_wrong_limits_and_wrong_data(loop, sockets):
    async with encrypted(sockets) as ends:
        transport = ends.client.transport
        with pytest.raises(ValueError, match="must be >= low"):
            transport.set_write_buffer_limits(high=1, low=2)
        with pytest.raises(TypeError, match="data: expecting a bytes-like instance, got str"):
            transport.write("text")
        with pytest.raises(NotImplementedError):
            transport.write_eof()
        assert not transport.can_write_eof()


async def test_another_protocol_takes_over(loop, sockets):
    second = BufferedRecorder(10)
    async with encrypted(sockets) as ends:
        transport = ends.server.transport
        ends.client.transport.write(b"first")
        await ends.server.receives(5)
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        ends.client.transport.write(b"second that is longer than the buffer")
        await second.receives(37)
        assert ends.server.data == b"first"
        ends.client.transport.close()
        await second.ends()
        assert second.calls == ["data", "eof", "lost"]


async def test_a_failing_protocol_is_reported_and_ends_the_connection(loop, sockets, reports):
    class Failing(Recorder):
        def data_received(self, data):
            raise problem

    problem = LookupError("in data_received")
    async with encrypted(sockets, server=Failing()) as ends:
        ends.client.transport.write(b"x")
        await ends.server.ends()
        await ends.client.ends()
        assert ends.server.error is problem
    context = reports.take()
    assert context["message"] == "Fatal error on SSL protocol"
    assert context["exception"] is problem


async def test_callbacks_run_in_the_context_the_transport_was_made_in(loop, sockets):
    seen = {}

    class Noting(Recorder):
        def note(self, call):
            super().note(call)
            seen[call] = variable.get("unset")

        def data_received(self, data):
            super().data_received(data)
            self.transport.write(bytes(LARGE))
            self.transport.write(bytes(LARGE))

    async def connect():
        variable.set("of the connection")
        return await loop.connect_accepted_socket(Noting, ours, ssl=server_context())

    ours, theirs = sockets.tcp_pair()
    shrink(ours, theirs)
    peer = Peer(theirs)
    shaking = loop.create_task(peer.handshake())
    _, protocol = await loop.create_task(connect())
    await shaking
    variable.set("elsewhere")
    await peer.send(b"x")
    await peer.receive(2 * LARGE)
    await peer.unwrap()
    await protocol.ends()
    calls = ["made", "data", "pause", "resume", "eof", "lost"]
    assert seen == dict.fromkeys(calls, "of the connection")


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
