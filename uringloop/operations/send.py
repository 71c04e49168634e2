"""SEND: bytes to a stream socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._engine import ffi, lib
from .base import SLOTS_OF_SUBCLASS, Operation

if TYPE_CHECKING:
    from .._engine import Engine


class Send(Operation):
    """A send of everything in `data`, which the kernel goes on with by itself when the socket is full.

    Answered once: with the number of bytes sent, which is less than asked for only after a cancel or an error,
    or with -errno if nothing was sent. Never submit two for one socket: their bytes would mix.
    """

    __slots__ = SLOTS_OF_SUBCLASS

    restartable = False  # the count of what was sent comes with the completion only

    def __init__(self, fd: int, data: bytes | memoryview = b"") -> None:
        """Prepare a send of `data`; if it is a memoryview, one of single bytes."""
        super().__init__()
        self.fd = fd
        self.data = data

    def prepare(self, engine: Engine) -> int:
        """Stage the send of `data`."""
        data = self.data
        # `data` alone keeps the memory. A pointer that did, too, would be a danger: Python before 3.11.8 and 3.12.2
        # crashes when a memoryview becomes garbage together with who has borrowed its memory (gh-77894).
        pointer = data if type(data) is bytes else ffi.from_buffer(data)
        return lib.ul_stage_send(engine, self.key, self.fd, pointer, len(data))

    def skip(self, count: int) -> None:
        """Leave out the first `count` bytes of `data` the next time."""
        rest = memoryview(self.data)[count:]
        self.release()
        self.data = rest

    def release(self) -> None:
        """Let go of the memory, which its owner may then resize; not to be called while in flight."""
        if isinstance(self.data, memoryview):
            self.data.release()
        self.data = b""
