"""The exception handler, and what debug mode adds."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import sys
import time

import pytest
from support.checks import turns
from support.children import run
from support.running import context_with, in_thread, run_briefly, variable

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
    assert 0.02 <= float(message.split(" took ")[1].removesuffix(" seconds")) < 10


def test_in_debug_mode_a_slow_step_of_a_task_is_logged_with_the_task(loop, caplog):
    async def slow_coroutine():
        time.sleep(0.02)

    loop.slow_callback_duration = 0.01
    loop.run_until_complete(slow_coroutine())
    found = logged(caplog, "slow_coroutine")
    assert len(found) == loop.get_debug()
    assert all(message.startswith("Executing <Task ") for message in found)


def test_a_callback_is_slow_after_a_tenth_of_a_second(kind):
    with contextlib.closing(kind.new_event_loop()) as loop:
        assert loop.slow_callback_duration == 0.1


def test_a_callback_quicker_than_the_limit_is_not_logged(loop, caplog):
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
