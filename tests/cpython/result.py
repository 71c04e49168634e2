"""What the outcomes of a module's tests amount to."""

from __future__ import annotations

import faulthandler
import unittest
from typing import Any

from .left_out import LeftOut
from .replacing import Census

SECONDS_PER_TEST = 60.0


class Result(unittest.TestResult):
    """Prints what is wrong as it happens, so that it is seen if a later test hangs or crashes.

    `complaints` counts it: failures, tests that are left out and pass, and tests that ran on a loop of asyncio's.
    """

    def __init__(self, prefix: str, entries: list[LeftOut], census: Census) -> None:
        super().__init__()
        self.complaints = 0
        self.passed = 0
        self.left_out = 0
        self._prefix = prefix
        self._entries = entries
        self._census = census
        self._made_by_asyncio = 0
        self._errors: list[str] = []
        self._no_verdict = False

    def complain(self, title: str, text: str = "") -> None:
        """Print something that is wrong."""
        self.complaints += 1
        print(f"{title}\n{text}", flush=True)

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        faulthandler.dump_traceback_later(SECONDS_PER_TEST, exit=True)
        self._errors = []
        self._no_verdict = False
        self._made_by_asyncio = self._census.theirs

    def stopTest(self, test: unittest.TestCase) -> None:
        faulthandler.cancel_dump_traceback_later()
        super().stopTest(test)
        name = test.id().removeprefix(self._prefix)
        if self._census.theirs > self._made_by_asyncio:
            self._errors.append("The test made a loop of asyncio's own.\n")
        entry = next((entry for entry in self._entries if entry.matches(name)), None)
        if entry is None:
            self.passed += not self._errors and not self._no_verdict
            if self._errors:
                self.complain(f"FAILED {name}", "\n".join(self._errors))
        elif self._errors or self._no_verdict:
            self.left_out += 1
        else:
            self.complain(
                f"PASSED {name}", f"It is left out, and passes. The reason given: these tests {entry.reason}.\n"
            )

    def addError(self, test: Any, err: Any) -> None:
        self._note(test, err)

    def addFailure(self, test: Any, err: Any) -> None:
        self._note(test, err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self._note(subtest, err)

    def addSkip(self, test: Any, reason: str) -> None:
        super().addSkip(test, reason)
        self._no_verdict = True

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        self._no_verdict = True

    def _note(self, test: Any, err: Any) -> None:
        text = self._exc_info_to_string(err, test)  # type: ignore[attr-defined]
        if isinstance(test, unittest.TestCase):
            self._errors.append(text)
        else:  # the set-up of a class or of the module
            self.complain(f"FAILED {test.id()}", text)
