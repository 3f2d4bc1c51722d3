"""Large and sparse against small and dense: networks of equal size, compared along several measures of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from pruneflow.report.charts import COLOURS, MARKERS, Picture, figure, logarithmic
from pruneflow.report.points import Grid, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CONTROL, CHANCE = "small_dense", "random"
SETTINGS = {"criterion", "export", "schedule.final_sparsity"}  # in which the runs of a study differ
BITS = 32  # of a float parameter; a bitmap of the zeros has one bit for each position
ROUNDING = 0.05  # widths are whole numbers, so that a narrower network has about the parameters

Line = Mapping[int, Mapping[float, tuple[float, float]]]
"""Size and accuracy of one criterion, by seed and sparsity."""


@dataclass(frozen=True)
class Measure:
    """The networks along one measure of their size.

    Attributes:
        name: What is counted.
        lines: Of each criterion.
    """

    name: str
    lines: Mapping[str, Line]


@dataclass(frozen=True)
class Verdict:
    """A criterion against the control along one measure.

    Attributes:
        measure: What is counted.
        won: Sparsities at which its mean over the seeds is above the control of the same size.
        points: Sparsities at which the control has networks as small and as large.
        difference: Mean difference of the accuracy there; None where there is no such point.
        spread: The lowest and the highest of the seeds' means.
    """

    measure: str
    criterion: str
    won: int
    points: int
    difference: float | None
    spread: tuple[float, float]

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if self.difference is None:
            return f"{self.criterion}: no small dense network has as many {self.measure}."
        low, high = self.spread
        return (
            f"Large and sparse (criterion={self.criterion}) wins at {self.won} of {self.points} points "
            f"against small and dense with as many {self.measure}. Its accuracy differs by "
            f"{self.difference:+.4f} on average ({low:+.4f} to {high:+.4f} over the seeds)."
        )


@dataclass(frozen=True)
class Study:
    """The measures of a study, and the verdict on each criterion along each of them."""

    measures: Sequence[Measure]
    verdicts: Sequence[Verdict]

    @property
    def sentence(self) -> str:
        """The verdict along the first measure on the criterion that is no control."""
        return min(self.verdicts, key=lambda each: each.criterion == CHANCE).sentence


def study_of(grid: Grid) -> Study | None:
    """Compare runs of ``criterion=small_dense`` with others that differ in criterion and sparsity alone.

    Returns:
        None where the runs are no such study.
    """
    points = [point for mark in grid.marks for point in mark.points]
    criteria = {point.settings["criterion"] for point in points}
    if CONTROL not in criteria or len(criteria) == 1 or not set(grid.keys) <= SETTINGS:
        return None
    measures = list(_measures(points))
    masked = [name for name in measures[0].lines if name != CONTROL]
    return Study(measures, [_verdict(each, name) for each in measures for name in masked])


def _measures(points: Sequence[Point]) -> Iterator[Measure]:
    kinds = list(dict.fromkeys(file.kind for point in points for file in point.run.result.tflite))
    first = [point for point in points if point.file.kind == kinds[0]]
    yield Measure("non-zero parameters", _lines(first, _nonzero, _in_keras))
    yield Measure("parameters and positions", _lines(first, _with_positions, _in_keras))
    for kind in kinds:
        same = [point for point in points if point.file.kind == kind]
        lines = _lines(same, lambda point: point.size_bytes, lambda point: point.quality)
        yield Measure(f"bytes ({kind}, gzip)", lines)


def _nonzero(point: Point) -> float:
    return float(point.run.result.nonzero_parameters or 0)


def _with_positions(point: Point) -> float:
    return _nonzero(point) + point.run.result.positions / BITS


def _in_keras(point: Point) -> float:
    return point.run.result.quality(point.run.result.pruned, point.part) or 0.0


def _lines(
    points: Sequence[Point], size: Callable[[Point], float], quality: Callable[[Point], float]
) -> Mapping[str, Line]:
    found: dict[str, dict[int, dict[float, tuple[float, float]]]] = {}
    for point in points:
        line = found.setdefault(point.settings["criterion"], {})
        sparsity = float(point.settings["schedule.final_sparsity"])
        line.setdefault(point.run.result.seed, {})[sparsity] = size(point), quality(point)
    return dict(sorted(found.items()))  # one order, and so one colour of a criterion, in all panels


def _verdict(measure: Measure, criterion: str) -> Verdict:
    """Compare each network with the control of its seed, between whose sizes log(size) interpolates."""
    by_sparsity: dict[float, list[float]] = {}
    by_seed: dict[int, list[float]] = {}
    for seed, line in measure.lines[criterion].items():
        control = sorted(measure.lines[CONTROL].get(seed, {}).values())
        for sparsity, (size, reached) in line.items():
            if control and control[0][0] * (1 - ROUNDING) <= size <= control[-1][0] * (1 + ROUNDING):
                difference = reached - _between(control, size)
                by_sparsity.setdefault(sparsity, []).append(difference)
                by_seed.setdefault(seed, []).append(difference)
    means = [fmean(each) for each in by_seed.values()]
    won = sum(fmean(each) > 0 for each in by_sparsity.values())
    spread = (min(means), max(means)) if means else (0.0, 0.0)
    return Verdict(measure.name, criterion, won, len(by_sparsity), fmean(means) if means else None, spread)


def _between(line: Sequence[tuple[float, float]], size: float) -> float:
    sizes, reached = zip(*line, strict=True)
    return float(np.interp(log(size), np.log(sizes), reached))


def study_picture(study: Study, grid: Grid, suffix: str) -> Picture:
    """Draw accuracy along each measure, a line for each criterion.

    Args:
        suffix: Ends the names of the files, where there are several data sets.
    """
    drawn, panels = figure(rows=len(study.measures), height=2.3 * len(study.measures))
    for axes, measure in zip(panels, study.measures, strict=True):
        for number, (criterion, line) in enumerate(measure.lines.items()):
            _draw(axes, line, criterion, COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)])
        logarithmic(axes)
        axes.set_xlabel(measure.name)
        axes.set_ylabel(grid.label)
    panels[0].legend()
    title = "Large and sparse against small and dense"
    alt = " ".join(each.sentence for each in study.verdicts)
    caption = "Means over the seeds, with a bar from the lowest to the highest."
    return Picture(f"study{suffix}", title, alt, drawn, caption)


def _draw(axes: Axes, line: Line, label: str, colour: str, shape: str) -> None:
    by_sparsity: dict[float, list[tuple[float, float]]] = {}
    for found in line.values():
        for sparsity, point in found.items():
            by_sparsity.setdefault(sparsity, []).append(point)
    means = sorted((fmean(x for x, _ in each), [y for _, y in each]) for each in by_sparsity.values())
    sizes, reached = zip(*means, strict=True)
    axes.plot(sizes, [fmean(each) for each in reached], f"{shape}-", color=colour, label=label, markersize=5)
    for size, each in means:
        axes.plot([size, size], [min(each), max(each)], color=colour, linewidth=1.1, marker="_")
