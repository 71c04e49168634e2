"""sendfile and sock_sendfile: files through sockets, transports and TLS."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.checks import outcome, stays, turns, until
from support.kinds import operations_in_flight
from support.protocols import Recorder, dropped, linked
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
)
from support.tls import encrypted
from support.wrong_calls import Bench, Case, check, made_of_a_running_loop, of_cases

streams = pytest.mark.parametrize("stream", STREAMS)
LARGE = 8_000_000
"""More bytes than the kernel takes at once."""


@pytest.fixture
def make_file(tmp_path):
    """Make files of the bytes given, open for reading."""
    with contextlib.ExitStack() as stack:

        def make(data):
            path = tmp_path / "file"
            path.write_bytes(data)
            return stack.enter_context(path.open("rb"))

        yield make


# by a socket


@streams
@pytest.mark.parametrize("size", [0, 1, 100_000, LARGE])
async def test_a_whole_file(kind, loop, sockets, make_file, stream, size):
    before = 0 if kind.is_oracle else operations_in_flight(loop)
    ours, theirs = sockets.pair(stream)
    data = pattern(size)
    file = make_file(data)
    reading = loop.create_task(read_exactly(theirs, size))
    assert await loop.sock_sendfile(ours, file) == size
    assert await reading == data
    assert file.tell() == size
    if not kind.is_oracle:
        await until(lambda: operations_in_flight(loop) == before)


@pytest.mark.parametrize(
    ("offset", "count", "expected"),
    [
        (0, 10, slice(0, 10)),
        (10, None, slice(10, 1000)),
        (10, 20, slice(10, 30)),
        (990, 20, slice(990, 1000)),
        (0, 5000, slice(0, 1000)),
        (1000, None, slice(0)),
        (5000, 10, slice(0)),
    ],
)
@pytest.mark.parametrize("way", ["kernel", "fallback"])
async def test_a_part_of_a_file(loop, sockets, make_file, offset, count, expected, way):
    ours, theirs = sockets.tcp_pair()
    data = pattern(1000)
    file = make_file(data) if way == "kernel" else io.BytesIO(data)
    sent = await loop.sock_sendfile(ours, file, offset, count)
    ours.close()
    assert await read_to_the_end(theirs) == data[expected]
    assert sent == len(data[expected])
    if sent:
        assert file.tell() == expected.stop


@pytest.mark.parametrize("way", ["kernel", "fallback"])
async def test_a_large_part_of_a_file(loop, sockets, make_file, way):
    ours, theirs = sockets.tcp_pair()
    data = pattern(LARGE)
    file = make_file(data) if way == "kernel" else io.BytesIO(data)
    reading = loop.create_task(read_to_the_end(theirs))
    assert await loop.sock_sendfile(ours, file, 1000, LARGE - 3000) == LARGE - 3000
    ours.close()
    assert await reading == data[1000:-2000]


@streams
@pytest.mark.parametrize("size", [0, 1, 100_000, LARGE])
async def test_what_is_no_real_file_is_read_and_sent(loop, sockets, stream, size):
    ours, theirs = sockets.pair(stream)
    file = io.BytesIO(pattern(size))
    reading = loop.create_task(read_exactly(theirs, size))
    assert await loop.sock_sendfile(ours, file) == size
    assert await reading == file.getvalue()
    assert file.tell() == size


@pytest.mark.parametrize("file", [io.BytesIO(b"data"), object()], ids=["bytes", "object"])
async def test_without_the_fallback_it_must_be_a_real_file(loop, sockets, file):
    ours, _theirs = sockets.tcp_pair()
    with pytest.raises(asyncio.SendfileNotAvailableError, match="not a regular file"):
        await loop.sock_sendfile(ours, file, fallback=False)


@pytest.mark.uringloop_only(
    "asyncio's loop fails before it sends anything, in setting the position", when=sys.version_info >= (3, 14)
)
async def test_a_pipe_is_read_and_sent(loop, sockets):
    """The kernel refuses it: sendfile(2) takes what has pages."""
    ours, theirs = sockets.tcp_pair()
    source, sink = os.pipe()
    os.write(sink, b"hello")
    os.close(sink)
    with open(source, "rb", buffering=0) as file:
        assert await loop.sock_sendfile(ours, file) == 0  # by its size it is empty
        with pytest.raises(asyncio.SendfileNotAvailableError, match=r"os.sendfile call failed"):
            await loop.sock_sendfile(ours, file, count=5, fallback=False)
        with pytest.raises(OSError, match="seek"):  # its position cannot be set in the end
            await loop.sock_sendfile(ours, file, count=5)
    assert await read_exactly(theirs, 5) == b"hello"


async def test_the_loop_goes_on_while_a_large_file_is_sent(loop, sockets, make_file):
    ours, theirs = sockets.unix_pair()
    file = make_file(bytes(LARGE))
    count = 0

    def read_all():
        left = LARGE
        while left:
            with contextlib.suppress(BlockingIOError):
                left -= len(theirs.recv(1_000_000))

    async def tick():
        nonlocal count
        while True:
            await asyncio.sleep(0)
            count += 1

    reader = threading.Thread(target=read_all)
    reader.start()
    ticking = loop.create_task(tick())
    await loop.sock_sendfile(ours, file)
    ticking.cancel()
    reader.join()
    assert count > 5


async def test_a_file_that_shrinks_is_sent_as_far_as_it_goes(loop, sockets, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(LARGE))
    ours, theirs = sockets.tcp_pair()
    with path.open("rb") as file:
        sending = loop.create_task(loop.sock_sendfile(ours, file))
        await read_exactly(theirs, 1000)
        await asyncio.sleep(0.01)
        os.truncate(path, LARGE - 1000)
        assert len(await read_exactly(theirs, LARGE - 2000)) == LARGE - 2000
        assert await sending == LARGE - 1000
        assert file.tell() == LARGE - 1000


async def test_a_file_that_grows_is_sent_to_its_end(loop, sockets, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(LARGE))
    ours, theirs = sockets.tcp_pair()
    with path.open("rb") as file:
        sending = loop.create_task(loop.sock_sendfile(ours, file))
        await read_exactly(theirs, 1000)
        with path.open("ab") as more:
            more.write(b"more")
        assert (await read_exactly(theirs, LARGE - 1000 + 4))[-5:] == b"\0more"
        assert await sending == LARGE + 4


async def test_a_peer_that_goes_while_a_file_is_sent(loop, sockets, make_file):
    ours, theirs = sockets.tcp_pair()
    file = make_file(bytes(LARGE))
    sending = loop.create_task(loop.sock_sendfile(ours, file))
    await read_exactly(theirs, 1000)
    reset(theirs)
    assert isinstance(await outcome(sending), ConnectionError)
    assert 1000 <= file.tell() < LARGE


async def test_a_send_that_is_cancelled_can_be_followed_by_others(loop, sockets, make_file):
    ours, theirs = sockets.tcp_pair()
    file = make_file(bytes(LARGE))
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(loop.sock_sendfile(ours, file), 0.05)
    sending = loop.create_task(loop.sock_sendall(ours, b"end"))
    received = bytearray()
    while not received.endswith(b"end"):
        received += await read_some(theirs)
    await sending
    assert not any(received[:-3])


@pytest.mark.uringloop_only("asyncio leaves the position as it was if the kernel makes room in the wrong turn")
@pytest.mark.parametrize("wait", [0, 1, 2])
async def test_a_send_that_is_cancelled_when_there_is_room_is_sent_or_not(loop, sockets, make_file, wait):
    ours, theirs = sockets.tcp_pair()
    before = fill(ours)
    file = make_file(bytes(10))
    sending = loop.create_task(loop.sock_sendfile(ours, file, 0, 10))
    await turns(3)
    before -= len(read_what_is_there(theirs))
    await turns(wait)
    sending.cancel()
    await outcome(sending)
    ours.close()
    assert len(await read_to_the_end(theirs)) == before + file.tell()


@pytest.mark.uringloop_only("asyncio leaves the position as it was")
async def test_the_position_tells_how_far_a_send_came_that_was_cancelled(loop, sockets, make_file):
    ours, theirs = sockets.tcp_pair()
    file = make_file(bytes(LARGE))
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(loop.sock_sendfile(ours, file), 0.05)
    ours.close()
    assert len(await read_to_the_end(theirs)) == file.tell()


@pytest.mark.parametrize("way", ["kernel", "fallback"])
async def test_an_unconnected_socket(loop, sockets, make_file, way):
    sock = sockets.new(socket.AF_INET)
    file = make_file(b"data") if way == "kernel" else io.BytesIO(b"data")
    with pytest.raises(OSError, match=r"Broken pipe|not connected"):
        await loop.sock_sendfile(sock, file)


# by a transport


async def go_between(loop, sockets, stream, data, file):
    async with linked(sockets, stream=stream) as link:
        before = pattern(1_000_001)
        reading = loop.create_task(read_exactly(link.peer, len(before) + LARGE + 5))
        link.transport.write(before)
        assert await loop.sendfile(link.transport, file) == LARGE
        link.transport.write(b"after")
        assert await reading == before + data + b"after"
        assert file.tell() == LARGE
        assert link.transport.get_protocol() is link.protocol
        link.peer.send(b"answer")
        assert await link.protocol.receives(6) == b"answer"


@streams
async def test_a_file_goes_between_what_is_written_before_and_after(loop, sockets, make_file, stream):
    data = pattern(LARGE)
    await go_between(loop, sockets, stream, data, make_file(data))


@pytest.mark.uringloop_only("asyncio reads over what still waits to be sent")
@streams
async def test_what_is_no_real_file_goes_between_what_is_written_before_and_after(loop, sockets, stream):
    data = pattern(LARGE)
    await go_between(loop, sockets, stream, data, io.BytesIO(data))


async def test_a_file_goes_behind_what_was_just_written(loop, sockets, make_file):
    async with linked(sockets) as link:
        link.transport.write(b"before ")
        assert await loop.sendfile(link.transport, make_file(b"file")) == 4
        assert await read_exactly(link.peer, 11) == b"before file"


async def test_a_part_of_a_file_by_a_transport(loop, sockets, make_file):
    data = pattern(1000)
    async with linked(sockets) as link:
        assert await loop.sendfile(link.transport, make_file(data), 10, 20) == 20
        assert await loop.sendfile(link.transport, io.BytesIO(data), 100, 200) == 200
        assert await read_exactly(link.peer, 220) == data[10:30] + data[100:300]


async def test_an_empty_file_by_a_transport(loop, sockets, make_file):
    async with linked(sockets) as link:
        assert await loop.sendfile(link.transport, make_file(b"")) == 0
        link.transport.write(b"x")
        assert await read_exactly(link.peer, 1) == b"x"


@contextlib.asynccontextmanager
async def being_sent(loop: Any, link: Any, file: Any) -> AsyncIterator[asyncio.Task]:
    """A file on its way to a peer that does not read yet."""
    task = loop.create_task(loop.sendfile(link.transport, file))
    await asyncio.sleep(0.01)
    assert not task.done()
    try:
        yield task
    finally:
        task.cancel()
        await outcome(task)


async def test_nothing_can_be_written_while_a_file_is_sent(loop, sockets, make_file):
    async with linked(sockets) as link, being_sent(loop, link, make_file(bytes(LARGE))) as sending:
        with pytest.raises(RuntimeError, match="unable to write; sendfile is in progress"):
            link.transport.write(b"x")
        with pytest.raises(RuntimeError, match=r"unable to write(lines)?; sendfile is in progress"):
            link.transport.writelines([b"x"])
        assert not any(await read_exactly(link.peer, LARGE))
        assert await sending == LARGE


@pytest.mark.uringloop_only("asyncio fails on its own bookkeeping, by KeyError")
async def test_two_files_cannot_be_sent_at_once(loop, sockets, make_file):
    file = make_file(bytes(LARGE))
    async with linked(sockets) as link, being_sent(loop, link, file) as sending:
        with pytest.raises(RuntimeError, match="sendfile is in progress"):
            await loop.sendfile(link.transport, file)
        assert not any(await read_exactly(link.peer, LARGE))
        assert await sending == LARGE


@pytest.mark.parametrize("way", ["kernel", "fallback"])
async def test_nothing_is_received_while_a_file_is_sent(loop, sockets, make_file, way):
    file = make_file(bytes(LARGE)) if way == "kernel" else io.BytesIO(bytes(LARGE))
    async with linked(sockets) as link, being_sent(loop, link, file) as sending:
        assert not link.transport.is_reading()
        link.peer.send(b"hello")
        await stays(lambda: not link.protocol.data)
        await read_exactly(link.peer, LARGE)
        assert await sending == LARGE
        assert await link.protocol.receives(5) == b"hello"


@pytest.mark.parametrize("way", ["kernel", "fallback"])
async def test_reading_that_was_paused_stays_paused(loop, sockets, make_file, way):
    async with linked(sockets) as link:
        link.transport.pause_reading()
        await loop.sendfile(link.transport, make_file(b"x") if way == "kernel" else io.BytesIO(b"x"))
        assert not link.transport.is_reading()
        link.peer.send(b"hello")
        await stays(lambda: not link.protocol.data)


async def test_a_transport_goes_on_after_a_file_that_was_cancelled(loop, sockets, make_file):
    async with linked(sockets) as link:
        async with being_sent(loop, link, make_file(bytes(LARGE))):
            pass
        link.transport.write(b"end")
        received = bytearray()
        while not received.endswith(b"end"):
            received += await read_some(link.peer)
        assert not any(received[:-3])
        link.peer.send(b"hello")
        assert await link.protocol.receives(5) == b"hello"


@pytest.mark.uringloop_only("asyncio goes on to refuse writes")
async def test_a_transport_goes_on_after_a_file_that_was_cancelled_before_its_turn(loop, sockets, make_file):
    async with linked(sockets) as link:
        link.transport.write(bytes(LARGE))
        async with being_sent(loop, link, make_file(b"never")):
            pass
        link.transport.write(b"end")
        assert (await read_exactly(link.peer, LARGE + 3))[-4:] == b"\0end"


async def test_the_peer_resets_while_a_file_is_sent(loop, sockets, make_file):
    async with linked(sockets) as link, being_sent(loop, link, make_file(bytes(LARGE))) as sending:
        await read_exactly(link.peer, 1000)
        reset(link.peer)
        assert isinstance(await outcome(sending), ConnectionError)
        await link.protocol.ends()


hangs = pytest.mark.uringloop_only("asyncio's sendfile never returns")


@hangs
async def test_a_file_is_sent_to_its_end_when_the_transport_is_closed(loop, sockets, make_file):
    data = pattern(LARGE)
    async with linked(sockets) as link, being_sent(loop, link, make_file(data)) as sending:
        link.transport.close()
        await stays(lambda: "lost" not in link.protocol.calls)
        assert await read_exactly(link.peer, LARGE) == data
        assert await sending == LARGE
        await link.protocol.ends()
        assert link.protocol.error is None
        assert sees_the_end(link.peer)


@pytest.mark.uringloop_only("asyncio has nothing to wait for: it sends at once")
async def test_a_transport_that_was_closed_ends_when_a_file_gives_up_its_turn(loop, sockets, make_file):
    async with linked(sockets) as link:
        link.transport.write(b"last")
        sending = loop.sendfile(link.transport, make_file(b"never"))
        sending.send(None)
        link.transport.close()
        sending.close()
        assert await read_to_the_end(link.peer) == b"last"
        await link.protocol.ends()


@hangs
async def test_a_file_is_sent_to_its_end_before_the_end_of_the_stream(loop, sockets, make_file):
    async with linked(sockets) as link, being_sent(loop, link, make_file(bytes(LARGE))) as sending:
        link.transport.write_eof()
        assert len(await read_to_the_end(link.peer)) == LARGE
        assert await sending == LARGE
        with pytest.raises(RuntimeError, match="after write_eof"):
            link.transport.write(b"x")


@hangs
@pytest.mark.parametrize("closing", [False, True])
async def test_abort_ends_a_file(loop, sockets, make_file, closing):
    file = make_file(bytes(LARGE))
    async with linked(sockets) as link, being_sent(loop, link, file) as sending:
        if closing:
            link.transport.close()
        link.transport.abort()
        with pytest.raises(ConnectionError):
            await sending
        await link.protocol.ends()
        assert len(await read_to_the_end(link.peer)) == file.tell()


async def test_abort_ends_a_file_that_waits_for_its_turn(loop, sockets, make_file):
    async with linked(sockets) as link:
        link.transport.write(bytes(LARGE))
        async with being_sent(loop, link, make_file(b"never")) as sending:
            link.transport.abort()
            with pytest.raises(ConnectionError):
                await sending
            await link.protocol.ends()


# by a transport that needs the fallback


class Slow(io.RawIOBase):
    """A file that can be read into, and does nothing else."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = list(pieces)

    def readinto(self, buffer: Any) -> int:
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, Exception):
            raise piece
        buffer[: len(piece)] = piece
        return len(piece)

    def seek(self, offset: int, whence: int = 0) -> int:
        self.position = offset
        return offset


