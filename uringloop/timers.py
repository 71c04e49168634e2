"""Delayed calls, in a heap."""

import itertools
from collections import deque
from heapq import heapify, heappop, heappush
from typing import Any

_FEW = 50  # with no more cancelled ones among the entries than this, they wait for their time

_Entry = tuple[float, int, Any]
"""When, order of arrival, asyncio.TimerHandle: compared in C, and calls for the same time run in the order made."""


class Timers:
    """The delayed calls of a loop, earliest first."""

    def __init__(self) -> None:
        self.heap: list[_Entry] = []
        self._next_number = itertools.count().__next__
        self._cancelled = 0

    def add(self, handle: Any, when: float) -> None:
        """Keep the handle until `when` (seconds of the loop's clock)."""
        handle._scheduled = True
        heappush(self.heap, (when, self._next_number(), handle))

    def note_cancelled(self) -> None:
        """Count a cancelled handle, and purge when most of the heap is made of them."""
        self._cancelled += 1
        if self._cancelled > _FEW and self._cancelled * 2 > len(self.heap):
            self.heap = [entry for entry in self.heap if entry[2]._args is not None]
            heapify(self.heap)
            self._cancelled = 0

    def next_time(self) -> float | None:
        """Return the time of the earliest call that is not cancelled, or None."""
        heap = self.heap
        while heap:
            if heap[0][2]._args is not None:
                return heap[0][0]
            self._cancelled -= 1
            heappop(heap)[2]._scheduled = False
        return None

    def move_due(self, now: float, ready: deque[Any]) -> None:
        """Append the calls whose time has come to `ready`; never one before its time."""
        heap = self.heap
        while heap and heap[0][0] <= now:
            handle = heappop(heap)[2]
            handle._scheduled = False
            if handle._args is None:
                self._cancelled -= 1
            else:
                ready.append(handle)

    def clear(self) -> None:
        """Forget all calls."""
        self.heap.clear()
        self._cancelled = 0
