"""Runs a program that is measured and makes its load by itself.

``python -m perf.clients --loop NAME --kind KIND`` works for a warm-up and a
window, and prints the sample as a line of JSON.
"""

import argparse
import asyncio
import dataclasses
import json
import time
from collections.abc import Awaitable, Callable
from functools import partial

from perf import loops
from perf.meter import Meter, measure_workers

VALUE = b"x" * 100
"""What is stored in redis."""


async def command_redis(port: int, number: int, meter: Meter) -> None:
    """Set a key and get it again by turns, on a connection of one's own."""
    from redis.asyncio import Redis  # noqa: PLC0415  # only this work needs it

    key = f"key{number}"
    async with Redis(port=port, single_connection_client=True) as client:
        while not meter.done:
            begun = time.perf_counter()
            await client.set(key, VALUE)
            meter.note(begun)
            begun = time.perf_counter()
            value = await client.get(key)
            meter.note(begun)
            if value != VALUE:
                raise ValueError(f"redis gives {value!r}")


async def spawn(port: int, number: int, meter: Meter) -> None:
    """Start programs that do nothing, and wait for each to end."""
    while not meter.done:
        begun = time.perf_counter()
        process = await asyncio.create_subprocess_exec("/bin/true")
        if status := await process.wait():
            raise ValueError(f"/bin/true ends with {status}")
        meter.note(begun)


KINDS: dict[str, Callable[[int, int, Meter], Awaitable[None]]] = {"redis": command_redis, "spawn": spawn}
"""The work of one worker, by the name of its kind; it gets redis's port and its number."""


def main() -> None:
    """Work as the command line says."""
    parser = argparse.ArgumentParser(prog="perf.clients", description=__doc__)
    parser.add_argument("--loop", required=True, choices=loops.NAMES)
    parser.add_argument("--kind", required=True, choices=KINDS)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--port", type=int, default=6379, help="where redis is")
    parser.add_argument("--warmup", type=float, default=1)
    parser.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    work = partial(KINDS[options.kind], options.port)
    with asyncio.Runner(loop_factory=loops.factory(options.loop)) as runner:
        sample = runner.run(measure_workers(work, options.workers, options.warmup, options.seconds))
    print(json.dumps(dataclasses.asdict(sample)))


if __name__ == "__main__":
    main()
