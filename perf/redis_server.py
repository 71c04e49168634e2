"""Runs a redis-server for the clients that are measured."""

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from perf.process import START_SECONDS, STOP_SECONDS
from perf.sample import MeasurementError


@contextmanager
def redis_server() -> Iterator[int]:
    """Run it on this process's core, without files of its own; yields its port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        options = {"port": port, "bind": "127.0.0.1", "save": "", "dir": directory, "loglevel": "warning"}
        words = (word for name, value in options.items() for word in (f"--{name}", str(value)))
        try:
            process = subprocess.Popen(["redis-server", *words], stdout=subprocess.DEVNULL)
        except FileNotFoundError:
            raise MeasurementError("redis-server is not installed") from None
        with process:
            try:
                wait_until_ready(port)
                yield port
            finally:
                process.terminate()
                process.wait(STOP_SECONDS)


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_until_ready(port: int) -> None:
    """Wait until the server answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
                client.sendall(b"PING\r\n")
                if client.recv(64) == b"+PONG\r\n":
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise MeasurementError("redis-server did not get ready")
