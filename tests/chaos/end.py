"""What the ends of a conversation have in common: they send, receive, disturb, and close."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from dataclasses import dataclass
from typing import Any

from chaos.flow import Flow

SIZES = (1, 100, 4096, 30_000, 65_535, 65_536, 65_537, 300_000)
"""Bytes of a write or a read: on both sides of the sizes at which a loop changes its ways."""


@dataclass(frozen=True)
class Fault:
    """What one end does to the conversation."""

    way: str
    after: int
    """How many bytes have gone either way before."""

    WAYS = ("abort", "reset", "cancel", "close")


class DisturbedError(Exception):
    """The end did what its fault says."""


class End:
    """One end. A subclass talks through a protocol, streams or the socket itself."""

    may_eof = True
    """Whether the end of what is sent can be told while receiving goes on; not so with TLS."""

    def __init__(self, key: str, outgoing: Flow, incoming: Flow, fault: Fault | None, loses: bool) -> None:
        """`loses` tells that the loop loses what a cancelled sock_recv had, and data changed after write()."""
        self.random = random.Random(key)
        self.outgoing = outgoing
        self.incoming = incoming
        self.fault = fault
        self.loses = loses
        self.loop = asyncio.get_running_loop()

    # How a subclass talks

    async def attach(self, sock: socket.socket, **tls: Any) -> None:
        """Take a connected socket."""
        raise NotImplementedError

    async def accept(self, listener: socket.socket, **tls: Any) -> None:
        """Take the connection that comes to the listener."""
        sock, _ = await self.loop.sock_accept(listener)
        await self.attach(sock, **tls)

    async def send(self) -> None:
        """Send everything, and say that this is the end."""
        raise NotImplementedError

    async def receive(self) -> None:
        """Receive everything; an early end is an EOFError."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close when everything is sent, and wait until that is done."""
        raise NotImplementedError

    async def abort(self) -> None:
        """Close at once. May be called at any time, even before there is a connection."""
        raise NotImplementedError

    def socket_option(self, level: int, option: int, value: int | bytes) -> None:
        """Set an option of the socket."""
        raise NotImplementedError

    # What they have in common

    async def run(self) -> None:
        """Talk, and close. Raises what went wrong; DisturbedError if that was the end's own doing."""
        try:
            async with asyncio.timeout(self._patience()):
                await self._talk()
                await self.close()
        except DisturbedError:
            await self._disturb()
            raise
        except TimeoutError:
            raise DisturbedError from None
        finally:
            await self.abort()

    async def _talk(self) -> None:
        sending = self.loop.create_task(self.send())
        receiving = self.loop.create_task(self.receive())
        try:
            for task in asyncio.as_completed([sending, receiving]):
                await task
        finally:
            for task in (sending, receiving):
                task.cancel()
            await asyncio.gather(sending, receiving, return_exceptions=True)

    def _patience(self) -> float | None:
        return self.random.uniform(0, 0.05) if self.fault and self.fault.way == "cancel" else None

    def is_due(self) -> bool:
        """Whether the time has come for the fault."""
        fault = self.fault
        return fault is not None and self.outgoing.sent + self.incoming.received >= fault.after

    def check_fault(self) -> None:
        """Raise DisturbedError if the time has come for the fault."""
        if self.is_due():
            raise DisturbedError

    async def _disturb(self) -> None:
        assert self.fault is not None
        if self.fault.way == "close":
            await self.close()
        if self.fault.way == "reset":
            with contextlib.suppress(OSError):
                self.socket_option(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def size(self) -> int:
        """How much to write or read next."""
        return self.random.choice(SIZES)

    async def rest(self) -> None:
        """Mostly do nothing, sometimes wait for a turn or a while."""
        number = self.random.random()
        if number < 0.1:
            await asyncio.sleep(0)
        elif number < 0.15:
            await asyncio.sleep(self.random.uniform(0, 0.01))
