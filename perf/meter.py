"""Measures the process that it is in while that works."""

import asyncio
import os
import time
from array import array
from collections.abc import Awaitable, Callable
from statistics import quantiles

from perf.cpu import cpu_time
from perf.sample import Sample


class Meter:
    """Notes what the workers have done within the window."""

    def __init__(self) -> None:
        self.done = False
        """Whether the workers are to end."""

        self.measuring = False
        self.latencies = array("d")

    def note(self, begun: float) -> None:
        """Count a message, begun at this time by time.perf_counter()."""
        if self.measuring:
            self.latencies.append(time.perf_counter() - begun)

    async def window(self, seconds: float) -> Sample:
        """Measure for some seconds from now on."""
        self.measuring = True
        before, start = cpu_time(os.getpid()), time.perf_counter()
        await asyncio.sleep(seconds)
        after, end = cpu_time(os.getpid()), time.perf_counter()
        self.measuring = False
        percentiles = quantiles(self.latencies, n=100, method="inclusive")
        return Sample(
            messages=len(self.latencies),
            lost=0,
            seconds=end - start,
            cpu_seconds=after.total - before.total,
            user_seconds=after.user - before.user,
            system_seconds=after.system - before.system,
            p50_us=percentiles[49] * 1e6,
            p99_us=percentiles[98] * 1e6,
        )


async def measure_workers(
    work: Callable[[int, Meter], Awaitable[None]], workers: int, warmup: float, seconds: float
) -> Sample:
    """Run some workers for a warm-up and a window; return the window."""
    meter = Meter()

    async def run(number: int) -> None:
        await work(number, meter)

    async with asyncio.TaskGroup() as tasks:
        for number in range(workers):
            tasks.create_task(run(number))
        await asyncio.sleep(warmup)
        sample = await meter.window(seconds)
        meter.done = True
    return sample
