"""Loops in several threads, moved between threads, and inherited by forked children."""

import asyncio
import concurrent.futures
import hashlib
import mmap
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import warnings

import pytest
from support.checks import PATIENCE, forget
from support.sockets import free_port

import uringloop

CALLS = int(os.environ.get("CALLS") or 200_000)
"""How many calls are made from other threads: ten million take half a minute."""


def in_thread(function, *args):
    """Call the function in a new thread and return its result."""
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        return executor.submit(function, *args).result(30)


@pytest.fixture
def loop():
    loop = uringloop.new_event_loop()
    yield loop
    loop.close()


def stream_pair():
    left, right = socket.socketpair()
    left.setblocking(False)
    return left, right


def tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        left = socket.create_connection(listener.getsockname())
        right, _ = listener.accept()
    left.setblocking(False)
    return left, right


class Collecting(asyncio.Protocol):
    def __init__(self):
        self.received = bytearray()
        self.lost = []

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received += data

    def connection_lost(self, error):
        self.lost.append(error)


async def until(condition, limit=10.0):
    async with asyncio.timeout(limit):
        while not condition():
            await asyncio.sleep(0.001)


def test_a_loop_made_here_runs_there(loop):
    assert in_thread(loop.run_until_complete, asyncio.sleep(0.01, "slept")) == "slept"


def test_a_loop_runs_in_one_thread_after_the_other(loop):
    for number in range(5):
        assert in_thread(loop.run_until_complete, asyncio.sleep(0.001, number)) == number
        assert loop.run_until_complete(asyncio.sleep(0.001, number)) == number


@pytest.mark.parametrize("pair", [stream_pair, tcp_pair])
def test_a_connection_moves_with_its_loop_and_loses_nothing(loop, pair):
    ours, theirs = pair()
    expected = bytearray()
    transport, protocol = loop.run_until_complete(loop.create_connection(Collecting, sock=ours))

    def arrive(count):
        for _ in range(count):
            piece = os.urandom(1000)
            expected.extend(piece)
            theirs.send(piece)

    def run():
        arrive(3)
        loop.run_until_complete(until(lambda: len(protocol.received) == len(expected)))
        transport.write(b"still here")
        loop.run_until_complete(asyncio.sleep(0.001))
        assert theirs.recv(100) == b"still here"

    for _ in range(5):
        arrive(3)
        run()
        arrive(3)
        in_thread(run)
    assert protocol.received == expected
    transport.close()
    loop.run_until_complete(until(lambda: protocol.lost))
    assert protocol.lost == [None]
    theirs.close()


def test_a_large_write_moves_with_its_loop_and_is_sent_once(loop):
    """The send is under way, with the socket full, each time the loop changes threads."""
    ours, theirs = tcp_pair()
    transport, protocol = loop.run_until_complete(loop.create_connection(Collecting, sock=ours))
    data = os.urandom(20_000_000)
    transport.write(data)
    transport.close()
    received = hashlib.sha256()
    size = 0
    while size < len(data):
        runner = in_thread if size % 2 else lambda function, *args: function(*args)
        runner(loop.run_until_complete, asyncio.sleep(0.002))
        theirs.setblocking(False)
        for _ in range(50):
            try:
                piece = theirs.recv(65536)
            except BlockingIOError:
                break
            received.update(piece)
            size += len(piece)
    assert received.digest() == hashlib.sha256(data).digest()
    loop.run_until_complete(until(lambda: protocol.lost))
    theirs.close()


def test_many_sends_under_way_move_with_their_loop_and_are_sent_once(loop):
    """There are more than the kernel goes on with in one go, so that some are just about to when they are moved."""
    data = random.Random(1).randbytes(1_000_000)

    async def send(sock):
        await loop.sock_sendall(sock, data)
        sock.close()

    async def receive(sock):
        received = bytearray()
        while piece := await loop.sock_recv(sock, 8192):
            received += piece
        sock.close()
        return received

    async def begin():
        tasks = []
        for _ in range(60):
            ours, theirs = stream_pair()
            theirs.setblocking(False)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
            loop.create_task(send(ours))
            tasks.append(loop.create_task(receive(theirs)))
        return asyncio.gather(*tasks)

    receiving = loop.run_until_complete(begin())
    with concurrent.futures.ThreadPoolExecutor(1) as other:
        while not receiving.done():
            loop.run_until_complete(asyncio.sleep(0.003))
            other.submit(loop.run_until_complete, asyncio.sleep(0.003)).result()
    assert [len(each) for each in receiving.result()] == [len(data)] * 60
    assert all(each == data for each in receiving.result())


