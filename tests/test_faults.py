"""What goes wrong around a loop: too little of something, signals, a stopped process, a clock that stands still.

Too little memory for the ring, and system calls refused, are in test_ring.py.
"""

import asyncio
import contextlib
import errno
import os
import resource
import signal
import socket
import time

import pytest
from support.checks import PATIENCE, SLOWNESS, outcome, turns, until
from support.children import child
from support.protocols import Recorder
from support.running import in_thread
from support.sockets import SocketMaker, pattern

from uringloop.features import Features

# Too little room in the ring and its pool


@contextlib.contextmanager
def many_descriptors(count):
    """Allow so many; a limit that is fixed below is a reason to skip."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"needs {count} descriptors, and this process may have {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Echo(asyncio.Protocol):
    lost = False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def connection_lost(self, error):
        self.lost = True


@pytest.mark.parametrize(("name", "value"), [("SIZES", ((4, 8),)), ("POOL_BUFFERS", 4)])
def test_many_connections_share_too_little(make_loop, monkeypatch, name, value):
    """Two hundred connections that all send at once: none loses a byte, and none is forgotten."""
    monkeypatch.setattr(f"uringloop.ring.{name}", value)
    loop = make_loop()
    data = pattern(20_000)

    async def talk(address):
        reader, writer = await asyncio.open_connection(*address)
        for start in range(0, len(data), 5000):
            writer.write(data[start : start + 5000])
            assert await reader.readexactly(5000) == data[start : start + 5000]
        writer.close()
        await writer.wait_closed()

    async def main():
        echoes = []

        def new_echo():
            echoes.append(Echo())
            return echoes[-1]

        server = await loop.create_server(new_echo, "127.0.0.1", 0, backlog=500)
        address = server.sockets[0].getsockname()
        await asyncio.wait_for(asyncio.gather(*(talk(address) for _ in range(200))), 30 * SLOWNESS)
        server.close()
        await server.wait_closed()
        await until(lambda: all(echo.lost for echo in echoes))  # which Python 3.11's servers do not wait for

    with many_descriptors(1000):
        loop.run_until_complete(main())


@pytest.fixture
def pairs(make_loop, monkeypatch):
    """A hundred pairs of sockets that deliver at once; loops that are made now have four pool buffers."""
    if not Features.from_environment().pool:
        pytest.skip("the pool is switched off")
    monkeypatch.setattr("uringloop.ring.POOL_BUFFERS", 4)
    with SocketMaker() as maker:
        yield [maker.unix_pair() for _ in range(100)]


async def exhaust(pairs):
    """Have most receives, which have begun, wait for a pool buffer."""
    await turns(2)
    for _, theirs in pairs:
        theirs.send(b"hello")
    await turns(2)


async def connect(pairs):
    """Begin to receive by transports; return their protocols."""
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Recorder, sock=ours))[1] for ours, _ in pairs]


@pytest.mark.uringloop_only("asyncio's loop has no pool")
@pytest.mark.parametrize("way", ["transport", "sock_recv"])
def test_who_waits_for_the_pool_is_not_refused_again_and_again(make_loop, pairs, monkeypatch, way):
    loop = make_loop()
    submit = loop._proactor.submit
    submitted = []

    def count_and_submit(operation):
        submitted.append(operation)
        submit(operation)

    async def main():
        protocols = await connect(pairs) if way == "transport" else []
        receiving = [protocol.receives(5) for protocol in protocols]
        receiving = receiving or [loop.create_task(loop.sock_recv(ours, 100)) for ours, _ in pairs]
        await turns(2)
        monkeypatch.setattr(loop._proactor, "submit", count_and_submit)
        await exhaust(pairs)
        assert await asyncio.gather(*receiving) == [b"hello"] * 100
        for protocol in protocols:
            protocol.transport.close()
            await protocol.ends()

    loop.run_until_complete(main())
    refused = 100 - 4
    goes_on = way == "transport" and not loop._proactor.ring.may_multishot(socket.AF_UNIX)  # by another receive
    assert len(submitted) == refused + 100 * goes_on  # each of the refused, once


@pytest.mark.uringloop_only("asyncio's loop loses what has come for a cancelled call")
def test_calls_that_wait_for_the_pool_are_cancelled_and_others_begin(make_loop, pairs):
    loop = make_loop()

    async def main():
        first = [loop.create_task(loop.sock_recv(ours, 100)) for ours, _ in pairs]
        await exhaust(pairs)
        waiting = [number for number, task in enumerate(first) if not task.done()]  # not in the order they began
        assert len(waiting) > 80
        cancelled = set(waiting[::2])
        for number in cancelled:
            first[number].cancel()
        others = [task for number, task in enumerate(first) if number not in cancelled]
        second = [loop.create_task(loop.sock_recv(pairs[number][0], 100)) for number in cancelled]
        assert await asyncio.gather(*others, *second) == [b"hello"] * 100

    loop.run_until_complete(main())


def test_transports_that_wait_for_the_pool_are_paused_closed_and_moved(make_loop, pairs):
    """Half of them are paused for a while, and others closed; the loop goes on in another thread."""
    loop = make_loop()
    paused, closed = slice(40, 80), slice(80, 100)

    async def begin():
        protocols = await connect(pairs)
        await exhaust(pairs)
        for protocol in protocols[paused]:
            protocol.transport.pause_reading()
        for protocol in protocols[closed]:
            protocol.transport.close()
        return protocols

    async def go_on(protocols):
        for protocol in protocols[paused]:
            protocol.transport.resume_reading()
        for protocol in protocols[:80]:
            assert await protocol.receives(5) == b"hello"
            protocol.transport.close()
        for protocol in protocols:
            await protocol.ends()

    protocols = loop.run_until_complete(begin())
    in_thread(loop.run_until_complete, go_on(protocols))


def test_thousands_of_operations_go_through_a_few_entries(make_loop, monkeypatch):
    monkeypatch.setattr("uringloop.ring.SIZES", ((4, 8),))
    loop = make_loop()

    async def pass_on(number):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            receiving = asyncio.ensure_future(loop.sock_recv(theirs, 100))
            await asyncio.sleep(0)
            await loop.sock_sendall(ours, b"%d" % number)
            assert await receiving == b"%d" % number

    async def main():
        for _ in range(4):
            await asyncio.gather(*map(pass_on, range(500)))

    with many_descriptors(1200):
        loop.run_until_complete(main())


# No descriptors


@contextlib.contextmanager
def no_descriptors():
    """None is free."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for number in taken:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


