"""Asynchronous generators: those that a loop iterates are closed with it."""

import asyncio
import warnings
import weakref
from collections.abc import AsyncGenerator
from typing import Any

from .reporting import Reporting


class AsyncGenerators(Reporting):
    """The asynchronous generators of the event loop, and their shutdown."""

    def __init__(self) -> None:
        super().__init__()
        self._asyncgens: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()
        self._asyncgens_shutdown = False

    def _asyncgen_started(self, generator: AsyncGenerator[Any, Any]) -> None:
        if self._asyncgens_shutdown:
            warnings.warn(
                f"asynchronous generator {generator!r} was scheduled after loop.shutdown_asyncgens() call",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )
        self._asyncgens.add(generator)

    def _asyncgen_abandoned(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._asyncgens.discard(generator)
        if not self.is_closed():
            self.call_soon_threadsafe(self.create_task, generator.aclose())

    async def shutdown_asyncgens(self) -> None:
        """Close all asynchronous generators that are being iterated."""
        self._asyncgens_shutdown = True
        generators = list(self._asyncgens)
        self._asyncgens.clear()
        results = await asyncio.gather(*(generator.aclose() for generator in generators), return_exceptions=True)
        for generator, result in zip(generators, results, strict=True):
            if isinstance(result, Exception):
                message = f"an error occurred during closing of asynchronous generator {generator!r}"
                self.call_exception_handler({"message": message, "exception": result, "asyncgen": generator})
