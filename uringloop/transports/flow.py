"""Flow control: the protocol is told when too much waits to be sent, and again when little does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..operations.base import SLOTS_OF_SUBCLASS

if TYPE_CHECKING:
    from .base import DescriptorTransport

HIGH_WATER = 64 * 1024  # bytes
_LOW_WATER = HIGH_WATER // 4


class FlowControl:
    """How much of a transport's writes waits, and whether its protocol is paused for that."""

    __slots__ = SLOTS_OF_SUBCLASS

    def __init__(self, transport: DescriptorTransport) -> None:
        self._transport = transport
        self._protocol_paused = False
        self.size = 0  # bytes, those in flight included
        self.high = HIGH_WATER
        self.low = _LOW_WATER

    def set_limits(self, high: int | None, low: int | None) -> None:
        """Set the sizes (bytes) above which the protocol is paused, and at or below which it is resumed."""
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self.high = high
        self.low = low
        self._pause_protocol_if_full()

    def _pause_protocol_if_full(self) -> None:
        if self.size > self.high and not self._protocol_paused:
            self._protocol_paused = True
            self._control_flow("pause_writing")

    def _resume_protocol(self) -> None:
        self._protocol_paused = False
        self._transport._context.run(self._control_flow, "resume_writing")

    def _control_flow(self, name: str) -> None:
        transport = self._transport
        try:
            getattr(transport._protocol, name)()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            transport._report(error, f"protocol.{name}() failed")
