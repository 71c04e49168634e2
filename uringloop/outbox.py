"""The sends of a turn that are expected to be done at once.

Most writes find room in their socket's buffer. To send one as an operation, with a completion to wait for and to
dispatch, costs more than the rest of the write. So a send goes through here first: the kernel does it while the
turn is submitted, and answers only if the socket did not take everything. Those sends are handed back to their
senders before anything else of the turn is dispatched. All others are done then, and nothing stays in flight.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Protocol

from ._engine import ffi, lib

if TYPE_CHECKING:
    from ._engine import Engine


_COPIED_SIZE = 2 * 1024  # bytes; to copy so much costs less than a call of the engine for each send


class Sender(Protocol):
    """Who has something to send."""

    sock: socket.socket
    """Somebody may have closed it: the number it had may be that of another one now."""

    def refused(self, data: bytes, result: int) -> None:
        """Take back data of which only `result` bytes were sent; if that is negative, none for this error."""


class Outbox:
    """What is to be sent with the next turn: one piece of data for each sender, whose only send this is."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._memory = b""
        self.staged: dict[Sender, bytes] = {}
        """What the kernel was given, and has not answered for."""
        self.pending: dict[Sender, bytes] = {}
        """What was written since the last turn; senders put it here themselves, and may take it back."""

    def __bool__(self) -> bool:
        return bool(self.pending or self.staged)

    def stage(self) -> None:
        """Hand over what is pending to the kernel, which takes it in the turn that must follow."""
        self.staged = self.pending.copy()
        self.pending.clear()
        try:
            self._stage()
        except BaseException:  # of a signal's handler, perhaps
            staged = list(self.staged.items())
            count = lib.ul_sends_at_once(self._engine)
            self.pending.update(staged[count:])
            self.staged = dict(staged[:count])
            raise

    def settle(self) -> None:
        """See what became of the sends that were staged, now that the kernel has had its turn."""
        count = lib.ul_settle(self._engine)
        staged = self.staged
        self.staged = {}
        self._memory = b""
        if count:
            numbers = iter(ffi.unpack(lib.ul_refusals(self._engine), count * 2))
            sends = list(staged.items())
            for number, result in zip(numbers, numbers, strict=True):
                sender, data = sends[number]
                sender.refused(data, result)

    def _stage(self) -> None:
        fds = [sender.sock.fileno() for sender in self.staged]
        datas = list(self.staged.values())
        sizes = list(map(len, datas))
        if sum(sizes) <= _COPIED_SIZE * len(sizes):
            self._memory = b"".join(datas)
            self._stage_together(fds, sizes, self._memory)
        else:
            for fd, size, data in zip(fds, sizes, datas, strict=True):
                self._stage_together([fd], [size], data)

    def _stage_together(self, fds: list[int], sizes: list[int], data: bytes) -> None:
        if lib.ul_stage_sends_at_once(self._engine, len(fds), fds, sizes, data) < 0:
            raise MemoryError
