"""connect_read_pipe and connect_write_pipe: pipes, and what can be used like them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import gc
import logging
import os
import pty
import socket
import threading
import time
import tty
import warnings
import weakref
from collections.abc import Iterator
from typing import IO

import pytest
from support.checks import outcome, stays, turns, until, without_garbage_collector
from support.protocols import Recorder
from support.sockets import pattern, reset

KINDS = ["pipe", "fifo", "unix", "tcp", "pty"]
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

LARGE = 3_000_000
"""More bytes than a pipe holds."""


class Ends(contextlib.ExitStack):
    """Makes pairs of a file object, for a transport, and a descriptor, for the test."""

    def __init__(self, sockets, folder) -> None:
        super().__init__()
        self._sockets = sockets
        self._folder = folder
        self._held: set[int] = set()

    def __enter__(self) -> Ends:
        self.callback(self._close_held)
        return self

    def to_read(self, kind: str = "pipe") -> tuple[IO[bytes], int]:
        return self._pair(kind, "rb")

    def to_write(self, kind: str = "pipe") -> tuple[IO[bytes], int]:
        return self._pair(kind, "wb")

    def close(self, fd: int) -> None:
        """Close a descriptor that the test was given."""
        self._held.remove(fd)
        os.close(fd)

    def _pair(self, kind: str, mode: str) -> tuple[IO[bytes], int]:
        ours, theirs = getattr(self, f"_{kind}")(mode)
        self._held.add(theirs)
        return open(ours, mode, 0), theirs

    def _pipe(self, mode: str) -> tuple[int, int]:
        source, sink = os.pipe()
        return (source, sink) if mode == "rb" else (sink, source)

    def _fifo(self, mode: str) -> tuple[int, int]:
        path = self._folder / "fifo"
        os.mkfifo(path)
        source = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        sink = os.open(path, os.O_WRONLY)
        os.set_blocking(source, True)
        return (source, sink) if mode == "rb" else (sink, source)

    def _unix(self, mode: str) -> tuple[int, int]:
        ours, theirs = socket.socketpair()
        return ours.detach(), theirs.detach()

    def _tcp(self, mode: str) -> tuple[int, int]:
        ours, theirs = self._sockets.tcp_pair()
        theirs.setblocking(True)
        return ours.detach(), theirs.detach()

    def _pty(self, mode: str) -> tuple[int, int]:
        ours, theirs = pty.openpty()
        tty.setraw(theirs)
        return ours, theirs

    def _close_held(self) -> None:
        for fd in self._held:
            os.close(fd)


@pytest.fixture
def ends(sockets, tmp_path) -> Iterator[Ends]:
    with Ends(sockets, tmp_path) as ends:
        yield ends


@contextlib.asynccontextmanager
async def reading(pipe, protocol=None):
    """A transport that reads from the pipe, closed in the end."""
    loop = asyncio.get_running_loop()
    protocol = protocol or Recorder()
    transport, _ = await loop.connect_read_pipe(lambda: protocol, pipe)
    try:
        yield transport, protocol
    finally:
        transport.close()
        await until(lambda: pipe.closed)


@contextlib.asynccontextmanager
async def writing(pipe, protocol=None):
    """A transport that writes to the pipe, closed in the end."""
    loop = asyncio.get_running_loop()
    protocol = protocol or Recorder()
    transport, _ = await loop.connect_write_pipe(lambda: protocol, pipe)
    try:
        yield transport, protocol
    finally:
        if not pipe.closed:
            transport.abort()
            await until(lambda: pipe.closed)


def read_all(fd: int, count: int) -> bytes:
    """Read so many bytes, blocking."""
    data = bytearray()
    while len(data) < count and (chunk := os.read(fd, 65536)):
        data += chunk
    return bytes(data)


async def in_thread(function, *args):
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


# reading


@pytest.mark.parametrize("kind_of_pipe", KINDS)
async def test_what_is_written_is_received(loop, ends, kind_of_pipe):
    pipe, theirs = ends.to_read(kind_of_pipe)
    async with reading(pipe) as (_, protocol):
        os.write(theirs, b"one")
        assert await protocol.receives(3) == b"one"
        os.write(theirs, b" two")
        assert await protocol.receives(7) == b"one two"
        assert protocol.calls == ["made", "data"]


@pytest.mark.parametrize("kind_of_pipe", KINDS[:-1])
async def test_the_end_of_what_is_read_ends_the_transport(loop, ends, kind_of_pipe):
    pipe, theirs = ends.to_read(kind_of_pipe)
    async with reading(pipe) as (transport, protocol):
        os.write(theirs, b"bye")
        ends.close(theirs)
        await protocol.ends()
        assert protocol.data == b"bye"
        assert protocol.calls == ["made", "data", "eof", "lost"]
        assert protocol.error is None
        assert transport.is_closing()
        assert pipe.closed


async def test_the_end_is_the_end_even_if_the_protocol_would_keep_it_open(loop, ends):
    pipe, theirs = ends.to_read()
    async with reading(pipe, Recorder(keep_open=True)) as (_, protocol):
        ends.close(theirs)
        await protocol.ends()
        assert protocol.calls == ["made", "eof", "lost"]


async def test_a_terminal_that_is_closed_is_lost_with_its_error(loop, ends):
    pipe, theirs = ends.to_read("pty")
    async with reading(pipe) as (_, protocol):
        os.write(theirs, b"bye")
        await protocol.receives(3)
        ends.close(theirs)
        await protocol.ends()
        assert protocol.calls == ["made", "data", "lost"]
        assert protocol.error.errno == errno.EIO


async def test_a_read_that_fails_is_reported(loop, ends, sockets, reports):
    ours, theirs = sockets.tcp_pair()
    pipe = open(ours.detach(), "rb", 0)  # noqa: SIM115
    async with reading(pipe) as (transport, protocol):
        reset(theirs)
        await protocol.ends()
        assert isinstance(protocol.error, ConnectionResetError)
    report = reports.take()
    assert report["message"] == "Fatal read error on pipe transport"
    assert report["exception"] is protocol.error
    assert report["transport"] is transport
    assert report["protocol"] is protocol


async def test_what_a_read_transport_says_of_itself(loop, ends):
    pipe, _ = ends.to_read()
    async with reading(pipe) as (transport, protocol):
        assert isinstance(transport, asyncio.ReadTransport)
        assert transport.get_extra_info("pipe") is pipe
        assert transport.get_extra_info("other", "default") == "default"
        assert transport.get_protocol() is protocol
        assert transport.is_reading()
        assert not transport.is_closing()
        assert f"fd={pipe.fileno()}" in repr(transport)
        assert not os.get_blocking(pipe.fileno())
        transport.close()
        assert transport.is_closing()
        assert not transport.is_reading()
        await until(lambda: pipe.closed)
        assert "closed" in repr(transport)
        assert transport.get_extra_info("pipe") is pipe


async def test_connection_made_comes_before_data_that_was_there_already(loop, ends):
    pipe, theirs = ends.to_read()
    os.write(theirs, b"early")
    async with reading(pipe) as (_, protocol):
        assert protocol.calls == ["made"]  # and before its maker has it
        await protocol.receives(5)
        assert protocol.calls == ["made", "data"]


@pytest.mark.parametrize("kind_of_pipe", KINDS[:-1])
async def test_much_data_is_received_in_order(loop, ends, kind_of_pipe):
    pipe, theirs = ends.to_read(kind_of_pipe)
    data = pattern(LARGE)
    async with reading(pipe) as (_, protocol):
        await in_thread(write_all, theirs, data)
        assert await protocol.receives(LARGE) == data


async def test_nothing_is_delivered_while_reading_is_paused(loop, ends):
    pipe, theirs = ends.to_read()
    async with reading(pipe) as (transport, protocol):
        transport.pause_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        os.write(theirs, b"one")
        await stays(lambda: not protocol.data)
        transport.resume_reading()
        transport.resume_reading()
        assert transport.is_reading()
        assert await protocol.receives(3) == b"one"


async def test_the_end_is_not_told_while_reading_is_paused(loop, ends):
    pipe, theirs = ends.to_read()
    async with reading(pipe) as (transport, protocol):
        transport.pause_reading()
        os.write(theirs, b"bye")
        ends.close(theirs)
        await stays(lambda: protocol.calls == ["made"])
        transport.resume_reading()
        await protocol.ends()
        assert protocol.calls == ["made", "data", "eof", "lost"]


async def test_reading_may_be_paused_from_the_beginning(loop, ends):
    class Pausing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    pipe, theirs = ends.to_read()
    os.write(theirs, b"early")
    async with reading(pipe, Pausing()) as (transport, protocol):
        await stays(lambda: not protocol.data)
        transport.resume_reading()
        assert await protocol.receives(5) == b"early"


async def test_pauses_lose_nothing(loop, ends):
    """Paused at each delivery, and resumed at any time after."""

    class Hesitant(Recorder):
        def data_received(self, data):
            assert self.transport.is_reading()
            super().data_received(data)
            self.transport.pause_reading()
            pauses = len(self.data) % 3
            if pauses == 0:
                self.transport.resume_reading()
            elif pauses == 1:
                loop.call_soon(self.transport.resume_reading)
            else:
                loop.call_later(0.001, self.transport.resume_reading)

    pipe, theirs = ends.to_read()
    data = pattern(LARGE)
    async with reading(pipe, Hesitant()) as (_, protocol):
        await in_thread(write_in_pieces, theirs, data)
        assert await protocol.receives(LARGE) == data
        ends.close(theirs)
        await protocol.ends()


def write_in_pieces(fd: int, data: bytes) -> None:
    start, size = 0, 1
    while start < len(data):
        write_all(fd, data[start : start + size])
        start += size
        size = size * 7 % 100_003


async def test_a_read_transport_that_is_closed_tells_only_that(loop, ends):
    pipe, theirs = ends.to_read()
    async with reading(pipe) as (transport, protocol):
        os.write(theirs, b"late")
        transport.close()
        transport.close()
        await protocol.ends()
        assert protocol.calls == ["made", "lost"]
        assert protocol.error is None
        assert pipe.closed
        with pytest.raises(BrokenPipeError):
            os.write(theirs, b"nobody")
        transport.pause_reading()
        transport.resume_reading()
        transport.close()
        await turns(3)
        assert protocol.calls == ["made", "lost"]


@pytest.mark.parametrize("moment", ["data", "eof"])
async def test_a_read_transport_may_be_closed_in_a_callback(loop, ends, moment):
    class Closing(Recorder):
        def note(self, call):
            super().note(call)
            if call == moment:
                self.transport.close()

    pipe, theirs = ends.to_read()
    async with reading(pipe, Closing()) as (_, protocol):
        os.write(theirs, b"data")
        ends.close(theirs)
        await protocol.ends()
        expected = ["made", "data", "eof"]
        assert protocol.calls == [*expected[: expected.index(moment) + 1], "lost"]


class Reluctant(Recorder):
    """Closes, or aborts, at once."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def connection_made(self, transport):
        super().connection_made(transport)
        if hasattr(transport, "write"):
            transport.write(b"early")
        getattr(transport, self.how)()


