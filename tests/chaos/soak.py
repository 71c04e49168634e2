"""Many connections that stay busy: python -m chaos.soak.

Some stay and echo, others are closed and made again all the time. Once all are made and caches have filled,
memory and descriptors must stay as they are.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import sys
import time
from dataclasses import dataclass

from support.checks import descriptors, left_open, operations_left
from support.kinds import ORACLES, OURS, Kind
from support.protocols import Echo

from chaos.rounds import resident

# By how much the least that a third of the looks saw may exceed the least of the first third. (The least, since at
# times more connections are closing than at others.) Five minutes make some 200,000 connections between the two, so
# that it shows if each leaves an object behind.
_RESIDENT_GROWTH = 2 * 1024  # KiB; malloc's free memory goes to pieces, ever more slowly, on any loop
_BLOCKS_GROWTH = 0.02  # share of the interpreter's memory blocks
_DESCRIPTORS_GROWTH = 0.1  # share; it depends on the machine's load how many connections are just closing
_SPARE = 100  # descriptors beside those of the connections
_LOOKS = 9  # at least, even if the machine stands still for the time that there is


@dataclass(frozen=True)
class Load:
    """What is to be run."""

    connections: int
    seconds: float
    """From when all connections are made."""
    warm_up: float
    """Seconds of them, after which memory may not grow any more."""
    interval: float
    """Seconds between two looks at memory and descriptors."""


@dataclass(frozen=True)
class Look:
    """What there was at a moment."""

    connects: int
    echoes: int
    resident: int  # KiB
    blocks: int  # of the interpreter's memory
    descriptors: int

    def __str__(self) -> str:
        return (
            f"{self.connects} connections, {self.echoes} echoes: "
            f"{self.resident} KiB, {self.blocks} blocks, {self.descriptors} descriptors"
        )


class Soak:
    """An echo server and its clients on one loop."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.connected: set[int] = set()  # numbers of clients
        self.connects = 0
        self.echoes = 0
        self.looks: list[Look] = []

    async def main(self) -> None:
        """Run the load and look at it now and then."""
        server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=4096)
        address = server.sockets[0].getsockname()
        clients = [asyncio.create_task(self._client(address, number)) for number in range(self.load.connections)]
        try:
            while len(self.connected) < len(clients):
                await _run(clients, 0.1)
            end = time.monotonic() + self.load.seconds
            await _run(clients, self.load.warm_up)
            while time.monotonic() < end or len(self.looks) < _LOOKS:
                self._look()
                await _run(clients, self.load.interval)
        finally:
            for client in clients:
                client.cancel()
            await asyncio.wait(clients)
            server.close()
            await server.wait_closed()

    def growth(self, what: str) -> int:
        """By how much the least of the last third of the looks exceeds that of the first."""
        values = [getattr(look, what) for look in self.looks]
        third = len(values) // 3
        return min(values[-third:]) - min(values[:third])

    def _look(self) -> None:
        look = Look(self.connects, self.echoes, resident(), sys.getallocatedblocks(), len(descriptors()))
        print(look, flush=True)
        self.looks.append(look)

    async def _client(self, address: tuple[str, int], number: int) -> None:
        rng = random.Random(number)
        await asyncio.sleep(rng.uniform(0, 1))
        while True:
            reader, writer = await asyncio.open_connection(*address)
            self.connects += 1
            self.connected.add(number)
            try:
                await self._converse(reader, writer, rng, 1_000_000 if number % 2 else rng.randrange(1, 5))
            finally:
                writer.close()
                await writer.wait_closed()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rng: random.Random, echoes: int
    ) -> None:
        for _ in range(echoes):
            data = rng.randbytes(rng.choice([1, 100, 1000, 10_000]))
            writer.write(data)
            assert await reader.readexactly(len(data)) == data
            self.echoes += 1
            await asyncio.sleep(rng.uniform(0, 0.2))


async def _run(clients: list[asyncio.Task[None]], seconds: float) -> None:
    """Let them go on for so long; raise what one of them has raised."""
    ended, _ = await asyncio.wait(clients, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for client in ended:
        client.result()


def run(kind: Kind, load: Load) -> None:
    """Run the load on a loop of this kind, print how it goes, and check what is left of it."""
    most = 3 * load.connections + _SPARE  # two for each, and one that the server has yet to close
    allow_descriptors(most)
    before = descriptors()
    reports = []
    loop = kind.new_event_loop()
    loop.set_exception_handler(lambda _, context: reports.append(context))
    soak = Soak(load)
    loop.run_until_complete(soak.main())
    loop.run_until_complete(asyncio.sleep(0.1))
    left = operations_left(loop, kind)
    loop.close()
    assert not reports, reports
    assert not left, left
    assert not left_open(before), f"left open: {left_open(before)}"
    assert max(look.descriptors for look in soak.looks) <= most
    kibibytes, blocks, opened = (soak.growth(what) for what in ("resident", "blocks", "descriptors"))
    print(f"grew by {kibibytes} KiB, {blocks} blocks, {opened} descriptors")
    assert kibibytes < _RESIDENT_GROWTH
    assert blocks < _BLOCKS_GROWTH * soak.looks[0].blocks
    assert opened < _DESCRIPTORS_GROWTH * soak.looks[0].descriptors


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
    parser.add_argument("--asyncio", action="store_true", help="on asyncio's own loop")
    options = parser.parse_args()
    seconds = options.seconds
    kind = (ORACLES if options.asyncio else OURS)[0]
    run(kind, Load(options.connections, seconds, warm_up=seconds / 5, interval=seconds / 60))


if __name__ == "__main__":
    main()
