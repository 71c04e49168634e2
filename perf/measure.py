"""Measures one contestant at one row, once."""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from perf.build import build
from perf.load import load_echo
from perf.process import running
from perf.rows import EchoRow, HttpRow, Row
from perf.sample import Sample
from perf.wrk import load_http

FLOOR = "floor"
"""The contestant that is no event loop: the bare echo server in C."""

WARMUP_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Windows:
    """How long the measuring windows are, in seconds."""

    echo: int
    http: int


def contestants(row: Row, loops: list[str]) -> list[str]:
    """Return who takes part in a row."""
    return [FLOOR, *loops] if isinstance(row, EchoRow) else loops


def measure(row: Row, contestant: str, windows: Windows, core: int) -> Sample:
    """Run the contestant's server on the core, and load it from this one.

    Raises MeasurementError when anything went wrong.
    """
    with tempfile.TemporaryDirectory() as directory:
        command = server_command(row, contestant)
        if isinstance(row, EchoRow) and row.unix:
            command += ["--unix", str(Path(directory, "echo.sock"))]
        with running(command, core) as server:
            match row:
                case EchoRow():
                    program = build("load")
                    window = windows.echo
                    return load_echo(program, row, server, WARMUP_SECONDS, window)
                case HttpRow():
                    return load_http(row, server, WARMUP_SECONDS, windows.http)


def server_command(row: Row, contestant: str) -> list[str]:
    """Return the command that serves a row."""
    if contestant == FLOOR:
        return [str(build("floor"))]
    module = [sys.executable, "-m", "perf.servers"]
    return [*module, "--loop", contestant, "--kind", row.kind]
