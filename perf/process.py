"""Runs what is measured as a process on a core of its own."""

import select
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from perf.build import HERE
from perf.sample import MeasurementError, UnsupportedError

START_SECONDS = 30
STOP_SECONDS = 10
"""How long a server may take to be ready, and to end when told to."""

SAID = 1500
"""How much of the beginning and of the end of an error message is kept."""

GRACE_SECONDS = 30
"""How much longer than its window anything may run."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready for clients."""

    pid: int
    address: str
    """The port or the Unix path it serves on."""


def pinned(core: int, command: list[str]) -> list[str]:
    """Return the command that runs another one on a core."""
    return ["taskset", "--cpu-list", str(core), *command]


def fail(reasons: list[str]) -> None:
    """Raise the error that the reasons amount to, if there are any."""
    if any("NotImplementedError" in reason for reason in reasons):
        raise UnsupportedError("NotImplementedError")
    if reasons:
        raise MeasurementError("; ".join(reasons))


def shortened(text: str) -> str:
    """Return a text, or the beginning and the end of it if it is long."""
    return text if len(text) <= 2 * SAID else f"{text[:SAID]}\n[...]\n{text[-SAID:]}"


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
            pinned(core, command),
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
            reasons.append(f"the server said: {shortened(said)}")
        fail(reasons)


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


def output(command: list[str], seconds: float) -> str:
    """Run a program that ends after some seconds; return what it prints.

    Raises MeasurementError when it fails, complains, or does not end.
    """
    try:
        done = subprocess.run(
            command,
            cwd=HERE.parent,
            check=False,
            capture_output=True,
            text=True,
            timeout=seconds + GRACE_SECONDS,
        )
    except FileNotFoundError:
        raise MeasurementError(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"{command[0]} did not end") from None
    if done.returncode != 0 or done.stderr:
        fail([f"status {done.returncode}: {shortened(done.stderr.strip())}"])
    return done.stdout
