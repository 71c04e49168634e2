"""Ways to run a loop or a function for a moment, and a context variable to try contexts with."""

from __future__ import annotations

import concurrent.futures
import contextvars
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


def context_with(value: str) -> contextvars.Context:
    """A context in which the variable has this value."""
    context = contextvars.copy_context()
    context.run(variable.set, value)
    return context


def run_briefly(loop: asyncio.AbstractEventLoop) -> None:
    """One turn of the loop."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Run in another thread to the end; return or raise what the function did."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args).result()
