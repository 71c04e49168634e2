"""An asyncio event loop for Linux on io_uring.

asyncio.run(main(), loop_factory=uringloop.new_event_loop), or uringloop.run(main()).
"""

import sys

from .loop import Loop
from .probe import Probe, probe
from .running import new_event_loop, run
from .unavailable import UringUnavailable

__version__ = "0.1.0"

__all__ = ["Loop", "Probe", "UringUnavailable", "__version__", "new_event_loop", "probe", "run"]

if sys.version_info < (3, 16):
    from .running import EventLoopPolicy, install

    __all__ += ["EventLoopPolicy", "install"]
