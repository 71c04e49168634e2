"""TLS: contexts with certificates made for the occasion, encrypted connections, and ends of them without a loop."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import ipaddress
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from support.checks import SLOWNESS, until
from support.protocols import BufferedRecorder, Recorder, dropped
from support.sockets import SocketMaker, read_some, send_all

NAME = "localhost"

PROMPTLY = 10.0 * SLOWNESS
"""Seconds; what waits for a timeout of TLS in vain takes 30 or 60."""


@functools.cache
def certificate(name: str) -> bytes:
    """A key and its self-signed certificate for a host on the loopback, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem + made.public_bytes(serialization.Encoding.PEM)


def server_context(name: str = NAME) -> ssl.SSLContext:
    """A server with the certificate."""
    return _with_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), name)


def client_context(name: str = NAME) -> ssl.SSLContext:
    """A client that trusts the certificate."""
    return _with_trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), name)


def demanding_context() -> ssl.SSLContext:
    """A server that wants the client to have a certificate for "client"."""
    context = _with_trust(server_context(), "client")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def certified_context() -> ssl.SSLContext:
    """A client that has one."""
    return _with_certificate(client_context(), "client")


def _with_certificate(context: ssl.SSLContext, name: str) -> ssl.SSLContext:
    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate(name))
        file.flush()
        context.load_cert_chain(file.name)
    return context


def _with_trust(context: ssl.SSLContext, name: str) -> ssl.SSLContext:
    pem = certificate(name).decode()
    context.load_verify_locations(cadata=pem[pem.index("-----BEGIN CERTIFICATE") :])
    return context


def of_version(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    """The same context, restricted to a version of TLS."""
    context.minimum_version = context.maximum_version = version
    return context


# both ends on the running loop


class ViewRecorder(BufferedRecorder):
    """Gives a view of its buffer, as asyncio's TLS needs it."""

    def get_buffer(self, sizehint: int) -> Any:
        return memoryview(super().get_buffer(sizehint))


@dataclass
class Ends:
    """The protocols at both ends of a connection; each has its transport."""

    client: Any
    server: Any


@contextlib.asynccontextmanager
async def encrypted(
    sockets: SocketMaker,
    client: Any = None,
    server: Any = None,
    *,
    client_tls: ssl.SSLContext | None = None,
    server_tls: ssl.SSLContext | None = None,
    stream: str = "tcp",
    **options: Any,
) -> AsyncIterator[Ends]:
    """Connect two protocols, `Recorder`s unless told, by TLS."""
    loop = asyncio.get_running_loop()
    theirs, ours = sockets.pair(stream)
    ends = Ends(client or Recorder(), server or Recorder())
    (transport, _), (server_transport, _) = await asyncio.gather(
        loop.create_connection(
            lambda: ends.client, sock=ours, ssl=client_tls or client_context(), server_hostname=NAME, **options
        ),
        loop.connect_accepted_socket(lambda: ends.server, theirs, ssl=server_tls or server_context(), **options),
    )
    carried = [(end, end.get_extra_info("socket")) for end in (transport, server_transport)]
    try:
        yield ends
    finally:
        for end, sock in carried:
            if sock.fileno() != -1:
                end.abort()
                await until(lambda sock=sock: sock.fileno() == -1)


async def ended(transport: Any) -> None:
    """Abort the transport, unless its connection has ended, and wait until its socket is closed."""
    if transport.get_extra_info("socket") is not None:  # it forgets the socket in the end
        await dropped(transport)


# an end without a loop


class Peer:
    """One end of an encrypted connection over a plain socket, which no loop knows."""

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext | None = None,
        server_side: bool = False,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.sock = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        context = context or (server_context() if server_side else client_context())
        name = None if server_side else NAME
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side, name, session)

    async def handshake(self) -> None:
        await self._do(self.tls.do_handshake)

    async def send(self, data: bytes) -> None:
        await self._do(self.tls.write, data)

    async def receive(self, count: int) -> bytes:
        """Receive so many bytes, or fewer if a close_notify comes before."""
        data = bytearray()
        while len(data) < count and (piece := await self._do(self.tls.read, count - len(data))):
            data += piece
        return bytes(data)

    async def unwrap(self) -> None:
        """Send a close_notify and wait for the other's."""
        await self._do(self.tls.unwrap)

    async def end(self, says_so: bool) -> None:
        """Close at once, with a close_notify or without."""
        if says_so:
            await self.say_end()
        self.sock.close()

    async def say_end(self) -> None:
        """Send a close_notify, and do not wait for the other's."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        await self._flush()

    def first_flight(self) -> bytes:
        """Begin the handshake as a client; return the ClientHello, for the test to send."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self._outgoing.read()

    async def _do(self, step: Callable[..., Any], *args: Any) -> Any:
        while True:
            try:
                return step(*args)
            except ssl.SSLWantReadError:
                await self._flush()
                if data := await read_some(self.sock):
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            finally:
                await self._flush()

    async def _flush(self) -> None:
        if data := self._outgoing.read():
            await send_all(self.sock, data)


@contextlib.asynccontextmanager
async def with_peer(
    sockets: SocketMaker, protocol: Any = None, server_side: bool = False, context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Any, Peer]]:
    """Connect a protocol, a `Recorder` unless told, to a `Peer`; the side, and the context, are the peer's."""
    loop = asyncio.get_running_loop()
    ours, theirs = sockets.tcp_pair()
    protocol = protocol or Recorder()
    peer = Peer(theirs, context, server_side)
    shaking = loop.create_task(peer.handshake())
    if server_side:
        options = {"ssl": client_context(), "server_hostname": NAME}
        transport, _ = await loop.create_connection(lambda: protocol, sock=ours, **options)
    else:
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, ours, ssl=server_context())
    try:
        await shaking
        yield protocol, peer
    finally:
        await ended(transport)
