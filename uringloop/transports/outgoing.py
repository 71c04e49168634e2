"""What a transport has to send.

Rules of this file:
- What is written in a turn is collected, and sent all at once at the end of the turn.
- A write that goes over the high-water mark is tried at once, so that flow control stops the protocol only when
  the kernel takes no more, and not because the turn is not over.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ..operations.base import SLOTS_OF_SUBCLASS
from .flow import FlowControl

if TYPE_CHECKING:
    from .base import DescriptorTransport


# What asyncio says that the data must be.
_BYTES = "a bytes, bytearray, or memoryview object" if sys.version_info >= (3, 14) else "a bytes-like object"


NOTHING: list[bytes | memoryview] = []
"""What waits if nothing does. All share this one, so it is replaced and never added to."""


class Outgoing(FlowControl):
    """The writes of a transport that wait. How they are sent, a subclass knows."""

    __slots__ = SLOTS_OF_SUBCLASS

    _JOIN_SIZE: int
    """Chunks are joined for one send until they are so long (bytes)."""

    def __init__(self, transport: DescriptorTransport) -> None:
        super().__init__(transport)
        self._waiting = NOTHING
        self._queued = False  # for the end of the turn

    def write(self, data: bytes) -> None:
        """Send the data at the end of the turn."""
        if self._waiting:
            self._waiting.append(data)
        else:
            self._waiting = [data]
        self.size += len(data)
        if not self._queued:
            self._queue()
        if self.size > self.high:
            self._send_now()
            self._pause_protocol_if_full()

    def drop(self) -> None:
        """Forget what was not sent, and leave nothing in flight."""
        raise NotImplementedError

    def flush(self) -> None:
        """Send what waits, since the turn ends."""
        raise NotImplementedError

    def _send_now(self) -> None:
        """Send of what waits as much as the kernel takes at once."""
        raise NotImplementedError

    def _drained(self) -> None:
        """See what is to be done now that nothing waits."""
        raise NotImplementedError

    def _sent(self, data: bytes | memoryview, count: int) -> None:
        """Account for `count` bytes of `data` having been sent, and see what follows."""
        self.size -= count
        if count < len(data):
            self._put_first(memoryview(data)[count:])
        if self._protocol_paused and self.size <= self.low:
            self._resume_protocol()
        if not self.size:
            self._drained()

    def _take(self) -> bytes | memoryview:
        """Remove from what waits as much as goes into one send."""
        waiting = self._waiting
        if len(waiting) == 1:
            self._waiting = NOTHING
            return waiting[0]
        size = count = 0
        while count < len(waiting) and size < self._JOIN_SIZE:
            size += len(waiting[count])
            count += 1
        data = b"".join(waiting[:count]) if count > 1 else waiting[0]
        self._waiting = waiting[count:]
        return data

    def _put_first(self, data: bytes | memoryview) -> None:
        self._waiting = [data, *self._waiting]

    def _queue(self) -> None:
        self._queued = True
        self._transport._loop._unsent.append(self)


def snapshot(data: Any, what: str = _BYTES) -> bytes:
    """Return a copy of data to be written, which may change later. Raises TypeError for what is not `what`."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"data argument must be {what}, not {type(data).__name__!r}")
    return bytes(data)
