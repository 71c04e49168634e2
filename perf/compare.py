"""Compares the event loops: ``python -m perf.compare``.

Measures every row with every loop in rounds, prints a Markdown table, and
writes report.md and report.json.  Fails when any measurement failed.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

from perf import loops, report, rows
from perf.build import OUT
from perf.machine import describe
from perf.measure import WARMUP_SECONDS, Windows, contestants, measure
from perf.report import Comparison, Result
from perf.rows import Row
from perf.sample import MeasurementError, Sample

FULL = Windows(echo=3, http=10)
QUICK = Windows(echo=1, http=2)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="perf.compare", description=__doc__)
    parser.add_argument(
        "--rows",
        nargs="+",
        metavar="NAME",
        default=[row.name for row in rows.DEFAULT],
        help='rows to measure; "*" stands for any part of a name',
    )
    parser.add_argument("--quick", action="store_true", help="2 short rounds, not 5")
    parser.add_argument("--rounds", type=int, choices=range(1, 101), metavar="N")
    parser.add_argument(
        "--seconds",
        type=int,
        choices=range(1, 61),
        metavar="S",
        help="length of each measuring window",
    )
    parser.add_argument("--output", type=Path, metavar="DIR", default=OUT)
    options = parser.parse_args()
    try:
        options.rows = rows.select(options.rows)
    except ValueError as error:
        parser.error(str(error))
    return options


def windows_of(options: argparse.Namespace) -> Windows:
    """Return how long the windows that were asked for are."""
    if options.seconds is not None:
        return Windows(echo=options.seconds, http=options.seconds)
    return QUICK if options.quick else FULL


def claim_cores() -> int:
    """Confine this process and the load to one core; return the server's core.

    They are the first core and the last, which are less likely than neighbours
    to be two threads of one physical core.
    """
    cores = os.sched_getaffinity(0)
    load, server = min(cores), max(cores)
    if load == server:
        sys.exit("perf.compare: two cores are needed, one for the server alone")
    os.sched_setaffinity(0, {load})
    return server


def attempt(row: Row, result: Result, windows: Windows, core: int) -> str:
    """Measure a contestant once more; return what to say about it."""
    try:
        sample = measure(row, result.contestant, windows, core)
    except MeasurementError as error:
        result.failure = str(error)
        return f"FAILED: {error}"
    result.samples.append(sample)
    return summary(sample)


def summary(sample: Sample) -> str:
    """Return a sample in a few words."""
    latency = f"p50 {sample.p50_us:,.0f} µs, p99 {sample.p99_us:,.0f} µs"
    return f"{sample.cpu_us:.2f} µs CPU/msg, {sample.rate:,.0f} msg/s, {latency}"


def compare_row(row: Row, names: list[str], rounds: int, windows: Windows, core: int) -> list[Result]:
    """Measure all contestants in turn, each round beginning with another one.

    Who failed is not measured again.
    """
    results = [Result(name) for name in names]
    for number in range(rounds):
        first = number % len(results)
        for result in results[first:] + results[:first]:
            if result.failure is None:
                said = attempt(row, result, windows, core)
                place = f"{row.name}, round {number + 1}/{rounds}, {result.contestant}"
                print(f"{place}: {said}", file=sys.stderr, flush=True)
    return results


def available_loops() -> tuple[list[str], dict[str, str]]:
    """Return the loops that take part, and why the others do not."""
    missing = {name: loops.why_missing(name) for name in loops.NAMES}
    left_out = {name: why for name, why in missing.items() if why is not None}
    for name, why in left_out.items():
        print(f"{name} is left out: {why}", file=sys.stderr)
    return [name for name in loops.NAMES if name not in left_out], left_out


def compare(options: argparse.Namespace) -> Comparison:
    """Measure everything asked for."""
    windows = windows_of(options)
    rounds = options.rounds or (2 if options.quick else 5)
    names, left_out = available_loops()
    settings = {
        "rounds": rounds,
        "seconds of an echo window": windows.echo,
        "seconds of an HTTP window": windows.http,
        "seconds of warm-up": WARMUP_SECONDS,
    }
    comparison = Comparison(describe(), settings, left_out)
    core = claim_cores()
    for number, row in enumerate(options.rows, 1):
        print(f"[{number}/{len(options.rows)}] {row.name}", file=sys.stderr)
        results = compare_row(row, contestants(row, names), rounds, windows, core)
        comparison.rows.append((row, results))
    return comparison


def main() -> int:
    """Compare as the command line says; return the exit code."""
    # Ends by an exception, so that the server running then is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = parse()
    options.output.mkdir(parents=True, exist_ok=True)
    if not os.access(options.output, os.W_OK):
        sys.exit(f"perf.compare: cannot write to {options.output}")
    comparison = compare(options)
    text = report.markdown(comparison)
    (options.output / "report.md").write_text(text)
    (options.output / "report.json").write_text(report.record(comparison))
    print(text)
    for failure in comparison.failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if comparison.failures else 0


if __name__ == "__main__":
    sys.exit(main())