@pytest.mark.uringloop_only("in debug mode asyncio's loop asks the closed pipe for its descriptor")
@pytest.mark.parametrize(("direction", "how"), [("read", "close"), ("write", "close"), ("write", "abort")])
async def test_a_transport_may_be_closed_in_connection_made(loop, ends, direction, how):
    pipe, theirs = getattr(ends, f"to_{direction}")()
    if direction == "read":
        os.write(theirs, b"early")
    protocol = Reluctant(how)
    transport, _ = await getattr(loop, f"connect_{direction}_pipe")(lambda: protocol, pipe)
    assert transport.is_closing()
    await protocol.ends()
    assert protocol.calls == ["made", "lost"]
    assert pipe.closed
    if direction == "write":
        assert os.read(theirs, 100) == (b"early" if how == "close" else b"")


async def test_an_error_in_data_received_is_reported_and_reading_goes_on(loop, ends, reports):
    class Failing(Recorder):
        def data_received(self, data):
            super().data_received(data)
            if len(self.data) == 1:
                raise ZeroDivisionError

    pipe, theirs = ends.to_read()
    async with reading(pipe, Failing()) as (_, protocol):
        os.write(theirs, b"1")
        await protocol.receives(1)
        os.write(theirs, b"2")
        assert await protocol.receives(2) == b"12"
    assert isinstance(reports.take()["exception"], ZeroDivisionError)


