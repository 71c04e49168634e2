"""Random sequences of receives, sends, accepts and cancels: every byte arrives once and in order.

Hypothesis finds sequences that break this, and shortens them. asyncio's own loop loses what has come for a task
that is cancelled before it wakes, so all of this is uringloop's own.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections import deque

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.checks import PATIENCE

import uringloop

CANCELS = int(os.environ.get("CANCELS") or 20_000)
"""How many receives to cancel: a million take a minute."""

_SIZE = st.sampled_from([1, 10, 1000, 70_000])
_NUMBER = st.integers(0, 5)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("receive"), _SIZE),
        st.tuples(st.just("receive_into"), _SIZE),
        st.tuples(st.just("cancel"), _NUMBER),
        st.tuples(st.just("peer_sends"), _SIZE),
        st.tuples(st.just("turns"), st.integers(0, 3)),
    ),
    max_size=40,
)

EXAMPLES = int(os.environ.get("EXAMPLES") or 150)
"""How many sequences of each kind to try."""

thorough = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Stream:
    """The model: bytes that the peer has sent, taken off by receives in the order in which they were called."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.expected = bytearray()
        self.received = bytearray()

    def make(self, size: int) -> bytes:
        data = self._random.randbytes(size)
        self.expected += data
        return data

    def check(self) -> None:
        assert self.expected.startswith(self.received)


class Receiver:
    """Calls on one socket, which are answered in the order of the calls."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, stream: Stream) -> None:
        self._loop = loop
        self._sock = sock
        self._stream = stream
        self.calls: deque[asyncio.Task] = deque()

    def begin(self, way: str, size: int) -> None:
        self.calls.append(self._loop.create_task(getattr(self, way)(size)))

    async def receive(self, size: int) -> int:
        return self._take(await self._loop.sock_recv(self._sock, size))

    async def receive_into(self, size: int) -> int:
        buffer = bytearray(size)
        count = await self._loop.sock_recv_into(self._sock, buffer)
        return self._take(bytes(buffer[:count]))

    def _take(self, data: bytes) -> int:
        self._stream.received += data
        self._stream.check()
        return len(data)

    def cancel(self, number: int) -> None:
        if self.calls:
            self.calls[number % len(self.calls)].cancel()

    async def finish(self) -> None:
        for call in self.calls:
            call.cancel()
        for call in self.calls:
            await asyncio.wait([call])
            assert call.cancelled() or call.exception() is None


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@thorough
@given(_STEPS, st.booleans())
def test_any_sequence_of_receives_and_cancels_keeps_the_stream(steps, tcp):
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = _tcp_pair() if tcp else socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            stream = Stream(len(steps))
            receiver = Receiver(loop, ours, stream)
            for what, number in steps:
                if what == "cancel":
                    receiver.cancel(number)
                elif what == "peer_sends":
                    if len(stream.expected) - len(stream.received) < 100_000:  # there is room for it
                        theirs.sendall(stream.make(number))
                elif what == "turns":
                    await _turns(number)
                else:
                    receiver.begin(what, number)
            await receiver.finish()
            async with asyncio.timeout(PATIENCE):
                while len(stream.received) < len(stream.expected):
                    await receiver.receive(100_000)

    uringloop.run(main())


@thorough
@given(st.lists(st.tuples(_SIZE, st.booleans(), st.integers(0, 3)), max_size=20))
def test_any_sequence_of_sends_keeps_the_order(sends):
    """Of a cancelled sendall a beginning is sent; all others are sent whole, in the order of the calls."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            calls = []
            for number, (size, cancels, turns) in enumerate(sends):
                data = bytes([number]) * size
                calls.append((data, loop.create_task(loop.sock_sendall(ours, data))))
                await _turns(turns)
                if cancels:
                    calls[random.Random(size).randrange(len(calls))][1].cancel()
            reading = loop.create_task(_read_to_the_end(theirs))
            for _, call in calls:
                await asyncio.wait([call])
            ours.shutdown(socket.SHUT_WR)
            received = await reading
            for data, call in calls:
                rest = received.lstrip(data[:1])
                count = len(received) - len(rest)
                assert count <= len(data) if call.cancelled() else count == len(data)
                received = rest
            assert not received

    uringloop.run(main())


@thorough
@given(st.lists(st.one_of(st.tuples(st.sampled_from(["accept", "connect", "turn"])), _NUMBER), max_size=30))
def test_any_sequence_of_accepts_and_cancels_keeps_every_connection(steps):
    """A number in the sequence is that of an accept to cancel."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            accepts: list[asyncio.Task] = []
            clients = []
            for step in steps:
                if step == ("accept",):
                    accepts.append(loop.create_task(loop.sock_accept(listener)))
                elif step == ("connect",):
                    clients.append(socket.create_connection(listener.getsockname()))
                elif step == ("turn",):
                    await asyncio.sleep(0)
                elif accepts:
                    accepts[step % len(accepts)].cancel()
            await _turns(5)
            for accept in accepts:
                accept.cancel()
            if accepts:
                await asyncio.wait(accepts)
            taken = [accept.result() for accept in accepts if not accept.cancelled()]
            async with asyncio.timeout(PATIENCE):
                while len(taken) < len(clients):
                    taken.append(await loop.sock_accept(listener))
            assert [address for _, address in taken] == [client.getsockname() for client in clients]
            for sock in [*clients, *(connection for connection, _ in taken)]:
                sock.close()

    uringloop.run(main())


@pytest.mark.timeout(1800)
def test_very_many_cancelled_receives_lose_no_byte():
    """Some are cancelled before they begin, some while they wait, some when their data has come."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            rng = random.Random(CANCELS)
            sent = received = cancelled = 0
            while cancelled < CANCELS:
                task = loop.create_task(loop.sock_recv(ours, rng.choice([1, 100, 100_000])))
                await _turns(rng.randrange(3))
                if rng.random() < 0.7 and sent - received < 100_000:
                    sent += theirs.send(_numbered(sent, rng.randrange(1, 100)))
                await _turns(rng.randrange(3))
                task.cancel()
                await asyncio.wait([task])
                if task.cancelled():
                    cancelled += 1
                else:
                    data = task.result()
                    assert data == _numbered(received, len(data))
                    received += len(data)
            while received < sent:
                data = await loop.sock_recv(ours, 100_000)
                assert data == _numbered(received, len(data))
                received += len(data)

    uringloop.run(main())


def _numbered(start: int, size: int) -> bytes:
    """Bytes that show their place in the stream, modulo a number that is no power of two."""
    first = start % 251
    return (_CYCLE * (size // 251 + 2))[first : first + size]


_CYCLE = bytes(range(251))


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    return ours, theirs


async def _read_to_the_end(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    received = bytearray()
    while data := await loop.sock_recv(sock, 100_000):
        received += data
    return bytes(received)
