"""Real sockets on the loopback, and ways to talk over them that need no loop under test."""

from __future__ import annotations

import asyncio
import contextlib
import random
import select
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.checks import PATIENCE

HOSTS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
INTERNET = [
    pytest.param(socket.AF_INET, id="ipv4"),
    pytest.param(socket.AF_INET6, id="ipv6"),
]
STREAMS = ["tcp", "tcp6", "unix"]
"""The kinds of stream that `SocketMaker.pair` makes."""


class SocketMaker(contextlib.ExitStack):
    """Makes non-blocking sockets and closes them all in the end."""

    def new(self, family: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
        sock = self.enter_context(socket.socket(family, kind))
        sock.setblocking(False)
        return sock

    def keep(self, sock: socket.socket) -> socket.socket:
        """Close this one, too, in the end."""
        self.enter_context(sock)
        sock.setblocking(False)
        return sock

    def listener(self, family: int = socket.AF_INET, backlog: int = 128, port: int = 0) -> socket.socket:
        sock = self.new(family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOSTS[family], port))
        sock.listen(backlog)
        return sock

    def tcp_pair(self, family: int = socket.AF_INET) -> tuple[socket.socket, socket.socket]:
        with socket.create_server((HOSTS[family], 0), family=family) as listener:
            client = self.enter_context(socket.socket(family, socket.SOCK_STREAM))
            client.connect(listener.getsockname())
            server, _ = listener.accept()
        client.setblocking(False)
        return self.keep(server), client

    def unix_pair(self, kind: int = socket.SOCK_STREAM) -> tuple[socket.socket, socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        return self.keep(ours), self.keep(theirs)

    def pair(self, stream: str) -> tuple[socket.socket, socket.socket]:
        """A connected pair of the kind of stream named."""
        if stream == "unix":
            return self.unix_pair()
        return self.tcp_pair(socket.AF_INET6 if stream == "tcp6" else socket.AF_INET)

    def udp(self, family: int = socket.AF_INET, port: int = 0) -> socket.socket:
        sock = self.new(family, socket.SOCK_DGRAM)
        sock.bind((HOSTS[family], port))
        return sock

    def udp_pair(self, family: int = socket.AF_INET) -> tuple[socket.socket, socket.socket]:
        """Two datagram sockets, connected to each other."""
        ours, theirs = self.udp(family), self.udp(family)
        ours.connect(theirs.getsockname())
        theirs.connect(ours.getsockname())
        return ours, theirs

    def refused_address(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> tuple:
        """An address where nobody listens, nor will: a socket keeps it that does not."""
        sock = self.new(family, kind)
        sock.bind((HOSTS[family], 0))
        if kind == socket.SOCK_DGRAM:
            sock.connect(sock.getsockname())  # it takes nothing but its own
        return sock.getsockname()

    def silent_address(self) -> tuple[str, int]:
        """An address that neither accepts nor refuses: the queue of its listener, which holds one, is full."""
        listener = self.listener(backlog=0)
        self.keep(socket.create_connection(listener.getsockname()))
        in_the_queue, _, _ = select.select([listener], [], [], PATIENCE)
        assert in_the_queue
        return listener.getsockname()


def free_port() -> int:
    """A port that nobody has in either family, nor gets from a kernel that may choose."""
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    ports = [port for port in range(1024, 65536) if not first <= port <= last]
    return next(port for port in random.sample(ports, len(ports)) if _is_free(port))


def _is_free(port: int) -> bool:
    """Whether streams and datagrams can have it at all addresses; an IPv6 socket takes those of IPv4, too."""
    try:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET6, kind) as sock:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                sock.bind(("::", port))
    except OSError:
        return False
    return True


def reset(sock: socket.socket) -> None:
    """Close so that the other end sees a reset instead of an end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def shrink(*socks: socket.socket) -> None:
    """Let the kernel hold little for these sockets, whatever it learns of their use."""
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)


def fill(sock: socket.socket) -> int:
    """Send until the kernel takes no more; say how much it took. TCP takes a little more after a while."""
    sent = 0
    while True:
        try:
            sent += sock.send(bytes(65536))
        except BlockingIOError:
            return sent


def sees_the_end(sock: socket.socket) -> bool:
    """Whether the stream ends here, with no loop running meanwhile."""
    sock.settimeout(PATIENCE)
    try:
        return sock.recv(1) == b""
    finally:
        sock.setblocking(False)


def pattern(size: int) -> bytes:
    """Bytes in which anything lost, doubled or out of place would show."""
    return random.Random(size).randbytes(size)


async def read_some(sock: socket.socket, count: int = 262_144) -> bytes:
    """Receive what comes next by asking again and again."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return sock.recv(count)
        except BlockingIOError:
            assert time.monotonic() < deadline, "nothing came"
            await asyncio.sleep(0.001)


async def read_exactly(sock: socket.socket, count: int) -> bytes:
    """Receive so many bytes; fail if the stream ends before."""
    data = bytearray()
    while len(data) < count:
        chunk = await read_some(sock, count - len(data))
        assert chunk, "the stream ended early"
        data += chunk
    return bytes(data)


async def read_to_the_end(sock: socket.socket) -> bytes:
    data = bytearray()
    while chunk := await read_some(sock):
        data += chunk
    return bytes(data)


async def send_all(sock: socket.socket, data: bytes) -> None:
    """Send all to a socket whose reader may be slow."""
    view = memoryview(data)
    while view:
        try:
            view = view[sock.send(view) :]
        except BlockingIOError:
            await asyncio.sleep(0.001)


def read_what_is_there(sock: socket.socket) -> bytes:
    """Receive what has already come."""
    data = bytearray()
    with contextlib.suppress(BlockingIOError):
        while chunk := sock.recv(262_144):
            data += chunk
    return bytes(data)


class Names:
    """Gives host names the addresses that a test needs them to have."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._known: dict[str, list[tuple]] = {}
        self._real: Callable = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._resolve)

    def add(self, name: str, *addresses: tuple) -> None:
        """Let the name stand for these socket addresses, in this order."""
        self._known[name] = list(addresses)

    def _resolve(self, host: str, port: object, *args: int, **options: int) -> list:
        if host not in self._known:
            return self._real(host, port, *args, **options)
        found = []
        for address in self._known[host]:
            family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET
            found.append((family, socket.SOCK_STREAM, 6, "", address))
        return found
