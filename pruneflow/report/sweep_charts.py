"""The pictures of many runs: accuracy against sparsity, size and latency, groups as lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pruneflow.errors import spelled
from pruneflow.report.charts import (
    COLOURS,
    INK,
    MARKERS,
    MUTED,
    Picture,
    figure,
    logarithmic,
    shortened,
    time_unit,
)
from pruneflow.report.points import Grid, Mark, pareto

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOG_ABOVE = 3.0  # largest over smallest from which on an axis is logarithmic
MOST_LABELLED = 16  # marks; the labels of more would cover each other
LONGEST_LABEL = 18  # letters
WIDTH_IN, HEIGHT_IN = 4.5, 3.6  # three of them stand side by side


@dataclass(frozen=True)
class _Axis:
    """The horizontal axis of a chart.

    Attributes:
        name: What accuracy is drawn against.
        label: Below the axis.
        value: Of a mark; None leaves it out of the chart.
        most: Whether much of it is good.
        spread: Ends of a bar through the mark.
    """

    name: str
    label: str
    value: Callable[[Mark], float | None]
    most: bool = False
    spread: Callable[[Mark], tuple[float, float] | None] = lambda mark: None


def _axes(grid: Grid) -> list[_Axis]:
    times = [mark.latency_ms for mark in grid.marks if mark.latency_ms is not None]
    factor, unit = time_unit(max(times, default=0.0))

    def latency(mark: Mark) -> float | None:
        return None if mark.latency_ms is None else mark.latency_ms * factor

    def spread(mark: Mark) -> tuple[float, float] | None:
        found = mark.points[0].file.latency
        return (
            (found.pruned.p10_ms * factor, found.pruned.p90_ms * factor)
            if found and not mark.counted
            else None
        )

    return [
        _Axis("sparsity", "measured sparsity (share)", lambda mark: mark.sparsity, most=True),
        _Axis("size", "size after gzip (kB = 1,000 bytes)", lambda mark: mark.size_bytes / 1000),
        _Axis("latency", f"latency, batch of 1 ({unit}); bar: p10 to p90", latency, spread=spread),
    ]


@dataclass(frozen=True)
class _Chart:
    """The marks of one chart, each with its place on the axis, and the Pareto-optimal ones."""

    grid: Grid
    axis: _Axis
    x: Mapping[Mark, float]
    front: Sequence[Mark]

    @classmethod
    def of(cls, grid: Grid, axis: _Axis) -> _Chart:
        x = {mark: value for mark in grid.marks if (value := axis.value(mark)) is not None}
        costs = [(-value if axis.most else value, mark.quality) for mark, value in x.items()]
        front = [list(x)[index] for index in pareto(costs)]
        return cls(grid, axis, x, sorted(front, key=lambda mark: x[mark]))

    @property
    def title(self) -> str:
        return f"{self.grid.metric[0].upper()}{self.grid.metric[1:]} against {self.axis.name}"


def sweep_pictures(grid: Grid, suffix: str, links: Mapping[str, str]) -> Iterator[Picture]:
    """Draw the runs of one data set; what was not measured has no chart.

    Args:
        suffix: Ends the names of the files, where there are several data sets.
        links: Where the page of each run lies, by its name.
    """
    for axis in _axes(grid):
        chart = _Chart.of(grid, axis)
        if chart.x:
            yield _picture(chart, suffix, links)


def _picture(chart: _Chart, suffix: str, links: Mapping[str, str]) -> Picture:
    grid, axis = chart.grid, chart.axis
    groups = grid.groups
    height = HEIGHT_IN + 0.17 * (len(groups) if len(groups) > 1 else 0)
    drawn, axes = figure(height=height, width=WIDTH_IN)
    tips, leads = {}, {}
    for number, group in enumerate(groups):
        marks = sorted((mark for mark in chart.x if mark.group == group), key=lambda mark: chart.x[mark])
        colour, shape = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        style = "-" if grid.lined and len(marks) > 1 else "none"
        line = [chart.x[mark] for mark in marks], [mark.quality for mark in marks]
        axes.plot(*line, linestyle=style, color=colour, alpha=0.55, linewidth=1.2, zorder=2)
        axes.plot([], [], shape, linestyle=style, color=colour, label=group or None, markersize=5)
        for mark in marks:
            gid = f"mark-{grid.marks.index(mark)}"
            _mark(axes, chart, mark, gid=gid, colour=colour, shape=shape)
            tips[gid] = _tip(mark, on_front=mark in chart.front)
            target = links.get(mark.points[0].run.name)
            if target:
                leads[gid] = target
    _write_labels(axes, chart)
    _front(axes, chart)
    _baselines(axes, grid)
    _scale(axes, chart)
    axes.set_xlabel(axis.label)
    axes.set_ylabel(f"{grid.metric}, {grid.examples:,} {grid.part} examples")
    axes.margins(0.12)
    _legend(drawn, axes)
    name = f"{grid.metric.lower()}-{axis.name}{suffix}"
    return Picture(name, chart.title, _alt(chart), drawn, tips=tips, links=leads)


def _mark(axes: Axes, chart: _Chart, mark: Mark, **look: Any) -> None:
    """One mark, with a bar from the lowest to the highest of its seeds; the front is filled."""
    x, on_front = chart.x[mark], mark in chart.front
    if len(mark.points) > 1:
        axes.plot([x, x], mark.qualities, color=look["colour"], linewidth=1.1, marker="_", markersize=6)
    if spread := chart.axis.spread(mark):
        axes.plot(spread, [mark.quality] * 2, color=look["colour"], linewidth=3, alpha=0.3)
    axes.plot(
        [x],
        [mark.quality],
        look["shape"],
        markersize=6.5 if on_front else 5,
        color=look["colour"],
        markerfacecolor=look["colour"] if on_front else "none",
        zorder=4,
        gid=look["gid"],
    )


def _write_labels(axes: Axes, chart: _Chart) -> None:
    """Write beside each mark the settings that the legend does not say, where no other label is."""
    if len(chart.x) > MOST_LABELLED:
        return
    width, height = (abs(each[1] - each[0]) for each in (axes.get_xlim(), axes.get_ylim()))
    taken: list[tuple[float, float]] = []
    look: Any = {"textcoords": "offset points", "fontsize": 7.5, "color": INK, "zorder": 5}
    for mark, x in chart.x.items():
        place = x / width, mark.quality / height
        near = (abs(place[0] - left) < 0.09 and abs(place[1] - up) < 0.05 for left, up in taken)
        if not any(near):
            axes.annotate(_label(chart.grid, mark), (x, mark.quality), (5, 5), **look)
            taken.append(place)


def _label(grid: Grid, mark: Mark) -> str:
    settings, keys = mark.points[0].settings, [key for key in grid.keys if key not in grid.group_keys]
    label = ", ".join(spelled(settings[key]) for key in keys if key in settings)
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"


def _front(axes: Axes, chart: _Chart) -> None:
    line = [chart.x[mark] for mark in chart.front], [mark.quality for mark in chart.front]
    axes.plot(*line, color=INK, linestyle=(0, (4, 2)), linewidth=1, zorder=3, label="Pareto front (filled)")


def _baselines(axes: Axes, grid: Grid) -> None:
    """The dense networks, as lines: where pruning starts from."""
    points = [point for mark in grid.marks for point in mark.points]
    reached = {point.run.result.quality(point.run.result.dense, grid.part) for point in points}
    for index, quality in enumerate(sorted(each for each in reached if each is not None)):
        axes.axhline(
            quality, color=MUTED, linestyle=":", linewidth=1, label=None if index else "dense networks"
        )


def _scale(axes: Axes, chart: _Chart) -> None:
    values = list(chart.x.values())
    if chart.axis.most or max(values) / min(values) < LOG_ABOVE:
        axes.locator_params(axis="x", nbins=5)
        return
    logarithmic(axes)


def _legend(drawn: Any, axes: Axes) -> None:
    handles, named = axes.get_legend_handles_labels()
    named = [shortened(name) for name in named]
    columns = 1 if max(map(len, named)) > 28 else 2
    drawn.legend(handles, named, loc="outside lower left", ncols=columns)


def _tip(mark: Mark, *, on_front: bool) -> str:
    low, high = mark.qualities
    spread = f" ({low:.4f} to {high:.4f}, {mark.counted})" if mark.counted else ""
    label = f"{mark.label}: " if mark.label else ""
    factor, unit = time_unit(mark.latency_ms or 0.0)
    latency = "" if mark.latency_ms is None else f", {mark.latency_ms * factor:.3g} {unit}"
    first = f"{label}{mark.points[0].metric} {mark.quality:.4f}{spread}, sparsity {mark.sparsity:.4f}"
    size = f"{mark.size_bytes / 1000:,.1f} kB ({mark.compression:.2f}x)"
    return f"{first}, {size}{latency}{'; on the Pareto front' if on_front else ''}"


def note(grid: Grid) -> str:
    """Return the words that belong to all charts of one data set."""
    said = (
        "Filled marks, joined by the dashed line: no other is both better along the axis and as accurate. "
        "Hover a mark for its figures; it leads to the page of its run."
    )
    if grid.seeds > 1:
        said += f" Marks are means over up to {grid.seeds} seeds, bars reach from the lowest to the highest."
    if not grid.lined:
        said += " There are more groups than colours; those that share one are not joined."
    return f"{said} {_chance(grid)}".strip()


def _chance(grid: Grid) -> str:
    """Return in words the difference in accuracy that chance alone explains (Wilson 1927)."""
    if grid.metric != "accuracy":
        return ""
    best = max(mark.quality for mark in grid.marks)
    low, high = _interval(best, grid.examples)
    return f"{best:.4f} on {grid.examples:,} {grid.part} examples stands for {low:.4f} to {high:.4f} (95 %)."


def _interval(share: float, count: int) -> tuple[float, float]:
    """Wilson's interval of a share, 95 %.

    >>> low, high = _interval(1.0, 100)
    >>> round(low, 4), round(high, 4)
    (0.963, 1.0)
    """
    z2 = 1.96**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = 1.96 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def _alt(chart: _Chart) -> str:
    tips = "; ".join(_tip(mark, on_front=False) for mark in chart.front)
    return f"{chart.title}, {len(chart.x)} marks. Pareto front: {tips}"
