"""The stream transport and its protocols: writing, reading, ending, failing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import sys
import time

import pytest
from support.checks import stays, turns, until
from support.protocols import BufferedRecorder, Echo, Recorder, closed, linked
from support.sockets import (
    STREAMS,
    fill,
    pattern,
    read_exactly,
    read_some,
    read_to_the_end,
    read_what_is_there,
    reset,
    sees_the_end,
    send_all,
)

streams = pytest.mark.parametrize("stream", STREAMS)
recorders = pytest.mark.parametrize("recorder", [Recorder, BufferedRecorder])

LARGE = 8_000_000
"""More bytes than the kernel takes at once."""


# what a transport is


@streams
async def test_a_transport_is_asyncios_idea_of_one(loop, sockets, stream):
    async with linked(sockets, stream=stream) as link:
        assert isinstance(link.transport, asyncio.Transport)
        assert link.transport.get_protocol() is link.protocol
        assert not link.transport.is_closing()
        assert link.transport.is_reading()
        assert link.transport.can_write_eof()
        assert link.transport.get_write_buffer_size() == 0
        assert link.transport.get_write_buffer_limits() == (16_384, 65_536)
        assert "fd=" in repr(link.transport)


@streams
@recorders
async def test_the_life_of_a_connection(loop, sockets, stream, recorder):
    async with linked(sockets, recorder(), stream) as link:
        link.peer.send(b"question")
        assert await link.protocol.receives(8) == b"question"
        link.transport.write(b"answer")
        assert await read_exactly(link.peer, 6) == b"answer"
        link.peer.send(b"bye")
        link.peer.close()
        await link.protocol.ends()
        assert link.protocol.data == b"questionbye"
        assert link.protocol.calls == ["made", "data", "eof", "lost"]
        assert link.protocol.error is None


async def test_connection_made_comes_before_data_that_was_there_already(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    theirs.send(b"early")
    protocol = Recorder()
    transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
    await protocol.receives(5)
    assert protocol.calls == ["made", "data"]
    transport.close()
    await closed(transport)


@streams
@recorders
async def test_who_makes_a_connection_has_it_before_data_that_was_there_already(loop, sockets, stream, recorder):
    """Of a protocol, for example, whose callbacks use what the maker does with the result."""
    ours, theirs = sockets.pair(stream)
    theirs.send(b"early")
    transport, protocol = await loop.create_connection(recorder, sock=ours)
    assert protocol.calls == ["made"]
    transport.pause_reading()
    await turns(3)
    assert protocol.calls == ["made"]
    transport.resume_reading()
    assert await protocol.receives(5) == b"early"
    transport.close()
    await closed(transport)


async def test_five_hundred_connections_at_once(loop, sockets):
    pairs = [sockets.unix_pair() for _ in range(500)]
    transports = []
    for ours, _ in pairs:
        transport, _ = await loop.create_connection(Echo, sock=ours)
        transports.append(transport)
    for round_number in range(3):
        for number, (_, theirs) in enumerate(pairs):
            theirs.send(b"%4d" % (number * round_number))
        for number, (_, theirs) in enumerate(pairs):
            assert await read_exactly(theirs, 4) == b"%4d" % (number * round_number)
    for transport in transports:
        transport.close()
    for transport in transports:
        await closed(transport)


# writing


@streams
@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
async def test_what_is_written_arrives(loop, sockets, stream, make):
    async with linked(sockets, stream=stream) as link:
        link.transport.write(make(b"hello"))
        assert await read_exactly(link.peer, 5) == b"hello"


@streams
async def test_writes_arrive_in_order(loop, sockets, stream):
    async with linked(sockets, stream=stream) as link:
        expected = b""
        for number in range(1000):
            part = b"%d " % number * (number % 50)
            expected += part
            if number % 3:
                link.transport.write(part)
            else:
                link.transport.writelines([part[:7], part[7:]])
            if number % 100 == 0:
                await asyncio.sleep(0)
        assert await read_exactly(link.peer, len(expected)) == expected


@streams
async def test_a_large_write_arrives_whole(loop, sockets, stream):
    data = pattern(LARGE)
    async with linked(sockets, stream=stream) as link:
        link.transport.write(data)
        link.transport.write(b"and more")
        assert await read_exactly(link.peer, LARGE + 8) == data + b"and more"


async def test_many_large_writes_arrive_in_order(loop, sockets):
    parts = [bytes([number]) * 300_000 for number in range(30)]
    async with linked(sockets) as link:
        for part in parts:
            link.transport.write(part)
        assert await read_exactly(link.peer, 9_000_000) == b"".join(parts)


@pytest.mark.parametrize("count", [0, 1, 3, 2000])
async def test_writelines_writes_every_part(loop, sockets, count):
    parts = [b"%d," % number for number in range(count)]
    async with linked(sockets) as link:
        link.transport.writelines(parts)
        link.transport.writelines([bytearray(b"a"), memoryview(b"b")])
        expected = b"".join(parts) + b"ab"
        assert await read_exactly(link.peer, len(expected)) == expected


async def test_writelines_takes_any_iterable(loop, sockets):
    async with linked(sockets) as link:
        link.transport.writelines(b"%d" % number for number in range(10))
        link.transport.writelines((b"a", b"b"))
        assert await read_exactly(link.peer, 12) == b"0123456789ab"


async def test_a_large_writelines_arrives_whole(loop, sockets):
    data = pattern(LARGE)
    async with linked(sockets) as link:
        link.transport.writelines([data[:1], data[1:3_000_000], data[3_000_000:]])
        link.transport.write(b"and more")
        assert await read_exactly(link.peer, LARGE + 8) == data + b"and more"


async def test_writing_nothing_sends_nothing(loop, sockets):
    async with linked(sockets) as link:
        link.transport.write(b"")
        link.transport.writelines([])
        link.transport.writelines([b"", b"x", b""])
        assert await read_exactly(link.peer, 1) == b"x"
        assert link.transport.get_write_buffer_size() == 0


@pytest.mark.parametrize("data", ["text", None, 42, ["list"]])
async def test_only_bytes_can_be_written(loop, sockets, data):
    async with linked(sockets) as link:
        with pytest.raises(TypeError) as caught:
            link.transport.write(data)
        expected = "bytes, bytearray, or memoryview object" if sys.version_info >= (3, 14) else "bytes-like object"
        assert str(caught.value) == f"data argument must be a {expected}, not {type(data).__name__!r}"
        link.transport.write(b"x")
        assert await read_exactly(link.peer, 1) == b"x"


@pytest.mark.parametrize("make", [lambda data: data, memoryview])
async def test_what_is_changed_after_the_write_is_sent_as_it_was(loop, sockets, make):
    async with linked(sockets) as link:
        data = bytearray(b"hello")
        link.transport.write(make(data))
        data[:] = b"-----"
        assert await read_exactly(link.peer, 5) == b"hello"


@pytest.mark.uringloop_only(
    "asyncio's loop since 3.12 sends what does not go out at once from the caller's own memory",
    when=sys.version_info >= (3, 12),
)
@pytest.mark.parametrize("make", [lambda data: data, memoryview])
async def test_what_is_changed_after_a_large_write_is_sent_as_it_was(loop, sockets, make):
    data = pattern(LARGE)
    async with linked(sockets) as link:
        changing = bytearray(data)
        link.transport.write(make(changing))
        changing[:] = bytes(LARGE)
        assert await read_exactly(link.peer, LARGE) == data


async def test_a_view_that_is_not_contiguous_is_sent_right_or_not_at_all(loop, sockets, reports):
    """asyncio's loop ends the connection with a BufferError."""
    async with linked(sockets) as link:
        link.transport.write(memoryview(b"a-b-c-")[::2])
        link.transport.close()
        assert await read_to_the_end(link.peer) in (b"", b"abc")
        await link.protocol.ends()
        for context in reports.take_all():
            assert isinstance(context["exception"], BufferError)


