"""Cancelling sock_recv and its like: no byte and no connection is lost, none is stolen.

What an operation had received when it was cancelled goes to the next receive on that
socket. asyncio's own loop does not promise so much: a task that is cancelled between
the arrival of its data and its own wake-up loses the data. Hence ``uringloop_only``.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import hashlib
import itertools
import socket
import threading
import time

import pytest
from support.checks import PATIENCE, forget, outcome, turns
from support.children import run
from support.protocols import Recorder, dropped
from support.sockets import (
    fill,
    free_port,
    pattern,
    read_exactly,
    read_some,
    read_to_the_end,
    read_what_is_there,
    reset,
    sees_the_end,
)

loses = pytest.mark.uringloop_only("asyncio loses what has come when the task is cancelled before it wakes")

MOMENTS = list(itertools.product(range(4), range(6)))
"""Turns before something happens, and turns from there to the cancelling."""


async def recv(loop, sock, count=100):
    return await loop.sock_recv(sock, count)


async def recv_into(loop, sock, count=100):
    buffer = bytearray(count)
    return bytes(buffer[: await loop.sock_recv_into(sock, buffer)])


async def recvfrom(loop, sock, count=100):
    data, _address = await loop.sock_recvfrom(sock, count)
    return data


async def recvfrom_into(loop, sock, count=100):
    buffer = bytearray(count)
    received, _address = await loop.sock_recvfrom_into(sock, buffer)
    return bytes(buffer[:received])


any_receive = pytest.mark.parametrize("receive", [recv, recv_into, recvfrom, recvfrom_into])


async def cancelled(task):
    """Cancel, and return what the task returns all the same, None if nothing."""
    task.cancel()
    result = await outcome(task)
    if isinstance(result, asyncio.CancelledError):
        return None
    assert not isinstance(result, Exception), result
    return result


async def cancelled_around(loop, awaitable, event, before, between):
    """Begin, let the event happen some turns later, and cancel some turns after it."""
    task = loop.create_task(awaitable)
    await turns(before)
    event()
    await turns(between)
    return await cancelled(task)


# receiving


@loses
@any_receive
@pytest.mark.parametrize("stream", ["tcp", "unix"])
async def test_a_receive_cancelled_at_any_moment_loses_no_byte(loop, sockets, stream, receive):
    ours, theirs = sockets.pair(stream)
    for before, between in MOMENTS:
        sent = b"%d after %d" % (between, before)
        received = await cancelled_around(loop, receive(loop, ours), lambda s=sent: theirs.send(s), before, between)
        received = received or b""
        while len(received) < len(sent):
            received += await receive(loop, ours)
        assert received == sent


@loses
@any_receive
@pytest.mark.parametrize("kind_of_pair", ["udp", "unix"])
async def test_a_receive_cancelled_at_any_moment_loses_no_datagram(loop, sockets, receive, kind_of_pair):
    if kind_of_pair == "udp":
        ours, theirs = sockets.udp_pair()
    else:
        ours, theirs = sockets.unix_pair(socket.SOCK_DGRAM)
    for before, between in MOMENTS:
        sent = b"%d after %d" % (between, before)
        received = await cancelled_around(loop, receive(loop, ours), lambda s=sent: theirs.send(s), before, between)
        theirs.send(b"next")
        expected = [b"next"] if received else [sent, b"next"]
        assert [await receive(loop, ours) for _ in expected] == expected


@any_receive
async def test_data_and_cancelling_in_one_callback_lose_nothing(loop, sockets, receive):
    ours, theirs = sockets.tcp_pair()

    def do(deeds, task):
        for deed in deeds:
            task.cancel() if deed == "cancel" else theirs.send(deed)

    for deeds in itertools.permutations([b"one", b"two", "cancel"]):
        task = loop.create_task(receive(loop, ours))
        await turns(3)
        loop.call_soon(do, deeds, task)
        received = await outcome(task)
        if isinstance(received, asyncio.CancelledError):
            received = b""
        while len(received) < 6:
            received += await receive(loop, ours)
        assert sorted([received[:3], received[3:]]) == [b"one", b"two"]


class SteadySender:
    """Sends without an end from a thread, until told to stop."""

    def __init__(self, sock):
        self.digest = hashlib.sha256()
        self.sent = 0
        self._data = pattern(65_536)
        self._stop = threading.Event()
        self._sock = sock
        self._thread = threading.Thread(target=self._send)

    def __enter__(self):
        self._sock.settimeout(30)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop()
        self._thread.join()

    def stop(self):
        """Have the stream end after what is being sent; that needs a reader."""
        self._stop.set()

    def _send(self):
        while not self._stop.is_set():
            start = self.sent % 60_000
            chunk = self._data[start : start + 1 + self.sent % 1777]
            self._sock.sendall(chunk)
            self.digest.update(chunk)
            self.sent += len(chunk)
            time.sleep(0.0001)
        self._sock.shutdown(socket.SHUT_WR)


TIMEOUTS = [0, 0.00002, 0.00005, 0.0001, 0.0005, 0.002]


@loses
@any_receive
@pytest.mark.parametrize("stream", ["tcp", "unix"])
async def test_waiting_a_short_while_again_and_again_loses_no_byte(loop, sockets, stream, receive):
    ours, theirs = sockets.pair(stream)
    seen = hashlib.sha256()
    counts = {"bytes": 0, "timeouts": 0}

    async def attempt(timeout):
        try:
            chunk = await asyncio.wait_for(receive(loop, ours, 4096), timeout)
        except TimeoutError:
            counts["timeouts"] += 1
        else:
            seen.update(chunk)
            counts["bytes"] += len(chunk)
            return chunk

    with SteadySender(theirs) as sender:
        for number in range(1800):
            await attempt(TIMEOUTS[number % len(TIMEOUTS)])
        sender.stop()
        while await attempt(PATIENCE):
            pass
    assert counts["timeouts"] >= 300  # or nothing was tried
    assert counts["bytes"] == sender.sent
    assert seen.digest() == sender.digest.digest()


@loses
@any_receive
async def test_the_next_receive_may_ask_for_less_or_otherwise(loop, sockets, receive):
    ours, theirs = sockets.tcp_pair()
    for before, between in MOMENTS:
        received = await cancelled_around(loop, recv(loop, ours), lambda: theirs.send(b"abcdefgh"), before, between)
        if received is None:
            received = await receive(loop, ours, 3)
            assert received in (b"a", b"ab", b"abc")
            received += await recv(loop, ours, 1)
            received += await recv_into(loop, ours)
            while len(received) < 8:
                received += await receive(loop, ours, 2)
        assert received == b"abcdefgh"


@loses
async def test_what_came_first_is_received_first(loop, sockets):
    """Bytes put back by several cancelled receives, and bytes that come afterwards."""
    ours, theirs = sockets.tcp_pair()
    for before, between in MOMENTS:
        tasks = [loop.create_task(recv(loop, ours, 2)) for _ in range(3)]
        await turns(before)
        theirs.send(b"abcdef")
        await turns(between)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        received = b"".join(task.result() for task in tasks if not task.cancelled())
        theirs.send(b"ghi")
        while len(received) < 9:
            received += await recv(loop, ours)
        assert received == b"abcdefghi"


async def test_a_cancelled_receive_gives_way_to_the_next_in_line(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    for before, between in MOMENTS:
        first = loop.create_task(recv(loop, ours))
        second = loop.create_task(recv(loop, ours))
        await turns(before)
        theirs.send(b"hello")
        await turns(between)
        received = await cancelled(first)
        if received:
            theirs.send(b"hello")
        assert await second == b"hello"


@pytest.mark.parametrize("call", ["receive", "send", "accept"])
def test_calls_left_in_line_when_the_loop_is_closed_end_in_silence(kind, sockets, call):
    loop = kind.new_event_loop()
    ours, _theirs = sockets.tcp_pair()
    listener = sockets.listener()
    calls = {
        "receive": lambda: loop.sock_recv(ours, 100),
        "send": lambda: loop.sock_sendall(ours, bytes(10_000_000)),
        "accept": lambda: loop.sock_accept(listener),
    }

    async def make_call():
        await calls[call]()

    tasks = [loop.create_task(make_call()) for _ in range(4)]
    loop.run_until_complete(asyncio.sleep(0.01))
    tasks[1].cancel()
    loop.close()
    for task in tasks:
        task._log_destroy_pending = False
    del task
    forget(tasks)


@loses
async def test_the_end_of_a_stream_is_not_lost_either(loop, sockets):
    for before, between in MOMENTS:
        ours, theirs = sockets.tcp_pair()

        def speak_and_leave(theirs=theirs):
            theirs.send(b"last words")
            theirs.close()

        received = await cancelled_around(loop, recv(loop, ours), speak_and_leave, before, between)
        assert (received or await recv(loop, ours)) == b"last words"
        assert await recv(loop, ours) == b""
        ours.close()


@loses
async def test_a_transport_gets_what_a_cancelled_receive_had(loop, sockets):
    for before, between in MOMENTS:
        ours, theirs = sockets.tcp_pair()
        received = await cancelled_around(
            loop, recv(loop, ours), lambda t=theirs: t.send(b"first,"), before, between
        )
        protocol = Recorder()
        transport, _ = await loop.create_connection(lambda p=protocol: p, sock=ours)
        theirs.send(b"then")
        missing = b"then" if received else b"first,then"
        assert await protocol.receives(len(missing)) == missing
        await dropped(transport)


@loses
@pytest.mark.parametrize("stream", ["tcp", "unix"])
@any_receive
async def test_a_transport_gets_what_a_receive_has_that_has_yet_to_end(loop, sockets, stream, receive):
    """The task is cancelled and the transport made in one go, with what was sent still under way between them."""
    for before, between in MOMENTS:
        ours, theirs = sockets.pair(stream)
        task = loop.create_task(receive(loop, ours))
        await turns(before)
        theirs.send(b"first,")
        await turns(between)
        task.cancel()
        protocol = Recorder()
        transport, _ = await loop.create_connection(lambda p=protocol: p, sock=ours)
        theirs.send(b"then")
        received = await cancelled(task)
        missing = b"then" if received else b"first,then"
        assert await protocol.receives(len(missing)) == missing
        await dropped(transport)


@loses
async def test_a_transport_is_told_of_the_error_that_a_cancelled_receive_had(loop, sockets):
    for before, between in MOMENTS:
        ours, theirs = sockets.tcp_pair()
        task = loop.create_task(recv(loop, ours))
        await turns(before)
        reset(theirs)
        await turns(between)
        task.cancel()
        protocol = Recorder()
        transport, _ = await loop.create_connection(lambda p=protocol: p, sock=ours)
        error = await outcome(task)
        await protocol.ends()
        assert isinstance(error, ConnectionResetError) or isinstance(protocol.error, ConnectionResetError)
        await dropped(transport)


@any_receive
async def test_after_a_cancelled_receive_the_data_stays_in_the_socket(loop, sockets, receive):
    ours, theirs = sockets.tcp_pair()
    for before in range(4):
        task = loop.create_task(receive(loop, ours))
        await turns(before)
        assert await cancelled(task) is None
        theirs.send(b"hello")
        await turns(3)
        assert await read_some(ours) == b"hello"


@pytest.mark.parametrize("call", ["sock_recv_into", "sock_recvfrom_into"])
async def test_a_cancelled_receive_writes_no_more_into_its_buffer(loop, sockets, call):
    ours, theirs = sockets.tcp_pair()
    for before in range(4):
        buffer = bytearray(b"." * 100)
        task = loop.create_task(getattr(loop, call)(ours, buffer))
        await turns(before)
        assert await cancelled(task) is None
        theirs.send(b"hello")
        await asyncio.sleep(0.002)
        assert buffer == b"." * 100
        assert await loop.sock_recv(ours, 10) == b"hello"


ENDINGS = [
    ("cancelled", "sock_recv_into"),
    ("cancelled", "sock_recvfrom_into"),
    ("cancelled", "sock_sendall"),
    ("reset", "sock_recv_into"),
    ("reset", "sock_recvfrom_into"),
]


@pytest.mark.parametrize(("ending", "call"), ENDINGS)
async def test_a_call_that_ended_lets_go_of_its_buffer_even_if_its_exception_is_kept(loop, sockets, ending, call):
    """A bytearray cannot be resized while something has a hold of it."""
    for wait in range(4):
        ours, theirs = sockets.tcp_pair()
        buffer = bytearray(10_000_000 if call == "sock_sendall" else 1000)
        task = loop.create_task(getattr(loop, call)(ours, buffer))
        await turns(wait)
        if ending == "cancelled":
            task.cancel()
        else:
            reset(theirs)
        with pytest.raises((asyncio.CancelledError, ConnectionError)) as kept:
            await task
        buffer.clear()
        assert kept.traceback
        ours.close()


COLLECTED = """
import gc

