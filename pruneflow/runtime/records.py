"""JSON files of any origin: read with suspicion, and given back as the type that was written."""

import json
import os
import reprlib
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

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


def fitted(value: Any, kind: Any, where: str = "") -> Any:
    """Return a value of JSON as what it was written from, or refuse it.

    A field that a dataclass gives a default may be missing. Fields that it does not have are left out: a
    newer version wrote them.

    Args:
        kind: A dataclass, a list, tuple or dictionary of one type, a tuple of several, a scalar,
            or one of these or None.
        where: Path to the value, such as ``pruned.layers[0]``; empty for all of it.
    """
    inner, origin = get_args(kind), get_origin(kind)
    if kind is Any or (value is None and NoneType in inner):
        return value
    if NoneType in inner:
        (kind,) = (each for each in inner if each is not NoneType)
        return fitted(value, kind, where)
    if isinstance(kind, type) and is_dataclass(kind):
        _require_a(dict, value, where)
        return kind(**dict(_fitted_fields(value, kind, where)))
    if origin is dict:
        _require_a(dict, value, where)
        return {key: fitted(each, inner[1], f"{where}.{key}") for key, each in value.items()}
    if origin in (list, tuple):
        return origin(_fitted_items(value, inner, where))
    _require_a(kind, value, where)
    return value


def _fitted_items(value: Any, kinds: tuple[Any, ...], where: str) -> Iterator[Any]:
    _require_a(list, value, where)
    if len(kinds) > 1 and kinds[1] is not Ellipsis and len(value) != len(kinds):
        raise ValueError(f"{where} is {reprlib.repr(value)}, and must have {len(kinds)} values")
    for index, each in enumerate(value):
        yield fitted(each, kinds[0], f"{where}[{index}]")


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


def _fitted_fields(value: dict[str, Any], kind: Any, where: str) -> Iterator[tuple[str, Any]]:
    types, with_default = _fields(kind)
    for name, each in types.items():
        place = f"{where}.{name}".lstrip(".")
        if name in value:
            yield name, fitted(value[name], each, place)
        elif name not in with_default:
            raise ValueError(f"{place} is missing")


@cache
def _fields(kind: Any) -> tuple[dict[str, Any], set[str]]:
    """Types of the fields, and names of those with a default."""
    with_default = {e.name for e in fields(kind) if not e.default is e.default_factory is MISSING}
    return get_type_hints(kind), with_default


def pick(found: Any, path: str) -> Any:
    """Follow a dotted path through objects, dictionaries and lists; None where it leads nowhere.

    >>> pick({"a": [{"b": 1}]}, "a.0.b")
    1
    """
    for part in path.split("."):
        if isinstance(found, Mapping):
            found = found.get(part)
        else:
            found = found[int(part)] if isinstance(found, Sequence) else getattr(found, part, None)
    return found
