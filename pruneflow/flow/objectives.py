"""Objectives of a search: figures of the validation part and of sizes, never of the test part."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from pruneflow.datasets.spec import Spec
from pruneflow.options import require
from pruneflow.runtime.records import pick
from pruneflow.training.metrics import HEADLINES, headline_of

if TYPE_CHECKING:
    from pruneflow.flow.figures import Result

# Name: which way is better, where the figure stands in a result, how it is shown.
OBJECTIVES: dict[str, tuple[str, str, str]] = {
    "validation_accuracy": ("maximize", "pruned.validation_accuracy", ".4f"),
    "validation_r2": ("maximize", "pruned.validation_metrics.r2", ".4f"),
    "gzip_bytes": ("minimize", "tflite.0.size.gzip_bytes", ",.0f"),
    "bytes": ("minimize", "tflite.0.size.bytes", ",.0f"),
    "sparsity": ("maximize", "pruned.measured_sparsity", ".4f"),
    "compression_ratio": ("maximize", "pruned.compression_ratio", ".2f"),
}


def check(names: Sequence[str]) -> None:
    """Refuse an empty list, a name that is there twice, and what a search must not see."""
    allowed = f"allowed are {', '.join(OBJECTIVES)}, each once"
    require(
        bool(names) and len(set(names)) == len(names) and set(names) <= set(OBJECTIVES),
        "objective",
        list(names),
        f"{allowed}; nothing is chosen by the test part",
        "Give a list of one or more of these.",
    )


def check_task(names: Sequence[str], spec: Spec) -> None:
    """Refuse the figure of another task than the data's, before a search is begun."""
    reached = [f"validation_{name}" for name in HEADLINES]
    fitting = f"validation_{headline_of(spec)}"
    for name in names:
        problem = f"{name} means nothing for such data"
        require(name == fitting or name not in reached, "objective", list(names), problem, f"Take {fitting}.")


def check_shares(names: Sequence[str], cuts: Collection[bool]) -> None:
    """Refuse to compare the share that one cell cuts out with the zeros of another.

    Args:
        cuts: Of each cell, whether its pruned network is cut last, without zeros after it.
    """
    problem = "sparsity is the share that is cut out in some cells, and the share of zeros in others"
    remedy = "Take compression_ratio, which counts parameters before and after."
    require("sparsity" not in names or len(set(cuts)) < 2, "objective", list(names), problem, remedy)


def directions(names: Sequence[str]) -> list[str]:
    """Return the better direction of each objective: ``"maximize"`` or ``"minimize"``.

    >>> directions(["validation_accuracy", "gzip_bytes"])
    ['maximize', 'minimize']
    """
    return [OBJECTIVES[name][0] for name in names if name in OBJECTIVES]


def values(result: Result, names: Sequence[str]) -> list[float] | None:
    """Read the objectives off a result.

    Returns:
        None where one of them is of another task, which no search gets as far as.
    """
    found = [pick(result, OBJECTIVES[name][1]) for name in names]
    return None if None in found else [float(value) for value in found]


def shown(figures: Sequence[float], names: Sequence[str]) -> str:
    """Spell the objectives of a cell.

    >>> shown([0.98, 23669], ["validation_accuracy", "gzip_bytes"])
    'validation_accuracy 0.9800, gzip_bytes 23,669'
    """
    return ", ".join(
        f"{name} {value:{OBJECTIVES[name][2]}}" for name, value in zip(names, figures, strict=True)
    )


def best(points: Sequence[Sequence[float]], names: Sequence[str]) -> list[int]:
    """Return the points that no other one beats: as good in all objectives, better in one (Pareto front).

    Returns:
        Their places in ``points``, those with the best first objective first.

    >>> best([[0.90, 100], [0.95, 200], [0.90, 150]], ["validation_accuracy", "gzip_bytes"])
    [1, 0]
    """
    signs = [1 if direction == "maximize" else -1 for direction in directions(names)]
    scores = [tuple(sign * value for sign, value in zip(signs, point, strict=True)) for point in points]
    front = [place for place, score in enumerate(scores) if not any(_beats(other, score) for other in scores)]
    return sorted(front, key=lambda place: scores[place], reverse=True)


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(mine >= theirs for mine, theirs in zip(one, other, strict=True))
