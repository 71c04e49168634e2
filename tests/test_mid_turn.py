"""Disturbances in the middle of a turn: exceptions that end the loop, and what follows a write that was refused."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
from collections.abc import Iterator

import pytest
from support.checks import turns
from support.protocols import Recorder, dropped
from support.sockets import fill, pattern, read_exactly, read_to_the_end, read_what_is_there


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_came_in_the_same_turn_as_an_interrupt_is_not_lost(loop, sockets, error):
    """Each of the tasks is resumed by what has come for it; the first lets an exception out of run_forever()."""
    pairs = [sockets.unix_pair() for _ in range(20)]
    received = []

    async def receive(number, sock):
        received.append((number, await loop.sock_recv(sock, 100)))
        if len(received) == 1:
            raise error

    async def begin():
        return [loop.create_task(receive(number, ours)) for number, (ours, _) in enumerate(pairs)]

    tasks = loop.run_until_complete(begin())
    loop.run_until_complete(turns(3))
    for number, (_, theirs) in enumerate(pairs):
        theirs.send(b"%d" % number)
    with pytest.raises(error):
        loop.run_forever()
    loop.run_until_complete(asyncio.wait(tasks))
    assert sorted(received) == [(number, b"%d" % number) for number in range(20)]
    assert sum(task.exception() is not None for task in tasks) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("stream", ["tcp", "unix"])
def test_what_was_written_in_the_same_turn_as_an_interrupt_is_sent_once(loop, sockets, stream, error):
    pairs = [sockets.pair(stream) for _ in range(20)]
    recorders = []

    class Answering(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.write(data * 2)
            if len(recorders) == len(pairs) and self is recorders[3]:
                raise error

    async def begin():
        for ours, _ in pairs:
            _, protocol = await loop.create_connection(Answering, sock=ours)
            recorders.append(protocol)

    loop.run_until_complete(begin())
    for number, (_, theirs) in enumerate(pairs):
        theirs.send(b"%d," % number)
    with pytest.raises(error):
        loop.run_forever()

    async def check():
        for number, (_, theirs) in enumerate(pairs):
            assert await read_exactly(theirs, len(b"%d," % number) * 2) == b"%d,%d," % (number, number)
            assert read_what_is_there(theirs) == b""
        for recorder in recorders:
            await dropped(recorder.transport)

    loop.run_until_complete(check())


@pytest.mark.parametrize("end", ["close", "write_eof", "abort", "set_write_buffer_limits"])
@pytest.mark.parametrize("room", [0, 5000])
async def test_a_write_that_the_socket_refused_is_not_lost_by_what_follows(loop, sockets, end, room):
    ours, theirs = sockets.unix_pair()
    before = fill(ours)
    if room:
        theirs.recv(room)
        before -= room
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    data = pattern(30_000)
    transport.write(data)
    await turns(1)
    transport.write(b"more")
    if end == "set_write_buffer_limits":
        transport.set_write_buffer_limits(0)
        transport.write_eof()
    else:
        getattr(transport, end)()
    received = await read_to_the_end(theirs)
    if end == "abort":
        assert (bytes(before) + data).startswith(received)
    else:
        assert received == bytes(before) + data + b"more"
    await dropped(transport)
    await protocol.ends()


@pytest.fixture
def alarms() -> Iterator[None]:
    """An alarm raises KeyboardInterrupt, but in no finalizer that the garbage collector calls: there it is lost."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    signal.signal(signal.SIGALRM, before)


def test_an_interrupt_costs_one_timer_at_the_most(loop, alarms):
    """That at which it comes: when one is put among the others, or taken out, or called.

    One that comes just before asyncio's loop goes to sleep ends that only with the next timer.
    """
    randomly = random.Random(1)
    seen: list[int] = []

    def begin():
        for number in range(2000):
            loop.call_later(0.0005, seen.append, number)
        signal.setitimer(signal.ITIMER_REAL, randomly.uniform(0.00001, 0.001))

    for _ in range(30):
        seen.clear()
        loop.call_soon(begin)
        waking = loop.call_later(2, loop.stop)
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        waking.cancel()
        loop.call_later(0.001, loop.stop)
        loop.run_forever()
        assert 1999 <= len(seen) == len(set(seen))
