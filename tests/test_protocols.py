"""Protocols of stream transports: failing, buffered, replaced, their contexts, their end."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import time
import warnings
import weakref

import pytest
from support.checks import forget, turns, until
from support.protocols import BufferedRecorder, Echo, Recorder, closed, linked
from support.running import variable
from support.sockets import (
    STREAMS,
    pattern,
    read_exactly,
    read_to_the_end,
    sees_the_end,
    send_all,
)

streams = pytest.mark.parametrize("stream", STREAMS)
recorders = pytest.mark.parametrize("recorder", [Recorder, BufferedRecorder])

LARGE = 8_000_000
"""More bytes than the kernel takes at once."""


# exceptions in protocols


class Failing(Recorder):
    """Raises in the callback named, having noted the call."""

    def __init__(self, method):
        super().__init__()
        self.problem = LookupError(method)

        def fail(*args):
            getattr(super(Failing, self), method)(*args)
            raise self.problem

        setattr(self, method, fail)


@pytest.mark.parametrize("method", ["data_received", "eof_received"])
async def test_a_failing_callback_is_reported_and_ends_the_connection(loop, sockets, reports, method):
    protocol = Failing(method)
    async with linked(sockets, protocol) as link:
        link.peer.send(b"x")
        link.peer.shutdown(socket.SHUT_WR)
        await protocol.ends()
        assert protocol.error is protocol.problem
        context = reports.take()
        assert context["message"] == f"Fatal error: protocol.{method}() call failed."
        assert context["exception"] is protocol.problem
        assert context["transport"] is link.transport
        assert context["protocol"] is protocol
        assert await read_to_the_end(link.peer) == b""


async def test_a_failing_connection_made_is_reported_only(loop, sockets, reports):
    protocol = Failing("connection_made")
    async with linked(sockets, protocol) as link:
        context = reports.take()
        assert context["message"].startswith("Exception in callback ")
        assert context["exception"] is protocol.problem
        link.peer.send(b"hello")
        assert await protocol.receives(5) == b"hello"


async def test_a_failing_connection_lost_is_reported_and_the_socket_is_closed(loop, sockets, reports):
    protocol = Failing("connection_lost")
    async with linked(sockets, protocol) as link:
        link.transport.close()
        await closed(link.transport)
        context = reports.take()
        assert context["message"].startswith("Exception in callback ")
        assert context["exception"] is protocol.problem
        assert sees_the_end(link.peer)


@pytest.mark.parametrize("method", ["connection_made", "data_received", "eof_received", "connection_lost"])
@pytest.mark.parametrize("exception", [SystemExit, KeyboardInterrupt])
def test_an_exit_out_of_a_callback_leaves_the_loop_which_goes_on(loop, sockets, method, exception):
    """Until then the others have waited; afterwards they are served."""
    protocol = Failing(method)
    protocol.problem = exception("leaving")
    bystander = Recorder()

    async def connect():
        ours, theirs = sockets.tcp_pair()
        theirs.send(b"x")
        theirs.shutdown(socket.SHUT_WR)
        other, friend = sockets.tcp_pair()
        friend.send(b"still served")
        _, _ = await loop.create_connection(lambda: bystander, sock=other)
        await loop.create_connection(lambda: protocol, sock=ours)
        await protocol.ends()

    with pytest.raises(exception, match="leaving"):
        loop.run_until_complete(connect())
    if method == "data_received":
        assert protocol.data == b"x"

    async def leave():
        await bystander.receives(12)
        for transport in (bystander.transport, protocol.transport):
            transport.abort()
            await closed(transport)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await turns(3)

    del protocol.__dict__[method]
    loop.run_until_complete(leave())


# BufferedProtocol


@streams
@pytest.mark.parametrize("size", [1, 7, 4096, 1_000_000])
async def test_a_buffered_protocol_receives_into_its_own_buffer(loop, sockets, stream, size):
    data = pattern(min(size * 3000, 3_000_000))
    async with linked(sockets, BufferedRecorder(size), stream) as link:
        await send_all(link.peer, data)
        assert await link.protocol.receives(len(data)) == data


async def test_a_buffered_protocol_may_give_a_part_of_its_buffer(loop, sockets):
    """It fills one message after another, as a parser would."""

    class Filling(BufferedRecorder):
        filled = 0

        def get_buffer(self, sizehint):
            return memoryview(self.buffer)[self.filled :]

        def buffer_updated(self, nbytes):
            self.filled += nbytes
            self.note("data")

    data = pattern(100_000)
    async with linked(sockets, Filling(100_000)) as link:
        await send_all(link.peer, data)
        await until(lambda: link.protocol.filled == 100_000)
        assert link.protocol.buffer == data
        link.protocol.filled = 0


@streams
async def test_a_buffered_protocol_that_pauses_gets_nothing_before_it_resumes(loop, sockets, stream):
    """Not even the rest of what has come together with what its buffer holds."""

    class Pausing(BufferedRecorder):
        def buffer_updated(self, nbytes):
            assert self.transport.is_reading()
            super().buffer_updated(nbytes)
            self.transport.pause_reading()

    data = pattern(20_000)
    async with linked(sockets, Pausing(700), stream) as link:
        await send_all(link.peer, data)
        link.peer.shutdown(socket.SHUT_WR)
        while len(link.protocol.data) < len(data):
            before = len(link.protocol.data)
            link.transport.resume_reading()
            await until(lambda before=before: len(link.protocol.data) > before)
            await turns(3)
            assert len(link.protocol.data) <= before + 700
        assert link.protocol.data == data
        assert link.protocol.calls == ["made", "data"]
        link.transport.resume_reading()
        await link.protocol.ends()
        assert link.protocol.calls == ["made", "data", "eof", "lost"]


@streams
async def test_a_buffered_protocol_receives_little_and_much_by_turns(loop, sockets, stream):
    async with linked(sockets, BufferedRecorder(100_000), stream) as link:
        sent = b""
        for size in [100] * 5 + [1_000_000] + [100] * 20 + [1_000_000, 100]:
            data = pattern(size)
            await send_all(link.peer, data)
            sent += data
            assert await link.protocol.receives(len(sent)) == sent


async def test_the_buffer_may_be_resized_in_buffer_updated(loop, sockets):
    """A bytearray cannot be resized while something has a hold of it."""

    class Growing(BufferedRecorder):
        def buffer_updated(self, nbytes):
            super().buffer_updated(nbytes)
            self.buffer += b"more"

    data = pattern(50_000)
    async with linked(sockets, Growing(1000)) as link:
        await send_all(link.peer, data)
        assert await link.protocol.receives(50_000) == data


async def test_an_empty_buffer_is_a_fatal_error(loop, sockets, reports):
    async with linked(sockets, BufferedRecorder(0)) as link:
        link.peer.send(b"x")
        await link.protocol.ends()
        context = reports.take()
        assert context["message"] == "Fatal error: protocol.get_buffer() call failed."
        assert type(context["exception"]) is RuntimeError
        assert str(context["exception"]) == "get_buffer() returned an empty buffer"
        assert context["protocol"] is link.protocol
        assert link.protocol.error is context["exception"]


@pytest.mark.parametrize("after", [0, 1_000_000], ids=["at first", "in bulk"])
@pytest.mark.parametrize("wrong", [bytes(9), memoryview(bytearray(9))[::2], [1, 2]], ids=["fixed", "gaps", "list"])
async def test_what_is_no_buffer_to_write_to_is_a_fatal_error(loop, sockets, reports, wrong, after):
    class Wrong(BufferedRecorder):
        def get_buffer(self, sizehint):
            return super().get_buffer(sizehint) if len(self.data) < after else wrong

    async with linked(sockets, Wrong(200_000)) as link:
        await send_all(link.peer, bytes(after))
        await link.protocol.receives(after)
        link.peer.send(b"x")
        await link.protocol.ends()
        context = reports.take()
        assert context["message"] == "Fatal read error on socket transport"
        assert isinstance(context["exception"], (TypeError, BufferError))
        assert link.protocol.error is context["exception"]


@pytest.mark.parametrize("method", ["get_buffer", "buffer_updated", "eof_received"])
async def test_a_failing_buffered_callback_is_a_fatal_error(loop, sockets, reports, method):
    def fail(*args):
        raise LookupError(method)

    protocol = BufferedRecorder()
    setattr(protocol, method, fail)
    async with linked(sockets, protocol) as link:
        link.peer.send(b"x")
        link.peer.shutdown(socket.SHUT_WR)
        await protocol.ends()
        context = reports.take()
        assert context["message"] == f"Fatal error: protocol.{method}() call failed."
        assert isinstance(context["exception"], LookupError)
        assert protocol.error is context["exception"]


# switching protocols


async def test_the_protocol_can_be_replaced(loop, sockets):
    async with linked(sockets) as link:
        link.peer.send(b"for the first")
        await link.protocol.receives(13)
        second = Recorder()
        link.transport.set_protocol(second)
        assert link.transport.get_protocol() is second
        link.peer.send(b"for the second")
        assert await second.receives(14) == b"for the second"
        assert link.protocol.data == b"for the first"
        link.transport.close()
        await second.ends()
        assert second.calls == ["data", "lost"]
        assert link.protocol.calls == ["made", "data"]


async def test_the_protocol_can_be_replaced_between_plain_and_buffered_in_mid_stream(loop, sockets):
    """Each takes a little and hands over to the other."""
    received = bytearray()

    class Plain(Recorder):
        def data_received(self, data):
            received.extend(data)
            transport.set_protocol(BufferedHalf(size=1 + len(received) % 777))

    class BufferedHalf(BufferedRecorder):
        def buffer_updated(self, nbytes):
            received.extend(self.buffer[:nbytes])
            transport.set_protocol(Plain())

    data = pattern(2_000_000)
    async with linked(sockets, Plain()) as link:
        transport = link.transport
        for start in range(0, len(data), 50_000):
            await send_all(link.peer, data[start : start + 50_000])
            await asyncio.sleep(0)
        await until(lambda: len(received) == len(data))
        assert received == data


async def test_a_protocol_replaced_while_paused_loses_nothing(loop, sockets):
    async with linked(sockets) as link:
        for number in range(20):
            link.peer.send(b"%2d" % number)
            await turns(number % 4)
            link.transport.pause_reading()
            follower = (Recorder, BufferedRecorder)[number % 2]()
            follower.data = link.transport.get_protocol().data
            follower.transport = link.transport
            link.transport.set_protocol(follower)
            link.transport.resume_reading()
        follower = link.transport.get_protocol()
        expected = b"".join(b"%2d" % number for number in range(20))
        assert await follower.receives(40) == expected


async def test_flow_control_goes_to_the_protocol_of_the_moment(loop, sockets):
    async with linked(sockets) as link:
        link.transport.write(bytes(LARGE))
        second = Recorder()
        link.transport.set_protocol(second)
        await read_exactly(link.peer, LARGE)
        await until(lambda: second.calls == ["resume"])
        assert link.protocol.calls == ["made", "pause"]


# contexts


async def test_callbacks_run_in_the_context_the_transport_was_made_in(loop, sockets):
    seen = {}

    class Noting(Recorder):
        def note(self, call):
            super().note(call)
            seen[call] = variable.get("unset")

        def data_received(self, data):
            super().data_received(data)
            self.transport.write(bytes(LARGE))

    async def connect():
        variable.set("of the connection")
        return await loop.create_connection(Noting, sock=ours)

    ours, theirs = sockets.tcp_pair()
    transport, protocol = await loop.create_task(connect())
    variable.set("elsewhere")
    theirs.send(b"x")
    await read_exactly(theirs, LARGE)
    await until(lambda: "resume" in protocol.calls)
    theirs.close()
    await protocol.ends()
    calls = ["made", "data", "pause", "resume", "eof", "lost"]
    assert seen == dict.fromkeys(calls, "of the connection")
    await closed(transport)


# debug mode, and what is left unclosed


async def test_in_debug_mode_a_slow_protocol_is_logged(loop, sockets, caplog):
    class Slow(Recorder):
        def data_received(self, data):
            time.sleep(0.02)
            super().data_received(data)

    loop.slow_callback_duration = 0.01
    async with linked(sockets, Slow()) as link:
        link.peer.send(b"x")
        await link.protocol.receives(1)
        await turns(2)
        logged = [record.message for record in caplog.records if record.message.startswith("Executing <")]
        assert bool(logged) == loop.get_debug()


def test_a_transport_left_unclosed_emits_a_warning(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    connections = [loop.run_until_complete(loop.create_connection(Recorder, sock=ours))]
    loop.close()
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        forget(connections)
    assert ours.fileno() == -1
    assert sees_the_end(theirs)


async def test_a_paused_transport_that_nobody_refers_to_emits_a_warning(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    connections = [await loop.create_connection(Recorder, sock=ours)]
    connections[0][0].pause_reading()
    await turns(3)
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        forget(connections)
    assert ours.fileno() == -1
    assert sees_the_end(theirs)


async def test_a_transport_that_nobody_refers_to_goes_on(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    await loop.create_connection(Echo, sock=ours)
    await turns(3)
    gc.collect()
    for number in range(3):
        theirs.send(b"%d" % number)
        assert await read_exactly(theirs, 1) == b"%d" % number
    theirs.close()
    await until(lambda: ours.fileno() == -1)


async def test_a_closed_transport_is_let_go_and_warns_of_nothing(loop, sockets):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with linked(sockets) as link:
            link.transport.close()
            await link.protocol.ends()
            await turns(2)
        link.transport = link.protocol = None
        gc.collect()
    assert not [thing for thing in gc.get_objects() if isinstance(thing, Recorder)]


@pytest.mark.uringloop_only("asyncio's own refers to itself by its methods", when=sys.version_info < (3, 14))
@pytest.mark.parametrize("end", ["close", "abort"])
async def test_a_closed_transport_is_let_go_without_the_garbage_collector(loop, sockets, end):
    ours, theirs = sockets.tcp_pair()
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    theirs.send(b"hello")
    assert await protocol.receives(5) == b"hello"
    transport.write(bytes(LARGE))
    await turns(2)
    getattr(transport, end)()
    await asyncio.gather(protocol.ends(), loop.run_in_executor(None, read_all, theirs))
    del protocol.transport
    freed = weakref.ref(transport)
    gc.disable()
    try:
        del transport
        await until(lambda: freed() is None)
    finally:
        gc.enable()


def read_all(sock):
    sock.setblocking(True)
    while sock.recv(1_000_000):
        pass
