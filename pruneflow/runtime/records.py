"""JSON files of any origin: read with suspicion, and checked against the type of what was written."""

from __future__ import annotations

import json
import os
import reprlib
import stat
from collections.abc import Collection
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

__all__ = ["read_json", "require_fits"]

MOST_BYTES = 2**27
DEEPEST = 50  # levels of lists and objects in each other
LARGEST_INT, LARGEST_FLOAT = 2**63, 3e38  # sums, products and drawings of such numbers stay finite


def read_json(path: Path) -> Any:
    """Read a JSON file of any origin.

    What is returned can be walked through, printed and computed with: it is at most 50 levels deep, its
    numbers are finite, and its text is valid Unicode, but for bytes of file names.

    Raises:
        OSError: if the file cannot be read.
        ValueError: saying what is wrong with it.
    """
    try:
        found = json.loads(
            _regular(path), parse_int=_whole, parse_float=_finite, parse_constant=_refuse_constant
        )
        # Refuses half a surrogate pair, but for bytes of a file name that is no UTF-8.
        json.dumps(found, ensure_ascii=False).encode(errors="surrogateescape")
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    _require_shallow(found)
    return found


_TOO_DEEP = f"it is more than {DEEPEST} levels deep"


def _regular(path: Path) -> bytes:
    """The bytes of a regular file; a pipe would be waited for, a device has no end."""
    with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("it is no regular file")
        if about.st_size > MOST_BYTES:
            raise ValueError(f"it has {about.st_size:,} bytes, more than {MOST_BYTES:,}")
        return file.read()


def _whole(digits: str) -> int:
    if len(digits) > len(str(LARGEST_INT)) or abs(int(digits)) >= LARGEST_INT:
        raise ValueError("it holds a whole number that is too large")
    return int(digits)


def _finite(text: str) -> float:
    if not abs(float(text)) <= LARGEST_FLOAT:
        raise ValueError(f"it holds the number {text[:30]}, which is too large")
    return float(text)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"it holds {name}, which is no number")


def _require_shallow(found: Any) -> None:
    level = [found]
    for _ in range(DEEPEST):
        level = [inner for each in level if isinstance(each, (dict, list)) for inner in _values(each)]
    if level:
        raise ValueError(_TOO_DEEP)


def _values(each: Any) -> Any:
    return each.values() if isinstance(each, dict) else each


def require_fits(value: Any, kind: Any, where: str = "", *, later: Collection[str] = ()) -> None:
    """Refuse a value of JSON that cannot come from a value of this type.

    A field that a dataclass gives a default may be missing, and fields that it does not have may be there: an
    older or a newer version wrote them.

    Args:
        value: What was read.
        kind: A dataclass, a TypedDict, a list, tuple or dictionary of one type, a scalar, or one of these or
            None.
        where: Path to the value, such as ``pruned.layers[0]``; empty for all of it.
        later: Names of more fields that may be missing.

    Raises:
        ValueError: naming the path, the value and what it must be.
    """
    inner = get_args(kind)
    if kind is Any or (value is None and NoneType in inner):
        return
    if NoneType in inner:
        (kind,) = (each for each in inner if each is not NoneType)
        require_fits(value, kind, where, later=later)
    elif is_dataclass(kind) or is_typeddict(kind):
        _require_a(dict, value, where)
        _require_fields(value, kind, where, later)
    elif get_origin(kind) is dict:
        _require_a(dict, value, where)
        for key, each in value.items():
            require_fits(each, inner[1], f"{where}.{key}", later=later)
    elif get_origin(kind) in (list, tuple):
        _require_a(list, value, where)
        for index, each in enumerate(value):
            require_fits(each, inner[0], f"{where}[{index}]", later=later)
    else:
        _require_a(kind, value, where)


_WORDS = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
}


def _require_a(kind: type, value: Any, where: str) -> None:
    wanted = (int, float) if kind is float else kind
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{where or 'it'} is {reprlib.repr(value)}, and must be {_WORDS[kind]}")


def _require_fields(value: dict[str, Any], kind: Any, where: str, later: Collection[str]) -> None:
    types, with_default = _fields(kind)
    for name, each in types.items():
        place = f"{where}.{name}".lstrip(".")
        if name in value:
            require_fits(value[name], each, place, later=later)
        elif name not in with_default and name not in later:
            raise ValueError(f"{place} is missing")


@cache
def _fields(kind: Any) -> tuple[dict[str, Any], set[str]]:
    """Types of the fields, and names of those with a default."""
    given = fields(kind) if is_dataclass(kind) else ()
    with_default = {e.name for e in given if not e.default is e.default_factory is MISSING}
    return get_type_hints(kind), with_default
