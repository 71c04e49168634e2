"""Socket addresses, from Python's form to the kernel's and back.

For the families of hot paths. Any other address is left to Python's socket module, and so is any address that is
wrong: it knows best what to say.
"""

import os
import socket
import struct
from typing import Any

SIZE = 128
"""Bytes of the largest sockaddr (sizeof(struct sockaddr_storage))."""

FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
"""Those known here."""

_UNIX_PATH_SIZE = 108
_LARGEST_FLOWINFO = 0xFFFFF
_MOST_KNOWN = 4096


def encode(family: int, address: Any) -> bytes | None:
    """Return the sockaddr of an IP or Unix address, or None for anything else."""
    try:
        if family == socket.AF_INET:
            host, port = address
            return struct.pack("=H", family) + struct.pack("!H4s8x", port, socket.inet_pton(family, host))
        if family == socket.AF_INET6:
            host, port, flowinfo, scope = (*address, 0, 0)[:4]
            if flowinfo > _LARGEST_FLOWINFO:
                return None
            packed = socket.inet_pton(family, host)
            middle = struct.pack("!HI16s", port, flowinfo, packed)
            return struct.pack("=H", family) + middle + struct.pack("=I", scope)
        if family == socket.AF_UNIX:
            path = os.fsencode(address)
            named = bool(path) and path[0] != 0  # not abstract: the path ends with a zero
            return struct.pack("=H", family) + path + b"\0" * named if len(path) < _UNIX_PATH_SIZE else None
    except (OSError, TypeError, ValueError, struct.error):
        pass
    return None


def decode(raw: bytes) -> Any:
    """Return the address in a sockaddr as the socket module would, or None if it is not a family known here."""
    family = struct.unpack_from("=H", raw)[0] if len(raw) > 1 else socket.AF_UNSPEC
    if family == socket.AF_INET:
        port, packed = struct.unpack_from("!H4s", raw, 2)
        return socket.inet_ntop(family, packed), port
    if family == socket.AF_INET6:
        port, flowinfo, packed = struct.unpack_from("!HI16s", raw, 2)
        return socket.inet_ntop(family, packed), port, flowinfo, struct.unpack_from("=I", raw, 24)[0]
    if family == socket.AF_UNIX:
        path = raw[2:]
        return path if path[:1] == b"\0" else os.fsdecode(path.split(b"\0")[0])
    return None


class Known(dict[bytes, Any]):
    """Addresses by their sockaddr. Those that were not asked for yet are decoded, and kept, though not too many."""

    def __missing__(self, raw: bytes) -> Any:
        if len(self) >= _MOST_KNOWN:
            self.clear()
        address = self[raw] = decode(raw)
        return address


known = Known()
