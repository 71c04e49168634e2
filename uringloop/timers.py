"""Delayed calls, in a heap."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from heapq import heapify, heappop, heappush
from typing import Any

from .handles import TimerHandle

_FEW = 50  # with no more cancelled ones among the entries than this, they wait for their time

_Entry = tuple[float, int, Any]
"""When, order of arrival, asyncio.TimerHandle: compared in C, and calls for the same time run in the order made."""


class Timers:
    """The delayed calls of a loop, earliest first.

    Those made in a turn come into the heap at its end only: many are cancelled before, and cost little then.
    """

    def __init__(self) -> None:
        self.heap: list[_Entry] = []
        self.new: deque[Any] = deque()  # handles
        self._next_number = itertools.count().__next__
        self._cancelled = 0

    def add(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
    ) -> asyncio.TimerHandle:
        """Return the handle of a call at `when` (seconds of the loop's clock)."""
        handle: Any = TimerHandle()
        handle._callback = callback
        handle._args = args
        handle._loop = loop
        handle._context = copy_context() if context is None else context
        handle._when = when
        handle._scheduled = False
        self.new.append(handle)
        return handle  # type: ignore[no-any-return]

    def keep(self, handle: asyncio.TimerHandle) -> None:
        """Keep a handle made elsewhere until its time."""
        self.new.append(handle)

    def _sort_in(self) -> None:
        """Put what is new into the heap, one by one: an exception out of a signal's handler costs no other."""
        new = self.new
        while new:
            handle = new.popleft()
            if handle._args is not None:
                handle._scheduled = True
                heappush(self.heap, (handle._when, self._next_number(), handle))

    def note_cancelled(self) -> None:
        """Count a cancelled handle of the heap, and purge when that is mostly made of them."""
        self._cancelled += 1
        if self._cancelled > _FEW and self._cancelled * 2 > len(self.heap):
            heap = [entry for entry in self.heap if entry[2]._args is not None]
            heapify(heap)
            self.heap = heap
            self._cancelled = 0

    def next_time(self) -> float | None:
        """Return the time of the earliest call that is not cancelled, or None."""
        if self.new:
            self._sort_in()
        heap = self.heap
        while heap:
            if heap[0][2]._args is not None:
                return heap[0][0]
            self._cancelled -= 1
            heappop(heap)[2]._scheduled = False
        return None

    def move_due(self, now: float, ready: deque[Any]) -> None:
        """Append the calls whose time has come to `ready`; never one before its time."""
        if self.new:
            self._sort_in()
        heap = self.heap
        while heap and not heap[0][0] > now:  # a NaN is due, as with asyncio, lest all wait behind it
            handle = heappop(heap)[2]
            handle._scheduled = False
            if handle._args is None:
                self._cancelled -= 1
            else:
                ready.append(handle)

    def clear(self) -> None:
        """Forget all calls."""
        self.new.clear()
        self.heap.clear()
        self._cancelled = 0