async def test_a_write_in_connection_made_arrives_first(loop, sockets):
    class Greeter(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(b"welcome,")

    async with linked(sockets, Greeter()) as link:
        link.transport.write(b"friend")
        assert await read_exactly(link.peer, 14) == b"welcome,friend"


async def test_writing_goes_on_while_reading(loop, sockets):
    """Both directions are full all the time."""
    data = pattern(LARGE)
    async with linked(sockets, Echo()) as link:
        received = bytearray()
        sent = 0
        while len(received) < LARGE:
            received += read_what_is_there(link.peer)
            with contextlib.suppress(BlockingIOError):
                sent += link.peer.send(data[sent : sent + 100_000])
            await asyncio.sleep(0)
        assert received == data


# the end of writing


@streams
async def test_write_eof_ends_one_direction_only(loop, sockets, stream):
    async with linked(sockets, stream=stream) as link:
        link.transport.write(b"last words")
        link.transport.write_eof()
        link.transport.write_eof()  # a second time changes nothing
        assert await read_to_the_end(link.peer) == b"last words"
        link.peer.send(b"I hear you")
        assert await link.protocol.receives(10) == b"I hear you"
        assert not link.transport.is_closing()


async def test_write_eof_comes_after_all_that_was_written(loop, sockets):
    data = pattern(LARGE)
    async with linked(sockets) as link:
        link.transport.write(data)
        link.transport.write_eof()
        assert await read_to_the_end(link.peer) == data


async def test_nothing_can_be_written_after_write_eof(loop, sockets):
    async with linked(sockets) as link:
        link.transport.write_eof()
        with pytest.raises(RuntimeError) as caught:
            link.transport.write(b"x")
        assert str(caught.value) == "Cannot call write() after write_eof()"
        with pytest.raises(RuntimeError, match=r"^Cannot call write(lines)?\(\) after write_eof\(\)$"):
            link.transport.writelines([b"x"])


async def test_write_eof_after_close_changes_nothing(loop, sockets):
    async with linked(sockets) as link:
        link.transport.write(b"data")
        link.transport.close()
        link.transport.write_eof()
        assert await read_to_the_end(link.peer) == b"data"
        await link.protocol.ends()


# flow control


@streams
async def test_a_full_buffer_pauses_the_protocol_and_an_emptied_one_resumes_it(loop, sockets, stream):
    async with linked(sockets, stream=stream) as link:
        link.transport.write(bytes(LARGE))
        assert link.protocol.calls == ["made", "pause"]
        assert link.transport.get_write_buffer_size() > 65_536
        link.transport.write(b"more")
        await turns(3)
        assert link.protocol.calls == ["made", "pause"]
        await read_exactly(link.peer, LARGE + 4)
        await until(lambda: link.protocol.calls == ["made", "pause", "resume"])
        assert link.transport.get_write_buffer_size() == 0


async def test_the_protocol_is_resumed_at_the_low_limit(loop, sockets):
    sizes = []

    class Noting(Recorder):
        def resume_writing(self):
            super().resume_writing()
            sizes.append(self.transport.get_write_buffer_size())

    async with linked(sockets, Noting()) as link:
        link.transport.set_write_buffer_limits(high=6_000_000, low=1_000_000)
        for _ in range(100):
            link.transport.write(bytes(100_000))
        while not sizes:
            read_what_is_there(link.peer)
            await asyncio.sleep(0)
        assert 0 <= sizes[0] <= 1_000_000
        while link.transport.get_write_buffer_size():
            read_what_is_there(link.peer)
            await asyncio.sleep(0)
        assert link.protocol.calls == ["made", "pause", "resume"]


async def test_pausing_and_resuming_alternate(loop, sockets):
    async with linked(sockets) as link:
        fill_level = fill(link.sock)
        expected = ["made"]
        for _ in range(3):
            link.transport.write(bytes(100_000))
            expected += ["pause"]
            assert link.protocol.calls == expected
            await read_exactly(link.peer, fill_level + 100_000)
            expected += ["resume"]
            await until(lambda expected=expected: link.protocol.calls == expected)
            fill_level = fill(link.sock)


LIMITS = [
    ({}, (16_384, 65_536)),
    ({"high": 1000}, (250, 1000)),
    ({"low": 1000}, (1000, 4000)),
    ({"high": 1000, "low": 10}, (10, 1000)),
    ({"high": 0}, (0, 0)),
    ({"high": 5, "low": 5}, (5, 5)),
]


@pytest.mark.parametrize(("limits", "expected"), LIMITS)
async def test_limits_are_set_and_got(loop, sockets, limits, expected):
    async with linked(sockets) as link:
        link.transport.set_write_buffer_limits(**limits)
        assert link.transport.get_write_buffer_limits() == expected


@pytest.mark.parametrize("limits", [{"high": 1, "low": 2}, {"high": -1}, {"low": -1}])
async def test_impossible_limits_are_refused(loop, sockets, limits):
    async with linked(sockets) as link:
        with pytest.raises(ValueError, match=r"^high \(-?\d+\) must be >= low \(-?\d+\) must be >= 0$"):
            link.transport.set_write_buffer_limits(**limits)
        assert link.transport.get_write_buffer_limits() == (16_384, 65_536)


async def test_lowering_the_limit_below_what_is_buffered_pauses(loop, sockets):
    async with linked(sockets) as link:
        link.transport.set_write_buffer_limits(high=2 * LARGE)
        link.transport.write(bytes(LARGE))
        await turns(3)
        assert link.protocol.calls == ["made"]
        link.transport.set_write_buffer_limits(high=1000)
        assert link.protocol.calls == ["made", "pause"]


@pytest.mark.uringloop_only(
    "asyncio's loop of 3.12 and 3.13 had to learn it in a later release of each",
    when=sys.version_info >= (3, 12),
)
async def test_writelines_pauses_the_protocol_like_write(loop, sockets):
    async with linked(sockets) as link:
        link.transport.writelines([bytes(LARGE)])
        await turns(1)
        assert link.protocol.calls == ["made", "pause"]


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
async def test_a_failing_flow_control_callback_is_reported_only(loop, sockets, reports, method):
    def fail():
        raise LookupError(method)

    protocol = Recorder()
    setattr(protocol, method, fail)
    async with linked(sockets, protocol) as link:
        link.transport.write(bytes(LARGE))
        await read_exactly(link.peer, LARGE)
        await until(lambda: not link.transport.get_write_buffer_size())
        context = reports.take()
        assert context["message"] == f"protocol.{method}() failed"
        assert isinstance(context["exception"], LookupError)
        assert context["transport"] is link.transport
        assert context["protocol"] is protocol
        link.transport.write(b"goes on")
        assert await read_exactly(link.peer, 7) == b"goes on"


# pausing reading


@streams
@recorders
async def test_pausing_stops_delivery_at_once_and_loses_nothing(loop, sockets, stream, recorder):
    class Pausing(recorder):
        deliveries = 0

        def note(self, call):
            super().note(call)
            if call == "data":
                self.deliveries += 1
                self.transport.pause_reading()

    data = pattern(300_000)
    async with linked(sockets, Pausing(), stream) as link:
        send = loop.create_task(send_all(link.peer, data))
        for number in range(1, 10**6):
            await until(lambda number=number: link.protocol.deliveries == number)
            assert not link.transport.is_reading()
            if number < 10:
                await stays(lambda number=number: link.protocol.deliveries == number, 0.01)
            if len(link.protocol.data) == len(data):
                break
            link.transport.resume_reading()
            assert link.transport.is_reading()
        await send
        assert link.protocol.data == data


async def test_pausing_between_turns_holds_back_what_has_come_meanwhile(loop, sockets):
    async with linked(sockets) as link:
        expected = b""
        for number in range(50):
            link.peer.send(b"%d," % number)
            expected += b"%d," % number
            await turns(number % 4)
            link.transport.pause_reading()
            seen = bytes(link.protocol.data)
            await turns(3)
            assert link.protocol.data == seen
            assert expected.startswith(seen)
            link.transport.resume_reading()
        assert await link.protocol.receives(len(expected)) == expected


async def test_reading_can_be_paused_in_connection_made(loop, sockets):
    class Shy(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    async with linked(sockets, Shy()) as link:
        link.peer.send(b"hello")
        await stays(lambda: link.protocol.calls == ["made"])
        link.transport.resume_reading()
        assert await link.protocol.receives(5) == b"hello"


async def test_pausing_and_resuming_twice_changes_nothing(loop, sockets):
    async with linked(sockets) as link:
        link.transport.resume_reading()
        for method in ("pause_reading", "pause_reading", "resume_reading", "resume_reading"):
            getattr(link.transport, method)()
        assert link.transport.is_reading()
        link.peer.send(b"hello")
        assert await link.protocol.receives(5) == b"hello"


async def test_resuming_and_pausing_in_one_turn_delivers_nothing(loop, sockets):
    async with linked(sockets) as link:
        link.transport.pause_reading()
        link.peer.send(b"hello")
        await turns(3)
        for _ in range(5):
            link.transport.resume_reading()
            link.transport.pause_reading()
            await turns(2)
        assert not link.protocol.data
        link.transport.resume_reading()
        assert await link.protocol.receives(5) == b"hello"


async def test_the_end_waits_while_reading_is_paused(loop, sockets):
    async with linked(sockets) as link:
        link.transport.pause_reading()
        link.peer.send(b"last words")
        link.peer.close()
        await stays(lambda: link.protocol.calls == ["made"])
        link.transport.resume_reading()
        await link.protocol.ends()
        assert link.protocol.calls == ["made", "data", "eof", "lost"]
        assert link.protocol.data == b"last words"


async def test_a_paused_transport_can_be_closed(loop, sockets):
    async with linked(sockets) as link:
        link.transport.pause_reading()
        link.peer.send(b"never read")
        await turns(3)
        link.transport.close()
        link.transport.resume_reading()  # too late
        await link.protocol.ends()
        assert link.protocol.calls == ["made", "lost"]
        assert link.protocol.error is None


async def test_a_paused_transport_holds_up_its_sender(loop, sockets):
    async with linked(sockets) as link:
        link.transport.pause_reading()
        sent = 0
        for _ in range(30):
            sent += fill(link.peer)
            await asyncio.sleep(0.002)
        assert sent < 3 * LARGE  # what is read ahead has a bound
        link.transport.resume_reading()
        await link.protocol.receives(sent)


async def test_a_paused_transport_holds_up_one_who_sends_little_at_a_time(loop, sockets):
    async with linked(sockets) as link:
        link.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        link.transport.pause_reading()
        sent = await trickle(link.peer)
        link.transport.resume_reading()
        await link.protocol.receives(sent)


async def trickle(sock):
    """Send a little in every turn until the kernel takes no more; say how much it took."""
    sent = 0
    for _ in range(2000):
        try:
            sent += sock.send(bytes(500))
        except BlockingIOError:
            return sent
        await asyncio.sleep(0)
    raise AssertionError("nobody holds up the sender")


# ending


@streams
async def test_close_sends_what_was_written_first(loop, sockets, stream):
    data = pattern(LARGE)
    async with linked(sockets, stream=stream) as link:
        link.transport.write(data)
        link.transport.close()
        assert link.transport.is_closing()
        assert await read_to_the_end(link.peer) == data
        await link.protocol.ends()
        assert link.protocol.error is None
        assert link.protocol.calls == ["made", "pause", "resume", "lost"]


@streams
async def test_close_of_an_idle_connection(loop, sockets, stream):
    async with linked(sockets, stream=stream) as link:
        link.transport.close()
        assert link.transport.is_closing()
        assert not link.transport.is_reading()
        assert link.protocol.calls == ["made"]  # connection_lost comes in a turn of its own
        link.transport.close()  # a second time changes nothing
        await link.protocol.ends()
        assert await read_some(link.peer) == b""
        await turns(5)
        assert link.protocol.calls == ["made", "lost"]
        assert link.protocol.error is None


async def test_nothing_is_delivered_after_close(loop, sockets):
    for wait in range(5):
        async with linked(sockets) as link:
            link.peer.send(b"too late?")
            await turns(wait)
            link.transport.close()
            seen = bytes(link.protocol.data)
            link.peer.send(b"too late")
            await link.protocol.ends()
            assert link.protocol.data == seen
            assert "eof" not in link.protocol.calls


async def test_a_protocol_may_close_in_every_callback(loop, sockets):
    for method in ("connection_made", "data_received", "eof_received"):

        class Closing(Recorder):
            def note(self, call, method=method):
                super().note(call)
                if method.startswith(call) or method.endswith(f"_{call}"):
                    self.transport.close()

        protocol = Closing()
        async with linked(sockets, protocol) as link:
            with contextlib.suppress(OSError):  # it may be closed already
                link.peer.send(b"x")
                link.peer.shutdown(socket.SHUT_WR)
            await protocol.ends()
            assert protocol.calls[-1] == "lost"
            assert protocol.calls.count("lost") == 1


async def test_data_written_in_data_received_before_close_is_sent(loop, sockets):
    class Replying(Recorder):
        def data_received(self, data):
            self.transport.write(b"reply to " + data)
            self.transport.close()

    async with linked(sockets, Replying()) as link:
        link.peer.send(b"question")
        assert await read_to_the_end(link.peer) == b"reply to question"


@streams
async def test_abort_drops_what_was_written(loop, sockets, stream):
    async with linked(sockets, stream=stream) as link:
        link.transport.write(bytes(LARGE))
        await turns(2)
        link.transport.abort()
        assert link.transport.is_closing()
        await link.protocol.ends()
        assert link.protocol.error is None
        assert link.protocol.calls == ["made", "pause", "lost"]
        assert len(await read_to_the_end(link.peer)) < LARGE


async def test_abort_after_close_drops_the_rest(loop, sockets):
    async with linked(sockets) as link:
        link.transport.write(bytes(LARGE))
        link.transport.close()
        await turns(3)
        assert link.protocol.calls == ["made", "pause"]
        link.transport.abort()
        link.transport.abort()
        await link.protocol.ends()
        assert link.protocol.error is None
        assert len(await read_to_the_end(link.peer)) < LARGE


async def test_connection_lost_is_called_once_whatever_happens_at_once(loop, sockets):
    for number in range(12):
        async with linked(sockets) as link:
            deeds = [
                lambda link=link: link.transport.write(bytes(LARGE)),
                link.transport.close,
                link.transport.abort,
                lambda link=link: reset(link.peer),
            ]
            random.Random(number).shuffle(deeds)
            for deed in deeds:
                deed()
                await turns(number % 3)
            await link.protocol.ends()
            await turns(5)
            assert link.protocol.calls.count("lost") == 1


@streams
async def test_the_peer_sees_the_end_when_connection_lost_has_been_called(loop, sockets, stream):
    async with linked(sockets, stream=stream) as link:
        link.transport.close()
        await link.protocol.ends()
        await turns(1)
        assert sees_the_end(link.peer)


@recorders
@pytest.mark.parametrize("answer", [None, False])
async def test_the_end_closes_the_transport_unless_the_protocol_says_otherwise(loop, sockets, recorder, answer):
    async with linked(sockets, recorder(keep_open=answer)) as link:
        link.peer.shutdown(socket.SHUT_WR)
        await link.protocol.ends()
        assert link.protocol.calls == ["made", "eof", "lost"]
        assert link.protocol.error is None
        assert await read_to_the_end(link.peer) == b""


@streams
@recorders
async def test_a_protocol_may_go_on_writing_after_the_end(loop, sockets, stream, recorder):
    async with linked(sockets, recorder(keep_open=True), stream) as link:
        link.peer.send(b"question")
        link.peer.shutdown(socket.SHUT_WR)
        await until(lambda: "eof" in link.protocol.calls)
        data = pattern(LARGE)
        link.transport.write(data)
        assert await read_exactly(link.peer, LARGE) == data
        assert link.protocol.calls[:3] == ["made", "data", "eof"]
        assert "lost" not in link.protocol.calls
        link.transport.close()
        await link.protocol.ends()
        assert link.protocol.calls.count("eof") == 1
        assert link.protocol.error is None


async def test_a_connection_ended_in_both_directions_waits_for_close(loop, sockets):
    async with linked(sockets, Recorder(keep_open=True)) as link:
        link.transport.write_eof()
        link.peer.shutdown(socket.SHUT_WR)
        await until(lambda: "eof" in link.protocol.calls)
        before = time.thread_time()
        await stays(lambda: link.protocol.calls == ["made", "eof"], 0.1)
        assert time.thread_time() - before < 0.09
        link.transport.close()
        await link.protocol.ends()


async def test_a_reset_is_the_error_of_connection_lost(loop, sockets):
    async with linked(sockets) as link:
        await turns(2)
        reset(link.peer)
        await link.protocol.ends()
        assert link.protocol.calls == ["made", "lost"]
        assert type(link.protocol.error) is ConnectionResetError
        assert str(link.protocol.error) == "[Errno 104] Connection reset by peer"


async def test_a_reset_while_writing_is_the_error_of_connection_lost(loop, sockets):
    async with linked(sockets) as link:
        link.transport.write(bytes(LARGE))
        await turns(2)
        reset(link.peer)
        await link.protocol.ends()
        assert isinstance(link.protocol.error, ConnectionError)
        assert link.protocol.calls.count("lost") == 1
        assert link.transport.get_write_buffer_size() == 0


async def test_a_reset_while_reading_is_paused_shows_when_resumed(loop, sockets):
    async with linked(sockets) as link:
        link.transport.pause_reading()
        await turns(2)
        reset(link.peer)
        await turns(3)
        link.transport.resume_reading()
        await link.protocol.ends()
        assert type(link.protocol.error) is ConnectionResetError


async def test_writing_to_one_who_left_ends_the_connection(loop, sockets):
    async with linked(sockets, stream="unix", protocol=Recorder(keep_open=True)) as link:
        link.peer.close()
        await until(lambda: "eof" in link.protocol.calls)
        link.transport.write(b"x")
        await link.protocol.ends()
        assert isinstance(link.protocol.error, BrokenPipeError)


async def test_writes_after_the_end_are_dropped_and_then_warned_of(loop, sockets, caplog):
    warning = "socket.send() raised exception."
    async with linked(sockets) as link:
        link.transport.abort()
        for number in range(10):
            link.transport.write(b"lost")
            warned = [record for record in caplog.records if record.message == warning]
            if number < 4:
                assert not warned
        assert warned
        await link.protocol.ends()
        link.transport.write(b"lost")
        assert link.transport.get_write_buffer_size() == 0


async def test_a_closed_transport_still_answers(loop, sockets):
    async with linked(sockets) as link:
        sockname = link.transport.get_extra_info("sockname")
        link.transport.close()
        await closed(link.transport)
        assert link.transport.is_closing()
        assert not link.transport.is_reading()
        assert link.transport.get_extra_info("sockname") == sockname
        assert link.transport.get_extra_info("socket").fileno() == -1
        link.transport.close()
        link.transport.abort()
        assert "clos" in repr(link.transport)


async def test_a_write_after_the_socket_was_closed_under_the_transport_reaches_no_stranger(loop, sockets):
    """The number of the socket is that of another one then; the write fails instead."""
    ours, _theirs = sockets.tcp_pair()
    stranger, other_end = sockets.unix_pair()
    recorder = Recorder()
    transport, _ = await loop.create_connection(lambda: recorder, sock=ours)
    transport.pause_reading()
    number = ours.fileno()
    ours.close()
    os.dup2(stranger.fileno(), number)
    try:
        transport.write(b"not for you")
        await recorder.lost.wait()
        with pytest.raises(BlockingIOError):
            other_end.recv(100, socket.MSG_DONTWAIT)
    finally:
        os.close(number)
