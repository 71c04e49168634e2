"""The handles that calls return: asyncio's own classes, made more cheaply.

asyncio's constructors ask the loop at each call whether it is in debug mode, to note where the handle was made.
The loop knows, and makes asyncio's own then; otherwise it makes these, which set the same attributes.
"""

import asyncio
import sys
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, TypeVarTuple

from . import borrowed

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


if sys.version_info >= (3, 14):

    class ThreadSafeHandle(borrowed.ThreadSafeHandle):  # type: ignore[misc]
        """A callback that another thread may cancel: when that returns, the callback has run or never will.

        The loop runs any handle's callback by its `_context`. That of this one is the handle itself, which holds
        its lock meanwhile; so the loop need not tell the kinds apart.
        """

        __slots__ = ("_user_context",)

        @property
        def _context(self) -> "ThreadSafeHandle":
            return self

        @_context.setter
        def _context(self, context: Context) -> None:
            self._user_context = context

        def get_context(self) -> Context:
            """Return the callback's context."""
            return self._user_context

        def run(self, callback: Callable[..., object], *args: Any) -> None:
            """Run the callback in its context, unless it was cancelled."""
            with self._lock:
                if not self._cancelled:
                    self._user_context.run(callback, *args)

        def cancel(self: Any) -> None:
            """Cancel the callback; waits for it if it runs in another thread."""
            with self._lock:
                if not self._cancelled:
                    self._cancelled = True
                    if self._loop.get_debug():
                        self._repr = repr(self)
                    self._callback = None
                    self._args = ()  # not None, as asyncio has it: the loop may be about to call run() with them

else:
    ThreadSafeHandle = Handle
