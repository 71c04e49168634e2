"""What becomes of exceptions that nobody caught: the loop's exception handler, and the log."""

import asyncio
import logging
import traceback
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("asyncio")

ExceptionHandler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]


class Reporting(asyncio.AbstractEventLoop):
    """The error handling API of the event loop."""

    def __init__(self) -> None:
        self._exception_handler: ExceptionHandler | None = None
        self._current_handle: Any = None  # known in debug mode only

    def get_exception_handler(self) -> ExceptionHandler | None:
        """Return the exception handler, or None for the default one."""
        return self._exception_handler

    def set_exception_handler(self, handler: ExceptionHandler | None) -> None:
        """Set the function that is called with the loop and a context for each uncaught exception.

        None stands for the default handler. Raises TypeError for what cannot be called.
        """
        if handler is not None and not callable(handler):
            raise TypeError(f"A callable object or None is expected, got {handler!r}")
        self._exception_handler = handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Log the context, an error's traceback, and in debug mode where the object was made."""
        exception = context.get("exception")
        traceback_info = (type(exception), exception, exception.__traceback__) if exception is not None else False
        origin = self._current_handle and self._current_handle._source_traceback
        if origin and "source_traceback" not in context:
            context["handle_traceback"] = origin
        lines = [context.get("message") or "Unhandled exception in event loop"]
        further = sorted(context.keys() - {"message", "exception"})
        lines += (f"{key}: {_describe(key, context[key])}" for key in further)
        logger.error("\n".join(lines), exc_info=traceback_info)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Call the exception handler with a context.

        That is a dict with 'message' and, by case, 'exception', 'future', 'task', 'handle', 'protocol',
        'transport', 'socket', 'asyncgen'; see the Python documentation of loop.call_exception_handler.
        """
        handler = self._exception_handler
        if handler is None:
            self._call_default_handler(context, "Exception in default exception handler")
            return
        try:
            thing: Any = context.get("task") or context.get("future") or context.get("handle")
            user_context = thing.get_context() if hasattr(thing, "get_context") else None
            if user_context is None:
                handler(self, context)
            else:
                user_context.run(handler, self, context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            failure = {
                "message": "Unhandled error in exception handler", "exception": error, "context": context,
            }
            self._call_default_handler(
                failure,
                "Exception in default exception handler while handling an unexpected error in custom exception "
                "handler",
            )

    def _call_default_handler(self, context: dict[str, Any], complaint: str) -> None:
        try:
            self.default_exception_handler(context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:  # a subclass may have overridden it
            logger.error(complaint, exc_info=True)


def _describe(key: str, value: Any) -> str:
    origins = {"source_traceback": "Object", "handle_traceback": "Handle"}
    if key in origins:
        lines = "".join(traceback.format_list(value)).rstrip()
        return f"{origins[key]} created at (most recent call last):\n{lines}"
    return repr(value)
