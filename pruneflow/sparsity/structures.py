"""Structures: which elements of a weight are removed together, on the matrix that is multiplied."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from pruneflow.errors import ConfigError
from pruneflow.options import option, require, require_number, require_one_of, whole_from
from pruneflow.sparsity.selection import Kept, Scores, Sizes, keep_by_size, kept_count

Shape = tuple[int, int]
Element = TypeVar("Element", bound=np.generic)


@dataclass(frozen=True)
class Layout:
    """The reading of a weight as the matrix, inputs x outputs, that is multiplied.

    Attributes:
        axes: Order in which the axes are taken, inputs first.
        inputs: How many of these are inputs; together they are the rows. The others are the columns.
    """

    axes: tuple[int, ...]
    inputs: int

    @classmethod
    def default(cls, rank: int) -> Layout:
        """The last axis is the outputs: (in, out), (h, w, in, out), (words, dim)."""
        return cls(tuple(range(rank)), max(0, rank - 1))

    def shape(self, shape: tuple[int, ...]) -> Shape:
        """Rows and columns of a weight of ``shape``.

        >>> Layout.default(4).shape((3, 3, 12, 8))
        (108, 8)
        """
        taken = [shape[axis] for axis in self.axes]
        return prod(taken[: self.inputs]), prod(taken[self.inputs :])

    def matrix(self, array: npt.NDArray[Element]) -> npt.NDArray[Element]:
        """The weight as rows x columns; a view where its axes are in order."""
        matrix: npt.NDArray[Element] = array.transpose(self.axes).reshape(self.shape(array.shape))
        return matrix

    def restore(self, matrix: npt.NDArray[Element], shape: tuple[int, ...]) -> npt.NDArray[Element]:
        """The inverse of `matrix`: an array of the weight's own ``shape``."""
        taken = matrix.reshape([shape[axis] for axis in self.axes])
        return taken.transpose(np.argsort(self.axes)) if self.axes else taken


@dataclass(frozen=True)
class Units:
    """The elements of a matrix that are removed together.

    Attributes:
        scores: One per unit, 1-D, higher = keep; infinity for what must be kept.
        sizes: Elements of each unit; one number where all have as many.
    """

    scores: Scores
    sizes: Sizes


@dataclass(kw_only=True)
class Structure:
    """The base of all structures: each takes a matrix, inputs x outputs, apart into units.

    Attributes:
        name: Label in tables.
    """

    option_name: ClassVar[str]  # as chosen on the command line; set by @option
    cuts: ClassVar[bool] = False  # whether what is masked is taken out of the network at the end

    name: str

    @property
    def max_sparsity(self) -> float:
        """The sparsity at which this structure ends, (0, 1]; 1 where there is no limit."""
        return 1.0

    @property
    def limit(self) -> str:
        """Reason for `max_sparsity`, to begin a sentence with; empty where there is none."""
        return ""

    def narrowed(self, model: Any, selection: Any) -> Any:
        """Leave out what this structure cannot prune of a network.

        Args:
            model: The network, built.
            selection: The layers that may be pruned, a `Selection`.
        """
        return selection

    def unit(self, shape: Shape) -> int:
        """Elements of the largest unit of a weight of ``shape``, rows and columns."""
        return 1

    def check(self, name: str, shape: Shape) -> str | None:
        """Say what has to be known about a weight before it is pruned.

        Args:
            name: ``layer/weight``.
            shape: Rows (inputs) and columns (outputs) of its matrix.

        Returns:
            A sentence where the shape is padded, else None.

        Raises:
            ConfigError: if this structure does not fit the shape.
        """
        return None

    def units(self, scores: Scores) -> Units:
        """Take apart.

        Args:
            scores: One per element, rows x columns, not negative, higher = keep.

        Returns:
            The units, in an order that `expand` knows.
        """
        raise NotImplementedError

    def expand(self, kept: Kept, shape: Shape) -> Kept:
        """Put together.

        Args:
            kept: True for each unit that is kept, 1-D, in the order of `units`.
            shape: Rows and columns.

        Returns:
            True for each element that is kept, rows x columns.
        """
        return kept.reshape(shape)

    def expected_zeros(self, shape: Shape, sparsity: float) -> int:
        """Zeros of the mask of a weight of ``shape``, within `tolerance`.

        Args:
            shape: Rows and columns.
            sparsity: What is asked for, [0, 1).
        """
        size = prod(shape)
        return size - kept_count(size, sparsity)

    def tolerance(self, shape: Shape) -> int:
        """Return how far zeros may be from `expected_zeros`: 0 where all units are equally large."""
        return 0

    def select(self, scores: Scores, sparsity: float) -> tuple[Kept, float]:
        """Decide the mask of one weight.

        Args:
            scores: One per element, rows x columns, not negative, higher = keep.
            sparsity: What is asked for, [0, 1).

        Returns:
            True for each element that is kept, rows x columns, and the lowest score that was enough.
        """
        units = self.units(scores)
        shape = _shape_of(scores)
        kept, threshold = keep_by_size(units.scores, units.sizes, self.expected_zeros(shape, sparsity))
        return self.expand(kept, shape), threshold


