"""TLS connections that fail: in the handshake, in the middle, and in the end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import sys
from asyncio.sslproto import SSLProtocol

import pytest
from support.checks import descriptors, outcome, stays, turns, until
from support.protocols import Echo, Recorder
from support.sockets import pattern, read_exactly, read_some, read_to_the_end, reset, shrink
from support.tls import (
    NAME,
    PROMPTLY,
    Peer,
    ViewRecorder,
    client_context,
    demanding_context,
    of_version,
    server_context,
    with_peer,
)

INCOMING = "Error on transport creation for incoming connection"

versions = pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["tls1.2", "tls1.3"]
)


@pytest.fixture
def served(loop, sockets, reports):
    """A server, the protocols that it makes, and ways to connect to it."""
    return Served(loop, sockets, reports)


class Served:
    def __init__(self, loop, sockets, reports):
        self.loop = loop
        self.reports = reports
        self.sockets = sockets
        self.protocols = []

    def make_protocol(self):
        self.protocols.append(Recorder())
        return self.protocols[-1]

    @contextlib.asynccontextmanager
    async def running(self, context=None, **options):
        context = context or server_context()
        self.server = await self.loop.create_server(self.make_protocol, "127.0.0.1", 0, ssl=context, **options)
        self.address = self.server.sockets[0].getsockname()
        yield self
        self.server.close()
        async with asyncio.timeout(5):
            await self.server.wait_closed()
        await turns(5)

    def client(self, context=None, name=NAME, **options):
        context = context or client_context()
        return self.loop.create_connection(Recorder, *self.address, ssl=context, server_hostname=name, **options)

    async def plain_client(self):
        sock = self.sockets.new(socket.AF_INET)
        await self.loop.sock_connect(sock, self.address)
        return sock

    async def failure(self):
        """The error of an accepted connection, which is told in debug mode alone."""
        if not self.loop.get_debug():
            await asyncio.sleep(0.02)
            assert not self.reports.unclaimed
            return None
        await until(lambda: self.reports.unclaimed)
        context = self.reports.take()
        assert context["message"] == INCOMING
        assert context["protocol"] is self.protocols[-1]
        assert context["transport"].is_closing()
        return context["exception"]


# handshakes that fail


async def test_a_certificate_that_the_client_does_not_trust(loop, served):
    async with served.running():
        with pytest.raises(ssl.SSLCertVerificationError, match="self-signed certificate") as caught:
            await served.client(ssl.create_default_context())
        assert caught.value.verify_code == 18
        if error := await served.failure():
            assert isinstance(error, ConnectionResetError)
        assert served.protocols[0].calls == []


async def test_the_default_context_trusts_nothing_of_ours(loop, served):
    async with served.running():
        with pytest.raises(ssl.SSLCertVerificationError):
            await served.client(True)
        await served.failure()


async def test_a_name_that_is_not_the_certificates(loop, served):
    async with served.running():
        with pytest.raises(ssl.SSLCertVerificationError, match="certificate is not valid for 'x'"):
            await served.client(name="x")
        await served.failure()


async def test_no_version_in_common(loop, served):
    """asyncio's TLS sends no alert; to the other end it is an end of the stream, whatever the reason."""
    async with served.running(of_version(server_context(), ssl.TLSVersion.TLSv1_3)):
        with pytest.raises(ConnectionResetError):
            await served.client(of_version(client_context(), ssl.TLSVersion.TLSv1_2))
        if error := await served.failure():
            assert error.reason == "UNSUPPORTED_PROTOCOL"


async def test_a_required_certificate_is_missing_in_tls_1_2(loop, served):
    async with served.running(demanding_context()):
        with pytest.raises(ConnectionResetError):
            await served.client(of_version(client_context(), ssl.TLSVersion.TLSv1_2))
        if error := await served.failure():
            assert error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"


async def test_a_required_certificate_is_missing_in_tls_1_3(loop, served):
    """The client learns of it after its handshake."""
    async with served.running(demanding_context()):
        _, protocol = await served.client(of_version(client_context(), ssl.TLSVersion.TLSv1_3))
        await protocol.ends()
        assert protocol.calls == ["made", "eof", "lost"]
        if error := await served.failure():
            assert error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
        assert served.protocols[0].calls == []