async def test_the_protocol_can_be_changed(loop, ends):
    pipe, theirs = ends.to_read()
    async with reading(pipe) as (transport, first):
        os.write(theirs, b"one")
        await first.receives(3)
        second = Recorder()
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        os.write(theirs, b"two")
        assert await second.receives(3) == b"two"
        ends.close(theirs)
        await second.ends()
        assert first.calls == ["made", "data"]
        assert second.calls == ["data", "eof", "lost"]


async def test_callbacks_run_in_the_context_of_the_connect(loop, ends):
    seen = {}

    class Looking(Recorder):
        def note(self, call):
            super().note(call)
            seen[call] = variable.get(None)

    async def connect(pipe, protocol):
        variable.set("mine")
        await loop.connect_read_pipe(lambda: protocol, pipe)

    pipe, theirs = ends.to_read()
    protocol = Looking()
    await asyncio.create_task(connect(pipe, protocol))
    os.write(theirs, b"data")
    await protocol.receives(4)
    ends.close(theirs)
    await protocol.ends()
    assert seen == dict.fromkeys(["made", "data", "eof", "lost"], "mine")


# what is taken and what is refused


@pytest.mark.parametrize(
    ("connect", "mode", "complaint"),
    [
        ("connect_read_pipe", "rb", "Pipe transport is for pipes/sockets only."),
        ("connect_write_pipe", "wb", "Pipe transport is only for pipes, sockets and character devices"),
    ],
)
async def test_a_regular_file_is_refused_and_left_open(loop, tmp_path, connect, mode, complaint):
    path = tmp_path / "file"
    path.write_bytes(b"data")
    with path.open(mode) as file:
        error = await outcome(getattr(loop, connect)(Recorder, file))
        assert isinstance(error, ValueError)
        assert str(error) == complaint
        assert not file.closed


