"""A conversation: two ends, what lies between them, and what must be true afterwards."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from dataclasses import dataclass
from typing import Any

from support.sockets import HOSTS
from support.tls import NAME, client_context, server_context

from chaos.end import DisturbedError, End, Fault
from chaos.flow import Flow
from chaos.protocol_end import BufferedEnd, ProtocolEnd
from chaos.socket_end import SocketEnd
from chaos.stream_end import StreamEnd

PATIENCE = 100.0
"""Seconds after which a conversation is taken to hang; TLS that is closed in vain gives up after 30."""

_TOTALS = (0, 1, 1000, 30_000, 200_000, 1_000_000)
_BUFFERS = (None, None, 1, 10_000, 100_000)
_KINDS = (ProtocolEnd, BufferedEnd, StreamEnd, SocketEnd)
_KINDS_WITH_TLS = (ProtocolEnd, BufferedEnd, StreamEnd)
_ACCEPTABLE = (OSError, EOFError, DisturbedError)
"""How an end may fail if one of them disturbs the conversation."""


@dataclass(frozen=True)
class Plan:
    """What is decided beforehand, all from one seed."""

    seed: str
    family: int
    tls: bool
    kinds: tuple[type[End], type[End]]
    totals: tuple[int, int]
    buffers: tuple[int | None, int | None]
    faults: tuple[Fault | None, Fault | None]

    @classmethod
    def made(cls, seed: str, loses: bool) -> Plan:
        """Decide; `loses` tells that the loop does not keep all that uringloop promises (see the README)."""
        rng = random.Random(seed)
        tls = rng.random() < 0.25
        kinds = _KINDS_WITH_TLS if tls else _KINDS
        if tls and loses:
            kinds = tuple(kind for kind in kinds if kind is not BufferedEnd)
        totals = rng.choice(_TOTALS), rng.choice(_TOTALS)
        fault = None
        if not loses and rng.random() < 0.4:
            fault = Fault(rng.choice(Fault.WAYS), rng.randrange(sum(totals) + 1))
        disturber = rng.randrange(2)
        return cls(
            seed=seed,
            family=rng.choice([socket.AF_INET, socket.AF_INET6, socket.AF_UNIX]),
            tls=tls,
            kinds=(rng.choice(kinds), rng.choice(kinds)),
            totals=totals,
            buffers=(rng.choice(_BUFFERS), rng.choice(_BUFFERS)),
            faults=(fault if disturber == 0 else None, fault if disturber == 1 else None),
        )

    @property
    def is_disturbed(self) -> bool:
        return any(self.faults)

    def __str__(self) -> str:
        ends = [
            f"{kind.__name__} sends {total}{f', does {fault.way} at {fault.after}' if fault else ''}"
            for kind, total, fault in zip(self.kinds, self.totals, self.faults)
        ]
        return f"{self.seed}: {self.family.name}{' with TLS' if self.tls else ''}, buffers {self.buffers}, " + (
            " / ".join(ends)
        )


class Conversation:
    """Two ends that carry out a plan; the first connects, the second accepts."""

    def __init__(self, plan: Plan, loses: bool) -> None:
        self.plan = plan
        there, back = (Flow(f"{plan.seed}/{way}", total) for way, total in zip("><", plan.totals))
        self.flows = there, back
        client, server = plan.kinds
        self.client = client(f"{plan.seed}/client", there, back, plan.faults[0], loses)
        self.server = server(f"{plan.seed}/server", back, there, plan.faults[1], loses)

    async def run(self) -> None:
        """Talk to the end, and check what must be true then."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._connect()
                outcomes = await asyncio.gather(self.client.run(), self.server.run(), return_exceptions=True)
        except _ACCEPTABLE as error:
            message = f"{self.plan}: {error!r} while connecting, or it hangs: {self._state()}"
            raise AssertionError(message) from error
        self._check(outcomes)

    def _state(self) -> str:
        return ", ".join(f"{flow.received} of {flow.sent} of {flow.total} arrived" for flow in self.flows)

    def _check(self, outcomes: list[BaseException | None]) -> None:
        acceptable = _ACCEPTABLE if self.plan.is_disturbed else ()
        for error in outcomes:
            if error is not None and not isinstance(error, acceptable):
                raise AssertionError(f"{self.plan}: {error!r}; {self._state()}") from error
        if not self.plan.is_disturbed:
            assert all(flow.received == flow.total for flow in self.flows), f"{self.plan}: {self._state()}"

    async def _connect(self) -> None:
        plan = self.plan
        with self._listener() as listener:
            sock = socket.socket(plan.family)
            try:
                sock.setblocking(False)
                shrink(sock, plan.buffers[0])
                accepting = asyncio.create_task(self.server.accept(listener, **self._server_tls()))
                await asyncio.get_running_loop().sock_connect(sock, listener.getsockname())
                await asyncio.gather(self.client.attach(sock, **self._client_tls()), accepting)
            except BaseException:
                sock.close()
                await self.client.abort()
                await self.server.abort()
                raise

    def _listener(self) -> socket.socket:
        listener = socket.socket(self.plan.family)
        listener.setblocking(False)
        shrink(listener, self.plan.buffers[1])
        if self.plan.family == socket.AF_UNIX:
            listener.bind(b"\0chaos %d %s" % (os.getpid(), self.plan.seed.encode()))
        else:
            listener.bind((HOSTS[self.plan.family], 0))
        listener.listen(1)
        return listener

    def _client_tls(self) -> dict[str, Any]:
        return {"ssl": client_context(), "server_hostname": NAME} if self.plan.tls else {}

    def _server_tls(self) -> dict[str, Any]:
        return {"ssl": server_context()} if self.plan.tls else {}


def shrink(sock: socket.socket, size: int | None) -> None:
    """Let the kernel hold about so many bytes to be sent, as few as it may; None for what it thinks right.

    Not so for those received: a TCP window smaller than a segment brings waits of a fifth of a second.
    """
    if size is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
