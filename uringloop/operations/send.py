"""SEND: bytes to a stream socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._engine import ffi, lib
from .base import Operation

if TYPE_CHECKING:
    from .._engine import Engine


class Send(Operation):
    """A send of everything in `data`, which the kernel goes on with by itself when the socket is full.

    Answered once: with the number of bytes sent, which is less than asked for only after a cancel or an error,
    or with -errno if nothing was sent. Never submit two for one socket: their bytes would mix.
    """

    __slots__ = ("_pinned", "data", "fd")

    restartable = False  # the count of what was sent comes with the completion only

    def __init__(self, fd: int, data: bytes | memoryview = b"") -> None:
        """Prepare a send of `data`; if it is a memoryview, one of single bytes."""
        super().__init__()
        self.fd = fd
        self.data = data
        self._pinned: Any = None

    def prepare(self, engine: Engine) -> int:
        """Stage the send of `data`."""
        data = self.data
        if type(data) is bytes:
            return lib.ul_stage_send(engine, self.key, self.fd, data, len(data))
        self._pinned = ffi.from_buffer(data)
        return lib.ul_stage_send(engine, self.key, self.fd, self._pinned, len(data))

    def skip(self, count: int) -> None:
        """Leave out the first `count` bytes of `data` the next time."""
        rest = memoryview(self.data)[count:]
        self.release()
        self.data = rest

    def release(self) -> None:
        """Let go of the memory, which its owner may then resize; not to be called while in flight."""
        if self._pinned is not None:
            ffi.release(self._pinned)
            self._pinned = None
        if isinstance(self.data, memoryview):
            self.data.release()
        self.data = b""
