"""TLS: the transports of encrypted connections, and start_tls."""

from __future__ import annotations

import asyncio
import socket
from ssl import SSLContext
from typing import TYPE_CHECKING, Any

from ..borrowed import take_over_arrivals
from ..sockets import Sockets
from ..transports.stream import StreamTransport
from ..transports.tls import TLSProtocol

if TYPE_CHECKING:
    from ..transports.server import Server


class TLS(Sockets):
    """The making of stream transports, plain or encrypted."""

    def _make_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        ssl: SSLContext | bool | None,
        waiter: asyncio.Future[None] | None,
        server: Server | None = None,
        peer: Any = None,
        **options: Any,
    ) -> asyncio.Transport:
        """Return a transport for the connected socket; with a context, an encrypted one.

        True stands for a client's context with the system's certificates. The options are TLSProtocol's:
        server_side, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout.
        """
        if not ssl:
            return StreamTransport(self, sock, protocol, waiter, server, peer)
        tls = TLSProtocol(self, protocol, None if isinstance(ssl, bool) else ssl, waiter, **options)
        StreamTransport(self, sock, tls, server=server, peer=peer)
        transport: asyncio.Transport = tls._app_transport
        return transport

    async def start_tls(
        self,
        transport: asyncio.BaseTransport,
        protocol: asyncio.BaseProtocol,
        sslcontext: SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport:
        """Encrypt a connection that is under way; return the transport to use from then on.

        Raises TypeError for a transport that cannot be encrypted, and errors of TLS as create_connection(). After
        an error the connection is closed.
        """
        if not isinstance(sslcontext, SSLContext):
            raise TypeError(f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}")
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        waiter = self.create_future()
        tls = TLSProtocol(
            self, protocol, sslcontext, waiter, server_side, server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout, ssl_shutdown_timeout=ssl_shutdown_timeout,
            call_connection_made=False,
        )  # fmt: skip
        # No arrival may come between the change of protocols and the start of the handshake.
        transport.pause_reading()  # type: ignore[attr-defined]
        if server_side:
            take_over_arrivals(tls, protocol)
        transport.set_protocol(tls)
        made = self.call_soon(tls.connection_made, transport)
        resumed = self.call_soon(transport.resume_reading)  # type: ignore[attr-defined]
        try:
            await waiter
        except BaseException:
            del waiter  # it refers to the error, the error to this frame
            transport.close()
            made.cancel()
            resumed.cancel()
            raise
        encrypted: asyncio.Transport = tls._app_transport
        return encrypted