@pytest.mark.parametrize("connect", ["connect_read_pipe", "connect_write_pipe"])
async def test_a_factory_that_fails_leaves_the_pipe_alone(loop, ends, connect):
    pipe, _ = ends.to_read()
    with pytest.raises(ZeroDivisionError):
        await getattr(loop, connect)(lambda: 1 / 0, pipe)
    assert not pipe.closed
    pipe.close()


@pytest.mark.parametrize("connect", ["connect_read_pipe", "connect_write_pipe"])
async def test_a_connect_that_is_cancelled_closes_the_pipe(loop, ends, connect):
    pipe, _ = ends.to_write() if "write" in connect else ends.to_read()
    protocol = Recorder()
    task = asyncio.create_task(getattr(loop, connect)(lambda: protocol, pipe))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await protocol.ends()
    assert protocol.calls == ["made", "lost"]
    assert pipe.closed


@pytest.mark.uringloop_only("asyncio's selector takes no device that cannot be polled")
async def test_a_device_that_cannot_be_polled_is_read(loop):
    class Enough(Recorder):
        def data_received(self, data):
            super().data_received(data)
            if len(self.data) > LARGE:
                self.transport.close()

    async with reading(open("/dev/zero", "rb", 0), Enough()) as (_, protocol):
        await protocol.ends()
        assert not any(protocol.data)


async def test_a_device_that_takes_everything_is_written_to(loop):
    async with writing(open("/dev/null", "wb", 0)) as (transport, protocol):
        transport.write(bytes(LARGE))
        transport.close()
        await protocol.ends()
        assert protocol.error is None


async def test_both_directions_of_a_terminal_are_used(loop, ends):
    pipe, theirs = ends.to_write("pty")
    source = open(os.dup(pipe.fileno()), "rb", 0)  # noqa: SIM115
    async with reading(source) as (_, received), writing(pipe) as (transport, _):
        for number in range(10):
            transport.write(b"to %d" % number)
            assert await in_thread(read_all, theirs, 4) == b"to %d" % number
            os.write(theirs, b"fro%d" % number)
            await received.receives(4 * number + 4)
        assert received.data == b"".join(b"fro%d" % number for number in range(10))


