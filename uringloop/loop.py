"""The event loop: its parts put together."""

import os

from .endpoints.datagrams import Datagrams
from .endpoints.processes import Processes
from .endpoints.sendfile import Sendfile
from .endpoints.servers import Servers
from .signals import Signals

BUSY_POLL_VARIABLE = "URINGLOOP_BUSY_POLL"


class Loop(Datagrams, Processes, Sendfile, Servers, Signals):
    """An asyncio event loop on io_uring.

    Raises UringUnavailable, with the cause and the cure, where io_uring cannot be used.
    """

    def __init__(self, *, busy_poll: float | None = None) -> None:
        """Make a loop that looks for completions for `busy_poll` seconds before it blocks the thread.

        What comes in that time is answered without waking the core from its sleep, at the price of a core that is
        never idle for so long after each event. The GIL is released meanwhile. None takes the seconds from the
        environment variable URINGLOOP_BUSY_POLL, or else 0: block at once. Raises ValueError if they are negative.
        """
        super().__init__()
        seconds = float(os.environ.get(BUSY_POLL_VARIABLE, "0")) if busy_poll is None else busy_poll
        if not 0 <= seconds <= 1:
            self.close()
            raise ValueError(f"busy_poll must be from 0 to 1 second, got {seconds!r}")
        self._proactor.ring.busy_poll(seconds)
