"""The loop with a clock of its own that CPython's tests use, as a loop of ours.

`test.test_asyncio.utils.TestLoop` is asyncio's BaseEventLoop with time standing still until a generator moves it.
The same is done here to uringloop's loop, so that those tests are about our scheduling too.
"""

from collections.abc import Callable, Generator
from typing import Any

import uringloop

Clock = Callable[[], Generator[float, float, None]]
"""Makes a generator that is sent the time of each delayed call and yields by how much to move the clock."""


class TestLoop(uringloop.Loop):
    """A loop whose time is moved by a generator, and which waits for nothing but its callbacks."""

    __test__ = False

    def __init__(self, gen: Clock | None = None) -> None:
        self._now = 0.0
        self._asked_for: list[float] = []
        self._must_finish = gen is not None
        self._clock = (gen or _still)()
        next(self._clock)
        super().__init__()

    def time(self) -> float:
        return self._now

    def advance_time(self, advance: float) -> None:
        """Move the clock; the tests call this as well."""
        self._now += advance or 0.0

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        self._asked_for.append(when)
        return super().call_at(when, callback, *args, context=context)

    def _run_once(self) -> None:  # a turn; see adapting.py
        if not self._ready:
            uringloop.Loop.call_soon(self, _nothing)  # with a callback that is ready the turn does not wait
        super()._run_once()  # type: ignore[misc]
        self._move_clock()

    def _first_turn(self) -> None:
        super()._first_turn()
        self._move_clock()

    def _move_clock(self) -> None:
        asked_for, self._asked_for = self._asked_for, []
        for when in asked_for:
            self.advance_time(self._clock.send(when))

    def close(self) -> None:
        super().close()
        if not self._must_finish:
            return
        self._must_finish = False
        try:
            self._clock.send(0)
        except StopIteration:
            return
        raise AssertionError("Time generator is not finished")


def _still() -> Generator[float, float, None]:
    yield 0.0


def _nothing() -> None:
    """Do nothing."""
