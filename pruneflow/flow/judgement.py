"""Judge the cost of pruning on the validation part, against the dense network and against guessing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.errors import PruneflowError
from pruneflow.training.metrics import label_of

NOTABLE_DROP = 0.05  # marked where pruning.max_accuracy_drop is not set
STANDARD_ERRORS = 3.0  # by which an accuracy must be above guessing, to be clearly above it
LEAST_R2 = 0.05  # a regression below it explains next to nothing
ROUNDING = 1e-9  # of a difference of two shares

KEPT, DROPPED, GUESSING = "kept", "dropped", "guessing"
OVER_LIMIT, CHANCE = "over_limit", "chance"
FAILING = (OVER_LIMIT, CHANCE)

REMEDY = "Lower schedule.final_sparsity, or train longer (trainer.min_steps or trainer.epochs)."


def without_training(message: str, *, can_fit: bool) -> str:
    """Return a message with a remedy for a network that was pruned at once.

    Args:
        can_fit: Whether ``pruning.reconstruct`` is not set and could be.

    >>> without_training(REMEDY, can_fit=True)
    'Set pruning.reconstruct=true, lower schedule.final_sparsity, or train (trainer.epochs=2).'
    """
    start = "Set pruning.reconstruct=true, lower" if can_fit else "Lower"
    remedy = f"{start} schedule.final_sparsity, or train (trainer.epochs=2)"
    return message.replace(REMEDY[:-1], remedy)  # a message may go on where the remedy ends


@dataclass(frozen=True)
class After:
    """A stage after pruning.

    Attributes:
        words: What follows the word pruning in a message.
        remedy: What to do where the stage cost too much.
    """

    words: str
    remedy: str


SHARED = After("with shared values", "Raise sharing.values, or train them (sharing.epochs).")
AWARE = After("with quantization-aware training", "Raise quantization_aware.epochs, or set it to 0.")


class WreckError(PruneflowError):
    """A run whose pruned network lost more than is allowed, or guesses; all its files are written."""

    exit_code = 3


@dataclass(frozen=True)
class Judgement:
    """The cost of pruning on the validation part.

    Attributes:
        verdict: ``"kept"``; ``"dropped"``: more than 0.05 was lost, and no limit is set; ``"guessing"``:
            neither network is clearly better than guessing; ``"over_limit"``: more was lost than
            ``pruning.max_accuracy_drop``; ``"chance"``: pruning left a network that guesses. The last two
            fail a run.
        message: The same in words; empty where it is ``"kept"``.
        dense: Accuracy or R2 of the dense network; null where it was not trained.
        pruned: Accuracy or R2 of the pruned network, after the later stages that are asked for.
        drop: What is lost; null without a dense network.
        chance: What guessing gives: the share of the most frequent class, or an R2 of 0.
        max_accuracy_drop: The limit; null where none is set.
    """

    verdict: str
    message: str
    dense: float | None
    pruned: float
    drop: float | None
    chance: float
    max_accuracy_drop: float | None


def judge(
    dense: float | None, pruned: float, y: npt.NDArray[Any], *, metric: str, limit: float | None
) -> Judgement:
    """Judge a pruned network.

    Args:
        dense: Accuracy or R2 of the dense network on the validation part; None where it was not trained.
        pruned: The same of the pruned network.
        y: Labels (n,) or numbers (n, targets) of the validation part.
        metric: ``"accuracy"`` or ``"r2"``.
        limit: Most that may be lost; None marks what is beyond 0.05.

    >>> y = np.arange(300) % 3
    >>> judge(0.95, 0.34, y, metric="accuracy", limit=None).verdict
    'chance'
    >>> judge(0.95, 0.89, y, metric="accuracy", limit=None).verdict
    'dropped'
    >>> judge(0.95, 0.89, y, metric="accuracy", limit=0.1).verdict
    'kept'
    """
    level = _Chance.of(y, metric)
    return _judged(level, _Figures(metric, level.share, dense, pruned, len(y), limit))


def judge_after(
    before: Judgement, reached: float, y: npt.NDArray[Any], *, metric: str, after: After
) -> Judgement:
    """Judge a pruned network after a later stage, against the same dense network and limit.

    Args:
        reached: Accuracy or R2 after the stage, on the validation part.
        y: As `judge` takes it.
        metric: As `judge` takes it.

    >>> y = np.arange(300) % 3
    >>> pruned = judge(0.95, 0.94, y, metric="accuracy", limit=None)
    >>> judge_after(pruned, 0.8, y, metric="accuracy", after=SHARED).verdict
    'dropped'
    """
    level = _Chance.of(y, metric)
    remedy = after.remedy if before.verdict == KEPT else REMEDY
    limit = before.max_accuracy_drop
    figures = _Figures(
        metric, level.share, before.dense, reached, len(y), limit, before.pruned, remedy, after.words
    )
    return _judged(level, figures)


def _judged(level: _Chance, of: _Figures) -> Judgement:
    verdict = _verdict(level, of.dense, of.pruned, of.limit)
    drop = None if of.dense is None else of.dense - of.pruned
    return Judgement(verdict, _message(verdict, of), of.dense, of.pruned, drop, level.share, of.limit)


@dataclass(frozen=True)
class _Chance:
    """The accuracy of guessing, and how far chance alone may be above it."""

    share: float
    error: float
    errors: float

    @classmethod
    def of(cls, y: npt.NDArray[Any], metric: str) -> _Chance:
        if metric != "accuracy":
            return cls(0.0, LEAST_R2, 1.0)
        share = float(np.unique(y, return_counts=True)[1].max() / len(y))
        return cls(share, math.sqrt(share * (1 - share) / len(y)), STANDARD_ERRORS)

    def is_clear(self, reached: float) -> bool:
        return reached > self.share + self.errors * self.error

    def is_likely(self, reached: float) -> bool:
        return reached <= self.share + self.error


def _verdict(level: _Chance, dense: float | None, pruned: float, limit: float | None) -> str:
    if dense is None:
        return GUESSING if level.is_likely(pruned) else KEPT
    if level.is_clear(dense) and not level.is_clear(pruned) and _halved(level, dense, pruned):
        return CHANCE
    if limit is not None and dense - pruned > limit + ROUNDING:
        return OVER_LIMIT
    if not level.is_clear(dense) and level.is_likely(pruned):
        return GUESSING
    return DROPPED if limit is None and dense - pruned > NOTABLE_DROP + ROUNDING else KEPT


def _halved(level: _Chance, dense: float, pruned: float) -> bool:
    """Return whether half of what was known is lost: a weak network is near guessing before that."""
    return pruned - level.share < (dense - level.share) / 2


@dataclass(frozen=True)
class _Figures:
    metric: str
    chance: float
    dense: float | None
    pruned: float
    examples: int
    limit: float | None
    before: float | None = None
    remedy: str = REMEDY
    after: str = ""


def _message(verdict: str, of: _Figures) -> str:
    label = label_of(of.metric)
    on, pruned = f"on {of.examples:,} validation examples", f"{of.pruned:.4f}"
    guess = f"guessing gives {of.chance:.4f}"
    if verdict == GUESSING and of.dense is None:
        return f"The pruned network guesses: {label} {pruned} {on}; {guess}. {of.remedy}"
    if of.dense is None or verdict == KEPT:
        return ""
    cause = "Pruning" if of.before is None else f"Pruning {of.after}"
    reached = f"{pruned} pruned" if of.before is None else f"{of.before:.4f} pruned, {pruned} {of.after}"
    figures, cost = f"{label} {of.dense:.4f} dense, {reached}, {on}", f"{of.dense - of.pruned:.4f}"
    dense = (
        "Look at the labels and the data, train the dense network longer (trainer.dense_epochs), or "
        "raise dataset.validation_fraction: with few examples, chance decides."
    )
    return {
        CHANCE: f"{cause} left a network that guesses: {figures}; {guess}. {of.remedy}",
        OVER_LIMIT: f"pruning.max_accuracy_drop={of.limit}: {cause.lower()} cost {cost}: {figures}. "
        f"{of.remedy[:-1]}, or allow more.",
        GUESSING: f"Neither network is clearly better than guessing: {figures}; {guess}. {dense}",
        DROPPED: f"{cause} cost {cost}: {figures}. {of.remedy} "
        "pruning.max_accuracy_drop sets what is allowed.",
    }[verdict]


def marked(found: Judgement | None) -> Judgement | None:
    """Return the judgement of a result where it is anything but ``"kept"``; older results have none."""
    return found if found and found.verdict != KEPT else None


def fails(found: Judgement | None) -> bool:
    """Return whether the pruned network is one that no search should take, and that fails a run."""
    return found is not None and found.verdict in FAILING


def violations(found: Judgement | None) -> dict[str, float]:
    """Return by how much a result is beyond what a search may take: one that `fails` has a figure above 0.

    >>> over = Judgement("over_limit", "", 0.95, 0.2, 0.75, 0.1, max_accuracy_drop=0.5)
    >>> violations(over)["max_accuracy_drop"] > 0.2
    True
    >>> violations(Judgement("chance", "", 0.95, 0.2, 0.75, 0.1, max_accuracy_drop=None))
    {'guessing': 0.75}
    """
    if found is None:
        return {"guessing": 0.0}
    broken = {"guessing": (found.drop or 1.0) if found.verdict == CHANCE else 0.0}
    if found.drop is not None and found.max_accuracy_drop is not None:
        broken["max_accuracy_drop"] = found.drop - found.max_accuracy_drop - ROUNDING
    return broken


def require_worth(found: Judgement | None) -> None:
    """Fail a run whose pruned network is a wreck, after everything was written."""
    if found and fails(found):
        raise WreckError(found.message)