@pytest.mark.uringloop_only("asyncio's loop has one callback for a descriptor, and its write transport takes it")
async def test_both_directions_of_one_descriptor_are_used(loop, ends):
    pipe, theirs = ends.to_write("unix")
    source = open(pipe.fileno(), "rb", 0, closefd=False)  # noqa: SIM115
    async with reading(source) as (_, received), writing(pipe) as (transport, _):
        transport.write(b"to")
        assert await in_thread(read_all, theirs, 2) == b"to"
        os.write(theirs, b"fro")
        assert await received.receives(3) == b"fro"


# writing


@pytest.mark.parametrize("kind_of_pipe", KINDS)
async def test_what_is_written_arrives(loop, ends, kind_of_pipe):
    pipe, theirs = ends.to_write(kind_of_pipe)
    async with writing(pipe) as (transport, protocol):
        transport.write(b"one")
        assert await in_thread(read_all, theirs, 3) == b"one"
        transport.write(b"tw")
        transport.write(bytearray(b"o"))
        transport.write(b"")
        transport.writelines([b"th", memoryview(b"ree")])
        assert await in_thread(read_all, theirs, 8) == b"twothree"
        assert protocol.calls == ["made"]


@pytest.mark.parametrize("kind_of_pipe", KINDS[:-1])
@pytest.mark.parametrize("how", ["close", "write_eof"])
async def test_closing_sends_what_was_written_and_then_the_end(loop, ends, kind_of_pipe, how):
    pipe, theirs = ends.to_write(kind_of_pipe)
    data = pattern(LARGE)
    async with writing(pipe) as (transport, protocol):
        transport.write(data)
        getattr(transport, how)()
        getattr(transport, how)()
        assert transport.is_closing()
        transport.write(b"too late")
        assert await in_thread(read_all, theirs, LARGE + 1) == data
        await protocol.ends()
        assert [call for call in protocol.calls if call not in ("pause", "resume")] == ["made", "lost"]
        assert protocol.error is None
        assert pipe.closed


async def test_a_write_transport_cannot_read(loop, ends):
    pipe, _ = ends.to_write()
    async with writing(pipe) as (transport, _):
        for method in (transport.is_reading, transport.pause_reading, transport.resume_reading):
            with pytest.raises(NotImplementedError):
                method()


async def test_what_a_write_transport_says_of_itself(loop, ends):
    pipe, _ = ends.to_write()
    async with writing(pipe) as (transport, protocol):
        assert isinstance(transport, asyncio.WriteTransport)
        assert transport.get_extra_info("pipe") is pipe
        assert transport.get_protocol() is protocol
        assert transport.can_write_eof()
        assert transport.get_write_buffer_size() == 0
        assert transport.get_write_buffer_limits() == (16_384, 65_536)
        assert not transport.is_closing()
        assert f"fd={pipe.fileno()}" in repr(transport)
        assert not os.get_blocking(pipe.fileno())


@pytest.mark.parametrize("wrong", ["text", None, 7, [b"x"]])
async def test_only_bytes_are_written(loop, ends, wrong):
    pipe, theirs = ends.to_write()
    async with writing(pipe) as (transport, _):
        with pytest.raises((TypeError, AssertionError)):
            transport.write(wrong)
        transport.write(b"right")
        assert await in_thread(read_all, theirs, 5) == b"right"


async def test_data_may_be_changed_after_it_was_written(loop, ends):
    pipe, theirs = ends.to_write()
    data = bytearray(pattern(LARGE))
    expected = bytes(data)
    async with writing(pipe) as (transport, _):
        transport.write(data)
        data[:] = bytes(LARGE)
        transport.write(memoryview(data)[:5])
        data[:5] = b"other"
        assert await in_thread(read_all, theirs, LARGE + 5) == expected + bytes(5)


async def test_writes_of_all_sizes_arrive_in_order(loop, ends):
    pipe, theirs = ends.to_write()
    data = pattern(LARGE)
    received = in_thread(read_all, theirs, LARGE)
    task = asyncio.create_task(received)
    async with writing(pipe) as (transport, _):
        start, size = 0, 1
        while start < LARGE:
            transport.write(data[start : start + size])
            start += size
            size = size * 7 % 100_003
            if size % 5 == 0:
                await asyncio.sleep(0)
        assert await task == data


