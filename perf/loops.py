"""The event loops that are compared, by name."""

import asyncio
import importlib
import sys
from collections.abc import Callable

NAMES = ("asyncio", "uvloop", "rloop", "uringloop")


def factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes a new loop of this name; each is a module that says."""
    make: Callable[[], asyncio.AbstractEventLoop]
    make = importlib.import_module(name).new_event_loop
    return make


def why_missing(name: str) -> str | None:
    """Return why no loop of this name can be made here, or None if one can."""
    try:
        factory(name)().close()
    except Exception as error:  # anything: whatever it is, the loop is left out
        return f"{type(error).__name__}: {error}"
    return None


def available() -> tuple[list[str], dict[str, str]]:
    """Return the loops that take part, and why the others do not."""
    missing = {name: why_missing(name) for name in NAMES}
    left_out = {name: why for name, why in missing.items() if why is not None}
    for name, why in left_out.items():
        print(f"{name} is left out: {why}", file=sys.stderr)
    return [name for name in NAMES if name not in left_out], left_out
