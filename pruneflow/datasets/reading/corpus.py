"""Labelled texts of any origin, and the same as word ranks."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.reading.text import Reviews, end_to_end, rank_words, words
from pruneflow.datasets.split import Labels, copies_of, taken_whole
from pruneflow.errors import DataError

FIFTH = Fraction(1, 5)


@dataclass(frozen=True)
class Texts:
    """Labelled texts.

    Attributes:
        y: (n,) int64 labels, 0 .. classes - 1.
        copies: (n,) which come into one part: equal ones, and those of one group; None for equal ones alone.
    """

    texts: list[str]
    y: npt.NDArray[np.int64]
    copies: npt.NDArray[np.int64] | None = None

    @property
    def together(self) -> npt.NDArray[np.int64]:
        """(n,) numbers; texts of one number come into one part."""
        return copies_of(self.texts) if self.copies is None else self.copies

    def taken(self, chosen: npt.NDArray[np.bool_]) -> Texts:
        """The texts for which ``chosen`` (n,) is True."""
        return self.at(np.flatnonzero(chosen))

    def at(self, places: npt.NDArray[np.int64]) -> Texts:
        """The texts at ``places`` (k,)."""
        copies = None if self.copies is None else self.copies[places]
        return Texts([self.texts[i] for i in places], self.y[places], copies)


@dataclass(frozen=True)
class Corpus:
    """Both halves as ranks, before the reviews get one length.

    Attributes:
        note: What a reader of the numbers must know; empty when there is nothing to say.
        ranks: Word to rank, 1 = most frequent; None where the words are not known.
        class_names: What class 0 and 1 are called; empty where that is not known.
        origin: Where the file came from, if it remembers that.
        copies: Which training reviews are copies, where they are kept together; see `Halves`.
        drawn: How the test half was taken out of the reviews, where that was done here; see `said_of_test`.
    """

    train: Reviews
    test: Reviews
    note: str = ""
    ranks: Mapping[str, int] | None = None
    class_names: tuple[str, ...] = ()
    origin: str = ""
    copies: npt.NDArray[np.int64] | None = None
    drawn: str = ""


def of_texts(
    where: object, halves: tuple[Texts, Texts], *, ranks: Mapping[str, int] | None, names: tuple[str, ...]
) -> Corpus:
    """Turn texts into ranks.

    Args:
        ranks: Word to rank; None counts the words of the training half.
        names: What class 0 and 1 are called.
    """
    known = ranked(where, halves[0], ranks)
    first, second = (end_to_end(map(words, half.texts), known, half.y) for half in halves)
    return Corpus(first, second, ranks=known, class_names=names)


def ranked(
    where: object,
    train: Texts,
    ranks: Mapping[str, int] | None,
    split: Callable[[str], list[str]] = words,
) -> Mapping[str, int]:
    """Word to rank: ``ranks``, or where that is None, as counted on the training texts.

    Args:
        ranks: Word to rank, or None.

    Raises:
        DataError: if no word of the training texts has a rank.
    """
    known = rank_words(map(split, train.texts)) if ranks is None else ranks
    if not any(word in known for text in train.texts for word in split(text)):
        problem = "no word of the training half has a rank; it is empty, or the index another's"
        raise DataError(f"{where}: {problem}.")
    return known


def held_out(of: Texts, fraction: Fraction = FIFTH) -> npt.NDArray[np.bool_]:
    """Choose about a fraction of each class, rounded down: the texts whose SHA-256 is smallest.

    No random numbers, so the choice is the same with every NumPy. Equal texts stay together, whatever their
    labels: where they would be more than are wanted, the next ones are taken.

    Returns:
        (n,) True where a text is held out.
    """
    texts, y = of.texts, of.y
    order = np.argsort([hashlib.sha256(text.encode()).hexdigest() for text in texts], kind="stable")
    labels, counts = np.unique(y, return_counts=True)
    wanted = {
        label: math.floor(count * fraction)
        for label, count in zip(labels.tolist(), counts.tolist(), strict=True)
    }
    chosen = np.zeros(len(texts), np.bool_)
    chosen[taken_whole(Labels(y, of.together), wanted, order.tolist())] = True
    return chosen
