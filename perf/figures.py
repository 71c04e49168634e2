"""The figures of a comparison."""

from collections.abc import Callable
from pathlib import Path
from statistics import median

from perf.plot import BASE, Line, Mark, draw, mark
from perf.results import Comparison, Results, S, ratios
from perf.sample import Sample


def draw_figures(comparison: Comparison, folder: Path) -> None:
    """Draw what was measured, as far as there is something, into a folder."""
    costs = [(row.name, ratio_marks(results, lambda s: s.cpu_us)) for row, results in comparison.loads]
    costs += [(row.name, ratio_marks(results, lambda cost: cost)) for row, results in comparison.costs]
    label = f"multiple of {BASE}'s CPU time per message (of its memory or time, in the rows named after those)"
    draw_known(folder / "cpu.png", f"CPU time per message, compared with {BASE}", label, costs, ratio=True)
    latencies = [(row.name, latency_marks(results)) for row, results in comparison.loads]
    label = "from the median (mark) to the 99th percentile (end of the line)"
    draw_known(folder / "latency.png", "Latency of a message", label, latencies, ratio=False)


def draw_known(path: Path, title: str, label: str, lines: list[Line], *, ratio: bool) -> None:
    """Draw the rows that have marks, if any has."""
    known = [(name, marks) for name, marks in lines if marks]
    if known:
        draw(path, title, label, known, ratio=ratio)


def ratio_marks(results: Results[S], figure: Callable[[S], float]) -> dict[str, Mark]:
    """Return each contestant's figure as a multiple of the base's."""
    others = [result.contestant for result in results if result.contestant != BASE]
    known = {name: ratios(results, name, BASE, figure) for name in others}
    return {name: mark(values) for name, values in known.items() if values}


def latency_marks(results: Results[Sample]) -> dict[str, Mark]:
    """Return each contestant's median and 99 % latency, the median of the rounds'."""
    marks = {}
    for result in results:
        if result.complete:
            p50 = median(sample.p50_us for sample in result.samples)
            p99 = median(sample.p99_us for sample in result.samples)
            marks[result.contestant] = Mark(p50, p50, p99)
    return marks
