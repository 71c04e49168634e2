"""The lanes of a socket: its receives, its sends, its accepts, each one after the other.

A lane has one operation, which it submits again for each call, so that at most one is in flight: what arrives first
goes to who asked first. The others wait for their turn. A call is

    if lane.busy:
        await lane.turn()
    try:
        result = await lane.begin(...)
    except BaseException:
        lane.give_up()
        raise

The task that awaits a lane is resumed by the completion itself, with no future and no handle in between. So there
is no moment at which something has arrived for a task that might still be cancelled. What completes for a call that
was given up before is held, and the next call gets it first: cancelling loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import weakref
from collections import deque
from collections.abc import Callable, Generator
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

from ._engine import ffi, lib
from .operations.accept import Accept
from .operations.base import CANCELED, TRY_AGAIN, Operation, os_error
from .operations.receive import BUFFER_SHIFT, NO_BUFFER, Receive, uninitialized_memory
from .operations.send import Send
from .ring import POOL_BUFFER_SIZE

if TYPE_CHECKING:
    from ._engine import Engine
    from .tasks import Tasks

_LARGEST_RECEIVE = 1024 * 1024  # bytes; a receive may always bring less than was asked for
_NOWHERE = Context()


def _nothing(lane: Lane) -> None:
    """Resume nobody: the lane is not awaited by a task."""


class Lane(Operation):
    """The calls of one kind on one socket. To a task that awaits it, it looks like a future."""

    _asyncio_future_blocking = False

    def __init__(self, loop: Tasks, sock: weakref.ref[socket.socket]) -> None:
        self._loop = loop
        self._proactor = loop._proactor
        self.get_loop = weakref.ref(loop)  # called by each task, which compares the loop with its own
        self._turns: deque[asyncio.Future[None]] = deque()
        self.sock = sock
        self.fd: int
        self.busy = False
        """A call is under way, or one that was given up has yet to complete."""
        self._awaited = False  # a task waits for the operation
        self._cancelled = False  # it does not any more, but has not been told
        self._callback: Callable[[Lane], object] = _nothing  # resumes the task, in
        self._context = _NOWHERE
        self._answer: Any = None
        self._error: BaseException | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} fd={self.fd}>"

    # A call

    async def turn(self, memory: object = None) -> None:
        """Wait until the calls before this one have left; if that fails, let go of the caller's memory."""
        future = self._loop.create_future()
        self._turns.append(future)
        try:
            await future
            if not self._is_open():
                raise os_error(-errno.EBADF)
        except BaseException:
            if future.done() and not future.cancelled():
                self._leave()
            elif not self._loop.is_closed():  # such a loop has no place for the future's callbacks
                future.cancel()
            if isinstance(memory, memoryview):
                memory.release()
            raise

    def give_up(self) -> None:
        """End a call that has raised; if it was cancelled, it leaves only when its operation has completed."""
        if not (self._awaited or self._cancelled):
            return
        self._awaited = self._cancelled = False
        if not self._proactor.is_in_flight(self):
            self._leave()
        elif self._proactor.cancel(self):
            self.detach()

    def retired(self) -> bool:
        """Take back what a call that was given up has in flight; tell whether its last completion has come."""
        if self._awaited or not self._proactor.is_in_flight(self):
            return True
        self._proactor.cancel(self)
        return False

    def detach(self) -> None:
        """Let go of the caller's memory while the last completion is still to come."""

    def close(self) -> None:
        """Let no further call begin: the loop is closed."""
        self._turns.clear()
        self.drop()

    def drop(self) -> None:
        """Release what is held: the socket is gone."""

    def _submit_again(self) -> None:
        """Go on with the call; it fails if its socket was closed, whose number may be that of another one now."""
        if self._is_open():
            self._proactor.submit(self)
        else:
            self._answer_call(-errno.EBADF, 0)

    def _is_open(self) -> bool:
        sock = self.sock()
        return sock is not None and sock.fileno() == self.fd

    def _leave(self) -> None:
        """End the call, and let the next one begin."""
        while self._turns:
            future = self._turns.popleft()
            if not future.done():
                future.set_result(None)
                return
        self.busy = False

    # Its completion

    def complete(self, result: int, flags: int) -> None:
        """Answer the call, or hold what came too late for it."""
        if self._awaited:
            self._answer_call(result, flags)
        else:
            self._hold(result, flags)
            if not self._cancelled:
                self._leave()

    def _answer_call(self, result: int, flags: int) -> None:
        """Settle the call, or submit it again."""
        raise NotImplementedError

    def _hold(self, result: int, flags: int) -> None:
        """Keep for the next call an answer that nobody waits for any more."""
        raise NotImplementedError

    def _settle(self, answer: Any, error: OSError | None = None) -> None:
        """Resume the task with an answer or an error. The call has left then."""
        self._awaited = False
        self._answer = answer
        self._error = error
        if self._turns:
            self._leave()
        else:
            self.busy = False
        self._resume()

    def _resume(self) -> None:
        callback, context = self._callback, self._context
        self._callback, self._context = _nothing, _NOWHERE
        context.run(callback, self)

    # What a task wants of a future

    def __await__(self) -> Generator[Lane, None, Any]:
        if self._awaited:
            self._asyncio_future_blocking = True
            yield self
        if self._error is not None:
            self.result()
        answer, self._answer = self._answer, None
        return answer

    def add_done_callback(self, callback: Callable[[Lane], object], *, context: Context) -> None:
        """Take what resumes the task."""
        if self._awaited:
            self._callback, self._context = callback, context
        else:
            self._loop.call_soon(callback, self, context=context)

    def done(self) -> bool:
        """Tell whether the task's wait is over; anyio asks what a task waits for."""
        return not self._awaited

    def result(self) -> Any:
        """Return or raise the answer."""
        error = self._error
        if error is not None:
            self._error = None
            raise error
        return self._answer

    def cancel(self, msg: Any = None) -> bool:
        """Have the task resumed with a CancelledError; task.cancel() calls this."""
        if not self._awaited:
            return False
        self._awaited = False
        self._cancelled = True
        self._error = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        self._loop.call_soon(self._resume)
        return True


