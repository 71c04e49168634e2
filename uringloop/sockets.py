"""The low-level socket operations: one operation of the ring awaited through one future.

Cancelling loses nothing. A receive that is cancelled when its bytes have already arrived gives them back: they
are held, and the next receive on that socket gets them first. Accepted connections likewise. So that their order
is clear, a socket has one receive in flight at a time and one send, and others queue behind it.
"""

from __future__ import annotations

import _socket
import asyncio
import contextlib
import errno
import functools
import operator
import os
import socket
import ssl
import sys
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from ._engine import ffi
from .executor import Executor
from .operations import addresses
from .operations.accept import Accept
from .operations.base import os_error
from .operations.connect import Connect
from .operations.poll import READABLE, WRITABLE, Poll
from .operations.receive import Receive, uninitialized_memory
from .operations.send import Send
from .ring import POOL_BUFFER_SIZE
from .watchers import Watchers

if TYPE_CHECKING:
    from .proactor import Proactor

_LARGEST_RECEIVE = 1024 * 1024  # bytes; a receive may always bring less than was asked for
_TRY_AGAIN = (-errno.EAGAIN, -errno.EINTR, -errno.ENOBUFS)
_kind_of = _socket.socket.type.__get__
_GIVEN_UP = (asyncio.CancelledError, GeneratorExit)


class _Held:
    """What was received for somebody who no longer waited, in order, for the next to ask."""

    def __init__(self) -> None:
        self._items: dict[int, tuple[weakref.ref[socket.socket], deque[Any]]] = {}

    def __bool__(self) -> bool:
        return bool(self._items)

    def put_back(self, sock: socket.socket, item: Any) -> None:
        """Keep an item for this socket, before others: bytes, an accepted (connection, address), or an OSError."""
        fd = sock.fileno()
        if not self.has(sock):
            self._items[fd] = (weakref.ref(sock, lambda _: self._forget(fd)), deque())
        self._items[fd][1].appendleft(item)
        if fd < 0:  # closed meanwhile
            self._forget(fd)

    def has(self, sock: socket.socket) -> bool:
        """Tell whether there is something for this very socket, and not for an earlier one of the same number."""
        fd = sock.fileno()
        entry = self._items.get(fd)
        if entry is None:
            return False
        if entry[0]() is sock:
            return True
        self._forget(fd)
        return False

    def take(self, sock: socket.socket, size: int = 0) -> Any:
        """Return the oldest item, or the first `size` bytes of it; raise it if it is an error."""
        fd = sock.fileno()
        items = self._items[fd][1]
        item = items.popleft()
        if isinstance(item, bytes) and len(item) > size:
            items.appendleft(item[size:])
            item = item[:size]
        if not items:
            del self._items[fd]
        if isinstance(item, OSError):
            raise item
        return item

    def take_all(self, sock: socket.socket) -> list[Any]:
        """Return all items, the oldest first."""
        return list(self._items.pop(sock.fileno())[1]) if self.has(sock) else []

    def clear(self) -> None:
        """Drop everything, and close the connections among it."""
        for fd in list(self._items):
            self._forget(fd)

    def _forget(self, fd: int) -> None:
        for item in self._items.pop(fd, (None, ()))[1]:
            if isinstance(item, tuple):
                item[0].close()


class _Lane:
    """The operations of one direction: at most one in flight for a socket, the others in the order they came."""

    def __init__(self, proactor: Proactor) -> None:
        self._proactor = proactor
        self._last: dict[int, _SocketReceive | _SocketSend] = {}

    def enter(self, operation: _SocketReceive | _SocketSend) -> bool:
        """Queue the operation; return whether it is first."""
        fd = operation.fd
        last = self._last.get(fd)
        self._last[fd] = operation
        if last is None or last.sock is not operation.sock:  # other socket, same number: that one was closed
            return True
        last.following = operation
        return False

    def leave(self, operation: _SocketReceive | _SocketSend) -> None:
        """Let the next one begin that has not been cancelled meanwhile."""
        following = operation.following
        while following is not None and following.future.done():
            operation, following = following, following.following
        if following is not None:
            following.begin()
        elif self._last.get(operation.fd) is operation:
            del self._last[operation.fd]

    def clear(self) -> None:
        """Forget all operations."""
        self._last.clear()


