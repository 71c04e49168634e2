"""The contract of an operation, the noun of this code base."""

from __future__ import annotations

import errno
import itertools
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._engine import Engine

F_BUFFER = 1 << 0
"""The completion names a pool buffer in its upper half."""

F_MORE = 1 << 1
"""The operation is still in flight: further completions follow."""

CANCELED = -errno.ECANCELED
"""The result of an operation that was cancelled before it had one."""

TRY_AGAIN = (-errno.EAGAIN, -errno.EINTR, -errno.ENOBUFS)
"""Results of a receive, a send or an accept that are no error: it is to be submitted again."""

SLOTS_OF_SUBCLASS: tuple[str, ...] = ()
"""The `__slots__` of a class whose attributes a subclass has in slots, of which there may be very many.

No other of its bases may have any: Python cannot join them. In its other subclasses attributes are as usual.
"""

_next_key = itertools.count(2).__next__  # 0 and 1 are the engine's own; a key is never used for another object


class Operation:
    """Something asked of the kernel, from submission to last completion.

    Between `Proactor.submit()` and the last completion the kernel may use whatever the operation names; the
    object is kept alive for that time, and with it everything it refers to. After its last completion it may be
    submitted again.
    """

    __slots__ = SLOTS_OF_SUBCLASS

    resident = False
    """Belongs to the loop itself; not counted as something that its users have in flight."""

    restartable = True
    """May be given up and submitted again with nothing lost. A partly done send may not."""

    def __init__(self) -> None:
        self.key = _next_key()
        self.ticket = -1

    def prepare(self, engine: Engine) -> int:
        """Stage the submission entry and return the engine's ticket for it."""
        raise NotImplementedError

    def arrived(self, start: int, stop: int) -> None:
        """Take bytes, which lie here in the pool until the next turn, from a multishot receive that goes on."""
        raise NotImplementedError

    def complete(self, result: int, flags: int) -> None:
        """Take a completion: a result as of the system call, or -errno."""
        raise NotImplementedError

    def discard(self, result: int, flags: int) -> None:
        """Take a completion when nobody is there any more, and release what it brought."""


def os_error(result: int, detail: str = "") -> OSError:
    """Return the OSError subclass for a negative result."""
    return OSError(-result, detail or os.strerror(-result))
