"""Futures and tasks."""

import asyncio
from asyncio import Future
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from .scheduling import Scheduling

TaskFactory = Callable[..., "asyncio.Future[Any]"]


class Tasks(Scheduling):
    """The future and task API of the event loop."""

    def __init__(self) -> None:
        super().__init__()
        self._task_factory: TaskFactory | None = None

    def create_future(self) -> "asyncio.Future[Any]":
        """Return a new future of this loop."""
        return Future(loop=self)

    def create_task(
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: Context | None = None,
        **options: Any,
    ) -> Any:
        """Schedule a coroutine and return its task.

        Further options (`eager_start`, since Python 3.14) go to asyncio.Task, or to the task factory.
        """
        self._check_closed()
        factory = self._task_factory
        if factory is None:
            task: Any = asyncio.Task(coro, loop=self, name=name, context=context, **options)
            if task._source_traceback:
                del task._source_traceback[-1]
            return task
        if context is not None:
            options["context"] = context
        task = factory(self, coro, **options)
        if hasattr(task, "set_name"):  # a factory may return any future
            task.set_name(name)
        return task

    def set_task_factory(self, factory: TaskFactory | None) -> None:
        """Set the function that create_task() calls with the loop and the coroutine; None for asyncio.Task.

        Raises TypeError for what cannot be called.
        """
        if factory is not None and not callable(factory):
            raise TypeError("task factory must be a callable or None")
        self._task_factory = factory

    def get_task_factory(self) -> TaskFactory | None:
        """Return the task factory, or None if asyncio.Task is used."""
        return self._task_factory
