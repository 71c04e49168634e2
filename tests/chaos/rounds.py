"""Rounds of conversations on one loop, which is stopped, run again and moved to other threads meanwhile."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from support.checks import descriptors, left_open

from chaos import datagrams
from chaos.conversation import Conversation, Plan
from uringloop.operations import addresses

_AT_A_TIME = 40
_DATAGRAMS = 0.05  # share of the conversations
_WARM_UP = 3  # rounds, in which caches may fill
_GROWTH = 0.02  # share of the interpreter's memory blocks by which their number may vary
_RESIDENT_GROWTH = 64 * 1024  # KiB; of it 8 MiB are the pool, and each thread has a heap of its own

Done = Callable[[asyncio.AbstractEventLoop], int]
"""Counts the operations that a loop has in flight for its users."""


class Rounds:
    """Runs rounds, and checks after each that nothing is left of it."""

    def __init__(self, make: Callable[[], asyncio.AbstractEventLoop], in_flight: Done, loses: bool) -> None:
        """`loses` tells that the loop is asyncio's, which loses what uringloop promises not to."""
        self._make = make
        self._in_flight = in_flight
        self._loses = loses
        self._reports: list[dict[str, Any]] = []
        self._blocks: list[int] = []
        self._resident: list[int] = []

    def run(self, seed: int, seconds: float, size: int) -> Iterator[str]:
        """Run rounds of so many conversations for so long; yield what is to be said of each."""
        before = descriptors()
        loop = self._make()
        loop.set_exception_handler(lambda _, context: self._reports.append(context))
        deadline = time.monotonic() + seconds
        number = 0
        try:
            while number == 0 or time.monotonic() < deadline:
                inside = descriptors()
                self._round(loop, f"{seed}/{number}", size)
                self._check(loop, inside, f"round {number} of seed {seed}")
                yield f"round {number}: {size} conversations, {self._blocks[-1]} blocks, {self._resident[-1]} KiB"
                number += 1
        finally:
            loop.close()
        assert not left_open(before), f"left open with the loop closed: {left_open(before)}"

    def _round(self, loop: asyncio.AbstractEventLoop, seed: str, size: int) -> None:
        limit = asyncio.Semaphore(_AT_A_TIME)

        async def one(name: str) -> None:
            async with limit:
                if random.Random(name).random() < _DATAGRAMS:
                    await datagrams.exchange(name)
                else:
                    await Conversation(Plan.made(name, self._loses), self._loses).run()

        async def all_of_them() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(size):
                    group.create_task(one(f"{seed}/{number}"))
            await loop.shutdown_default_executor()

        drive(loop, all_of_them(), random.Random(seed))

    def _check(self, loop: asyncio.AbstractEventLoop, before: dict[int, str], what: str) -> None:
        loop.run_until_complete(asyncio.sleep(0.01))  # what was cancelled last has yet to complete
        gc.collect()
        addresses.known.clear()  # a bounded cache, which takes longer to fill than the warm-up
        loop.run_until_complete(asyncio.sleep(0))
        assert not self._reports, f"{what}: the loop reported {self._reports}"
        assert not asyncio.all_tasks(loop), f"{what}: left running: {asyncio.all_tasks(loop)}"
        assert not self._in_flight(loop), f"{what}: {self._in_flight(loop)} operations left in flight"
        left = left_open(before)
        assert not left, f"{what}: left open: {left}"
        self._blocks.append(sys.getallocatedblocks())
        self._resident.append(resident())
        if len(self._blocks) > _WARM_UP:
            assert self._blocks[-1] < self._blocks[_WARM_UP - 1] * (1 + _GROWTH), f"{what}: memory {self._blocks}"
            growth = self._resident[-1] - self._resident[_WARM_UP - 1]
            assert growth < _RESIDENT_GROWTH, f"{what}: KiB resident {self._resident}"


def resident() -> int:
    """KiB of memory that the process has now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024


def drive(loop: asyncio.AbstractEventLoop, main: Any, rng: random.Random) -> None:
    """Run the coroutine to its end, stopping the loop now and then and going on here or in another thread."""
    task = loop.create_task(main)
    with concurrent.futures.ThreadPoolExecutor(1) as other:
        while not task.done():
            if rng.random() < 0.5:
                _run_for(loop, task, rng.uniform(0, 0.1))
            else:
                other.submit(_run_for, loop, task, rng.uniform(0, 0.1)).result()
    loop.call_soon(loop.stop)  # with it goes a stop that came in the same turn as the end of the task
    loop.run_forever()
    task.result()


def _run_for(loop: asyncio.AbstractEventLoop, task: asyncio.Future, seconds: float) -> None:
    handle = loop.call_later(seconds, loop.stop)
    with contextlib.suppress(RuntimeError):  # stopped before the task was done
        loop.run_until_complete(asyncio.shield(task))
    handle.cancel()
