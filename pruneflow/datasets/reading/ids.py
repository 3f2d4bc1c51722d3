"""Token ids in arrays: whole numbers from 0 that look up rows of an embedding."""

from collections.abc import Sequence

import numpy as np

from pruneflow.datasets.reading.checks import Array, described, expect

MOST_IDS = 100_000_000


def checked_ids(where: object, parts: Sequence[tuple[str, Array]]) -> tuple[list[Array], int]:
    """Check token ids, and count them.

    Args:
        parts: Name and ids of each, (n, length) whole numbers from 0.

    Returns:
        (n, length) int32 of each, and the number of ids: the largest of any part + 1.
    """
    for name, x in parts:
        whole = x.dtype.kind in "iu" or (x.dtype.kind == "f" and bool((x == np.floor(x)).all()))
        found = described(x)
        if whole:
            found += f" from {x.min():g} to {x.max():g}"
            whole = bool(x.min() >= 0 and x.max() < MOST_IDS)
        expect(whole, where, name, f"token ids: whole numbers from 0, below {MOST_IDS:,}", found)
    size = 1 + max(int(x.max()) for _, x in parts)
    return [x.astype(np.int32) for _, x in parts], max(2, size)