NEEDY = {
    "connection": lambda loop, address: loop.create_connection(Recorder, *address),
    "datagram": lambda loop, address: loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=address),
    "subprocess": lambda loop, address: loop.subprocess_exec(asyncio.SubprocessProtocol, "/bin/true"),
    "shell": lambda loop, address: loop.subprocess_shell(asyncio.SubprocessProtocol, "true"),
}


@pytest.mark.parametrize("what", NEEDY)
async def test_without_descriptors_there_is_an_error_and_afterwards_all_is_well(loop, what):
    echo = Echo()
    server = await loop.create_server(lambda: echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    with no_descriptors():
        error = await outcome(NEEDY[what](loop, address))
        again = await outcome(NEEDY[what](loop, address))
    assert isinstance(error, OSError)
    assert isinstance(again, OSError)
    assert errno.EMFILE in {error.errno, again.errno}
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    await until(lambda: echo.lost)


async def test_an_accept_without_descriptors_fails_and_the_connection_is_kept(loop, sockets):
    listener = sockets.listener()
    client = sockets.new(socket.AF_INET)
    client.connect_ex(listener.getsockname())
    with no_descriptors():
        error = await outcome(loop.sock_accept(listener))
    assert isinstance(error, OSError)
    assert error.errno == errno.EMFILE
    accepted, address = await loop.sock_accept(listener)
    assert address == client.getsockname()
    accepted.close()


# Signals, stops, clocks


@pytest.fixture
def storm():
    """A signal every half millisecond, with a handler of Python's own that counts them."""
    seen = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(None))
    signal.setitimer(signal.ITIMER_REAL, 0.0005 * SLOWNESS, 0.0005 * SLOWNESS)
    yield seen
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


async def test_a_storm_of_signals_disturbs_no_transfer(loop, sockets, storm):
    ours, theirs = sockets.tcp_pair()
    _, protocol = await loop.create_connection(Recorder, sock=ours)
    data = pattern(1_000_000)
    sending = asyncio.ensure_future(loop.sock_sendall(theirs, data))
    assert await protocol.receives(len(data)) == data
    await sending
    began = loop.time()
    await asyncio.sleep(0.1)
    assert loop.time() - began >= 0.1
    await until(lambda: len(storm) > 50)
    protocol.transport.close()
    await protocol.ends()


async def test_a_storm_of_signals_for_the_loop_disturbs_no_transfer(loop, sockets):
    seen = []
    loop.add_signal_handler(signal.SIGALRM, seen.append, None)
    signal.setitimer(signal.ITIMER_REAL, 0.0005 * SLOWNESS, 0.0005 * SLOWNESS)
    try:
        ours, theirs = sockets.tcp_pair()
        data = pattern(1_000_000)
        sending = asyncio.ensure_future(loop.sock_sendall(theirs, data))
        received = bytearray()
        while len(received) < len(data):
            received += await loop.sock_recv(ours, 10_000)
        assert received == data
        await sending
        await until(lambda: len(seen) > 20)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        loop.remove_signal_handler(signal.SIGALRM)