async def main():
    sock = socket.socket()
    sock.setblocking(False)
    try:
        await {call}
    except OSError:
        sock.close()

loop = new_event_loop()
loop.run_until_complete(main())
gc.collect()
loop.close()
"""
LENDING = {
    "sock_recv_into": "loop.sock_recv_into(sock, memoryview(bytearray(9)))",
    "sock_recvfrom_into": "loop.sock_recvfrom_into(sock, memoryview(bytearray(9)))",
    "sock_sendall": "loop.sock_sendall(sock, memoryview(bytearray(9)))",
}


@pytest.mark.parametrize("call", LENDING)
def test_what_a_failed_call_leaves_of_a_view_can_be_collected(kind, call):
    """CPython before 3.13 crashes when it collects a memoryview that something has a hold of."""
    done = run(kind, COLLECTED.format(call=LENDING[call]))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("call", ["sock_recv_into", "sock_recvfrom_into", "sock_sendall"])
async def test_a_call_that_was_cancelled_in_line_lets_go_of_its_buffer(loop, sockets, call):
    ours, _ = sockets.tcp_pair()
    size = 10_000_000
    first = loop.create_task(loop.sock_sendall(ours, bytes(size)) if call == "sock_sendall" else recv(loop, ours))
    await turns(2)
    buffer = bytearray(size)
    second = loop.create_task(getattr(loop, call)(ours, buffer))
    await turns(2)
    assert await cancelled(second) is None
    buffer.clear()
    await cancelled(first)


KEPT_IN_A_CYCLE = """
import gc