def test_what_is_awaited_goes_on_in_another_thread(loop):
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    ours, theirs = stream_pair()
    watched, other = stream_pair()
    ready = []
    loop.add_reader(watched, lambda: ready.append(watched.recv(10)))

    async def begin():
        return [
            loop.create_task(loop.sock_recv(ours, 100)),
            loop.create_task(loop.sock_accept(listener)),
            loop.create_task(asyncio.sleep(0.05, "slept")),
        ]

    tasks = in_thread(loop.run_until_complete, begin())
    in_thread(loop.run_until_complete, asyncio.sleep(0.01))
    theirs.send(b"for the receive")
    other.send(b"watched")
    client = socket.create_connection(listener.getsockname())

    async def end():
        return await asyncio.gather(*tasks)

    data, (accepted, address), slept = loop.run_until_complete(end())
    assert data == b"for the receive"
    assert address == client.getsockname()
    assert slept == "slept"
    assert ready == [b"watched"]
    loop.remove_reader(watched)
    for sock in (ours, theirs, watched, other, listener, accepted, client):
        sock.close()


def test_a_cancel_in_another_thread_loses_nothing(loop):
    ours, theirs = stream_pair()

    async def receive():
        return await loop.sock_recv(ours, 100)

    async def begin():
        return loop.create_task(receive())

    task = in_thread(loop.run_until_complete, begin())
    in_thread(loop.run_until_complete, asyncio.sleep(0.01))
    theirs.send(b"kept")
    task.cancel()
    assert loop.run_until_complete(receive()) == b"kept"
    assert task.cancelled()
    ours.close()
    theirs.close()


def test_two_loops_in_two_threads_serve_each_other():
    port = concurrent.futures.Future()
    done = threading.Event()

    async def serve():
        async def echo(reader, writer):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        port.set_result(server.sockets[0].getsockname()[1])
        while not done.is_set():
            await asyncio.sleep(0.005)
        server.close()
        await server.wait_closed()

    async def ask():
        reader, writer = await asyncio.open_connection("127.0.0.1", port.result(10))
        for size in (1, 1000, 100_000, 1_000_000):
            data = os.urandom(size)
            writer.write(data)
            assert await reader.readexactly(size) == data
        writer.close()
        await writer.wait_closed()

    thread = threading.Thread(target=uringloop.run, args=(serve(),))
    thread.start()
    try:
        uringloop.run(ask())
    finally:
        done.set()
        thread.join()


