"""Runs a server as a process on a core of its own."""

import select
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from perf.build import HERE
from perf.sample import MeasurementError

START_SECONDS = 30
STOP_SECONDS = 10
"""How long a server may take to be ready, and to end when told to."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready for clients."""

    pid: int
    address: str
    """The port or the Unix path it serves on."""


@contextmanager
def running(command: list[str], core: int) -> Iterator[Server]:
    """Run a server that prints its address when ready, and end it.

    Raises MeasurementError when it does not get ready, ends by itself, or complains: a
    server that does its work has nothing to say on standard error.  What fails
    inside is raised again with what the server said to it.
    """
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(
            ["taskset", "--cpu-list", str(core), *command],
            cwd=HERE.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        ) as process,
    ):
        reasons: list[str] = []
        try:
            yield Server(process.pid, read_address(process))
        except MeasurementError as error:
            reasons.append(str(error))
        finally:
            reasons += stop(process)
        complaints.seek(0)
        if said := complaints.read().strip():
            reasons.append(f"the server said: {said}")
        if reasons:
            raise MeasurementError("; ".join(reasons))


def read_address(process: subprocess.Popen[str]) -> str:
    """Wait for the line by which a server says where it serves."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    address = process.stdout.readline().strip() if ready else ""
    if not address:
        raise MeasurementError("the server did not get ready")
    return address


def stop(process: subprocess.Popen[str]) -> list[str]:
    """End a server; return what was wrong with its end."""
    status = process.poll()
    if status is not None:
        return [f"the server ended by itself, with status {status}"]
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return ["the server did not end when told to"]
    return []
