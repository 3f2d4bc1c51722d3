"""Labels of any kind, as the numbers of classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.reading.checks import Array, described, expect
from pruneflow.datasets.reading.names import (
    alike,
    in_order,
    is_missing,
    listed,
    refuse_odd_classes,
    refuse_twins,
    sorted_classes,
)
from pruneflow.errors import DataError

Labels = npt.NDArray[np.int64]

NUMBERS = "(dataset.task=regression predicts numbers)"
SEVERAL = (
    "several labels at once have no task here: bring one of them in a run for each, as y[:, 0], or number "
    "the combinations that occur, as np.unique(y, axis=0, return_inverse=True)[1]"
)
LARGEST = float(1 << 63)  # the first number that int64 cannot hold


@dataclass(frozen=True)
class Naming:
    """The settings about classes.

    Attributes:
        names: What class 0, 1, ... are called, by whom the labels come from; empty takes the labels that
            occur in training.
        order: These labels in the order of their numbers, as the setting ``dataset.class_names``; empty takes
            their own order.
    """

    names: tuple[str, ...] = ()
    order: tuple[str, ...] = ()


UNNAMED = Naming()


def numbered(
    where: object, parts: Sequence[tuple[str, Array]], naming: Naming = UNNAMED
) -> tuple[list[Labels], tuple[str, ...]]:
    """Number the labels of all parts alike: see `pruneflow.datasets.reading.names.sorted_classes`.

    Args:
        parts: Name and labels of each, the training labels first: (n,) or (n, 1) whole numbers, booleans or
            texts, or (n, classes) with a single 1 in each row.

    Returns:
        (n,) labels 0 .. classes - 1 of each part, and what the classes are called.

    Raises:
        DataError: if they are of another kind, of one class, too many to be classes, or if a label does not
            occur in training.
        ConfigError: if the order does not name every class once.
    """
    named = (*naming.names, *naming.order)
    plain = [(name, _plain(where, name, y, named)) for name, y in parts]
    first, train = plain[0]
    kinds = {y.dtype.kind for _, y in plain}
    expect(len(kinds) == 1, where, plain[-1][0], f"labels of one kind, as in {first}", plain[-1][1].dtype)
    values = np.unique(train)
    if train.dtype.kind == "U":
        refuse_twins(f"{where}: array {first}", map(str, values))
    if naming.names:
        return _of_names(where, plain, naming.names), naming.names
    classes = tuple(map(str, values)) if train.dtype.kind != "U" else sorted_classes(map(str, values))
    refuse_odd_classes(f"{where}: array {first}", classes, len(train))
    classes = in_order(classes, naming.order)
    if train.dtype.kind == "U":
        return [_of_words(where, name, y, classes) for name, y in plain], classes
    places = np.array([classes.index(str(value)) for value in values], np.int64)
    return [places[_of_numbers(where, name, y, values)] for name, y in plain], classes


def numbered_records(where: object, y: Array, names: Sequence[str]) -> tuple[Labels, tuple[str, ...]]:
    """Number the labels of records.

    Args:
        y: (n,) int64, or names of classes as bytes in UTF-8.
        names: Of the classes in the order of their numbers, which labels of int64 are then; empty takes the
            labels that occur in an order of their own.

    Returns:
        (n,) labels 0 .. classes - 1, and what the classes are called.
    """
    values, place = np.unique(y, return_inverse=True)
    if names and y.dtype.kind != "S":
        found = f"{values[0]} to {values[-1]}"
        fits = values[0] >= 0 and values[-1] < len(names)
        _require(fits, where, f"0 to {len(names) - 1}, as {len(names)} classes are named", found)
        return y, tuple(names)
    if y.dtype.kind == "S":
        values = np.char.strip(np.char.decode(values, "utf-8", "replace"))
    texts = list(map(str, values))
    refuse_twins(f"{where}: labels", texts)
    classes = tuple(names) or sorted_classes(texts)
    unknown = [text for text in texts if text not in classes or is_missing(text, names)]
    expected = listed(names) if names else "a name in each record"
    _require(not unknown, where, expected, listed([text or "none" for text in unknown]))
    refuse_odd_classes(f"{where}: labels", classes, len(y))
    return np.array([classes.index(text) for text in texts], np.int64)[place.ravel()], classes


def _require(condition: bool, where: object, expected: str, found: str) -> None:
    if not condition:
        raise DataError(f"{where}: labels: expected {expected}, found {found}.")


def _plain(where: object, name: str, y: Array, named: Sequence[str]) -> Array:
    """Labels as (n,) int64 or texts without blanks around them."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2 and y.dtype.kind in "biuf":
        binary = bool(((y == 0) | (y == 1)).all())
        one_hot = binary and bool((y.sum(axis=1) == 1).all())
        expect(one_hot or not binary, where, name, f"a single 1 in each row; {SEVERAL}", described(y))
        expected = f"a single 1 in each row, where labels have columns {NUMBERS}"
        expect(one_hot, where, name, expected, described(y))
        return np.asarray(y.argmax(axis=1), np.int64)
    expected = "whole numbers or texts (n,), or one column for each class"
    expect(y.ndim == 1 and y.dtype.kind in "biufUS", where, name, expected, described(y))
    return _texts(where, name, y, named) if y.dtype.kind in "US" else _whole(where, name, y)


def _whole(where: object, name: str, y: Array) -> Array:
    if y.dtype.kind == "f":
        odd = np.flatnonzero(~np.isfinite(y) | (y != np.floor(y)))
        found = f"{y[odd[0]]} in row {odd[0]}" if len(odd) else ""
        expect(not len(odd), where, name, f"whole numbers as labels of classes {NUMBERS}", found)
    if y.dtype.kind in "fu":
        large = np.flatnonzero(np.abs(y.astype(np.float64)) >= LARGEST)
        found = f"{y[large[0]]} in row {large[0]}" if len(large) else ""
        expect(not len(large), where, name, "labels that int64 can hold", found)
    return y.astype(np.int64)


def _texts(where: object, name: str, y: Array, named: Sequence[str]) -> Array:
    if y.dtype.kind == "S":
        y = np.char.decode(y, "utf-8", "replace")
    texts = np.char.strip(y)
    values, place = np.unique(texts, return_inverse=True)
    missing = np.array([is_missing(str(value), named) for value in values])
    empty = np.flatnonzero(missing[place.ravel()])
    expect(not len(empty), where, name, "a label in each row", f"none in row {listed(list(empty))}")
    return texts


def _of_names(where: object, parts: Sequence[tuple[str, Array]], names: tuple[str, ...]) -> list[Labels]:
    """Labels that are numbers of the named classes, or their names."""
    refuse_odd_classes(f"{where}: class_names", names, len(parts[0][1]))
    if parts[0][1].dtype.kind == "U":
        return [_of_words(where, name, y, names) for name, y in parts]
    return [_of_numbers(where, name, y, np.arange(len(names))) for name, y in parts]


def _of_words(where: object, name: str, y: Array, classes: tuple[str, ...]) -> Labels:
    numbers = {alike(label): number for number, label in enumerate(classes)}
    unknown = sorted({str(label) for label in y if alike(str(label)) not in numbers})
    expect(not unknown, where, name, f"the labels of training, {listed(classes)}", listed(unknown))
    return np.array([numbers[alike(str(label))] for label in y], np.int64)


def _of_numbers(where: object, name: str, y: Array, values: Array) -> Labels:
    unknown, known = np.setdiff1d(y, values).tolist(), values.tolist()
    expect(not unknown, where, name, f"the labels of training, {listed(known)}", listed(unknown))
    return np.searchsorted(values, y).astype(np.int64)
