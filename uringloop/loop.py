"""The event loop: its parts put together."""

from .signals import Signals
from .endpoints.servers import Servers


class Loop(Servers, Signals):
    """An asyncio event loop on io_uring.

    Raises UringUnavailable, with the cause and the cure, on a machine that has none for us.
    """


def new_event_loop() -> Loop:
    """Return a new event loop; made for `asyncio.run(main(), loop_factory=uringloop.new_event_loop)`."""
    return Loop()
