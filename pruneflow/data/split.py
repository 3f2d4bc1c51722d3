"""Stratified parts: which examples are used, and which of the training half become the validation part."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from pruneflow.data.spec import Data, Part, Spec
from pruneflow.options import require

__all__ = ["Halves", "Plan", "digest_of", "draw", "quotas", "validation_size"]

Indices = npt.NDArray[np.int64]

TRAIN_STREAM, TEST_STREAM = 1, 2


@dataclass(frozen=True)
class Halves:
    """A data set as its makers cut it, all of it.

    Attributes:
        train: The training half.
        test: The test half.
        note: What a reader of the numbers must know; empty when there is nothing to say.
        origin: Where the file came from, if it remembers that.
    """

    train: Part
    test: Part
    note: str
    origin: str = ""


@dataclass(frozen=True)
class Plan:
    """How many examples are used, and how the validation part is drawn.

    Attributes:
        validation_fraction: Fraction of the training half, (0, 1).
        split_seed: Seed of both draws.
        limit: At most this many examples of each half, or None for all.
    """

    validation_fraction: float
    split_seed: int
    limit: int | None

    def apply(self, halves: Halves, *, name: str, spec: Spec, source: str) -> Data:
        """Cut the halves into training, validation and test part.

        The limit comes first, on both halves. Each draw is stratified by label, and the order
        of the examples that stay is kept.

        Raises:
            ConfigError: if the training or the validation part would be empty.
        """
        half = self._limited(halves.train, TRAIN_STREAM)
        test = self._limited(halves.test, TEST_STREAM)
        count = validation_size(len(half), self.validation_fraction)
        chosen = draw(half.y, count, np.random.default_rng(self.split_seed))
        rest = np.delete(np.arange(len(half)), chosen)
        train, validation = _taken(half, rest), _taken(half, chosen)
        digest = digest_of(train, validation, test)
        return Data(name, spec, train, validation, test, source=source, note=halves.note, digest=digest)

    def _limited(self, half: Part, stream: int) -> Part:
        if self.limit is None or self.limit >= len(half):
            return half
        return _taken(half, draw(half.y, self.limit, np.random.default_rng([self.split_seed, stream])))


def validation_size(examples: int, fraction: float) -> int:
    """Count the validation examples: ``fraction * examples``, halves rounded up.

    The product is exact: 0.1 means one tenth, not the nearest binary number.

    Raises:
        ConfigError: if the validation part or what remains for training would be empty.

    >>> validation_size(60000, 0.1)
    6000
    >>> validation_size(25, 0.1)
    3
    """
    count = math.floor(Fraction(str(fraction)) * examples + Fraction(1, 2))
    require(
        0 < count < examples,
        "dataset.validation_fraction",
        fraction,
        f"puts {count} of {examples} training examples into the validation part; neither part may be empty",
        "Choose a value nearer to 0.5, or raise dataset.limit if it is set.",
    )
    return count


def quotas(counts: npt.NDArray[np.int64], total: int) -> npt.NDArray[np.int64]:
    """Share ``total`` among classes in proportion to ``counts``, by largest remainder.

    Each class gets its share rounded down; what is left goes one each to the largest remainders,
    the lower label first where they tie. Integers throughout, so the result is exact.

    Args:
        counts: (classes,) examples that each class has.
        total: Examples wanted, at most ``counts.sum()``.

    Returns:
        (classes,) int64, sum ``total``, none above its count.

    >>> quotas(np.array([5, 3, 2]), 5).tolist()
    [3, 1, 1]
    """
    shares = counts.astype(np.int64) * total
    whole, remainder = np.divmod(shares, counts.sum())
    left = total - int(whole.sum())
    whole[np.argsort(-remainder, kind="stable")[:left]] += 1
    return whole


def draw(y: npt.NDArray[np.int64], count: int, rng: np.random.Generator) -> Indices:
    """Draw examples at random, each class in proportion.

    Args:
        y: (n,) labels.
        count: Examples to draw, [0, n].
        rng: Source of chance; classes are drawn in the order of their labels.

    Returns:
        (count,) int64 positions in ``y``, ascending.
    """
    labels, counts = np.unique(y, return_counts=True)
    wanted = quotas(counts.astype(np.int64), count)
    chosen = [
        rng.permutation(np.flatnonzero(y == label))[:quota]
        for label, quota in zip(labels, wanted, strict=True)
    ]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def digest_of(*parts: Part) -> str:
    """Name data by content: SHA-256 over dtype, shape and bytes of x and y of each part in turn."""
    digest = hashlib.sha256()
    for part in parts:
        for array in (part.x, part.y):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _taken(part: Part, at: Indices) -> Part:
    return Part(part.x[at], part.y[at])
