"""Texts of the user's own: an option of the group ``dataset``."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

from pruneflow.data.cache import Place, named
from pruneflow.data.corpus import Texts
from pruneflow.data.csv_text import Encoding, Form, of_halves, read_rows
from pruneflow.data.names import require_every_class
from pruneflow.data.spec import Data
from pruneflow.data.table import Columns, Table, two_halves
from pruneflow.data.vocabulary import FORM, Ranks, read_index
from pruneflow.options import option, require, require_one_of
from pruneflow.sources import Own, check_tokens

__all__ = ["CsvText"]

FORMATS = "a file with a text and a label in each row, its columns named in the first line, such as mine.csv"


@option("dataset", "csv_text")
@dataclass(kw_only=True)
class CsvText(Own):
    """Texts of two or more classes, in a CSV file.

    Attributes:
        path: The file; commas, semicolons, tabs or bars between its columns. ``~`` is expanded.
        test_path: File of the test half; null holds out some rows of each class of ``path``.
        text_column: Column that holds the texts.
        label_column: Column that holds the labels, of any words or numbers.
        encoding: Of the files; a Python name, such as ``"utf-8"``, ``"cp1252"`` or ``"utf-16"``.
        missing: What is done about rows without a text or a label: ``"refuse"`` or ``"skip"``.
        vocabulary_size: Number of token ids, at least 5; see `pruneflow.datasets.Imdb`.
        length: Token ids per text, at least 1. Shorter texts are padded at the front, longer ones lose their
            front.
        index_path: JSON file of words and ranks; null counts the words of the training part.
    """

    kind = "tokens"

    path: str | None
    test_path: str | None
    text_column: str
    label_column: str
    encoding: str
    missing: str
    vocabulary_size: int
    length: int
    index_path: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_names("test_path", "index_path")
        self._named("path", FORMATS)
        check_tokens(vocabulary_size=self.vocabulary_size, length=self.length)
        text, label = self.text_column, self.label_column
        require(
            text != label, "dataset.label_column", label, "is the text column too", "Name another column."
        )
        require_one_of("dataset.missing", self.missing, ("refuse", "skip"))
        self._check_encoding()

    def _check_encoding(self) -> None:
        try:
            known = codecs.lookup(self.encoding)._is_text_encoding  # such as base64 are none
        except (LookupError, ValueError):
            known = False
        problem, remedy = "Python knows no such encoding", "utf-8, cp1252, latin-1 and utf-16 are usual."
        require(known, "dataset.encoding", self.encoding, problem, remedy)

    def load(self) -> Data:
        """Read the texts.

        Returns:
            Parts with x (n, length) int32 token ids and y (n,) labels 0 .. classes - 1, and the vocabulary.

        Raises:
            DataError: if a file is missing or broken, or if its labels are no classes.
            ConfigError: if the training or the validation part would be empty.
        """
        place = self._named("path", FORMATS)
        table = self._table(place)
        names = place.read(lambda _: table.classes())
        train, test, note = self._halves(place, table.numbered(names), names)
        encoding = Encoding(self.vocabulary_size, self.length, self._ranks())
        data = place.read(lambda path: of_halves(path, (train, test), self._plan, names, encoding))
        data = replace(data, name=self.name, source=place.source(""), note=_note(note, table))
        require_every_class(data, names)
        return data

    def _table(self, place: Place) -> Table:
        columns = Columns(self.text_column, self.label_column)
        return place.read(
            partial(read_rows, columns=columns, form=Form(self.encoding, self.missing == "skip"))
        )

    def _halves(self, place: Place, train: Texts, names: tuple[str, ...]) -> tuple[Texts, Texts, str]:
        if self.test_path is None:
            fraction = Fraction(str(self.test_fraction))
            return place.read(partial(two_halves, train, fraction=fraction))
        test = named(self.test_path, key="dataset.test_path", formats=f"{FORMATS}, or null")
        table = self._table(test)
        return train, test.read(lambda _: table.numbered(names)), _note("", table)

    def _ranks(self) -> Ranks | None:
        if self.index_path is None:
            return None
        return named(self.index_path, key="dataset.index_path", formats=f"{FORM}, or null").read(read_index)


def _note(note: str, table: Table) -> str:
    """Add how many rows were left out to what else there is to say."""
    left = f"{len(table.missing):,} rows of {table.path.name} have no text or no label and were left out."
    return " ".join(filter(None, (note, left if table.missing else "")))
