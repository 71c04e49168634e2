"""The memory that idle connections take in a server's process."""

import re
import resource
import socket
import time
from contextlib import ExitStack
from pathlib import Path

from perf.process import Server
from perf.sample import MeasurementError

MESSAGE = b"x" * 100
"""What each connection has echoed once, so that it has been in full use."""

SETTLE_SECONDS = 0.5
"""How long the server may take to finish what it does after the last message."""

OTHER_FILES = 200
"""Descriptors that either side needs besides its connections."""


def allow_connections(count: int) -> None:
    """Raise this process's limit on open files, which a server inherits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + OTHER_FILES
    if soft >= needed:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(hard, needed)))
    except (OSError, ValueError):
        raise MeasurementError(f"{needed} open files are needed, {hard} are allowed") from None


def kib_per_connection(server: Server, count: int) -> float:
    """Open that many connections; return how much the server's memory grew for each."""
    with ExitStack() as stack:
        # What the first connection brings along is not counted.
        stack.enter_context(used_connection(server))
        time.sleep(SETTLE_SECONDS)
        before = resident_kib(server.pid)
        for _ in range(count):
            stack.enter_context(used_connection(server))
        time.sleep(SETTLE_SECONDS)
        return (resident_kib(server.pid) - before) / count


def used_connection(server: Server) -> socket.socket:
    """Return a connection on which a message went there and back."""
    try:
        client = socket.create_connection(("127.0.0.1", int(server.address)), timeout=5)
        client.sendall(MESSAGE)
        echo = client.recv(len(MESSAGE), socket.MSG_WAITALL)
    except OSError as error:
        raise MeasurementError(f"no connection: {error!r}") from None
    if echo != MESSAGE:
        raise MeasurementError(f"the echo is {echo!r}")
    return client


def resident_kib(pid: int) -> int:
    """Return how much of a process is in memory."""
    # The count in /proc/PID/statm may lag behind; this one is exact.
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    match = re.search(r"^Rss:\s+(\d+) kB$", text, re.M)
    if match is None:
        raise MeasurementError("smaps_rollup has an unknown format")
    return int(match[1])
