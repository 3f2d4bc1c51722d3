"""Criteria: how much an element of a weight is worth keeping."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from pruneflow.options import option
from pruneflow.sparsity.selection import Scores

Array = npt.NDArray[Any]


@dataclass(kw_only=True)
class Criterion:
    """The base of all criteria.

    Attributes:
        name: Label in tables.
        uses_gradients: Whether `scores` needs what was accumulated over the training steps.
        reads_weights: Whether scores depend on more of a weight than its name and shape.
        narrows: Whether nothing is masked, and a narrower network is trained in place of the pruned one.
    """

    option_name: ClassVar[str]  # as chosen on the command line; set by @option
    uses_gradients: ClassVar[bool] = False
    reads_weights: ClassVar[bool] = True
    narrows: ClassVar[bool] = False

    name: str

    def scores(self, weight: Array, *, name: str, seed: int, accumulated: Array | None) -> Scores:
        """Rank the elements of one weight.

        Args:
            weight: Its values, any shape.
            name: ``layer/weight``.
            seed: Of the run.
            accumulated: Sum over the steps since the last update of |gradient x weight|, of the weight's
                shape; None where the criterion does not use gradients.

        Returns:
            A score per element, of the weight's shape, not negative, higher = keep.
        """
        raise NotImplementedError


@option("criterion", "magnitude")
@dataclass(kw_only=True)
class Magnitude(Criterion):
    """The absolute value, as tfmot ranks. Han et al. 2015, arXiv 1506.02626."""

    def scores(self, weight: Array, *, name: str, seed: int, accumulated: Array | None) -> Scores:
        """|w|, in the precision of the weight; bfloat16, which NumPy does not sort, in float32."""
        known = np.issubdtype(weight.dtype, np.floating)
        magnitudes: Scores = np.abs(weight if known else weight.astype(np.float32))
        return magnitudes


@option("criterion", "lamp")
@dataclass(kw_only=True)
class Lamp(Criterion):
    """Magnitude relative to the layer: w^2 over the sum of the squares that are not smaller.

    Lee et al. 2021, arXiv 2010.07611. It ranks the elements of a weight as magnitude does.
    ``distribution=global`` compares weights of different scale by it, and starves none.
    """

    def scores(self, weight: Array, *, name: str, seed: int, accumulated: Array | None) -> Scores:
        """Return the scores, float64 in [0, 1]; equal magnitudes have equal scores."""
        squares = np.square(weight.astype(np.float64)).reshape(-1)
        order = np.argsort(squares)
        rising = squares[order]
        firsts = np.flatnonzero(np.diff(rising, prepend=-1.0))  # where each run of equal squares begins
        not_smaller = np.cumsum(rising[::-1])[::-1][firsts]
        with np.errstate(invalid="ignore"):  # infinity of a network that diverged
            of_run = rising[firsts] / np.where(not_smaller > 0, not_smaller, 1)
        found = np.empty_like(squares)
        found[order] = np.repeat(of_run, np.diff(firsts, append=len(rising)))
        return found.reshape(weight.shape)


@option("criterion", "random")
@dataclass(kw_only=True)
class Random(Criterion):
    """A number drawn once and for all from the seed and the name: what any other criterion has to beat.

    Since the numbers stay, masks only grow with the sparsity.
    """

    reads_weights: ClassVar[bool] = False

    def scores(self, weight: Array, *, name: str, seed: int, accumulated: Array | None) -> Scores:
        """Uniform in [0, 1), float64; of the weight only its shape is used."""
        digest = sha256(f"{seed} {name}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest, "big")).random(weight.shape)


@option("criterion", "small_dense")
@dataclass(kw_only=True)
class SmallDense(Magnitude):
    """No masks: a narrower network with as many parameters as pruning would keep, trained for as long.

    The control of Zhu and Gupta 2017, arXiv 1710.01878: large and sparse against small and dense.
    """

    narrows: ClassVar[bool] = True


@option("criterion", "taylor")
@dataclass(kw_only=True)
class Taylor(Criterion):
    """First-order estimate of the change of the loss without the element: |gradient x weight|.

    The absolute value of Molchanov et al. 2017 (arXiv 1611.06440), which is there of an activation, taken of
    single weights as in Molchanov et al. 2019 (arXiv 1906.10771), which squares it: that ranks the elements
    of one batch alike. Over batches the absolute values are summed, which ranks as their mean does.
    """

    uses_gradients: ClassVar[bool] = True

    def scores(self, weight: Array, *, name: str, seed: int, accumulated: Array | None) -> Scores:
        """Return the accumulated estimates.

        Raises:
            ValueError: if nothing was.
        """
        if accumulated is None:
            raise ValueError(f"criterion taylor needs the gradients of {name}")
        live: Scores = np.where(weight != 0, np.finfo(np.float32).tiny, 0).astype(accumulated.dtype)
        return accumulated + live  # a weight without a gradient is worth more than one that is masked already
