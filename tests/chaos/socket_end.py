"""Ends that use the loop's socket calls."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from chaos.end import End


class SocketEnd(End):
    """Cancels its receives at random, where that loses nothing."""

    _sock: socket.socket | None = None

    async def attach(self, sock: socket.socket, **tls: Any) -> None:
        assert not tls
        self._sock = sock

    async def send(self) -> None:
        assert self._sock is not None
        while self.outgoing.unsent:
            self.check_fault()
            await self.loop.sock_sendall(self._sock, self.outgoing.send(self.size()))
            await self.rest()
        self._sock.shutdown(socket.SHUT_WR)

    async def receive(self) -> None:
        ended = False
        while not ended:
            self.check_fault()
            receiving = self.loop.create_task(self._receive_some())
            try:
                ended = await self._outcome(receiving)
            finally:
                receiving.cancel()
                await asyncio.gather(receiving, return_exceptions=True)
            await self.rest()
        if self.incoming.received < self.incoming.total:
            raise EOFError("the stream ended early")

    async def _outcome(self, receiving: asyncio.Task[bool]) -> bool:
        """Wait for a receive, or cancel it after a moment."""
        if not self.loses and self.random.random() < 0.5:
            await asyncio.wait([receiving], timeout=self.random.choice([0, 0.0001, 0.001]))
            receiving.cancel()
        await asyncio.wait([receiving])
        return not receiving.cancelled() and receiving.result()

    async def _receive_some(self) -> bool:
        """Receive once; return whether that was the end."""
        assert self._sock is not None
        if self.random.random() < 0.5:
            data = await self.loop.sock_recv(self._sock, self.size())
        else:
            buffer = bytearray(self.size())
            data = bytes(buffer[: await self.loop.sock_recv_into(self._sock, buffer)])
        self.incoming.arrived(data)
        return not data

    async def close(self) -> None:
        if self._sock is not None:
            self._sock.close()

    async def abort(self) -> None:
        if self._sock is not None:
            self._sock.close()

    def socket_option(self, level: int, option: int, value: int | bytes) -> None:
        assert self._sock is not None
        self._sock.setsockopt(level, option, value)
