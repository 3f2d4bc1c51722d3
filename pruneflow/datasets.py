"""Data sets: options of the group ``dataset``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from pruneflow.data import imdb, mnist
from pruneflow.data.cache import Origin, Place, cache_folder, named, stored
from pruneflow.data.corpus import Corpus, Texts
from pruneflow.data.flat import CLASSES
from pruneflow.data.spec import Data, Part, Spec
from pruneflow.data.split import Halves, Plan, validation_size
from pruneflow.data.table import Columns, read_table
from pruneflow.data.text import Reviews, encode, vocabulary_of
from pruneflow.data.vocabulary import FORM, Ranks, read_index
from pruneflow.options import option, require

__all__ = ["Dataset", "Imdb", "Mnist", "Stored"]


@dataclass(kw_only=True)
class Dataset:
    """What every data set has.

    Attributes:
        name: Label in tables.
    """

    kind: ClassVar[str]  # of Spec: "image" or "tokens"

    name: str

    def load(self) -> Data:
        """Read the three parts.

        Raises:
            DataError: if they cannot be had.
            ConfigError: if a part would be empty.
        """
        raise NotImplementedError


@dataclass(kw_only=True)
class Stored(Dataset):
    """What every data set that lies in a file can be told; chosen values stand in ``conf/dataset``.

    Attributes:
        path: File, or folder that holds it; null looks into the cache folder. ``~`` is expanded.
        cache_dir: Cache folder; null takes PRUNEFLOW_DATA_DIR, else the user's cache folder.
        validation_fraction: Fraction of the training half that becomes the validation part, (0, 1).
        split_seed: Seed of the draws for validation part and limit, at least 0.
        limit: At most this many examples of each half, drawn stratified; null takes all.
        download: Whether a missing file is fetched.
    """

    path: str | None
    cache_dir: str | None
    validation_fraction: float
    split_seed: int
    limit: int | None
    download: bool

    def __post_init__(self) -> None:
        self._check_names()
        fraction, seed, limit = self.validation_fraction, self.split_seed, self.limit
        require(
            0 < fraction < 1,
            "dataset.validation_fraction",
            fraction,
            "must lie between 0 and 1, both excluded",
            "0.1 keeps a tenth of the training half for choices.",
        )
        require(seed >= 0, "dataset.split_seed", seed, "must be 0 or more", "0 is usual.")
        if limit is not None:
            remedy = "Take some thousands for a quick look, null for all."
            require(limit >= 2, "dataset.limit", limit, "must be 2 or more, or null", remedy)
            validation_size(limit, fraction)

    def _check_names(self) -> None:
        require(self.name != "", "dataset.name", "", "must not be empty", "Give a label for tables.")
        for key in ("path", "cache_dir"):
            remedy = "Name a path, or null."
            require(getattr(self, key) != "", f"dataset.{key}", "", "must not be empty", remedy)

    def _place(self, file: str, formats: str, *origins: Origin) -> Place:
        if self.path is not None:
            formats = f"{formats}; null uses the cache folder"
            return named(self.path, key="dataset.path", formats=formats, file=file)
        return stored(cache_folder(self.cache_dir), file=file, download=self.download, origins=origins)

    def _cut(self, halves: Halves, spec: Spec, place: Place) -> Data:
        plan = Plan(self.validation_fraction, self.split_seed, self.limit)
        return plan.apply(halves, name=self.name, spec=spec, source=place.source(halves.origin))


@option("dataset", "mnist")
@dataclass(kw_only=True)
class Mnist(Stored):
    """Handwritten digits: 60,000 + 10,000 images of 28 x 28 grey pixels, 10 classes (LeCun et al. 1998).

    A file or folder that ``path`` names may hold images of any size, grey or of three colours, and any number
    of classes.
    """

    kind = "image"

    def load(self) -> Data:
        """Read the data set, fetching it first if need be.

        Returns:
            Parts with x (n, height, width, channels) uint8 and y (n,) labels 0 .. classes - 1; for MNIST
            (n, 28, 28, 1) and 0 .. 9.

        Raises:
            DataError: if the file is broken, or missing and cannot be fetched.
            ConfigError: if the training or the validation part would be empty.
        """
        place = self._place(mnist.FILE, mnist.FORMATS, mnist.from_keras, mnist.from_wheel)
        halves, spec = place.read(mnist.read)
        return self._cut(halves, spec, place)


@option("dataset", "imdb")
@dataclass(kw_only=True)
class Imdb(Stored):
    """Film reviews, 0 = bad, 1 = good: 25,000 + 25,000 texts as token ids (Maas et al. 2011).

    Attributes:
        vocabulary_size: Number of token ids, at least 5. Ids are 0 .. vocabulary_size - 1: 0 pads, 1 starts a
            review, a word is its rank by frequency + 3, and 2 stands for every word for which that is
            vocabulary_size or more, as in ``keras.datasets.imdb.load_data(num_words=vocabulary_size)``.
        length: Token ids per review, at least 1. Shorter reviews are padded at the front, longer ones lose
            their front, as in ``pad_sequences(maxlen=length)``.
        index_path: JSON file of words and ranks; null counts the words of the training half, or for .npz
            takes the index in it or imdb_word_index.json beside it.
        text_column: Column of a CSV file that holds the texts.
        label_column: Column of a CSV file that holds the labels.
        test_path: CSV file of the test half; null holds out a fifth of the CSV file that ``path`` names.
    """

    kind = "tokens"

    vocabulary_size: int
    length: int
    index_path: str | None
    text_column: str
    label_column: str
    test_path: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        size, length = self.vocabulary_size, self.length
        remedy = "Ids 0 to 3 are marks; 10000 keeps the usual words."
        require(size >= 5, "dataset.vocabulary_size", size, "must be 5 or more", remedy)
        require(length >= 1, "dataset.length", length, "must be 1 or more", "250 keeps most of a review.")
        self._check_columns()

    def _check_columns(self) -> None:
        text, label, test = self.text_column, self.label_column, self.test_path
        remedy = "Name another column."
        require(text != label, "dataset.label_column", label, "is the text column too", remedy)
        of_table = self.path is not None and imdb.is_table(Path(self.path))
        problem = "is for a .csv file as dataset.path"
        require(test is None or of_table, "dataset.test_path", test, problem, "Set it to null.")

    def load(self) -> Data:
        """Read the data set, fetching it first if need be.

        Returns:
            Parts with x (n, length) int32 token ids and y (n,) labels 0 or 1; the vocabulary where the words
            are known.

        Raises:
            DataError: if the file is broken, or missing and cannot be fetched.
            ConfigError: if the training or the validation part would be empty.
        """
        place = self._place(imdb.FILE, imdb.FORMATS, imdb.from_keras, imdb.from_wheel)
        corpus = self._corpus(place)
        train, test = self._part(corpus.train), self._part(corpus.test)
        halves = Halves(train, test, corpus.note, corpus.origin)
        vocabulary, names = self._vocabulary(corpus), corpus.class_names
        del corpus  # makes room for the parts
        return replace(self._cut(halves, self._spec, place), vocabulary=vocabulary, class_names=names)

    def _index(self) -> Ranks | None:
        if self.index_path is None:
            return None
        return named(self.index_path, key="dataset.index_path", formats=f"{FORM}, or null").read(read_index)

    def _corpus(self, place: Place) -> Corpus:
        index = self._index()
        if not imdb.is_table(place.path):
            return place.read(partial(imdb.read, index=index))
        columns = Columns(self.text_column, self.label_column)
        train, names = place.read(partial(read_table, columns=columns))
        test = self._test_half(columns, names)
        return place.read(partial(imdb.of_table, train=train, test=test, names=names, index=index))

    def _test_half(self, columns: Columns, names: tuple[str, str]) -> Texts | None:
        if self.test_path is None:
            return None
        place = named(self.test_path, key="dataset.test_path", formats="a .csv file, or null")
        texts, _ = place.read(partial(read_table, columns=columns, classes=names))
        return texts

    def _vocabulary(self, corpus: Corpus) -> dict[str, int] | None:
        if corpus.ranks is None:
            return None
        return vocabulary_of(corpus.ranks, vocabulary_size=self.vocabulary_size)

    @property
    def _spec(self) -> Spec:
        size = self.vocabulary_size
        return Spec(kind="tokens", shape=(self.length,), classes=CLASSES, vocabulary_size=size)

    def _part(self, reviews: Reviews) -> Part:
        return Part(encode(reviews, vocabulary_size=self.vocabulary_size, length=self.length), reviews.y)
