"""start_tls: connections that become encrypted when they are under way."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time

import pytest
from support.checks import outcome, turns, until
from support.protocols import Recorder, closed, linked
from support.sockets import pattern, read_exactly, reset, send_all, shrink
from support.tls import (
    NAME,
    PROMPTLY,
    Ends,
    Peer,
    ViewRecorder,
    client_context,
    encrypted,
    ended,
    of_version,
    server_context,
)

LARGE = 3_000_000


@contextlib.asynccontextmanager
async def plain(sockets, client=None, server=None):
    """Two protocols connected without TLS."""
    loop = asyncio.get_running_loop()
    theirs, ours = sockets.tcp_pair()
    ends = Ends(client or Recorder(), server or Recorder())
    await loop.create_connection(lambda: ends.client, sock=ours)
    await loop.connect_accepted_socket(lambda: ends.server, theirs)
    try:
        yield ends
    finally:
        await ended(ends.client.transport)
        await ended(ends.server.transport)


def upgraded_server(protocol, **options):
    """Start TLS at the server's end; the protocol goes on with the transport that this brings."""
    return upgraded(protocol, server_context(), server_side=True, **options)


def upgraded_client(protocol, **options):
    return upgraded(protocol, client_context(), **{"server_hostname": NAME, **options})


async def upgraded(protocol, context, **options):
    loop = asyncio.get_running_loop()
    protocol.transport = await loop.start_tls(protocol.transport, protocol, context, **options)


async def upgraded_both(ends):
    await asyncio.gather(upgraded_server(ends.server), upgraded_client(ends.client))


async def check_conversation(ends):
    """Send something each way, and close."""
    data = pattern(LARGE)
    ends.client.data.clear()
    ends.server.data.clear()
    ends.client.transport.write(data)
    ends.server.transport.write(data)
    assert await ends.server.receives(LARGE) == data
    assert await ends.client.receives(LARGE) == data
    began = time.monotonic()
    ends.client.transport.close()
    await ends.client.ends()
    await ends.server.ends()
    assert time.monotonic() - began < PROMPTLY
    assert ends.client.error is ends.server.error is None


# upgrades that succeed


@pytest.mark.parametrize("recorder", [Recorder, ViewRecorder])
async def test_both_ends_start_at_once(loop, sockets, recorder):
    async with plain(sockets, recorder(), recorder()) as ends:
        ends.client.transport.write(b"plain")
        await ends.server.receives(5)
        before = ends.server.transport
        await upgraded_both(ends)
        assert ends.server.transport is not before
        assert ends.server.transport.get_protocol() is ends.server
        assert ends.client.transport.get_extra_info("peercert")
        assert ends.client.transport.get_extra_info("socket") is not None
        await check_conversation(ends)
        assert ends.server.calls.count("made") == 1
        assert ends.client.calls.count("lost") == ends.server.calls.count("lost") == 1


async def test_streams(loop):
    async def handle(reader, writer):
        assert await reader.readline() == b"secret?\n"
        writer.write(b"secret!\n")
        await writer.start_tls(server_context())
        writer.write(await reader.readline())
        writer.close()
        await writer.wait_closed()
        handled.set_result(None)

    handled = loop.create_future()
    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"secret?\n")
        assert await reader.readline() == b"secret!\n"
        await writer.start_tls(client_context(), server_hostname=NAME)
        assert writer.get_extra_info("cipher")
        writer.write(b"line\n")
        assert await reader.read() == b"line\n"
        writer.close()
        await writer.wait_closed()
        await handled


class Pausing(Recorder):
    """Stops reading at the end of a line."""

    def data_received(self, data):
        super().data_received(data)
        if b"\n" in data:
            self.transport.pause_reading()


@pytest.mark.parametrize("wait", [0.0, 0.03])
@pytest.mark.parametrize("gap", [0.0, 0.002])
async def test_a_client_hello_that_comes_before_the_server_starts(loop, sockets, gap, wait):
    """It waits in the kernel, or has been received, when start_tls is called."""
    async with linked(sockets, Pausing()) as link:
        peer = Peer(link.peer)
        link.peer.send(b"line\n")
        while not link.protocol.data:
            await asyncio.sleep(gap)
        link.peer.send(peer.first_flight())
        await asyncio.sleep(wait)
        shaking = loop.create_task(peer.handshake())
        await upgraded_server(link.protocol)
        await shaking
        await peer.send(b"encrypted")
        assert await link.protocol.receives(14) == b"line\nencrypted"
        await ended(link.protocol.transport)


