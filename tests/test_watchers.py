"""add_reader and add_writer: what they watch, when they call, and what removing leaves."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import itertools
import os
import pty
import select
import socket
import subprocess
import sys
import time
import tty
import weakref

import pytest
from support.checks import outcome, stays, turns, until
from support.protocols import linked
from support.running import variable
from support.sockets import STREAMS, fill, free_port, read_what_is_there, sees_the_end

streams = pytest.mark.parametrize("stream", STREAMS)


@pytest.fixture
def descriptors(loop):
    """Keeps descriptors made by the os module, as non-blocking ones, and closes them in the end."""
    with contextlib.ExitStack() as stack:

        def keep(*numbers):
            for number in numbers:
                stack.callback(os.close, number)
                os.set_blocking(number, False)
            return numbers if len(numbers) > 1 else numbers[0]

        yield keep


@pytest.fixture
def pipe(descriptors):
    return descriptors(*os.pipe())


# what is watched


@streams
@pytest.mark.parametrize("by_number", [True, False])
async def test_a_reader_is_called_when_there_is_something_to_read(loop, sockets, stream, by_number):
    ours, theirs = sockets.pair(stream)
    watched = ours.fileno() if by_number else ours
    calls = []

    def read(*args):
        calls.append((args, ours.recv(100)))

    loop.add_reader(watched, read, 1, "two")
    await stays(lambda: not calls, 0.01)
    theirs.send(b"hello")
    await until(lambda: calls)
    theirs.send(b"again")
    await until(lambda: len(calls) == 2)
    assert calls == [((1, "two"), b"hello"), ((1, "two"), b"again")]
    assert loop.remove_reader(watched) is True


@streams
@pytest.mark.parametrize("by_number", [True, False])
async def test_a_writer_is_called_when_there_is_room(loop, sockets, stream, by_number):
    ours, theirs = sockets.pair(stream)
    watched = ours.fileno() if by_number else ours
    calls = []
    loop.add_writer(watched, calls.append, "room")
    await until(lambda: calls)
    fill(ours)
    await turns(3)
    calls.clear()
    await stays(lambda: not calls)
    while not calls:
        read_what_is_there(theirs)
        await asyncio.sleep(0.001)
    assert loop.remove_writer(watched) is True


async def test_a_pipe_is_watched(loop, pipe):
    source, sink = pipe
    calls = []
    loop.add_reader(source, lambda: calls.append(os.read(source, 100)))
    loop.add_writer(sink, lambda: loop.remove_writer(sink) and os.write(sink, b"hello"))
    await until(lambda: calls)
    assert calls == [b"hello"]
    loop.remove_reader(source)


async def test_the_end_of_a_pipe_calls_its_reader(loop, descriptors):
    source, sink = os.pipe()
    descriptors(source)
    calls = []
    loop.add_reader(source, lambda: calls.append(os.read(source, 100)))
    await turns(3)
    os.close(sink)
    await until(lambda: calls)
    assert calls[0] == b""
    loop.remove_reader(source)


async def test_a_broken_pipe_calls_its_writer(loop, descriptors):
    source, sink = os.pipe()
    descriptors(sink)
    with contextlib.suppress(BlockingIOError):
        while os.write(sink, bytes(65536)):
            pass
    calls = []
    loop.add_writer(sink, calls.append, "broken")
    await stays(lambda: not calls, 0.01)
    os.close(source)
    await until(lambda: calls)
    loop.remove_writer(sink)


async def test_a_named_pipe_is_watched(loop, descriptors, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    source = descriptors(os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK))
    sink = descriptors(os.open(tmp_path / "fifo", os.O_WRONLY | os.O_NONBLOCK))
    calls = []
    loop.add_reader(source, lambda: calls.append(os.read(source, 100)))
    await turns(3)
    os.write(sink, b"hello")
    await until(lambda: calls)
    assert calls == [b"hello"]
    loop.remove_reader(source)


async def test_a_terminal_is_watched(loop, descriptors):
    master, slave = descriptors(*pty.openpty())
    tty.setraw(slave)
    calls = []
    loop.add_reader(master, lambda: calls.append(os.read(master, 100)))
    loop.add_reader(slave, lambda: calls.append(os.read(slave, 100)))
    loop.add_writer(slave, lambda: loop.remove_writer(slave) and os.write(slave, b"out"))
    await until(lambda: calls)
    os.write(master, b"in")
    await until(lambda: len(calls) == 2)
    assert calls == [b"out", b"in"]
    assert loop.remove_reader(master)
    assert loop.remove_reader(slave)


async def test_an_eventfd_is_watched(loop, descriptors):
    event = descriptors(os.eventfd(0, os.EFD_NONBLOCK))
    calls = []
    loop.add_reader(event, lambda: calls.append(os.eventfd_read(event)))
    await stays(lambda: not calls, 0.01)
    os.eventfd_write(event, 7)
    await until(lambda: calls)
    assert calls == [7]
    loop.remove_reader(event)


async def test_a_pidfd_is_watched(loop, descriptors):
    script = "import sys; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1) as process:
        pidfd = descriptors(os.pidfd_open(process.pid))
        calls = []
        loop.add_reader(pidfd, calls.append, "ended")
        await stays(lambda: not calls, 0.02)
        process.stdin.close()
        await until(lambda: calls)
        assert process.wait() == 0
        loop.remove_reader(pidfd)


async def test_an_epoll_descriptor_is_watched(loop, sockets):
    ours, theirs = sockets.unix_pair()
    with select.epoll() as epoll:
        epoll.register(ours, select.EPOLLIN)
        calls = []
        loop.add_reader(epoll, lambda: calls.append(epoll.poll(0)))
        await stays(lambda: not calls, 0.01)
        theirs.send(b"x")
        await until(lambda: calls)
        assert calls[0] == [(ours.fileno(), select.EPOLLIN)]
        loop.remove_reader(epoll)


async def test_a_listening_socket_is_watched(loop, sockets):
    listener = sockets.listener()
    calls = []

    def accept():
        server, _ = listener.accept()
        calls.append(server.getpeername())
        server.close()

    loop.add_reader(listener, accept)
    clients = [sockets.new(socket.AF_INET) for _ in range(3)]
    for client in clients:
        client.connect_ex(listener.getsockname())
    await until(lambda: len(calls) == 3)
    assert sorted(calls) == sorted(client.getsockname() for client in clients)
    loop.remove_reader(listener)


async def test_a_connecting_socket_is_watched(loop, sockets):
    listener = sockets.listener()
    client = sockets.new(socket.AF_INET)
    client.connect_ex(listener.getsockname())
    calls = []
    loop.add_writer(client, calls.append, "connected")
    await until(lambda: calls)
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    loop.remove_writer(client)


async def test_a_datagram_socket_is_watched(loop, sockets):
    ours, theirs = sockets.udp_pair()
    calls = []
    loop.add_reader(ours, lambda: calls.append(ours.recv(100)))
    for number in range(3):
        theirs.send(b"%d" % number)
    await until(lambda: len(calls) == 3)
    assert calls == [b"0", b"1", b"2"]
    loop.remove_reader(ours)


async def test_hundreds_of_descriptors_are_watched_at_once(loop, sockets):
    pairs = [sockets.unix_pair() for _ in range(300)]
    seen = []

    def read(number):
        seen.append((number, pairs[number][0].recv(100)))

    for number, (ours, _) in enumerate(pairs):
        loop.add_reader(ours, read, number)
    await turns(2)
    for number, (_, theirs) in enumerate(pairs):
        theirs.send(b"%d" % number)
    await until(lambda: len(seen) == len(pairs))
    assert sorted(seen) == [(number, b"%d" % number) for number in range(300)]
    assert all(loop.remove_reader(ours) for ours, _ in pairs)


@pytest.mark.parametrize("method", ["add_reader", "add_writer"])
async def test_a_regular_file_cannot_be_watched(loop, method):
    with open(__file__) as file, pytest.raises(PermissionError) as caught:
        getattr(loop, method)(file, print)
    assert str(caught.value) == "[Errno 1] Operation not permitted"


BAD = {
    "negative": (-1, ValueError, "Invalid file descriptor: -1"),
    "text": ("text", ValueError, "Invalid file object: 'text'"),
    "nothing": (None, ValueError, "Invalid file object: None"),
    "not open": (987_654, OSError, "[Errno 9] Bad file descriptor"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("method", ["add_reader", "add_writer"])
async def test_a_bad_descriptor_is_refused(loop, method, case):
    watched, error, message = BAD[case]
    with pytest.raises(error) as caught:
        getattr(loop, method)(watched, print)
    assert str(caught.value) == message


@pytest.mark.parametrize("method", ["add_reader", "add_writer"])
async def test_a_closed_socket_cannot_be_watched(loop, sockets, method):
    ours, _ = sockets.unix_pair()
    ours.close()
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        getattr(loop, method)(ours, print)


@pytest.mark.parametrize("method", ["remove_reader", "remove_writer"])
async def test_a_closed_socket_that_was_not_watched_cannot_be_unwatched(loop, sockets, method):
    ours, _ = sockets.unix_pair()
    ours.close()
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        getattr(loop, method)(ours)


async def test_after_a_refusal_another_can_be_watched(loop, sockets):
    with open(__file__) as file, pytest.raises(PermissionError):
        loop.add_reader(file, print)
    ours, theirs = sockets.unix_pair()
    calls = []
    loop.add_reader(ours, lambda: calls.append(ours.recv(1)))
    theirs.send(b"x")
    await until(lambda: calls)
    loop.remove_reader(ours)


# when they are called


@streams
async def test_a_reader_is_called_again_while_data_is_left(loop, sockets, stream):
    ours, theirs = sockets.pair(stream)
    theirs.send(b"abc")
    seen = []
    loop.add_reader(ours, lambda: seen.append(ours.recv(1)))
    await until(lambda: len(seen) == 3)
    await stays(lambda: seen == [b"a", b"b", b"c"], 0.01)
    loop.remove_reader(ours)


async def test_a_reader_that_does_not_read_is_called_in_turn_after_turn(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    calls = []
    theirs.send(b"unread")
    loop.add_reader(ours, calls.append, "readable")
    await until(lambda: len(calls) >= 20)
    assert loop.remove_reader(ours)
    count = len(calls)
    await stays(lambda: len(calls) == count, 0.01)
    assert ours.recv(100) == b"unread"


async def test_what_was_unread_when_a_watcher_was_removed_calls_the_next(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    theirs.send(b"unread")
    for _ in range(3):
        calls = []
        loop.add_reader(ours, calls.append, "readable")
        await until(lambda calls=calls: calls)
        loop.remove_reader(ours)


async def test_a_ready_watcher_starves_nothing(loop, sockets):
    ours, _ = sockets.tcp_pair()
    calls = []
    loop.add_writer(ours, calls.append, "room")
    await asyncio.sleep(0.01)
    assert calls
    await turns(100)
    loop.remove_writer(ours)


async def test_a_ready_watcher_is_called_at_most_once_a_turn(loop, sockets):
    ours, _ = sockets.tcp_pair()
    order = []

    def turn():
        order.append("turn")
        if len(order) < 200:
            loop.call_soon(turn)

    loop.add_writer(ours, order.append, "room")
    turn()
    await until(lambda: len(order) >= 200)
    loop.remove_writer(ours)
    assert all(pair != ("room", "room") for pair in itertools.pairwise(order[:200]))


@streams
async def test_the_end_of_a_stream_calls_its_reader(loop, sockets, stream):
    ours, theirs = sockets.pair(stream)
    calls = []
    loop.add_reader(ours, lambda: calls.append(ours.recv(100)))
    await turns(3)
    theirs.close()
    await until(lambda: len(calls) >= 3)
    assert set(calls) == {b""}
    loop.remove_reader(ours)


async def test_a_writer_does_not_spin_when_the_peer_has_ended_and_there_is_no_room(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    fill(ours)
    calls = []
    loop.add_writer(ours, calls.append, "room")
    theirs.shutdown(socket.SHUT_WR)
    await asyncio.sleep(0.01)
    assert not calls
    before = time.thread_time()
    await asyncio.sleep(0.3)
    assert time.thread_time() - before < 0.1
    assert not calls
    while not calls:
        read_what_is_there(theirs)
        await asyncio.sleep(0.001)
    loop.remove_writer(ours)


async def test_a_reader_does_not_spin_when_only_we_have_ended(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    ours.shutdown(socket.SHUT_WR)
    calls = []
    loop.add_reader(ours, lambda: calls.append(ours.recv(100)))
    before = time.thread_time()
    await asyncio.sleep(0.2)
    assert time.thread_time() - before < 0.1
    assert not calls
    theirs.send(b"hello")
    await until(lambda: calls)
    assert calls == [b"hello"]
    loop.remove_reader(ours)


async def test_a_reset_calls_reader_and_writer(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    fill(ours)
    calls = []
    loop.add_reader(ours, calls.append, "reader")
    loop.add_writer(ours, calls.append, "writer")
    await stays(lambda: not calls, 0.01)
    theirs.close()  # with unread data: a reset
    await until(lambda: set(calls) == {"reader", "writer"})
    loop.remove_reader(ours)
    loop.remove_writer(ours)


# replacing and removing


@pytest.mark.parametrize("direction", ["reader", "writer"])
async def test_remove_tells_whether_something_was_removed(loop, sockets, direction):
    ours, _ = sockets.tcp_pair()
    add = getattr(loop, f"add_{direction}")
    remove = getattr(loop, f"remove_{direction}")
    assert remove(ours) is False
    add(ours, print)
    assert remove(ours) is True
    assert remove(ours) is False


async def test_a_second_callback_replaces_the_first(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    calls = []
    loop.add_reader(ours, calls.append, "first")
    loop.add_reader(ours, calls.append, "second")
    theirs.send(b"x")
    await until(lambda: calls)
    await turns(3)
    loop.add_reader(ours, calls.append, "third")
    calls.clear()
    await until(lambda: len(calls) >= 3)
    assert set(calls) == {"third"}
    assert loop.remove_reader(ours) is True
    assert loop.remove_reader(ours) is False


@pytest.mark.parametrize("wait", range(4))
async def test_a_removed_reader_is_not_called_even_if_data_has_come(loop, sockets, wait):
    ours, theirs = sockets.tcp_pair()
    calls = []
    loop.add_reader(ours, calls.append, "called")
    await turns(3)
    theirs.send(b"x")
    await turns(wait)
    loop.remove_reader(ours)
    calls.clear()
    await stays(lambda: not calls, 0.01)


async def test_once_removed_a_reader_is_not_called_even_in_the_same_turn(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    calls = []

    def remove():
        loop.remove_reader(ours)
        calls.append("removed")

    loop.add_reader(ours, calls.append, "called")
    await turns(3)
    theirs.send(b"x")
    loop.call_soon(remove)
    await turns(5)
    assert calls[-1] == "removed"


async def test_once_replaced_a_reader_is_not_called_even_in_the_same_turn(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    calls = []

    def replace():
        loop.add_reader(ours, calls.append, "second")
        calls.append("replaced")

    loop.add_reader(ours, calls.append, "first")
    await turns(3)
    theirs.send(b"x")
    loop.call_soon(replace)
    await until(lambda: "second" in calls)
    assert "first" not in calls[calls.index("replaced") :]
    loop.remove_reader(ours)


async def test_one_watcher_can_remove_another_that_is_ready_too(loop, sockets):
    pairs = [sockets.tcp_pair() for _ in range(2)]
    calls = []

    def read(mine, other):
        calls.append(mine)
        loop.remove_reader(mine)
        loop.remove_reader(other)

    (one, peer_of_one), (two, peer_of_two) = pairs
    loop.add_reader(one, read, one, two)
    loop.add_reader(two, read, two, one)
    await turns(3)
    peer_of_one.send(b"x")
    peer_of_two.send(b"x")
    await until(lambda: calls)
    await turns(5)
    assert len(calls) == 1


async def test_a_reader_and_a_writer_watch_one_descriptor(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    calls = []
    loop.add_reader(ours, lambda: calls.append(ours.recv(100)))
    loop.add_writer(ours, lambda: loop.remove_writer(ours) and calls.append("room"))
    await until(lambda: calls)
    theirs.send(b"data")
    await until(lambda: len(calls) == 2)
    assert calls == ["room", b"data"]
    loop.remove_reader(ours)


@pytest.mark.parametrize("removed", ["reader", "writer"])
async def test_removing_one_leaves_the_other(loop, sockets, removed):
    ours, theirs = sockets.tcp_pair()
    theirs.send(b"unread")
    calls = []
    loop.add_reader(ours, calls.append, "reader")
    loop.add_writer(ours, calls.append, "writer")
    await until(lambda: set(calls) == {"reader", "writer"})
    assert getattr(loop, f"remove_{removed}")(ours)
    calls.clear()
    await until(lambda: len(calls) >= 3)
    assert set(calls) == {"reader", "writer"} - {removed}
    loop.remove_reader(ours)
    loop.remove_writer(ours)


async def test_a_reader_may_remove_itself(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    calls = []
    loop.add_reader(ours, lambda: calls.append(loop.remove_reader(ours)))
    theirs.send(b"unread")
    await until(lambda: calls)
    await stays(lambda: calls == [True], 0.01)


async def test_a_reader_may_replace_itself(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    calls = []

    def first():
        calls.append("first")
        loop.remove_reader(ours)
        loop.add_reader(ours, second)

    def second():
        calls.append("second")
        loop.remove_reader(ours)

    loop.add_reader(ours, first)
    theirs.send(b"unread")
    await until(lambda: len(calls) == 2)
    await stays(lambda: calls == ["first", "second"], 0.01)


async def test_a_reader_may_be_added_and_removed_over_and_over(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    seen = []
    for number in range(500):
        loop.add_reader(ours, lambda: seen.append(ours.recv(1)))
        if number % 3 == 0:
            theirs.send(b"x")
            await turns(number % 5)
        assert loop.remove_reader(ours)
    loop.add_reader(ours, lambda: seen.append(ours.recv(1)))
    await until(lambda: len(seen) == 167)
    loop.remove_reader(ours)
    assert set(seen) == {b"x"}


async def test_a_reader_may_close_its_socket_after_removing_itself(loop, sockets):
    ours, theirs = sockets.tcp_pair()

    def leave():
        loop.remove_reader(ours)
        ours.close()

    loop.add_reader(ours, leave)
    theirs.send(b"x")
    await until(lambda: ours.fileno() == -1)


@pytest.mark.parametrize("direction", ["reader", "writer"])
async def test_the_peer_sees_the_end_as_soon_as_an_unwatched_socket_is_closed(loop, sockets, direction):
    ours, theirs = sockets.tcp_pair()
    if direction == "writer":
        sent = fill(ours)
    getattr(loop, f"add_{direction}")(ours, print)
    await turns(3)
    getattr(loop, f"remove_{direction}")(ours)
    ours.close()
    if direction == "writer":
        theirs.settimeout(1)
        while sent:
            sent -= len(theirs.recv(1_000_000))
    assert sees_the_end(theirs)


@pytest.mark.parametrize("direction", ["reader", "writer"])
async def test_a_socket_can_be_unwatched_after_it_was_closed(loop, sockets, direction):
    ours, theirs = sockets.tcp_pair()
    calls = []
    getattr(loop, f"add_{direction}")(ours, calls.append, "called")
    ours.close()
    assert getattr(loop, f"remove_{direction}")(ours)
    assert sees_the_end(theirs)
    await turns(3)
    assert not calls


async def test_the_port_is_free_as_soon_as_an_unwatched_listener_is_closed(loop, sockets):
    port = free_port()
    listener = sockets.listener(port=port)
    for _ in range(3):
        loop.add_reader(listener, print)
        await turns(3)
        loop.remove_reader(listener)
        listener.close()
        listener = sockets.listener(port=port)


async def test_a_pipe_ends_as_soon_as_its_unwatched_sink_is_closed(loop, descriptors):
    source, sink = os.pipe()
    descriptors(source)
    loop.add_writer(sink, print)
    loop.remove_writer(sink)
    os.close(sink)
    assert select.select([source], [], [], 1)[0]
    assert os.read(source, 1) == b""


async def test_a_number_used_again_is_watched_anew(loop, sockets):
    for _ in range(20):
        ours, theirs = sockets.unix_pair()
        calls = []
        loop.add_reader(ours, lambda ours=ours, calls=calls: calls.append(ours.recv(9)))
        theirs.send(b"x")
        await until(lambda calls=calls: calls)
        assert calls == [b"x"]
        loop.remove_reader(ours)
        ours.close()
        theirs.close()


async def test_removing_leaves_nothing_to_the_garbage_collector(loop, sockets, no_collection):
    ours, theirs = sockets.tcp_pair()
    theirs.send(b"hello")
    gc.collect()
    for _ in range(100):
        called = asyncio.Event()
        loop.add_reader(ours, called.set)
        loop.add_writer(ours, called.set)
        await called.wait()
        loop.remove_reader(ours)
        loop.remove_writer(ours)
    await turns(3)
    assert gc.collect() < 100


# failing, contexts, and the rest of the loop


async def test_a_failing_callback_is_reported_and_called_again(loop, sockets, reports):
    ours, theirs = sockets.tcp_pair()

    def fail():
        data = ours.recv(1)
        raise LookupError(data)

    loop.add_reader(ours, fail)
    theirs.send(b"ab")
    await until(lambda: len(reports.unclaimed) == 2)
    first, second = reports.take_all()
    assert first["message"].startswith("Exception in callback ")
    assert "fail" in first["message"]
    assert [type(first["exception"]), type(second["exception"])] == [LookupError] * 2
    assert second["exception"].args == (b"b",)
    loop.remove_reader(ours)


@pytest.mark.parametrize("exception", [SystemExit, KeyboardInterrupt])
def test_an_exit_out_of_a_watcher_leaves_the_loop_which_goes_on(loop, sockets, exception):
    ours, theirs = sockets.tcp_pair()
    others = [sockets.tcp_pair() for _ in range(3)]
    seen = []

    def leave():
        ours.recv(100)
        raise exception("leaving")

    loop.add_reader(ours, leave)
    for sock, peer in others:
        loop.add_reader(sock, lambda sock=sock: seen.append(sock.recv(100)))
        peer.send(b"x")
    theirs.send(b"x")
    with pytest.raises(exception, match="leaving"):
        loop.run_forever()
    loop.run_until_complete(until(lambda: len(seen) == 3))
    theirs.send(b"x")
    with pytest.raises(exception, match="leaving"):
        loop.run_forever()
    for sock in (ours, *(sock for sock, _ in others)):
        assert loop.remove_reader(sock)


async def test_a_callback_runs_in_the_context_it_was_added_in(loop, sockets):
    ours, _theirs = sockets.tcp_pair()
    seen = []

    def note():
        seen.append(variable.get("unset"))
        variable.set("changed by the callback")

    def add():
        variable.set("added here")
        loop.add_writer(ours, note)

    contextvars.copy_context().run(add)
    await until(lambda: seen)
    loop.remove_writer(ours)
    assert seen[0] == "added here"
    assert variable.get("unset") == "unset"


async def test_in_debug_mode_a_slow_watcher_is_logged(loop, sockets, caplog):
    ours, theirs = sockets.tcp_pair()
    loop.slow_callback_duration = 0.01

    removed = []

    def slow_watcher():
        time.sleep(0.02)
        removed.append(loop.remove_reader(ours))

    loop.add_reader(ours, slow_watcher)
    theirs.send(b"x")
    await until(lambda: removed)
    logged = [record.message for record in caplog.records]
    assert any("slow_watcher" in line for line in logged) == loop.get_debug()


@pytest.mark.parametrize("method", ["add_reader", "add_writer"])
async def test_the_descriptor_of_a_transport_cannot_be_watched(loop, sockets, method):
    async with linked(sockets) as link:
        sock = link.transport.get_extra_info("socket")
        for watched in (sock, sock.fileno()):
            with pytest.raises(RuntimeError, match="is used by transport") as caught:
                getattr(loop, method)(watched, print)
            assert str(caught.value) == (f"File descriptor {watched!r} is used by transport {link.transport!r}")
        link.peer.send(b"still working")
        await link.protocol.receives(13)


@pytest.mark.parametrize("method", ["remove_reader", "remove_writer"])
async def test_the_watcher_of_a_transport_cannot_be_removed(loop, sockets, method):
    async with linked(sockets) as link:
        sock = link.transport.get_extra_info("socket")
        with pytest.raises(RuntimeError, match="is used by transport"):
            getattr(loop, method)(sock)


def test_a_watcher_may_be_added_before_the_loop_runs(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    theirs.send(b"x")
    loop.add_reader(ours, loop.stop)
    loop.run_forever()
    loop.remove_reader(ours)


def test_a_watcher_stays_from_one_run_to_the_next(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    seen = []

    def read():
        seen.append(ours.recv(100))
        loop.stop()

    loop.add_reader(ours, read)
    for number in range(3):
        loop.run_until_complete(turns(2))
        theirs.send(b"%d" % number)
        loop.run_forever()
    assert seen == [b"0", b"1", b"2"]
    loop.remove_reader(ours)


def test_a_loop_closed_with_watchers_lets_go_of_them(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    loop.add_reader(ours, print)
    loop.add_writer(ours, print)
    loop.remove_writer(ours)
    loop.run_until_complete(turns(3))
    loop.close()
    assert loop.remove_reader(ours) is False
    ours.close()
    assert sees_the_end(theirs)


def test_a_loop_closed_with_watchers_frees_them_without_the_garbage_collector(loop, sockets, no_collection):
    class Watcher:
        def read(self):
            ours.recv(100)
            loop.stop()

        def write(self):
            pass

    ours, theirs = sockets.tcp_pair()
    watcher = Watcher()
    loop.add_reader(ours, watcher.read)
    loop.add_writer(ours, watcher.write)
    theirs.send(b"hello")
    loop.run_forever()
    kept = weakref.ref(watcher)
    del watcher
    loop.close()
    assert kept() is None


async def test_a_watcher_added_from_a_callback_of_another_thread_wakes_the_loop(loop, sockets):
    ours, theirs = sockets.tcp_pair()
    received = loop.create_future()

    def watch():
        loop.add_reader(ours, lambda: received.done() or received.set_result(True))

    await asyncio.to_thread(loop.call_soon_threadsafe, watch)
    theirs.send(b"x")
    assert await outcome(asyncio.wait_for(received, 5)) is True
    loop.remove_reader(ours)
