"""Sends at once: what a socket does not take comes back, each piece to its sender, and nothing is lost.

Tests of uringloop's inside; that transports lose nothing is tested on both loops in test_transfer.py.
"""

import asyncio
import errno
import os
import resource
import socket

import pytest
from support.checks import turns

import uringloop


class Sender:
    """Has one piece of data to send, and notes what comes back."""

    def __init__(self, sock):
        self.sock = sock
        self.refusals = []

    def refused(self, data, result):
        self.refusals.append((data, result))


@pytest.fixture
def own_loop():
    loop = uringloop.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def pairs():
    """Makes connected pairs of sockets, of which the first does not block."""
    made = []

    def make():
        pair = socket.socketpair()
        pair[0].setblocking(False)
        made.extend(pair)
        return pair

    yield make
    for sock in made:
        sock.close()


def fill(sock):
    size = 0
    try:
        while True:
            size += sock.send(bytes(64 * 1024))
    except BlockingIOError:
        return size


def turn(loop):
    """Run the loop for one turn at least."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_what_is_sent_brings_no_answer(own_loop, pairs):
    ours, theirs = pairs()
    sender = Sender(ours)
    own_loop._proactor.outbox.pending[sender] = b"hello"
    turn(own_loop)
    assert theirs.recv(100) == b"hello"
    assert sender.refusals == []
    assert not own_loop._proactor.outbox


def test_a_full_socket_refuses_everything(own_loop, pairs):
    ours, theirs = pairs()
    size = fill(ours)
    sender = Sender(ours)
    own_loop._proactor.outbox.pending[sender] = b"hello"
    turn(own_loop)
    assert sender.refusals == [(b"hello", -errno.EAGAIN)]
    assert len(theirs.recv(size, socket.MSG_WAITALL)) == size
    with pytest.raises(BlockingIOError):
        theirs.recv(100, socket.MSG_DONTWAIT)


def test_a_socket_with_little_room_takes_a_part(own_loop, pairs):
    ours, theirs = pairs()
    data = os.urandom(4 * 1024 * 1024)
    sender = Sender(ours)
    own_loop._proactor.outbox.pending[sender] = data
    turn(own_loop)
    ((refused, count),) = sender.refusals
    assert refused == data
    assert 0 < count < len(data)
    assert theirs.recv(count, socket.MSG_WAITALL) == data[:count]
    with pytest.raises(BlockingIOError):
        theirs.recv(100, socket.MSG_DONTWAIT)


def test_an_error_comes_back_to_whom_it_concerns(own_loop, pairs):
    senders = []
    for number in range(9):
        ours, theirs = pairs()
        if number % 3 == 0:
            theirs.close()
        senders.append(Sender(ours))
        own_loop._proactor.outbox.pending[senders[-1]] = b"hello"
    turn(own_loop)
    for number, sender in enumerate(senders):
        assert sender.refusals == ([(b"hello", -errno.EPIPE)] if number % 3 == 0 else [])


def test_what_an_error_cancels_completes_while_there_are_callbacks(own_loop, pairs):
    """The receive of a transport whose send fails: its last completion lies there, and nothing announces it."""
    ours, _ = pairs()

    async def fail():
        transport, _ = await own_loop.create_connection(asyncio.Protocol, sock=ours)
        await turns(5)
        assert own_loop._proactor.in_flight() == 1
        ours.shutdown(socket.SHUT_WR)
        transport.write(b"x")
        await turns(20)
        assert transport.is_closing()
        assert own_loop._proactor.in_flight() == 0

    own_loop.run_until_complete(fail())


def test_more_refusals_than_the_completion_queue_holds(own_loop, pairs):
    """They are all there before anything else is dispatched, although the queue overflows."""
    count = 2500
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] < 2 * count + 100:
        pytest.skip(f"needs {2 * count} descriptors, and this process may have {limits[1]}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    try:
        senders = []
        for _ in range(count):
            ours, _ = pairs()
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            fill(ours)
            senders.append(Sender(ours))
            own_loop._proactor.outbox.pending[senders[-1]] = b"hello"
        turn(own_loop)
        assert all(sender.refusals == [(b"hello", -errno.EAGAIN)] for sender in senders)
        assert not own_loop._proactor.outbox
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_what_is_pending_when_the_loop_stops_is_sent(own_loop, pairs):
    ours, theirs = pairs()
    sender = Sender(ours)

    def write_and_stop():
        own_loop._proactor.outbox.pending[sender] = b"hello"
        own_loop.stop()

    own_loop.call_soon(write_and_stop)
    own_loop.run_forever()
    assert theirs.recv(100) == b"hello"
    assert not own_loop._proactor.outbox


class Interrupt(BaseException):
    """Comes at the worst moment."""


def test_an_interrupted_staging_sends_everything_once(own_loop, pairs):
    """As when the handler of a signal raises while sends are handed to the engine."""

    class Interrupting(Sender):
        def __init__(self, sock):
            super().__init__(self)
            self.asked = sock

        def fileno(self):
            self.sock = self.asked
            raise Interrupt

    made = [pairs() for _ in range(3)]
    pending = own_loop._proactor.outbox.pending
    for kind, (ours, _) in zip((Sender, Interrupting, Sender), made, strict=True):
        pending[kind(ours)] = b"hello"
    with pytest.raises(Interrupt):
        turn(own_loop)
    turn(own_loop)
    for _, theirs in made:
        theirs.setblocking(False)
        assert theirs.recv(100) == b"hello"
    assert not own_loop._proactor.outbox