async def test_a_file_that_cannot_be_read(loop, sockets):
    async with linked(sockets) as link:
        file = Slow(b"hello", OSError("bad disk"))
        with pytest.raises(OSError, match="bad disk"):
            await loop.sendfile(link.transport, file)
        assert file.position == 5
        assert link.transport.get_protocol() is link.protocol
        assert await read_exactly(link.peer, 5) == b"hello"
        link.peer.send(b"hello")
        assert await link.protocol.receives(5) == b"hello"


async def test_the_fallback_keeps_to_the_limits(loop, sockets):
    async with linked(sockets) as link:
        async with being_sent(loop, link, io.BytesIO(bytes(LARGE))) as sending:
            await until(link.transport.get_write_buffer_size)
            high = link.transport.get_write_buffer_limits()[1]
            await stays(lambda: 0 < link.transport.get_write_buffer_size() <= high + 262_144)
            assert not any(await read_exactly(link.peer, LARGE))
            assert await sending == LARGE
        await until(lambda: link.transport.get_write_buffer_size() == 0)
        pauses = link.protocol.calls.count("pause")  # as many as the kernel was slow to take more
        assert link.protocol.calls == ["made"] + ["pause", "resume"] * pauses


async def test_the_fallback_waits_for_what_was_written_before(loop, sockets):
    async with linked(sockets) as link:
        link.transport.write(bytes(LARGE))
        size = link.transport.get_write_buffer_size()
        async with being_sent(loop, link, io.BytesIO(b"file")) as sending:
            assert link.protocol.calls == ["made", "pause"]
            assert link.transport.get_write_buffer_size() <= size
            assert (await read_exactly(link.peer, LARGE + 4))[-5:] == b"\0file"
            assert await sending == 4
        await until(lambda: link.protocol.calls == ["made", "pause", "resume"])


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_transport_that_ends_during_the_fallback(loop, sockets, how):
    async with linked(sockets) as link, being_sent(loop, link, io.BytesIO(bytes(LARGE))) as sending:
        getattr(link.transport, how)()
        reading = loop.create_task(read_to_the_end(link.peer))
        with pytest.raises(ConnectionError):
            await sending
        await reading
        await link.protocol.ends()


