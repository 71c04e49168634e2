"""RECV: bytes from a stream socket."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from .._engine import ffi, lib
from ..ring import POOL_BUFFER_SIZE, Ring
from .base import SLOTS_OF_SUBCLASS, Operation

if TYPE_CHECKING:
    from .._engine import Engine

BUFFER_SHIFT = 16  # the upper half of a completion's flags is the number of its pool buffer

NO_BUFFER = -errno.ENOBUFS
"""The result of a receive for which something has arrived, while all buffers of the pool were taken."""

uninitialized_memory = ffi.new_allocator(should_clear_after_alloc=False)
"""Allocates as ffi.new() does, without the cost of clearing what the kernel will overwrite."""


class Receive(Operation):
    """A receive, into memory of its own if it has any, else into a pool buffer that is taken when data arrives.

    Multishot, it is answered again and again until an answer comes without F_MORE. Who receives makes a subclass
    with `complete()`, and reads the answer there by `read()`.
    """

    __slots__ = SLOTS_OF_SUBCLASS

    def __init__(self, ring: Ring, fd: int, size: int) -> None:
        """At most `size` bytes are received by each submission that is not multishot."""
        super().__init__()
        self._pool = ring.pool
        self.fd = fd
        self.size = size
        self.multishot = False
        self.memory = None if ring.features.pool else uninitialized_memory("char[]", size)

    def prepare(self, engine: Engine) -> int:
        """Stage the receive in the form that the fields say."""
        if self.memory is not None:
            return lib.ul_stage_recv(engine, self.key, self.fd, self.memory, self.size)
        if self.multishot:
            return lib.ul_stage_recv_multishot(engine, self.key, self.fd)
        return lib.ul_stage_recv_pooled(engine, self.key, self.fd, self.size)

    def read(self, result: int, flags: int) -> bytes:
        """Return the bytes of a positive result; to be called before the next turn."""
        if self.memory is not None:
            return ffi.buffer(self.memory, result)[:]
        start = (flags >> BUFFER_SHIFT) * POOL_BUFFER_SIZE
        return self._pool[start : start + result]
