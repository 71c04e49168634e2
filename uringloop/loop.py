"""The event loop: its parts put together."""

from .endpoints.datagrams import Datagrams
from .endpoints.processes import Processes
from .endpoints.sendfile import Sendfile
from .endpoints.servers import Servers
from .signals import Signals


class Loop(Datagrams, Processes, Sendfile, Servers, Signals):
    """An asyncio event loop on io_uring.

    Raises UringUnavailable, with the cause and the cure, where io_uring cannot be used.
    """
