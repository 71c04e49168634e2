"""Turns the samples of a comparison into a table and a record."""

import dataclasses
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median

from perf.rows import Row
from perf.sample import Sample

BASES = ("uvloop", "asyncio")
"""The loops that the others are put into relation to."""

HEADINGS = [
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
]


@dataclass(slots=True)
class Result:
    """What one contestant did at one row."""

    contestant: str
    samples: list[Sample] = field(default_factory=list)
    """One per round."""

    failure: str | None = None
    """Why there are no more samples."""


@dataclass(slots=True)
class Comparison:
    """What all contestants did at all rows, and where."""

    machine: dict[str, str]
    settings: dict[str, int]
    left_out: dict[str, str]
    """Why a loop took no part, by the loop's name."""

    rows: list[tuple[Row, list[Result]]] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """What went wrong, and where."""
        return [
            f"{row.name}, {result.contestant}: {result.failure}"
            for row, results in self.rows
            for result in results
            if result.failure is not None
        ]


def spread(values: Iterable[float], form: str) -> str:
    """Write the median of the values, and the least and greatest of them."""
    known = list(values)
    low, middle, high = min(known), median(known), max(known)
    return f"{middle:{form}} ({low:{form}}-{high:{form}})"


def relation(result: Result, base: Result | None, figure: Callable[[Sample], float]) -> str:
    """Write a figure as a multiple of the base's.

    Each round gives one ratio, of two windows measured shortly after each
    other, so that what drifts over the rounds cancels out.
    """
    if base is None or base.failure is not None or base is result:
        return ""
    pairs = zip(result.samples, base.samples, strict=True)
    return spread((figure(mine) / figure(its) for mine, its in pairs), ".2f")


def cells(row: Row, result: Result, results: list[Result]) -> list[str]:
    """Return a contestant's line of the table."""
    if result.failure is not None:
        rest = [""] * (len(HEADINGS) - 3)
        return [row.name, result.contestant, "**FAILED**, see below", *rest]
    samples = result.samples
    bases = [next((r for r in results if r.contestant == b), None) for b in BASES]
    return [
        row.name,
        result.contestant,
        spread((s.cpu_us for s in samples), ".2f"),
        f"{median(s.kernel_share for s in samples):.0%}",
        spread((s.rate for s in samples), ",.0f"),
        spread((s.p50_us for s in samples), ",.0f"),
        spread((s.p99_us for s in samples), ",.0f"),
        f"{median(s.core_share for s in samples):.0%}",
        *(relation(result, base, lambda s: s.cpu_us) for base in bases),
        *(relation(result, base, lambda s: s.rate) for base in bases),
    ]


def table(comparison: Comparison) -> str:
    """Return the Markdown table of everything measured."""
    lines = [HEADINGS, ["---"] * 2 + ["---:"] * (len(HEADINGS) - 2)]
    for row, results in comparison.rows:
        lines += [cells(row, result, results) for result in results]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown(comparison: Comparison) -> str:
    """Return the whole report for readers."""
    parts = ["# Comparison", table(comparison)]
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
