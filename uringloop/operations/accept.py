"""ACCEPT: connections from a listening socket."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .._engine import ffi, lib
from . import addresses
from .base import Operation

if TYPE_CHECKING:
    from .._engine import Engine


class Accept(Operation):
    """An accept, answered with a new descriptor, non-blocking and close-on-exec. A subclass takes it."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.fd = fd
        self._address = ffi.new("char[]", addresses.SIZE)
        self._address_size = ffi.new("unsigned *")

    def prepare(self, engine: Engine) -> int:
        """Stage the accept."""
        self._address_size[0] = addresses.SIZE
        return lib.ul_stage_accept(engine, self.key, self.fd, self._address, self._address_size)

    def peer(self) -> Any:
        """Return the peer's address, or None for a family that addresses.py leaves to the socket module."""
        return addresses.decode(ffi.buffer(self._address, self._address_size[0])[:])

    def discard(self, result: int, flags: int) -> None:
        """Close a connection that nobody will serve."""
        if result >= 0:
            os.close(result)
