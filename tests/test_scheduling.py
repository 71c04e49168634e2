"""Callbacks, timers, threads, tasks, reporting, debug mode, executor: all but I/O."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import gc
import logging
import random
import socket
import sys
import threading
import time
import weakref

import pytest
from support.checks import forget, turns, until
from support.children import run

RESOLUTION = time.get_clock_info("monotonic").resolution
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


def run_briefly(loop):
    """One turn of the loop."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def context_with(value):
    context = contextvars.copy_context()
    context.run(variable.set, value)
    return context


def in_thread(function, *args):
    """Run in another thread to the end; return or raise what the function did."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args).result()


class Awaitable:
    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        return "awaited"


# call_soon and turns


def test_callbacks_run_in_the_order_they_were_scheduled(loop):
    seen = []
    for number in range(1000):
        loop.call_soon(seen.append, number)
    run_briefly(loop)
    assert seen == list(range(1000))


def test_a_callback_scheduled_in_a_turn_runs_in_the_next(loop):
    seen = []

    def first():
        seen.append("first")
        loop.call_soon(seen.append, "third")

    loop.call_soon(first)
    loop.call_soon(seen.append, "second")
    run_briefly(loop)
    assert seen == ["first", "second"]
    run_briefly(loop)
    assert seen == ["first", "second", "third"]


def test_a_callback_that_reschedules_itself_starves_nothing(loop):
    stopped = []
    counter = iter(range(10**9))

    def again():
        next(counter)
        loop.call_soon(again)

    again()
    loop.call_later(0.02, stopped.append, True)
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    assert stopped
    assert next(counter) > 10


def test_stop_finishes_the_current_batch(loop):
    seen = []
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, "after stop")
    loop.run_forever()
    assert seen == ["after stop"]


def test_stop_before_running_runs_what_is_ready_once(loop):
    seen = []
    loop.call_soon(lambda: loop.call_soon(seen.append, "later"))
    loop.call_soon(seen.append, "now")
    loop.stop()
    loop.run_forever()
    assert seen == ["now"]


def test_stop_does_not_wait_for_timers(loop):
    timer = loop.call_later(3600, pytest.fail, "an hour has passed")
    started = time.monotonic()
    run_briefly(loop)
    assert time.monotonic() - started < 1
    timer.cancel()


def test_the_loop_runs_again_after_stop(loop):
    for _ in range(3):
        run_briefly(loop)
        assert not loop.is_running()


def test_a_cancelled_callback_does_not_run(loop):
    handle = loop.call_soon(pytest.fail, "it ran")
    handle.cancel()
    run_briefly(loop)
    assert handle.cancelled()


def test_a_callback_cancelled_in_its_own_turn_does_not_run(loop):
    def cancel():
        handle.cancel()

    loop.call_soon(cancel)
    handle = loop.call_soon(pytest.fail, "it ran")
    run_briefly(loop)


def test_cancelling_lets_go_of_the_callback_and_its_arguments(loop):
    def callback(argument):
        pass

    class Argument:
        pass

    loop.set_debug(False)  # in debug mode a handle's repr may keep something
    argument = Argument()
    handles = [loop.call_soon(callback, argument), loop.call_later(9, callback, argument)]
    kept = [weakref.ref(callback), weakref.ref(argument)]
    for handle in handles:
        handle.cancel()
    del callback, argument
    assert [reference() for reference in kept] == [None, None]


def test_a_callback_that_ran_is_let_go(loop):
    def callback():
        pass

    loop.call_soon(callback)
    loop.call_later(0, callback)
    kept = weakref.ref(callback)
    del callback
    loop.run_until_complete(asyncio.sleep(0.001))
    assert kept() is None


def test_handles_are_asyncios_handles(loop):
    soon = loop.call_soon(print)
    timer = loop.call_later(9, print)
    assert isinstance(soon, asyncio.Handle)
    assert isinstance(timer, asyncio.TimerHandle)
    for handle in (soon, timer):
        assert not handle.cancelled()
        handle.cancel()
        assert handle.cancelled()


def test_the_repr_of_a_handle_tells_callback_and_state(loop):
    def named_callback():
        pass

    handle = loop.call_soon(named_callback)
    assert repr(handle).startswith("<Handle ")
    assert "named_callback" in repr(handle)
    assert "cancelled" not in repr(handle)
    handle.cancel()
    assert repr(handle).startswith("<Handle cancelled")
    timer = loop.call_at(12.5, named_callback)
    assert repr(timer).startswith("<TimerHandle when=12.5 ")
    timer.cancel()
    assert repr(timer).startswith("<TimerHandle cancelled when=12.5")


def test_in_debug_mode_the_repr_of_a_handle_tells_where_it_was_made(loop):
    handles = [
        loop.call_soon(print),
        loop.call_later(9, print),
        loop.call_at(9, print),
        loop.call_soon_threadsafe(print),
    ]
    for handle in handles:
        tells = f"created at {__file__}:" in repr(handle)
        assert tells == loop.get_debug()
        handle.cancel()


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


# timers


def test_no_timer_is_early_and_all_come_in_order(loop):
    due = []
    seen = []

    def check(when):
        due.append(loop.time() - when)
        seen.append(when)

    start = loop.time()
    delays = [random.Random(number).uniform(0, 0.05) for number in range(300)]
    for delay in delays:
        loop.call_at(start + delay, check, start + delay)
    loop.run_until_complete(asyncio.sleep(0.06))
    assert min(due) >= -RESOLUTION
    assert seen == sorted(start + delay for delay in delays)


@pytest.mark.parametrize("delay", [0.0001, 0.001, 0.0015, 0.02])
def test_an_idle_loop_sleeps_as_long_as_its_timer_says(loop, delay):
    for _ in range(10):
        started = loop.time()
        loop.call_later(delay, loop.stop)
        loop.run_forever()
        assert loop.time() - started >= delay - RESOLUTION


def test_an_idle_loop_uses_no_processor_time(loop):
    loop.call_later(0.3, loop.stop)
    started = time.thread_time()
    loop.run_forever()
    assert time.thread_time() - started < 0.1


def test_a_timer_is_not_much_late_on_an_idle_loop(loop):
    lateness = []
    for _ in range(10):
        timer = loop.call_later(0.01, loop.stop)
        loop.run_forever()
        lateness.append(loop.time() - timer.when())
    assert min(lateness) < 0.005


def test_a_timer_in_the_past_is_due_at_once(loop):
    seen = []
    loop.call_at(loop.time() - 5, seen.append, "past")
    loop.call_later(-5, seen.append, "negative")
    loop.call_later(0, seen.append, "zero")
    loop.run_until_complete(turns(2))
    assert sorted(seen) == ["negative", "past", "zero"]


def test_a_due_timer_comes_after_the_callbacks_already_ready(loop):
    seen = []
    loop.call_later(0, seen.append, "timer")
    loop.call_soon(seen.append, "ready")
    loop.run_until_complete(turns(2))
    assert seen == ["ready", "timer"]


def test_a_timer_due_sooner_than_the_one_waited_for_is_not_late(loop):
    seen = []

    def hurry():
        loop.call_later(0.01, seen.append, "soon")
        loop.call_later(0.01, loop.stop)

    far = loop.call_later(3600, seen.append, "far")
    loop.call_soon(hurry)
    loop.run_forever()
    assert seen == ["soon"]
    far.cancel()


def test_a_timer_a_century_away_does_not_disturb_the_others(loop):
    far = loop.call_later(100 * 365 * 86400, pytest.fail, "a century has passed")
    loop.run_until_complete(asyncio.sleep(0.01))
    far.cancel()


def test_a_cancelled_timer_does_not_run(loop):
    timer = loop.call_later(0.001, pytest.fail, "it ran")
    timer.cancel()
    loop.run_until_complete(asyncio.sleep(0.005))
    assert timer.cancelled()


def test_a_timer_cancelled_when_already_due_does_not_run(loop):
    timer = loop.call_later(0.001, pytest.fail, "it ran")
    time.sleep(0.005)
    loop.call_soon(timer.cancel)
    run_briefly(loop)
    run_briefly(loop)


def test_cancelled_timers_do_not_accumulate(loop):
    """A server that puts off a timeout with every message."""
    kept = []
    for _ in range(20):
        for _ in range(500):
            timer = loop.call_later(3600, print)
            kept.append(weakref.ref(timer))
            timer.cancel()
            del timer
        run_briefly(loop)
        run_briefly(loop)
        gc.collect()
        kept = [reference for reference in kept if reference() is not None]
        assert len(kept) <= 500


def test_purging_cancelled_timers_loses_no_other(loop):
    seen = []
    for number in range(1000):
        timer = loop.call_later(0.02, seen.append, number)
        if number % 4:
            timer.cancel()
    loop.run_until_complete(asyncio.sleep(0.04))
    assert sorted(seen) == list(range(0, 1000, 4))


def test_when_tells_the_time_of_a_timer(loop):
    timer = loop.call_at(1234.5, print)
    assert timer.when() == 1234.5
    before = loop.time()
    later = loop.call_later(10, print)
    assert before + 10 <= later.when() <= loop.time() + 10
    timer.cancel()
    later.cancel()


def test_timers_compare_by_their_time(loop):
    early, late = loop.call_at(1e9, print), loop.call_at(2e9, print)
    assert early < late
    assert sorted([late, early]) == [early, late]
    early.cancel()
    late.cancel()


def test_time_is_monotonic_seconds(loop):
    assert abs(loop.time() - time.monotonic()) < 1
    assert loop.time() <= loop.time()


@pytest.mark.parametrize(
    ("method", "message"),
    [("call_later", "delay must not be None"), ("call_at", "when cannot be None")],
)
def test_a_timer_needs_a_time(loop, method, message):
    with pytest.raises(TypeError) as caught:
        getattr(loop, method)(None, print)
    assert str(caught.value) == message


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
    loop.call_soon(pytest.fail, "it ran")
    loop.call_later(0, pytest.fail, "it ran")
    loop.close()


def test_a_loop_that_never_ran_can_be_closed(loop):
    loop.close()


def test_loops_made_and_closed_in_a_row_leave_nothing(make_loop):
    for _ in range(100):
        make_loop().close()


def test_a_loop_left_unclosed_emits_a_warning(kind):
    loops = [kind.new_event_loop()]
    loops[0].run_until_complete(asyncio.sleep(0))
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        forget(loops)


# tasks


async def test_create_task_takes_a_name(loop):
    task = loop.create_task(asyncio.sleep(0), name="a name")
    assert task.get_name() == "a name"
    await task


async def test_a_task_without_a_name_gets_one(loop):
    task = loop.create_task(asyncio.sleep(0))
    assert task.get_name().startswith("Task-")
    await task


async def test_create_task_takes_a_context(loop):
    async def value():
        return variable.get()

    context = context_with("inside")
    assert await loop.create_task(value(), context=context) == "inside"
    assert variable.get("unset") == "unset"


def test_a_task_may_be_made_before_the_loop_runs(loop):
    task = loop.create_task(asyncio.sleep(0, "slept"))
    assert not task.done()
    assert loop.run_until_complete(task) == "slept"


def test_tasks_and_futures_know_their_loop(loop):
    future = loop.create_future()
    assert isinstance(future, asyncio.Future)
    assert future.get_loop() is loop
    task = loop.create_task(asyncio.sleep(0))
    assert task.get_loop() is loop
    loop.run_until_complete(task)


def test_a_task_factory_makes_the_tasks(loop):
    made = []

    def factory(loop, coroutine, **options):
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **options)

    assert loop.get_task_factory() is None
    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    coroutine = asyncio.sleep(0, "slept")
    task = loop.create_task(coroutine, name="named", context=context_with("x"))
    assert task.get_name() == "named"
    assert loop.run_until_complete(task) == "slept"
    assert made == [coroutine]
    loop.set_task_factory(None)
    assert loop.get_task_factory() is None


def test_a_task_factory_must_be_callable(loop):
    with pytest.raises(TypeError) as caught:
        loop.set_task_factory(42)
    assert str(caught.value) == "task factory must be a callable or None"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
async def test_an_eager_task_that_need_not_wait_is_done_when_made(loop):
    async def quick():
        return "quick"

    loop.set_task_factory(asyncio.eager_task_factory)
    task = loop.create_task(quick())
    assert task.done()
    assert await task == "quick"
    assert await loop.create_task(asyncio.sleep(0.001, "slow")) == "slow"


# the exception handler


def test_an_exception_in_a_callback_is_reported_and_the_loop_goes_on(loop, reports):
    def failing_callback():
        raise LookupError("not found")

    seen = []
    handle = loop.call_soon(failing_callback)
    loop.call_soon(seen.append, "went on")
    run_briefly(loop)
    assert seen == ["went on"]
    context = reports.take()
    assert context["message"].startswith("Exception in callback ")
    assert "failing_callback" in context["message"]
    assert isinstance(context["exception"], LookupError)
    assert context["handle"] is handle
    assert ("source_traceback" in context) == loop.get_debug()


def test_an_exception_in_a_timer_is_reported(loop, reports):
    loop.call_later(0, int, "not a number")
    loop.run_until_complete(asyncio.sleep(0.001))
    assert isinstance(reports.take()["exception"], ValueError)


def test_the_exception_handler_is_set_got_and_unset(loop, reports):
    assert loop.get_exception_handler() is reports
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None
    loop.set_exception_handler(reports)
    with pytest.raises(TypeError) as caught:
        loop.set_exception_handler(42)
    assert str(caught.value) == "A callable object or None is expected, got 42"
    assert loop.get_exception_handler() is reports


def test_the_exception_handler_gets_the_loop_and_the_context(loop):
    calls = []
    loop.set_exception_handler(lambda *args: calls.append(args))
    context = {"message": "told"}
    loop.call_exception_handler(context)
    assert calls == [(loop, context)]


def test_without_a_handler_the_exception_is_logged(loop, caplog):
    loop.set_exception_handler(None)
    loop.call_soon(int, "not a number")
    run_briefly(loop)
    (record,) = [r for r in caplog.records if r.name == "asyncio" and r.exc_info]
    assert record.levelno == logging.ERROR
    assert record.message.startswith("Exception in callback int(")
    assert record.exc_info[0] is ValueError


def test_the_default_handler_logs_all_that_it_is_told(loop, caplog):
    loop.default_exception_handler({"message": "it broke", "colour": "red"})
    loop.default_exception_handler({})
    first, second = (r.message for r in caplog.records if r.levelno == logging.ERROR)
    assert first == "it broke\ncolour: 'red'"
    assert second == "Unhandled exception in event loop"


def test_a_failing_exception_handler_is_logged(loop, caplog):
    def handler(loop, context):
        raise LookupError("in the handler")

    loop.set_exception_handler(handler)
    loop.call_soon(int, "not a number")
    run_briefly(loop)
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.message.startswith("Unhandled error in exception handler")
    assert record.exc_info[0] is LookupError


def test_a_failing_default_handler_is_logged(kind, make_loop, caplog):
    loop = make_loop()
    base = type(loop)

    class Broken(base):
        def default_exception_handler(self, context):
            raise LookupError("in the default handler")

    broken = Broken()
    broken.call_exception_handler({"message": "told"})
    broken.close()
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.message == "Exception in default exception handler"


@pytest.mark.parametrize("exception", [SystemExit, KeyboardInterrupt])
def test_an_exit_out_of_the_exception_handler_propagates(loop, exception):
    def handler(loop, context):
        raise exception

    loop.set_exception_handler(handler)
    loop.call_soon(int, "not a number")
    with pytest.raises(exception):
        loop.run_forever()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="it came with 3.12")
def test_the_exception_handler_runs_in_the_context_of_the_callback(loop):
    seen = []
    loop.set_exception_handler(lambda *_: seen.append(variable.get("unset")))
    loop.call_soon(int, "not a number", context=context_with("inside"))
    run_briefly(loop)
    assert seen == ["inside"]


def test_an_exception_that_nobody_retrieves_is_reported(loop, reports):
    async def failing():
        raise LookupError("not found")

    task = loop.create_task(failing())
    loop.run_until_complete(turns(3))
    del task
    gc.collect()
    context = reports.take()
    assert context["message"] == "Task exception was never retrieved"
    assert isinstance(context["exception"], LookupError)


@pytest.mark.parametrize("exception", [SystemExit, KeyboardInterrupt])
def test_an_exit_out_of_a_callback_stops_the_loop_which_goes_on_afterwards(loop, exception):
    def leave():
        raise exception("leaving")

    seen = []
    loop.call_soon(seen.append, "before")
    loop.call_soon(leave)
    loop.call_soon(seen.append, "after")
    loop.call_later(0, seen.append, "timer")
    with pytest.raises(exception, match="leaving"):
        loop.run_forever()
    assert seen == ["before"]
    assert not loop.is_running()
    loop.run_until_complete(asyncio.sleep(0.001))
    assert seen == ["before", "after", "timer"]


@pytest.mark.parametrize("exception", [SystemExit, KeyboardInterrupt])
def test_an_exit_out_of_a_task_propagates(loop, exception):
    async def leave():
        await asyncio.sleep(0)
        raise exception("leaving")

    with pytest.raises(exception, match="leaving"):
        loop.run_until_complete(leave())
    assert loop.run_until_complete(asyncio.sleep(0, "again")) == "again"


def test_any_other_base_exception_is_reported(loop, reports):
    class Strange(BaseException):
        pass

    def fail():
        raise Strange

    loop.call_soon(fail)
    run_briefly(loop)
    assert isinstance(reports.take()["exception"], Strange)


# debug mode


def logged(caplog, pattern):
    return [r.message for r in caplog.records if pattern in r.message]


def test_debug_mode_is_set_and_got(loop):
    for debug in (True, False, True):
        loop.set_debug(debug)
        assert loop.get_debug() is debug


@pytest.mark.parametrize("how", ["call_soon", "call_later", "call_soon_threadsafe"])
def test_in_debug_mode_a_slow_callback_is_logged_with_its_duration(loop, caplog, how):
    def slow_callback():
        time.sleep(0.02)

    loop.slow_callback_duration = 0.01
    delay = [0] if how == "call_later" else []
    getattr(loop, how)(*delay, slow_callback)
    loop.run_until_complete(asyncio.sleep(0.001))
    found = logged(caplog, "slow_callback")
    if not loop.get_debug():
        assert not found
        return
    (message,) = found
    assert message.startswith("Executing <")
    assert 0.02 <= float(message.split(" took ")[1].removesuffix(" seconds")) < 2


def test_in_debug_mode_a_slow_step_of_a_task_is_logged_with_the_task(loop, caplog):
    async def slow_coroutine():
        time.sleep(0.02)

    loop.slow_callback_duration = 0.01
    loop.run_until_complete(slow_coroutine())
    found = logged(caplog, "slow_coroutine")
    assert len(found) == loop.get_debug()
    assert all(message.startswith("Executing <Task ") for message in found)


def test_a_callback_quicker_than_the_limit_is_not_logged(loop, caplog):
    assert loop.slow_callback_duration == 0.1
    loop.call_soon(time.sleep, 0.001)
    run_briefly(loop)
    assert not logged(caplog, "Executing")


async def test_in_debug_mode_a_call_from_the_wrong_thread_is_an_error(loop):
    def calls():
        with pytest.raises(RuntimeError, match="Non-thread-safe operation"):
            loop.call_soon(print)
        with pytest.raises(RuntimeError, match="Non-thread-safe operation"):
            loop.call_later(0, print)
        with pytest.raises(RuntimeError, match="Non-thread-safe operation"):
            loop.call_at(0, print)

    loop.set_debug(True)
    await asyncio.to_thread(calls)


def test_any_thread_may_schedule_before_the_loop_runs(loop):
    seen = []
    in_thread(loop.call_soon, seen.append, "scheduled")
    run_briefly(loop)
    assert seen == ["scheduled"]


@pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe", "call_at"])
def test_in_debug_mode_a_callback_must_be_one(loop, method):
    async def coroutine_function():
        pass

    call = getattr(loop, method)
    if method == "call_at":
        call = functools.partial(call, 0)
    loop.set_debug(True)
    with pytest.raises(TypeError) as caught:
        call(coroutine_function)
    assert str(caught.value) == f"coroutines cannot be used with {method}()"
    with pytest.raises(TypeError) as caught:
        call("text")
    assert str(caught.value) == (f"a callable object was expected by {method}(), got 'text'")


def test_coroutine_origins_are_tracked_in_debug_mode_while_the_loop_runs(loop):
    async def depth():
        return sys.get_coroutine_origin_tracking_depth()

    before = sys.get_coroutine_origin_tracking_depth()
    assert (loop.run_until_complete(depth()) > before) == loop.get_debug()
    assert sys.get_coroutine_origin_tracking_depth() == before


async def test_coroutine_origin_tracking_follows_a_change_of_mode(loop):
    for debug in (True, False):
        loop.set_debug(debug)
        await turns(2)
        assert bool(sys.get_coroutine_origin_tracking_depth()) == debug


def test_the_environment_turns_debug_mode_on(kind):
    done = run(kind, "loop = new_event_loop(); say(loop.get_debug()); loop.close()")
    assert done.stdout == f"{kind.debug}\n"
    assert done.stderr == ""


# asynchronous generators


async def endless(closed):
    try:
        while True:
            yield
    finally:
        await asyncio.sleep(0)
        closed.append(True)


async def test_a_generator_dropped_halfway_is_closed_by_the_loop(loop):
    closed = []
    generator = endless(closed)
    await anext(generator)
    del generator
    gc.collect()
    await until(lambda: closed)


def test_shutdown_asyncgens_closes_those_that_were_begun(loop):
    closed = []

    async def main():
        generators = [endless(closed) for _ in range(3)]
        for generator in generators:
            await anext(generator)
        await loop.shutdown_asyncgens()
        assert closed == [True] * 3

    loop.run_until_complete(main())


def test_a_generator_that_fails_to_close_is_reported(loop, reports):
    async def failing():
        try:
            yield
        finally:
            raise LookupError("while closing")

    async def main():
        generator = failing()
        await anext(generator)
        await loop.shutdown_asyncgens()
        return generator

    generator = loop.run_until_complete(main())
    context = reports.take()
    assert context["message"] == (f"an error occurred during closing of asynchronous generator {generator!r}")
    assert isinstance(context["exception"], LookupError)
    assert context["asyncgen"] is generator


async def test_a_generator_begun_after_the_shutdown_warns(loop):
    await loop.shutdown_asyncgens()
    generator = endless([])
    with pytest.warns(ResourceWarning, match="was scheduled after"):
        await anext(generator)
    await generator.aclose()


def test_generator_hooks_are_those_of_before_after_a_run(loop):
    before = sys.get_asyncgen_hooks()
    hooks = []
    loop.call_soon(lambda: hooks.append(sys.get_asyncgen_hooks()))
    run_briefly(loop)
    assert sys.get_asyncgen_hooks() == before
    assert hooks[0] != before


# executors and names


async def test_run_in_executor_runs_in_another_thread(loop):
    assert await loop.run_in_executor(None, threading.get_ident) != (threading.get_ident())
    assert await loop.run_in_executor(None, divmod, 17, 5) == (3, 2)
    with pytest.raises(ValueError, match="invalid literal"):
        await loop.run_in_executor(None, int, "not a number")


async def test_run_in_executor_takes_an_executor(loop):
    with concurrent.futures.ThreadPoolExecutor(1, "mine") as executor:
        thread = await loop.run_in_executor(executor, threading.current_thread)
    assert thread.name.startswith("mine")


async def test_the_default_executor_can_be_set(loop):
    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1, "default"))
    thread = await loop.run_in_executor(None, threading.current_thread)
    assert thread.name.startswith("default")


def test_the_default_executor_must_be_of_threads(loop):
    with pytest.raises(TypeError) as caught:
        loop.set_default_executor(object())
    assert str(caught.value) == "executor must be ThreadPoolExecutor instance"


async def test_after_its_shutdown_the_default_executor_takes_no_work(loop):
    thread = await loop.run_in_executor(None, threading.current_thread)
    await loop.shutdown_default_executor()
    assert not thread.is_alive()
    with pytest.raises(RuntimeError) as caught:
        loop.run_in_executor(None, print)
    assert str(caught.value) == "Executor shutdown has been called"


async def test_shutting_down_an_executor_that_was_never_used(loop):
    await loop.shutdown_default_executor()
    with pytest.raises(RuntimeError, match="shutdown has been called"):
        loop.run_in_executor(None, print)


async def test_the_shutdown_of_the_executor_waits_for_its_work(loop):
    done = []
    work = loop.run_in_executor(None, lambda: (time.sleep(0.05), done.append(True)))
    await loop.shutdown_default_executor()
    assert done == [True]
    await work


@pytest.mark.skipif(
    sys.version_info < (3, 13),
    reason="the timeout came with 3.12, where it waits for the work all the same",
)
async def test_the_shutdown_of_the_executor_gives_up_after_its_timeout(loop):
    release = threading.Event()
    work = loop.run_in_executor(None, release.wait)
    try:
        with pytest.warns(RuntimeWarning, match="did not finish"):
            await loop.shutdown_default_executor(timeout=0.05)
    finally:
        release.set()
    await work


async def test_names_are_resolved(loop):
    found = await loop.getaddrinfo("localhost", 80, family=socket.AF_INET, type=socket.SOCK_STREAM)
    assert (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)) in found
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    assert await loop.getnameinfo(("127.0.0.1", 80), numeric) == ("127.0.0.1", "80")


async def test_a_name_that_does_not_exist_is_an_error(loop):
    with pytest.raises(socket.gaierror):
        await loop.getaddrinfo("name.invalid", 80)


async def test_the_loop_goes_on_while_a_name_is_resolved(loop, names):
    release = threading.Event()
    real = socket.getaddrinfo
    socket.getaddrinfo = lambda *args: (release.wait(10), real(*args))[1]
    lookup = loop.create_task(loop.getaddrinfo("127.0.0.1", 80))
    await asyncio.sleep(0.01)
    assert not lookup.done()
    release.set()
    assert await lookup


# contexts


SCHEDULERS = {
    "call_soon": lambda loop, *args, **options: loop.call_soon(*args, **options),
    "call_soon_threadsafe": lambda loop, *args, **options: loop.call_soon_threadsafe(*args, **options),
    "call_later": lambda loop, *args, **options: loop.call_later(0, *args, **options),
    "call_at": lambda loop, *args, **options: loop.call_at(0, *args, **options),
}


@pytest.mark.parametrize("method", SCHEDULERS)
def test_a_callback_runs_in_the_context_it_is_given(loop, method):
    seen = []
    schedule = SCHEDULERS[method]
    context = context_with("given")
    handle = schedule(loop, lambda: seen.append(variable.get("unset")), context=context)
    if sys.version_info >= (3, 12):  # get_context came with 3.12
        assert handle.get_context() is context
    schedule(loop, variable.set, "changed", context=context)
    loop.run_until_complete(asyncio.sleep(0.001))
    assert seen == ["given"]
    assert context[variable] == "changed"


@pytest.mark.parametrize("method", SCHEDULERS)
def test_a_callback_runs_in_the_context_it_was_scheduled_in(loop, method):
    seen = []

    def schedule():
        variable.set("captured")
        SCHEDULERS[method](loop, lambda: seen.append(variable.get("unset")))
        variable.set("changed afterwards")

    contextvars.copy_context().run(schedule)
    loop.run_until_complete(asyncio.sleep(0.001))
    assert seen == ["captured"]


async def test_what_a_callback_sets_stays_in_its_own_context(loop):
    loop.call_soon(variable.set, "leaked")
    await turns(2)
    assert variable.get("unset") == "unset"


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
