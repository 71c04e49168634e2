"""What goes through TLS connections: data of every size, flow control, protocols of every kind."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from support.checks import stays, turns, until
from support.protocols import BufferedRecorder, Recorder
from support.running import variable
from support.sockets import pattern, shrink
from support.tls import Peer, ViewRecorder, encrypted, server_context, with_peer

LARGE = 3_000_000


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
        while ends.client.calls[-1] != "pause":
            transport.write(bytes(50_000))
            sent += 50_000
            await asyncio.sleep(0.01)  # what the other side still takes moves on meanwhile
            assert sent < 100_000_000
        assert transport.get_write_buffer_size() >= 20_000
        await stays(lambda: ends.client.calls[-1] == "pause")
        ends.server.transport.resume_reading()
        await until(lambda: ends.client.calls[-1] == "resume")
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