async def test_the_peer_resets_during_the_fallback(loop, sockets):
    async with linked(sockets) as link, being_sent(loop, link, io.BytesIO(bytes(LARGE))) as sending:
        reset(link.peer)
        assert isinstance(await outcome(sending), ConnectionError)
        await link.protocol.ends()


@pytest.mark.parametrize("size", [0, 1, 100_000, LARGE])
async def test_a_file_by_tls(loop, sockets, make_file, size):
    data = pattern(size)
    file = make_file(data)
    async with encrypted(sockets) as ends:
        transport = ends.client.transport
        transport.write(b"before")
        assert await loop.sendfile(transport, file) == size
        transport.write(b"after")
        assert await ends.server.receives(size + 11) == b"before" + data + b"after"
        assert file.tell() == size
        assert transport.get_protocol() is ends.client
        ends.server.transport.write(b"answer")
        assert await ends.client.receives(6) == b"answer"


async def test_tls_to_a_peer_that_reads_late(loop, sockets, make_file):
    async with encrypted(sockets) as ends:
        ends.server.transport.pause_reading()
        # A fixed size, lest the kernel find that it may be all of the file.
        ends.server.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sending = loop.create_task(loop.sendfile(ends.client.transport, make_file(bytes(LARGE * 2)), 0, LARGE))
        await asyncio.sleep(0.05)
        assert not sending.done()
        assert ends.client.transport.get_write_buffer_size() < LARGE / 4
        ends.server.transport.resume_reading()
        assert await sending == LARGE
        assert not any(await ends.server.receives(LARGE))


