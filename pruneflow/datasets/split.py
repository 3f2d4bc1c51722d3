"""Stratified parts: which examples are used, which are held out for testing, which for validation."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.rows import Rows
from pruneflow.datasets.spec import Data, Part, Spec
from pruneflow.options import require

Indices = npt.NDArray[np.int64]

TRAIN_STREAM, TEST_STREAM, HELD_OUT_STREAM, VALIDATION_STREAM = 1, 2, 3, 4


@dataclass(frozen=True)
class Halves:
    """A data set as its makers cut it, all of it.

    Attributes:
        note: What a reader of the numbers must know; empty when there is nothing to say.
        origin: Where the file came from, if it remembers that.
        validation: The validation part, where its makers cut one too.
        copies: (n,) which examples of ``train`` are copies of one another, or of one group, see `copies_of`;
            they come into one part. None where that is not asked.
    """

    train: Part
    test: Part
    note: str
    origin: str = ""
    validation: Part | None = None
    copies: Indices | None = None


class Labels(NamedTuple):
    """The key of a split: (n,) labels, and (n,) marks of copies, as in `Halves`."""

    y: npt.NDArray[np.int64]
    copies: Indices | None = None


class Cut(NamedTuple):
    """Places of the three parts: of training in the training half, of test in the test half.

    Those of validation are in the validation part where there is one, else in the training half.
    """

    train: Indices
    validation: Indices
    test: Indices


@dataclass(frozen=True)
class Plan:
    """The number of examples that are used, and the draw of the validation part."""

    validation_fraction: float
    split_seed: int
    limit: int | None
    test_fraction: float = 0.2

    def apply(self, halves: Halves, *, name: str, spec: Spec, source: str) -> Data:
        """Cut the halves into training, validation and test part.

        The limit comes first, on both halves. Each draw is stratified by label, and the order
        of the examples that stay is kept.
        """
        given = halves.validation
        labels = Labels(halves.train.y, halves.copies)
        cut = self.cut(labels, halves.test.y, given.y if given else None)
        train, test = taken(halves.train, cut.train), taken(halves.test, cut.test)
        validation = taken(given or halves.train, cut.validation)
        digest = digest_of(train, validation, test)
        return Data(name, spec, train, validation, test, source=source, note=halves.note, digest=digest)

    def cut(
        self,
        train: Labels,
        test: npt.NDArray[np.int64],
        validation: npt.NDArray[np.int64] | None = None,
    ) -> Cut:
        """Decide the same from the labels alone.

        Args:
            train: Labels of the training half.
            test: (m,) labels of the test half.
            validation: (k,) labels of the validation part; None draws one from the training half.
        """
        half, held = self.limited(train.y, TRAIN_STREAM), self.limited(test, TEST_STREAM)
        if validation is not None:
            return Cut(half, self.limited(validation, VALIDATION_STREAM), held)
        count = validation_size(len(half), self.validation_fraction)
        rng = np.random.default_rng(self.split_seed)
        if train.copies is None:
            chosen = draw(train.y[half], count, rng)
        else:
            chosen = draw_whole(Labels(train.y[half], train.copies[half]), count, rng)
            _require_some(len(chosen), len(half), self.validation_fraction, part="validation")
        return Cut(np.delete(half, chosen), half[chosen], held)

    def limited(self, y: npt.NDArray[np.int64], stream: int) -> Indices:
        """Places of at most ``limit`` examples with the labels ``y``, ascending."""
        if self.limit is None or self.limit >= len(y):
            return np.arange(len(y))
        return draw(y, self.limit, np.random.default_rng([self.split_seed, stream]))


def held_out_by_seed(
    y: npt.NDArray[np.int64], fraction: float, seed: int, groups: Indices | None = None
) -> Indices:
    """Choose the examples to test on where nobody has: drawn at random, stratified by label.

    Args:
        y: (n,) labels, or (n, targets) numbers to predict.
        fraction: Their share, (0, 1).
        seed: ``dataset.split_seed``.
        groups: (n,) numbers of groups, of which all examples or none are chosen; None where there are none.

    Returns:
        Their places in ``y``, ascending.
    """
    count, rng = part_size(len(y), fraction, part="test"), np.random.default_rng([seed, HELD_OUT_STREAM])
    if groups is None:
        return draw(y, count, rng)
    chosen = draw_whole(Labels(y, groups), count, rng)
    _require_some(len(chosen), len(y), fraction, part="test")
    return chosen


def validation_size(examples: int, fraction: float) -> int:
    """Count the validation examples, see `part_size`.

    >>> validation_size(60000, 0.1)
    6000
    >>> validation_size(25, 0.1)
    3
    """
    return part_size(examples, fraction, part="validation")


def part_size(examples: int, fraction: float, *, part: str) -> int:
    """Count the examples of a part that is taken out: ``fraction * examples``, halves rounded up.

    The product is exact: 0.1 means one tenth, not the nearest binary number.

    Args:
        fraction: ``dataset.<part>_fraction``.
        part: ``"validation"`` or ``"test"``.

    Raises:
        ConfigError: if the part or what remains for training would be empty.
    """
    count = math.floor(Fraction(str(fraction)) * examples + Fraction(1, 2))
    problem = f"puts {count} of {examples} training examples into the {part} part; neither part may be empty"
    remedy = "Choose a value nearer to 0.5, or raise dataset.limit if it is set."
    require(0 < count < examples, f"dataset.{part}_fraction", fraction, problem, remedy)
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
        y: (n,) labels, or (n, targets) numbers, which are drawn from without regard to their values.
        count: Examples to draw, [0, n].
        rng: Source of chance; classes are drawn in the order of their labels.

    Returns:
        (count,) int64 positions in ``y``, ascending.
    """
    y = _drawn_by(y)
    wanted = _wanted(y, count)
    chosen = [rng.permutation(np.flatnonzero(y == label))[:quota] for label, quota in wanted.items()]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def draw_whole(labels: Labels, count: int, rng: np.random.Generator) -> Indices:
    """Draw about as many, each class in proportion, but all copies of an example or none.

    Where there are no copies, these are the examples that `draw` draws.

    Args:
        labels: (n,) labels and copies.
        count: Examples to draw, [0, n].

    Returns:
        (about count,) int64 positions, ascending.
    """
    y = _drawn_by(labels.y)
    wanted = _wanted(y, count)
    shuffled = [rng.permutation(np.flatnonzero(y == label)) for label in wanted]
    # Class by class, examples that count for several classes would fill the first one too far.
    turns = np.concatenate([np.arange(len(each)) / len(each) for each in shuffled])
    order = np.concatenate(shuffled)[np.argsort(turns, kind="stable")]
    return taken_whole(Labels(y, labels.copies), wanted, order.tolist())


