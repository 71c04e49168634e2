"""Servers: TCP and Unix."""

from __future__ import annotations

import asyncio
import collections.abc
import errno
import os
import socket
import ssl as ssl_module
import stat
import sys
from collections.abc import Callable
from typing import Any

from ..reporting import logger
from ..transports.server import Connected, Server
from .connections import (
    Connections,
    ProtocolFactory,
    check_not_tls,
    check_stream,
    check_tls_options,
    check_unix_stream,
)

_CLEANUP_SOCKET = sys.version_info >= (3, 13)  # asyncio's loops leave the file behind before


class Servers(Connections):
    """The server API of the event loop."""

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: ProtocolFactory,
        host: Any = None,
        port: int | None = None,
        *,
        family: int = socket.AF_UNSPEC,
        flags: int = socket.AI_PASSIVE,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: ssl_module.SSLContext | None = None,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> Server:
        """Serve TCP connections; see the Python documentation of loop.create_server.

        The timeouts are in seconds. Raises OSError, with the address, if one cannot be bound to; ValueError or
        TypeError for arguments that do not go together.
        """
        _check_server_tls(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        if sock is not None:
            check_not_tls(sock)
        if host is not None or port is not None:
            if sock is not None:
                raise ValueError("host/port and sock can not be specified at the same time")
            options = {
                socket.SO_REUSEADDR: reuse_address is None or reuse_address,
                socket.SO_REUSEPORT: reuse_port,
                socket.SO_KEEPALIVE: keep_alive,
            }
            sockets = self._bind_all(await self._resolve_hosts(host, port, family, flags), options)
        else:
            if sock is None:
                raise ValueError("Neither host/port nor sock were specified")
            check_stream(sock)
            sockets = [sock]
        connected = self._connector(protocol_factory, ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        return await self._serve(sockets, connected, backlog, start_serving)

    async def create_unix_server(  # type: ignore[override]
        self,
        protocol_factory: ProtocolFactory,
        path: Any = None,
        *,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: ssl_module.SSLContext | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
        cleanup_socket: bool = _CLEANUP_SOCKET,
    ) -> Server:
        """Serve connections to a Unix socket; see the Python documentation of loop.create_unix_server.

        The socket file is removed when the server is closed, unless cleanup_socket is false or it is another by
        then. Raises as create_server().
        """
        _check_server_tls(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            sock = _bind_unix(os.fspath(path))
        else:
            if sock is None:
                raise ValueError("path was not specified, and no sock specified")
            check_unix_stream(sock)
        closed = _socket_file_remover(sock.getsockname()) if cleanup_socket else lambda: None
        connected = self._connector(protocol_factory, ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        return await self._serve([sock], connected, backlog, start_serving, closed)

    async def _serve(
        self,
        sockets: list[socket.socket],
        connected: Connected,
        backlog: int,
        start_serving: bool,
        closed: Callable[[], None] = lambda: None,
    ) -> Server:
        for sock in sockets:
            sock.setblocking(False)
        server = Server(self, sockets, connected, backlog, closed)
        if start_serving:
            try:
                await server.start_serving()
            except BaseException:  # cancelled: nobody would know of the server
                server.close()
                raise
        if self._debug:
            logger.info("%r is serving", server)
        return server

    def _connector(
        self,
        protocol_factory: ProtocolFactory,
        ssl: ssl_module.SSLContext | None,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None,
    ) -> Connected:
        """Return the function that makes a transport of each accepted connection.

        A protocol factory that raises, or a handshake that fails, costs its connection and nothing else; as with
        asyncio's loop, the error is told to the exception handler in debug mode only.
        """

        def connected(connection: socket.socket, peer: Any, server: Server) -> None:
            protocol = None
            waiter = self.create_future() if ssl else None
            try:
                protocol = protocol_factory()
                self._ensure_fd_no_transport(connection)
                transport = self._make_transport(
                    connection, protocol, ssl, waiter, server, peer,
                    server_side=True, ssl_handshake_timeout=ssl_handshake_timeout,
                    ssl_shutdown_timeout=ssl_shutdown_timeout,
                )  # fmt: skip
            except (SystemExit, KeyboardInterrupt):
                connection.close()
                raise
            except BaseException as error:
                connection.close()
                self._report_accepted(error, protocol, None)
            else:
                if waiter is not None:
                    self.create_task(self._await_handshake(waiter, transport, protocol))

        return connected

    async def _await_handshake(
        self, waiter: asyncio.Future[None], transport: asyncio.Transport, protocol: asyncio.BaseProtocol
    ) -> None:
        """Wait for the handshake of an accepted connection; cancelled, as all tasks are in the end, give it up."""
        try:
            await waiter
        except BaseException as error:
            del waiter  # it refers to the error, the error to this frame
            transport.close()
            self._report_accepted(error, protocol, transport)

    def _report_accepted(
        self, error: BaseException, protocol: asyncio.BaseProtocol | None, transport: asyncio.Transport | None
    ) -> None:
        """Tell, in debug mode, of an accepted connection that came to nothing."""
        if self._debug:
            message = "Error on transport creation for incoming connection"
            known = {"message": message, "exception": error, "protocol": protocol, "transport": transport}
            self.call_exception_handler({key: value for key, value in known.items() if value is not None})

    async def _resolve_hosts(self, host: Any, port: int | None, family: int, flags: int) -> list[Any]:
        """Return the distinct addresses of one host or of several; none, or an empty one, stands for all."""
        hosts: list[Any]
        if host == "":
            hosts = [None]
        elif isinstance(host, str) or not isinstance(host, collections.abc.Iterable):
            hosts = [host]
        else:
            hosts = list(host)
        resolutions = (
            self._resolve((name, port), family=family, type=socket.SOCK_STREAM, flags=flags) for name in hosts
        )
        found = await asyncio.gather(*resolutions)
        for name, infos in zip(hosts, found, strict=True):
            if not infos:
                raise OSError(f"getaddrinfo({name!r}) returned empty list")
        return list(dict.fromkeys(info for infos in found for info in infos))

    def _bind_all(self, infos: list[Any], options: dict[int, bool | None]) -> list[socket.socket]:
        sockets: list[socket.socket] = []
        try:
            for family, kind, proto, _, address in infos:
                try:
                    sock = socket.socket(family, kind, proto)
                except OSError:  # a family that this system does not have
                    if self._debug:
                        arguments = family, kind, proto
                        logger.warning("create_server() failed to create socket.socket%r", arguments, exc_info=True)
                    continue
                sockets.append(sock)
                if not self._bind(sock, address, options):
                    sockets.pop().close()
            if not sockets:
                raise OSError(f"could not bind on any address out of {[info[4] for info in infos]!r}")
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        return sockets

    def _bind(self, sock: socket.socket, address: Any, options: dict[int, bool | None]) -> bool:
        """Bind the socket; return False if its family is not enabled here."""
        for option, value in options.items():
            if value:
                sock.setsockopt(socket.SOL_SOCKET, option, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
        try:
            sock.bind(address)
        except OSError as error:
            message = f"error while attempting to bind on address {address!r}: {str(error).lower()}"
            if error.errno != errno.EADDRNOTAVAIL:
                raise OSError(error.errno, message) from None
            if self._debug:
                logger.warning(message)
            return False
        return True


def _check_server_tls(ssl: Any, handshake_timeout: float | None, shutdown_timeout: float | None) -> None:
    if isinstance(ssl, bool):
        raise TypeError("ssl argument must be an SSLContext or None")
    check_tls_options(ssl, None, handshake_timeout, shutdown_timeout)


def _bind_unix(path: str | bytes) -> socket.socket:
    """Return a socket bound to the path, in place of a socket file that is there already."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path[0] not in (0, "\0"):  # no abstract address
            remove_stale_socket(path)
        sock.bind(path)
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise OSError(errno.EADDRINUSE, f"Address {path!r} is already in use") from None
        raise
    return sock


def remove_stale_socket(path: str | bytes) -> None:
    """Remove the socket file that an earlier process has left, if there is one."""
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.remove(path)
    except FileNotFoundError:
        pass
    except OSError as error:  # the directory may allow to make files, and not to look
        logger.error("Unable to check or remove stale UNIX socket %r: %r", path, error)


def _socket_file_remover(path: str | bytes) -> Callable[[], None]:
    """Return a function that removes the socket file if it is still the one that is there now."""
    if not path or path[0] in (0, "\0"):
        return lambda: None
    made = os.stat(path).st_ino

    def remove() -> None:
        try:
            if os.stat(path).st_ino == made:
                os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            logger.error("Unable to clean up listening UNIX socket %r: %r", path, error)

    return remove
