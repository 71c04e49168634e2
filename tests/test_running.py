"""Running, stopping and closing a loop; other threads, and forked children."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import importlib
import random
import sys
import threading
import time
import weakref

import pytest
from support.checks import PATIENCE, forget, turns, until
from support.children import run
from support.running import in_thread, run_briefly


class Awaitable:
    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        return "awaited"


# running until complete


def test_run_until_complete_returns_the_result(loop):
    async def coroutine():
        await asyncio.sleep(0)
        return "done"

    future = loop.create_future()
    loop.call_soon(future.set_result, "set")
    assert loop.run_until_complete(coroutine()) == "done"
    assert loop.run_until_complete(future) == "set"
    assert loop.run_until_complete(Awaitable()) == "awaited"


def test_run_until_complete_raises_what_the_coroutine_raises(loop):
    async def coroutine():
        raise LookupError("not found")

    with pytest.raises(LookupError, match="not found"):
        loop.run_until_complete(coroutine())


def test_run_until_complete_raises_cancelled_error(loop):
    future = loop.create_future()
    loop.call_soon(future.cancel)
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(future)


def test_run_until_complete_refuses_what_cannot_be_awaited(loop):
    with pytest.raises(TypeError, match="a coroutine or an awaitable is required"):
        loop.run_until_complete(42)


def test_run_until_complete_refuses_the_future_of_another_loop(loop, make_loop):
    future = make_loop().create_future()
    with pytest.raises(ValueError, match="belongs to a different loop"):
        loop.run_until_complete(future)


def test_stop_before_the_future_is_done_is_an_error_and_the_future_goes_on(loop):
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError) as caught:
        loop.run_until_complete(future)
    assert str(caught.value) == "Event loop stopped before Future completed."
    loop.call_soon(future.set_result, "later")
    assert loop.run_until_complete(future) == "later"


async def write_it(loop, sock, data):
    transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, sock)
    transport.write(data)
    transport.close()


@pytest.mark.parametrize(
    "send", [lambda loop, sock, data: loop.sock_sendall(sock, data), write_it], ids=["sock", "transport"]
)
@pytest.mark.parametrize("kind_of_socket", ["tcp", "unix"])
def test_what_is_large_gets_through_in_runs_of_one_turn(loop, sockets, kind_of_socket, send):
    ours, theirs = sockets.pair(kind_of_socket)
    data = random.Random(1).randbytes(5_000_000)
    task = loop.create_task(send(loop, ours, data))
    received = bytearray()
    deadline = time.monotonic() + PATIENCE
    while len(received) < len(data) or not task.done():
        assert time.monotonic() < deadline, len(received)
        run_briefly(loop)
        with contextlib.suppress(BlockingIOError):
            received += theirs.recv(100_000)
    assert received == data
    for _ in range(3):
        run_briefly(loop)


def test_a_future_that_was_run_once_no_longer_stops_the_loop(loop):
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError):
        loop.run_until_complete(future)
    seen = []
    loop.call_soon(future.set_result, None)
    loop.call_later(0.01, seen.append, "reached")
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert seen == ["reached"]


FORGETFUL = pytest.mark.uringloop_only(
    "asyncio's run_forever of 3.13 takes the running loop for stopped once it refused",
    when=sys.version_info[:2] == (3, 13),
)
ALREADY = "This event loop is already running"
INSIDE = "Cannot run the event loop while another loop is running"


async def test_a_running_loop_cannot_be_run_again(loop):
    with pytest.raises(RuntimeError) as caught:
        loop.run_until_complete(loop.create_future())
    assert str(caught.value) == ALREADY
    assert loop.is_running()


@FORGETFUL
async def test_a_running_loop_cannot_be_run_forever_again(loop):
    with pytest.raises(RuntimeError) as caught:
        loop.run_forever()
    assert str(caught.value) == ALREADY
    assert loop.is_running()
    assert asyncio.get_running_loop() is loop


async def test_no_loop_can_be_run_inside_another(loop, make_loop):
    other = make_loop()
    with pytest.raises(RuntimeError) as caught:
        other.run_until_complete(other.create_future())
    assert str(caught.value) == INSIDE
    assert not other.is_running()
    assert asyncio.get_running_loop() is loop


@FORGETFUL
async def test_no_loop_can_be_run_forever_inside_another(loop, make_loop):
    other = make_loop()
    with pytest.raises(RuntimeError) as caught:
        other.run_forever()
    assert str(caught.value) == INSIDE
    assert not other.is_running()
    assert asyncio.get_running_loop() is loop


async def test_run_refuses_where_a_loop_runs(loop, kind):
    run_in = asyncio.run if kind.is_oracle else importlib.import_module(kind.module).run
    coroutine = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match=r"\.run\(\) cannot be called from a running event loop"):
        run_in(coroutine)
    coroutine.close()


def test_the_running_loop_is_known_while_it_runs_only(loop):
    async def running():
        return asyncio.get_running_loop()

    assert loop.run_until_complete(running()) is loop
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_is_running_tells_whether_it_runs(loop):
    seen = []
    loop.call_soon(lambda: seen.append(loop.is_running()))
    assert not loop.is_running()
    run_briefly(loop)
    assert seen == [True]
    assert not loop.is_running()


def test_the_repr_tells_the_state(loop):
    for word in ("running=False", "closed=False", f"debug={loop.get_debug()}"):
        assert word in repr(loop)
    loop.close()
    assert "closed=True" in repr(loop)


def test_the_loop_is_asyncios_idea_of_a_loop(loop):
    assert isinstance(loop, asyncio.AbstractEventLoop)


def test_a_runner_can_use_the_loop(kind, reports):
    with asyncio.Runner(loop_factory=kind.make, debug=kind.debug) as runner:
        assert runner.run(asyncio.sleep(0, "slept")) == "slept"
        loop = runner.get_loop()
        assert loop.get_debug() == kind.debug
    assert loop.is_closed()


# threads


def test_callbacks_from_many_threads_all_run_in_order(loop):
    seen = []
    threads = 8
    each = 500

    def schedule(thread):
        for number in range(each):
            loop.call_soon_threadsafe(seen.append, (thread, number))

    async def main():
        await asyncio.gather(*(asyncio.to_thread(schedule, thread) for thread in range(threads)))
        await turns(2)

    loop.run_until_complete(main())
    assert len(seen) == threads * each
    for thread in range(threads):
        numbers = [number for owner, number in seen if owner == thread]
        assert numbers == list(range(each))


def test_another_thread_wakes_an_idle_loop_at_once(loop):
    """A hundred round trips between a thread and a loop that has nothing to do."""
    answered = threading.Event()
    waits = []

    def ask():
        for _ in range(100):
            time.sleep(0.0005)  # let the loop fall asleep
            asked = time.monotonic()
            loop.call_soon_threadsafe(answered.set)
            assert answered.wait(10)
            waits.append(time.monotonic() - asked)
            answered.clear()
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=ask)
    thread.start()
    loop.run_forever()
    thread.join()
    assert sorted(waits)[50] < 0.01


def test_call_soon_threadsafe_wakes_a_loop_that_waits_for_a_timer(loop):
    timer = loop.call_later(3600, print)
    thread = threading.Timer(0.02, loop.call_soon_threadsafe, [loop.stop])
    thread.start()
    loop.run_forever()
    thread.join()
    timer.cancel()


def test_call_soon_threadsafe_before_the_loop_runs_is_kept(loop):
    seen = []
    in_thread(loop.call_soon_threadsafe, seen.append, "kept")
    run_briefly(loop)
    assert seen == ["kept"]


def test_call_soon_threadsafe_in_the_thread_of_the_loop(loop):
    seen = []
    loop.call_soon_threadsafe(seen.append, 1)
    loop.call_soon(seen.append, 2)
    run_briefly(loop)
    assert seen == [1, 2]


def test_a_handle_of_call_soon_threadsafe_can_be_cancelled(loop):
    loop.call_soon_threadsafe(pytest.fail, "it ran").cancel()
    run_briefly(loop)


async def test_a_coroutine_run_from_another_thread_returns_there(loop):
    def ask():
        coroutine = asyncio.sleep(0.001, "answer")
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(10)

    assert await asyncio.to_thread(ask) == "answer"


def test_a_loop_made_in_one_thread_runs_in_another_and_in_a_third(loop, sockets):
    ours, theirs = sockets.unix_pair()

    async def exchange():
        theirs.send(b"ping")
        assert await loop.sock_recv(ours, 10) == b"ping"
        await asyncio.sleep(0.001)
        return threading.get_ident()

    def run_here():
        return loop.run_until_complete(exchange())

    here = [run_here(), in_thread(run_here), in_thread(run_here), run_here()]
    assert here[0] == here[3] == threading.get_ident()
    assert threading.get_ident() not in here[1:3]


def test_a_loop_may_be_run_and_closed_in_a_thread(make_loop):
    def work():
        loop = make_loop()
        result = loop.run_until_complete(asyncio.sleep(0.001, "done"))
        loop.close()
        return result

    assert in_thread(work) == "done"


def test_two_loops_in_two_threads_do_not_mix(make_loop):
    loops = [make_loop(), make_loop()]
    finished = []

    async def count(mine, other):
        seen = []
        for number in range(200):
            other.call_soon_threadsafe(mine.call_soon_threadsafe, seen.append, number)
            await asyncio.sleep(0)
            assert asyncio.get_running_loop() is mine
        await until(lambda: len(seen) == 200)
        finished.append(mine)
        await until(lambda: len(finished) == 2)
        return seen

    def work(mine, other):
        return mine.run_until_complete(count(mine, other))

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = pool.map(work, loops, reversed(loops))
    assert list(results) == [list(range(200))] * 2


# closing


def test_a_closed_loop_says_so(loop):
    assert not loop.is_closed()
    loop.close()
    assert loop.is_closed()
    loop.close()  # a second time changes nothing
    assert loop.is_closed()


CLOSED = {
    "call_soon": lambda loop: loop.call_soon(print),
    "call_soon_threadsafe": lambda loop: loop.call_soon_threadsafe(print),
    "call_later": lambda loop: loop.call_later(1, print),
    "call_at": lambda loop: loop.call_at(1, print),
    "run_forever": lambda loop: loop.run_forever(),
    "run_until_complete": lambda loop: loop.run_until_complete(None),
    "run_in_executor": lambda loop: loop.run_in_executor(None, print),
    "add_reader": lambda loop: loop.add_reader(0, print),
    "add_writer": lambda loop: loop.add_writer(0, print),
    "add_signal_handler": lambda loop: loop.add_signal_handler(10, print),
}


@pytest.mark.parametrize("method", CLOSED)
def test_a_closed_loop_takes_no_work(loop, method):
    loop.close()
    with pytest.raises(RuntimeError) as caught:
        CLOSED[method](loop)
    assert str(caught.value) == "Event loop is closed"


def test_a_closed_loop_makes_no_task(loop):
    loop.close()
    coroutine = asyncio.sleep(0)
    with pytest.raises(RuntimeError) as caught:
        loop.create_task(coroutine)
    assert str(caught.value) == "Event loop is closed"
    coroutine.close()


async def test_a_running_loop_cannot_be_closed(loop):
    with pytest.raises(RuntimeError) as caught:
        loop.close()
    assert str(caught.value) == "Cannot close a running event loop"
    assert not loop.is_closed()


def test_closing_drops_what_was_scheduled(loop):
    class Callback:
        def __call__(self):
            pytest.fail("it ran")

    callbacks = [Callback(), Callback()]
    references = [weakref.ref(callback) for callback in callbacks]
    loop.call_soon(callbacks[0])
    loop.call_later(0, callbacks[1])
    loop.close()
    forget(callbacks)
    assert [reference() for reference in references] == [None, None]


def test_a_loop_that_never_ran_can_be_closed(loop):
    loop.close()


def test_loops_made_and_closed_in_a_row_leave_nothing(make_loop):
    for _ in range(100):
        make_loop().close()


def test_a_closed_loop_is_freed_without_the_garbage_collector(kind, sockets, no_collection):
    async def use(loop):
        ours, theirs = sockets.tcp_pair()
        await loop.sock_sendall(theirs, b"hello")
        await loop.sock_recv(ours, 100)
        loop.add_writer(ours, print)
        await loop.run_in_executor(None, time.sleep, 0)
        await loop.shutdown_default_executor()

    loop = kind.new_event_loop()
    loop.run_until_complete(use(loop))
    loop.close()
    kept = weakref.ref(loop)
    del loop
    assert kept() is None


def test_a_loop_left_unclosed_emits_a_warning(kind):
    loops = [kind.new_event_loop()]
    loops[0].run_until_complete(asyncio.sleep(0))
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        forget(loops)


# a loop in a process that was forked


def test_a_forked_child_can_make_a_loop_of_its_own(kind):
    script = """
    async def main():
        await asyncio.sleep(0.001)
        return "ran"

    loop = new_event_loop()
    loop.run_until_complete(main())
    pid = os.fork()
    if pid == 0:
        inner = new_event_loop()
        say("child", inner.run_until_complete(main()))
        inner.close()
        os._exit(0)
    os.waitpid(pid, 0)
    say("parent", loop.run_until_complete(main()))
    loop.close()
    """
    done = run(kind, script)
    assert done.stdout == "child ran\nparent ran\n"
    assert done.stderr == ""
