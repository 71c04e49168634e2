"""Puts our loop where CPython's tests look for asyncio's, and takes note of who makes which.

Tests get their loops from the policy (`asyncio.new_event_loop()`, `asyncio.run()`, IsolatedAsyncioTestCase), by one
of the names of asyncio's loop, or from `utils.TestLoop`. Each of these is replaced. A test that gets hold of a loop
of asyncio's all the same is found out, since those made are counted in their common base class, and failed.
"""

import asyncio
import functools
from asyncio import base_events, selector_events, unix_events
from types import ModuleType
from typing import Any

import uringloop

from .testloop import TestLoop

_NAMES = ("EventLoop", "SelectorEventLoop", "_UnixSelectorEventLoop", "BaseSelectorEventLoop", "BaseEventLoop")
_PLACES = (asyncio, unix_events, selector_events, base_events)


class Census:
    """How many loops were made: ours, and asyncio's own."""

    def __init__(self) -> None:
        self.ours = 0
        self.theirs = 0

    def watch(self) -> None:
        """Count from now on."""
        self._count(uringloop.Loop, "ours")
        self._count(base_events.BaseEventLoop, "theirs")

    def _count(self, loop_class: Any, kind: str) -> None:
        made = loop_class.__init__

        @functools.wraps(made)
        def counted(loop: object, *args: Any, **kwargs: Any) -> None:
            setattr(self, kind, getattr(self, kind) + 1)
            made(loop, *args, **kwargs)

        loop_class.__init__ = counted


def replace_loops(utils: ModuleType) -> None:
    """Make all of asyncio's ways to a loop lead to ours; `utils` is the tests' module of that name."""
    for place in _PLACES:
        for name in _NAMES:
            if hasattr(place, name):
                setattr(place, name, uringloop.Loop)
    policy = getattr(unix_events, "_UnixDefaultEventLoopPolicy", None)
    if policy is not None:
        policy._loop_factory = uringloop.Loop
    utils.TestLoop = TestLoop  # type: ignore[attr-defined]


def replace_selector_tests(module: ModuleType) -> None:
    """Run on our loop the tests that a module repeats for the loop with each kind of selector.

    The class for one kind serves; left_out.py names the others.
    """
    repeated = getattr(module, "EPollEventLoopTests", None)
    if repeated is not None:
        repeated.create_event_loop = lambda self: uringloop.Loop()