async def test_a_client_hello_right_after_a_line(loop, sockets):
    """Start when a line has come, in a task of its own, without any pause."""

    class Starting(Recorder):
        def data_received(self, data):
            super().data_received(data)
            if data == b"line\n":
                starting.set_result(loop.create_task(upgraded_server(self)))

    for _ in range(30):
        starting = loop.create_future()
        async with linked(sockets, Starting()) as link:
            peer = Peer(link.peer)
            hello = peer.first_flight()
            link.peer.send(b"line\n")
            await until(starting.done)
            link.peer.send(hello)
            shaking = loop.create_task(peer.handshake())
            await starting.result()
            await shaking
            await ended(link.protocol.transport)


async def test_a_client_hello_in_one_segment_with_a_line_is_given_to_the_protocol(loop, sockets):
    """So that TLS waits for it in vain."""
    async with linked(sockets) as link:
        hello = Peer(link.peer).first_flight()
        link.peer.send(b"line\n" + hello)
        assert await link.protocol.receives(5 + len(hello)) == b"line\n" + hello
        with pytest.raises(ConnectionAbortedError, match=r"SSL handshake is taking longer than 0\.05 seconds"):
            await upgraded_server(link.protocol, ssl_handshake_timeout=0.05)


async def test_what_was_written_before_goes_first_and_plain(loop, sockets):
    data = pattern(100_000)
    async with linked(sockets) as link:
        link.transport.write(data)
        starting = loop.create_task(upgraded_server(link.protocol))
        await turns(2)
        assert await read_exactly(link.peer, len(data)) == data
        peer = Peer(link.peer)
        await peer.handshake()
        await starting
        link.protocol.transport.write(b"encrypted")
        assert await peer.receive(9) == b"encrypted"
        await ended(link.protocol.transport)


@pytest.mark.uringloop_only("it reports an AssertionError, and never resumes the protocol")
async def test_a_protocol_that_is_paused_is_resumed(loop, sockets):
    async with linked(sockets) as link:
        shrink(link.sock, link.peer)
        link.transport.write(bytes(LARGE))
        assert link.protocol.calls == ["made", "pause"]
        starting = loop.create_task(upgraded_server(link.protocol))
        await turns(2)
        await read_exactly(link.peer, LARGE)
        peer = Peer(link.peer)
        await peer.handshake()
        await starting
        assert link.protocol.calls == ["made", "pause", "resume"]
        link.protocol.transport.write(bytes(LARGE))
        link.protocol.transport.write(bytes(LARGE))
        assert link.protocol.calls[3:] == ["pause"]
        assert len(await peer.receive(2 * LARGE)) == 2 * LARGE
        assert link.protocol.calls[3:] == ["pause", "resume"]
        await ended(link.protocol.transport)


async def test_a_server_that_speaks_at_once(loop, sockets):
    """What comes encrypted in the segment that ends the handshake is not lost."""
    async with linked(sockets) as link:
        peer = Peer(link.peer, of_version(server_context(), ssl.TLSVersion.TLSv1_2), server_side=True)

        async def serve():
            await peer.handshake()
            await peer.send(b"first words")

        serving = loop.create_task(serve())
        await upgraded_client(link.protocol)
        assert await link.protocol.receives(11) == b"first words"
        await serving
        await ended(link.protocol.transport)


async def test_tls_in_tls(loop, sockets):
    async with encrypted(sockets) as ends:
        outer = ends.client.transport
        sock = outer.get_extra_info("socket")
        await upgraded_both(ends)
        assert ends.client.transport is not outer
        assert ends.client.transport.get_extra_info("socket") is sock
        await check_conversation(ends)
        await until(lambda: sock.fileno() == -1)


