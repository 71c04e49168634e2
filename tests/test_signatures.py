"""What can be called, and how: each public method of ours is compared with asyncio's.

What a call does is the matter of the other tests.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from asyncio import base_events, selector_events, unix_events
from typing import Any

import pytest

import uringloop
from uringloop import handles
from uringloop.transports.datagram import DatagramTransport
from uringloop.transports.process import ProcessTransport
from uringloop.transports.read_pipe import ReadPipeTransport
from uringloop.transports.server import Server
from uringloop.transports.stream import StreamTransport
from uringloop.transports.write_pipe import WritePipeTransport

PAIRS = {
    "loop": (asyncio.SelectorEventLoop, uringloop.Loop),
    "server": (base_events.Server, Server),
    "stream": (selector_events._SelectorSocketTransport, StreamTransport),
    "datagram": (selector_events._SelectorDatagramTransport, DatagramTransport),
    "read pipe": (unix_events._UnixReadPipeTransport, ReadPipeTransport),
    "write pipe": (unix_events._UnixWritePipeTransport, WritePipeTransport),
    "process": (unix_events._UnixSubprocessTransport, ProcessTransport),
    "handle": (asyncio.Handle, handles.Handle),
    "timer": (asyncio.TimerHandle, handles.TimerHandle),
}

NOT_OURS = {
    ("stream", "max_size"): "the size of asyncio's buffer; documented nowhere",
    ("datagram", "max_size"): "the size of asyncio's buffer; documented nowhere",
    ("read pipe", "max_size"): "the size of asyncio's buffer; documented nowhere",
}

EARLIER_THAN_ASYNCIO = {
    ("loop", "create_connection", "all_errors"): (3, 12),
    ("loop", "create_server", "keep_alive"): (3, 13),
    ("loop", "create_unix_server", "cleanup_socket"): (3, 13),
    ("loop", "shutdown_default_executor", "timeout"): (3, 12),
}
"""Arguments that ours take in every Python, and asyncio's since the version given."""


PUBLIC = [
    pytest.param(what, name, id=f"{what}-{name}")
    for what, (theirs, _ours) in PAIRS.items()
    for name in dir(theirs)
    if not name.startswith("_") and (what, name) not in NOT_OURS
]


def parameters(function: Any) -> list[inspect.Parameter]:
    found = inspect.signature(function).parameters.values()
    return [parameter.replace(annotation=inspect.Parameter.empty) for parameter in found]


@pytest.mark.parametrize(("what", "name"), PUBLIC)
def test_ours_is_called_as_asyncios_is(what, name):
    theirs, ours = (inspect.getattr_static(kind, name) for kind in PAIRS[what])
    assert isinstance(theirs, property) == isinstance(ours, property)
    assert inspect.iscoroutinefunction(theirs) == inspect.iscoroutinefunction(ours)
    if not callable(theirs):
        return
    earlier = [
        argument
        for (kind, method, argument), since in EARLIER_THAN_ASYNCIO.items()
        if (kind, method) == (what, name) and sys.version_info < since
    ]
    if name == "create_task" and sys.version_info < (3, 14):  # ours takes any keyword, as asyncio's since then
        inspect.signature(ours).bind("self", "coro", name="name", context=None)
        return
    assert [parameter for parameter in parameters(ours) if parameter.name not in earlier] == parameters(theirs)


@pytest.mark.parametrize(("what", "name"), list(NOT_OURS))
def test_what_is_said_not_to_be_ours_is_asyncios_and_not_ours(what, name):
    theirs, ours = PAIRS[what]
    assert hasattr(theirs, name)
    assert not hasattr(ours, name)


@pytest.mark.parametrize("what", list(PAIRS))
def test_ours_is_an_instance_of_what_asyncio_documents(what):
    theirs, ours = PAIRS[what]
    documented = {
        kind
        for kind in theirs.__mro__
        if kind.__module__ in {"asyncio.events", "asyncio.transports"} and not kind.__name__.startswith("_")
    }
    assert all(issubclass(ours, kind) for kind in documented)
