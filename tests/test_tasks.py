"""Tasks, asynchronous generators, executors and the names they resolve."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import socket
import sys
import threading
import time
import weakref

import pytest
from support.checks import until
from support.running import context_with, run_briefly, variable

# tasks


async def test_create_task_takes_a_name(loop):
    task = loop.create_task(asyncio.sleep(0), name="a name")
    assert task.get_name() == "a name"
    await task


async def test_a_task_without_a_name_gets_one(loop):
    task = loop.create_task(asyncio.sleep(0))
    assert task.get_name().startswith("Task-")
    await task


async def test_asyncios_classes_may_be_replaced_while_a_loop_runs(loop, monkeypatch):
    """Programs do so in their own tests."""

    class Replaced(asyncio.Task):
        pass

    class ReplacedFuture(asyncio.Future):
        pass

    with monkeypatch.context() as patch:
        patch.setattr(asyncio.tasks, "Task", Replaced)
        patch.setattr(asyncio.futures, "Future", ReplacedFuture)
        task, future = loop.create_task(asyncio.sleep(0)), loop.create_future()
    assert type(task) is Replaced
    assert type(future) is ReplacedFuture
    await task


async def test_create_task_takes_a_context(loop):
    async def value():
        return variable.get()

    context = context_with("inside")
    assert await loop.create_task(value(), context=context) == "inside"
    assert variable.get("unset") == "unset"


async def test_an_error_that_was_caught_is_gone_without_a_garbage_collection(loop, no_collection):
    class Error(Exception):
        pass

    async def fail():
        await asyncio.sleep(0)
        raise Error

    async def caught():
        task = loop.create_task(fail())
        await asyncio.wait([task])
        return weakref.ref(task.exception())

    error = await caught()
    await asyncio.sleep(0)
    assert error() is None


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


@pytest.mark.parametrize(
    ("asked", "before_314"),
    [
        ({}, {}),
        ({"name": "named"}, {}),
        ({"name": None, "context": None}, {}),
        ({"context": context_with("x")}, ["context"]),
    ],
    ids=["nothing", "a name", "None", "a context"],
)
def test_a_task_factory_is_given_the_options_and_before_3_14_no_name(loop, asked, before_314):
    given = []

    def factory(loop, coroutine, **options):
        given.append(options)
        return asyncio.Task(coroutine, loop=loop, **options)

    loop.set_task_factory(factory)
    task = loop.create_task(asyncio.sleep(0), **asked)
    loop.run_until_complete(task)
    if sys.version_info >= (3, 14):
        assert given == [asked]
    else:
        assert given == [{option: asked[option] for option in before_314}]
    if asked.get("name"):
        assert task.get_name() == "named"


@pytest.mark.skipif(sys.version_info < (3, 14), reason="create_task takes eager_start since 3.14")
async def test_a_task_may_be_started_at_once(loop):
    async def quick():
        return "quick"

    task = loop.create_task(quick(), eager_start=True, name="eager")
    assert task.done()
    assert task.get_name() == "eager"
    assert await task == "quick"


def test_a_task_factory_must_be_callable(loop):
    with pytest.raises(TypeError) as caught:
        loop.set_task_factory(42)
    assert str(caught.value) == "task factory must be a callable or None"


async def test_an_error_that_ends_a_turn_leaves_nothing_to_the_garbage_collector(loop):
    """Its traceback refers to the frames below, those of the loop, which must not refer to the error."""

    class Local:
        pass

    async def suppress():
        local = Local()
        locals_.append(weakref.ref(local))
        with contextlib.suppress(LookupError):
            await futures.pop()

    locals_ = []
    futures = [loop.create_future()]
    loop.call_later(0.005, futures[0].set_exception, LookupError())
    gc.disable()
    try:
        await loop.create_task(suppress())
        await asyncio.sleep(0.005)
        assert locals_[0]() is None
    finally:
        gc.enable()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
async def test_an_eager_task_that_need_not_wait_is_done_when_made(loop):
    async def quick():
        return "quick"

    loop.set_task_factory(asyncio.eager_task_factory)
    task = loop.create_task(quick())
    assert task.done()
    assert await task == "quick"
    assert await loop.create_task(asyncio.sleep(0.001, "slow")) == "slow"


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
