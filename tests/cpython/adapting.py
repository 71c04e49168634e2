"""Lets CPython's tests find in our loop some things that they look for by asyncio's private names.

Many tests are about behaviour and yet reach for the loop by a private name: they silence the log by
`mock.patch("asyncio.base_events.logger")`, make bind() fail by `mock.patch("asyncio.base_events.socket")`, or run
one turn by `loop._run_once()`. Without this they would say nothing of our loop.
"""

import asyncio
import functools
import socket
import sys
import time
from asyncio import base_events, coroutines, events, staggered, unix_events
from collections.abc import Callable
from types import ModuleType
from typing import Any

import uringloop
from uringloop import borrowed, wakeup
from uringloop.endpoints import connections
from uringloop.transports.server import Server
from uringloop.transports.stream import StreamTransport

_MOCKED = ("logger", "signal", "socket", "sys")
"""What tests mock in the modules of asyncio's loop, by its global name there; it has the same name in ours."""


def _is_debug_mode() -> bool:
    return coroutines._is_debug_mode()  # type: ignore[attr-defined]  # tests replace that one


def _get_running_loop() -> asyncio.AbstractEventLoop | None:
    return events._get_running_loop()  # tests replace that one


def _staggered_race(*args: Any, **options: Any) -> Any:
    return staggered.staggered_race(*args, **options)  # tests replace that one


class _MockedWithAsyncio:
    """In place of a global of ours: that of asyncio's modules that is mocked at the moment, or the real one."""

    def __init__(self, name: str, real: object) -> None:
        self._name = name
        self._real = real

    def __getattr__(self, attribute: str) -> Any:
        for module in (base_events, unix_events):
            there = getattr(module, self._name, self._real)
            if there is not self._real:
                return getattr(there, attribute)
        return getattr(self._real, attribute)


def adapt() -> None:
    """Do it all."""
    for module in _our_modules() - {wakeup}:  # whose sockets asyncio's loop makes where no test mocks them
        for name in _MOCKED:
            if name in vars(module):
                setattr(module, name, _MockedWithAsyncio(name, vars(module)[name]))
    borrowed.is_debug_mode = _is_debug_mode
    borrowed.get_running_loop = _get_running_loop
    connections.staggered_race = _staggered_race
    loop_class: Any = uringloop.Loop
    loop_class._run_once = _with_ring(loop_class._turn)
    loop_class._turn = lambda loop: loop._run_once()  # tests replace the one of that name
    loop_class._handle_signal = loop_class._signalled
    loop_class._clock_resolution = time.get_clock_info("monotonic").resolution
    loop_class._selector = None
    loop_class._stop_serving = lambda loop, sock: sock.close()
    transport_class: Any = StreamTransport
    transport_class._paused = property(lambda transport: transport._reader.paused)
    server_class: Any = Server
    server_class._sockets = property(_listening)


def _with_ring(turn: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return a turn that can also be called of a loop that does not run, as the tests do."""

    @functools.wraps(turn)
    def run_once(loop: Any) -> None:
        if loop.is_running():
            turn(loop)
            return
        loop._proactor.start()
        try:
            turn(loop)
        finally:
            loop._proactor.stop()

    return run_once


def _our_modules() -> set[ModuleType]:
    return {module for name, module in sys.modules.items() if name.split(".")[0] == "uringloop"}


def _listening(server: Server) -> tuple[socket.socket, ...] | None:
    return tuple(server.sockets) or None
