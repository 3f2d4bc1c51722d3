"""IMDB: film reviews, good or bad."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pruneflow.datasets.base import MOST_TOKENS, MOST_WORDS, Stored, check_tokens
from pruneflow.datasets.looks import looked
from pruneflow.datasets.preparation import Preparation
from pruneflow.datasets.reading import imdb
from pruneflow.datasets.reading.cache import Place, named
from pruneflow.datasets.reading.corpus import Corpus, Texts
from pruneflow.datasets.reading.flat import CLASSES
from pruneflow.datasets.reading.table import Columns, read_table
from pruneflow.datasets.reading.text import Reviews, encode, vocabulary_of
from pruneflow.datasets.reading.vocabulary import FORM, Ranks, read_index
from pruneflow.datasets.spec import Data, Part, Spec
from pruneflow.datasets.split import Halves, said_of_test
from pruneflow.options import at_most, option, require


@option("dataset", "imdb")
@dataclass(kw_only=True)
class Imdb(Stored):
    """Film reviews, 0 = bad, 1 = good: 25,000 + 25,000 texts as token ids (Maas et al. 2011)."""

    kind = "tokens"

    vocabulary_size: int = at_most(MOST_WORDS)
    length: int = at_most(MOST_TOKENS)
    index_path: str | None
    text_column: str
    label_column: str
    test_path: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_tokens(vocabulary_size=self.vocabulary_size, length=self.length)
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
        """
        place = self._place(imdb.FILE, imdb.FORMATS, imdb.from_keras, imdb.from_wheel)
        corpus = self._corpus(place)
        train, test = self._part(corpus.train), self._part(corpus.test)
        halves = Halves(train, test, corpus.note, corpus.origin, copies=corpus.copies)
        vocabulary, names, drawn = self._vocabulary(corpus), corpus.class_names, corpus.drawn
        del corpus  # makes room for the parts
        data = self._cut(halves, self._spec, place)
        note = said_of_test(data, "rows", drawn) if drawn else data.note
        data = replace(data, vocabulary=vocabulary, class_names=names, note=note)
        return looked(data) if self.path else data

    def preparation(self, data: Data) -> Preparation:
        """Cut a text at blanks, where the words are known; else ids are read."""
        found = super().preparation(data)
        return found if data.vocabulary is None else replace(found, file="text", words="blanks")

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

    def _test_half(self, columns: Columns, names: tuple[str, ...]) -> Texts | None:
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