class ReceiveLane(Lane, Receive):
    """The receives of a stream socket; held are bytes, and an error, which comes last."""

    def __init__(self, loop: Tasks, sock: weakref.ref[socket.socket], fd: int) -> None:
        Receive.__init__(self, loop._proactor.ring, fd, 0)
        Lane.__init__(self, loop, sock)
        self._pooled_size = POOL_BUFFER_SIZE if self.memory is None else 0
        self.is_stream = is_stream(sock())
        """Whether begin() may be called; a datagram must be received as a whole."""
        # The caller's buffer. A view and no pointer, for the reason that Send.prepare() gives.
        self._into: memoryview | None = None
        self._held: deque[bytes | OSError] = deque()

    def begin(self, size: int) -> ReceiveLane:
        """Receive up to `size` bytes, to be awaited."""
        if self._held:
            self._leave()
            self._answer = self._take(size)
            return self
        if size > self._pooled_size:
            size = min(size, _LARGEST_RECEIVE)
            self.memory = uninitialized_memory("char[]", size)
        self.size = size
        self.busy = self._awaited = True
        self._proactor.submit(self)
        return self

    def begin_into(self, view: memoryview) -> ReceiveLane:
        """Receive into the caller's buffer, which is let go of afterwards; to be awaited for the count."""
        if self._held:
            self._leave()
            with view:
                data = self._take(view.nbytes)
                ffi.memmove(ffi.from_buffer(view), data, len(data))
            self._answer = len(data)
            return self
        self._into = view
        self.size = view.nbytes
        self.busy = self._awaited = True
        self._proactor.submit(self)
        return self

    def prepare(self, engine: Engine) -> int:
        """Stage the receive in the form that the fields say."""
        if self._into is self.memory is None:
            return lib.ul_stage_recv_pooled(engine, self.key, self.fd, self.size)
        if self._into is None:
            return super().prepare(engine)
        return lib.ul_stage_recv(engine, self.key, self.fd, ffi.from_buffer(self._into), self.size)

    def read(self, result: int, flags: int) -> bytes:
        """Return the bytes of a positive result; to be called before the next turn."""
        if self._into is None:
            return super().read(result, flags)
        return ffi.buffer(ffi.from_buffer(self._into), result)[:]

    def complete(self, result: int, flags: int) -> None:
        """Answer the call, or hold what came too late for it."""
        if self._awaited and result > 0 and self._into is self.memory is None and not self._turns:
            # The usual case: what _answer_call() does, without further calls.
            self._awaited = self.busy = False
            start = (flags >> BUFFER_SHIFT) * POOL_BUFFER_SIZE
            self._answer = self._pool[start : start + result]
            callback, context = self._callback, self._context
            self._callback, self._context = _nothing, _NOWHERE
            context.run(callback, self)
        else:
            super().complete(result, flags)

    def _answer_call(self, result: int, flags: int) -> None:
        """Settle the call, or submit it again."""
        if result == NO_BUFFER:
            self._proactor.submit_later(self._go_on)
            return
        if result in TRY_AGAIN:
            self._submit_again()
            return
        answer: Any = b""
        if self._into is not None:
            answer = result
        elif result > 0:
            answer = self.read(result, flags)
        self._let_go()
        self._settle(answer, os_error(result) if result < 0 else None)

    def _hold(self, result: int, flags: int) -> None:
        """Keep bytes, or an error, for the next call."""
        if result > 0:
            self._held.append(self.read(result, flags))
        elif result < 0 and result not in (*TRY_AGAIN, CANCELED):
            self._held.append(os_error(result))
        self._let_go()

    def detach(self) -> None:
        """Let go of the caller's buffer, once what may have arrived in it is copied."""
        if self._into is not None:
            copy = self.read(self.size, 0)
            self._let_go()
            self._into = memoryview(copy)

    def take_held(self) -> list[bytes | int]:
        """Take all that is held; an error, which comes last, as -errno."""
        taken = [item if isinstance(item, bytes) else -(item.errno or errno.EIO) for item in self._held]
        self._held.clear()
        return taken

    def drop(self) -> None:
        """Forget what is held."""
        self._held.clear()

    def _take(self, size: int) -> bytes:
        """Take up to `size` bytes of what is held; raise it if it is an error."""
        item = self._held.popleft()
        if isinstance(item, OSError):
            raise item
        if len(item) > size:
            self._held.appendleft(item[size:])
        return item[:size]

    def _go_on(self) -> None:
        if self._awaited and not self._proactor.is_in_flight(self):  # else the call was given up meanwhile
            self._submit_again()

    def _let_go(self) -> None:
        self.memory = None
        if self._into is not None:
            self._into.release()
            self._into = None