async def test_tls_in_tls_is_aborted(loop, sockets):
    async with encrypted(sockets) as ends:
        await upgraded_both(ends)
        ends.server.transport.write(b"x")
        await ends.client.receives(1)
        ends.client.transport.abort()
        await ends.client.ends()
        await ends.server.ends()


# upgrades that fail


async def test_a_certificate_that_the_client_does_not_trust(loop, sockets):
    async with plain(sockets) as ends:
        serving = loop.create_task(upgraded_server(ends.server))
        asking = upgraded(ends.client, client_context("other"), server_hostname=NAME)
        with pytest.raises(ssl.SSLCertVerificationError, match="self-signed certificate"):
            await asking
        error = await outcome(serving)
        assert type(error) in {ssl.SSLError, ConnectionResetError}
        await ends.client.ends()
        await ends.server.ends()


async def test_a_name_that_is_not_the_certificates(loop, sockets):
    async with plain(sockets) as ends:
        serving = loop.create_task(upgraded_server(ends.server))
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await upgraded_client(ends.client, server_hostname="other")
        assert isinstance(await outcome(serving), OSError)
        await ends.client.ends()


async def test_a_peer_that_never_answers(loop, sockets):
    async with linked(sockets) as link:
        message = "SSL handshake is taking longer than 0.05 seconds: aborting the connection"
        with pytest.raises(ConnectionAbortedError, match=message):
            await upgraded_client(link.protocol, ssl_handshake_timeout=0.05)
        await closed(link.transport)
        assert link.protocol.calls == ["made"]  # who called start_tls was told


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_peer_that_ends_instead(loop, sockets, end):
    async with linked(sockets) as link:
        starting = loop.create_task(upgraded_client(link.protocol))
        await read_exactly(link.peer, 5)
        reset(link.peer) if end == "reset" else link.peer.close()
        assert isinstance(await outcome(starting), ConnectionResetError)
        await closed(link.transport)


async def test_a_peer_that_talks_plain(loop, sockets):
    async with linked(sockets) as link:
        link.peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await link.protocol.receives(28)
        starting = loop.create_task(upgraded_client(link.protocol))
        await read_exactly(link.peer, 5)
        link.peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        assert (await outcome(starting)).reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}
        await closed(link.transport)


@pytest.mark.parametrize("after", range(4))
async def test_start_tls_is_cancelled(loop, sockets, after):
    async with linked(sockets) as link:
        starting = loop.create_task(upgraded_client(link.protocol))
        await turns(after)
        starting.cancel()
        assert isinstance(await outcome(starting), asyncio.CancelledError)
        if after:
            await closed(link.transport)
            assert link.transport.is_closing()
        assert link.protocol.calls == ["made"]


async def test_a_transport_that_is_closing(loop, sockets):
    async with linked(sockets) as link:
        link.transport.close()
        starting = loop.start_tls(link.transport, link.protocol, client_context(), server_hostname="localhost")
        assert await outcome(starting) is None
        await closed(link.transport)


# wrong calls


async def test_wrong_calls(loop, sockets):
    read, _ = sockets.unix_pair()
    pipe, _ = await loop.connect_read_pipe(Recorder, read.dup())
    async with linked(sockets) as link:
        for context in (None, True, "context"):
            with pytest.raises(TypeError, match=r"sslcontext is expected to be an instance of ssl\.SSLContext"):
                await loop.start_tls(link.transport, link.protocol, context)
        for transport in (None, asyncio.Transport(), pipe):
            with pytest.raises(TypeError, match=r"transport .* is not supported by start_tls\(\)"):
                await loop.start_tls(transport, link.protocol, client_context())
        for timeout in (0, -1):
            for name in ("ssl_handshake_timeout", "ssl_shutdown_timeout"):
                with pytest.raises(ValueError, match=f"{name} should be a positive number, got {timeout}"):
                    await upgraded_client(link.protocol, **{name: timeout})
        with pytest.raises(ssl.SSLError, match="Cannot create a client socket with a PROTOCOL_TLS_SERVER context"):
            await upgraded(link.protocol, server_context())
        await send_all(link.peer, b"still plain")
        assert await link.protocol.receives(11) == b"still plain"
    pipe.close()
    await turns(3)
