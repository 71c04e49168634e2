"""The low-level socket operations.

Those of streams go through lanes.py; datagrams are read and written by the socket module, when the ring says that
the socket is ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import operator
import os
import socket
import ssl
import sys
from typing import Any

from ._engine import ffi
from .executor import Executor
from .lanes import AcceptLane, L, Lanes, ReceiveLane, SendLane
from .operations import addresses
from .operations.base import os_error
from .operations.connect import Connect
from .operations.poll import READABLE, WRITABLE, Poll
from .watchers import Watchers


class Sockets(Executor, Watchers):
    """The low-level socket API of the event loop.

    Each raises TypeError for an SSL socket, ValueError in debug mode for a blocking one, OSError as the system
    call would.
    """

    def __init__(self) -> None:
        super().__init__()
        self._receives = Lanes(ReceiveLane)
        self._sends = Lanes(SendLane)
        self._accepts = Lanes(AcceptLane)

    async def sock_recv(self, sock: socket.socket, n: int) -> bytes:
        """Receive up to `n` bytes; none at the end of the stream."""
        received: bytes
        lane = self._lane(self._receives, sock)
        if type(n) is not int:
            n = operator.index(n)
        if not lane.is_stream or not 0 < n <= sys.maxsize:
            received = await self._when_ready(sock, READABLE, "recv", n, socket.MSG_DONTWAIT)
            return received
        if lane.busy:
            await lane.turn()
        try:
            received = await lane.begin(n)
        except BaseException:
            lane.give_up()
            raise
        return received

    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> int:
        """Receive into the buffer; return the number of bytes, 0 at the end of the stream."""
        lane = self._lane(self._receives, sock)
        try:
            view = memoryview(buf)
            size = len(ffi.from_buffer(view, require_writable=True))
        except (TypeError, ValueError, BufferError):
            return sock.recv_into(buf)  # raises what is to be raised
        count: int
        if not lane.is_stream or not size:
            count = await self._when_ready(sock, READABLE, "recv_into", buf, 0, socket.MSG_DONTWAIT)
            return count
        if lane.busy:
            await lane.turn(view)
        try:
            count = await lane.begin_into(view)
        except BaseException:
            lane.give_up()
            raise
        return count

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """Receive a datagram of up to `bufsize` bytes; return it with its sender's address."""
        if self._lane(self._receives, sock).is_stream and 0 < operator.index(bufsize) <= sys.maxsize:
            return await self.sock_recv(sock, bufsize), None
        arguments = bufsize, socket.MSG_DONTWAIT
        received: tuple[bytes, Any] = await self._when_ready(sock, READABLE, "recvfrom", *arguments)
        return received

    async def sock_recvfrom_into(self, sock: socket.socket, buf: Any, nbytes: int = 0) -> tuple[int, Any]:
        """Receive a datagram into the buffer; return its size (bytes) and its sender's address."""
        lane = self._lane(self._receives, sock)
        size = nbytes or len(buf)
        try:
            view = memoryview(buf).cast("B")
        except (TypeError, BufferError):
            return sock.recvfrom_into(buf)  # raises what is to be raised
        with view:
            if lane.is_stream and not view.readonly and 0 < size <= len(view):
                with view[:size] as part:
                    return await self.sock_recv_into(sock, part), None
        arguments = buf, size, socket.MSG_DONTWAIT
        received: tuple[int, Any] = await self._when_ready(sock, READABLE, "recvfrom_into", *arguments)
        return received

    async def sock_sendall(self, sock: socket.socket, data: Any) -> None:
        """Send all the data. If cancelled, how much of it was sent is not known."""
        lane = self._lane(self._sends, sock)
        if type(data) is not bytes:
            try:
                data = memoryview(data).cast("B")
            except (TypeError, BufferError):
                sock.send(data)  # raises what is to be raised
                raise
        if not data:
            sock.send(data)
            return
        if lane.busy:
            await lane.turn(data)
        try:
            await lane.begin(data)
        except BaseException:
            lane.give_up()
            raise

    async def sock_sendto(self, sock: socket.socket, data: Any, address: Any) -> int:
        """Send a datagram to the address; return the number of bytes sent."""
        self._check_socket(sock)
        sent: int = await self._when_ready(sock, WRITABLE, "sendto", data, socket.MSG_DONTWAIT, address)
        return sent

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect the socket; a host name in the address is resolved first."""
        self._check_socket(sock)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            found = await self._resolve(address, family=sock.family, type=sock.type, proto=sock.proto)
            address = found[0][4]
        encoded = addresses.encode(sock.family, address)
        if encoded is None:
            await self._connect_by_call(sock, address)
            return
        operation = Connect(self._proactor, sock, address, encoded, self.create_future())
        self._proactor.submit(operation)
        self._proactor.ring.flush()  # at once: who waits at the other end may do so in this very turn
        try:
            await operation.future
        except (asyncio.CancelledError, GeneratorExit):
            if not self._closed:  # a closed loop completes nothing, and has no place for the future's callbacks
                operation.future.cancel()
            self._proactor.cancel(operation)
            raise
        finally:
            del operation  # its future's error refers, by its traceback, to this frame

    async def _connect_by_call(self, sock: socket.socket, address: Any) -> None:
        try:
            sock.connect(address)
        except (BlockingIOError, InterruptedError):
            await self._wait_for(sock.fileno(), WRITABLE)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise os_error(-error, f"Connect call failed {address}") from None

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accept a connection; return its socket, which is non-blocking, and the peer's address."""
        lane = self._lane(self._accepts, sock)
        if lane.busy:
            await lane.turn()
        accepted: tuple[socket.socket, Any]
        try:
            accepted = await lane.begin()
        except BaseException:
            lane.give_up()
            raise
        return accepted

    async def _when_ready(self, sock: socket.socket, events: int, call: str, *args: Any) -> Any:
        """Return what this method of the socket does, called when the socket is ready for it.

        For datagrams: the socket module knows every family's addresses, and a wait that is cancelled has taken
        nothing from the socket.
        """
        while True:
            with contextlib.suppress(BlockingIOError, InterruptedError):
                return getattr(sock, call)(*args)
            await self._wait_for(sock.fileno(), events)

    async def _wait_for(self, fd: int, events: int) -> None:
        future = self.create_future()
        poll = Poll(self._proactor, fd, events, functools.partial(_settle, future))
        poll.start()
        try:
            await future
        finally:
            poll.stop()

    def _lane(self, lanes: Lanes[L], sock: socket.socket) -> L:
        """Return the socket's lane, or raise the error that is due."""
        fd = sock.fileno()
        lane = lanes.get(fd)
        if lane is None or lane.sock() is not sock or fd in self._transports or self._debug:
            self._check_socket(sock)
            lane = lanes.of(sock, self)
        return lane

    def _check_socket(self, sock: socket.socket) -> int:
        """Return the socket's descriptor, or raise the error that is due."""
        if isinstance(sock, ssl.SSLSocket):
            raise TypeError("Socket cannot be of type SSLSocket")
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        fd = sock.fileno()
        if fd < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if fd in self._transports:
            self._ensure_fd_no_transport(fd)
        return fd

    def close(self) -> None:
        """Close the loop, and the connections that were accepted for nobody."""
        super().close()
        self._receives.clear()
        self._sends.clear()
        self._accepts.clear()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