def taken_whole(labels: Labels, wanted: Mapping[int, int], order: Iterable[int]) -> Indices:
    """Go through the examples and take each with all its copies, where that comes nearer to what is wanted.

    Args:
        labels: (n,) labels, and which examples are copies.
        wanted: Examples of each label to take.
        order: Positions in the order in which they are tried.

    Returns:
        Positions of what was taken, ascending.
    """
    assert labels.copies is not None
    y, copies = labels.y.tolist(), labels.copies.tolist()
    members = defaultdict(list)
    for place, copy in enumerate(copies):
        members[copy].append(place)
    left = dict(wanted)
    chosen: list[int] = []
    for place in order:
        together = members.pop(copies[place], [])  # none where they were tried before
        counts = Counter(y[each] for each in together)
        gain = sum(abs(left[label]) - abs(left[label] - count) for label, count in counts.items())
        untouched = all(left[label] == wanted[label] > 0 for label in counts)
        if counts and (gain > 0 or (gain == 0 and untouched)):  # rather one too many than none
            chosen += together
            for label, count in counts.items():
                left[label] -= count
    return np.sort(np.array(chosen, np.int64))


def copies_of(texts: Sequence[str]) -> Indices:
    """Number texts so that equal ones have one number.

    >>> copies_of(["a", "b", "a"]).tolist()
    [0, 1, 0]
    """
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64)


def joined(first: Indices, second: Indices) -> Indices:
    """Number examples so that those of one number in either list have one number.

    >>> joined(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2])).tolist()
    [0, 0, 0, 3]
    """
    parent = list(range(len(first)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = place = parent[parent[place]]
        return place

    for numbers in (first.tolist(), second.tolist()):
        seen: dict[int, int] = {}
        for place, number in enumerate(numbers):
            a, b = sorted((root(seen.setdefault(number, place)), root(place)))
            parent[b] = a
    return np.array([root(place) for place in range(len(parent))], np.int64)


def said_of_test(data: Data, examples: str, how: str, *, validation_too: bool = True) -> str:
    """Say that the test part was taken out of the examples, and how many of those in use that are.

    Args:
        validation_too: Whether the validation part comes of the same examples.
    """
    count = len(data.train) + len(data.test) + validation_too * len(data.validation)
    return f"The test part is {len(data.test):,} of {count:,} {examples}, {how}."


def _drawn_by(y: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return the labels that stratify a draw; all equal where ``y`` has numbers to predict."""
    return np.zeros(len(y), np.int64) if y.dtype.kind == "f" else y


def _wanted(y: npt.NDArray[np.int64], count: int) -> dict[int, int]:
    labels, counts = np.unique(y, return_counts=True)
    return dict(zip(labels.tolist(), quotas(counts.astype(np.int64), count).tolist(), strict=True))


def _require_some(chosen: int, examples: int, fraction: float, *, part: str) -> None:
    problem = (
        f"puts {chosen} of {examples} training examples into the {part} part, as copies stay together "
        "(and groups); neither part may be empty"
    )
    remedy = "Choose a value nearer to 0.5, or drop the copies."
    require(0 < chosen < examples, f"dataset.{part}_fraction", fraction, problem, remedy)


def digest_of(*parts: Part) -> str:
    """Name data by content: SHA-256 over dtype, shape and bytes of x and y of each part in turn, no weights.

    Of examples that stay in files, it is over the SHA-256 of each in place of the bytes.
    """
    digest = hashlib.sha256()
    for part in parts:
        for array in (part.x, part.y):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            content = array.digests if isinstance(array, Rows) else array
            digest.update(np.ascontiguousarray(content).data)
    return digest.hexdigest()


def taken(part: Part, at: Indices) -> Part:
    """The examples at the places ``at`` (k,), ascending."""
    if len(at) == len(part):
        return part
    x = part.x.taken(at) if isinstance(part.x, Rows) else part.x[at]
    return Part(x, part.y[at], None if part.weights is None else part.weights[at])
