"""The receiving side of a stream transport.

Rules of this file:
- At most one operation is in flight. When it has ended, and the transport still wants to read, the next is armed.
- It has one of three forms, chosen each time it is armed:
  pooled     small memory is taken from the pool when data arrives; multishot where that is sound. What arrives for
             a BufferedProtocol is copied into its buffer, which for small data costs less than the next but one;
  bulk       a connection that keeps filling pool buffers receives into one large buffer of its own;
  watching   bulk for a BufferedProtocol: a poll, upon which its own buffer is asked for and received into. To ask
             earlier would be cheaper, but a protocol may have no buffer to give before there is something to read.
- What arrives while nobody may be told (paused, or an earlier arrival still waits) is held, in order.
"""

from __future__ import annotations

import asyncio
import errno
import select
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

from .._engine import ffi, lib
from ..operations.base import CANCELED, TRY_AGAIN, os_error
from ..operations.receive import NO_BUFFER, Receive, uninitialized_memory
from ..ring import POOL_BUFFER_SIZE

if TYPE_CHECKING:
    from .._engine import Engine
    from ..lanes import ReceiveLane
    from .stream import StreamTransport

BULK_SIZE = 256 * 1024
_FULL_BEFORE_BULK = 2  # receives in a row that filled their pool buffer
_SMALL_AFTER_BULK = 16  # receives in a row that a pool buffer would have held

_MOST_BUFFERS = 16  # of a BufferedProtocol that are filled in a row

_END_OF_STREAM = 0
_NO_ERROR = (*TRY_AGAIN, CANCELED)


