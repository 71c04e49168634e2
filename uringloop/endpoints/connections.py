"""Connections: TCP and Unix, made by us or accepted elsewhere."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import itertools
import os
import socket
import ssl as ssl_module
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..borrowed import staggered_race
from ..reporting import logger
from ..transports.stream import disable_nagle
from .tls import TLS

_TAKES_SOCKET_AT_ONCE = sys.version_info >= (3, 14)
"""Whether a socket that the caller made is closed if no transport can be made of it; as with asyncio's loop."""

ProtocolFactory = Callable[[], asyncio.BaseProtocol]
Connection = tuple[asyncio.Transport, asyncio.BaseProtocol]


class Connections(TLS):
    """The connection API of the event loop."""

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: ProtocolFactory,
        host: str | None = None,
        port: int | str | None = None,
        *,
        ssl: ssl_module.SSLContext | bool | None = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: socket.socket | None = None,
        local_addr: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
    ) -> Connection:
        """Connect to a TCP server; see the Python documentation of loop.create_connection.

        Raises OSError if no address of the host answers: the error of the one address, or one that names them
        all; with all_errors, an ExceptionGroup of all errors. Errors of TLS are ssl.SSLError, or
        ConnectionError when a handshake ends early or takes too long (the timeouts are in seconds).
        """
        if server_hostname is None and ssl:
            if not host:
                raise ValueError("You must set server_hostname when using ssl without a host")
            server_hostname = host
        check_tls_options(ssl, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
        if sock is not None:
            check_not_tls(sock)
        ours = sock is None
        if host is not None or port is not None:
            if sock is not None:
                raise ValueError("host/port and sock can not be specified at the same time")
            resolve = functools.partial(
                self._resolve, family=family, type=socket.SOCK_STREAM, proto=proto, flags=flags
            )
            infos = _not_empty(await resolve((host, port)))
            local = None if local_addr is None else _not_empty(await resolve(local_addr))
            if interleave is None and happy_eyeballs_delay is not None:
                interleave = 1
            if interleave:
                infos = _interleave(infos, interleave)
            sock = await self._connect_any(infos, local, happy_eyeballs_delay, all_errors)
        else:
            if sock is None:
                raise ValueError("host and port was not specified and no sock specified")
            check_stream(sock)
        transport, protocol = await self._connect_protocol(
            sock, ours, protocol_factory, ssl, False, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout
        )
        if self._debug:
            sock = transport.get_extra_info("socket")
            logger.debug("%r connected to %s:%r: (%r, %r)", sock, host, port, transport, protocol)
        return transport, protocol

    async def create_unix_connection(  # type: ignore[override]
        self,
        protocol_factory: ProtocolFactory,
        path: Any = None,
        *,
        ssl: ssl_module.SSLContext | bool | None = None,
        sock: socket.socket | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> Connection:
        """Connect to a Unix socket; see the Python documentation of loop.create_unix_connection.

        Raises OSError if that fails, and otherwise as create_connection().
        """
        if ssl and server_hostname is None:
            raise ValueError("you have to pass server_hostname when using ssl")
        check_tls_options(ssl, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
        ours = sock is None
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            path = os.fspath(path)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                await self.sock_connect(sock, path)
            except BaseException:
                sock.close()
                raise
        else:
            if sock is None:
                raise ValueError("no path and sock were specified")
            check_unix_stream(sock)
        return await self._connect_protocol(
            sock, ours, protocol_factory, ssl, False, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout
        )

    async def connect_accepted_socket(  # type: ignore[override]
        self,
        protocol_factory: ProtocolFactory,
        sock: socket.socket,
        *,
        ssl: ssl_module.SSLContext | bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> Connection:
        """Make a transport of a connection that was accepted elsewhere.

        Raises ValueError for what is no stream socket, and errors of TLS as create_connection().
        """
        check_stream(sock)
        check_tls_options(ssl, None, ssl_handshake_timeout, ssl_shutdown_timeout)
        check_not_tls(sock)
        transport, protocol = await self._connect_protocol(
            sock, False, protocol_factory, ssl, True, "", ssl_handshake_timeout, ssl_shutdown_timeout
        )
        if self._debug:
            logger.debug("%r handled: (%r, %r)", transport.get_extra_info("socket"), transport, protocol)
        return transport, protocol

    async def _connect_protocol(
        self,
        sock: socket.socket,
        ours: bool,
        protocol_factory: ProtocolFactory,
        ssl: ssl_module.SSLContext | bool | None,
        server_side: bool,
        server_hostname: str | None,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None,
    ) -> Connection:
        """Make a protocol and a transport for a connected socket, which is closed on failure if it is `ours`."""
        takes_socket = ours or _TAKES_SOCKET_AT_ONCE
        with _closed_on_failure(sock, takes_socket):
            sock.setblocking(False)
            protocol = protocol_factory()
        self._ensure_fd_no_transport(sock)  # that of another transport is not closed
        with _closed_on_failure(sock, takes_socket):
            disable_nagle(sock)
            waiter = self.create_future()
            transport = self._make_transport(
                sock, protocol, ssl, waiter,
                server_side=server_side, server_hostname=server_hostname,
                ssl_handshake_timeout=ssl_handshake_timeout, ssl_shutdown_timeout=ssl_shutdown_timeout,
            )  # fmt: skip
        try:
            await waiter
        except BaseException:
            del waiter  # it refers to the error, the error to this frame
            transport.close()
            raise
        return transport, protocol

    async def _connect_any(
        self, infos: list[Any], local: list[Any] | None, happy_eyeballs_delay: float | None, all_errors: bool
    ) -> socket.socket:
        """Return a socket connected to one of the addresses, the first that can be."""
        errors: list[OSError] = []
        attempts = [functools.partial(self._connect_one, errors, info, local) for info in infos]
        try:
            if happy_eyeballs_delay is None:
                for attempt in attempts:
                    with contextlib.suppress(OSError):
                        return await attempt()
            else:
                race = await staggered_race(attempts, happy_eyeballs_delay, loop=self)
                connected: socket.socket | None = race[0]
                if connected is not None:
                    return connected
                del race  # it has the errors, too
            raise _combined([*errors], all_errors)
        finally:
            errors.clear()  # they refer, by their tracebacks, to what refers to this list

    async def _connect_one(self, errors: list[OSError], info: Any, local: list[Any] | None) -> socket.socket:
        family, kind, proto, _, address = info
        sock = None
        try:
            sock = socket.socket(family, kind, proto)
            sock.setblocking(False)
            if local is not None:
                _bind_local(sock, local, errors)
            await self.sock_connect(sock, address)
        except BaseException as error:
            if sock is not None:
                with contextlib.suppress(OSError):  # it must not hide the error that there is
                    sock.close()
            if isinstance(error, OSError):
                errors.append(error)
            raise
        return sock


@contextlib.contextmanager
def _closed_on_failure(sock: socket.socket, must_close: bool) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if must_close:
            sock.close()
        raise


def check_not_tls(sock: socket.socket) -> None:
    """Raise TypeError for an SSL socket."""
    if isinstance(sock, ssl_module.SSLSocket):
        raise TypeError("Socket cannot be of type SSLSocket")


def check_stream(sock: socket.socket) -> None:
    """Raise ValueError for a socket that is no stream."""
    if sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A Stream Socket was expected, got {sock!r}")


def check_unix_stream(sock: socket.socket) -> None:
    """Raise ValueError for anything but a Unix stream socket."""
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")


def check_tls_options(
    ssl: Any, server_hostname: str | None, handshake_timeout: float | None, shutdown_timeout: float | None
) -> None:
    """Raise ValueError for options of TLS without TLS."""
    if ssl:
        return
    options = {
        "server_hostname": server_hostname,
        "ssl_handshake_timeout": handshake_timeout,
        "ssl_shutdown_timeout": shutdown_timeout,
    }
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"{name} is only meaningful with ssl")


def _not_empty(infos: list[Any]) -> list[Any]:
    if not infos:
        raise OSError("getaddrinfo() returned empty list")
    return infos


def _interleave(infos: Iterable[Any], first_family_count: int) -> list[Any]:
    """Return the addresses in turns of their families, beginning with some of the first (RFC 8305, section 4)."""
    by_family: dict[int, list[Any]] = collections.defaultdict(list)
    for info in infos:
        by_family[info[0]].append(info)
    families = list(by_family.values())
    head = families[0][: first_family_count - 1]
    del families[0][: first_family_count - 1]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*families))
    return head + [info for info in turns if info is not None]


def _bind_local(sock: socket.socket, local: list[Any], errors: list[OSError]) -> None:
    """Bind to the first local address of the socket's family that will do."""
    failures = []
    for family, _, _, _, address in local:
        if family != sock.family:
            continue
        try:
            sock.bind(address)
        except OSError as error:
            message = f"error while attempting to bind on address {address!r}: {str(error).lower()}"
            failures.append(OSError(error.errno, message))
        else:
            errors += failures
            return
    if not failures:
        raise OSError(f"no matching local address with family={sock.family!r} found")
    errors += failures[:-1]
    raise failures[-1]


def _combined(errors: list[OSError], all_errors: bool) -> Exception:
    if not errors:  # all attempts were given up
        return TimeoutError("create_connection failed")
    if all_errors:
        return ExceptionGroup("create_connection failed", errors)
    texts = [str(error) for error in errors]
    if len(set(texts)) == 1:
        return errors[0]
    return OSError(f"Multiple exceptions: {', '.join(texts)}")
