"""The receiving side of a stream transport.

Rules of this file:
- At most one receive is in flight. When it has ended, and the transport still wants to read, the next is armed.
- A receive has one of three forms, chosen each time it is armed:
  pooled     small memory is taken from the pool when data arrives; multishot where that is sound;
  bulk       a connection that keeps filling pool buffers receives into one large buffer of its own;
  lent       a BufferedProtocol's own buffer.
- What arrives while nobody may be told (paused, or an earlier arrival still waits) is held, in order.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from typing import TYPE_CHECKING, Any

from .._engine import ffi
from ..operations.base import F_MORE, os_error
from ..operations.receive import BUFFER_SHIFT, Receive, uninitialized_memory
from ..ring import POOL_BUFFER_SIZE

if TYPE_CHECKING:
    from .stream import StreamTransport

BULK_SIZE = 256 * 1024
_FULL_BEFORE_BULK = 2  # receives in a row that filled their pool buffer
_SMALL_AFTER_BULK = 16  # receives in a row that a pool buffer would have held

_END_OF_STREAM = 0
_TRY_AGAIN = (-errno.EAGAIN, -errno.EINTR, -errno.ENOBUFS, -errno.ECANCELED)


class Reader(Receive):
    """The receive of a stream transport, and what becomes of its answers."""

    __slots__ = (
        "_bulk", "_ended", "_flowing", "_held", "_lender", "_may_multishot", "_paused", "_proactor", "_run", "_streak",
        "_transport",
    )  # fmt: skip

    def __init__(self, transport: StreamTransport, fd: int, may_multishot: bool) -> None:
        super().__init__(transport._proactor.ring, fd, POOL_BUFFER_SIZE)
        self._transport = transport
        self._proactor = transport._proactor
        self._run = transport._context.run
        self._may_multishot = may_multishot
        self._flowing = True  # neither paused nor ended, and nothing held
        self._paused = False
        self._ended = False
        self._held: deque[bytes | int] = deque()  # arrivals; a number, the last, is a result with no bytes
        self._lender: Any = None  # the BufferedProtocol whose buffer is lent
        self._bulk = False
        self._streak = 0

    # The transport's side

    @property
    def paused(self) -> bool:
        """Whether pause() was called and resume() not since."""
        return self._paused

    def start(self) -> None:
        """Arm the first receive."""
        self._arm()

    def pause(self) -> None:
        """Deliver nothing from now on, and leave what has not arrived to the kernel."""
        self._paused = True
        self._flowing = False
        self._proactor.cancel(self)

    def resume(self) -> None:
        """Go on: with what was held, in the next turn, then with the kernel."""
        self._paused = False
        if self._held:
            self._transport._loop.call_soon(self._deliver_held)
        else:
            self._flowing = not self._ended
            self._arm()

    def switch_protocol(self) -> None:
        """Take back what is in flight in a form that does not suit the new protocol."""
        if self._lender is not None or isinstance(self._transport._protocol, asyncio.BufferedProtocol):
            self._proactor.cancel(self)

    def push_back(self, data: bytes) -> None:
        """Deliver data that was received from the socket before this transport was made."""
        self._held.append(data)
        self._flowing = False
        self._transport._loop.call_soon(self._deliver_held)

    def stop(self) -> None:
        """Drop what was held, and end."""
        self._ended = True
        self._flowing = False
        self._held.clear()
        self._proactor.cancel(self)

    # The kernel's side

    def complete(self, result: int, flags: int) -> None:
        """Deliver an arrival, or hold it; arm the next receive if this one has ended."""
        if result > 0 and self._flowing and self.memory is None:
            start = (flags >> BUFFER_SHIFT) * POOL_BUFFER_SIZE
            self._deliver(self._pool[start : start + result])
            if result == POOL_BUFFER_SIZE or self._streak:
                self._adapt(result)
        elif result > 0:
            self._complete_in_memory(result, flags)
        elif result not in _TRY_AGAIN and not self._ended:
            self._hold(result)
        if not flags & F_MORE:
            self._arm()

    def _complete_in_memory(self, result: int, flags: int) -> None:
        lender, self._lender = self._lender, None
        if lender is not None and lender is self._transport._protocol and self._flowing:
            self.memory = None  # the protocol may do with its buffer what it likes
            self._transport._run_protocol("buffer_updated", result)
            return
        data = self.read(result, flags)
        if lender is None and self._bulk:
            self._adapt(result)
        if self._flowing:
            self._deliver(data)
        elif not self._ended:
            self._hold(data)

    def _arm(self) -> None:
        if self._paused or self._ended or self._held or self._proactor.is_in_flight(self):
            return
        protocol = self._transport._protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            if not self._borrow(protocol):
                return
        else:
            self._choose_memory()
        self._proactor.submit(self)

    def _choose_memory(self) -> None:
        ring = self._proactor.ring
        pooled = ring.features.pool and not self._bulk
        self.size = BULK_SIZE if self._bulk else POOL_BUFFER_SIZE
        self.multishot = pooled and self._may_multishot and ring.features.multishot_recv
        if pooled:
            self.memory = None
        elif self.memory is None or len(self.memory) != self.size:
            self.memory = uninitialized_memory("char[]", self.size)

    def _borrow(self, protocol: asyncio.BufferedProtocol) -> bool:
        """Get the protocol's buffer to receive into; return whether it gave one."""
        transport = self._transport
        try:
            buffer: Any = transport._context.run(protocol.get_buffer, -1)
            if not len(buffer):
                raise RuntimeError("get_buffer() returned an empty buffer")
            self.memory = ffi.from_buffer(buffer, require_writable=True)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            transport._fatal_error(error, "Fatal error: protocol.get_buffer() call failed.")
            return False
        self._lender = protocol
        self.multishot = False
        self.size = len(self.memory)
        return True

    def _adapt(self, result: int) -> None:
        """Count towards the other form of receive, and change to it when the time has come."""
        full = result >= POOL_BUFFER_SIZE
        if full == self._bulk:
            self._streak = 0
            return
        self._streak += 1
        if self._streak == (_SMALL_AFTER_BULK if self._bulk else _FULL_BEFORE_BULK):
            self._bulk = not self._bulk
            self._streak = 0
            self._proactor.cancel(self)  # a multishot one

    # The protocol's side

    def _deliver(self, data: bytes) -> None:
        protocol = self._transport._protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            self._feed(protocol, data)
            return
        try:
            self._run(protocol.data_received, data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._transport._fatal_error(error, "Fatal error: protocol.data_received() call failed.")

    def _feed(self, protocol: asyncio.BufferedProtocol, data: bytes) -> None:
        """Copy to a BufferedProtocol what had arrived before its own buffer could be lent."""
        while data and not self._ended and self._borrow(protocol):
            self._lender = None
            memory, self.memory = self.memory, None
            count = min(len(data), self.size)
            ffi.memmove(memory, data, count)
            ffi.release(memory)
            self._transport._run_protocol("buffer_updated", count)
            data = data[count:]

    def _hold(self, item: bytes | int) -> None:
        self._held.append(item)
        if not self._paused and self._flowing:
            self._deliver_held()

    def _deliver_held(self) -> None:
        while self._held and not self._paused and not self._ended:
            item = self._held.popleft()
            if isinstance(item, bytes):
                self._deliver(item)
            else:
                self._end(item)
        self._flowing = not (self._paused or self._ended or self._held)
        self._arm()

    def _end(self, result: int) -> None:
        self._ended = True
        transport = self._transport
        if result != _END_OF_STREAM:
            transport._fatal_error(os_error(result), "Fatal read error on socket transport")
        elif not transport._run_protocol("eof_received"):
            transport.close()
