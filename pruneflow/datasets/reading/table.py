"""A CSV file with one text and one label per row."""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.reading.corpus import FIFTH, Texts, held_out
from pruneflow.datasets.reading.fields import escape_of, lines_inside, mended
from pruneflow.datasets.reading.files import PEEK_BYTES, content_of, decoded, reading, refuse_other_encoding
from pruneflow.datasets.reading.names import (
    alike,
    in_order,
    is_numeral,
    listed,
    refuse_odd_classes,
    refuse_twins,
    sorted_classes,
)
from pruneflow.datasets.split import copies_of, joined
from pruneflow.errors import DataError

FORM = "a whole CSV file in UTF-8"
NO_LABEL = ("", "nan")  # whatever its case
LONGEST = (1 << 31) - 1  # characters of one field; what the module takes on every system
SETTINGS = {"text": "text_column", "label": "label_column", "group": "groups"}
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}  # of other forms than CSV
_Reader = Any  # the csv module has no public name for it


@dataclass(frozen=True)
class Columns:
    """Names of the columns that count, as the first line of the file spells them.

    Attributes:
        text: That of the texts; None where it is still to be found.
        label: That of the labels, likewise.
        group: That of the groups; None where there are none.
    """

    text: str | None
    label: str | None
    group: str | None = None

    @property
    def named(self) -> dict[str, str]:
        """Return the columns that exist, by their use."""
        return {key: name for key, name in vars(self).items() if name is not None}


@dataclass(frozen=True)
class Table:
    """The rows of a file, labels as they are written.

    Attributes:
        labels: n labels, without blanks around them.
        lines: n numbers of the lines at which the rows end, for messages.
        missing: Lines of the rows that have no text or no label, which are left out.
        groups: n groups of the rows, where a column has them; else none.
        swallowed: What to say of fields that hold many lines of the file; empty where there are none.
    """

    path: Path
    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    columns: Columns | None = None
    swallowed: list[str] = field(default_factory=list)

    def add(self, text: str, label: str, line: int, group: str | None = None) -> None:
        """Take a row."""
        self.texts.append(text)
        self.labels.append(label.strip())
        self.lines.append(line)
        if group is not None:
            self.groups.append(group)

    def classes(self, order: Sequence[str] = ()) -> tuple[str, ...]:
        """The different labels in the order of their numbers, see `names.sorted_classes`.

        Args:
            order: The setting ``dataset.class_names``; empty takes their own order.
        """
        refuse_twins(self.path, self.labels)
        found = sorted_classes(self.labels)
        refuse_odd_classes(self.path, found, len(self.labels))
        return in_order(found, order)

    def two_classes(self) -> tuple[str, ...]:
        """The two different labels: numbers by value, before words by alphabet, whatever their case."""
        first: dict[str, str] = {}
        for label in self.labels:
            first.setdefault(alike(label), label)
        found = sorted(first.values(), key=_alphabetical)
        if len(found) != 2:
            raise DataError(
                f"{self.path}: expected two different labels, found {len(found)}: {listed(found)}."
            )
        return tuple(found)

    def numbered(self, classes: tuple[str, ...]) -> Texts:
        """Number the labels by their place in ``classes``."""
        numbers = {alike(name): number for number, name in enumerate(classes)}
        for label, line in zip(self.labels, self.lines, strict=True):
            if alike(label) not in numbers:
                allowed = " or ".join(classes) if len(classes) == 2 else f"one of {listed(classes)}"
                raise DataError(f"{self.path}: line {line}: the label is {label!r}, expected {allowed}.")
        y = np.array([numbers[alike(label)] for label in self.labels], np.int64)
        copies = copies_of(self.texts)
        return Texts(self.texts, y, joined(copies, copies_of(self.groups)) if self.groups else copies)