async def test_a_full_pipe_pauses_the_protocol(loop, ends):
    pipe, theirs = ends.to_write()
    async with writing(pipe) as (transport, protocol):
        transport.write(bytes(50_000))
        await turns(2)
        assert protocol.calls == ["made"]
        transport.write(bytes(LARGE))
        assert protocol.calls == ["made", "pause"]
        assert transport.get_write_buffer_size() > 65_536
        await stays(lambda: protocol.calls == ["made", "pause"])
        await in_thread(read_all, theirs, LARGE + 50_000)
        await until(lambda: protocol.calls == ["made", "pause", "resume"])
        assert transport.get_write_buffer_size() == 0


async def test_a_pipe_that_takes_it_all_does_not_pause_the_protocol(loop, ends):
    pipe, _ = ends.to_write()
    async with writing(pipe) as (transport, protocol):
        transport.set_write_buffer_limits(high=10)
        for _ in range(5):
            transport.write(bytes(1000))
        await turns(2)
        assert protocol.calls == ["made"]


async def test_limits_are_set_and_got(loop, ends):
    pipe, _ = ends.to_write()
    async with writing(pipe) as (transport, _):
        transport.set_write_buffer_limits(high=1000)
        assert transport.get_write_buffer_limits() == (250, 1000)
        transport.set_write_buffer_limits(low=1000)
        assert transport.get_write_buffer_limits() == (1000, 4000)
        with pytest.raises(ValueError, match="must be >= low"):
            transport.set_write_buffer_limits(high=1, low=2)


async def test_a_protocol_may_write_when_it_is_resumed(loop, ends):
    class Eager(Recorder):
        def resume_writing(self):
            super().resume_writing()
            if self.calls.count("resume") < 5:
                self.transport.write(bytes(LARGE))

    pipe, theirs = ends.to_write()
    async with writing(pipe, Eager()) as (transport, protocol):
        transport.write(bytes(LARGE))
        received = await in_thread(read_all, theirs, 5 * LARGE)
        assert len(received) == 5 * LARGE
        await until(lambda: protocol.calls == ["made", *(["pause", "resume"] * 5)])