class _SocketReceive(Receive):
    """A receive whose bytes are a future's result."""

    def __init__(self, loop: Sockets, sock: socket.socket, fd: int, size: int) -> None:
        super().__init__(loop._proactor.ring, fd, size)
        self._loop = loop
        self.sock = sock
        self.future = loop.create_future()
        self.following: _SocketReceive | None = None

    def begin(self) -> None:
        """Take what is held for the socket, or ask the kernel."""
        if self._loop._held and self._loop._held.has(self.sock):
            self._settle_from_held()
        else:
            self._loop._proactor.submit(self)

    def complete(self, result: int, flags: int) -> None:
        """Settle the future; hold what arrived if nobody waits any more."""
        if self.future.done():
            if result > 0:
                self._loop._held.put_back(self.sock, self.read(result, flags))
            elif result < 0 and result not in (*_TRY_AGAIN, -errno.ECANCELED):
                self._loop._held.put_back(self.sock, os_error(result))
            self.release()
            self._loop._receives.leave(self)
        elif result >= 0:
            self.future.set_result(self.answer(result, flags))
        elif result in _TRY_AGAIN:
            self._loop._proactor.submit(self)
        else:
            self.future.set_exception(os_error(result))

    def answer(self, result: int, flags: int) -> Any:
        """Return what the caller is to get."""
        return self.read(result, flags) if result else b""

    def accept_held(self, data: bytes) -> Any:
        """Return what the caller is to get for bytes that had been held."""
        return data

    def detach(self) -> None:
        """Let go of the caller's memory while the last completion is still to come; there is none."""

    def release(self) -> None:
        """Let go of the caller's memory; there is none."""

    def returned(self) -> bytes:
        """Return the bytes of a settled future that nobody fetched."""
        data: bytes = self.future.result()
        return data

    def _settle_from_held(self) -> None:
        try:
            self.future.set_result(self.accept_held(self._loop._held.take(self.sock, self.size)))
        except OSError as error:
            self.future.set_exception(error)


class _SocketReceiveInto(_SocketReceive):
    """A receive into the caller's buffer, pinned until the kernel is done with it; the future has the count."""

    def __init__(self, loop: Sockets, sock: socket.socket, fd: int, buffer: Any) -> None:
        super().__init__(loop, sock, fd, len(buffer))
        self.memory = buffer

    def answer(self, result: int, flags: int) -> Any:
        return result

    def accept_held(self, data: bytes) -> Any:
        ffi.memmove(self.memory, data, len(data))
        return len(data)

    def detach(self) -> None:
        copy = self.read(self.size, 0)  # bytes may be in it that are to be held
        self.release()
        self.memory = ffi.from_buffer(copy)

    def release(self) -> None:
        ffi.release(self.memory)

    def returned(self) -> bytes:
        return self.read(self.future.result(), 0)


class _SocketSend(Send):
    """A send of all the data, awaited through a future."""

    def __init__(self, loop: Sockets, sock: socket.socket, fd: int, data: bytes | memoryview) -> None:
        super().__init__(fd, data)
        self._loop = loop
        self.sock = sock
        self.future = loop.create_future()
        self.following: _SocketSend | None = None

    def begin(self) -> None:
        """Submit the send."""
        self._loop._proactor.submit(self)

    def complete(self, result: int, flags: int) -> None:
        """Settle the future, or go on with what a loop that was stopped has left unsent."""
        if self.future.done():
            self.release()
            self._loop._sends.leave(self)
        elif result in _TRY_AGAIN or result == -errno.ECANCELED or 0 <= result < len(self.data):
            self.skip(max(result, 0))
            self._loop._proactor.submit(self)
        elif result < 0:
            self.future.set_exception(os_error(result))
        else:
            self.future.set_result(None)


class _SocketAccept(Accept):
    """An accept whose connection is a future's result."""

    def __init__(self, loop: Sockets, sock: socket.socket, fd: int) -> None:
        super().__init__(fd)
        self._loop = loop
        self.sock = sock
        self.future = loop.create_future()

    def complete(self, result: int, flags: int) -> None:
        """Settle the future; hold the connection if nobody waits any more."""
        if result >= 0:
            connection = adopt_descriptor(self.sock, result)
            peer = self.peer()
            accepted = connection, connection.getpeername() if peer is None else peer
            if self.future.done():
                self._loop._held.put_back(self.sock, accepted)
            else:
                self.future.set_result(accepted)
        elif self.future.done():
            return
        elif result in (-errno.EAGAIN, -errno.EINTR):
            self._loop._proactor.submit(self)
        else:
            self.future.set_exception(os_error(result))


