"""Least squares: weights that are kept make up for those that go, on the inputs that examples gave; NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pruneflow.sparsity.selection import Kept, Scores

Matrix = npt.NDArray[np.float64]
Decide = Callable[[Scores, float], Kept]

DAMPING = 0.01  # of the mean square of an input, as SparseGPT takes it
LEVELS = 4  # times that weights are chosen and the others fitted, on the way to the final sparsity
MOST_WORK = 2e11  # outputs x inputs^3, above which there is one level


@dataclass(frozen=True)
class Moments:
    """Sums of products of the inputs of a matrix, over all rows that it multiplies.

    Attributes:
        gram: X^T X, inputs x inputs, of the inputs X that the pruned network gives.
        cross: X^T D, of the inputs D that the dense network gives.
    """

    gram: Matrix
    cross: Matrix

    @classmethod
    def none(cls, inputs: int) -> Moments:
        """No row yet."""
        return cls(np.zeros((inputs, inputs)), np.zeros((inputs, inputs)))

    def add(self, pruned: npt.NDArray[np.float32], dense: npt.NDArray[np.float32]) -> None:
        """Add rows: the same ones of both networks, rows x inputs."""
        x = pruned.astype(np.float64)
        self.gram[:] += x.T @ x
        self.cross[:] += x.T @ dense.astype(np.float64)


def excess(moments: Moments, dense: Matrix, pruned: Matrix) -> float:
    """Squared error |D W - X V|^2 of outputs, less |D W|^2, which no V changes."""
    return float(np.sum(pruned * (moments.gram @ pruned - 2 * (moments.cross @ dense))))


def reconstructed(
    dense: Matrix, moments: Moments, decide: Decide, sparsity: float, plain: Kept
) -> tuple[Matrix, Kept]:
    """Mask a matrix, and fit what is kept to the outputs of the dense one.

    Which weights go is found by the error that each one causes when all others make up for it: Optimal Brain
    Surgeon (Hassibi and Stork 1992), as in OBC, Frantar and Alistarh 2022, arXiv 2208.11580. They go in a few
    steps, after each of which the others are fitted anew.

    Args:
        dense: Its values, inputs x outputs.
        moments: Of its inputs.
        decide: From scores, inputs x outputs, and a sparsity to what is kept.
        sparsity: What is asked for, [0, 1).
        plain: The mask that its criterion gives without examples. Its own values under this mask are
            returned where they do as well.

    Returns:
        The values, zero where they are masked, and the mask.
    """
    problem = _Problem.of(dense, moments)
    levels = LEVELS if dense.shape[1] * float(dense.shape[0]) ** 3 <= MOST_WORK else 1
    kept, values, left = plain, problem.free, np.tile(np.diagonal(problem.inverse)[:, None], dense.shape[1])
    for level in range(1, levels + 1):
        last = level == levels
        scores = np.where(left > 0, values**2 / np.where(left > 0, left, 1), 0)
        kept = decide(scores, sparsity if last else 1 - (1 - sparsity) ** (level / levels))
        values, left = problem.fitted(kept, variances=not last)
    control = dense * plain
    gains = excess(moments, dense, values) < excess(moments, dense, control)
    return (values, kept) if gains else (control, plain)


def refitted(dense: Matrix, moments: Moments, kept: Kept) -> Matrix:
    """Fit the weights that a given mask keeps.

    >>> x = np.array([[1.0, 1.0], [1.0, 1.0]])  # both inputs are always equal: the one that stays takes both
    >>> moments = Moments(x.T @ x, x.T @ x)
    >>> refitted(np.array([[2.0], [1.0]]), moments, np.array([[True], [False]])).round(1)
    array([[3.],
           [0.]])
    """
    return _Problem.of(dense, moments).fitted(kept, variances=False)[0]


@dataclass(frozen=True)
class _Problem:
    """Damped least squares of one matrix: minimise |D W - X V|^2 + damping |W - V|^2.

    Attributes:
        hessian: H = X^T X + damping, inputs x inputs.
        target: X^T D W + damping W, inputs x outputs.
        inverse: Of H.
        free: V where nothing is masked.
    """

    hessian: Matrix
    target: Matrix
    inverse: Matrix
    free: Matrix

    @classmethod
    def of(cls, dense: Matrix, moments: Moments) -> _Problem:
        mean = float(np.trace(moments.gram)) / len(moments.gram)
        damping = DAMPING * mean or 1.0  # inputs that are always zero
        hessian = moments.gram + damping * np.eye(len(moments.gram))
        target = moments.cross @ dense + damping * dense
        inverse = np.linalg.inv(hessian).astype(np.float64, copy=False)
        free = np.linalg.solve(hessian, target).astype(np.float64, copy=False)
        return cls(hessian, target, (inverse + inverse.T) / 2, free)

    def fitted(self, kept: Kept, *, variances: bool) -> tuple[Matrix, Matrix]:
        """Fit each output by itself.

        Returns:
            V, zero where it is masked, and of each output the diagonal of the inverse of H among what stays,
            zero elsewhere.
        """
        values, left = np.zeros(kept.shape), np.zeros(kept.shape)
        for column, mask in enumerate(kept.T):
            stays, goes = np.flatnonzero(mask), np.flatnonzero(~mask)
            fit = self._from_all if len(goes) < len(stays) else self._from_none
            values[stays, column], left[stays, column] = fit(stays, goes, column, variances)
        return values, left

    def _from_all(
        self, stays: npt.NDArray[np.intp], goes: npt.NDArray[np.intp], column: int, variances: bool
    ) -> tuple[Matrix, Matrix]:
        """Take from the fit of all inputs what goes."""
        across, gone = self.inverse[np.ix_(goes, stays)], self.free[goes, column]
        inner = self.inverse[np.ix_(goes, goes)]
        sides = np.column_stack([gone, across]) if variances else gone[:, None]
        solved = np.linalg.solve(inner, sides) if len(goes) else sides
        fitted = self.free[stays, column] - across.T @ solved[:, 0]
        lost = np.einsum("ij,ij->j", across, solved[:, 1:]) if variances else np.zeros(len(stays))
        return fitted, np.diagonal(self.inverse)[stays] - lost

    def _from_none(
        self, stays: npt.NDArray[np.intp], goes: npt.NDArray[np.intp], column: int, variances: bool
    ) -> tuple[Matrix, Matrix]:
        """Solve for what stays."""
        inner, target = self.hessian[np.ix_(stays, stays)], self.target[stays, column]
        if not len(stays):
            return target, target
        if variances:
            inverse = np.linalg.inv(inner)
            return inverse @ target, np.diagonal(inverse)
        return np.linalg.solve(inner, target), np.zeros(len(stays))
