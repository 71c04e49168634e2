"""RECVMSG: datagrams from an IP socket, with their senders' addresses."""

from __future__ import annotations

import functools
import socket
from typing import TYPE_CHECKING, Any

from .._engine import lib
from ..ring import POOL_BUFFER_SIZE, Ring
from . import addresses
from .base import Operation
from .receive import BUFFER_SHIFT

if TYPE_CHECKING:
    from .._engine import Engine

_HEADER_SIZE = 16  # sizeof(struct io_uring_recvmsg_out); nothing in it is of interest here
_ADDRESS_SIZES: dict[int, int] = {socket.AF_INET: 16, socket.AF_INET6: 28}

# Datagrams mostly come from those that others have come from, and the look-up takes a tenth of the time.
_decode = functools.lru_cache(maxsize=1024)(addresses.decode)


class ReceiveMessages(Operation):
    """A receive of datagrams into pool buffers, answered again and again until an answer comes without F_MORE.

    Needs the features `pool` and `multishot_recv`. A buffer holds the largest datagram that IP can carry. One of no
    bytes is an answer without F_MORE.
    """

    __slots__ = ("_address_end", "_ipv6", "_pool", "fd")

    def __init__(self, ring: Ring, fd: int, family: int) -> None:
        """`family` is AF_INET or AF_INET6."""
        super().__init__()
        self._pool = ring.pool
        self._ipv6 = family == socket.AF_INET6
        self._address_end = _HEADER_SIZE + _ADDRESS_SIZES[family]
        self.fd = fd

    def prepare(self, engine: Engine) -> int:
        """Stage the receive."""
        return lib.ul_stage_recvmsg_multishot(engine, self.key, self.fd, self._ipv6)

    def read(self, result: int, flags: int) -> tuple[bytes, Any]:
        """Return the datagram of a result that is no error, and its sender; to be called before the next turn."""
        start = (flags >> BUFFER_SHIFT) * POOL_BUFFER_SIZE
        data = start + self._address_end
        pool = self._pool
        return pool[data : start + result], _decode(pool[start + _HEADER_SIZE : data])
