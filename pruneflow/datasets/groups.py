"""Groups of examples, such as those of one person, none of which is in two parts."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from pruneflow.datasets.reading.names import listed
from pruneflow.datasets.split import Indices
from pruneflow.errors import DataError


def said_of_groups(groups: Indices, drawn: str, unknown: str = "") -> str:
    """Say that no group is in two parts, and of which parts that is not known.

    Args:
        groups: (n,) numbers of the groups of the training half.
        drawn: The parts that were drawn from it, such as ``"test and validation"``; may be empty.
        unknown: The parts that are given without their groups, likewise.

    >>> said_of_groups(np.array([0, 0, 1]), "validation")
    'No group of dataset.groups (2 in all) is in two parts (validation drawn).'
    """
    said = f"No group of dataset.groups ({len(np.unique(groups)):,} in all) is in two parts"
    said += f" ({drawn} drawn)" if drawn else ""
    return said + (f", but for the {unknown} part, whose groups are not known." if unknown else ".")


def refuse_shared_groups(where: object, groups: Mapping[str, Sequence[str]]) -> None:
    """Refuse parts that are given, of which two have examples of one group.

    Args:
        groups: Group of each example, by the name of the part.
    """
    for (name, these), (other, those) in combinations(groups.items(), 2):
        shared = sorted(set(these) & set(those))
        if shared:
            raise DataError(
                f"{where}: groups of dataset.groups in the {name} and the {other} part: {listed(shared)} "
                f"({len(shared):,} in all). Take their examples out of one of the two, or set it to null."
            )
