"""One sentence of advice: the cost of each setting, and the setting to try next."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pruneflow.errors import spelled
from pruneflow.flow.figures import Result, TfliteResult
from pruneflow.flow.judgement import CHANCE, GUESSING
from pruneflow.report.collect import Run
from pruneflow.report.points import Point, differing, labels, points_of
from pruneflow.training.metrics import label_of

TOO_MUCH = 0.005  # accuracy or R2 that may be lost before the advice is to lose less
NOTHING = 0.002  # a loss below it cannot be told from chance on some thousand examples
MOST_VALUES = 4  # of a setting whose costs are named
SPARSITY = "schedule.final_sparsity"


def advice(results: Sequence[Result]) -> str:
    """Return the cost of what was tried and the setting to try next, one sentence.

    All costs are those of exported files against their dense network, on the validation part.

    Args:
        results: Of one run, or of the runs of a sweep; empty gives an empty sentence.
    """
    points = points_of([Run("", Path(), result) for result in results])
    if not points:
        return ""
    costs = _costs(points)
    if not costs:
        return _of_run(results[0] if len(results) == 1 else _best(points).run.result)
    key, of_values = max(costs.items(), key=lambda each: max(each[1].values()) - min(each[1].values()))
    name, shown = labels(list(costs))[key], _some(of_values)
    metric = label_of(points[0].run.result.data.metric)
    costs_of = [f"{value} {_change(cost, metric)}" for value, cost in shown.items()]
    values = f"{name}={', '.join(costs_of)}"
    return f"On the validation part {values}: {_after(key, of_values, points)}."


def cost_in_words(result: Result, file: TfliteResult) -> str:
    """Return what a file costs against the dense network on the validation part; empty where unknown.

    The words follow a subject, such as "the file": ``costs 0.7 points of accuracy``.
    """
    cost = _cost(result, file)
    if cost is None:
        return ""
    metric = label_of(result.data.metric)
    if abs(cost) <= NOTHING:
        return f"costs no {metric}"
    return f"{_change(cost, metric)} of {metric}"


def _of_run(result: Result) -> str:
    if result.judgement and result.judgement.verdict in (CHANCE, GUESSING):
        return f"The pruned network only guesses: {_less_lost(result)}."
    file = result.tflite[0]
    said = cost_in_words(result, file)
    if not said:
        return f"Nothing is known of a dense network: {_smaller(result) or _seeds(result)}."
    return f"On the validation part {file.file} {said}: {_next(result, _cost(result, file) or 0.0)}."


def _next(result: Result, cost: float) -> str:
    if cost > TOO_MUCH:
        return _less_lost(result)
    more = _more_sparsity(result)
    if cost <= NOTHING and more:
        return f"try {SPARSITY}={more:g}"
    return _smaller(result) or _seeds(result)


def _after(key: str, costs: Mapping[str, float], points: Sequence[Point]) -> str:
    """Return what to try after a sweep in which ``key`` made the largest difference."""
    best = min(costs, key=lambda value: costs[value])
    if key != SPARSITY:
        run = _best([point for point in points if spelled(point.settings.get(key)) == best] or points)
        return f"keep {labels([key])[key]}={best}, and {_next(run.run.result, costs[best])}"
    kept = [float(value) for value, cost in costs.items() if cost <= TOO_MUCH]
    if not kept:
        return _less_lost(_by_sparsity(points)[0])
    lost = [float(value) for value, cost in costs.items() if cost > TOO_MUCH and float(value) > max(kept)]
    if not lost:
        return _next(_by_sparsity(points)[-1], 0.0)
    between = round((max(kept) + min(lost)) / 2, 3)
    free = all(_shares_are_free(point.run.result) for point in points)
    return f"try {'distribution=sensitivity or ' if free else ''}{SPARSITY}={between:g}"


def _less_lost(result: Result) -> str:
    sparsity, options = _sparsity(result), []
    if sparsity:
        options.append(f"{SPARSITY}={_lower(sparsity):g}")
    if _shares_are_free(result):
        options.append("distribution=sensitivity")
    epochs = result.config.get("trainer", {}).get("epochs") or 0
    options.append(f"trainer.epochs={max(2, 2 * epochs)}" if isinstance(epochs, int) else "more epochs")
    return f"try {', '.join(options[:-1])}{' or ' if len(options) > 1 else ''}{options[-1]}"


def _smaller(result: Result) -> str:
    """Return settings for a smaller and a faster file, where only float was exported."""
    if {file.kind for file in result.tflite} != {"float"}:
        return ""
    kind = "dynamic-range" if _is_text(result) else "int8"
    smaller = f"try export={kind} for a smaller file"
    unstructured = _option(result, "structure") == "unstructured"
    return f"{smaller}, or structure=channel for a faster one" if unstructured else smaller


def _seeds(result: Result) -> str:
    first = result.seed
    return f"try -m seed={first},{first + 1},{first + 2} to see how far chance moves that"


def _more_sparsity(result: Result) -> float | None:
    """Return a sparsity that keeps half of the weights that are left; None where there is no such setting."""
    sparsity = _sparsity(result)
    return round(1 - (1 - sparsity) / 2, 3) if sparsity and sparsity < 0.99 else None


def _lower(sparsity: float) -> float:
    """Return a sparsity that keeps half as many weights again.

    >>> _lower(0.8), _lower(0.5)
    (0.7, 0.25)
    """
    return round(max(0.0, 1 - (1 - sparsity) * 1.5), 3)


def _sparsity(result: Result) -> float | None:
    """Return the sparsity that was typed; None where the structure or the layers set it."""
    if _option(result, "structure") == "n_of_m":
        return None
    asked = result.config.get("schedule", {}).get("final_sparsity")
    return float(asked) if isinstance(asked, (int, float)) and not isinstance(asked, bool) else None


def _shares_are_free(result: Result) -> bool:
    return (
        _option(result, "distribution") == "uniform"
        and _option(result, "structure") != "n_of_m"
        and result.config.get("pruning", {}).get("engine") != "tfmot"
    )


def _is_text(result: Result) -> bool:
    kind = result.contract.reads.kind if result.contract else ""
    return kind == "tokens" or result.config["model"]["name"] in ("lstm", "gru")


def _option(result: Result, group: str) -> str:
    return str(result.config.get(group, {}).get("name", ""))


def _costs(points: Sequence[Point]) -> dict[str, dict[str, float]]:
    """Return the mean cost of each value of each setting that matters; none where a cost is unknown."""
    of_points = [_cost(point.run.result, point.file) for point in points]
    if None in of_points:
        return {}
    found: dict[str, dict[str, float]] = {}
    for key in differing(points):
        of_values: dict[str, list[float]] = {}
        for point, cost in zip(points, of_points, strict=True):
            if key in point.settings and cost is not None:
                of_values.setdefault(spelled(point.settings[key]), []).append(cost)
        means = {value: fmean(each) for value, each in of_values.items()}
        if len(means) > 1 and (key == SPARSITY or max(means.values()) - min(means.values()) > NOTHING):
            found[key] = means
    return found


def _some(costs: Mapping[str, float]) -> dict[str, float]:
    """Return the values in their order; of many those that cost least and most."""
    if len(costs) <= MOST_VALUES:
        return dict(sorted(costs.items(), key=lambda each: _order(each[0])))
    ranked = sorted(costs, key=lambda value: costs[value])
    return {value: costs[value] for value in (ranked[0], ranked[-1])}


def _order(value: str) -> tuple[float, str]:
    try:
        return float(value), value
    except ValueError:
        return float("inf"), value


def _cost(result: Result, file: TfliteResult) -> float | None:
    dense, reached = (result.quality(each, "validation") for each in (result.dense, file))
    return None if dense is None or reached is None else dense - reached


def _change(cost: float, metric: str) -> str:
    """Spell a cost, which may be a gain.

    >>> _change(0.0071, "accuracy"), _change(-0.0001, "accuracy"), _change(-0.0071, "R2")
    ('costs 0.7 points', 'costs 0.0 points', 'gains 0.0071')
    """
    shown = round(100 * cost, 1) if metric == "accuracy" else round(cost, 4)
    size = f"{abs(shown):.1f} points" if metric == "accuracy" else f"{abs(shown):.4f}"
    return f"{'gains' if shown < 0 else 'costs'} {size}"


def _best(points: Sequence[Point]) -> Point:
    return max(points, key=lambda point: point.run.result.quality(point.file, "validation") or 0.0)


def _by_sparsity(points: Sequence[Point]) -> list[Result]:
    results: list[Any] = [point.run.result for point in points]
    return sorted(results, key=lambda result: _sparsity(result) or 0.0)
