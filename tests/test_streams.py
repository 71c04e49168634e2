"""asyncio's streams on top of the loop: open_connection, start_server, and their like."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import socket
import sys

import pytest
from support.checks import forget, outcome, turns, until
from support.sockets import pattern, read_exactly, read_to_the_end, reset
from support.tls import client_context, server_context

LARGE = 8_000_000


@contextlib.asynccontextmanager
async def serving(handler, family, tmp_path):
    """Serve streams over TCP or a Unix socket; yield a function that opens one."""
    tasks = []

    async def handle(reader, writer):
        tasks.append(asyncio.current_task())
        try:
            await handler(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    if family == "unix":
        path = str(tmp_path / "socket")
        server = await asyncio.start_unix_server(handle, path)

        def connect(**options):
            return asyncio.open_unix_connection(path, **options)
    else:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()

        def connect(**options):
            return asyncio.open_connection(*address, **options)

    async with server:
        yield connect
        await asyncio.gather(*tasks)


@contextlib.asynccontextmanager
async def streams_to(sockets, limit=65_536):
    """A reader and a writer, and the plain socket at the other end."""
    ours, theirs = sockets.tcp_pair()
    reader, writer = await asyncio.open_connection(sock=ours, limit=limit)
    try:
        yield reader, writer, theirs
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


both = pytest.mark.parametrize("family", ["tcp", "unix"])


@both
async def test_an_echo_of_lines(loop, tmp_path, family):
    async def handler(reader, writer):
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()

    async with serving(handler, family, tmp_path) as connect:
        reader, writer = await connect()
        for number in range(200):
            writer.write(b"line %d\n" % number)
            assert await reader.readline() == b"LINE %d\n" % number
        writer.write_eof()
        assert await reader.read() == b""
        assert reader.at_eof()
        writer.close()
        await writer.wait_closed()


@both
async def test_many_clients_at_once(loop, tmp_path, family):
    async def handler(reader, writer):
        number = int(await reader.readline())
        writer.write(b"%d\n" % (number * number))

    async def ask(connect, number):
        reader, writer = await connect()
        writer.write(b"%d\n" % number)
        answer = int(await reader.readline())
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        return answer

    async with serving(handler, family, tmp_path) as connect:
        answers = await asyncio.gather(*(ask(connect, number) for number in range(80)))
        assert answers == [number * number for number in range(80)]


@both
async def test_a_large_body_each_way(loop, tmp_path, family):
    data = pattern(LARGE)

    async def handler(reader, writer):
        received = await reader.readexactly(LARGE)
        writer.write(hashlib.sha256(received).digest())
        writer.write(received)
        await writer.drain()

    async with serving(handler, family, tmp_path) as connect:
        reader, writer = await connect()
        writer.write(data)
        await writer.drain()
        assert await reader.readexactly(32) == hashlib.sha256(data).digest()
        assert await reader.read(-1) == data
        writer.close()
        await writer.wait_closed()


async def test_messages_of_every_size(loop, tmp_path):
    """Length-prefixed messages echoed, with many in flight."""
    sizes = [
        random.Random(number).randrange(1, 10 ** random.Random(number).randrange(1, 6)) for number in range(150)
    ]

    async def handler(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                header = await reader.readexactly(4)
                writer.write(header + await reader.readexactly(int.from_bytes(header)))
                await writer.drain()

    async def send(writer):
        for size in sizes:
            writer.write(size.to_bytes(4) + pattern(size))
            await writer.drain()
        writer.write_eof()

    async with serving(handler, "tcp", tmp_path) as connect:
        reader, writer = await connect()
        sending = loop.create_task(send(writer))
        for size in sizes:
            assert await reader.readexactly(4) == size.to_bytes(4)
            assert await reader.readexactly(size) == pattern(size)
        await sending
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_readuntil_and_readexactly(loop, sockets):
    async with streams_to(sockets) as (reader, _, peer):
        peer.send(b"key: value\r\n\r\nbody")
        assert await reader.readuntil(b"\r\n\r\n") == b"key: value\r\n\r\n"
        assert await reader.readexactly(4) == b"body"


async def test_a_separator_that_comes_in_two_parts(loop, sockets):
    async with streams_to(sockets) as (reader, _, peer):
        peer.send(b"head\r")
        reading = loop.create_task(reader.readuntil(b"\r\n"))
        await asyncio.sleep(0.005)
        assert not reading.done()
        peer.send(b"\n")
        assert await reading == b"head\r\n"


async def test_an_end_in_the_middle_of_what_is_read(loop, sockets):
    async with streams_to(sockets) as (reader, _, peer):
        peer.send(b"half")
        peer.close()
        with pytest.raises(asyncio.IncompleteReadError) as caught:
            await reader.readexactly(8)
        assert (caught.value.partial, caught.value.expected) == (b"half", 8)


async def test_a_line_longer_than_the_limit(loop, sockets):
    async with streams_to(sockets, limit=100) as (reader, _, peer):
        peer.send(b"x" * 300 + b"\nnext\n")
        with pytest.raises(ValueError, match="limit"):
            await reader.readline()


async def test_a_slow_reader_holds_up_the_sender_and_loses_nothing(loop, sockets):
    data = pattern(2_000_000)
    async with streams_to(sockets, limit=1000) as (reader, _, peer):
        peer.settimeout(10)
        sending = loop.create_task(asyncio.to_thread(peer.sendall, data))
        received = b""
        while len(received) < len(data):
            if len(received) < 100_000:
                await asyncio.sleep(0.0005)
            received += await reader.read(30_000)
        await sending
        assert received == data


async def test_drain_waits_for_the_peer(loop, sockets):
    async with streams_to(sockets) as (_, writer, peer):
        writer.write(bytes(LARGE))
        draining = loop.create_task(writer.drain())
        await asyncio.sleep(0.01)
        assert not draining.done()
        await read_exactly(peer, LARGE)
        await draining


async def test_several_tasks_may_drain_at_once(loop, sockets):
    async with streams_to(sockets) as (_, writer, peer):
        writer.write(bytes(LARGE))
        draining = [loop.create_task(writer.drain()) for _ in range(3)]
        await turns(3)
        await read_exactly(peer, LARGE)
        await asyncio.gather(*draining)


async def test_drain_raises_when_the_peer_has_gone(loop, sockets):
    async with streams_to(sockets) as (_, writer, peer):
        writer.write(bytes(LARGE))
        draining = loop.create_task(writer.drain())
        await turns(3)
        reset(peer)
        assert isinstance(await outcome(draining), ConnectionError)
        with pytest.raises(ConnectionError):
            await writer.drain()


async def test_a_reset_is_raised_to_who_reads(loop, sockets):
    async with streams_to(sockets) as (reader, _, peer):
        reading = loop.create_task(reader.read(10))
        await turns(3)
        reset(peer)
        assert type(await outcome(reading)) is ConnectionResetError


async def test_what_was_written_before_close_arrives(loop, sockets):
    data = pattern(LARGE)
    async with streams_to(sockets) as (_, writer, peer):
        writer.write(data)
        writer.close()
        assert writer.is_closing()
        closing = loop.create_task(writer.wait_closed())
        assert await read_to_the_end(peer) == data
        await closing


async def test_writelines_and_write_eof(loop, sockets):
    async with streams_to(sockets) as (reader, writer, peer):
        writer.writelines([b"one,", b"two"])
        assert writer.can_write_eof()
        writer.write_eof()
        assert await read_to_the_end(peer) == b"one,two"
        peer.send(b"three")
        peer.close()
        assert await reader.read() == b"three"


async def test_extra_info_of_a_writer(loop, sockets):
    async with streams_to(sockets) as (_, writer, peer):
        assert writer.get_extra_info("peername") == peer.getsockname()
        assert writer.get_extra_info("sockname") == peer.getpeername()
        assert writer.transport.get_extra_info("socket").family == socket.AF_INET


async def test_a_read_that_is_cancelled_loses_nothing(loop, sockets):
    async with streams_to(sockets) as (reader, _, peer):
        expected = b""
        received = b""
        for number in range(300):
            peer.send(b"%d," % number)
            expected += b"%d," % number
            with contextlib.suppress(TimeoutError):
                received += await asyncio.wait_for(reader.read(3), 0.0001 * (number % 3))
        while len(received) < len(expected):
            received += await reader.read(1000)
        assert received == expected


async def test_a_connection_that_is_refused(loop, sockets, tmp_path):
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*sockets.refused_address())
    with pytest.raises(FileNotFoundError):
        await asyncio.open_unix_connection(str(tmp_path / "none"))


async def test_a_handler_that_fails_is_reported_and_its_connection_closed(loop, sockets, reports):
    async def handler(reader, writer):
        await reader.readline()
        raise LookupError("in the handler")

    async with await asyncio.start_server(handler, "127.0.0.1", 0) as server:
        client = sockets.new(socket.AF_INET)
        await loop.sock_connect(client, server.sockets[0].getsockname())
        client.send(b"line\n")
        assert await read_to_the_end(client) == b""
    context = reports.take()
    assert context["message"] == "Unhandled exception in client_connected_cb"
    assert isinstance(context["exception"], LookupError)


async def test_a_server_that_stops_finishes_the_answers_it_has_begun(loop, sockets):
    data = pattern(LARGE)

    async def handler(reader, writer):
        writer.write(data)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    client = sockets.new(socket.AF_INET)
    await loop.sock_connect(client, server.sockets[0].getsockname())
    await until(lambda: client.recv(1, socket.MSG_PEEK) if readable(client) else False)
    server.close()
    assert await read_to_the_end(client) == data
    await server.wait_closed()
    await turns(5)


def readable(sock):
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    return True


@pytest.mark.skipif(sys.version_info < (3, 13), reason="writers warn since 3.13")
async def test_a_writer_left_unclosed_is_closed_with_a_warning(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    streams = [await asyncio.open_connection(sock=ours)]
    with pytest.warns(ResourceWarning, match="unclosed <StreamWriter"):
        forget(streams)
    assert await read_to_the_end(theirs) == b""


@pytest.mark.uringloop_only(
    "asyncio's loop leaves it to the stream, and the handshake waits for ever", when=sys.version_info < (3, 14)
)
async def test_a_stream_that_has_received_the_beginning_of_tls_can_start_it(loop):
    async def handle(reader, writer):
        await until(lambda: reader._buffer)
        await writer.start_tls(server_context())
        writer.write(await reader.readline())
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await writer.start_tls(client_context(), server_hostname="localhost")
        writer.write(b"hello\n")
        assert await reader.read() == b"hello\n"
        writer.close()
        await writer.wait_closed()
