"""The event loop: its parts put together."""

from .endpoints.servers import Servers
from .signals import Signals


class Loop(Servers, Signals):
    """An asyncio event loop on io_uring.

    Raises UringUnavailable, with the cause and the cure, where io_uring cannot be used.
    """
