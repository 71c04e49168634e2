"""Datagram endpoints: UDP, Unix, and whatever else has datagrams."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Any

from ..reporting import logger
from ..sockets import Sockets
from ..transports.datagram import DatagramTransport
from .servers import remove_stale_socket

_WHAT = "datagram socket" if sys.version_info >= (3, 13) else "UDP Socket"  # what asyncio says it expects

ProtocolFactory = Callable[[], asyncio.BaseProtocol]
Option = tuple[int, int, Any, Any]
"""A socket that would do: its family, its protocol, the address to bind it to, and the one to connect it to."""


class Datagrams(Sockets):
    """The datagram API of the event loop."""

    async def create_datagram_endpoint(  # type: ignore[override]
        self,
        protocol_factory: ProtocolFactory,
        local_addr: Any = None,
        remote_addr: Any = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_port: bool | None = None,
        allow_broadcast: bool | None = None,
        sock: socket.socket | None = None,
    ) -> tuple[DatagramTransport, asyncio.BaseProtocol]:
        """Open a datagram endpoint; see the Python documentation of loop.create_datagram_endpoint.

        Raises OSError, that of the first address tried, if no socket can be had for the addresses; ValueError for
        arguments that do not go together; TypeError for what is no address.
        """
        ours = sock is None
        address = None
        if sock is None:
            options = await self._datagram_options(local_addr, remote_addr, family, proto, flags)
            sock, address = await self._open_any(options, bool(reuse_port), bool(allow_broadcast))
        else:
            _check_alone(
                sock, local_addr=local_addr, remote_addr=remote_addr, family=family, proto=proto, flags=flags,
                reuse_port=reuse_port, allow_broadcast=allow_broadcast,
            )  # fmt: skip
            sock.setblocking(False)
        try:
            protocol = protocol_factory()
            waiter = self.create_future()
            self._ensure_fd_no_transport(sock)
            transport = DatagramTransport(self, sock, protocol, address, waiter)
        except BaseException:
            if ours:
                sock.close()
            raise
        if self._debug:
            log = logger.info if local_addr else logger.debug
            text = "Datagram endpoint local_addr=%r remote_addr=%r created: (%r, %r)"
            log(text, local_addr, remote_addr, transport, protocol)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    async def _datagram_options(
        self, local_addr: Any, remote_addr: Any, family: int, proto: int, flags: int
    ) -> list[Option]:
        """Return the sockets that would do for the addresses, in the order to be tried."""
        if not local_addr and not remote_addr:
            if not family:
                raise ValueError("unexpected address family")
            return [(family, proto, None, None)]
        if family == socket.AF_UNIX:
            for address in (local_addr, remote_addr):
                if address is not None and not isinstance(address, str):
                    raise TypeError("string is expected")
            if local_addr and not local_addr.startswith("\0"):
                remove_stale_socket(local_addr)
            return [(family, proto, local_addr, remote_addr)]
        local = await self._resolve_datagram(local_addr, family, proto, flags)
        remote = await self._resolve_datagram(remote_addr, family, proto, flags)
        options = [
            (*kind, local.get(kind), remote.get(kind))
            for kind in dict.fromkeys([*local, *remote])
            if (not local_addr or kind in local) and (not remote_addr or kind in remote)
        ]
        if not options:
            raise ValueError("can not get address information")
        return options

    async def _resolve_datagram(
        self, address: Any, family: int, proto: int, flags: int
    ) -> dict[tuple[int, int], Any]:
        """Return an address that getaddrinfo() has, the last, for each family and protocol."""
        if address is None:
            return {}
        if not isinstance(address, tuple) or len(address) != 2:  # noqa: PLR2004 - a host and a port
            raise TypeError("2-tuple is expected")
        infos = await self._resolve(address, family=family, type=socket.SOCK_DGRAM, proto=proto, flags=flags)
        if not infos:
            raise OSError("getaddrinfo() returned empty list")
        return {(info[0], info[2]): info[4] for info in infos}

    async def _open_any(
        self, options: list[Option], reuse_port: bool, allow_broadcast: bool
    ) -> tuple[socket.socket, Any]:
        """Return the first socket that can be opened, and the address that it is to send to."""
        errors: list[OSError] = []
        for option in options:
            try:
                return await self._open_datagram_socket(option, reuse_port, allow_broadcast), option[3]
            except OSError as error:
                errors.append(error)
        raise errors[0]

    async def _open_datagram_socket(self, option: Option, reuse_port: bool, allow_broadcast: bool) -> socket.socket:
        family, proto, local, remote = option
        sock = socket.socket(family=family, type=socket.SOCK_DGRAM, proto=proto)
        try:
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if allow_broadcast:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setblocking(False)
            if local:
                sock.bind(local)
            if remote and not allow_broadcast:  # answers to a broadcast come from other addresses
                await self.sock_connect(sock, remote)
        except BaseException:
            sock.close()
            raise
        return sock


def _check_alone(sock: socket.socket, **options: Any) -> None:
    """Raise ValueError for a stream socket, and for options that are about a socket to be opened."""
    if sock.type == socket.SOCK_STREAM:
        raise ValueError(f"A {_WHAT} was expected, got {sock!r}")
    given = ", ".join(f"{name}={value}" for name, value in options.items() if value)
    if given:
        raise ValueError(f"socket modifier keyword arguments can not be used when sock is specified. ({given})")
