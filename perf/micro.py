"""Compares the loops at small benchmarks: ``python -m perf.micro``.

Runs perf.micro_bench, which is made with pyperf, with every loop in rounds,
prints a table, and writes it as micro.md, with micro.png, and all values of
each loop in pyperf's own form, micro-LOOP.json.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

import pyperf

from perf import loops
from perf.build import OUT
from perf.figures import draw_known, ratio_marks
from perf.machine import describe
from perf.plot import BASE
from perf.process import output
from perf.progress import Progress
from perf.report import bullets, cost_table
from perf.results import Result, Results
from perf.sample import MeasurementError

FULL = ["--processes", "2", "--values", "5"]
QUICK = ["--processes", "1", "--values", "3", "--min-time", "0.05"]
"""What pyperf is told for each loop in each round."""

TIMEOUT_SECONDS = 600
"""How long all benchmarks of one loop may take in one round."""


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="perf.micro", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 short rounds, not 5")
    parser.add_argument("--rounds", type=int, choices=range(1, 101), metavar="N")
    parser.add_argument("--output", type=Path, metavar="DIR", default=OUT)
    return parser.parse_args()


def run_benchmarks(loop: str, settings: list[str]) -> pyperf.BenchmarkSuite:
    """Run all benchmarks with a loop, on the core that servers are measured on."""
    core = max(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "values.json")
        fixed = ["--quiet", "--copy-env", "--affinity", str(core), "--output", str(file)]
        command = [sys.executable, "-m", "perf.micro_bench", "--loop", loop, *fixed, *settings]
        output(command, TIMEOUT_SECONDS)
        return pyperf.BenchmarkSuite.load(str(file))


class Collection:
    """What has been measured so far."""

    def __init__(self, names: list[str]) -> None:
        self.results = {name: Result[pyperf.BenchmarkSuite](name) for name in names}
        """Each loop's values, a suite for each round."""

    def measure(self, loop: str, settings: list[str]) -> str:
        """Measure a loop once more; return what to say about it."""
        result = self.results[loop]
        try:
            result.samples.append(run_benchmarks(loop, settings))
        except MeasurementError as error:
            result.failure = str(error)
            return f"FAILED: {error}"
        return "done"

    def table(self) -> list[tuple[str, str, Results[float]]]:
        """Return each benchmark's name, its unit, and each loop's median in each round."""
        known = [result for result in self.results.values() if result.complete]
        names = known[0].samples[0].get_benchmark_names() if known else []
        return [(name, "ns", [of_benchmark(result, name) for result in known]) for name in names]

    def save(self, folder: Path) -> None:
        """Write each loop's values, those of all rounds together."""
        for name, result in self.results.items():
            if result.complete:
                together, *rest = result.samples
                for suite in rest:
                    for benchmark in suite:
                        together.get_benchmark(benchmark.get_name()).add_runs(benchmark)
                together.dump(str(folder / f"micro-{name}.json"), replace=True)


def of_benchmark(result: Result[pyperf.BenchmarkSuite], name: str) -> Result[float]:
    """Return the medians of one benchmark, in nanoseconds."""
    medians = [median(suite.get_benchmark(name).get_values()) * 1e9 for suite in result.samples]
    return Result(result.contestant, medians)


def collect(names: list[str], rounds: int, settings: list[str]) -> Collection:
    """Measure all loops in turn, each round beginning with another one."""
    collection = Collection(names)
    progress = Progress(rounds * len(names))
    for number in range(rounds):
        first = number % len(names)
        for loop in names[first:] + names[:first]:
            if collection.results[loop].complete:
                said = collection.measure(loop, settings)
                progress.step(f"round {number + 1}/{rounds}, {loop}: {said}")
            else:
                progress.skip()
    return collection


def write(collection: Collection, facts: dict[str, str], folder: Path) -> None:
    """Print the table, and write all there is into a folder."""
    lines = collection.table()
    parts = ["# Small benchmarks", cost_table(lines)]
    if failures := [f"{name}: {result.failure}" for name, result in collection.results.items() if result.failure]:
        parts += ["## Failures", *(f"```\n{failure}\n```" for failure in failures)]
    parts += ["## Conditions", bullets(f"{name}: {fact}" for name, fact in facts.items())]
    text = "\n\n".join(parts) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "micro.md").write_text(text)
    marks = [(name, ratio_marks(results, lambda value: value)) for name, _, results in lines]
    draw_known(folder / "micro.png", "Small benchmarks", f"time as a multiple of {BASE}'s", marks, ratio=True)
    collection.save(folder)
    print(text)
    print(f"This table, its data, and a figure are in {folder}", file=sys.stderr)


def main() -> int:
    """Compare as the command line says; return the exit code."""
    options = parse()
    rounds = options.rounds or (2 if options.quick else 5)
    names, _ = loops.available()
    facts = {"rounds": str(rounds), **describe()}
    collection = collect(names, rounds, QUICK if options.quick else FULL)
    write(collection, facts, options.output)
    return 0 if all(result.complete for result in collection.results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
