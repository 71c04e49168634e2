"""Everything that is taken from asyncio, and the interpreter, without being documented there.

The one place to look when a new Python breaks the loop; tests/test_architecture.py checks that each name is still
there and still does what is expected of it. What asyncio exports (`asyncio.Handle`, `asyncio.Transport`, ...) is
imported where it is used.
"""

import _thread
import asyncio
import inspect
import socket
from asyncio import (
    base_events,
    constants,
    coroutines,
    events,
    format_helpers,
    sslproto,
    staggered,
    streams,
    trsock,
)
from collections.abc import Callable
from typing import Any

TransportSocket = trsock.TransportSocket
"""What `get_extra_info('socket')` returns: a socket that cannot be read from or written to behind our back."""

staggered_race = staggered.staggered_race
"""Runs coroutines with a delay between their starts until one succeeds (RFC 8305, Happy Eyeballs)."""

ThreadSafeHandle: Any = getattr(events, "_ThreadSafeHandle", asyncio.Handle)
"""What call_soon_threadsafe() returns since Python 3.14: a handle that another thread may cancel."""

accept_descriptor: Callable[[socket.socket], tuple[int, Any]] = socket.socket._accept  # type: ignore[attr-defined]
"""What socket.accept() is made of: returns a descriptor and the peer's address."""

count_threads: Callable[[], int] = _thread._count
"""How many threads Python has started that have not ended; threading.active_count() is much slower."""

SSLProtocol: Any = sslproto.SSLProtocol
"""TLS between a transport and a protocol."""

SSLProtocolState: Any = sslproto.SSLProtocolState
"""What it is at; WRAPPED and FLUSHING are the states in which it reads."""


def take_over_arrivals(tls: Any, protocol: object) -> None:
    """Give the SSLProtocol what a stream has received and not yet read: it is encrypted, if the peer began it."""
    if isinstance(protocol, streams.StreamReaderProtocol):
        reader: Any = protocol._stream_reader  # type: ignore[attr-defined]
        if reader is not None:
            tls._incoming.write(reader._buffer)
            reader._buffer.clear()


SendfileMode: Any = constants._SendfileMode
"""What a transport's `_sendfile_compatible` says: UNSUPPORTED, TRY_NATIVE, or FALLBACK, as that of TLS does."""

get_running_loop = events._get_running_loop
"""The running loop of this thread, or None. (Setting it is documented for implementers; asking is not.)"""

is_debug_mode: Callable[[], bool] = coroutines._is_debug_mode  # type: ignore[attr-defined]
"""Whether new loops start in debug mode: PYTHONASYNCIODEBUG, or python -X dev."""

_format_callback = format_helpers._format_callback_source
_FORMAT_TAKES_DEBUG = "debug" in inspect.signature(_format_callback).parameters


def describe_callback(callback: Callable[..., object], args: tuple[Any, ...], debug: bool) -> str:
    """Return a callback with its arguments and source line, as asyncio's log messages have it."""
    options = {"debug": debug} if _FORMAT_TAKES_DEBUG else {}
    return str(_format_callback(callback, args, **options))


def describe_handle(handle: object) -> str:
    """Return a handle, or the task that it steps, as the log of slow callbacks has it."""
    return str(base_events._format_handle(handle))  # type: ignore[attr-defined]
