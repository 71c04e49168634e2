"""What a comparison has yielded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from perf.rows import CostRow, LoadRow, Row
from perf.sample import Sample

BASES = ("uvloop", "asyncio")
"""The loops that the others are put into relation to."""

S = TypeVar("S")


@dataclass(slots=True)
class Result(Generic[S]):
    """What one contestant did at one row."""

    contestant: str
    samples: list[S] = field(default_factory=list)
    """One per round."""

    failure: str | None = None
    """Why there are no more samples."""

    unsupported: bool = False
    """Whether the loop does not claim to do what the row is about."""

    @property
    def complete(self) -> bool:
        """Whether all went well so far."""
        return self.failure is None and not self.unsupported


Results = list[Result[S]]
"""What all contestants did at one row."""


@dataclass(slots=True)
class Comparison:
    """What all contestants did at all rows, and where."""

    machine: dict[str, str]
    settings: dict[str, int]
    left_out: dict[str, str]
    """Why a loop took no part, by the loop's name."""

    loads: list[tuple[LoadRow, Results[Sample]]] = field(default_factory=list)
    costs: list[tuple[CostRow, Results[float]]] = field(default_factory=list)

    @property
    def rows(self) -> list[tuple[Row, Sequence[Result[Any]]]]:
        """All rows, in the order of the tables."""
        return [*self.loads, *self.costs]

    @property
    def failures(self) -> list[str]:
        """What went wrong, and where."""
        return [
            f"{row.name}, {result.contestant}: {result.failure}"
            for row, results in self.rows
            for result in results
            if result.failure is not None
        ]


def ratios(results: Results[S], contestant: str, base: str, figure: Callable[[S], float]) -> list[float]:
    """Return a contestant's figure as a multiple of the base's, round by round.

    Each round gives one ratio, of two windows measured shortly after each
    other, so that what drifts over the rounds cancels out.  There are none if
    one of both is missing.
    """
    known = {result.contestant: result.samples for result in results if result.complete}
    if contestant not in known or base not in known:
        return []
    return [figure(mine) / figure(its) for mine, its in zip(known[contestant], known[base], strict=True)]
