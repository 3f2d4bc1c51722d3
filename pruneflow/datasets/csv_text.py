"""Texts of the user's own: an option of the group ``dataset``."""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

from pruneflow.datasets.base import MOST_TOKENS, MOST_WORDS, Own, check_tokens
from pruneflow.datasets.groups import refuse_shared_groups, said_of_groups
from pruneflow.datasets.looks import looked
from pruneflow.datasets.preparation import Preparation
from pruneflow.datasets.reading.cache import Place, named
from pruneflow.datasets.reading.corpus import Texts
from pruneflow.datasets.reading.csv_text import Encoding, Form, of_halves, read_rows
from pruneflow.datasets.reading.fields import said_of_fields
from pruneflow.datasets.reading.names import check_class_names, require_every_class
from pruneflow.datasets.reading.table import Columns, Table, two_halves
from pruneflow.datasets.reading.text import characters, words
from pruneflow.datasets.reading.vocabulary import FORM, Ranks, read_index
from pruneflow.datasets.spec import Data
from pruneflow.datasets.split import copies_of, said_of_test
from pruneflow.options import at_most, option, require, require_one_of

FIRST = ("text", "label")  # of the usual names of columns
CHOICES = {
    "missing": ("refuse", "skip"),
    "quotes": ("fields", "none"),
    "escape": ("doubled", "backslash"),
    "words": ("blanks", "characters"),
}

FORMATS = "a file with a text and a label in each row, its columns named in the first line, such as mine.csv"


@option("dataset", "csv_text")
@dataclass(kw_only=True)
class CsvText(Own):
    """Texts of two or more classes, in a CSV file."""

    kind = "tokens"

    path: str | None
    test_path: str | None
    text_column: str | None
    label_column: str | None
    groups: str | None
    quotes: str
    escape: str
    words: str
    class_names: list[str] | None
    encoding: str
    missing: str
    vocabulary_size: int = at_most(MOST_WORDS)
    length: int = at_most(MOST_TOKENS)
    index_path: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_names("test_path", "index_path", "groups")
        self._named("path", FORMATS)
        check_tokens(vocabulary_size=self.vocabulary_size, length=self.length)
        text, label = self.text_column, self.label_column
        problem = "is the text column too"
        require(text is None or text != label, "dataset.label_column", label, problem, "Name another column.")
        for key, allowed in CHOICES.items():
            require_one_of(f"dataset.{key}", getattr(self, key), allowed)
        fits, problem = self.quotes == "fields" or self.escape == "doubled", "is for quoted fields"
        require(fits, "dataset.escape", self.escape, problem, "Set it to doubled, or dataset.quotes=fields.")
        check_class_names(self.class_names or ())
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
        """
        place = self._named("path", FORMATS)
        table = self._table(place)
        names = place.read(lambda _: table.classes(self.class_names or ()))
        train, test, tables, how = self._halves(place, table, names)
        split = characters if self.words == "characters" else words
        encoding = Encoding(self.vocabulary_size, self.length, self._ranks(), split)
        data = place.read(lambda path: of_halves(path, (train, test), self._plan, names, encoding))
        data = replace(data, name=self.name, source=place.source(""))
        require_every_class(data, names)
        said = [said_of_test(data, "rows", how) if how else "", self._said_of_groups(tables)]
        said += [self._said_of_columns(table), *map(_left_out, tables), *map(_swallowed, tables)]
        note = " ".join(filter(None, said))
        gone = tuple(f"{each.path.name}: line {line}" for each in tables for line in each.missing)
        return looked(replace(data, note=note, left_out=gone))

    def preparation(self, data: Data) -> Preparation:
        """Cut a text as the examples were."""
        return replace(super().preparation(data), file="text", words=self.words)

    def _said_of_groups(self, tables: Sequence[Table]) -> str:
        """Say that nobody is in two parts, once that is made sure of the two files."""
        if not self.groups:
            return ""
        named = dict(zip(("training", "test"), (table.groups for table in tables), strict=False))
        refuse_shared_groups(tables[-1].path, named)
        drawn = "test and validation" if len(tables) == 1 else "validation"
        return said_of_groups(copies_of(tables[0].groups), drawn)

    def _said_of_columns(self, table: Table) -> str:
        """Name the columns where no setting does, and they have other names than those that come first."""
        found = table.columns
        if found is None or (found.text, found.label) in ((self.text_column, self.label_column), FIRST):
            return ""
        return f"Texts are of column {found.text}, labels of column {found.label}."

    def _table(self, place: Place) -> Table:
        columns = Columns(self.text_column, self.label_column, self.groups)
        quoted, escape = self.quotes == "fields", "\\" if self.escape == "backslash" else None
        form = Form(self.encoding, self.missing == "skip", tuple(self.class_names or ()), quoted, escape)
        return place.read(partial(read_rows, columns=columns, form=form))

    def _halves(
        self, place: Place, table: Table, names: tuple[str, ...]
    ) -> tuple[Texts, Texts, list[Table], str]:
        """Training and test half, the tables that they are of, and how the test half was taken out."""
        train = table.numbered(names)
        if self.test_path is None:
            fraction = Fraction(str(self.test_fraction))
            first, second, how = place.read(partial(two_halves, train, fraction=fraction))
            return first, second, [table], how
        test = named(self.test_path, key="dataset.test_path", formats=f"{FORMATS}, or null")
        problem = "it is the file of dataset.path, so that every test example is a training example"
        same = Path(self.test_path).resolve() == Path(str(self.path)).resolve()
        require(not same, "dataset.test_path", self.test_path, problem, "Name another file, or null.")
        other = self._table(test)
        return train, test.read(lambda _: other.numbered(names)), [table, other], ""

    def _ranks(self) -> Ranks | None:
        if self.index_path is None:
            return None
        return named(self.index_path, key="dataset.index_path", formats=f"{FORM}, or null").read(read_index)


def _left_out(table: Table) -> str:
    if not table.missing:
        return ""
    return f"{len(table.missing):,} rows of {table.path.name} have no text or no label and were left out."


def _swallowed(table: Table) -> str:
    return said_of_fields(table.path, table.swallowed)
