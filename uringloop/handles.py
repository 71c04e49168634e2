"""The handles that calls return: asyncio's own classes, made more cheaply.

asyncio's constructors ask the loop at each call whether it is in debug mode, to note where the handle was made.
The loop knows, and makes asyncio's own then; otherwise it makes these, which set the same attributes.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, TypeVarTuple

Args = TypeVarTuple("Args")
"""The types of a callback's arguments."""


class Handle(asyncio.Handle):
    """A callback to be run once, which can be cancelled."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class TimerHandle(asyncio.TimerHandle):
    """A callback to be run at a time (seconds of the loop's clock), which can be cancelled."""

    __slots__ = ()

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self._when = when
        self._scheduled = False

    def cancel(self) -> None:
        """Cancel the call; if it has run already, or was cancelled before, this changes nothing."""
        loop: Any = self._loop
        if loop._debug:
            super().cancel()
        elif not self._cancelled:
            self._cancelled = True
            released: Any = self
            released._callback = released._args = None
            loop._timers.note_cancelled(self)