async def test_tls_needs_the_fallback(loop, sockets, make_file):
    async with encrypted(sockets) as ends:
        with pytest.raises(RuntimeError, match="fallback is disabled and native sendfile is not supported"):
            await loop.sendfile(ends.client.transport, make_file(b"data"), fallback=False)


# wrong calls


def part(*args: Any, **options: Any) -> Any:
    """A call of sock_sendfile with the file of this module."""

    async def call(bench: Bench) -> None:
        values = {"sock": bench.tcp, **{name: value(bench) for name, value in options.items()}}
        with open(__file__, "rb") as file:
            await bench.loop.sock_sendfile(values["sock"], values.get("file", file), *args)

    return call


def by(transport: Any, *args: Any, mode: str = "rb", **options: Any) -> Any:
    """A call of sendfile with a transport made for it."""

    async def call(bench: Bench) -> None:
        made = await transport(bench)
        try:
            with open(__file__, mode) as file:
                await bench.loop.sendfile(made, file, *args, **options)
        finally:
            await dropped(made)

    return call


async def stream(bench: Bench) -> Any:
    transport, _ = await bench.loop.create_connection(Recorder, sock=bench.tcp)
    return transport


async def closing(bench: Bench) -> Any:
    transport = await stream(bench)
    transport.close()
    return transport


