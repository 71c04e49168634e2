"""What a transport has to send, and flow control.

Rules of this file:
- What is written in a turn is collected, and sent all at once at the end of the turn.
- A write that goes over the high-water mark is tried at once, so that flow control stops the protocol only when
  the kernel takes no more, and not because the turn is not over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import DescriptorTransport

HIGH_WATER = 64 * 1024  # bytes


class Outgoing:
    """The writes of a transport that wait. How they are sent, a subclass knows."""

    def __init__(self, transport: DescriptorTransport, join_size: int) -> None:
        """Chunks are joined for one send until they are `join_size` bytes."""
        self._transport = transport
        self._join_size = join_size
        self._waiting: list[bytes | memoryview] = []
        self._queued = False  # for the end of the turn
        self._protocol_paused = False
        self.size = 0  # bytes, those in flight included
        self.high = HIGH_WATER
        self.low = HIGH_WATER // 4

    def write(self, data: bytes) -> None:
        """Send the data at the end of the turn."""
        self._waiting.append(data)
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
            self._waiting.insert(0, memoryview(data)[count:])
        if self._protocol_paused and self.size <= self.low:
            self._resume_protocol()
        if not self.size:
            self._drained()

    def _take(self) -> bytes | memoryview:
        """Remove from what waits as much as goes into one send."""
        waiting = self._waiting
        if len(waiting) == 1:
            return waiting.pop()
        size = count = 0
        while count < len(waiting) and size < self._join_size:
            size += len(waiting[count])
            count += 1
        data = b"".join(waiting[:count]) if count > 1 else waiting[0]
        del waiting[:count]
        return data

    def _queue(self) -> None:
        self._queued = True
        self._transport._loop._unsent.append(self)

    # Flow control

    def set_limits(self, high: int | None, low: int | None) -> None:
        """Set the sizes (bytes) above which the protocol is paused, and at or below which it is resumed."""
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self.high = high
        self.low = low
        self._pause_protocol_if_full()

    def _pause_protocol_if_full(self) -> None:
        if self.size > self.high and not self._protocol_paused:
            self._protocol_paused = True
            self._control_flow("pause_writing")

    def _resume_protocol(self) -> None:
        self._protocol_paused = False
        self._transport._context.run(self._control_flow, "resume_writing")

    def _control_flow(self, name: str) -> None:
        transport = self._transport
        try:
            getattr(transport._protocol, name)()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            transport._report(error, f"protocol.{name}() failed")


def snapshot(data: Any) -> bytes:
    """Return a copy of data to be written, which may change later. Raises TypeError for what is no bytes."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
    return bytes(data)