async def test_an_alert_after_the_handshake(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    shaking = loop.create_task(Peer(theirs, demanding_context(), server_side=True).handshake())
    _, protocol = await loop.create_connection(Recorder, sock=ours, ssl=client_context(), server_hostname=NAME)
    with pytest.raises(ssl.SSLError):
        await shaking
    await protocol.ends()
    assert protocol.calls == ["made", "lost"]
    assert protocol.error.reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED"


async def test_plain_text_to_a_server(loop, served):
    async with served.running():
        sock = await served.plain_client()
        sock.send(b"GET / HTTP/1.1\r\n\r\n")
        await read_to_the_end(sock)
        if error := await served.failure():
            assert error.reason == "HTTP_REQUEST"
        assert served.protocols[0].calls == []


async def test_tls_to_a_plain_server(loop):
    async with await loop.create_server(Echo, "127.0.0.1", 0) as server:
        with pytest.raises(ssl.SSLError) as caught:  # the ClientHello comes back
            await loop.create_connection(
                Recorder, *server.sockets[0].getsockname(), ssl=client_context(), server_hostname=NAME
            )
        assert caught.value.reason in {"UNEXPECTED_MESSAGE", "SSLV3_ALERT_UNEXPECTED_MESSAGE"}
        await turns(5)


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("when", ["at once", "in the middle"])
async def test_a_client_that_ends_in_the_handshake(loop, served, when, end):
    async with served.running():
        sock = await served.plain_client()
        if when == "in the middle":
            sock.send(Peer(sock).first_flight())
            await read_some(sock)
        else:
            await until(lambda: served.protocols)
        reset(sock) if end == "reset" else sock.close()
        if error := await served.failure():
            assert isinstance(error, ConnectionResetError)
        assert served.protocols[0].calls == []


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_server_that_ends_in_the_handshake(loop, sockets, end):
    ours, theirs = sockets.tcp_pair()
    connecting = loop.create_task(
        loop.create_connection(Recorder, sock=ours, ssl=client_context(), server_hostname=NAME)
    )
    await read_exactly(theirs, 5)
    if end == "reset":
        reset(theirs)
    else:
        await read_some(theirs)
        theirs.close()
    assert isinstance(await outcome(connecting), ConnectionResetError)
    await until(lambda: ours.fileno() == -1)


async def test_the_server_closes_during_handshakes(loop, served):
    """They go on: close() is about the listening socket."""
    async with served.running():
        sock = await served.plain_client()
        await until(lambda: served.protocols)
        served.server.close()
        peer = Peer(sock)
        await peer.handshake()
        await peer.send(b"hello")
        assert await served.protocols[0].receives(5) == b"hello"
        served.protocols[0].transport.abort()


def test_handshakes_under_way_when_the_program_ends_are_given_up(kind, caplog):
    """By the cancelling of all tasks; there is nothing to warn of."""

    def make_protocol():
        made.append(Recorder())
        return made[0]

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(make_protocol, "127.0.0.1", 0, ssl=server_context())
        sock.connect(server.sockets[0].getsockname())
        await until(lambda: made)
        server.close()

    made = []
    before = descriptors()
    with socket.socket() as sock:
        with asyncio.Runner(loop_factory=kind.new_event_loop) as runner:
            runner.run(main())
        assert sock.recv(1) == b""
    assert descriptors() == before
    assert (INCOMING in caplog.text) == kind.debug
    assert made[0].calls == []


@pytest.mark.skipif(sys.version_info < (3, 13), reason="asyncio's TLS leaves a cycle there itself")
@pytest.mark.uringloop_only("its create_connection leaves the error in a cycle with its frame")
async def test_failed_handshakes_leave_nothing_to_the_garbage_collector(loop, served, reports):
    """Each would be more than 256 KiB that wait for it."""
    async with served.running():
        gc.disable()
        try:
            for _ in range(3):
                with contextlib.suppress(ssl.SSLError):
                    await served.client(True)
                sock = await served.plain_client()
                sock.send(b"GET / HTTP/1.1\r\n\r\n")
                await read_to_the_end(sock)
            await asyncio.sleep(0.02)
            reports.take_all()
            assert not [thing for thing in gc.get_objects() if isinstance(thing, SSLProtocol)]
        finally:
            gc.enable()


# timeouts


async def test_a_server_that_never_answers(loop, sockets):
    ours, _theirs = sockets.tcp_pair()
    began = loop.time()
    with pytest.raises(ConnectionAbortedError) as caught:
        await loop.create_connection(
            Recorder, sock=ours, ssl=client_context(), server_hostname=NAME, ssl_handshake_timeout=0.05
        )
    assert 0.05 <= loop.time() - began < PROMPTLY
    assert str(caught.value) == "SSL handshake is taking longer than 0.05 seconds: aborting the connection"
    await until(lambda: ours.fileno() == -1)


async def test_a_client_that_never_says_hello(loop, served):
    async with served.running(ssl_handshake_timeout=0.05):
        sock = await served.plain_client()
        assert await read_to_the_end(sock) == b""
        if error := await served.failure():
            assert isinstance(error, ConnectionAbortedError)
            assert "longer than 0.05 seconds" in str(error)


@pytest.mark.parametrize("full", [False, True], ids=["silent", "not reading"])
async def test_a_peer_that_never_answers_a_close(loop, sockets, full):
    ours, theirs = sockets.tcp_pair()
    peer = Peer(theirs)
    shaking = loop.create_task(peer.handshake())
    transport, protocol = await loop.connect_accepted_socket(
        Recorder, ours, ssl=server_context(), ssl_shutdown_timeout=0.1
    )
    await shaking
    if full:
        shrink(ours, theirs)
        transport.write(bytes(3_000_000))
    began = loop.time()
    transport.close()
    await protocol.ends()
    assert 0.1 <= loop.time() - began < PROMPTLY
    assert isinstance(protocol.error, TimeoutError)
    assert str(protocol.error) == "SSL shutdown timed out"


@pytest.mark.uringloop_only("before some 3.14, it waits for ever")
@pytest.mark.parametrize("half", [False, True], ids=["close_notify", "half-close"])
async def test_a_peer_that_closes_and_never_reads(loop, sockets, half):
    ours, theirs = sockets.tcp_pair()
    shrink(ours, theirs)
    peer = Peer(theirs)
    shaking = loop.create_task(peer.handshake())
    transport, protocol = await loop.connect_accepted_socket(
        Recorder, ours, ssl=server_context(), ssl_shutdown_timeout=0.1
    )
    await shaking
    transport.write(bytes(3_000_000))
    began = loop.time()
    if half:
        theirs.shutdown(socket.SHUT_WR)
    else:
        await peer.say_end()
    await protocol.ends()
    assert 0.1 <= loop.time() - began < PROMPTLY
    assert isinstance(protocol.error, TimeoutError)


@pytest.mark.parametrize("recorder", [Recorder, ViewRecorder])
async def test_what_was_written_before_the_peer_closes_is_sent(loop, sockets, recorder):
    async with with_peer(sockets, recorder(), server_side=True) as (protocol, peer):
        protocol.transport.write(pattern(3_000_000))
        await peer.say_end()
        await until(lambda: "eof" in protocol.calls)
        assert await peer.receive(3_000_000) == pattern(3_000_000)
        await protocol.ends()
        assert protocol.error is None


# streams that break


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_stream_that_ends_without_a_close_notify(loop, sockets, end):
    async with with_peer(sockets, server_side=True) as (protocol, peer):
        await peer.send(b"some")
        await protocol.receives(4)
        reset(peer.sock) if end == "reset" else peer.sock.close()
        await protocol.ends()
        if end == "close":
            assert protocol.calls == ["made", "data", "eof", "lost"]
            assert protocol.error is None
        else:
            assert protocol.calls == ["made", "data", "lost"]
            assert type(protocol.error) is ConnectionResetError


async def test_a_stream_that_ends_in_the_middle_of_a_record(loop, sockets):
    async with with_peer(sockets, server_side=True) as (protocol, peer):
        peer.tls.write(bytes(1000))
        peer.sock.send(peer._outgoing.read()[:500])
        peer.sock.close()
        await protocol.ends()
        assert protocol.calls == ["made", "eof", "lost"]


@pytest.mark.uringloop_only("it waits for a pause to end that will not")
@pytest.mark.parametrize("recorder", [Recorder, ViewRecorder])
@pytest.mark.parametrize("says_so", [False, True], ids=["end", "close_notify"])
async def test_a_close_after_the_stream_has_ended_while_reading_was_paused(loop, sockets, recorder, says_so):
    async with with_peer(sockets, recorder(), server_side=True) as (protocol, peer):
        protocol.transport.pause_reading()
        await peer.send(b"too late")
        await peer.end(says_so)
        await stays(lambda: protocol.calls == ["made"])
        protocol.transport.close()
        await protocol.ends()
        assert protocol.calls == ["made", "eof", "lost"]
        assert protocol.error is None


@pytest.mark.parametrize("says_so", [False, True], ids=["end", "close_notify"])
async def test_a_stream_that_ends_while_reading_is_paused(loop, sockets, says_so):
    async with with_peer(sockets, server_side=True) as (protocol, peer):
        protocol.transport.pause_reading()
        await peer.send(b"some")
        await peer.end(says_so)
        await stays(lambda: protocol.calls == ["made"])
        protocol.transport.resume_reading()
        await protocol.ends()
        assert protocol.calls == ["made", "data", "eof", "lost"]


@pytest.mark.uringloop_only("it shuts down all the same, and the rest is lost")
@pytest.mark.parametrize("says_so", [False, True], ids=["end", "close_notify"])
async def test_a_protocol_that_pauses_again_gets_all_of_a_stream_that_has_ended(loop, sockets, says_so):
    class Pausing(ViewRecorder):
        def buffer_updated(self, nbytes):
            super().buffer_updated(nbytes)
            self.transport.pause_reading()
            loop.call_later(0.0005, self.transport.resume_reading)

    async with with_peer(sockets, Pausing(100), server_side=True) as (protocol, peer):
        protocol.transport.pause_reading()
        await peer.send(pattern(1050))
        await peer.end(says_so)
        await stays(lambda: protocol.calls == ["made"])
        protocol.transport.resume_reading()
        await protocol.ends()
        assert protocol.data == pattern(1050)
        assert protocol.calls == ["made", "data", "eof", "lost"]


@pytest.mark.uringloop_only("it fails in close(), or when the stream ends")
@pytest.mark.parametrize("recorder", [Recorder, ViewRecorder])
@pytest.mark.parametrize("way", ["close", "end"])
async def test_an_abort_on_what_came_before_the_end(loop, sockets, recorder, way):
    class Aborting(recorder):
        def note(self, call):
            super().note(call)
            if call == "data":
                self.transport.abort()

    async with with_peer(sockets, Aborting(), server_side=True) as (protocol, peer):
        transport = protocol.transport
        transport.pause_reading()
        await peer.send(b"some")
        if way == "end":
            await peer.end(False)
        await stays(lambda: protocol.calls == ["made"])
        transport.resume_reading()
        if way == "close":
            transport.close()
        await protocol.ends()
        assert protocol.calls == ["made", "data", "lost"]
        assert protocol.error is None


async def test_garbage_in_the_stream(loop, sockets, caplog):
    async with with_peer(sockets, server_side=True) as (protocol, peer):
        await peer.send(b"some")
        await protocol.receives(4)
        peer.sock.send(b"this is no record at all")
        await protocol.ends()
        assert protocol.calls == ["made", "data", "lost"]
        assert isinstance(protocol.error, ssl.SSLError)


async def test_a_reset_while_much_is_to_be_sent(loop, sockets):
    async with with_peer(sockets, server_side=True) as (protocol, peer):
        for _ in range(100):
            protocol.transport.write(bytes(200_000))
        await turns(5)
        reset(peer.sock)
        await protocol.ends()
        assert isinstance(protocol.error, ConnectionError)


async def test_a_reader_is_told_of_a_truncated_stream_as_of_an_end(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    peer = Peer(theirs, server_side=True)
    opening = asyncio.open_connection(sock=ours, ssl=client_context(), server_hostname=NAME)
    (reader, writer), _ = await asyncio.gather(opening, peer.handshake())
    await peer.send(b"some")
    peer.sock.close()
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await reader.readexactly(8)
    assert caught.value.partial == b"some"
    writer.close()
    await writer.wait_closed()


# cancelling


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 8, 12])
async def test_a_connection_is_cancelled_in_its_handshake(loop, served, count):
    """However far it has come, nothing of it stays."""
    async with served.running():
        before = descriptors()
        connecting = loop.create_task(served.client())
        await turns(count)
        connecting.cancel()
        result = await outcome(connecting)
        if not isinstance(result, asyncio.CancelledError):
            result[0].close()
        await until(lambda: descriptors() == before)
        await turns(5)
        served.reports.take_all()  # in debug mode, of handshakes that failed


async def test_a_timeout_cancels_a_handshake(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await loop.create_connection(Recorder, sock=ours, ssl=client_context(), server_hostname=NAME)
    await until(lambda: ours.fileno() == -1)
    assert (await read_to_the_end(theirs))[0] == 22  # the ClientHello, and then the end
