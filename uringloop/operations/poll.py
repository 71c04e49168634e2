"""POLL_ADD: a descriptor becoming ready, level-triggered."""

from __future__ import annotations

import errno
import select
from collections.abc import Callable
from typing import TYPE_CHECKING

from .._engine import lib
from .base import F_MORE, Operation

if TYPE_CHECKING:
    from .._engine import Engine
    from ..proactor import Proactor

READABLE = select.POLLIN
WRITABLE = select.POLLOUT
_ALWAYS = select.POLLERR | select.POLLHUP | select.POLLNVAL


class Poll(Operation):
    """Calls back in each turn in which the descriptor is ready, from start() to stop().

    A poll is answered once, and is submitted again when it has called back: what the callback leaves unread is
    found again then. One trap: the kernel adds POLLRDHUP to what is asked for, so that a wait for room in the
    send buffer is answered at once, again and again, if the peer has shut down its sending side. After such an
    answer the poll is multishot: that form too is answered at once, but afterwards only when something changes.
    """

    def __init__(self, proactor: Proactor, fd: int, events: int, callback: Callable[[], object]) -> None:
        super().__init__()
        self._proactor = proactor
        self._events = events
        self._callback: Callable[[], object] | None = callback
        self._multishot = False
        self.fd = fd

    def start(self) -> None:
        """Begin to call back."""
        self._proactor.submit(self)

    def stop(self) -> None:
        """Call back no more; on return the kernel holds the descriptor no longer."""
        self._callback = None  # no reference cycle: it is, most often, a method of who has the poll
        self._proactor.cancel(self)

    def prepare(self, engine: Engine) -> int:
        """Stage the poll."""
        return lib.ul_stage_poll(engine, self.key, self.fd, self._events, self._multishot)

    def complete(self, result: int, flags: int) -> None:
        """Call back if the answer is what was asked for, and see to it that a further one comes."""
        callback = self._callback
        if callback is None:
            return
        ready = result > 0 and bool(result & (self._events | _ALWAYS))
        if flags & F_MORE:
            if ready:
                self._proactor.cancel(self)  # and go on one by one when that has completed
        elif result >= 0 or result == -errno.ECANCELED:
            self._multishot = result >= 0 and not ready
            self._proactor.submit(self)
        if ready:
            callback()
