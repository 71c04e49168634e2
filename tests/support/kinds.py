"""The loops that a test runs on: asyncio's own, the oracle, and uringloop's.

Each comes with debug mode off and on. asyncio's loop says what is right; a test that
it fails is wrong, unless the test says why with ``uringloop_only``.

With URINGLOOP_TESTS_ORACLE_ONLY=1 uringloop is not imported, and what would have run
on it is skipped. That is for checking the tests themselves. Without it a uringloop that
cannot be imported is an error, never a skip.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest

ORACLE_ONLY = os.environ.get("URINGLOOP_TESTS_ORACLE_ONLY") == "1"

if not ORACLE_ONLY:
    import uringloop


@dataclass(frozen=True)
class Kind:
    """One way to make a loop."""

    module: str
    factory: str
    debug: bool

    def __str__(self) -> str:
        return self.module + ("-debug" if self.debug else "")

    @property
    def is_oracle(self) -> bool:
        return self.module == "asyncio"

    @property
    def make(self) -> Callable[[], asyncio.AbstractEventLoop]:
        """The function that a user would pass as ``loop_factory``."""
        module = asyncio if self.is_oracle else uringloop
        return getattr(module, self.factory)

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        loop = self.make()
        loop.set_debug(self.debug)
        return loop


ORACLES = [Kind("asyncio", "SelectorEventLoop", debug) for debug in (False, True)]
OURS = [Kind("uringloop", "new_event_loop", debug) for debug in (False, True)]


def kinds_for(only_ours: bool) -> list:
    """The parameters of a test: every kind, or uringloop's own two."""
    ours: list = OURS
    if ORACLE_ONLY:
        skip = pytest.mark.skip(reason="URINGLOOP_TESTS_ORACLE_ONLY=1")
        ours = [pytest.param(kind, marks=skip) for kind in OURS]
    return ours if only_ours else [*ORACLES, *ours]


_own_operations: dict[Kind, int] = {}


def own_operations(kind: Kind) -> int:
    """How many operations a loop that was asked for nothing keeps in flight."""
    if kind not in _own_operations:
        loop = kind.new_event_loop()
        loop.run_until_complete(asyncio.sleep(0))
        _own_operations[kind] = operations_in_flight(loop)
        loop.close()
    return _own_operations[kind]


def operations_in_flight(loop: asyncio.AbstractEventLoop) -> int:
    return loop._proactor.in_flight()  # type: ignore[attr-defined]
