"""Prints how many milliseconds it takes to get going with an event loop.

Run as ``python -P startup.py NAME`` in a process that has imported nothing yet,
which is why this is no part of anything.
"""

import sys
import time

begun = time.perf_counter()
module = __import__(sys.argv[1])
imported = time.perf_counter()


async def nothing() -> None:
    """Do nothing."""


loop = module.new_event_loop()
loop.run_until_complete(nothing())
loop.close()
ended = time.perf_counter()

print(f'{{"import": {(imported - begun) * 1e3}, "startup": {(ended - imported) * 1e3}}}')
