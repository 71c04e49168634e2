"""What is checked after every test, and how a test waits for something."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

from support.kinds import Kind, operations_in_flight, own_operations

SLOWNESS = float(os.environ.get("URINGLOOP_TESTS_SLOWNESS", "1"))
"""How many times slower than a real machine this one is, an emulated one perhaps."""

PATIENCE = 20.0 * SLOWNESS
"""Seconds that a test waits for what should happen at once, though the machine may stand still for some of them."""


class Reports:
    """An exception handler that keeps what it is told.

    Whatever a test does not take is unexpected and fails the test.
    """

    def __init__(self) -> None:
        self.unclaimed: list[dict[str, Any]] = []

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict) -> None:
        self.unclaimed.append(context)

    def take(self) -> dict[str, Any]:
        """Take the only report there is."""
        (context,) = self.take_all()
        return context

    def take_all(self) -> list[dict[str, Any]]:
        taken, self.unclaimed = self.unclaimed, []
        return taken


def descriptors() -> dict[int, str]:
    """Every open descriptor of this process and what it refers to."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that listdir itself had open
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def left_open(before: dict[int, str]) -> dict[int, str]:
    """The descriptors that were not there before."""
    return {fd: target for fd, target in descriptors().items() if before.get(fd) != target}


def wakeup_fd() -> int:
    """The descriptor that signals are written to, -1 if there is none."""
    fd = signal.set_wakeup_fd(-1)
    if fd != -1:
        signal.set_wakeup_fd(fd)
    return fd


def wind_up(loop: asyncio.AbstractEventLoop, kind: Kind) -> list[str]:
    """Close the loop of a test and say what the test had left undone."""
    complaints = []
    if not loop.is_closed():
        gc.collect()
        complaints += _cancel_tasks(loop)
        loop.run_until_complete(loop.shutdown_default_executor())
        complaints += operations_left(loop, kind)
        loop.close()
    if not kind.is_oracle and (count := operations_in_flight(loop)):
        complaints.append(f"{count} operations in flight after close()")
    gc.collect()
    return complaints


def _cancel_tasks(loop: asyncio.AbstractEventLoop) -> list[str]:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks))
    return [f"a task was left: {task!r}" for task in tasks]


def operations_left(loop: asyncio.AbstractEventLoop, kind: Kind) -> list[str]:
    """Operations of a test's own that have not ended soon, as do the cancelled and those whose peer has closed."""
    if kind.is_oracle:
        return []
    deadline = time.monotonic() + SLOWNESS
    while count := operations_in_flight(loop) - own_operations(kind):
        if time.monotonic() > deadline:
            return [f"{count} operations in flight after the test"]
        loop.run_until_complete(asyncio.sleep(0.001))
    return []


@contextlib.contextmanager
def without_garbage_collector() -> Iterator[None]:
    """What goes meanwhile goes because nothing refers to it."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def forget(things: list) -> None:
    """Drop what the list alone refers to."""
    things.clear()
    gc.collect()


async def turns(count: int) -> None:
    """Let the loop go round so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until the condition holds; fail if it does not within a few seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.001)


async def stays(condition: Callable[[], object], seconds: float = 0.05) -> None:
    """Check that the condition holds, and goes on to hold for a while."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition()
        await asyncio.sleep(0.001)


async def outcome(awaitable: Any) -> Any:
    """What the awaitable returns, or the exception that it raises."""
    try:
        return await awaitable
    except (Exception, asyncio.CancelledError) as exc:
        return exc.with_traceback(None)
