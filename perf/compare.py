"""Compares the event loops: ``python -m perf.compare``.

Measures every row with every loop in rounds, prints a report in Markdown, and
writes it as report.md, with report.json, cpu.png and latency.png.  Fails when
any measurement failed.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from perf import loops, report, rows
from perf.build import OUT
from perf.figures import draw_figures
from perf.machine import describe
from perf.measure import WARMUP_SECONDS, Windows, contestants, measure_cost, measure_load
from perf.progress import Progress
from perf.results import Comparison, Result, Results, S
from perf.rows import MemoryRow, Row, StartRow
from perf.sample import MeasurementError, Sample, UnsupportedError

FULL = Windows(http=10, other=3)
QUICK = Windows(http=2, other=1)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="perf.compare", description=__doc__)
    parser.add_argument(
        "--rows",
        nargs="+",
        metavar="NAME",
        default=rows.DEFAULT,
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
        return Windows(http=options.seconds, other=options.seconds)
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


@dataclass(frozen=True, slots=True)
class Plan:
    """How to measure each row."""

    loops: list[str]
    rounds: int
    windows: Windows
    core: int
    progress: Progress


def attempt(result: Result[S], take: Callable[[str], S], say: Callable[[S], str]) -> str:
    """Measure a contestant once more; return what to say about it."""
    try:
        sample = take(result.contestant)
    except UnsupportedError:
        result.unsupported = True
        return "not supported"
    except MeasurementError as error:
        result.failure = str(error)
        return f"FAILED: {error}"
    result.samples.append(sample)
    return say(sample)


def compare_row(row: Row, plan: Plan, take: Callable[[str], S], say: Callable[[S], str]) -> Results[S]:
    """Measure all contestants in turn, each round beginning with another one.

    Who failed is not measured again.
    """
    results: Results[S] = [Result(name) for name in contestants(row, plan.loops)]
    for number in range(plan.rounds):
        first = number % len(results)
        for result in results[first:] + results[:first]:
            if not result.complete:
                plan.progress.skip()
                continue
            said = attempt(result, take, say)
            place = f"{row.name}, round {number + 1}/{plan.rounds}, {result.contestant}"
            plan.progress.step(f"{place}: {said}")
    return results


def say_load(sample: Sample) -> str:
    """Return a sample in a few words."""
    latency = f"p50 {sample.p50_us:,.0f} µs, p99 {sample.p99_us:,.0f} µs"
    lost = f", {sample.lost} lost" if sample.lost else ""
    return f"{sample.cpu_us:.2f} µs CPU/msg, {sample.rate:,.0f} msg/s, {latency}{lost}"


def say_cost(unit: str, cost: float) -> str:
    """Return a cost in a few words."""
    return f"{cost:.2f} {unit}"


def fill(comparison: Comparison, wanted: list[Row], plan: Plan) -> None:
    """Measure all rows."""
    for row in wanted:
        if isinstance(row, MemoryRow | StartRow):
            take_cost = partial(measure_cost, row, windows=plan.windows, core=plan.core)
            comparison.costs.append((row, compare_row(row, plan, take_cost, partial(say_cost, row.unit))))
        else:
            take_load = partial(measure_load, row, windows=plan.windows, core=plan.core)
            comparison.loads.append((row, compare_row(row, plan, take_load, say_load)))


def compare(options: argparse.Namespace) -> Comparison:
    """Measure everything asked for."""
    windows = windows_of(options)
    rounds = options.rounds or (2 if options.quick else 5)
    names, left_out = loops.available()
    settings = {
        "rounds": rounds,
        "seconds of an HTTP window": windows.http,
        "seconds of another window": windows.other,
        "seconds of warm-up": WARMUP_SECONDS,
    }
    comparison = Comparison(describe(), settings, left_out)
    steps = rounds * sum(len(contestants(row, names)) for row in options.rows)
    plan = Plan(names, rounds, windows, claim_cores(), Progress(steps))
    try:
        fill(comparison, options.rows, plan)
    except KeyboardInterrupt:
        print("interrupted: the report has the rows that were finished", file=sys.stderr)
    return comparison


def write(comparison: Comparison, folder: Path) -> None:
    """Print the report, and write all there is into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    text = report.markdown(comparison)
    (folder / "report.md").write_text(text)
    (folder / "report.json").write_text(report.record(comparison))
    draw_figures(comparison, folder)
    print(text)
    print(f"This report, its data, and figures are in {folder}", file=sys.stderr)


def main() -> int:
    """Compare as the command line says; return the exit code."""
    # Ends by an exception, so that the server running then is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = parse()
    options.output.mkdir(parents=True, exist_ok=True)
    if not os.access(options.output, os.W_OK):
        sys.exit(f"perf.compare: cannot write to {options.output}")
    comparison = compare(options)
    write(comparison, options.output)
    for failure in comparison.failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if comparison.failures else 0


if __name__ == "__main__":
    sys.exit(main())
