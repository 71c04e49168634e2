"""What all transports over a descriptor have in common: their protocol, how they fail, and how they end."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import warnings
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..borrowed import TransportSocket
from ..reporting import logger

if TYPE_CHECKING:
    from ..proactor import Proactor
    from ..watchers import Watchers


class DescriptorTransport(asyncio.BaseTransport):
    """A transport over a descriptor.

    A subclass provides `_release_operations()`, which takes back what it has in flight, and `_close_file()`.
    """

    # There may be very many transports. Attributes of a user's own are possible, as with asyncio's.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "_closing",
        "_context",
        "_fd",
        "_loop",
        "_lost",
        "_open",
        "_protocol",
    )  # fmt: skip

    _exclusive = True
    """Whether the loop refuses other uses of the descriptor."""

    def __init__(
        self, loop: Watchers, fd: int, protocol: asyncio.BaseProtocol, extra: dict[str, Any] | None
    ) -> None:
        """`extra` is what get_extra_info() knows, or None for a transport that tells only when it is asked."""
        if extra is not None:
            super().__init__(extra)
        self._loop = loop
        self._fd = fd
        self._protocol: Any = protocol
        self._context = contextvars.copy_context()
        self._closing = False
        self._lost = 0  # not 0: the end is scheduled; counts the writes since
        self._open = True
        if self._exclusive:
            loop._transports[fd] = weakref.ref(self)

    def __repr__(self) -> str:
        state = "closed" if not self._open else "closing" if self._closing else "open"
        return f"<{type(self).__name__} fd={self._fd} {state}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if getattr(self, "_open", False):
            _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            self._shut()

    @property
    def _proactor(self) -> Proactor:
        return self._loop._proactor

    def is_closing(self) -> bool:
        """Tell whether the transport is closing or closed."""
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Make another protocol take what comes from now on."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def abort(self) -> None:
        """Close at once; what was not sent is dropped."""
        self._force_close(None)

    def _begin(self, started: Callable[[], object], waiter: asyncio.Future[None] | None) -> None:
        """Have the protocol told of the connection, then wake the waiter, and call `started` when it has gone on.

        As with asyncio's loop, the transport is returned to who asked for it before anything arrives.
        """
        loop = self._loop
        loop.call_soon(self._protocol.connection_made, self, context=self._context)
        if waiter is None:
            loop.call_soon(started)
        else:
            loop.call_soon(wake, waiter)
            loop.call_soon(loop.call_soon, started)

    def _run_protocol(self, name: str, *args: Any) -> Any:
        """Call a method of the protocol in the transport's context; an error in it ends the transport."""
        try:
            return self._context.run(getattr(self._protocol, name), *args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fatal_error(error, f"Fatal error: protocol.{name}() call failed.")
            return None

    def _fatal_error(self, error: BaseException, message: str) -> None:
        """Report an error and close at once; those of the connection itself only show in debug mode's log."""
        if isinstance(error, OSError):
            if self._loop.get_debug():
                logger.debug("%r: %s", self, message, exc_info=error)
        else:
            self._report(error, message)
        self._force_close(error)

    def _log(self, message: str) -> None:
        """Log in debug mode; the message has a %r for the transport."""
        if self._loop.get_debug():
            logger.debug(message, self)

    def _report(self, error: BaseException, message: str) -> None:
        self._loop.call_exception_handler(
            {"message": message, "exception": error, "transport": self, "protocol": self._protocol}
        )

    def _force_close(self, error: BaseException | None) -> None:
        if self._lost:
            return
        self._closing = True
        self._release_operations()
        self._finish(error)

    def _finish(self, error: BaseException | None) -> None:
        """Schedule the end: nothing of the transport's is in flight any more."""
        self._lost += 1
        self._loop.call_soon(self._connection_lost, error, context=self._context)

    def _connection_lost(self, error: BaseException | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._shut()
            self._protocol = None

    def _shut(self) -> None:
        self._open = False
        if self._exclusive:
            self._leave_number()
        self._close_file()

    def _leave_number(self) -> None:
        """Make room in the loop's table, unless someone closed the socket and the number is another's."""
        reference = self._loop._transports.get(self._fd)
        if reference is not None and reference() in (None, self):  # None while this one is collected
            del self._loop._transports[self._fd]

    def _release_operations(self) -> None:
        raise NotImplementedError

    def _close_file(self) -> None:
        raise NotImplementedError


def wake(waiter: asyncio.Future[None]) -> None:
    """Let go on who waits, unless it gave up."""
    if not waiter.cancelled():
        waiter.set_result(None)


def describe_socket(sock: socket.socket, address: Any, peer: Any) -> dict[str, Any]:
    """Return what get_extra_info() knows of a socket with this address and peer."""
    return {"socket": TransportSocket(sock), "sockname": address, "peername": peer}


def address_of(sock: socket.socket) -> Any:
    """Return the socket's address; None if it is closed."""
    try:
        return sock.getsockname()
    except OSError:
        return None


def peer_of(sock: socket.socket) -> Any:
    """Return the address of the socket's peer; None if it has none, or none any more."""
    try:
        return sock.getpeername()
    except OSError:
        return None