class SendLane(Lane, Send):
    """The sends of a stream socket."""

    def __init__(self, loop: Tasks, sock: weakref.ref[socket.socket], fd: int) -> None:
        Send.__init__(self, fd)
        Lane.__init__(self, loop, sock)

    def begin(self, data: bytes | memoryview) -> SendLane:
        """Send all the data, to be awaited; the data stays as it is until then."""
        self.data = data
        self.busy = self._awaited = True
        self._proactor.submit(self)
        return self

    def complete(self, result: int, flags: int) -> None:
        """Answer the call, or see to it that the next one can begin."""
        if self._awaited and type(self.data) is bytes and result == len(self.data) and not self._turns:
            # The usual case: what _answer_call() does, without further calls.
            self._awaited = self.busy = False
            self.data = b""
            callback, context = self._callback, self._context
            self._callback, self._context = _nothing, _NOWHERE
            context.run(callback, self)
        else:
            super().complete(result, flags)

    def _answer_call(self, result: int, flags: int) -> None:
        """Settle the call, or go on with what a loop that was stopped has left unsent."""
        if result == len(self.data):
            self.release()
            self._settle(None)
        elif result >= 0 or result in TRY_AGAIN or result == CANCELED:
            self.skip(max(result, 0))
            self._submit_again()
        else:
            self.release()
            self._settle(None, os_error(result))

    def _hold(self, result: int, flags: int) -> None:
        """Hold nothing: how much a cancelled send has sent is not known."""
        self.release()

    def detach(self) -> None:
        """Let go of the caller's memory, which the kernel does not read any more."""
        self.release()


