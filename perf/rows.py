"""The workloads that can be measured."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar, Literal

KIB = 1024

Over = Literal["tcp", "unix", "tls", "udp"]


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

    over: Over = "tcp"
    """What the messages travel over."""

    churn: bool = False
    """A new connection for each message."""

    @property
    def name(self) -> str:
        parts = [self.kind, written(self.size), str(self.connections)]
        if self.depth > 1:
            parts.append(f"pipeline{self.depth}")
        if self.over != "tcp":
            parts.append(self.over)
        if self.churn:
            parts.append("churn")
        return "-".join(parts)

    @property
    def floor(self) -> str | None:
        """The program that serves the same in C, if there is one."""
        return {"tls": None, "udp": "floor-udp"}.get(self.over, "floor")


@dataclass(frozen=True, slots=True)
class HttpRow:
    """Requests for a short text, one in flight on each connection."""

    kind: str
    """The server's kind, as perf.servers names it."""

    connections: int

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.connections}"


@dataclass(frozen=True, slots=True)
class ClientRow:
    """Work that a program does by itself, a number of its kind at a time."""

    kind: str
    """The work's kind, as perf.clients names it."""

    concurrency: int

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.concurrency}"


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """Memory of an echo server's process for each idle connection."""

    kind: str
    """The server's kind, as perf.servers names it."""

    connections: int
    unit: ClassVar[str] = "KiB per connection"

    @property
    def name(self) -> str:
        return f"memory-{self.kind}-{self.connections}"


@dataclass(frozen=True, slots=True)
class StartRow:
    """Time that a new process takes to get going."""

    part: Literal["import", "startup"]
    """The part of it, as startup.py names it."""

    unit: ClassVar[str] = "ms"

    @property
    def name(self) -> str:
        return self.part


LoadRow = EchoRow | HttpRow | ClientRow
"""What yields a Sample: messages under load."""

CostRow = MemoryRow | StartRow
"""What yields one number, the less the better."""

Row = LoadRow | CostRow


def written(size: int) -> str:
    """Return a size as names have it."""
    return f"{size // KIB}KiB" if size % KIB == 0 else f"{size}B"


ROWS: tuple[Row, ...] = (
    *(
        EchoRow(kind, connections, size)
        for size in (100, 16 * KIB)
        for kind in ("protocol", "buffered", "streams", "sock")
        for connections in (1, 64, 512)
    ),
    EchoRow("protocol", 8, 256 * KIB),
    EchoRow("buffered", 8, 256 * KIB),
    EchoRow("streams", 8, 256 * KIB),
    EchoRow("protocol", 64, depth=16),
    EchoRow("streams", 64, depth=16),
    EchoRow("protocol", 64, over="unix"),
    EchoRow("streams", 64, over="unix"),
    EchoRow("protocol", 1, over="udp"),
    EchoRow("protocol", 64, over="udp"),
    EchoRow("protocol", 1, over="tls"),
    EchoRow("protocol", 64, over="tls"),
    EchoRow("streams", 64, over="tls"),
    EchoRow("protocol", 64, 16 * KIB, over="tls"),
    EchoRow("streams", 64, 16 * KIB, over="tls"),
    EchoRow("protocol", 64, churn=True),
    EchoRow("streams", 64, churn=True),
    HttpRow("http-uvicorn", 64),
    HttpRow("http-aiohttp", 64),
    ClientRow("redis", 1),
    ClientRow("redis", 64),
    ClientRow("spawn", 1),
    ClientRow("spawn", 8),
    MemoryRow("protocol", 10000),
    MemoryRow("streams", 10000),
    StartRow("import"),
    StartRow("startup"),
)
"""All there is."""

DEFAULT = (
    "protocol-100B-1",
    "protocol-100B-64",
    "streams-100B-64",
    "sock-100B-64",
    "protocol-16KiB-64",
    "protocol-100B-64-udp",
    "protocol-100B-64-tls",
    "protocol-100B-64-churn",
    "http-*",
    "redis-64",
    "spawn-1",
    "memory-protocol-10000",
    "startup",
)
"""What is measured unless rows are asked for."""


def select(patterns: list[str]) -> list[Row]:
    """Return the rows whose names match; "*" stands for any part of a name.

    Raises ValueError for a pattern that no row matches.
    """
    for pattern in patterns:
        if not any(fnmatchcase(row.name, pattern) for row in ROWS):
            names = ", ".join(row.name for row in ROWS)
            raise ValueError(f"no row matches {pattern}; the rows are: {names}")
    return [row for row in ROWS if any(fnmatchcase(row.name, p) for p in patterns)]
