"""The ways to make programs use the loop: run(), and, where Python still has them, event loop policies."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

from . import borrowed
from .loop import Loop


def new_event_loop() -> Loop:
    """Return a new event loop; made for `asyncio.run(main(), loop_factory=uringloop.new_event_loop)`.

    Raises UringUnavailable, with the cause and the cure, where io_uring cannot be used.
    """
    return Loop()


def run(
    main: Coroutine[Any, Any, Any],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = new_event_loop,
) -> Any:
    """Run the coroutine on a new loop and return its result: asyncio.run() with this package's loop.

    Raises RuntimeError where a loop is running already.
    """
    if borrowed.get_running_loop() is not None:
        raise RuntimeError("uringloop.run() cannot be called from a running event loop")
    with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(main)


if sys.version_info < (3, 16):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # policies are deprecated since Python 3.14
        _DefaultPolicy: Any = asyncio.DefaultEventLoopPolicy

    class EventLoopPolicy(_DefaultPolicy):  # type: ignore[misc]
        """asyncio's policy, with this package's loops."""

        _loop_factory = staticmethod(new_event_loop)

    def install() -> None:
        """Make asyncio.new_event_loop(), and with it asyncio.run(), use this package's loop.

        Better to name the loop where it is run, as policies are going away: see run().
        """
        with warnings.catch_warnings():
            if sys.version_info >= (3, 14):
                warnings.simplefilter("ignore", DeprecationWarning)
            asyncio.set_event_loop_policy(EventLoopPolicy())
