"""Measures one contestant at one row, once."""

import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from perf.build import HERE, build
from perf.load import load_echo
from perf.memory import allow_connections, kib_per_connection
from perf.process import output, pinned, running
from perf.redis_server import redis_server
from perf.rows import ClientRow, CostRow, EchoRow, HttpRow, LoadRow, MemoryRow, Row, StartRow
from perf.sample import Sample
from perf.wrk import load_http

FLOOR = "floor"
"""The contestant that is no event loop: the bare echo server in C."""

WARMUP_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Windows:
    """How long the measuring windows are, in seconds."""

    http: int
    other: int


def contestants(row: Row, loops: list[str]) -> list[str]:
    """Return who takes part in a row."""
    return [FLOOR, *loops] if isinstance(row, EchoRow) and row.floor else loops


def measure_load(row: LoadRow, contestant: str, windows: Windows, core: int) -> Sample:
    """Run the contestant on the core, and what loads it on this one.

    Raises MeasurementError when anything went wrong.
    """
    match row:
        case EchoRow():
            return measure_echo(row, contestant, windows, core)
        case HttpRow():
            with running(server_command(row.kind, contestant), core) as server:
                return load_http(row, server, WARMUP_SECONDS, windows.http)
        case ClientRow():
            return measure_client(row, contestant, windows, core)


def measure_cost(row: CostRow, contestant: str, windows: Windows, core: int) -> float:
    """Run the contestant on the core, and see what it costs; raises MeasurementError."""
    match row:
        case MemoryRow():
            allow_connections(row.connections)
            with running(server_command(row.kind, contestant), core) as server:
                return kib_per_connection(server, row.connections)
        case StartRow():
            return measure_start(row, contestant, windows, core)


def measure_echo(row: EchoRow, contestant: str, windows: Windows, core: int) -> Sample:
    """Load an echo server."""
    if contestant == FLOOR:
        assert row.floor is not None
        command = [str(build(row.floor))]
    else:
        command = [*server_command(row.kind, contestant), "--over", row.over]
    with tempfile.TemporaryDirectory() as directory:
        if row.over == "unix":
            command += ["--unix", str(Path(directory, "echo.sock"))]
        with running(command, core) as server:
            return load_echo(row, server, WARMUP_SECONDS, windows.other)


def measure_client(row: ClientRow, contestant: str, windows: Windows, core: int) -> Sample:
    """Have a program work by itself, or with a redis-server on this core."""
    options = {"--loop": contestant, "--kind": row.kind, "--workers": str(row.concurrency)}
    options |= {"--warmup": str(WARMUP_SECONDS), "--seconds": str(windows.other)}
    words = [word for item in options.items() for word in item]
    command = pinned(core, [sys.executable, "-m", "perf.clients", *words])
    seconds = WARMUP_SECONDS + windows.other
    if row.kind != "redis":
        return Sample(**json.loads(output(command, seconds)))
    with redis_server() as port:
        return Sample(**json.loads(output([*command, "--port", str(port)], seconds)))


def measure_start(row: StartRow, contestant: str, windows: Windows, core: int) -> float:
    """Start processes for a while, and return the median of their times."""
    command = pinned(core, [sys.executable, "-P", str(HERE / "startup.py"), contestant])
    output(command, 0)  # compiles what is imported, if that was not done yet
    times: list[float] = []
    end = time.monotonic() + windows.other
    while time.monotonic() < end:
        times.append(json.loads(output(command, 0))[row.part])
    return median(times)


def server_command(kind: str, loop: str) -> list[str]:
    """Return the command that serves a kind by a loop."""
    return [sys.executable, "-m", "perf.servers", "--loop", loop, "--kind", kind]
