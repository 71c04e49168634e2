"""Callbacks and timers: when they run, in which order and in which context."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import gc
import random
import socket
import sys
import threading
import time
import weakref

import pytest
from support.checks import PATIENCE, turns
from support.running import context_with, run_briefly, variable

RESOLUTION = time.get_clock_info("monotonic").resolution


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
    assert next(counter) > 1


@pytest.mark.parametrize("what", ["received", "accepted", "readable", "from a thread"])
async def test_what_comes_from_outside_is_not_starved_by_callbacks(loop, sockets, what):
    """It comes while there is always a callback, and long after the kernel was asked for it."""
    come = asyncio.Event()
    listener = sockets.listener()
    client = sockets.new(socket.AF_INET)
    ours, theirs = sockets.tcp_pair()

    async def accept():
        connection, _ = await loop.sock_accept(listener)
        connection.close()
        come.set()

    async def receive():
        await loop.sock_recv(ours, 100)
        come.set()

    causes = {
        "received": lambda: theirs.send(b"data"),
        "accepted": lambda: client.connect_ex(listener.getsockname()),
        "readable": lambda: theirs.send(b"data"),
        "from a thread": lambda: loop.call_soon_threadsafe(come.set),
    }
    waiting = {"received": receive, "accepted": accept}.get(what)
    task = loop.create_task(waiting()) if waiting else None
    if what == "readable":
        loop.add_reader(ours, come.set)
    await turns(5)
    thread = threading.Timer(0.02, causes[what])
    thread.start()
    while not come.is_set():
        await asyncio.sleep(0)
    loop.remove_reader(ours)
    thread.join()
    if task:
        await task


async def test_a_busy_loop_lets_other_threads_run(loop):
    """It lets go of the GIL in each turn, and not only when the interpreter tells it to."""
    interval = sys.getswitchinterval()
    done = threading.Event()

    def work():
        for _ in range(20):
            time.sleep(0.001)
        done.set()

    thread = threading.Thread(target=work)
    sys.setswitchinterval(100)
    try:
        thread.start()
        deadline = time.monotonic() + PATIENCE
        while not done.is_set() and time.monotonic() < deadline:
            await asyncio.sleep(0)
        assert done.is_set()
    finally:
        sys.setswitchinterval(interval)
        thread.join()


@pytest.mark.uringloop_only("it looks at an internal counter")
async def test_turns_of_callbacks_alone_do_not_call_the_engine(loop):
    if loop._proactor.ring.flags[0] == -1:
        pytest.skip("before Linux 6.3, what the kernel has done may be found only by asking")
    await turns(5)
    before = loop._proactor.ring.turns()
    await turns(100)
    assert loop._proactor.ring.turns() == before


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
    assert time.monotonic() - started < PATIENCE
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


@pytest.mark.parametrize("method", ["call_soon", "call_later", "call_soon_threadsafe"])
def test_what_cannot_be_called_is_reported(loop, kind, reports, method):
    """None, too, which stands for nothing else."""
    schedule = getattr(loop, method)
    times = (0,) * (method == "call_later")
    if kind.debug:
        with pytest.raises(TypeError):
            schedule(*times, None)
        return
    handle = schedule(*times, None)
    assert not handle.cancelled()
    loop.run_until_complete(asyncio.sleep(0.001))
    context = reports.take()
    assert type(context["exception"]) is TypeError
    assert context["handle"] is handle


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
    deadline = time.monotonic() + PATIENCE  # a busy machine makes most of them late
    lateness = 1.0
    while lateness >= 0.005:
        assert time.monotonic() < deadline, lateness
        timer = loop.call_later(0.01, loop.stop)
        loop.run_forever()
        lateness = loop.time() - timer.when()


def test_a_timer_in_the_past_is_due_at_once(loop):
    seen = []
    loop.call_at(loop.time() - 5, seen.append, "past")
    loop.call_later(-5, seen.append, "negative")
    loop.call_later(0, seen.append, "zero")
    loop.run_until_complete(turns(2))
    assert sorted(seen) == ["negative", "past", "zero"]


def run_until_a_thread_stops_it(loop):
    """Run for a while that no timer has to end."""
    stopper = threading.Timer(0.02, loop.call_soon_threadsafe, (loop.stop,))
    stopper.start()
    loop.run_forever()
    stopper.join()


@pytest.mark.uringloop_only("asyncio ends the loop by a ValueError", when=sys.version_info >= (3, 13))
def test_a_timer_at_nan_is_due_and_keeps_no_other_waiting(loop):
    seen = []
    loop.call_later(float("nan"), seen.append, "nan")
    run_until_a_thread_stops_it(loop)
    assert seen == ["nan"]
    loop.call_at(float("nan"), seen.append, "nan")
    loop.call_later(0.001, seen.append, "after")
    run_until_a_thread_stops_it(loop)
    assert sorted(seen) == ["after", "nan", "nan"]


@pytest.mark.parametrize("never", [float("inf"), 1e300, 1e18, 10**30])
def test_a_timer_that_is_never_due_keeps_no_other_waiting(loop, never):
    seen = []
    timer = loop.call_later(never, seen.append, "never")
    loop.call_later(0.001, seen.append, "soon")
    run_until_a_thread_stops_it(loop)
    timer.cancel()
    assert seen == ["soon"]


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


@pytest.mark.parametrize("in_between", [0, 1], ids=["in the turn that made them", "in a later turn"])
def test_cancelled_timers_do_not_accumulate(loop, in_between):
    """A server that puts off a timeout with every message."""
    kept = []
    for _ in range(20):
        timers = [loop.call_later(3600, print) for _ in range(500)]
        kept += map(weakref.ref, timers)
        for _ in range(in_between):
            run_briefly(loop)
        for timer in timers:
            timer.cancel()
        del timer, timers
        run_briefly(loop)
        run_briefly(loop)
        gc.collect()
        kept = [reference for reference in kept if reference() is not None]
        assert len(kept) <= 500


def test_what_is_due_runs_in_a_run_of_one_turn_after_what_was_ready(loop):
    seen = []
    loop.call_at(loop.time() - 1, seen.append, "due")
    loop.call_soon(seen.append, "ready")
    loop.call_soon(loop.call_later, -1, seen.append, "due in the next turn")
    run_briefly(loop)
    assert seen == ["ready", "due"]
    run_briefly(loop)
    assert seen == ["ready", "due", "due in the next turn"]


@pytest.mark.parametrize("in_between", [0, 1], ids=["in the turn that made them", "in a later turn"])
def test_cancelling_most_timers_loses_no_other(loop, in_between, monkeypatch):
    seen = []
    in_an_hour = loop.time() + 3600
    timers = [loop.call_at(in_an_hour, seen.append, number) for number in range(1000)]
    for _ in range(in_between):
        run_briefly(loop)
    for number, timer in enumerate(timers):
        if number % 4:
            timer.cancel()
    run_briefly(loop)
    assert not seen
    monkeypatch.setattr(loop, "time", lambda: in_an_hour + 1)
    run_briefly(loop)
    assert sorted(seen) == list(range(0, 1000, 4))


def test_when_tells_the_time_of_a_timer(loop):
    timer = loop.call_at(1234.5, print)
    assert timer.when() == 1234.5
    before = loop.time()
    later = loop.call_later(10, print)
    assert before + 10 <= later.when() <= loop.time() + 10
    timer.cancel()
    later.cancel()


@pytest.mark.uringloop_only("asyncio keeps it among its timers, and cannot run any more")
def test_a_timer_at_what_is_no_time_is_refused_and_costs_no_other(loop):
    seen = []
    loop.call_later(0, seen.append, 1)
    with pytest.raises(TypeError):
        loop.call_at("x", print)
    loop.run_until_complete(asyncio.sleep(0.01))
    assert seen == [1]


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
    loop.run_until_complete(asyncio.sleep(0.001))
    assert seen == ["given"]
    schedule(loop, variable.set, "changed", context=context)
    loop.run_until_complete(asyncio.sleep(0.001))
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


@pytest.mark.skipif(sys.version_info < (3, 14), reason="a thread may not cancel it before")
@pytest.mark.parametrize("loop_is_faster", [False, True])
def test_a_handle_cancelled_by_another_thread_has_run_or_never_will(loop, loop_is_faster):
    ran = []
    entered = threading.Event()

    def slow():
        entered.set()
        time.sleep(0.05)
        ran.append(True)

    def cancel():
        handle = loop.call_soon_threadsafe(slow)
        if loop_is_faster:
            entered.wait()
        handle.cancel()
        assert handle.cancelled()
        done = list(ran)
        loop.call_soon_threadsafe(loop.stop)
        return done

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        cancelling = pool.submit(cancel)
        loop.run_forever()
        assert cancelling.result() == ran
    if loop_is_faster:
        assert ran


@pytest.mark.skipif(sys.version_info < (3, 14), reason="a thread may not do so before")
def test_threads_may_cancel_what_the_loop_is_about_to_run(loop):
    """Both go through the same callbacks, at about the same speed."""

    def cancel(handles):
        for handle in handles:
            handle.cancel()
        loop.call_soon_threadsafe(loop.stop)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            for _ in range(3):
                handles = [loop.call_soon_threadsafe(int, "0") for _ in range(20_000)]
                cancelling = pool.submit(cancel, handles)
                loop.run_forever()
                cancelling.result()
    finally:
        sys.setswitchinterval(interval)