async def datagram(bench: Bench) -> Any:
    transport, _ = await bench.loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=bench.udp)
    return transport


PARTS = {
    "count_zero": (0, 0),
    "count_negative": (0, -1),
    "count_text": (0, "1"),
    "count_float": (0, 1.0),
    "offset_negative": (-1,),
    "offset_text": ("1",),
    "offset_float": (1.0,),
    "offset_nothing": (None,),
}

WRONG_CALLS = [
    *(
        Case(f"sock_{name}", (TypeError, ValueError)[args[-1] in (0, -1)], part(*args))
        for name, args in PARTS.items()
    ),
    *(
        Case(name, (TypeError, ValueError)[args[-1] in (0, -1)], by(stream, *args))
        for name, args in PARTS.items()
    ),
    Case("sock_text_file", ValueError, part(file=lambda bench: bench.file)),
    Case("sock_udp", ValueError, part(sock=lambda bench: bench.udp)),
    Case("sock_tls", TypeError, part(sock=lambda bench: bench.tls)),
    Case("sock_closed", OSError, part(sock=lambda bench: bench.closed)),
    Case("closing", RuntimeError, by(closing)),
    Case("datagram", RuntimeError, by(datagram), in_the_same_words=False),
    Case("text_file", ValueError, by(stream, mode="r")),
]


@of_cases(WRONG_CALLS)
def test_wrong_calls(kind, loop, case):
    check(kind, loop, case, made_of_a_running_loop)


def test_a_blocking_socket_is_refused_in_debug_mode(kind, loop):
    if kind.debug:
        case = Case("blocking", ValueError, part(sock=lambda bench: bench.blocking))
        check(kind, loop, case, made_of_a_running_loop)
