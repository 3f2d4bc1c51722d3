"""Names of classes, the number of each, and whether labels can be classes at all."""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.spec import Data
from pruneflow.errors import ConfigError, DataError

KEY = "dataset.class_names"
MISSING = ("", "nan", "na", "n/a", "<na>", "none", "null")  # where a label is missing, whatever its case

FORM = "Unicode form (NFC, NFD)"

NUMERAL = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)", re.ASCII)

SHOWN = 5


def is_numeral(label: str) -> bool:
    """Return whether a label is a plain number: digits with or without a sign and a point.

    >>> [is_numeral(label) for label in ("10", "-0.5", "nan", "1_0", "1e3")]
    [True, True, False, False, False]
    """
    return bool(NUMERAL.fullmatch(label))


def is_missing(label: str, named: Collection[str] = ()) -> bool:
    """Return whether a label means none, as tables write it; one that is ``named`` as a class does not.

    >>> is_missing(" N/A"), is_missing("none"), is_missing("none", ["none", "some"])
    (True, True, False)
    """
    plain = label.strip()
    return plain.casefold() in MISSING and plain not in named


def sorted_classes(labels: Iterable[str]) -> tuple[str, ...]:
    """The different labels in the order of their class numbers.

    Numbers go by value where all labels are numbers; otherwise all go by their characters, as in Python's
    ``sorted``.

    >>> sorted_classes(["10", "2", "10"])
    ('2', '10')
    >>> sorted_classes(["pos", "10", "Neg", "2"])
    ('10', '2', 'Neg', 'pos')
    """
    different = sorted(set(labels))
    if all(map(is_numeral, different)):
        different.sort(key=Decimal)
    return tuple(different)


def in_order(classes: tuple[str, ...], names: Sequence[str]) -> tuple[str, ...]:
    """The classes in the order of the setting ``dataset.class_names``, or as they are where it is empty.

    Raises:
        ConfigError: unless it names each class once.
    """
    check_class_names(names)
    if not names:
        return classes
    spelled = {composed(each): each for each in classes}
    names = [spelled.get(composed(each), each) for each in names]
    lacking = [each for each in classes if each not in names]
    unknown = [each for each in names if each not in classes]
    if unknown:
        problem = f"the data have no {listed(unknown)}, but {listed(classes)}"
        raise ConfigError.of(KEY, list(names), problem, f"{unquoted(unknown)}Name each of these once.")
    if lacking:
        raise ConfigError.of(KEY, list(names), f"it lacks {listed(lacking)}", "Name every class once.")
    return tuple(names)


def check_class_names(names: Sequence[str]) -> None:
    """Refuse a setting ``dataset.class_names`` that can be that of no data."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    remedy = "Name every class once, in the order of their numbers, or set it to null."
    if twice:
        raise ConfigError.of(KEY, list(names), f"{listed(twice)} stands there twice", remedy)
    if any(not name.strip() for name in names):
        raise ConfigError.of(KEY, list(names), "a name in it is empty", remedy)


def refuse_twins(where: object, labels: Iterable[str]) -> None:
    """Refuse labels that differ in case or in their Unicode form alone: one class, or two?"""
    first: dict[str, str] = {}
    for label in sorted(set(labels)):
        other = first.setdefault(alike(label), label)
        if other != label:
            how = "case" if composed(other) != composed(label) else FORM
            shown = (other, label) if how == "case" else (ascii(other), ascii(label))
            raise DataError(
                f"{where}: the labels {shown[0]} and {shown[1]} differ in {how} alone. Spell them alike, or "
                "as classes of their own."
            )


def composed(name: str) -> str:
    """A name in the Unicode form NFC, in which an accent is one with its letter.

    >>> composed("cre\u0302pe") == "cr\u00eape"
    True
    """
    return unicodedata.normalize("NFC", name)


def alike(name: str) -> str:
    """Return the form that names share which people take for one: without case and Unicode form.

    >>> alike("CRE\u0302PE") == alike("cr\u00eape")
    True
    """
    return composed(composed(name).casefold())


def differing(other: str, name: str) -> str:
    """Say in what the name ``other`` differs from a name that is `alike`.

    >>> differing("Cat", "cat")
    'Cat differs in case'
    """
    if composed(other) != composed(name):
        return f"{other} differs in case"
    return f"{other!a} (this one is {name!a}) differs in {FORM}"


def unquoted(unknown: Sequence[str]) -> str:
    """A sentence where YAML has read names as something else than texts."""
    odd = [each for each in unknown if each in ("True", "False") or is_numeral(each)]
    return (
        "In YAML no and yes are truth values and 001 is a number: quote them, ['no', '001']. " if odd else ""
    )


def printable(name: str) -> str:
    r"""A name as messages show it: what cannot be shown, as bytes that are no text, is escaped.

    >>> printable("caf\udce9.png")
    'caf\\udce9.png'
    """
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in name
    )


def listed(items: Sequence[object], *, most: int = SHOWN) -> str:
    """The first few of many things, as messages show them.

    >>> listed(["a", "b", "c"], most=2)
    'a, b, ...'
    """
    return ", ".join(printable(str(item)) for item in items[:most]) + (", ..." if len(items) > most else "")


def refuse_odd_classes(where: object, classes: Sequence[object], examples: int) -> None:
    """Refuse labels of one class, and labels so many that they are measurements or names of rows."""
    if len(classes) < 2:
        raise DataError(
            f"{where}: all labels are {listed(classes) or 'missing'}, expected two classes or more."
        )
    if len(classes) > 2 and 2 * len(classes) > examples:
        raise DataError(
            f"{where}: {len(classes):,} different labels in {examples:,} examples, such as "
            f"{listed(classes)}: expected classes, each with several examples."
        )


def require_every_class(data: Data, names: Sequence[str], where: object = None) -> None:
    """Refuse data whose training part lacks a class.

    Args:
        where: Where the data come from, for messages; their name where there is none.
    """
    counts = np.bincount(data.train.y, minlength=data.spec.classes)
    missing: npt.NDArray[np.int64] = np.flatnonzero(counts == 0)
    if len(missing):
        called = listed([names[number] for number in missing])
        raise DataError(
            f"{where or data.name}: no example of {called} is in the training part. Add examples, raise "
            "dataset.limit if it is set, or leave the class out."
        )