@option("structure", "unstructured")
@dataclass(kw_only=True)
class Unstructured(Structure):
    """Every element by itself, as tfmot does by default."""

    def units(self, scores: Scores) -> Units:
        """One unit per element, in the order of the matrix."""
        return Units(scores.reshape(-1), 1)


@option("structure", "block")
@dataclass(kw_only=True)
class Block(Structure):
    """Rectangles of the matrix, kept or removed whole; ranked by the mean score of their elements."""

    inputs: int
    outputs: int
    indivisible: str

    def __post_init__(self) -> None:
        _require_whole("inputs", self.inputs)
        _require_whole("outputs", self.outputs)
        require_one_of("structure.indivisible", self.indivisible, INDIVISIBLE)

    def unit(self, shape: Shape) -> int:
        """Elements of a whole block."""
        return self.inputs * self.outputs

    def check(self, name: str, shape: Shape) -> str | None:
        """Say that the blocks at the edge are smaller.

        Raises:
            ConfigError: if a block is larger than the weight, or padding is refused.
        """
        _require_fits("inputs", self.inputs, name, shape)
        _require_fits("outputs", self.outputs, name, shape)
        if self._divides(shape):
            return None
        blocks = f"blocks of {self.inputs} x {self.outputs} (inputs x outputs)"
        _require_padding(self.indivisible, name, shape, blocks)
        return f"B{blocks[1:]} do not divide {_described(name, shape)}: those at its edge are smaller."

    def units(self, scores: Scores) -> Units:
        """One unit per block, row by row of blocks; means are taken in float64, over elements that exist."""
        rows, columns = _shape_of(scores)
        down, across = self._grid((rows, columns))
        margin = (0, down * self.inputs - rows), (0, across * self.outputs - columns)
        padded = scores if self._divides((rows, columns)) else np.pad(scores, margin)
        blocks = padded.reshape(down, self.inputs, across, self.outputs)
        sums = blocks.sum(axis=(1, 3), dtype=np.float64)
        sizes = self._sizes((rows, columns))
        return Units((sums / sizes).reshape(-1), sizes if isinstance(sizes, int) else sizes.reshape(-1))

    def expand(self, kept: Kept, shape: Shape) -> Kept:
        """Give every element the fate of its block."""
        blocks = kept.reshape(self._grid(shape))
        tall = np.repeat(blocks, self.inputs, axis=0)[: shape[0]]
        return np.repeat(tall, self.outputs, axis=1)[:, : shape[1]]

    def expected_zeros(self, shape: Shape, sparsity: float) -> int:
        """Zeros: whole blocks, counted as tfmot counts them; where they differ in size, elements."""
        if not self._divides(shape):
            return super().expected_zeros(shape, sparsity)
        blocks = prod(self._grid(shape))
        return (blocks - kept_count(blocks, sparsity)) * self.unit(shape)

    def tolerance(self, shape: Shape) -> int:
        """One block where they differ in size, else 0."""
        return 0 if self._divides(shape) else self.unit(shape)

    def _divides(self, shape: Shape) -> bool:
        return shape[0] % self.inputs == 0 and shape[1] % self.outputs == 0

    def _grid(self, shape: Shape) -> Shape:
        return -(-shape[0] // self.inputs), -(-shape[1] // self.outputs)

    def _sizes(self, shape: Shape) -> Sizes:
        if self._divides(shape):
            return self.unit(shape)
        return np.outer(_lengths(shape[0], self.inputs), _lengths(shape[1], self.outputs))


@option("structure", "n_of_m")
@dataclass(kw_only=True)
class NOfM(Structure):
    """N:M sparsity: ``n`` of every ``m`` consecutive inputs of each output are kept.

    Mishra et al. 2021, arXiv 2104.08378 (2:4); Zhou et al. 2021, arXiv 2102.04010 (N:M). On the way there the
    n highest of every m are never masked, so that zeros grow from none to the pattern.
    """

    n: int
    m: int
    indivisible: str

    def __post_init__(self) -> None:
        _require_whole("n", self.n)
        allowed = whole_from(2).said("{}, of which some are kept and some are not")
        require_number("structure.m", self.m, allowed, "Write for instance structure.n=2 structure.m=4.")
        require(
            self.n < self.m,
            "structure.n",
            self.n,
            f"n of every m inputs are kept; allowed are whole numbers from 1 to below structure.m={self.m}",
            "2 of 4 is what GPUs have instructions for.",
        )
        require_one_of("structure.indivisible", self.indivisible, INDIVISIBLE)

    @property
    def max_sparsity(self) -> float:
        """1 - n / m, where the pattern is complete."""
        return (self.m - self.n) / self.m

    @property
    def limit(self) -> str:
        """The pattern."""
        return f"structure={self.option_name} {self.n}:{self.m} keeps {self.n} of every {self.m} inputs"

    def check(self, name: str, shape: Shape) -> str | None:
        """Say that the last group is smaller.

        Raises:
            ConfigError: if a group is larger than the inputs, or padding is refused.
        """
        _require_fits("m", self.m, name, shape)
        rest = shape[0] % self.m
        if not rest:
            return None
        groups = f"groups of {self.m} inputs"
        _require_padding(self.indivisible, name, shape, groups)
        return (
            f"G{groups[1:]} do not divide {_described(name, shape)}: the last {rest} of each output "
            f"{'keeps' if rest == 1 else 'keep'} {min(self.n, rest)}."
        )

    def units(self, scores: Scores) -> Units:
        """One unit per element; infinity for the n highest of each group, of equal ones the lowest index."""
        finite = finite_scores(scores)
        return Units(np.where(self._highest(finite), np.inf, finite).reshape(-1), 1)

    def expected_zeros(self, shape: Shape, sparsity: float) -> int:
        """Zeros: as if unstructured, and at most those of the complete pattern, which 1 - n / m asks for."""
        rows, columns = shape
        groups, rest = divmod(rows, self.m)
        most = columns * (groups * (self.m - self.n) + max(0, rest - self.n))
        if sparsity >= self.max_sparsity:
            return most
        return min(most, super().expected_zeros(shape, sparsity))

    def select(self, scores: Scores, sparsity: float) -> tuple[Kept, float]:
        """Decide the mask of one weight; see `Structure.select`."""
        if sparsity >= self.max_sparsity:
            kept = self._highest(finite_scores(scores))
            return kept, lowest(scores, kept)
        kept, threshold = super().select(scores, sparsity)
        return kept, lowest(scores, kept) if np.isinf(threshold) else threshold

    def _highest(self, scores: Scores) -> Kept:
        """True for the n highest of each group of a column."""
        rows, columns = _shape_of(scores)
        padded = np.pad(scores, ((0, -rows % self.m), (0, 0)), constant_values=-1)
        groups = padded.reshape(-1, self.m, columns)
        ranks = np.zeros(groups.shape, np.min_scalar_type(self.m))
        for first in range(self.m):
            for second in range(first + 1, self.m):
                second_wins = groups[:, second] > groups[:, first]
                ranks[:, first] += second_wins
                ranks[:, second] += ~second_wins
        return (ranks < self.n).reshape(-1, columns)[:rows]


INDIVISIBLE = ("pad", "refuse")


def finite_scores(scores: Scores) -> Scores:
    """NaN and infinity as the largest number there is, so that infinity is free to mean what must be kept."""
    numbers: Scores = np.fmin(scores, np.finfo(scores.dtype).max)
    return numbers


def lowest(scores: npt.NDArray[Any], kept: Kept) -> float:
    """The lowest score that is kept, NaN aside."""
    return float(np.fmin.reduce(scores[kept], axis=None))


def _shape_of(matrix: npt.NDArray[Any]) -> Shape:
    rows, columns = matrix.shape
    return rows, columns


def _lengths(size: int, step: int) -> npt.NDArray[np.int64]:
    """Lengths of the pieces of ``size`` that are ``step`` long, but for the last."""
    starts = np.arange(0, size, step, dtype=np.int64)
    return np.minimum(step, size - starts)


def _described(name: str, shape: Shape) -> str:
    return f"{name} ({shape[0]} inputs x {shape[1]} outputs)"


def _require_whole(key: str, value: int) -> None:
    require_number(f"structure.{key}", value, whole_from(1), f"Write for instance structure.{key}=2.")


def _require_fits(key: str, value: int, name: str, shape: Shape) -> None:
    most = shape[1] if key == "outputs" else shape[0]
    problem = f"it is more than {_described(name, shape)} has"
    remedy = f"Lower it to {most} or less, or leave the layer dense with pruning.skip."
    require(value <= most, f"structure.{key}", value, problem, remedy)


def _require_padding(indivisible: str, name: str, shape: Shape, parts: str) -> None:
    if indivisible == "refuse":
        raise ConfigError.of(
            "structure.indivisible",
            indivisible,
            f"{parts} do not divide {_described(name, shape)}",
            "structure.indivisible=pad allows it, pruning.skip leaves the layer dense.",
        )
