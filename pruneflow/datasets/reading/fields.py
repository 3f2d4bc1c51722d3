"""Fields of a table whose quotes are not what they seem: how they are noticed, and what to do."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

FEW_LINES, MANY_LINES = 10, 100  # in one field: looked at, and told of whatever they look like
ESCAPED = '\\"'
ESCAPE = "A backslash stands before quotes there: set dataset.escape=backslash (dataset=csv_text)."
CHARACTERS = "Mend its quotes, or set dataset.quotes=none (dataset=csv_text) where they are characters."
_Reader = Any  # the csv module has no public name for it


def mended(path: Path, begins: int) -> str:
    """Say what to do about quotes that do not pair in the row that begins in line ``begins``."""
    with path.open("rb") as lines:
        found = next(islice(lines, begins - 1, None), b"").replace(b"\0", b"")  # which UTF-16 has
    return ESCAPE if ESCAPED.encode() in found else CHARACTERS


def escape_of(row: Sequence[str], reader: _Reader) -> str:
    """Return a sentence where a row has a quote behind a backslash, which is not how quotes are read."""
    escaped = reader.dialect.escapechar is None and any(ESCAPED in each for each in row)
    return f" {ESCAPE}" if escaped else ""


def lines_inside(row: Sequence[str], reader: _Reader) -> Iterator[str]:
    """Name fields that hold many lines, which may be rows behind a stray quote."""
    sign = reader.dialect.delimiter
    for each in row:
        inner = each.count("\n")
        if inner < FEW_LINES:
            continue
        like_rows = 2 * sum(line.count(sign) == len(row) - 1 for line in each.split("\n")) > inner
        if inner >= MANY_LINES or like_rows:
            said = f"a field that ends in line {reader.line_num} holds {inner + 1:,} lines"
            yield said + (", most of which look like rows" if like_rows else "")


def said_of_fields(path: Path, swallowed: Sequence[str]) -> str:
    """Return a sentence on the fields that `lines_inside` names; empty where there are none."""
    if not swallowed:
        return ""
    more = f", and {len(swallowed) - 1:,} more" if len(swallowed) > 1 else ""
    return (
        f"In {path.name} {swallowed[0]}{more}: where quotes are characters of the text, set "
        "dataset.quotes=none (dataset=csv_text)."
    )
