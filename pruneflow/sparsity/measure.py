"""Sparsity counted from weights, never from masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.errors import PruneflowError

__all__ = [
    "SparsityNotReachedError",
    "WeightSparsity",
    "count_zeros",
    "expected_zeros",
    "require_target",
    "total_sparsity",
]


class SparsityNotReachedError(PruneflowError):
    """Weights do not have the zeros that were asked for."""


@dataclass(frozen=True)
class WeightSparsity:
    """Requested and measured sparsity of one weight.

    Attributes:
        name: Name of the layer.
        weight: Name of the weight in the layer, such as ``"kernel"``.
        shape: Shape of the weight.
        requested_sparsity: What the schedule asked for, [0, 1).
        measured_sparsity: Zeros / size, counted, [0, 1].
        zeros: Number of zeros, counted.
        masked: Number of positions that the mask holds at zero.
    """

    name: str
    weight: str
    shape: tuple[int, ...]
    requested_sparsity: float
    measured_sparsity: float
    zeros: int
    masked: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))


def count_zeros(array: npt.NDArray[Any]) -> int:
    """Number of elements that are exactly zero.

    >>> count_zeros(np.array([[0.0, -0.0], [1e-30, 2.0]]))
    2
    """
    return int(array.size - np.count_nonzero(array))


def expected_zeros(size: int, sparsity: float) -> int:
    """Zeros that a weight of ``size`` elements has at ``sparsity``: n - max(1, round(n (1 - s))).

    At least one weight is kept, as tfmot does.

    >>> expected_zeros(10, 0.8), expected_zeros(3, 0.5), expected_zeros(1, 0.9)
    (8, 1, 0)
    """
    return size - min(size, max(1, round(size * (1 - sparsity))))


def total_sparsity(weights: Iterable[WeightSparsity]) -> float:
    """Zeros over size of all ``weights`` together, [0, 1]; 0 where there are none."""
    weights = list(weights)
    size = sum(weight.size for weight in weights)
    return sum(weight.zeros for weight in weights) / size if size else 0.0


def require_target(weights: Sequence[WeightSparsity]) -> None:
    """Check every weight against what was asked of it, within one element.

    Weights that were zero already may exceed the request; masks may not.

    Raises:
        SparsityNotReachedError: naming the weights that miss, with the counts.
    """
    missed = [weight for weight in weights if not _on_target(weight)]
    if missed:
        lines = "; ".join(_miss(weight) for weight in missed)
        raise SparsityNotReachedError(
            f"The pruned weights miss the requested sparsity: {lines}. "
            "Weights of equal magnitude or NaN cause this; another seed, a lower trainer.learning_rate or "
            "pruning.skip for these layers avoids it."
        )


def _on_target(weight: WeightSparsity) -> bool:
    expected = expected_zeros(weight.size, weight.requested_sparsity)
    return weight.zeros >= expected - 1 and weight.masked <= expected + 1


def _miss(weight: WeightSparsity) -> str:
    expected = expected_zeros(weight.size, weight.requested_sparsity)
    return (
        f"{weight.name}/{weight.weight} has {weight.zeros} zeros ({weight.masked} masked) of {weight.size}, "
        f"{expected} were asked for"
    )
