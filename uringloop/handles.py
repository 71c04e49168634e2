"""The handles that calls return: asyncio's own classes, made more cheaply.

asyncio's constructors ask the loop at each call whether it is in debug mode, to note where the handle was made.
The loop knows, and makes asyncio's own then; otherwise it makes these, which have the same attributes.
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
    """A callback to be run once, which can be cancelled.

    Then its arguments are None, and the callback is, too: but somebody may have given None for that.
    Who makes one sets `_callback`, `_args`, `_loop` and `_context`; the rest is the same for all.
    """

    __slots__ = ()
    __init__ = object.__init__

    _repr = None
    _source_traceback = None
    _callback: Any
    _args: Any
    _loop: Any

    @property
    def _cancelled(self) -> bool:  # type: ignore[override]
        return self._args is None

    def cancel(self) -> None:
        """Cancel the callback; if it has run already, or was cancelled before, this changes nothing."""
        self._args = self._callback = None


class TimerHandle(Handle, asyncio.TimerHandle):
    """A callback to be run at a time, `_when` (seconds of the loop's clock), which can be cancelled."""

    __slots__ = ()

    _scheduled: bool
    """Whether it is in the heap."""

    def cancel(self) -> None:
        """Cancel the call; if it has run already, or was cancelled before, this changes nothing."""
        if self._args is not None:
            self._args = self._callback = None
            if self._scheduled:
                self._loop._timers.note_cancelled()


def new_handle(
    callback: Callable[..., object],
    args: tuple[Any, ...],
    loop: asyncio.AbstractEventLoop,
    context: Context | None,
) -> asyncio.Handle:
    """Return a handle; without a context given, of the caller's as it is now."""
    handle: Any = Handle()
    handle._callback = callback
    handle._args = args
    handle._loop = loop
    handle._context = copy_context() if context is None else context
    return handle  # type: ignore[no-any-return]


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

    new_threadsafe_handle = ThreadSafeHandle

else:
    new_threadsafe_handle = new_handle
