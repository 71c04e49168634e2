"""Futures and tasks."""

import asyncio
import sys
from asyncio import futures, tasks
from collections.abc import Callable
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
        return futures.Future(loop=self)

    def create_task(self, coro: Any, **kwargs: Any) -> Any:
        """Schedule a coroutine and return its task.

        The keyword arguments (`name`, `context`, since Python 3.14 `eager_start`) are for asyncio.Task, or for the
        task factory.
        """
        if self._task_factory is not None:
            self._check_closed()
            return _made_by(self._task_factory, self, coro, kwargs)
        if self._careful:
            self._check_closed()
            return self._make_traced(coro, kwargs)
        # Without a variable: a task that began at once may have an error whose traceback refers to this frame.
        return tasks.Task(coro, loop=self, **kwargs) if kwargs else tasks.Task(coro, loop=self)

    def _make_traced(self, coro: Any, options: dict[str, Any]) -> Any:
        """Return a task whose origin does not tell of this file."""
        task: Any = tasks.Task(coro, loop=self, **options)
        if task._source_traceback:
            del task._source_traceback[-2:]
        try:
            return task
        finally:
            del task  # as above

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


def _made_by(
    factory: TaskFactory, loop: asyncio.AbstractEventLoop, coro: Any, options: dict[str, Any]
) -> Any:
    """Return the task that the factory makes, which is given what this Python's loops give it."""
    if sys.version_info >= (3, 14):
        return factory(loop, coro, **options)
    name = options.pop("name", None)
    context = options.pop("context", None)
    if context is not None:
        options["context"] = context
    task = factory(loop, coro, **options)
    if hasattr(task, "set_name"):  # a factory may return any future
        task.set_name(name)
    return task
