"""A CSV file with one text and one label per row."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pruneflow.data.corpus import Texts, held_out
from pruneflow.data.files import PEEK_BYTES, decoded, reading, refuse_other_encoding
from pruneflow.errors import DataError

__all__ = ["Columns", "read_table", "two_halves"]

FORM = "a whole CSV file in UTF-8"
MISSING = ("", "nan")
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}  # of other forms than CSV


@dataclass(frozen=True)
class Columns:
    """Names of the two columns that count, as the first line of the file spells them."""

    text: str
    label: str


def read_table(
    path: Path, columns: Columns, *, classes: tuple[str, str] | None = None
) -> tuple[Texts, tuple[str, str]]:
    """Read a file whose first line names its columns.

    Args:
        path: The file.
        columns: Those that count.
        classes: What class 0 and 1 are called; None finds that out, numbers by value, words by alphabet.

    Returns:
        The texts, and what their classes are called.

    Raises:
        DataError: if it is missing, empty, cut short or not UTF-8, if a column is missing, if a row has more
            or fewer fields than the first line, or if the labels are not two, or not those of ``classes``.
    """
    table = _Table(path, [], [], [])
    with reading(path, FORM):
        with path.open("rb") as stream:
            refuse_other_encoding(stream.read(PEEK_BYTES), path)
        try:
            _fill(table, columns)
        except csv.Error as error:
            raise DataError(f"{path}: not {FORM} ({error}).") from error
        except UnicodeDecodeError:  # its position is that within a piece
            decoded(path.read_bytes(), path)
    if not table.texts:
        raise DataError(f"{path}: expected rows of text and label, found none.")
    names = classes or table.classes()
    return table.numbered(names), names


def two_halves(texts: Texts, path: Path) -> tuple[Texts, Texts, str]:
    """Hold out a fifth of each class as test part, see `held_out`.

    Returns:
        Training half, test half, and a note that says so.

    Raises:
        DataError: if a class has fewer than five texts.
    """
    chosen: npt.NDArray[np.bool_] = held_out(texts.texts, texts.y)
    if len(np.unique(texts.y[chosen])) < 2:
        raise DataError(f"{path}: too few rows to hold out a fifth of each class. Set dataset.test_path.")
    note = (
        f"The test part is a fifth of {path.name}, {int(chosen.sum()):,} of {len(chosen):,} rows, held out "
        "by the hash of the text: dataset.test_path is null."
    )
    return texts.taken(~chosen), texts.taken(chosen), note


@dataclass(frozen=True)
class _Table:
    """The rows of a file, labels as they are written.

    Attributes:
        path: The file.
        texts: n texts.
        labels: n labels, without blanks around them.
        lines: n numbers of the lines at which the rows end, for messages.
    """

    path: Path
    texts: list[str]
    labels: list[str]
    lines: list[int]

    def classes(self) -> tuple[str, str]:
        """The two labels: numbers by value, words by alphabet, whatever their case.

        Raises:
            DataError: unless there are two.
        """
        found = sorted({label.casefold(): label for label in reversed(self.labels)}.values(), key=_order)
        if len(found) != 2:
            shown = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
            raise DataError(f"{self.path}: expected two different labels, found {len(found)}: {shown}.")
        return found[0], found[1]

    def numbered(self, classes: tuple[str, str]) -> Texts:
        """Number the labels by their place in ``classes``.

        Raises:
            DataError: naming the line of a label that is neither.
        """
        numbers = {name.casefold(): number for number, name in enumerate(classes)}
        for label, line in zip(self.labels, self.lines, strict=True):
            if label.casefold() not in numbers:
                raise DataError(
                    f"{self.path}: line {line}: the label is {label!r}, expected {' or '.join(classes)}."
                )
        y = np.array([numbers[label.casefold()] for label in self.labels], np.int64)
        return Texts(self.texts, y)


def _fill(table: _Table, columns: Columns) -> None:
    with table.path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        header = next(reader, [])
        text, label = (_position(table.path, header, key, name) for key, name in vars(columns).items())
        for row in filter(None, reader):
            where = f"{table.path}: line {reader.line_num}"
            if len(row) != len(header):
                raise DataError(f"{where}: {len(row)} fields, expected {len(header)} as in the first line.")
            if row[label].strip().casefold() in MISSING:
                raise DataError(f"{where}: the label is {row[label]!r}. Every row needs one.")
            table.texts.append(row[text])
            table.labels.append(row[label].strip())
            table.lines.append(reader.line_num)


def _position(path: Path, header: list[str], key: str, name: str) -> int:
    if header.count(name) != 1:
        _refuse_separator(path, header)
        times = "more than one" if name in header else "no"
        raise DataError(
            f"{path}: {times} column {name!r} among {', '.join(header) or 'none'}. Set dataset.{key}_column."
        )
    return header.index(name)


def _refuse_separator(path: Path, header: list[str]) -> None:
    """A first line without a comma, but with another separator, is that of another form."""
    for sign, name in SEPARATORS.items():
        if len(header) == 1 and sign in header[0]:
            raise DataError(
                f"{path}: {name} separate its columns, and only commas do here. Save it with commas, for "
                f"instance with pandas: read_csv(FILE, sep={sign!r}).to_csv(NEW_FILE, index=False)."
            )


def _order(label: str) -> tuple[bool, float, str]:
    try:
        return False, float(label), ""
    except ValueError:
        return True, 0.0, label.casefold()
