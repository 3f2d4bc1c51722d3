"""A study in the page of a sweep, and the checklist by Blalock et al. 2020 (arXiv 2003.03033), filled in."""

from collections.abc import Iterator, Sequence
from typing import Any

from pruneflow import __version__
from pruneflow.report.page import Cell, Column, Row
from pruneflow.report.points import Grid, Point
from pruneflow.report.study import Study, Verdict

FALLEN = 0.05  # of accuracy: a compression at which a network has declined substantially
YOURS = "yours to say"


def checklist(grid: Grid) -> list[tuple[str, str]]:
    """Return each question of the list, and the answer of the runs."""
    points = [point for mark in grid.marks for point in mark.points]
    return [*_of_method(points), *_of_experiments(points), *_of_results(grid, points), *_of_controls(points)]


def _of_method(points: Sequence[Point]) -> Iterator[tuple[str, str]]:
    result = points[0].run.result
    yield (
        "compared with magnitude pruning, recent and older techniques",
        f"criteria: {_values(points, 'criterion')}",
    )
    yield "enough detail to implement it again", "the config in result.json of each run; docs/pruning.md"
    of = f"{_values(points, 'model')} on {result.data.name}"
    yield "claims restricted to the experiments", f"these figures are of {of} alone"
    yield "source code", f"pruneflow {__version__}"


def _of_experiments(points: Sequence[Point]) -> Iterator[tuple[str, str]]:
    result = points[0].run.result
    data, plan, known = result.data, result.plan, points[0].settings
    counts = sorted({f"{point.run.result.dense.parameters:,}" for point in points}, key=len)
    yield "architecture and hyperparameters", f"the config; {', '.join(counts)} parameters before pruning"
    yield "citation of the architecture", YOURS
    parts = f"{data.train:,} + {data.validation:,} + {data.test:,} examples"
    batches = f"batches of {plan.batch_size or known.get('trainer.batch_size')}"
    yield "data set, batches, augmentation", f"{parts}, {batches}, augmentation {known['augmentation']}"
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    yield "library and hardware", f"{result.device.get('name', 'unknown')}; {versions}"


def _of_results(grid: Grid, points: Sequence[Point]) -> Iterator[tuple[str, str]]:
    lost = max((_loss(point) for point in points), default=0.0)
    extreme = f"the largest loss is {lost:.4f}"
    sparsities = _values(points, "schedule.final_sparsity")
    too_little = "" if lost >= FALLEN else "; no: sweep a higher schedule.final_sparsity"
    yield "a range of compression ratios, extreme ones too", f"{sparsities}; {extreme}{too_little}"
    yield "raw accuracy of each point", "yes: the tables and sweep.csv"
    seeds = min(mark.seeds for mark in grid.marks)
    yield (
        "several runs with separate initial weights and seeds",
        f"{'yes' if seeds > 1 else 'no'}: {seeds} of each",
    )
    yield (
        "error bars, and a measure of the middle",
        "yes: mean, lowest and highest seed" if seeds > 1 else "no",
    )
    yield "FLOP counts", "yes: theoretical_speedup in sweep.csv"


def _of_controls(points: Sequence[Point]) -> Iterator[tuple[str, str]]:
    criteria = {point.settings["criterion"] for point in points}
    ways = f"distribution {_values(points, 'distribution')}"
    for name in ("random", "magnitude"):
        there = f"yes: criterion={name}, {ways}" if name in criteria else f"no: sweep criterion={name} too"
        yield f"{name} pruning, in all and with the same shares of the layers", there
    yield "other techniques of the state of the art, and how their figures were made", YOURS


def _loss(point: Point) -> float:
    dense, part = point.run.result.dense, point.part
    before, after = (point.run.result.quality(each, part) for each in (dense, point.run.result.pruned))
    return 0.0 if before is None or after is None else before - after


def _values(points: Sequence[Point], key: str) -> str:
    found: dict[Any, None] = dict.fromkeys(point.settings.get(key, "") for point in points)
    return ", ".join(map(str, found))


def study_part(study: Study, grid: Grid) -> dict[str, Any]:
    """Return what the template of a sweep shows of a study."""
    return {
        "sentence": study.sentence,
        "columns": [
            Column("as many"),
            Column("criterion"),
            Column("wins at"),
            Column("difference", number=True),
        ],
        "rows": [Row(_cells(each)) for each in study.verdicts],
        "checklist_columns": [Column("checklist of Blalock et al. 2020"), Column("here")],
        "checklist_rows": [Row([Cell(question), Cell(answer)]) for question, answer in checklist(grid)],
    }


def _cells(verdict: Verdict) -> list[Cell]:
    low, high = verdict.spread
    told = verdict.difference is not None
    said = f"{verdict.difference:+.4f} ({low:+.4f} to {high:+.4f})" if told else ""
    won = f"{verdict.won} of {verdict.points}"
    return [Cell(verdict.measure), Cell(verdict.criterion), Cell(won), Cell(said, verdict.difference)]
