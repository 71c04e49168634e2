"""What all transports that write have in common: the limits of flow control, and writes that come in parts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..reporting import logger
from .base import DescriptorTransport

if TYPE_CHECKING:
    from .flow import FlowControl
    from .outgoing import Outgoing

LOG_THRESHOLD_FOR_CONNLOST_WRITES = 5
"""Writes to a lost connection that are ignored in silence; those that follow are logged."""


class BufferingTransport(DescriptorTransport):
    """A transport over a descriptor whose writes may have to wait."""

    __slots__ = ()

    _writer: FlowControl

    _LOST_WRITE: str
    """What is logged of writes to a lost connection, in asyncio's words."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the limits (bytes) of flow control; see asyncio.WriteTransport.

        Raises ValueError unless 0 <= low <= high.
        """
        self._writer.set_limits(high, low)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low and the high limit in bytes."""
        return self._writer.low, self._writer.high

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be sent."""
        return self._writer.size

    def _ignore_write(self) -> None:
        """Take note of a write that comes too late."""
        if self._lost:
            if self._lost >= LOG_THRESHOLD_FOR_CONNLOST_WRITES:
                logger.warning(self._LOST_WRITE)
            self._lost += 1


class WritingTransport(BufferingTransport, asyncio.WriteTransport):
    """A transport over a descriptor that bytes are written to."""

    __slots__ = ()

    _writer: Outgoing

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Send each of the data."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """Return True."""
        return True
