"""Small benchmarks of one loop, by pyperf: ``python -m perf.micro_bench --loop NAME``.

The other options are pyperf's.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

import pyperf

from perf import loops

BATCH = 100
"""How many of a thing are done at once where that is part of the benchmark."""


def nothing() -> None:
    """Do nothing."""


async def nothing_async() -> None:
    """Do nothing either."""


async def chain(count: int) -> None:
    """Call a callback that asks for its next call, time and again."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = count

    def call() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(call)
        else:
            done.set_result(None)

    loop.call_soon(call)
    await done


async def burst(count: int) -> None:
    """Ask for many calls at once."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        for _ in range(BATCH):
            loop.call_soon(nothing)
        await asyncio.sleep(0)


async def cancel_timers(count: int) -> None:
    """Make timers and cancel them, as timeouts are that do not come."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        for _ in range(BATCH):
            loop.call_later(10, nothing).cancel()
        await asyncio.sleep(0)


async def yield_often(count: int) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


async def make_tasks(count: int) -> None:
    """Make a task and wait for it."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        await loop.create_task(nothing_async())


async def gather(count: int) -> None:
    """Wait for many tasks at once, each of which lets the loop turn."""
    for _ in range(count):
        await asyncio.gather(*(asyncio.sleep(0) for _ in range(BATCH)))


BENCHMARKS: dict[str, tuple[Callable[[int], Awaitable[None]], int]] = {
    "call_soon chain": (chain, 1),
    "call_soon burst": (burst, BATCH),
    "call_later, cancel": (cancel_timers, BATCH),
    "sleep(0)": (yield_often, 1),
    "task": (make_tasks, 1),
    "gather": (gather, BATCH),
}
"""What is measured, and how many things one of the count stands for."""


def measure(loop_name: str, work: Callable[[int], Awaitable[None]], count: int) -> float:
    """Return how many seconds a loop takes for the work."""

    async def timed() -> float:
        start = time.perf_counter()
        await work(count)
        return time.perf_counter() - start

    with asyncio.Runner(loop_factory=loops.factory(loop_name)) as runner:
        return runner.run(timed())


def pass_loop(command: list[str], options: argparse.Namespace) -> None:
    """Tell pyperf's worker processes the loop, too."""
    command += ["--loop", options.loop]


def main() -> None:
    """Measure as the command line says."""
    runner = pyperf.Runner(program_args=("-m", "perf.micro_bench"), add_cmdline_args=pass_loop)
    runner.argparser.add_argument("--loop", required=True, choices=loops.NAMES)
    options = runner.parse_args()
    for name, (work, size) in BENCHMARKS.items():
        runner.bench_time_func(name, partial(measure, options.loop, work), inner_loops=size)


if __name__ == "__main__":
    main()
