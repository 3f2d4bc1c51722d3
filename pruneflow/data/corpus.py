"""Labelled texts of any origin, and the same as word ranks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pruneflow.data.text import Reviews, end_to_end, rank_words, words
from pruneflow.errors import DataError

__all__ = ["Corpus", "Texts", "held_out", "of_texts"]


@dataclass(frozen=True)
class Texts:
    """Labelled texts.

    Attributes:
        texts: n texts, as they are written.
        y: (n,) int64 labels, 0 or 1.
    """

    texts: list[str]
    y: npt.NDArray[np.int64]

    def taken(self, chosen: npt.NDArray[np.bool_]) -> Texts:
        """The texts for which ``chosen`` (n,) is True."""
        return Texts([self.texts[i] for i in np.flatnonzero(chosen)], self.y[chosen])


@dataclass(frozen=True)
class Corpus:
    """Both halves as ranks, before the reviews get one length.

    Attributes:
        train: Training half.
        test: Test half.
        note: What a reader of the numbers must know; empty when there is nothing to say.
        ranks: Word to rank, 1 = most frequent; None where the words are not known.
        class_names: What class 0 and 1 are called; empty where that is not known.
        origin: Where the file came from, if it remembers that.
    """

    train: Reviews
    test: Reviews
    note: str = ""
    ranks: Mapping[str, int] | None = None
    class_names: tuple[str, ...] = ()
    origin: str = ""


def of_texts(
    where: object, halves: tuple[Texts, Texts], *, ranks: Mapping[str, int] | None, names: tuple[str, ...]
) -> Corpus:
    """Turn texts into ranks.

    Args:
        where: Where they come from, for messages.
        halves: Training and test half.
        ranks: Word to rank; None counts the words of the training half.
        names: What class 0 and 1 are called.

    Raises:
        DataError: if no word of the training half has a rank.
    """
    train, _ = halves
    known = rank_words(map(words, train.texts)) if ranks is None else ranks
    if not any(word in known for text in train.texts for word in words(text)):
        problem = "no word of the training half has a rank; it is empty, or the index another's"
        raise DataError(f"{where}: {problem}.")
    first, second = (end_to_end(map(words, half.texts), known, half.y) for half in halves)
    return Corpus(first, second, ranks=known, class_names=names)


def held_out(texts: list[str], y: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Choose a fifth of each class, rounded down: the texts whose SHA-256 is smallest.

    No random numbers, so the choice is the same with every NumPy, and copies of a text stay together.

    Returns:
        (n,) True where a text is held out.
    """
    order = np.argsort([hashlib.sha256(text.encode()).hexdigest() for text in texts], kind="stable")
    chosen = np.zeros(len(texts), np.bool_)
    for label in np.unique(y):
        members = order[y[order] == label]
        chosen[members[: len(members) // 5]] = True
    return chosen