def test_a_stopped_process_goes_on_where_it_was(kind):
    script = """
    loop = new_event_loop()
    left, right = socket.socketpair()
    left.setblocking(False)

    async def main():
        timer = asyncio.ensure_future(asyncio.sleep(0.2, "timer"))
        receiving = asyncio.ensure_future(loop.sock_recv(left, 100))
        await asyncio.sleep(0.05)
        say("stop me")
        say(await timer)
        right.send(b"data")
        say((await receiving).decode())

    loop.run_until_complete(main())
    loop.close()
    left.close()
    right.close()
    """
    with child(kind, script) as process:
        assert process.stdout.readline() == "stop me\n"
        for _ in range(5):
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.1)
            process.send_signal(signal.SIGCONT)
            time.sleep(0.01)
        out, err = process.communicate(timeout=PATIENCE)
    assert (out, err) == ("timer\ndata\n", "")


async def test_with_a_clock_that_stands_still_there_is_input_and_output(loop, sockets, monkeypatch):
    ours, theirs = sockets.tcp_pair()
    now = loop.time()
    fired = []
    with monkeypatch.context() as patch:
        patch.setattr(loop, "time", lambda: now)
        timer = loop.call_later(0.01, fired.append, None)
        for number in range(100):
            theirs.send(b"%d" % number)
            assert await loop.sock_recv(ours, 100) == b"%d" % number
        time.sleep(0.02)
        await turns(3)
        assert not fired
    await until(lambda: fired)
    timer.cancel()


def test_a_clock_that_jumps_fires_what_it_has_passed(loop, monkeypatch):
    fired = []
    loop.call_later(1000, fired.append, "in a while")
    loop.call_later(3000, fired.append, "later")
    real = loop.time
    with monkeypatch.context() as patch:
        patch.setattr(loop, "time", lambda: real() + 2000)
        loop.run_until_complete(turns(3))
    loop.call_later(0.01, fired.append, "soon")
    loop.run_until_complete(asyncio.sleep(0.02))
    assert fired == ["in a while", "soon"]


# Descriptors that are closed, and used again