class AcceptLane(Lane, Accept):
    """The accepts of a listening socket; held are connections."""

    def __init__(self, loop: Tasks, sock: weakref.ref[socket.socket], fd: int) -> None:
        Accept.__init__(self, fd)
        Lane.__init__(self, loop, sock)
        self._held: deque[tuple[socket.socket, Any]] = deque()

    def begin(self) -> AcceptLane:
        """Accept a connection: its non-blocking socket and the peer's address, to be awaited."""
        if self._held:
            self._leave()
            self._answer = self._held.popleft()
        else:
            self.busy = self._awaited = True
            self._proactor.submit(self)
        return self

    def _answer_call(self, result: int, flags: int) -> None:
        """Settle the call, or submit it again."""
        if result >= 0:
            self._settle(self._connection(result))
        elif result in TRY_AGAIN:
            self._submit_again()
        else:
            self._settle(None, os_error(result))

    def _hold(self, result: int, flags: int) -> None:
        """Keep the connection for the next call, unless its listener is gone."""
        if result >= 0 and not self._is_open():
            os.close(result)
        elif result >= 0:
            self._held.append(self._connection(result))

    def drop(self) -> None:
        """Close the connections that nobody has asked for."""
        while self._held:
            self._held.popleft()[0].close()

    def _connection(self, fd: int) -> tuple[socket.socket, Any]:
        listener = self.sock()
        assert listener is not None  # who waits for a connection keeps it
        connection = adopt_descriptor(kind_of(listener), fd)
        peer = self.peer()
        if peer is None:
            with contextlib.suppress(OSError):  # it has gone already
                peer = connection.getpeername()
        return connection, peer


L = TypeVar("L", ReceiveLane, SendLane, AcceptLane)


class Lanes(dict[int, L]):
    """The lanes of one kind by descriptor. They do not keep their sockets alive, so look at `sock` as well."""

    def __init__(self, kind: Callable[[Tasks, weakref.ref[socket.socket], int], L]) -> None:
        super().__init__()
        self._kind: Callable[[Tasks, weakref.ref[socket.socket], int], L] = kind

    def find(self, sock: socket.socket) -> L | None:
        """Return the socket's lane if it has one."""
        lane = self.get(sock.fileno())
        return lane if lane is not None and lane.sock() is sock else None

    def of(self, sock: socket.socket, loop: Tasks) -> L:
        """Return the socket's lane. That of an earlier socket with the same number is forgotten."""
        return self.find(sock) or self._open(sock, loop)

    def clear(self) -> None:
        """Close all lanes, and forget them."""
        while self:
            self.popitem()[1].close()

    def _open(self, sock: socket.socket, loop: Tasks) -> L:
        fd = sock.fileno()
        self._forget(fd)

        def forget(reference: weakref.ref[socket.socket]) -> None:
            lane = self.get(fd)
            if lane is not None and lane.sock is reference:
                self._forget(fd)

        lane = self._kind(loop, weakref.ref(sock, forget), fd)
        self[fd] = lane
        return lane

    def _forget(self, fd: int) -> None:
        lane = self.pop(fd, None)
        if lane is not None:
            lane.drop()


def kind_of(sock: socket.socket) -> tuple[int, int, int]:
    """Return a socket's family, type and protocol; it takes long, since Python makes enumerations of them."""
    return sock.family, sock.type, sock.proto


def adopt_descriptor(kind: tuple[int, int, int], fd: int) -> socket.socket:
    """Return the non-blocking socket of a connection that a listener of this kind has accepted."""
    connection = socket.socket(*kind, fd)
    connection.setblocking(False)
    return connection


def is_stream(sock: socket.socket | None) -> bool:
    """Tell whether what the socket receives may be divided and joined."""
    return sock is not None and sock.type == socket.SOCK_STREAM