def test_calls_from_many_threads_all_arrive(loop):
    threads = 16
    each = CALLS // threads
    counts = [0] * threads

    def count(number):
        counts[number] += 1
        if sum(counts) == threads * each:
            loop.stop()

    def call(number):
        for _ in range(each):
            loop.call_soon_threadsafe(count, number)

    workers = [threading.Thread(target=call, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    loop.run_forever()
    for worker in workers:
        worker.join()
    assert counts == [each] * threads


def test_coroutines_from_many_threads_all_run(loop):
    threads, each = 16, 200
    ours, theirs = stream_pair()
    theirs.setblocking(False)

    async def add_one(number):
        await asyncio.sleep(0)
        return number + 1

    def ask(begin):
        futures = [asyncio.run_coroutine_threadsafe(add_one(begin + number), loop) for number in range(each)]
        return [future.result(30) for future in futures]

    async def talk():
        while True:
            await loop.sock_sendall(ours, b"traffic")
            await loop.sock_recv(theirs, 100)

    runner = threading.Thread(target=loop.run_forever)
    runner.start()
    talking = asyncio.run_coroutine_threadsafe(talk(), loop)
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(ask, range(0, threads * each, each)))
    talking.cancel()
    loop.call_soon_threadsafe(loop.stop)
    runner.join()
    assert [answer for each_ones in answers for answer in each_ones] == list(range(1, threads * each + 1))
    loop.run_until_complete(asyncio.sleep(0.001))
    ours.close()
    theirs.close()


def test_many_loops_in_many_threads():
    async def echo(reader, writer):
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    async def main(number):
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        for size in (1, 1000, 100_000):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            data = bytes([number]) * size
            writer.write(data)
            writer.write_eof()
            assert await reader.read() == data
            writer.close()
            await writer.wait_closed()
        server.close()
        await server.wait_closed()
        return number

    def run(number):
        return [uringloop.run(main(number)) for _ in range(5)]

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        assert list(pool.map(run, range(20))) == [[number] * 5 for number in range(20)]


# Forks


def in_child(function):
    """Call the function in a forked child and return its exit status: 0 if it returned true."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks in a process with threads
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if function() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_cannot_use_its_parents_loop(loop):
    loop.run_until_complete(asyncio.sleep(0))

    def use():
        loop.call_soon(loop.stop)
        try:
            loop.run_forever()
        except RuntimeError as error:
            return "made before the fork" in str(error)
        return False

    assert in_child(use) == 0
    assert loop.run_until_complete(asyncio.sleep(0.001, "works")) == "works"


@pytest.mark.parametrize("leave", ["go on", "exit", "raise", "close"])
def test_a_child_made_while_the_loop_runs_can_leave_it(loop, leave):
    """It cannot go on, but raise, or exit, with what the loop had in flight, and close what it has inherited."""
    ours, theirs = tcp_pair()
    parent = os.getpid()
    children = []

    async def fork():
        transport, _ = await loop.create_connection(Collecting, sock=ours)
        await asyncio.sleep(0.01)
        transport.write(b"once")
        children.append(os.fork())
        if children[0]:
            await asyncio.sleep(0.01)
            transport.abort()
        elif leave == "exit":
            sys.exit(0)
        elif leave == "raise":
            raise RuntimeError("made before the fork")
        elif leave == "close":
            transport.abort()
        await asyncio.sleep(0.01)

    try:
        loop.run_until_complete(fork())
    except BaseException as error:
        if os.getpid() != parent:
            os._exit(0 if isinstance(error, SystemExit) or "made before the fork" in str(error) else 2)
        raise
    finally:
        if os.getpid() != parent:
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
    with theirs:
        assert theirs.recv(100) == b"once"
        assert theirs.recv(100) == b""


def test_a_child_may_close_its_parents_loop_and_make_its_own(loop):
    loop.run_until_complete(asyncio.sleep(0))

    def replace():
        loop.close()
        return uringloop.run(asyncio.sleep(0.01, True))

    assert in_child(replace) == 0
    assert loop.run_until_complete(asyncio.sleep(0.001, "works")) == "works"


@pytest.mark.parametrize("closed", [True, False])
def test_what_a_child_frees_of_its_parents_loop_is_not_in_use_there(closed):
    """The kernel's part of the loop's memory is not inherited: its addresses are free for the child's own."""
    loops = [uringloop.new_event_loop()]
    if closed:
        loops[0].close()

    def free():
        loops[0].close()
        fillings = [mmap.mmap(-1, mmap.PAGESIZE) for _ in range(100)]  # these take the holes
        forget(loops)
        return not any(filling[0] for filling in fillings)

    status = in_child(free)
    loops[0].close()
    assert status == 0


def test_a_child_made_while_the_loop_runs_can_run_a_loop_of_its_own(loop):
    async def main():
        def work():
            asyncio._set_running_loop(None)
            return uringloop.run(asyncio.sleep(0.01, True))

        return in_child(work)

    assert loop.run_until_complete(main()) == 0


def test_a_child_does_not_keep_its_parents_connections_open(loop):
    """The child has closed all sockets that it inherited; only the ring could still hold them."""
    ours, theirs = tcp_pair()
    transport, protocol = loop.run_until_complete(loop.create_connection(Collecting, sock=ours))
    loop.run_until_complete(asyncio.sleep(0.01))
    numbers = {ours.fileno(), theirs.fileno()}
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(writing)
        for number in numbers:
            os.close(number)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    transport.close()
    loop.run_until_complete(until(lambda: protocol.lost))
    theirs.settimeout(5)
    assert theirs.recv(1) == b""
    os.close(writing)
    os.waitpid(pid, 0)
    theirs.close()


def echo_in_child(connection):
    async def main():
        connection.send(await asyncio.sleep(0.01, "from the child"))

    uringloop.run(main())


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_multiprocessing_works_beside_a_loop(loop, method):
    loop.run_until_complete(asyncio.sleep(0))
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    process = context.Process(target=echo_in_child, args=(theirs,))
    process.start()
    assert ours.recv() == "from the child"
    process.join(20)
    assert process.exitcode == 0
    ours.close()
    theirs.close()
    process.close()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_children_are_made_while_the_loop_runs_and_has_traffic(loop, method):
    context = multiprocessing.get_context(method)
    ours, theirs = stream_pair()
    theirs.setblocking(False)

    async def talk():
        while True:
            await loop.sock_sendall(ours, b"traffic")
            assert await loop.sock_recv(theirs, 100) == b"traffic"

    async def main():
        talking = loop.create_task(talk())
        reading, writing = context.Pipe()
        process = context.Process(target=echo_in_child, args=(writing,))
        process.start()
        answer = await loop.run_in_executor(None, reading.recv)
        await loop.run_in_executor(None, process.join)
        reading.close()
        writing.close()
        assert not talking.done()
        talking.cancel()
        await loop.shutdown_default_executor()
        return answer, process.exitcode

    assert loop.run_until_complete(main()) == ("from the child", 0)
    ours.close()
    theirs.close()


def test_a_child_that_outlives_its_parent_keeps_no_port_busy():
    """The child closes the sockets that it inherited, but not the ring, of which it does not know."""
    port = free_port()
    script = f"""
    import asyncio, os, socket, sys, time
    import uringloop

    async def main():
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", {port})
        sock = server.sockets[0]
        await asyncio.sleep(0.01)
        if os.fork() == 0:
            os.close(sock.fileno())
            os.close(1)
            time.sleep(60)
            os._exit(0)
        print("served", flush=True)
        os._exit(0)

    uringloop.run(main())
    """
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        out, _ = parent.communicate(timeout=30)
        assert out == "served\n"
        deadline = time.monotonic() + PATIENCE  # the kernel frees a dead process's ring, and what that uses, later
        while not can_listen(port):
            assert time.monotonic() < deadline
            time.sleep(0.001)
    finally:
        os.killpg(parent.pid, signal.SIGKILL)


def can_listen(port):
    """Whether the port is free, also for somebody who does not set SO_REUSEADDR."""
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop its privileges")
@pytest.mark.parametrize("module", ["uringloop", "asyncio"])
def test_a_loop_made_by_root_has_no_privileges_left_when_its_process_has_none(module):
    """What it is asked for is done with the rights that the process has then, not with those of its maker."""
    script = """
    import asyncio, os, socket, sys
    import {module}

    async def echo(reader, writer):
        writer.write(await reader.read(100))
        writer.close()

    async def talk():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello")
        assert await reader.read() == b"hello"
        writer.close()
        await writer.wait_closed()
        server.close()

    async def be_refused():
        with socket.socket(socket.AF_UNIX) as sock:
            sock.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(sock, sys.argv[1])
            except PermissionError:
                return "refused"

    loop = {module}.new_event_loop()
    loop.run_until_complete(talk())
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    loop.run_until_complete(talk())
    print(loop.run_until_complete(be_refused()))
    loop.close()
    """
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        os.chmod(folder, 0o755)
        path = os.path.join(folder, "private")
        listener.bind(path)
        listener.listen()
        os.chmod(path, 0o600)
        completed = subprocess.run(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(script).format(module=module), path],
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert (completed.stdout, completed.stderr) == ("refused\n", "")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_pool_works_as_an_executor(loop):
    async def main(pool):
        return await asyncio.gather(*(loop.run_in_executor(pool, abs, -number) for number in range(20)))

    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        assert loop.run_until_complete(main(pool)) == list(range(20))