async def test_numbers_used_again_and_again_get_nothing_of_their_past(loop, sockets):
    """Each pair has most likely the numbers of the one before; what that had in flight must not reach it."""
    for number in range(100):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        receiving = asyncio.ensure_future(loop.sock_recv(ours, 100))
        if number % 3:
            await asyncio.sleep(0)
        theirs.send(b"%d" % number)
        if number % 2:
            assert await receiving == b"%d" % number
        else:
            receiving.cancel()
            await outcome(receiving)
        ours.close()
        theirs.close()


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_socket_closed_under_its_transport_harms_no_other(loop, sockets, how):
    """The number belongs to another socket when the transport is closed: that one stays open."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    number = ours.fileno()
    ours.close()
    other, friend = socket.socketpair()
    assert number in {other.fileno(), friend.fileno()}
    getattr(transport, how)()
    await protocol.ends()
    other.send(b"still open")
    assert friend.recv(100) == b"still open"
    for sock in (theirs, other, friend):
        sock.close()


async def test_a_transport_whose_socket_was_closed_leaves_the_number_to_the_next_one(loop, sockets):
    ours, theirs = socket.socketpair()
    transport, protocol = await loop.create_connection(Recorder, sock=ours)
    transport.pause_reading()
    number = ours.fileno()
    ours.close()
    pair = socket.socketpair()
    [other] = [sock for sock in pair if sock.fileno() == number]
    transport.abort()
    next_transport, next_protocol = await loop.create_connection(Recorder, sock=other)
    await protocol.ends()
    with pytest.raises(RuntimeError, match="is used by transport"):
        loop.add_reader(number, print)
    next_transport.abort()
    await next_protocol.ends()
    for sock in (theirs, *pair):
        sock.close()


# Exits


@pytest.mark.parametrize("exception", [SystemExit, KeyboardInterrupt])
def test_exits_out_of_callbacks_lose_no_completion(loop, sockets, exception):
    """A hundred sockets have something in one turn, and every callback wants to leave."""
    pairs = [sockets.unix_pair() for _ in range(50)]
    protocols = []

    class Leaving(Recorder):
        def data_received(self, data):
            super().data_received(data)
            raise exception("leaving")

    async def connect():
        for ours, _ in pairs:
            _, protocol = await loop.create_connection(Leaving, sock=ours)
            protocols.append(protocol)
        await asyncio.sleep(0.01)

    loop.run_until_complete(connect())
    for number, (_, theirs) in enumerate(pairs):
        theirs.send(b"%d" % number)
    exits = 0
    while not all(protocol.data for protocol in protocols):
        assert exits <= len(pairs)
        with pytest.raises(exception, match="leaving"):
            loop.run_forever()
        exits += 1
    assert [protocol.data for protocol in protocols] == [b"%d" % number for number in range(len(pairs))]
    for protocol in protocols:
        protocol.transport.abort()

    async def end():
        for protocol in protocols:
            await protocol.ends()

    loop.run_until_complete(end())


# Exceptions out of callbacks that are not those of a stream, which are in test_protocols.py


async def test_a_failing_datagram_received_is_reported_and_the_endpoint_goes_on(loop, sockets, reports):
    received = []

    class Failing(asyncio.DatagramProtocol):
        def datagram_received(self, data, addr):
            received.append(data)
            raise ValueError(data)

    ours, theirs = sockets.udp_pair()
    transport, _ = await loop.create_datagram_endpoint(Failing, sock=ours)
    for number in range(3):
        theirs.send(b"%d" % number)
    await until(lambda: len(received) == 3)
    transport.close()
    await turns(3)
    assert received == [b"0", b"1", b"2"]
    assert [context["exception"].args for context in reports.take_all()] == [(b"0",), (b"1",), (b"2",)]


async def test_a_failing_error_received_is_reported_and_the_endpoint_goes_on(loop, sockets, reports):
    class Failing(asyncio.DatagramProtocol):
        errors = 0

        def error_received(self, exc):
            self.errors += 1
            raise ValueError(exc)

    nobody = sockets.refused_address(kind=socket.SOCK_DGRAM)
    transport, protocol = await loop.create_datagram_endpoint(Failing, remote_addr=nobody)
    for count in (1, 2):
        transport.sendto(b"x")  # one at a time, or the next one's caller gets the error of the last
        await until(lambda count=count: protocol.errors == count)
    transport.close()
    await turns(3)
    problems = reports.take_all()
    assert len(problems) == 2
    assert all(isinstance(context["exception"], ValueError) for context in problems)


PROCESS_CALLBACKS = ["connection_made", "pipe_data_received", "pipe_connection_lost", "process_exited"]


@pytest.mark.parametrize("method", PROCESS_CALLBACKS)
async def test_a_failing_callback_of_a_process_is_reported_and_the_process_ends(loop, reports, method):
    class Protocol(asyncio.SubprocessProtocol):
        def __init__(self):
            self.lost = loop.create_future()

        def connection_lost(self, exc):
            self.lost.set_result(exc)

    def fail(*_):
        raise ValueError(method)

    protocol = Protocol()
    setattr(protocol, method, fail)
    transport, _ = await loop.subprocess_exec(lambda: protocol, "/bin/echo", "hello", stdin=None, stderr=None)
    await protocol.lost
    assert transport.get_returncode() == 0
    transport.close()
    (context,) = reports.take_all()
    assert context["exception"].args == (method,)


# Closing with everything in flight


def test_a_loop_closed_in_the_middle_of_everything_lets_go_of_it(kind):
    """In a child, since what tasks and transports complain of when their loop goes is not of interest."""
    script = """
    loop = new_event_loop()
    pairs = [socket.socketpair() for _ in range(4)]
    for pair in pairs:
        for sock in pair:
            sock.setblocking(False)
    (receiving, _), (sending, full), (watched, _), (transported, peer) = pairs
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)

    async def main():
        calls = [
            loop.sock_recv(receiving, 10),
            loop.sock_sendall(sending, bytes(20_000_000)),
            loop.sock_accept(listener),
            loop.run_in_executor(None, time.sleep, 0.1),
            asyncio.create_subprocess_exec("sleep", "0.2", stdout=-1),
        ]
        tasks = [asyncio.ensure_future(call) for call in calls]
        loop.add_reader(watched, print)
        loop.add_signal_handler(signal.SIGUSR1, print)
        loop.call_later(1000, print)
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=transported)
        transport.write(bytes(20_000_000))
        await asyncio.sleep(0.05)
        return tasks, server, transport

    kept = loop.run_until_complete(main())
    loop.close()
    address = listener.getsockname()
    listener.close()
    socket.create_server(address).close()
    transported.close()
    sending.close()
    for other in (peer, full):
        while other.recv(1_000_000):
            pass
    say("let go")
    os._exit(0)
    """
    with child(kind, script) as process:
        out, _ = process.communicate(timeout=PATIENCE)
    assert out == "let go\n"