class Sockets(Executor, Watchers):
    """The low-level socket API of the event loop.

    Each raises TypeError for an SSL socket, ValueError in debug mode for a blocking one, OSError as the system
    call would.
    """

    def __init__(self) -> None:
        self._held = _Held()
        super().__init__()
        self._receives = _Lane(self._proactor)
        self._sends = _Lane(self._proactor)

    async def sock_recv(self, sock: socket.socket, n: int) -> bytes:
        """Receive up to `n` bytes; none at the end of the stream."""
        fd = self._check_socket(sock)
        size = operator.index(n)
        received: bytes
        if not (0 < size <= sys.maxsize and is_stream(sock)):
            received = await self._when_ready(sock, READABLE, "recv", n, socket.MSG_DONTWAIT)
            return received
        operation = _SocketReceive(self, sock, fd, min(size, _LARGEST_RECEIVE))
        if size > POOL_BUFFER_SIZE and operation.memory is None:
            operation.memory = uninitialized_memory("char[]", operation.size)
        received = await self._receive(operation)
        return received

    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> int:
        """Receive into the buffer; return the number of bytes, 0 at the end of the stream."""
        fd = self._check_socket(sock)
        try:
            pinned = ffi.from_buffer(buf, require_writable=True)
        except (TypeError, ValueError, BufferError):
            return sock.recv_into(buf)  # raises what is to be raised
        if not len(pinned) or not is_stream(sock):
            count: int = await self._when_ready(sock, READABLE, "recv_into", buf, 0, socket.MSG_DONTWAIT)
        else:
            count = await self._receive(_SocketReceiveInto(self, sock, fd, pinned))
        return count

    async def _receive(self, operation: _SocketReceive) -> Any:
        if self._receives.enter(operation):
            operation.begin()
        future = operation.future
        try:
            result = await future
        except _GIVEN_UP:
            self._give_up(future)
            if self._proactor.is_in_flight(operation):
                if self._proactor.cancel(operation):
                    operation.detach()
                # It leaves when it completes.
            elif future.done() and not future.cancelled():
                if future.exception() is not None:
                    self._held.put_back(operation.sock, future.exception())
                elif returned := operation.returned():
                    self._held.put_back(operation.sock, returned)
                self._leave(operation)
            raise
        except BaseException:
            self._leave(operation)
            raise
        self._leave(operation)
        return result

    def _leave(self, operation: _SocketReceive) -> None:
        operation.release()
        self._receives.leave(operation)

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """Receive a datagram of up to `bufsize` bytes; return it with its sender's address."""
        self._check_socket(sock)
        if is_stream(sock) and 0 < operator.index(bufsize) <= sys.maxsize:
            return await self.sock_recv(sock, bufsize), None
        arguments = bufsize, socket.MSG_DONTWAIT
        received: tuple[bytes, Any] = await self._when_ready(sock, READABLE, "recvfrom", *arguments)
        return received

    async def sock_recvfrom_into(self, sock: socket.socket, buf: Any, nbytes: int = 0) -> tuple[int, Any]:
        """Receive a datagram into the buffer; return its size (bytes) and its sender's address."""
        self._check_socket(sock)
        size = nbytes or len(buf)
        try:
            view = memoryview(buf).cast("B")
        except (TypeError, BufferError):
            return sock.recvfrom_into(buf)  # raises what is to be raised
        with view:
            if is_stream(sock) and not view.readonly and 0 < size <= len(view):
                with view[:size] as part:
                    return await self.sock_recv_into(sock, part), None
        arguments = buf, size, socket.MSG_DONTWAIT
        received: tuple[int, Any] = await self._when_ready(sock, READABLE, "recvfrom_into", *arguments)
        return received

    async def sock_sendall(self, sock: socket.socket, data: Any) -> None:
        """Send all the data. If cancelled, how much of it was sent is not known."""
        fd = self._check_socket(sock)
        if type(data) is not bytes:
            try:
                data = memoryview(data).cast("B")
            except (TypeError, BufferError):
                sock.send(data)  # raises what is to be raised
                raise
        if not data:
            sock.send(data)
            return
        operation = _SocketSend(self, sock, fd, data)
        if self._sends.enter(operation):
            operation.begin()
        try:
            await operation.future
        finally:
            self._give_up(operation.future)
            if not self._proactor.is_in_flight(operation):
                operation.release()
                self._sends.leave(operation)
            elif self._proactor.cancel(operation):
                operation.release()  # it leaves when it completes

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
        await self._settled(Connect(self._proactor, sock, address, encoded, self.create_future()))

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
        fd = self._check_socket(sock)
        if self._held and self._held.has(sock):
            accepted: tuple[socket.socket, Any] = self._held.take(sock)
            return accepted
        operation = _SocketAccept(self, sock, fd)
        try:
            accepted = await self._settled(operation)
        except _GIVEN_UP:
            if operation.future.done() and not operation.future.cancelled() and not operation.future.exception():
                self._held.put_back(sock, operation.future.result())
            raise
        return accepted

    async def _settled(self, operation: Connect | _SocketAccept) -> Any:
        """Submit the operation and wait for its future; leave nothing in flight behind."""
        self._proactor.submit(operation)
        self._proactor.ring.flush()  # at once: who waits at the other end may do so in this very turn
        try:
            return await operation.future
        except _GIVEN_UP:
            self._give_up(operation.future)
            self._proactor.cancel(operation)
            raise
        finally:
            del operation  # its future's error refers, by its traceback, to this frame

    def _give_up(self, future: asyncio.Future[Any]) -> None:
        """Mark a future that nobody waits for any more; a closed loop would not let us, and completes nothing."""
        if not self._closed:
            future.cancel()

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
        self._held.clear()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def is_stream(sock: socket.socket) -> bool:
    """Tell whether what the socket receives may be divided and joined.

    Asked at each receive, and `sock.type` makes an enumeration's member at each.
    """
    return bool(_kind_of(sock) == socket.SOCK_STREAM)


def adopt_descriptor(listener: socket.socket, fd: int) -> socket.socket:
    """Return the non-blocking socket of a connection that this listener has accepted."""
    connection = socket.socket(listener.family, listener.type, listener.proto, fd)
    connection.setblocking(False)
    return connection
