"""The run of a sweep to take, by validation accuracy: the smallest that is nearly as accurate as the best."""

from dataclasses import dataclass

from pruneflow.flow.judgement import fails
from pruneflow.report.points import Grid, Mark, Point

NEAR = 0.01  # of accuracy or R2 that the smallest file may lack of the best


@dataclass(frozen=True)
class Choice:
    """The run to take.

    Attributes:
        point: Its file.
        setting: What tells it from the others.
        reason: Why, beginning with a small letter.
        tested: What it reaches on the test part, by which nothing was chosen; empty where that is not known.
    """

    point: Point
    setting: str
    reason: str
    tested: str


def chosen(grid: Grid) -> Choice | None:
    """Choose among the runs of one data set, by means over their seeds.

    Returns:
        None where there is nothing to choose between, or nothing is known of the validation part.
    """
    judged = {mark: any(fails(point.run.result.judgement) for point in mark.points) for mark in grid.marks}
    marks = [mark for mark in grid.marks if mark.validation is not None and not judged[mark]]
    if len(grid.marks) < 2 or not marks:
        return None
    best = max(marks, key=lambda mark: (_reached(mark), -mark.size_bytes))
    near = [mark for mark in marks if _reached(mark) >= _reached(best) - NEAR]
    small = min(near, key=lambda mark: (mark.size_bytes, -_reached(mark)))
    point = max(small.points, key=lambda point: point.validation or 0.0)
    return Choice(point, small.label or point.run.name, _reason(small, best, marks), _tested(point))


def _reached(mark: Mark) -> float:
    assert mark.validation is not None, "others are left out"
    return mark.validation


def _reason(small: Mark, best: Mark, marks: list[Mark]) -> str:
    metric = f"validation {best.points[0].metric}"
    size, reached = f"{small.size_bytes / 1000:,.1f} kB after gzip", f"{_reached(small):.4f}"
    smallest = small.size_bytes == min(mark.size_bytes for mark in marks)
    if small is best:
        both = "the most accurate and the smallest" if smallest else "the most accurate"
        alone = "" if smallest else f", and no smaller file comes within {NEAR:g} of it"
        return f"it is {both}: {metric} {reached}, {size}{alone}."
    figures = f"{reached}, best {_reached(best):.4f}; {size}"
    return f"it is the smallest within {NEAR:g} of the best {metric}: {figures}."


def _tested(point: Point) -> str:
    result = point.run.result
    reached, dense = (result.quality(each, "test") for each in (point.file, result.dense))
    if reached is None:
        return ""
    beside = "" if dense is None else f", its dense network {dense:.4f}"
    return f"On the test part, by which nothing was chosen, it reaches {reached:.4f}{beside}."
