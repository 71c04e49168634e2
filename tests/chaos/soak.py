"""Many connections that stay busy: python -m chaos.soak.

Some stay and echo, others are closed and made again all the time. Memory and descriptors must stay as they are.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass

from support.checks import descriptors, left_open
from support.kinds import OURS, operations_in_flight, own_operations
from support.protocols import Echo

from chaos.rounds import resident

_RESIDENT_GROWTH = 24 * 1024  # KiB
_INTERVAL = 5.0  # seconds, in the long run, between two looks at memory and descriptors
_SPARE = 100  # descriptors beside those of the connections


@dataclass(frozen=True)
class Load:
    """What is to be run."""

    connections: int
    seconds: float
    settled_after: float
    """Seconds after which memory may not grow any more."""


class Soak:
    """An echo server and its clients on one loop."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.echoes = 0
        self.connects = 0
        self.looks: list[tuple[int, int]] = []  # KiB resident, descriptors

    async def main(self) -> None:
        """Run the load and look at it now and then."""
        server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=4096)
        address = server.sockets[0].getsockname()
        clients = [asyncio.create_task(self._client(address, number)) for number in range(self.load.connections)]
        begun = time.monotonic()
        try:
            await self._look(clients, self.load.settled_after)
            while time.monotonic() < begun + self.load.seconds:
                await self._look(clients, min(_INTERVAL, self.load.seconds / 4))
        finally:
            for client in clients:
                client.cancel()
            await asyncio.wait(clients)
            server.close()
            await server.wait_closed()

    async def _look(self, clients: list[asyncio.Task[None]], seconds: float) -> None:
        ended, _ = await asyncio.wait(clients, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for client in ended:
            client.result()
        self.looks.append((resident(), len(descriptors())))

    async def _client(self, address: tuple[str, int], number: int) -> None:
        rng = random.Random(number)
        await asyncio.sleep(rng.uniform(0, 1))
        while True:
            stays = number % 2 == 0
            await self._converse(address, rng, 1_000_000 if stays else rng.randrange(1, 5))

    async def _converse(self, address: tuple[str, int], rng: random.Random, echoes: int) -> None:
        reader, writer = await asyncio.open_connection(*address)
        self.connects += 1
        try:
            for _ in range(echoes):
                data = rng.randbytes(rng.choice([1, 100, 1000, 10_000]))
                writer.write(data)
                assert await reader.readexactly(len(data)) == data
                self.echoes += 1
                await asyncio.sleep(rng.uniform(0, 0.2))
        finally:
            writer.close()
            await writer.wait_closed()


def run(load: Load) -> Iterator[str]:
    """Run the load, check what is left of it, and yield what is to be said."""
    most = 3 * load.connections + _SPARE  # two for each, and one that the server has yet to close
    allow_descriptors(most)
    before = descriptors()
    reports = []
    loop = OURS[0].new_event_loop()
    loop.set_exception_handler(lambda _, context: reports.append(context))
    soak = Soak(load)
    loop.run_until_complete(soak.main())
    loop.run_until_complete(asyncio.sleep(0.1))
    left = operations_in_flight(loop) - own_operations(OURS[0])
    loop.close()
    yield f"{soak.connects} connections, {soak.echoes} echoes; KiB resident and descriptors: {soak.looks}"
    assert not reports, reports
    assert not left, f"{left} operations left in flight"
    assert not left_open(before), f"left open: {left_open(before)}"
    growth = soak.looks[-1][0] - soak.looks[0][0]
    assert growth < _RESIDENT_GROWTH, f"grew by {growth} KiB"
    assert max(count for _, count in soak.looks) <= most


def allow_descriptors(count: int) -> None:
    """Raise the limit on open files if need be and if that may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m chaos.soak", description="Keep many connections busy.")
    parser.add_argument("--connections", type=int, default=2000, help="at a time (default: 2000)")
    parser.add_argument("--seconds", type=float, default=300, help="how long (default: 300)")
    options = parser.parse_args()
    for line in run(Load(options.connections, options.seconds, settled_after=options.seconds / 5)):
        print(line)


if __name__ == "__main__":
    main()
