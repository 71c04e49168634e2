"""CONNECT: a socket to its peer."""

from __future__ import annotations

import errno
import select
import socket
from typing import TYPE_CHECKING, Any

from .._engine import lib
from .base import Operation, os_error

if TYPE_CHECKING:
    import asyncio

    from .._engine import Engine
    from ..proactor import Proactor

_FROM_NETWORK = {
    errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.EPIPE, errno.ETIMEDOUT,
}  # fmt: skip
"""Errors that come after a while, from elsewhere: asyncio names the address with these."""


class Connect(Operation):
    """A connect, answered in the future.

    It may be submitted anew, to another ring, while the connection is being made. The kernel then says EALREADY,
    and that the socket becomes writable is what to wait for.
    """

    def __init__(
        self, proactor: Proactor, sock: socket.socket, address: Any, encoded: bytes, future: asyncio.Future[None]
    ) -> None:
        """Prepare a connect to `encoded`, the sockaddr of `address`, which only serves the error message."""
        super().__init__()
        self._proactor = proactor
        self._sock = sock
        self._encoded = encoded
        self.future = future
        self._address = address
        self._already = False

    def prepare(self, engine: Engine) -> int:
        """Stage the connect, or the wait for one that is on its way."""
        fd = self._sock.fileno()
        if self._already:
            return lib.ul_stage_poll(engine, self.key, fd, select.POLLOUT, False)
        return lib.ul_stage_connect(engine, self.key, fd, self._encoded, len(self._encoded))

    def complete(self, result: int, flags: int) -> None:
        """Settle the future."""
        if self.future.done():
            return
        if result == -errno.EALREADY and not self._already:
            self._already = True
            self._proactor.submit(self)
            return
        if self._already:
            result = -self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if result < 0:
            from_network = -result in _FROM_NETWORK and self._sock.family != socket.AF_UNIX
            detail = f"Connect call failed {self._address}" if from_network else ""
            self.future.set_exception(os_error(result, detail))
        else:
            self.future.set_result(None)
