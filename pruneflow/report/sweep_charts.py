"""The pictures of many runs: accuracy against size and against compression, groups as lines."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pruneflow.report.charts import COLOURS, INK, MARKERS, MUTED, Picture, figure, shortened
from pruneflow.report.points import Grid, Mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PICTURES", "sweep_pictures"]

LOG_ABOVE = 3.0  # largest over smallest from which on an axis is logarithmic


@dataclass(frozen=True)
class _Axis:
    """The horizontal axis of a chart."""

    name: str
    label: str
    value: Callable[[Mark], float]
    cost: Callable[[Mark], float]


_AXES = (
    _Axis(
        "size",
        "size after gzip (kB = 1,000 bytes)",
        lambda mark: mark.size_bytes / 1000,
        lambda mark: mark.size_bytes,
    ),
    _Axis(
        "compression",
        "compression (dense float size / size, both after gzip)",
        lambda mark: mark.compression,
        lambda mark: -mark.compression,
    ),
)


PICTURES = len(_AXES)
"""Number of pictures of each data set."""


def sweep_pictures(grid: Grid, suffix: str, links: Mapping[str, str]) -> Iterator[Picture]:
    """Draw the runs of one data set.

    Args:
        grid: They, sorted.
        suffix: Ends the names of the files, where there are several data sets.
        links: Where the page of each run lies, by its name.
    """
    for axis in _AXES:
        yield _against(grid, axis, suffix, links)


def _against(grid: Grid, axis: _Axis, suffix: str, links: Mapping[str, str]) -> Picture:
    several = len(grid.groups) > 1
    drawn, axes = figure(height=3.7 + 0.17 * (len(grid.groups) if several else 0))
    tips, leads = {}, {}
    for number, group in enumerate(grid.groups):
        marks = [mark for mark in grid.marks if mark.group == group]
        colour, shape = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        _line(axes, grid, axis, marks, label=group or None, colour=colour)
        for mark in marks:
            gid = f"mark-{grid.marks.index(mark)}"
            _mark(axes, grid, axis, mark, gid=gid, colour=colour, shape=shape)
            tips[gid] = _tip(mark, on_front=mark in grid.front_of(axis.cost))
            target = links.get(mark.points[0].run.name)
            if target:
                leads[gid] = target
    _front(axes, grid, axis)
    _baselines(axes, grid)
    _scale(axes, [axis.value(mark) for mark in grid.marks])
    axes.set_xlabel(axis.label)
    unit = " (share)" if grid.metric == "accuracy" else ""
    axes.set_ylabel(f"{grid.metric} on {grid.examples:,} {grid.part} examples{unit}")
    axes.margins(0.06)
    _legend(drawn, axes)
    name = f"{grid.metric.lower()}-{axis.name}{suffix}"
    return Picture(name, _title(grid, axis), _alt(grid, axis), drawn, _caption(grid), tips=tips, links=leads)


def _title(grid: Grid, axis: _Axis) -> str:
    return f"{grid.metric[0].upper()}{grid.metric[1:]} against {axis.name}"


def _line(axes: Axes, grid: Grid, axis: _Axis, marks: Sequence[Mark], **look: Any) -> None:
    """Join the marks of a group, by how far they are pruned; one entry of the legend."""
    shape = MARKERS[COLOURS.index(look["colour"])]
    style = "-" if grid.lined and len(marks) > 1 else ""
    points = [(axis.value(mark), mark.quality) for mark in marks]
    axes.plot(
        *zip(*points, strict=True),
        linestyle=style or "none",
        color=look["colour"],
        alpha=0.55,
        linewidth=1.2,
        zorder=2,
    )
    axes.plot(
        [], [], shape, linestyle=style or "none", color=look["colour"], label=look["label"], markersize=5
    )


def _mark(axes: Axes, grid: Grid, axis: _Axis, mark: Mark, **look: Any) -> None:
    """One mark, with a bar from the lowest to the highest accuracy of its seeds; the front is filled."""
    x, on_front = axis.value(mark), mark in grid.front_of(axis.cost)
    if len(mark.points) > 1:
        axes.plot([x, x], mark.qualities, color=look["colour"], linewidth=1.1, marker="_", markersize=6)
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


def _front(axes: Axes, grid: Grid, axis: _Axis) -> None:
    front = sorted((axis.value(mark), mark.quality) for mark in grid.front_of(axis.cost))
    axes.plot(
        *zip(*front, strict=True),
        color=INK,
        linestyle=(0, (4, 2)),
        linewidth=1,
        zorder=3,
        label="Pareto front (filled)",
    )


def _baselines(axes: Axes, grid: Grid) -> None:
    """The dense networks, as lines: where pruning starts from."""
    points = [point for mark in grid.marks for point in mark.points]
    reached = {point.run.result.quality(point.run.result.dense, grid.part) for point in points}
    for index, quality in enumerate(sorted(each for each in reached if each is not None)):
        axes.axhline(
            quality, color=MUTED, linestyle=":", linewidth=1, label=None if index else "dense networks"
        )


def _scale(axes: Axes, values: Sequence[float]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    if max(values) / min(values) < LOG_ABOVE:
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(drawn: Any, axes: Axes) -> None:
    handles, named = axes.get_legend_handles_labels()
    named = [shortened(name) for name in named]
    columns = 1 if max(map(len, named)) > 28 else 2
    drawn.legend(handles, named, loc="outside lower left", ncols=columns)


def _tip(mark: Mark, *, on_front: bool) -> str:
    low, high = mark.qualities
    spread = f" ({low:.4f} to {high:.4f}, {mark.counted})" if mark.counted else ""
    front = "; on the Pareto front" if on_front else ""
    label = f"{mark.label}: " if mark.label else ""
    return (
        f"{label}{mark.points[0].metric} {mark.quality:.4f}{spread}, {mark.size_bytes / 1000:,.1f} kB, "
        f"{mark.compression:.2f}x{front}"
    )


def _caption(grid: Grid) -> str:
    said = "Filled marks, joined by the dashed line: no other is both as small and as accurate."
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


def _alt(grid: Grid, axis: _Axis) -> str:
    front = sorted(grid.front_of(axis.cost), key=axis.value)
    return f"{_title(grid, axis)}, {len(grid.marks)} marks. Pareto front: " + "; ".join(
        _tip(mark, on_front=False) for mark in front
    )