@pytest.mark.uringloop_only("asyncio's transport calls connection_lost twice")
@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_protocol_may_close_when_it_is_resumed(loop, ends, how):
    class Done(Recorder):
        def resume_writing(self):
            super().resume_writing()
            getattr(self.transport, how)()

    pipe, theirs = ends.to_write()
    async with writing(pipe, Done()) as (transport, protocol):
        transport.set_write_buffer_limits(high=LARGE // 2, low=0)
        transport.write(bytes(LARGE))
        assert len(await in_thread(read_all, theirs, LARGE + 1)) == LARGE
        await protocol.ends()
        await turns(3)
        assert protocol.calls == ["made", "pause", "resume", "lost"]
        assert protocol.error is None


async def test_a_full_pipe_costs_no_time(loop, ends):
    """The wait for room, and the watch for the reader's end, do not go round and round."""
    pipe, _ = ends.to_write()
    async with writing(pipe) as (transport, _):
        transport.write(bytes(LARGE))
        await turns(5)
        before = time.process_time()
        await asyncio.sleep(0.3)
        assert time.process_time() - before < 0.1


# the reader's end


@pytest.mark.parametrize("kind_of_pipe", KINDS[:-1])
async def test_the_readers_end_is_noticed_though_nothing_is_written(loop, ends, kind_of_pipe):
    pipe, theirs = ends.to_write(kind_of_pipe)
    async with writing(pipe) as (_, protocol):
        ends.close(theirs)
        await protocol.ends()
        assert protocol.calls == ["made", "lost"]
        assert protocol.error is None
        assert pipe.closed


@pytest.mark.parametrize("closing", [False, True])
async def test_the_readers_end_breaks_what_waits(loop, ends, closing):
    pipe, theirs = ends.to_write()
    async with writing(pipe) as (transport, protocol):
        transport.write(bytes(LARGE))
        await turns(3)
        if closing:
            transport.close()
        ends.close(theirs)
        await protocol.ends()
        assert protocol.calls == ["made", "pause", "lost"]
        assert isinstance(protocol.error, BrokenPipeError)


async def test_a_write_to_a_broken_pipe_ends_it(loop, ends, caplog):
    pipe, theirs = ends.to_write()
    async with writing(pipe) as (transport, protocol):
        ends.close(theirs)
        transport.write(b"nobody")
        transport.write(b"reads it")
        await protocol.ends()
        assert protocol.calls == ["made", "lost"]
        assert isinstance(protocol.error, BrokenPipeError)


async def test_writes_to_a_broken_pipe_are_logged_if_they_do_not_stop(loop, ends, caplog):
    pipe, theirs = ends.to_write()
    async with writing(pipe) as (transport, protocol):
        ends.close(theirs)
        await protocol.ends()
        for _ in range(10):
            transport.write(b"data")
    logged = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert set(logged) == {"pipe closed by peer or os.write(pipe, data) raised exception."}
    assert 4 <= len(logged) <= 6


@pytest.mark.uringloop_only("asyncio's loop takes data that comes back for the end")
async def test_data_that_comes_back_is_not_taken_for_the_end(loop, ends):
    pipe, theirs = ends.to_write("unix")
    async with writing(pipe) as (transport, protocol):
        os.write(theirs, b"what nobody asked for")
        await stays(lambda: protocol.calls == ["made"])
        transport.write(b"still here")
        assert await in_thread(read_all, theirs, 10) == b"still here"


@pytest.mark.uringloop_only("asyncio's loop takes its own data for the end")
async def test_a_fifo_that_is_open_in_both_directions_is_written_to(loop, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    pipe = open(os.open(path, os.O_RDWR), "wb", 0)  # noqa: SIM115
    async with writing(pipe) as (transport, protocol):
        transport.write(b"data")
        await stays(lambda: protocol.calls == ["made"])
        assert os.read(pipe.fileno(), 10) == b"data"


async def test_abort_drops_what_waits(loop, ends):
    pipe, theirs = ends.to_write()
    async with writing(pipe) as (transport, protocol):
        transport.write(bytes(LARGE))
        await turns(2)
        transport.abort()
        assert transport.is_closing()
        assert transport.get_write_buffer_size() == 0
        await protocol.ends()
        assert protocol.calls == ["made", "pause", "lost"]
        assert protocol.error is None
        assert pipe.closed
        assert len(await in_thread(read_all, theirs, LARGE)) < LARGE


async def test_a_transport_that_waits_to_close_may_be_aborted(loop, ends):
    pipe, _ = ends.to_write()
    async with writing(pipe) as (transport, protocol):
        transport.write(bytes(LARGE))
        transport.close()
        await stays(lambda: "lost" not in protocol.calls)
        transport.abort()
        await protocol.ends()
        assert protocol.error is None


async def test_a_protocol_may_write_in_connection_made(loop, ends):
    class Early(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(b"early")

    pipe, theirs = ends.to_write()
    async with writing(pipe, Early()):
        assert await in_thread(read_all, theirs, 5) == b"early"


@pytest.mark.uringloop_only("asyncio's transport calls connection_lost twice")
async def test_a_transport_may_be_aborted_twice(loop, ends):
    pipe, _ = ends.to_write()
    async with writing(pipe) as (transport, protocol):
        transport.abort()
        transport.abort()
        await protocol.ends()
        assert protocol.calls == ["made", "lost"]


async def test_a_failing_flow_control_callback_is_reported_only(loop, ends, reports):
    class Failing(Recorder):
        def pause_writing(self):
            super().pause_writing()
            raise ZeroDivisionError

    pipe, theirs = ends.to_write()
    async with writing(pipe, Failing()) as (transport, protocol):
        transport.write(bytes(LARGE))
        assert len(await in_thread(read_all, theirs, LARGE)) == LARGE
        await until(lambda: protocol.calls == ["made", "pause", "resume"])
    report = reports.take()
    assert report["message"] == "protocol.pause_writing() failed"
    assert isinstance(report["exception"], ZeroDivisionError)


# unclosed transports, and loops that stop and go on


def test_what_is_written_while_the_loop_does_not_run_goes_at_once(loop, ends):
    pipe, theirs = ends.to_write()
    transport, protocol = loop.run_until_complete(loop.connect_write_pipe(Recorder, pipe))
    for number in range(3):
        transport.write(b"now%d" % number)
        assert os.read(theirs, 100) == b"now%d" % number
    transport.close()
    loop.run_until_complete(protocol.ends())


@pytest.mark.parametrize("direction", ["read", "write"])
def test_a_transport_that_nobody_closed_is_complained_about(make_loop, ends, direction):
    loop = make_loop()
    pipe, _ = getattr(ends, f"to_{direction}")()
    connect = getattr(loop, f"connect_{direction}_pipe")
    transport, _ = loop.run_until_complete(connect(Recorder, pipe))
    text = repr(transport)
    loop.close()
    del transport, _
    with pytest.warns(ResourceWarning, match="unclosed transport") as caught:
        gc.collect()
    assert text.split()[0] in str(caught[0].message)
    assert pipe.closed


@pytest.mark.parametrize("direction", ["read", "write"])
def test_a_transport_that_was_closed_is_not_complained_about(make_loop, ends, direction):
    loop = make_loop()
    pipe, _ = getattr(ends, f"to_{direction}")()
    connect = getattr(loop, f"connect_{direction}_pipe")
    transport, protocol = loop.run_until_complete(connect(Recorder, pipe))
    transport.close()
    loop.run_until_complete(protocol.ends())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loop.close()
        del transport, protocol
        gc.collect()
    assert not caught


@pytest.mark.parametrize("direction", ["read", "write"])
async def test_a_transport_that_has_ended_is_freed_without_the_garbage_collector(loop, ends, direction):
    with without_garbage_collector():
        if direction == "read":
            transport, protocol = await loop.connect_read_pipe(Recorder, ends.to_read()[0])
        else:
            transport, protocol = await loop.connect_write_pipe(Recorder, ends.to_write()[0])
            transport.write(b"hello")
        transport.close()
        await protocol.ends()
        kept = weakref.ref(transport)
        del transport, protocol
        await until(lambda: kept() is None)


def test_pipes_go_on_in_another_thread(loop, ends):
    """The loop runs in this thread, then in another, with data on its way."""
    source, to_source = ends.to_read()
    sink, from_sink = ends.to_write()
    received, sent = Recorder(), Recorder()
    reader, _ = loop.run_until_complete(loop.connect_read_pipe(lambda: received, source))
    writer, _ = loop.run_until_complete(loop.connect_write_pipe(lambda: sent, sink))
    writer.write(bytes(LARGE))
    loop.run_until_complete(turns(3))
    os.write(to_source, b"between")
    results = []

    def elsewhere():
        results.append(loop.run_until_complete(received.receives(7)))
        results.append(len(loop.run_until_complete(in_thread(read_all, from_sink, LARGE))))
        reader.close()
        writer.close()
        loop.run_until_complete(received.ends())
        loop.run_until_complete(sent.ends())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert results == [b"between", LARGE]


# streams


async def test_streams_over_pipes(loop, ends):
    source, to_source = ends.to_read()
    sink, from_sink = ends.to_write()
    reader = asyncio.StreamReader(limit=10_000)
    read_transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
    write_transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), sink
    )
    writer = asyncio.StreamWriter(write_transport, protocol, None, loop)
    data = pattern(LARGE)
    pumping = asyncio.create_task(in_thread(pump, from_sink, to_source))

    async def send():
        for start in range(0, LARGE, 9_999):
            writer.write(data[start : start + 9_999])
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    sending = asyncio.create_task(send())
    assert await reader.readexactly(LARGE) == data
    await sending
    await pumping
    ends.close(to_source)
    assert await reader.read() == b""
    read_transport.close()
    await until(lambda: source.closed and sink.closed)


def pump(source: int, sink: int) -> None:
    """Copy until the end, and leave both open."""
    while chunk := os.read(source, 65536):
        write_all(sink, chunk)
