"""Datagrams with acknowledgement: each is sent until it was acknowledged, and all arrive in order."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct

from chaos.flow import Flow

_NUMBER = struct.Struct("!I")
_MOST = 60_000
_AGAIN = 0.02


class _Receiver(asyncio.DatagramProtocol):
    """Takes each datagram once, and acknowledges every one; loses some on purpose."""

    def __init__(self, rng: random.Random, flow: Flow) -> None:
        self._random = rng
        self._flow = flow
        self._next = 0

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple) -> None:
        (number,) = _NUMBER.unpack_from(data)
        assert number <= self._next, "a datagram that was never sent"
        if self._random.random() < 0.05:
            return
        if number == self._next:
            self._flow.arrived(data[_NUMBER.size :])
            self._next += 1
        self._transport.sendto(_NUMBER.pack(number), address)


async def exchange(seed: str) -> None:
    """Send a flow in datagrams of every size, with every wait for an acknowledgement cut short now and then."""
    rng = random.Random(seed)
    flow = Flow(seed, 100_000)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Receiver(random.Random(f"{seed}/losses"), flow), local_addr=("127.0.0.1", 0)
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, transport.get_extra_info("sockname"))
            number = 0
            while flow.unsent:
                data = _NUMBER.pack(number) + flow.send(rng.choice([1, 1000, 10_000, _MOST]))
                await _send_until_acknowledged(rng, sock, number, data)
                number += 1
            assert flow.received == flow.total
        finally:
            transport.close()
            await asyncio.sleep(0)


async def _send_until_acknowledged(rng: random.Random, sock: socket.socket, number: int, data: bytes) -> None:
    loop = asyncio.get_running_loop()
    address = sock.getpeername()
    acknowledged = None
    while acknowledged != number:
        if rng.random() < 0.5:
            await loop.sock_sendto(sock, data, address)
        else:
            await loop.sock_sendall(sock, data)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(rng.choice([0, 0.001, _AGAIN])):
                while acknowledged != number:
                    (acknowledged,) = _NUMBER.unpack(await loop.sock_recv(sock, 100))
