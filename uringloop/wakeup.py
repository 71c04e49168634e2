"""Waking a loop that waits in the kernel, from another thread or from a signal handler.

Both write to a socket pair on whose other end a receive is always in flight. Signals decide the form: what
`signal.set_wakeup_fd` writes is the signal's number in one byte, which an eventfd would not take.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from ._engine import ffi, lib
from .operations.base import Operation
from .proactor import Proactor

if TYPE_CHECKING:
    from ._engine import Engine

_SIZE = 4096


class Wakeup(Operation):
    """The receive on the waking socket pair."""

    resident = True

    def __init__(self, proactor: Proactor, signalled: Callable[[int], None]) -> None:
        """`signalled` is called, in the loop's thread, with the number of each signal."""
        super().__init__()
        self._proactor = proactor
        self._signalled = signalled
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._buffer = ffi.new("char[]", _SIZE)
        self._waking = False

    def fileno(self) -> int:
        """Return the descriptor to which a signal's number may be written."""
        return self._writer.fileno()

    def wake(self) -> None:
        """End the loop's wait, or its next one. May be called from any thread."""
        if self._waking:  # a byte is on its way, and what was queued before this call will be seen
            return
        self._waking = True
        with contextlib.suppress(OSError):  # full: there is a byte; closed: nobody is left to wake
            self._writer.send(b"\0")

    def start(self) -> None:
        """Put the receive in flight if it is not, since an exception out of a signal's handler got in its way."""
        self._waking = False
        if not self._proactor.is_in_flight(self):
            self._proactor.submit(self)

    def prepare(self, engine: Engine) -> int:
        return lib.ul_stage_recv(engine, self.key, self._reader.fileno(), self._buffer, _SIZE)

    def complete(self, result: int, flags: int) -> None:
        self._waking = False
        signals = ffi.buffer(self._buffer, max(result, 0))[:]
        self._proactor.submit(self)
        for number in signals:
            if number:
                self._signalled(number)

    def close(self) -> None:
        """Close both ends; the operation must not be in flight."""
        self._reader.close()
        self._writer.close()
        del self._signalled  # no reference cycle: it is a method of the loop
