"""The sends of a turn that are expected to be done at once.

Most writes find room in their socket's buffer. To send one as an operation, with a completion to wait for and to
dispatch, costs more than the rest of the write. So a send goes through here first: the kernel does it while the
turn is submitted, and answers only if the socket did not take everything. Those sends are handed back to their
senders before anything else of the turn is dispatched. All others are done then, and nothing stays in flight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ._engine import ffi, lib

if TYPE_CHECKING:
    from ._engine import Engine


class Sender(Protocol):
    """Who has something to send."""

    fd: int

    def refused(self, data: bytes, result: int) -> None:
        """Take back data of which only `result` bytes were sent; if that is negative, none for this error."""


class Outbox:
    """What is to be sent with the next turn: one piece of data for each sender, whose only send this is."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.staged: dict[Sender, bytes] = {}
        self.pending: dict[Sender, bytes] = {}
        """What was written since the last turn; senders put it here themselves, and may take it back."""

    def __bool__(self) -> bool:
        return bool(self.pending or self.staged)

    def stage(self) -> None:
        """Hand over what is pending to the kernel, which takes it in the turn that must follow."""
        self.staged = self.pending.copy()
        self.pending.clear()
        engine = self._engine
        stage = lib.ul_stage_send_at_once
        try:
            for sender, data in self.staged.items():
                if stage(engine, sender.fd, data, len(data)) < 0:
                    raise MemoryError
        except BaseException:  # of a signal's handler, perhaps
            staged = list(self.staged.items())
            count = lib.ul_sends_at_once(engine)
            self.pending.update(staged[count:])
            self.staged = dict(staged[:count])
            raise

    def settle(self) -> None:
        """See what became of the sends that were staged, now that the kernel has had its turn."""
        count = lib.ul_settle(self._engine)
        staged = self.staged
        self.staged = {}
        if count:
            numbers = iter(ffi.unpack(lib.ul_refusals(self._engine), count * 2))
            sends = list(staged.items())
            for number, result in zip(numbers, numbers, strict=True):
                sender, data = sends[number]
                sender.refused(data, result)
