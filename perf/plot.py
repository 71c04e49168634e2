"""Draws figures that are read at a glance: a line for each row, a mark for each contestant."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

BASE = "uvloop"
"""The loop that is 1 in figures of ratios."""

STYLES = {
    "floor": ("#8c8c8c", "|", "floor (C on io_uring)"),
    "asyncio": ("#d9822b", "s", "asyncio"),
    "uvloop": ("#444444", "D", "uvloop"),
    "rloop": ("#9b7fc4", "^", "rloop"),
    "uringloop": ("#1769aa", "o", "uringloop"),
}
"""Each contestant's colour, mark and label, in the order of the legend."""

LINE_INCHES = 0.3
"""The height of one row."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What is drawn of a contestant at a row: a mark, on a line from low to high."""

    low: float
    middle: float
    high: float


Line = tuple[str, dict[str, Mark]]
"""A row's name and the marks in it, by contestant."""


def mark(values: Sequence[float]) -> Mark:
    """Return the median of the values, with their range."""
    return Mark(min(values), median(values), max(values))


def draw(path: Path, title: str, label: str, lines: list[Line], *, ratio: bool) -> None:
    """Draw rows from the top down, on an axis where equal factors are equally long.

    In a figure of ratios what is left of 1 is better, and uringloop's are
    written at the right.
    """
    present = [name for name in STYLES if any(name in marks for _, marks in lines)]
    height = LINE_INCHES * len(lines)
    figure = Figure(figsize=(9, height + 1.9), layout="constrained")
    axes = figure.subplots()
    for place, (_, marks) in enumerate(lines):
        draw_line(axes, place, [(name, marks[name]) for name in present if name in marks])
    axes.set_yticks(range(len(lines)), [name for name, _ in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    scale(axes, [mark for _, marks in lines for mark in marks.values()])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if ratio else duration(value)))
    axes.set_xlabel(label)
    axes.spines[["top", "right", "left"]].set_visible(False)
    if ratio:
        draw_ratio(axes, lines)
    figure.suptitle(title, fontsize=13, fontweight="bold")
    figure.legend(*legend(axes), loc="outside lower center", ncols=len(present), frameon=False)
    figure.savefig(path, dpi=130)


def draw_line(axes: Axes, place: int, marks: list[tuple[str, Mark]]) -> None:
    """Draw one row's marks, one below the other, on a band of its own."""
    if place % 2:
        axes.axhspan(place - 0.5, place + 0.5, color="black", alpha=0.045, linewidth=0, zorder=0)
    step = 0.76 / max(len(marks), 1)
    for number, (name, mark) in enumerate(marks):
        colour, shape, text = STYLES[name]
        y = place + step * (number - (len(marks) - 1) / 2)
        axes.plot([mark.low, mark.high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt", zorder=3)
        width = 2 if shape == "|" else 1
        axes.plot(
            [mark.middle], [y], shape, color=colour, markersize=6, markeredgewidth=width, label=text, zorder=4
        )


def draw_ratio(axes: Axes, lines: list[Line]) -> None:
    """Mark where both are equal, which side is better, and uringloop's ratios."""
    low, high = axes.get_xlim()
    axes.axvspan(low, 1, color="#e3f2e6", linewidth=0, zorder=-1)
    axes.axvline(1, color=STYLES[BASE][0], linewidth=1.2, zorder=2)
    axes.set_xlim(low, high)
    right = axes.get_yaxis_transform()
    axes.text(1.01, -0.5, "uringloop", transform=right, va="bottom", color=STYLES["uringloop"][0])
    for place, (_, marks) in enumerate(lines):
        if mine := marks.get("uringloop"):
            colour = STYLES["uringloop"][0]
            axes.text(1.01, place, f"{mine.middle:.2f}", transform=right, va="center", color=colour)
    top = axes.get_xaxis_transform()
    axes.text(1, 1, f"better than {BASE} ←  ", transform=top, ha="right", va="bottom")
    axes.text(1, 1, "  → worse", transform=top, ha="left", va="bottom")


def scale(axes: Axes, marks: list[Mark]) -> None:
    """Make the axis logarithmic, wide enough for all marks, and with as many numbers as there is room for."""
    low, high = min(m.low for m in marks), max(m.high for m in marks)
    axes.set_xscale("log")
    axes.set_xlim(low / 1.15, high * 1.15)
    few, some, many = (1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)
    axes.xaxis.set_major_locator(LogLocator(subs=many if high < 50 * low else some if high < 1000 * low else few))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)


def duration(microseconds: float) -> str:
    """Write a time in the unit that suits it."""
    for size, unit in ((1e6, "s"), (1e3, "ms")):
        if microseconds >= size:
            return f"{microseconds / size:g} {unit}"
    return f"{microseconds:g} µs"


def legend(axes: Axes) -> tuple[list[Artist], list[str]]:
    """Return each contestant once, in the order of STYLES."""
    handles, labels = axes.get_legend_handles_labels()
    known = dict(zip(labels, handles, strict=True))
    shown = [text for _, _, text in STYLES.values() if text in known]
    return [known[text] for text in shown], shown
