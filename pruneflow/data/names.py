"""What classes are called, which number each gets, and whether labels can be classes at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from pruneflow.data.spec import Data
from pruneflow.errors import DataError

__all__ = ["MISSING", "class_order", "listed", "refuse_odd_classes", "require_every_class", "sorted_classes"]

MISSING = ("", "nan")  # what stands where a label is missing, whatever its case

SHOWN = 5


def class_order(label: str) -> tuple[bool, float, str]:
    """Key by which labels are sorted: numbers by value, before words by alphabet, whatever their case."""
    try:
        return False, float(label), ""
    except ValueError:
        return True, 0.0, label.casefold()


def sorted_classes(labels: Iterable[str]) -> tuple[str, ...]:
    """The different labels in the order of their class numbers; of those that differ in case, the first.

    >>> sorted_classes(["pos", "10", "Neg", "POS", "2"])
    ('2', '10', 'Neg', 'pos')
    """
    first: dict[str, str] = {}
    for label in labels:
        first.setdefault(label.casefold(), label)
    return tuple(sorted(first.values(), key=class_order))


def listed(items: Sequence[object], *, most: int = SHOWN) -> str:
    """The first few of many things, for messages.

    >>> listed(["a", "b", "c"], most=2)
    'a, b, ...'
    """
    return ", ".join(map(str, items[:most])) + (", ..." if len(items) > most else "")


def refuse_odd_classes(where: object, classes: Sequence[object], examples: int) -> None:
    """Refuse labels of one class, and labels so many that they are measurements or names of rows.

    Args:
        where: Where they come from, for messages.
        classes: The different labels.
        examples: How many examples have them.

    Raises:
        DataError: naming the labels.
    """
    if len(classes) < 2:
        raise DataError(
            f"{where}: all labels are {listed(classes) or 'missing'}, expected two classes or more."
        )
    if len(classes) > 2 and 2 * len(classes) > examples:
        raise DataError(
            f"{where}: {len(classes):,} different labels in {examples:,} examples, such as "
            f"{listed(classes)}: expected classes, each with several examples."
        )


def require_every_class(data: Data, names: Sequence[str]) -> None:
    """Refuse data whose training part lacks a class.

    Args:
        data: The data.
        names: What messages call the classes.

    Raises:
        DataError: naming the classes.
    """
    counts = np.bincount(data.train.y, minlength=data.spec.classes)
    missing: npt.NDArray[np.int64] = np.flatnonzero(counts == 0)
    if len(missing):
        called = listed([names[number] for number in missing])
        raise DataError(
            f"{data.name}: no example of {called} is in the training part. Add examples, raise dataset.limit "
            "if it is set, or leave the class out."
        )
