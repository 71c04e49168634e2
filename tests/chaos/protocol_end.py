"""Ends that are protocols."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from chaos.end import End


class _ProtocolEnd(End, asyncio.BaseProtocol):
    transport: Any = None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._arrived = self.loop.create_future()  # the connection
        self._received = self.loop.create_future()  # everything
        self._lost = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._ended = False

    async def attach(self, sock: socket.socket, **tls: Any) -> None:
        if "server_hostname" in tls or (not tls and self.random.random() < 0.5):
            await self.loop.create_connection(lambda: self, sock=sock, **tls)
        else:
            await self.loop.connect_accepted_socket(lambda: self, sock, **tls)

    async def accept(self, listener: socket.socket, **tls: Any) -> None:
        if self.random.random() < 0.3:
            await super().accept(listener, **tls)
            return
        server = await self.loop.create_server(lambda: self, sock=listener, **tls)
        try:
            await self._arrived
        finally:
            server.close()

    async def send(self) -> None:
        while self.outgoing.unsent:
            self.check_fault()
            self._write()
            if self.random.random() < 0.9:
                await self._may_write.wait()
            await self.rest()
            if self._lost.is_set() and self.outgoing.unsent:
                raise EOFError("the connection was lost while sending")
        if self.may_eof:
            self.transport.write_eof()

    def _write(self) -> None:
        number = self.random.random()
        if number < 0.05:
            lowest = 0 if self.may_eof else 1  # asyncio's TLS never resumes who has set it to 0
            self.transport.set_write_buffer_limits(self.random.choice([lowest, 10, 4096, 65_536, 1_000_000]))
        if number < 0.2:
            pieces = [self.outgoing.send(self.size()) for _ in range(3)]
            self.transport.writelines(filter(None, pieces))  # asyncio's never gets done with an empty one
        elif number < 0.3:
            data = bytearray(self.outgoing.send(self.size()))
            self.transport.write(data)
            if not self.loses:
                data[:] = bytes(len(data))  # a write has copied it, which asyncio's does not always
        else:
            self.transport.write(self.outgoing.send(self.size()))

    async def receive(self) -> None:
        await self._received

    async def close(self) -> None:
        if self.transport is not None:
            self.transport.close()
            await self._lost.wait()

    async def abort(self) -> None:
        if self.transport is not None and not self._lost.is_set():
            self.transport.abort()
            await self._lost.wait()
        for future in (self._arrived, self._received):
            future.cancel()

    def socket_option(self, level: int, option: int, value: int | bytes) -> None:
        self._sock.setsockopt(level, option, value)

    # Calls of the transport

    def connection_made(self, transport: Any) -> None:
        assert self.transport is None
        self.transport = transport
        self._sock = transport.get_extra_info("socket")
        self.may_eof = transport.can_write_eof()
        if not self._arrived.done():
            self._arrived.set_result(None)
        self._see_whether_all_is_there()

    def take(self, data: bytes) -> None:
        assert not self._lost.is_set(), "data after connection_lost()"
        assert not self._ended, "data after eof_received()"
        assert self.transport.is_reading() or self.transport.is_closing(), "data while reading is paused"
        self.incoming.arrived(data)
        self._see_whether_all_is_there()
        if self.fault and self.fault.way != "cancel" and self.is_due():
            self.transport.abort()
        elif self.random.random() < 0.1:
            self.transport.pause_reading()
            self.loop.call_later(self.random.uniform(0, 0.01), self._resume_reading)

    def _resume_reading(self) -> None:
        if not self.transport.is_closing():  # asyncio's TLS fails then
            self.transport.resume_reading()

    def eof_received(self) -> bool:
        assert not self._ended, "eof_received() twice"
        self._ended = True
        self._see_whether_all_is_there()
        return self.may_eof

    def _see_whether_all_is_there(self) -> None:
        if self._received.done():
            return
        if self.incoming.received == self.incoming.total and (self._ended or not self.may_eof):
            self._received.set_result(None)
        elif self._ended:
            self._received.set_exception(EOFError("the stream ended early"))

    def connection_lost(self, error: BaseException | None) -> None:
        assert not self._lost.is_set(), "connection_lost() twice"
        self._lost.set()
        self._may_write.set()
        if not self._received.done():
            self._received.set_exception(error or EOFError("the connection was lost"))
        if self._received.done() and not self._received.cancelled():
            self._received.exception()

    def pause_writing(self) -> None:
        assert self._may_write.is_set(), "pause_writing() twice"
        self._may_write.clear()

    def resume_writing(self) -> None:
        assert not self._may_write.is_set(), "resume_writing() without pause_writing()"
        self._may_write.set()


class ProtocolEnd(_ProtocolEnd, asyncio.Protocol):
    """Receives by data_received()."""

    def data_received(self, data: bytes) -> None:
        self.take(data)


class BufferedEnd(_ProtocolEnd, asyncio.BufferedProtocol):
    """Receives into a buffer of its own."""

    def get_buffer(self, sizehint: int) -> memoryview:
        self._buffer = memoryview(bytearray(self.size()))
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.take(bytes(self._buffer[:nbytes]))
