"""Texts with a label each, of any classes, in a CSV file of any encoding and with any usual separator."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

from pruneflow.datasets.reading.corpus import Texts, ranked
from pruneflow.datasets.reading.files import PEEK_BYTES, content_of, other_encoding, reading
from pruneflow.datasets.reading.names import is_missing, listed
from pruneflow.datasets.reading.table import SEPARATORS, Columns, Table, filled, long_fields
from pruneflow.datasets.reading.text import encode, end_to_end, vocabulary_of, words
from pruneflow.datasets.spec import Data, Part, Spec
from pruneflow.datasets.split import Labels, Plan, digest_of
from pruneflow.errors import DataError

LIKELY = ("cp1252", "latin-1")  # what a file that is not UTF-8 mostly is; the second reads anything
# What a column may be called where no setting names it; the first that is there counts.
USUAL = {
    "text": ("text", "review", "sentence", "comment", "content", "message", "tweet", "body"),
    "label": ("label", "sentiment", "class", "category", "target", "stars", "rating"),
}
HALF = re.compile("[\ud800-\udfff]")  # half of a pair by which UTF-16 writes one character


@dataclass(frozen=True)
class Form:
    """The form of a file of rows, and the treatment of rows that lack something.

    Attributes:
        encoding: Of its text; a Python name, such as ``"utf-8"``.
        skip: Whether rows without a text or a label are left out, rather than refused.
        named: Classes that a setting names, which are labels even if tables mean none by them.
        quoted: Whether quotes enclose fields, rather than being characters like others.
        escape: Sign before a quote in a quoted field; None where a quote is written twice there.
    """

    encoding: str
    skip: bool
    named: tuple[str, ...] = ()
    quoted: bool = True
    escape: str | None = None

    def rows(self, lines: Iterable[str], separator: str, *, strict: bool = True) -> Any:
        """Read the rows of ``lines``, whose columns ``separator`` lies between; quotes must pair."""
        doubled = self.escape is None
        return csv.reader(
            lines,
            strict=strict,
            delimiter=separator,
            quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
            escapechar=self.escape,
            doublequote=doubled,
        )


@dataclass(frozen=True)
class Encoding:
    """The settings that turn texts into token ids.

    Attributes:
        vocabulary_size: Number of ids, at least 5.
        length: Ids per text, at least 1.
        ranks: Word to rank, 1 = most frequent; None counts the words of the training part.
    """

    vocabulary_size: int
    length: int
    ranks: Mapping[str, int] | None
    split: Callable[[str], list[str]] = words


def read_rows(path: Path, columns: Columns, form: Form) -> Table:
    """Read a file whose first line names its columns, of any encoding and with any usual separator.

    Commas, semicolons, tabs and bars are usual; the one by which the first line has both columns counts.

    Raises:
        DataError: if it is missing, empty, cut short or of another encoding, if a column is missing, if a row
            has more or fewer fields than the first line or, unless that is skipped, lacks text or label.
    """
    what, encoding = f"a whole CSV file in {form.encoding.upper()}", form.encoding
    utf8 = encoding.casefold().replace("_", "-") in ("utf-8", "utf8")
    with reading(path, what):
        with path.open("rb") as start:
            found = other_encoding(start.read(PEEK_BYTES)) if utf8 else ""
        if found:
            raise DataError(f"{path}: is {found.upper()}, not {encoding}. Set dataset.encoding={found}.")
        try:
            with path.open(encoding="utf-8-sig" if utf8 else encoding, newline="") as stream, long_fields():
                separator = _separator(stream, columns, form)
                columns = _found(stream, columns, separator, form)
                reader = form.rows(_whole(path, encoding, stream), separator)
                table = filled(path, columns, reader, partial(_both, named=form.named))
        except UnicodeError as error:
            raise _not_of(path, encoding) from error
    if table.missing and not form.skip:
        raise DataError(
            f"{path}: no text or no label in line {listed(table.missing)}, {len(table.missing):,} in all. "
            "Mend them, or set dataset.missing=skip to leave them out."
        )
    return table


def of_halves(
    where: object, halves: tuple[Texts, Texts], plan: Plan, names: tuple[str, ...], encoding: Encoding
) -> Data:
    """Cut labelled texts into three parts of token ids, by the words of the training part alone.

    Args:
        names: What class 0, 1, ... are called.

    Returns:
        Parts with x (n, length) int32, the vocabulary, and the digest; name, source and note are left empty.
    """
    half, held = halves
    cut = plan.cut(Labels(half.y, half.together), held.y)
    texts = half.at(cut.train), half.at(cut.validation), held.at(cut.test)
    ranks = ranked(where, texts[0], encoding.ranks, encoding.split)

    def part(of: Texts) -> Part:
        reviews = end_to_end(map(encoding.split, of.texts), ranks, of.y)
        size, length = encoding.vocabulary_size, encoding.length
        return Part(encode(reviews, vocabulary_size=size, length=length), of.y)

    train, validation, test = map(part, texts)
    spec = Spec("tokens", (encoding.length,), len(names), encoding.vocabulary_size)
    known = vocabulary_of(ranks, vocabulary_size=encoding.vocabulary_size)
    digest = digest_of(train, validation, test)
    return Data("", spec, train, validation, test, digest=digest, vocabulary=known, class_names=names)


def _both(text: str, label: str, *, named: tuple[str, ...]) -> str | None:
    """None where a row lacks something, which is dealt with at the end."""
    return None if not text.strip() or is_missing(label, named) else ""


def _whole(path: Path, encoding: str, lines: Iterable[str]) -> Iterator[str]:
    """The lines, unless one holds what is no character: some encodings give that."""
    for number, line in enumerate(lines, start=1):
        if half := HALF.search(line):
            raise DataError(
                f"{path}: line {number}: {encoding} gives U+{ord(half[0]):X} there, half a character. Set "
                "dataset.encoding to the encoding of the file; utf-8 is usual."
            )
        yield line


def _separator(stream: IO[str], columns: Columns, form: Form) -> str:
    """The separator by which the first line has all columns, else the one that gives it the most fields."""
    fields = {sign: _header(stream, sign, form) for sign in (",", *SEPARATORS)}
    names = set(columns.named.values())

    def fits(sign: str) -> tuple[bool, int]:
        usual = all(set(found) & set(fields[sign]) for key, found in USUAL.items() if not vars(columns)[key])
        return usual and names <= set(fields[sign]), len(fields[sign])

    return max(fields, key=fits)


def _header(stream: IO[str], separator: str, form: Form) -> list[str]:
    first = stream.readline()
    stream.seek(0)
    found: list[str] = next(form.rows([first], separator, strict=False), [])
    return found


def _found(stream: IO[str], columns: Columns, separator: str, form: Form) -> Columns:
    """The columns, those that no setting names by a usual name, of which the first that is there counts."""
    named = set(columns.named.values())
    held = [name for name in _header(stream, separator, form) if name not in named]
    usual = {
        key: next((name for name in names if name in held), names[0])
        for key, names in USUAL.items()
        if not vars(columns)[key]
    }
    return replace(columns, **usual)


def _not_of(path: Path, encoding: str) -> DataError:
    """Name the first byte that is not of the encoding, and one that reads the whole file."""
    content = content_of(path)
    try:
        content.decode(encoding)
        where = "it"
    except UnicodeDecodeError as error:
        where = f"byte {error.start} (0x{content[error.start]:02x})"
    except UnicodeError:
        where = "it"
    others = [each for each in LIKELY if each != encoding]
    for other in others:
        try:
            content.decode(other)
        except UnicodeError:
            continue
        return DataError(
            f"{path}: {where} is not {encoding}. Set dataset.encoding={other}, which would read it, or the "
            "right one."
        )
    return DataError(f"{path}: {where} is not {encoding}. Set dataset.encoding.")
