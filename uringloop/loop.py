"""The event loop: its parts put together."""

from .endpoints.processes import Processes
from .endpoints.servers import Servers
from .signals import Signals


class Loop(Processes, Servers, Signals):
    """An asyncio event loop on io_uring.

    Raises UringUnavailable, with the cause and the cure, where io_uring cannot be used.
    """
