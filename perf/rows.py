"""The workloads that are measured: one row each."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

KIB = 1024


@dataclass(frozen=True, slots=True)
class EchoRow:
    """Messages of one size that an echo server sends back."""

    kind: str
    """The server's kind, as perf.servers names it."""

    connections: int
    size: int = 100
    """Bytes of a message."""

    depth: int = 1
    """Messages in flight on each connection."""

    unix: bool = False
    """Unix sockets rather than TCP."""

    @property
    def name(self) -> str:
        size = f"{self.size // KIB}KiB" if self.size % KIB == 0 else f"{self.size}B"
        parts = [self.kind, size, str(self.connections)]
        if self.depth > 1:
            parts.append(f"pipeline{self.depth}")
        if self.unix:
            parts.append("unix")
        return "-".join(parts)


@dataclass(frozen=True, slots=True)
class HttpRow:
    """Requests for a short text, one in flight on each connection."""

    kind: str
    """The server's kind, as perf.servers names it."""

    connections: int

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.connections}"


Row = EchoRow | HttpRow

DEFAULT: tuple[Row, ...] = (
    EchoRow("protocol", 1),
    EchoRow("protocol", 64),
    EchoRow("streams", 1),
    EchoRow("streams", 64),
    EchoRow("sock", 1),
    EchoRow("sock", 64),
    HttpRow("http-uvicorn", 64),
    HttpRow("http-aiohttp", 64),
)
"""What is measured unless rows are asked for."""

FURTHER: tuple[Row, ...] = (
    EchoRow("buffered", 64),
    EchoRow("buffered", 64, size=16 * KIB),
    EchoRow("protocol", 64, size=16 * KIB),
    EchoRow("streams", 64, size=16 * KIB),
    EchoRow("protocol", 8, size=256 * KIB),
    EchoRow("streams", 8, size=256 * KIB),
    EchoRow("protocol", 64, depth=16),
    EchoRow("streams", 64, depth=16),
    EchoRow("protocol", 512),
    EchoRow("streams", 512),
    EchoRow("protocol", 64, unix=True),
    EchoRow("streams", 64, unix=True),
)
"""What is measured only when asked for."""


def select(patterns: list[str]) -> list[Row]:
    """Return the rows whose names match; "*" stands for any part of a name.

    Raises ValueError for a pattern that no row matches.
    """
    known = DEFAULT + FURTHER
    for pattern in patterns:
        if not any(fnmatchcase(row.name, pattern) for row in known):
            names = ", ".join(row.name for row in known)
            raise ValueError(f"no row matches {pattern}; the rows are: {names}")
    return [row for row in known if any(fnmatchcase(row.name, p) for p in patterns)]
