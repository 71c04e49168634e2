"""What the transports of pipes have in common: the pipe."""

from __future__ import annotations

import asyncio
import os
import stat
from typing import TYPE_CHECKING, Any

from .base import DescriptorTransport

if TYPE_CHECKING:
    from ..watchers import Watchers


class PipeTransport(DescriptorTransport):
    """A transport over one end of a pipe, or over what can be used like one: a socket or a character device."""

    # Both ends of a terminal, or both directions of a socket, may be transports of one descriptor.
    _exclusive = False

    _COMPLAINT: str

    def __init__(self, loop: Watchers, pipe: Any, protocol: asyncio.BaseProtocol) -> None:
        """Take over the pipe, a file object, and make it non-blocking. Raises ValueError for any other file."""
        fd = pipe.fileno()
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)):
            raise ValueError(self._COMPLAINT)
        os.set_blocking(fd, False)
        super().__init__(loop, fd, protocol, {"pipe": pipe})
        self._pipe = pipe
        self._is_device = stat.S_ISCHR(mode)

    def _close_file(self) -> None:
        self._pipe.close()
