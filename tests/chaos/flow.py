"""One direction of a conversation: what is sent, and whether what arrives is that."""

from __future__ import annotations

import random

_BLOCK = 4096


class _Stream:
    """Bytes without an end, the same for the same key."""

    def __init__(self, key: str) -> None:
        self._random = random.Random(key)
        self._left = b""

    def take(self, count: int) -> bytes:
        pieces = [self._left]
        size = len(self._left)
        while size < count:
            pieces.append(self._random.randbytes(_BLOCK))
            size += _BLOCK
        data = b"".join(pieces)
        self._left = data[count:]
        return data[:count]


class Flow:
    """`total` bytes, of which a beginning was sent, and a beginning of that has arrived.

    Both ends generate them, so that each arrival is compared with what it has to be, to the last byte, however
    the conversation ends.
    """

    def __init__(self, key: str, total: int) -> None:
        self._outgoing = _Stream(key)
        self._incoming = _Stream(key)
        self.total = total
        self.sent = 0
        self.received = 0

    @property
    def unsent(self) -> int:
        """How many bytes are still to be sent."""
        return self.total - self.sent

    def send(self, size: int) -> bytes:
        """What is to be sent next, of that size if so much is left."""
        size = min(size, self.unsent)
        self.sent += size
        return self._outgoing.take(size)

    def arrived(self, data: bytes) -> None:
        """Check what has arrived."""
        expected = self._incoming.take(len(data))
        if data != expected:
            place = next(number for number, (a, b) in enumerate(zip(data, expected)) if a != b)
            raise AssertionError(f"byte {self.received + place} of {self.total} is not the one that was sent")
        self.received += len(data)
        assert self.received <= self.sent, "more has arrived than was sent"
