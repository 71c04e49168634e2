"""Fixtures: the loop under test, what it reported, sockets, and the checks on leaving.

A test may be a coroutine function: it is run by its own ``loop``.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import signal
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from support.checks import PATIENCE, Reports, descriptors, left_open, operations_left, wind_up
from support.kinds import Kind, kinds_for
from support.sockets import Names, SocketMaker

LIMIT = 2 * PATIENCE
"""Seconds that a coroutine test may take."""


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts its background jobs with these ignored, and so they stay in every child.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if (3, 12) <= sys.version_info < (3, 14):
        # Now, and not in a test that leaves asyncio no descriptor to find out that it can use pidfds.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            asyncio.get_event_loop_policy().get_child_watcher()
    config.addinivalue_line("filterwarnings", "error")
    config.addinivalue_line(
        "markers",
        "uringloop_only(reason, when=True): asyncio's own loop does not keep this "
        "promise, for the reason given; with when=False it does",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    gc.collect()
    gc.freeze()  # so that the collections after the test look at little


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("uringloop_only")
    if marker is not None:
        (_reason,) = marker.args
    only_ours = marker is not None and marker.kwargs.get("when", True)
    metafunc.parametrize("kind", kinds_for(only_ours), ids=str)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    loop = pyfuncitem.funcargs["loop"]
    loop.run_until_complete(_within_the_limit(pyfuncitem.obj(**arguments)))
    assert not operations_left(loop, pyfuncitem.funcargs["kind"])
    return True


async def _within_the_limit(coroutine: Coroutine[Any, Any, None]) -> None:
    """Cancel a test that waits for ever: that says more, and leaves less, than a killed one."""
    async with asyncio.timeout(LIMIT):
        await coroutine


@pytest.fixture
def reports() -> Reports:
    """What the loop's exception handler was called with. A test takes what it expects."""
    return Reports()


@pytest.fixture
def make_loop(kind: Kind, reports: Reports) -> Iterator[Callable[[], asyncio.AbstractEventLoop]]:
    """Make loops of the kind under test; nothing may be left of them in the end."""
    before = descriptors()
    loops = []

    def make() -> asyncio.AbstractEventLoop:
        loop = kind.new_event_loop()
        loop.slow_callback_duration = LIMIT  # or a loaded machine adds to what a test finds logged in debug mode
        loop.set_exception_handler(reports)
        loops.append(loop)
        return loop

    yield make
    complaints = []
    while loops:
        complaints += wind_up(loops.pop(), kind)
    complaints += [f"the loop reported {context}" for context in reports.unclaimed]
    complaints += [f"left open: {fd} {name}" for fd, name in left_open(before).items()]
    assert not complaints


@pytest.fixture
def loop(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
) -> asyncio.AbstractEventLoop:
    """The loop under test."""
    return make_loop()


@pytest.fixture
def sockets(loop: asyncio.AbstractEventLoop) -> Iterator[SocketMaker]:
    """Makes sockets that are closed when the test ends, before the loop is."""
    with SocketMaker() as maker:
        yield maker


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Host names made up for a test, beside those that the machine knows."""
    return Names(monkeypatch)


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Leave it to reference counts alone what becomes of objects."""
    gc.disable()
    yield
    gc.enable()
