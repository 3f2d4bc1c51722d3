"""Sparsity counted from weights, never from masks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.errors import PruneflowError


class SparsityNotReachedError(PruneflowError):
    """Weights do not have the zeros that were asked for."""


@dataclass(frozen=True)
class WeightSparsity:
    """Requested and measured sparsity of one weight.

    Attributes:
        weight: Name of the weight in the layer, such as ``"kernel"``.
        requested_sparsity: What was asked for, [0, 1); None where weights are ranked together.
        measured_sparsity: Zeros / size, counted, [0, 1].
        masked: Number of positions that the mask holds at zero.
        expected: Number of positions that it should hold; None where weights are ranked together.
        tolerance: How far it may be from that, where what is removed together differs in size.
    """

    name: str
    weight: str
    shape: tuple[int, ...]
    requested_sparsity: float | None
    measured_sparsity: float
    zeros: int
    masked: int
    expected: int | None
    tolerance: int = 0

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class Total:
    """Positions that all masks together should hold at zero, and how far they may be from it."""

    masked: int
    tolerance: int


def count_zeros(array: npt.NDArray[Any]) -> int:
    """Number of elements that are exactly zero.

    >>> count_zeros(np.array([[0.0, -0.0], [1e-30, 2.0]]))
    2
    """
    return int(array.size - np.count_nonzero(array))


def total_sparsity(weights: Iterable[WeightSparsity]) -> float:
    """Zeros over size of all ``weights`` together, [0, 1]; 0 where there are none."""
    weights = list(weights)
    size = sum(weight.size for weight in weights)
    return sum(weight.zeros for weight in weights) / size if size else 0.0


def require_target(weights: Sequence[WeightSparsity], total: Total, *, slack: int = 0) -> None:
    """Check every weight, and all together, against what was asked of them.

    Weights that were zero already may exceed the request; masks may not.

    Args:
        weights: As counted.
        total: What the masks of all weights together should hold.
        slack: Elements by which each weight may miss beside its tolerance: 1 for tfmot, which keeps all
            that tie with its threshold.
    """
    missed = [_miss(weight) for weight in weights if not _on_target(weight, slack)]
    masked = sum(weight.masked for weight in weights)
    if not missed and abs(masked - total.masked) > total.tolerance + slack * len(weights):
        missed = [f"all weights together have {masked} masked, {total.masked} were asked for"]
    if missed:
        raise SparsityNotReachedError(
            f"The pruned weights miss the requested sparsity: {'; '.join(missed)}. "
            "NaN causes this, and with pruning.engine=tfmot weights of equal magnitude; "
            "pruning.engine=pruneflow, a lower trainer.learning_rate or pruning.skip for these layers "
            "avoids it."
        )


def _on_target(weight: WeightSparsity, slack: int) -> bool:
    if weight.expected is None:
        return weight.zeros >= weight.masked
    most = weight.tolerance + slack
    return weight.zeros >= weight.expected - most and weight.masked <= weight.expected + most


def _miss(weight: WeightSparsity) -> str:
    expected = "" if weight.expected is None else f", {weight.expected} were asked for"
    return (
        f"{weight.name}/{weight.weight} has {weight.zeros} zeros ({weight.masked} masked) of {weight.size}"
        f"{expected}"
    )
