"""Loads an HTTP server by wrk."""

import http.client
import re

from perf.cpu import cpu_time
from perf.process import Server, output
from perf.rows import HttpRow
from perf.sample import MeasurementError, Sample
from perf.web import GREETING

MICROSECONDS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}
"""The units of wrk's times."""


def load_http(row: HttpRow, server: Server, warmup: int, seconds: int) -> Sample:
    """Load a server for a warm-up and a window, in seconds; return the window.

    Raises MeasurementError when a request got no answer or not the right one.
    """
    check_answer(server)
    run_wrk(row, server, warmup)
    # The window is wrk's whole run: before and after its requests the server
    # only waits, which takes no CPU time.
    before = cpu_time(server.pid)
    printed = run_wrk(row, server, seconds)
    after = cpu_time(server.pid)
    # wrk takes no notice of answers that are still missing at its end.
    check_answer(server)
    messages, window_us = parse_total(printed)
    return Sample(
        messages=messages,
        lost=0,
        seconds=window_us / 1e6,
        cpu_seconds=after.total - before.total,
        user_seconds=after.user - before.user,
        system_seconds=after.system - before.system,
        p50_us=parse_percentile(printed, 50),
        p99_us=parse_percentile(printed, 99),
    )


def check_answer(server: Server) -> None:
    """Look at one whole answer: wrk looks at the status only."""
    connection = http.client.HTTPConnection("127.0.0.1", int(server.address), timeout=5)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        status, body = response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        raise MeasurementError(f"no answer: {error!r}") from None
    finally:
        connection.close()
    if (status, body) != (200, GREETING.encode()):
        raise MeasurementError(f"the answer is {status} {body!r}")


def run_wrk(row: HttpRow, server: Server, seconds: int) -> str:
    """Run wrk and return what it prints, provided that all went well."""
    options = ["--threads", "1", "--latency"]
    options += ["--connections", str(row.connections), "--duration", f"{seconds}s"]
    printed = output(["wrk", *options, f"http://127.0.0.1:{server.address}/"], seconds)
    # wrk succeeds in any case, and prints these lines only if there are any.
    if wrong := re.findall(r"^\s*((?:Socket errors|Non-2xx).*)$", printed, re.M):
        raise MeasurementError(f"wrk: {'; '.join(wrong)}")
    return printed


def parse_total(printed: str) -> tuple[int, float]:
    """Return wrk's number of requests and the microseconds it measured them."""
    match = re.search(r"(\d+) requests in ([\d.]+)([a-z]+),", printed)
    if match is None or match[1] == "0":
        raise MeasurementError(f"wrk made no request: {printed}")
    return int(match[1]), float(match[2]) * MICROSECONDS[match[3]]


def parse_percentile(printed: str, percent: int) -> float:
    """Return one of wrk's latency percentiles, in microseconds."""
    # wrk pads units of one letter.
    match = re.search(rf"^\s*{percent}%\s+([\d.]+)([a-z]+) *$", printed, re.M)
    if match is None:
        raise MeasurementError(f"wrk gave no {percent}% latency: {printed}")
    return float(match[1]) * MICROSECONDS[match[2]]
