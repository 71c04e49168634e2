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


class Connect(Operation):
    """A connect, answered in the future.

    It may be submitted anew, to another ring, while the connection is being made. The kernel then says EALREADY,
    and that the socket becomes writable is what to wait for.
    """

    __slots__ = ("_already", "_encoded", "_failure", "_proactor", "_sock", "future")

    def __init__(
        self, proactor: Proactor, sock: socket.socket, address: Any, encoded: bytes, future: asyncio.Future[None]
    ) -> None:
        """`encoded` is the sockaddr of `address`, which only serves the error message."""
        super().__init__()
        self._proactor = proactor
        self._sock = sock
        self._encoded = encoded
        self.future = future
        self._failure = "" if sock.family == socket.AF_UNIX else f"Connect call failed {address}"
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
            self.future.set_exception(os_error(result, self._failure))
        else:
            self.future.set_result(None)