class Keeper:
    pass

async def receive(sock, view, keeper):
    try:
        await loop.sock_recv_into(sock, view)
    except BaseException as error:
        keeper.error, keeper.itself = error, keeper

async def main():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        first = loop.create_task(loop.sock_recv(ours, 9))
        view = memoryview(bytearray(9))  # older than what refers to it, and so cleared before that
        second = loop.create_task(receive(ours, view, Keeper()))
        del view
        await asyncio.sleep(0.01)
        second.cancel()
        await second
        first.cancel()
        await asyncio.wait([first])

gc.disable()
loop = new_event_loop()
loop.run_until_complete(main())
gc.collect()
loop.close()
"""


def test_what_a_cancelled_call_leaves_of_a_view_can_be_collected(kind):
    """CPython before 3.11.8 and 3.12.2 crashes when a memoryview is garbage together with who has a hold of it."""
    done = run(kind, KEPT_IN_A_CYCLE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


async def test_a_receive_can_be_cancelled_before_it_began(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    theirs.send(b"hello")
    assert await cancelled(loop.create_task(recv(loop, ours))) is None
    assert await recv(loop, ours) == b"hello"


async def test_cancelling_one_receive_does_not_disturb_another_socket(loop, sockets):
    pairs = [sockets.tcp_pair() for _ in range(20)]
    tasks = [loop.create_task(recv(loop, ours)) for ours, _ in pairs]
    await turns(3)
    for task in tasks[::2]:
        assert await cancelled(task) is None
    for number, (_, theirs) in enumerate(pairs):
        theirs.send(b"%d" % number)
    received = await asyncio.gather(*tasks[1::2])
    assert received == [b"%d" % number for number in range(1, 20, 2)]
    for number, (ours, _) in list(enumerate(pairs))[::2]:
        assert await recv(loop, ours) == b"%d" % number


# accepting


@loses
async def test_an_accept_cancelled_at_any_moment_loses_no_connection(loop, sockets):
    listener = sockets.listener()
    for before, between in MOMENTS:
        client = sockets.new(socket.AF_INET)
        accepted = await cancelled_around(
            loop,
            loop.sock_accept(listener),
            lambda c=client: c.connect_ex(listener.getsockname()),
            before,
            between,
        )
        server, address = accepted or await loop.sock_accept(listener)
        assert address == client.getsockname() == server.getpeername()
        server.close()


async def test_a_cancelled_accept_gives_way_to_the_next_in_line(loop, sockets):
    listener = sockets.listener()
    for before, between in MOMENTS:
        first, second = (loop.create_task(loop.sock_accept(listener)) for _ in range(2))
        await turns(before)
        clients = [sockets.new(socket.AF_INET)]
        clients[0].connect_ex(listener.getsockname())
        await turns(between)
        accepted = [await cancelled(first)]
        if accepted[0] is not None:
            clients.append(sockets.new(socket.AF_INET))
            clients[1].connect_ex(listener.getsockname())
        accepted.append(await second)
        assert [address for _, address in filter(None, accepted)] == [client.getsockname() for client in clients]
        for server, _ in filter(None, accepted):
            server.close()


@loses
async def test_accepting_a_short_while_again_and_again_loses_no_connection(loop, sockets):
    listener = sockets.listener()
    total = 200

    def connect():
        for number in range(total):
            with socket.create_connection(listener.getsockname()) as client:
                client.sendall(b"%d" % number)
            time.sleep(0.0005)

    clients = threading.Thread(target=connect)
    clients.start()
    seen = []
    timeouts = 0
    for timeout in itertools.cycle(TIMEOUTS):
        if len(seen) == total:
            break
        try:
            server, _ = await asyncio.wait_for(loop.sock_accept(listener), timeout)
        except TimeoutError:
            timeouts += 1
        else:
            seen.append(int(await loop.sock_recv(server, 100)))
            server.close()
    clients.join()
    assert seen == list(range(total))
    assert timeouts  # or nothing was tried


@loses
async def test_a_connection_that_nobody_takes_is_closed_with_the_loop(loop, sockets):
    """The fixture finds what is left open."""
    listener = sockets.listener()
    for before, between in MOMENTS:
        client = sockets.new(socket.AF_INET)
        accepted = await cancelled_around(
            loop,
            loop.sock_accept(listener),
            lambda c=client: c.connect_ex(listener.getsockname()),
            before,
            between,
        )
        if accepted:
            accepted[0].close()
    listener.close()


# sending


@pytest.mark.parametrize("wait", [0, 1, 2, 3, 5, 20])
async def test_of_a_cancelled_sendall_a_beginning_is_sent_and_nothing_after(loop, sockets, wait):
    ours, theirs = sockets.tcp_pair()
    data = bytearray(pattern(10_000_000))
    task = loop.create_task(loop.sock_sendall(ours, data))
    await turns(wait)
    assert await cancelled(task) is None
    data.clear()  # which fails while something has a hold of it
    ours.shutdown(socket.SHUT_WR)
    received = b""
    while chunk := await read_some(theirs):
        received += chunk
    assert pattern(10_000_000).startswith(received)
    assert len(received) < 10_000_000


async def test_after_a_cancelled_sendall_the_next_follows_at_once(loop, sockets):
    ours, theirs = sockets.unix_pair()
    filled = fill(ours)
    task = loop.create_task(loop.sock_sendall(ours, b"never sent"))
    await asyncio.sleep(0.005)
    assert await cancelled(task) is None
    follower = loop.create_task(loop.sock_sendall(ours, b"sent"))
    assert (await read_exactly(theirs, filled + 4))[filled:] == b"sent"
    await follower
    assert read_what_is_there(theirs) == b""


async def test_the_data_of_a_cancelled_sendall_may_change_at_once(loop, sockets):
    """Also when it has waited for its socket so often that the kernel has given it to a thread."""
    ours, theirs = sockets.tcp_pair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    data = pattern(3_000_000)
    buffer = bytearray(data)
    task = loop.create_task(loop.sock_sendall(ours, buffer))
    received = bytearray()
    while len(received) < 1_500_000:
        received += read_what_is_there(theirs)
        await asyncio.sleep(0)
    task.cancel()
    assert isinstance(await outcome(task), asyncio.CancelledError)
    buffer[:] = bytes(len(buffer))
    ours.close()
    received += await read_to_the_end(theirs)
    assert data.startswith(received)


@pytest.mark.uringloop_only("in asyncio's loop a second sendall displaces the first")
async def test_a_sendall_cancelled_in_line_lets_nobody_past(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    sends = [loop.create_task(loop.sock_sendall(ours, character * 5_000_000)) for character in (b"1", b"2", b"3")]
    await turns(2)
    assert await cancelled(sends[1]) is None
    await turns(2)
    assert await read_exactly(theirs, 10_000_000) == b"1" * 5_000_000 + b"3" * 5_000_000
    await asyncio.gather(sends[0], sends[2])


@pytest.mark.parametrize("wait", range(5))
async def test_after_a_sendall_cancelled_at_its_end_the_next_is_sent_once(loop, sockets, wait):
    ours, theirs = sockets.tcp_pair()
    first = loop.create_task(loop.sock_sendall(ours, b"first "))
    second = loop.create_task(loop.sock_sendall(ours, b"second"))
    await turns(wait)
    await cancelled(first)
    await second
    ours.close()
    assert await read_to_the_end(theirs) in (b"second", b"first second")


async def test_a_datagram_whose_sending_was_cancelled_is_sent_once_or_never(loop, sockets):
    ours, theirs = sockets.udp_pair()
    for wait in range(4):
        task = loop.create_task(loop.sock_sendto(ours, b"datagram", theirs.getsockname()))
        await turns(wait)
        await cancelled(task)
        await loop.sock_sendall(ours, b"next")
        received = await loop.sock_recv(theirs, 100)
        if received == b"datagram":
            received = await loop.sock_recv(theirs, 100)
        assert received == b"next"


# connecting


async def test_a_connect_that_hangs_can_be_cancelled(loop, sockets):
    client = sockets.new(socket.AF_INET)
    task = loop.create_task(loop.sock_connect(client, sockets.silent_address()))
    await asyncio.sleep(0.01)
    assert not task.done()
    await cancelled(task)
    client.close()


@pytest.mark.parametrize("wait", range(6))
async def test_a_cancelled_connect_leaves_nothing(loop, sockets, wait):
    listener = sockets.listener()
    client = sockets.new(socket.AF_INET)
    task = loop.create_task(loop.sock_connect(client, listener.getsockname()))
    await turns(wait)
    await cancelled(task)
    client.close()
    with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
        server, _ = listener.accept()
        assert sees_the_end(sockets.keep(server))


async def test_a_cancelled_name_lookup_ends_a_connect(loop, sockets, names):
    release = threading.Event()
    names.add("slow.test", ("127.0.0.1", 9))
    lookup = socket.getaddrinfo
    socket.getaddrinfo = lambda *args: (release.wait(10), lookup(*args))[1]
    client = sockets.new(socket.AF_INET)
    task = loop.create_task(loop.sock_connect(client, ("slow.test", 9)))
    await asyncio.sleep(0.01)
    await cancelled(task)
    release.set()


# closing what was in use


def one_who_waits(loop, sock):
    if sock.type == socket.SOCK_DGRAM:
        return loop.sock_recvfrom(sock, 10)
    return loop.sock_accept(sock)


@pytest.mark.parametrize("make", ["listener", "udp"])
async def test_the_port_is_free_once_a_cancelled_socket_is_closed(loop, sockets, make):
    sock = getattr(sockets, make)(port=free_port())
    address = sock.getsockname()
    task = loop.create_task(one_who_waits(loop, sock))
    await asyncio.sleep(0.002)
    await cancelled(task)
    sock.close()
    with socket.socket(socket.AF_INET, sock.type) as again:  # in the same turn
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, make == "listener")
        again.bind(address)
        if make == "listener":
            again.listen()


@any_receive
async def test_the_peer_sees_the_end_once_a_cancelled_socket_is_closed(loop, sockets, receive):
    ours, theirs = sockets.tcp_pair()
    task = loop.create_task(receive(loop, ours))
    await asyncio.sleep(0.002)
    await cancelled(task)
    ours.close()
    assert sees_the_end(theirs)  # in the same turn


async def test_the_peer_sees_the_end_once_a_cancelled_sender_is_closed(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    fill(ours)
    task = loop.create_task(loop.sock_sendall(ours, b"never sent"))
    await asyncio.sleep(0.002)
    await cancelled(task)
    ours.close()
    theirs.settimeout(1)
    while theirs.recv(1_000_000):
        pass


def pair_at(sockets, number):
    """A new pair whose first socket has this very descriptor number."""
    ours, theirs = socket.socketpair()
    if ours.fileno() != number:
        ours, theirs = theirs, ours
    assert ours.fileno() == number
    return sockets.keep(ours), sockets.keep(theirs)


@any_receive
async def test_a_closed_sockets_receive_does_not_steal_from_a_stranger(loop, sockets, receive):
    """The socket is closed under a receive, and its number goes to another one."""
    ours, _theirs = sockets.tcp_pair()
    task = loop.create_task(receive(loop, ours))
    await asyncio.sleep(0.002)
    number = ours.fileno()
    ours.close()
    stranger, friend = pair_at(sockets, number)
    friend.send(b"secret")
    await asyncio.sleep(0.002)
    assert await cancelled(task) is None
    assert stranger.recv(10) == b"secret"


async def test_a_stranger_gets_nothing_that_was_put_back(loop, sockets):
    for before, between in MOMENTS:
        ours, theirs = sockets.unix_pair()
        await cancelled_around(loop, recv(loop, ours), lambda t=theirs: t.send(b"private"), before, between)
        number = ours.fileno()
        ours.close()
        stranger, friend = pair_at(sockets, number)
        friend.send(b"mine")
        assert await recv(loop, stranger) == b"mine"
        stranger.close()
        friend.close()
        theirs.close()


@loses
async def test_a_stranger_gets_no_connection_that_was_put_back(loop, sockets):
    for before, between in MOMENTS:
        listener, client = sockets.listener(), sockets.new(socket.AF_INET)
        address = listener.getsockname()
        accepted = await cancelled_around(
            loop,
            loop.sock_accept(listener),
            lambda c=client, a=address: c.connect_ex(a),
            before,
            between,
        )
        if accepted:
            accepted[0].close()
        number = listener.fileno()
        listener.close()
        stranger = sockets.listener()
        assert stranger.fileno() == number
        friend = sockets.new(socket.AF_INET)
        friend.connect_ex(stranger.getsockname())
        server, name = await loop.sock_accept(stranger)
        server.close()
        assert name == friend.getsockname()
        for sock in (stranger, friend, client):
            sock.close()


def test_a_loop_closed_with_a_receive_in_flight_lets_go_of_it(loop, sockets, reports):
    ours, theirs = sockets.tcp_pair()
    task = loop.create_task(recv(loop, ours))
    loop.run_until_complete(turns(3))
    loop.close()
    ours.close()
    assert sees_the_end(theirs)
    del task
    gc.collect()
    assert reports.take()["message"] == "Task was destroyed but it is pending!"


async def test_many_receives_cancelled_at_once(loop, sockets):
    pairs = [sockets.unix_pair() for _ in range(200)]
    tasks = [loop.create_task(recv(loop, ours)) for ours, _ in pairs]
    await turns(3)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)


# calls that wait in line


async def waiting_in_line(loop, begin, count=2):
    """Begin so many calls on one socket; the first is under way, the others wait."""
    tasks = [loop.create_task(begin()) for _ in range(count)]
    await turns(3)
    return tasks


in_line = pytest.mark.uringloop_only("on asyncio's loop the second call displaces the first")


@in_line
@any_receive
async def test_a_receive_in_line_does_not_steal_from_a_stranger(loop, sockets, receive):
    ours, _theirs = sockets.unix_pair()
    tasks = await waiting_in_line(loop, lambda: receive(loop, ours), 3)
    number = ours.fileno()
    ours.close()
    stranger, friend = pair_at(sockets, number)
    friend.send(b"secret")
    assert await cancelled(tasks[0]) is None
    for task in tasks[1:]:
        error = await outcome(task)
        assert isinstance(error, OSError)
        assert error.errno == errno.EBADF
    assert stranger.recv(10) == b"secret"


@in_line
async def test_a_sendall_in_line_does_not_send_to_a_stranger(loop, sockets):
    ours, _theirs = sockets.unix_pair()
    fill(ours)
    tasks = await waiting_in_line(loop, lambda: loop.sock_sendall(ours, b"private"))
    number = ours.fileno()
    ours.close()
    _stranger, friend = pair_at(sockets, number)
    assert await cancelled(tasks[0]) is None
    error = await outcome(tasks[1])
    assert isinstance(error, OSError)
    assert error.errno == errno.EBADF
    assert read_what_is_there(friend) == b""


@in_line
async def test_an_accept_in_line_does_not_steal_from_a_stranger(loop, sockets):
    listener = sockets.listener()
    tasks = await waiting_in_line(loop, lambda: loop.sock_accept(listener))
    number = listener.fileno()
    listener.close()
    stranger = sockets.listener()
    assert stranger.fileno() == number
    friend = sockets.new(socket.AF_INET)
    friend.connect_ex(stranger.getsockname())
    assert await cancelled(tasks[0]) is None
    error = await outcome(tasks[1])
    assert isinstance(error, OSError)
    assert error.errno == errno.EBADF
    server, name = await loop.sock_accept(stranger)
    server.close()
    assert name == friend.getsockname()


@pytest.mark.uringloop_only("asyncio's loop never ends a call whose socket was closed under it")
def test_what_a_stopped_loop_left_unsent_does_not_go_to_a_stranger(loop, sockets):
    ours, theirs = sockets.unix_pair()
    data = pattern(1_000_000)
    task = loop.create_task(loop.sock_sendall(ours, data))
    loop.run_until_complete(turns(3))
    number = ours.fileno()
    ours.close()
    _stranger, friend = pair_at(sockets, number)
    received = loop.run_until_complete(_drain(theirs))
    error = loop.run_until_complete(outcome(task))
    assert isinstance(error, OSError)
    assert error.errno == errno.EBADF
    assert read_what_is_there(friend) == b""
    assert data.startswith(received)


async def _drain(sock):
    received = read_what_is_there(sock)
    await turns(3)
    return received + read_what_is_there(sock)


@pytest.mark.parametrize("call", ["sock_recv", "sock_sendall", "sock_accept"])
def test_calls_that_wait_when_the_loop_is_closed_end_in_silence(loop, sockets, reports, call):
    sock = sockets.listener() if call == "sock_accept" else sockets.unix_pair()[0]
    arguments = {"sock_recv": [1], "sock_sendall": [b"x"], "sock_accept": []}[call]
    if call == "sock_sendall":
        fill(sock)
    tasks = loop.run_until_complete(waiting_in_line(loop, lambda: getattr(loop, call)(sock, *arguments), 3))
    loop.close()
    forget(tasks)
    assert {report["message"] for report in reports.take_all()} == {"Task was destroyed but it is pending!"}
