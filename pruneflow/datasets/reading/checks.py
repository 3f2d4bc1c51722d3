"""Conditions on an array in a file, and the message when it does not keep them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.errors import DataError

Array = npt.NDArray[Any]
Arrays = dict[str, Array]


def expect(condition: bool, path: object, array: str, expected: str, found: object) -> None:
    """Refuse the file ``path``, or what it stands for, unless ``condition`` holds for its array ``array``."""
    if not condition:
        raise DataError(f"{path}: array {array}: expected {expected}, found {found}.")


def described(array: Array) -> str:
    """Name dtype and shape of an array, for messages."""
    return f"{array.dtype} {array.shape}"


def checked_labels(path: object, name: str, y: Array, *, count: int, classes: int) -> npt.NDArray[np.int64]:
    """Check labels 0 .. classes - 1, one per example.

    Args:
        count: Number of examples, at least 1.

    Returns:
        (count,) int64.
    """
    expect(y.dtype.kind in "iu" and y.shape == (count,), path, name, f"integers ({count},)", described(y))
    lowest, highest = y.min(), y.max()
    in_range = lowest >= 0 and highest < classes
    expect(in_range, path, name, f"labels 0 to {classes - 1}", f"{lowest} to {highest}")
    return y.astype(np.int64)