def read_table(
    path: Path, columns: Columns, *, classes: tuple[str, ...] | None = None
) -> tuple[Texts, tuple[str, ...]]:
    """Read a file of two classes, in UTF-8 and with commas, whose first line names its columns.

    Args:
        classes: What class 0 and 1 are called; None finds that out, numbers by value, words by alphabet.

    Returns:
        The texts, and what their classes are called.

    Raises:
        DataError: if it is missing, empty, cut short or not UTF-8, if a column is missing, if a row has more
            or fewer fields than the first line, or if the labels are not two, or not those of ``classes``.
    """
    with reading(path, FORM):
        with path.open("rb") as stream:
            refuse_other_encoding(stream.read(PEEK_BYTES), path)
        try:
            with path.open(encoding="utf-8-sig", newline="") as lines, long_fields():
                table = filled(path, columns, csv.reader(lines, strict=True), _labels_only)
        except UnicodeDecodeError:  # its position is that within a piece
            decoded(content_of(path), path)
    names = classes or table.two_classes()
    return table.numbered(names), names


def two_halves(texts: Texts, path: Path, fraction: Fraction = FIFTH) -> tuple[Texts, Texts, str]:
    """Hold out a fraction of each class as test part, see `held_out`.

    Returns:
        Training half, test half, and how that was done, for `pruneflow.datasets.split.said_of_test`.
    """
    chosen: npt.NDArray[np.bool_] = held_out(texts, fraction)
    share = "a fifth" if fraction == FIFTH else f"{float(fraction):g}"
    if len(np.unique(texts.y[chosen])) < 2:
        raise DataError(f"{path}: too few rows to hold out {share} of each class. Set dataset.test_path.")
    how = f"held out by the hash of the text as {share} of each class of {path.name}"
    how = f"{how}: dataset.test_path is null"
    return texts.taken(~chosen), texts.taken(chosen), how


@contextmanager
def long_fields() -> Iterator[None]:
    """Let the csv module read fields of any length, which is a setting of the whole process."""
    before = csv.field_size_limit(LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _alphabetical(label: str) -> tuple[bool, Decimal, str]:
    number = is_numeral(label)
    return not number, Decimal(label) if number else Decimal(0), label.casefold()


def _labels_only(text: str, label: str) -> str:
    """Return the reason why a row cannot be used: it may have no text, for films of which nothing is said."""
    return f"the label is {label!r}. Every row needs one." if label.strip().casefold() in NO_LABEL else ""


def filled(path: Path, columns: Columns, reader: _Reader, check: Callable[[str, str], str | None]) -> Table:
    """Read all rows; ``check`` says what is wrong with one, or None to leave it out."""
    table = Table(path, columns=columns)
    each_row = _rows(path, reader)
    header: list[str] = next(each_row, [])
    at = {key: _position(path, header, key, name) for key, name in columns.named.items()}
    text, label = at["text"], at["label"]
    for row in filter(None, each_row):
        table.swallowed.extend(lines_inside(row, reader))
        where = f"{path}: line {reader.line_num}"
        if len(row) != len(header):
            found = f"{len(row)} fields, expected {len(header)} as in the first line"
            raise DataError(f"{where}: {found}.{escape_of(row, reader)}")
        problem = check(row[text], row[label])
        if problem:
            raise DataError(f"{where}: {problem}")
        if problem is None:
            table.missing.append(reader.line_num)
        else:
            table.add(row[text], row[label], reader.line_num, row[at["group"]] if "group" in at else None)
    if not table.texts:
        raise DataError(f"{path}: expected rows of text and label, found none.")
    return table


def _rows(path: Path, reader: _Reader) -> Iterator[list[str]]:
    """The rows, or the line at which the first one begins that is none."""
    begins = 1
    try:
        for row in reader:
            yield row
            begins = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}: the row that begins in line {begins} is not whole ({error}). {mended(path, begins)}"
        ) from error


def _position(path: Path, header: list[str], key: str, name: str) -> int:
    if header.count(name) != 1:
        _refuse_separator(path, header)
        times = "more than one" if name in header else "no"
        held = ", ".join(header) or "none"
        raise DataError(f"{path}: {times} column {name!r} among {held}. Set dataset.{SETTINGS[key]}.")
    return header.index(name)


def _refuse_separator(path: Path, header: list[str]) -> None:
    """A first line without a comma, but with another separator, is that of another form."""
    for sign, name in SEPARATORS.items():
        if len(header) == 1 and sign in header[0]:
            raise DataError(
                f"{path}: {name} separate its columns, and only commas do here. Save it with commas, for "
                f"instance with pandas: read_csv(FILE, sep={sign!r}).to_csv(NEW_FILE, index=False)."
            )
