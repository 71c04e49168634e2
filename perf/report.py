"""Turns a comparison into tables and a record."""

import dataclasses
import json
from collections.abc import Callable, Iterable
from functools import partial
from statistics import median

from perf.results import BASES, Comparison, Result, Results, S, ratios
from perf.sample import Sample

LOAD_HEADINGS = [
    "row",
    "loop",
    "CPU µs/msg",
    "in kernel",
    "msg/s",
    "p50 µs",
    "p99 µs",
    "core used",
    *(f"CPU ÷ {base}" for base in BASES),
    *(f"msg/s ÷ {base}" for base in BASES),
    "lost",
]

COST_HEADINGS = ["row", "loop", "cost", *(f"÷ {base}" for base in BASES)]


def spread(values: Iterable[float], form: str) -> str:
    """Write the median of the values, and the least and greatest of them."""
    known = list(values)
    if not known:
        return ""
    low, middle, high = min(known), median(known), max(known)
    return f"{middle:{form}} ({low:{form}}-{high:{form}})"


def relations(results: Results[S], result: Result[S], figure: Callable[[S], float]) -> list[str]:
    """Write a figure as a multiple of that of each base but itself."""
    name = result.contestant
    return ["" if base == name else spread(ratios(results, name, base, figure), ".2f") for base in BASES]


def load_cells(result: Result[Sample], results: Results[Sample]) -> list[str]:
    """Return what was measured of a contestant under load."""
    samples = result.samples
    lost = sum(s.lost for s in samples)
    return [
        spread((s.cpu_us for s in samples), ".2f"),
        f"{median(s.kernel_share for s in samples):.0%}",
        spread((s.rate for s in samples), ",.0f"),
        spread((s.p50_us for s in samples), ",.0f"),
        spread((s.p99_us for s in samples), ",.0f"),
        f"{median(s.core_share for s in samples):.0%}",
        *relations(results, result, lambda s: s.cpu_us),
        *relations(results, result, lambda s: s.rate),
        str(lost) if lost else "",
    ]


def cost_cells(unit: str, result: Result[float], results: Results[float]) -> list[str]:
    """Return what a contestant costs."""
    return [f"{spread(result.samples, '.2f')} {unit}", *relations(results, result, lambda cost: cost)]


def line(name: str, result: Result[S], width: int, cells: Callable[[], list[str]]) -> list[str]:
    """Return a contestant's line of a table, or why there are no figures."""
    head = [name, result.contestant]
    if result.complete:
        return head + cells()
    why = "not supported" if result.unsupported else "**FAILED**, see below"
    return [*head, why, *[""] * (width - 3)]


def table(headings: list[str], lines: list[list[str]]) -> str:
    """Return a Markdown table; its first two columns are names."""
    rule = ["---"] * 2 + ["---:"] * (len(headings) - 2)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, rule, *lines))


def load_table(comparison: Comparison) -> str:
    """Return the table of what was measured under load."""
    lines = []
    for row, results in comparison.loads:
        for result in results:
            cells = partial(load_cells, result, results)
            lines.append(line(row.name, result, len(LOAD_HEADINGS), cells))
    return table(LOAD_HEADINGS, lines)


def cost_table(costs: list[tuple[str, str, Results[float]]]) -> str:
    """Return the table of what is one number, each with its name and its unit."""
    lines = []
    for name, unit, results in costs:
        for result in results:
            cells = partial(cost_cells, unit, result, results)
            lines.append(line(name, result, len(COST_HEADINGS), cells))
    return table(COST_HEADINGS, lines)


def markdown(comparison: Comparison) -> str:
    """Return the whole report for readers."""
    parts = ["# Comparison"]
    if comparison.loads:
        parts += ["## Under load", load_table(comparison)]
    if comparison.costs:
        costs = [(row.name, row.unit, results) for row, results in comparison.costs]
        parts += ["## Memory and time to start", cost_table(costs)]
    if failures := comparison.failures:
        parts += ["## Failures", *(f"```\n{failure}\n```" for failure in failures)]
    if left_out := comparison.left_out:
        reasons = (f"{name}: {reason}" for name, reason in left_out.items())
        parts += ["## Left out", bullets(reasons)]
    facts = (comparison.settings | comparison.machine).items()
    parts += ["## Conditions", bullets(f"{name}: {fact}" for name, fact in facts)]
    return "\n\n".join(parts) + "\n"


def bullets(items: Iterable[str]) -> str:
    """Return a Markdown list."""
    return "\n".join(f"- {item}" for item in items)


def record(comparison: Comparison) -> str:
    """Return the whole report for programs: every sample of every round."""
    rows = [
        {
            "name": row.name,
            "workload": dataclasses.asdict(row),
            "results": [dataclasses.asdict(result) for result in results],
        }
        for row, results in comparison.rows
    ]
    return json.dumps(
        {
            "machine": comparison.machine,
            "settings": comparison.settings,
            "left_out": comparison.left_out,
            "rows": rows,
        },
        indent=2,
    )
