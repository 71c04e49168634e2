"""The tests of CPython that our loop is not to pass, each with the reason.

Most of them are run nevertheless: one that passes is an entry too many, and fails the run. Those with run=False are
not, because they would hang, or do harm to other tests, or repeat them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase

_EVERY = (3, 0)
_NEVER = (4, 0)


@dataclass(frozen=True)
class LeftOut:
    """Tests of one module: `Class.test_name`, where * stands for any characters."""

    module: str
    pattern: str
    reason: str
    run: bool = True
    since: tuple[int, int] = _EVERY
    before: tuple[int, int] = _NEVER

    def concerns(self, module: str) -> bool:
        """Tell whether the entry is about this module and the running Python."""
        return self.module == module and self.since <= sys.version_info[:2] < self.before

    def matches(self, test: str) -> bool:
        """Tell whether the entry names the test."""
        return fnmatchcase(test, self.pattern)


_ONE_SELECTOR = "repeats for another selector of asyncio's loop what EPollEventLoopTests runs on ours"

LEFT_OUT = (
    LeftOut("test_events", "PollEventLoopTests.*", _ONE_SELECTOR, run=False),
    LeftOut("test_events", "SelectEventLoopTests.*", _ONE_SELECTOR, run=False),
    LeftOut("test_sendfile", "PollEventLoopTests.*", _ONE_SELECTOR, run=False),
    LeftOut("test_sendfile", "SelectEventLoopTests.*", _ONE_SELECTOR, run=False),
    LeftOut("test_sock_lowlevel", "PollEventLoopTests.*", _ONE_SELECTOR, run=False),
    LeftOut("test_sock_lowlevel", "SelectEventLoopTests.*", _ONE_SELECTOR, run=False),
)


def left_out_of(module: str) -> list[LeftOut]:
    """Return the entries for a module that concern the running Python."""
    return [entry for entry in LEFT_OUT if entry.concerns(module)]