class Reader(Receive):
    """The receive of a stream transport, and what becomes of its answers."""

    __slots__ = (
        "_before", "_buffered", "_bulk", "_context", "_ended", "_flowing", "_held", "_is_plain", "_may_multishot",
        "_paused", "_pool", "_proactor", "_protocol", "_streak", "_transport", "_watching",
        "fd", "key", "memory", "multishot", "size", "ticket",
    )  # fmt: skip

    def __init__(self, transport: StreamTransport, may_multishot: bool, before: ReceiveLane | None) -> None:
        """Prepare to receive, after delivering what is held by who received from the socket `before`."""
        super().__init__(transport._proactor.ring, transport._fd, POOL_BUFFER_SIZE)
        self._transport = transport
        self._proactor = transport._proactor
        self._context = transport._context
        self._may_multishot = may_multishot
        self._flowing = False  # neither paused nor ended, and nothing held
        self._is_plain = False  # flowing to a Protocol's data_received(), and no other form is due
        self._paused = False
        self._ended = False
        self._before = before
        # Arrivals; a number, the last, is a result with no bytes. An empty deque is larger than all the rest.
        self._held: deque[bytes | int] | None = None
        self._protocol = transport._protocol
        self._buffered = isinstance(transport._protocol, asyncio.BufferedProtocol)
        self._watching = False
        self._bulk = False
        self._streak = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._transport!r}>"

    # The transport's side

    @property
    def paused(self) -> bool:
        """Whether pause() was called and resume() not since."""
        return self._paused

    def start(self) -> None:
        """Deliver what was held, and arm the first receive."""
        before = self._before
        if before is not None:
            if not before.retired():
                self._transport._loop.call_soon(self.start)
                return
            self._held = deque(before.take_held())
            self._before = None
        self._deliver_held()

    def pause(self) -> None:
        """Deliver nothing from now on, and leave what has not arrived to the kernel."""
        self._paused = True
        self._set_flowing(False)
        self._proactor.cancel(self)

    def resume(self) -> None:
        """Go on: with what was held, in the next turn, then with the kernel."""
        self._paused = False
        if self._held or self._before is not None:
            self._transport._loop.call_soon(self.start)
        else:
            self._set_flowing(not self._ended)
            self._arm()

    def set_protocol(self, protocol: Any) -> None:
        """Deliver to this protocol from now on."""
        self._protocol = protocol
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol)
        self._set_flowing(self._flowing)

    def stop(self) -> None:
        """Drop what was held, and end."""
        self._ended = True
        self._set_flowing(False)
        self._held = None
        self._proactor.cancel(self)

    # The kernel's side

    def prepare(self, engine: Engine) -> int:
        """Stage the receive, or the poll."""
        if self._watching:
            return lib.ul_stage_poll(engine, self.key, self.fd, select.POLLIN, False)
        return super().prepare(engine)

    def arrived(self, start: int, stop: int) -> None:
        """Deliver an arrival, or hold it."""
        if self._is_plain:  # the usual case: what _take() does, without the calls
            try:
                self._context.run(self._protocol.data_received, self._pool[start:stop])
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self._fail(error)
            if stop - start == POOL_BUFFER_SIZE:
                self._adapt(POOL_BUFFER_SIZE)
        elif self._flowing and self._buffered:
            self._feed(self._proactor.ring.pool_view[start:stop])
            self._adapt(stop - start)
        else:
            self._take(self._pool[start:stop])

    def complete(self, result: int, flags: int) -> None:
        """Take the last answer of an operation, and arm the next."""
        if self._watching:
            if result > 0 and self._flowing and self._buffered:
                self._receive_into_protocol()
        elif result > 0:
            self._take(self.read(result, flags))
        elif result == NO_BUFFER:
            self._proactor.submit_later(self._arm)
            return
        elif result not in _NO_ERROR and not self._ended:
            if self._flowing:
                self._end(result)
            else:
                self._hold(result)
            return
        self._arm()

    def _take(self, data: bytes) -> None:
        if self._flowing:
            self._deliver(data)
        elif not self._ended:
            self._hold(data)
        self._adapt(len(data))

    def _hold(self, item: bytes | int, first: bool = False) -> None:
        if self._held is None:
            self._held = deque()
        if first:
            self._held.appendleft(item)
        else:
            self._held.append(item)

    def _arm(self) -> None:
        if self._paused or self._ended or self._held or self._proactor.is_in_flight(self):
            return
        self._watching = self._buffered and self._bulk
        if not self._watching:
            self._choose_memory()
        self._proactor.submit(self)

    def _set_flowing(self, flowing: bool) -> None:
        self._flowing = flowing
        self._is_plain = flowing and not self._buffered and not self._streak

    def _choose_memory(self) -> None:
        features = self._proactor.ring.features
        pooled = features.pool and not self._bulk
        self.size = BULK_SIZE if self._bulk else POOL_BUFFER_SIZE
        self.multishot = pooled and self._may_multishot and features.multishot_recv
        if pooled:
            self.memory = None
        elif self.memory is None or len(self.memory) != self.size:
            self.memory = uninitialized_memory("char[]", self.size)

    def _adapt(self, result: int) -> None:
        """Count towards the other form of receive, and change to it when the time has come."""
        full = result >= POOL_BUFFER_SIZE
        self._streak = 0 if full == self._bulk else self._streak + 1
        if self._streak == (_SMALL_AFTER_BULK if self._bulk else _FULL_BEFORE_BULK):
            self._bulk = not self._bulk
            self._streak = 0
            self._proactor.cancel(self)  # a multishot one
        self._set_flowing(self._flowing)

    # The protocol's side

    def _deliver(self, data: bytes) -> None:
        if self._buffered:
            self._feed(data)
            return
        try:
            self._context.run(self._protocol.data_received, data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._transport._fatal_error(error, "Fatal error: protocol.data_received() call failed.")

    def _deliver_held(self) -> None:
        while self._held and not self._paused and not self._ended:
            item = self._held.popleft()
            if isinstance(item, bytes):
                self._deliver(item)
            else:
                self._end(item)
        self._set_flowing(not (self._paused or self._ended or self._held))
        self._arm()

    def _receive_into_protocol(self) -> None:
        """Receive until a buffer is not filled, but not for ever: others wait, too."""
        for _ in range(_MOST_BUFFERS):
            buffer = self._borrow()
            if buffer is None:
                return
            size = len(buffer)
            try:
                count = self._transport._sock.recv_into(buffer, 0, socket.MSG_DONTWAIT)
                del buffer  # the protocol may resize it now
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._end(-(error.errno or errno.EIO))
                return
            except Exception as error:
                self._fail_to_receive(error)
                return
            if not count:
                self._end(_END_OF_STREAM)
                return
            self._transport._run_protocol("buffer_updated", count)
            self._adapt(count)
            if count < size or not (self._flowing and self._buffered):
                return

    def _feed(self, data: bytes | memoryview) -> None:
        """Copy to a BufferedProtocol, in as many parts as its buffers need, what has arrived."""
        while data and not self._ended:
            if self._paused:
                self._hold(bytes(data), first=True)
                return
            if not self._buffered:
                self._deliver(bytes(data))
                return
            buffer = self._borrow()
            if buffer is None:
                return
            try:
                with memoryview(buffer) as view:
                    count = min(len(data), view.nbytes)
                    ffi.memmove(view, data, count)
            except Exception as error:
                self._fail_to_receive(error)
                return
            del buffer
            self._transport._run_protocol("buffer_updated", count)
            data = data[count:]

    def _fail_to_receive(self, error: Exception) -> None:
        """End the transport: what get_buffer() has returned is no buffer that can be written to."""
        self._transport._fatal_error(error, "Fatal read error on socket transport")

    def _borrow(self) -> Any:
        """Return the BufferedProtocol's buffer, or None if it has none, which ends the transport."""
        transport = self._transport
        try:
            buffer = self._context.run(self._protocol.get_buffer, -1)
            if not len(buffer):
                raise RuntimeError("get_buffer() returned an empty buffer")
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            transport._fatal_error(error, "Fatal error: protocol.get_buffer() call failed.")
            return None
        return buffer

    def _end(self, result: int) -> None:
        self._ended = True
        self._set_flowing(False)
        transport = self._transport
        if result != _END_OF_STREAM:
            transport._fatal_error(os_error(result), "Fatal read error on socket transport")
        elif not transport._run_protocol("eof_received"):
            transport.close()
