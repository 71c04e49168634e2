"""Run one module of CPython's asyncio tests on our loop, in this process."""

import argparse
import importlib
import sys
import unittest
from collections.abc import Iterator
from fnmatch import fnmatchcase

from . import adapting, modules, replacing
from .left_out import LeftOut, left_out_of
from .result import Result


def main() -> int:
    """Return 0 if all is as it should be."""
    arguments = _parser().parse_args()
    census = replacing.Census()
    utils = importlib.import_module(f"{modules.PACKAGE}.utils")
    entries: list[LeftOut] = [] if arguments.asyncio else left_out_of(arguments.module)
    if not arguments.asyncio:
        census.watch()
        adapting.adapt()
        replacing.replace_loops(utils)
    name = f"{modules.PACKAGE}.{arguments.module}"
    module = importlib.import_module(name)
    if not arguments.asyncio:
        replacing.replace_selector_tests(module)
    tests = list(_flatten(unittest.defaultTestLoader.loadTestsFromModule(module)))
    names = [test.id().removeprefix(f"{name}.") for test in tests]
    result = Result(f"{name}.", entries, census)
    for entry in _without_tests(entries, names):
        result.complain(f"NO TEST {entry.pattern}", "It is left out, and does not exist.\n")
    _select(tests, names, entries, arguments.only).run(result)
    if not arguments.asyncio and not arguments.only and not census.ours:
        result.complain(f"NO LOOP {arguments.module}", "Its tests made no loop of ours.\n")
    print(
        f"{arguments.module}: {result.passed} passed, {len(result.skipped)} skipped, "
        f"{result.left_out} left out that failed, {result.complaints} complaints; "
        f"{census.ours} loops of ours, {census.theirs} of asyncio's"
    )
    return 1 if result.complaints else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cpython", description=__doc__)
    parser.add_argument("module", help="for example test_events")
    parser.add_argument("only", nargs="*", help="run only these: Class.test_name, where * stands for any letters")
    parser.add_argument("--asyncio", action="store_true", help="run all tests on asyncio's own loop, to compare")
    return parser


def _flatten(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _flatten(test)
        else:
            yield test


def _without_tests(entries: list[LeftOut], names: list[str]) -> list[LeftOut]:
    return [entry for entry in entries if not any(map(entry.matches, names))]


def _select(
    tests: list[unittest.TestCase], names: list[str], entries: list[LeftOut], only: list[str]
) -> unittest.TestSuite:
    """Return the tests to be run."""
    suite = unittest.TestSuite()
    for test, name in zip(tests, names, strict=True):
        wanted = not only or any(fnmatchcase(name, pattern) for pattern in only)
        if wanted and not any(entry.matches(name) and not entry.run for entry in entries):
            suite.addTest(test)
    return suite


if __name__ == "__main__":
    sys.exit(main())
