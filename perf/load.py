"""Loads an echo server by one of the programs that are made of csrc/load.c."""

import json

from perf.build import build
from perf.process import Server, output
from perf.rows import EchoRow
from perf.sample import Sample


def program(row: EchoRow) -> str:
    """Return the name of the program that makes a row's load."""
    if row.churn:
        return "load-churn"
    return f"load-{row.over}" if row.over in {"tls", "udp"} else "load"


def load_echo(row: EchoRow, server: Server, warmup: int, seconds: int) -> Sample:
    """Load a server for a warm-up and a window, in seconds; return the window.

    Raises MeasurementError when a message did not come back as it was sent.
    """
    options = {
        "--unix" if row.over == "unix" else "--port": server.address,
        "--pid": server.pid,
        "--connections": row.connections,
        "--size": row.size,
        "--depth": row.depth,
        "--warmup": warmup,
        "--seconds": seconds,
    }
    words = (str(word) for item in options.items() for word in item)
    return Sample(**json.loads(output([str(build(program(row))), *words], warmup + seconds)))
