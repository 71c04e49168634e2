"""Loads an echo server by the program that load.c is built to."""

import json
import subprocess
from pathlib import Path

from perf.process import Server
from perf.rows import EchoRow
from perf.sample import MeasurementError, Sample

GRACE_SECONDS = 30
"""How much longer than its window and warm-up the load may run."""


def load_echo(program: Path, row: EchoRow, server: Server, warmup: int, seconds: int) -> Sample:
    """Load a server for a warm-up and a window, in seconds; return the window.

    Raises MeasurementError when a message did not come back as it was sent.
    """
    options = {
        "--unix" if row.unix else "--port": server.address,
        "--pid": server.pid,
        "--connections": row.connections,
        "--size": row.size,
        "--depth": row.depth,
        "--warmup": warmup,
        "--seconds": seconds,
    }
    command = [str(program), *(str(word) for item in options.items() for word in item)]
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=warmup + seconds + GRACE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise MeasurementError("the load did not end") from None
    if done.returncode != 0:
        raise MeasurementError(f"the load failed: {done.stderr.strip()}")
    window = json.loads(done.stdout)
    return Sample(
        messages=window["messages"],
        seconds=window["seconds"],
        cpu_us=window["server_cpu_us_per_message"],
        user_seconds=window["server_user_seconds"],
        system_seconds=window["server_system_seconds"],
        p50_us=window["p50_us"],
        p99_us=window["p99_us"],
    )
