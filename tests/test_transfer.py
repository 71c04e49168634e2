"""A large transfer each way at once, with reading paused and resumed in between."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import socket

import pytest
from support.checks import until
from support.protocols import dropped
from support.sockets import pattern, read_to_the_end

SIZE = 64 * 1024 * 1024
"""Bytes each way; 200 MB is what to set here for a thorough run."""

BLOCK = pattern(1_000_003)


def digest_of_the_whole():
    """The digest of BLOCK over and over, cut off at SIZE."""
    digest = hashlib.sha256()
    for start in range(0, SIZE, len(BLOCK)):
        digest.update(BLOCK[: SIZE - start])
    return digest.digest()


class Exchange(asyncio.Protocol):
    """Sends SIZE bytes as fast as flow control lets it, and digests what comes."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.digest = hashlib.sha256()
        self.received = 0
        self.sent = 0
        self.next_pause = 0
        self.pauses = {"reading": 0, "writing": 0}
        self.ended = False
        self.writable = True

    def connection_made(self, transport):
        self.transport = transport
        self.loop = asyncio.get_running_loop()
        self.send()

    def send(self):
        """Write blocks of all sizes until the buffer is full."""
        while self.writable and self.sent < SIZE:
            start = self.sent % len(BLOCK)
            most = min(SIZE - self.sent, len(BLOCK) - start)
            length = min(most, self.random.randrange(1, 600_000))
            self.sent += length
            self.transport.write(BLOCK[start : start + length])
        if self.sent == SIZE and not self.ended:
            self.ended = True
            self.transport.write_eof()

    def pause_writing(self):
        self.writable = False
        self.pauses["writing"] += 1

    def resume_writing(self):
        self.writable = True
        self.loop.call_soon(self.send)

    def data_received(self, data):
        self.digest.update(data)
        self.received += len(data)
        if self.received > self.next_pause:
            self.next_pause = self.received + self.random.randrange(SIZE // 50)
            self.pauses["reading"] += 1
            self.transport.pause_reading()
            self.loop.call_later(self.random.random() * 0.002, self.transport.resume_reading)

    def eof_received(self):
        self.at_end = self.received
        return True


class BufferedExchange(Exchange, asyncio.BufferedProtocol):
    """The same, receiving into a buffer of its own."""

    def __init__(self, seed):
        super().__init__(seed)
        self.buffer = bytearray(100_000)

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        self.data_received(memoryview(self.buffer)[:nbytes])


@pytest.mark.parametrize("stream", ["tcp", "unix"])
@pytest.mark.parametrize("exchange", [Exchange, BufferedExchange])
async def test_a_large_transfer_each_way_at_once_arrives_whole(loop, sockets, stream, exchange):
    ends = []
    for seed, sock in enumerate(sockets.pair(stream)):
        end = exchange(seed)
        await loop.create_connection(lambda end=end: end, sock=sock)
        ends.append(end)
    await until(lambda: all(hasattr(end, "at_end") for end in ends))
    expected = digest_of_the_whole()
    for end in ends:
        assert end.at_end == end.received == SIZE
        assert end.digest.digest() == expected
        assert end.pauses["reading"] > 10
        assert end.pauses["writing"] > 10
        await dropped(end.transport)


async def test_a_large_write_is_not_starved_by_callbacks(loop, sockets):
    """Its socket is full so often that a thread of the kernel's sends the rest."""
    ours, peer = sockets.unix_pair()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    transport.write(bytes(60_000_000))
    received = 0
    while transport.get_write_buffer_size():
        with contextlib.suppress(BlockingIOError):
            received += len(peer.recv(40_000))
        await asyncio.sleep(0)
    transport.close()
    received += len(await read_to_the_end(peer))
    assert received == 60_000_000


async def test_a_large_transfer_by_the_socket_methods_arrives_whole(loop, sockets):
    async def send(sock):
        for start in range(0, SIZE, len(BLOCK)):
            await loop.sock_sendall(sock, memoryview(BLOCK)[: SIZE - start])
        sock.shutdown(socket.SHUT_WR)

    async def receive(sock, size):
        digest = hashlib.sha256()
        buffer = bytearray(size)
        while count := await loop.sock_recv_into(sock, buffer):
            digest.update(memoryview(buffer)[:count])
        return digest.digest()

    ours, theirs = sockets.tcp_pair()
    results = await asyncio.gather(send(ours), send(theirs), receive(ours, 200_000), receive(theirs, 1_000_000))
    assert results[2:] == [digest_of_the_whole()] * 2
