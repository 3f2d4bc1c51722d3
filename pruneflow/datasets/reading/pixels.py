"""Images in arrays of any number type, as bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pruneflow.datasets.reading.checks import Array, described, expect

__all__ = ["checked_pixels"]

CHANNELS = (1, 3)
WHITE = 255
ROWS_AT_ONCE = 1024  # bounds the memory of the float copies


def checked_pixels(where: object, parts: Sequence[tuple[str, Array]]) -> tuple[list[Array], str]:
    """Turn images into uint8, all parts by the same rule.

    uint8 is taken as it is. Of other numbers, whole or not, those from 0 to 1 are multiplied by 255, those
    from 0 to 255 are not; both are rounded. All parts must be of the same kind.

    Args:
        where: Where they come from, for messages.
        parts: Name and images of each, (n, height, width) or (n, height, width, 1 or 3).

    Returns:
        (n, height, width, channels) uint8 of each part, and what was done, empty if nothing was.

    Raises:
        DataError: if they are of another shape, have values below 0, above 255 or that are no numbers, or if
            one part reaches 1 and another 255.
    """
    for name, x in parts:
        _check_shape(where, name, x)
    shaped = [x[..., None] if x.ndim == 3 else x for _, x in parts]
    kinds = {x.dtype for x in shaped}
    if kinds == {np.dtype(np.uint8)}:
        return shaped, ""
    expect(len(kinds) == 1, where, parts[-1][0], f"{shaped[0].dtype} as in {parts[0][0]}", shaped[-1].dtype)
    highest = [_highest(where, name, x) for name, x in parts]
    factor = WHITE if max(highest) <= 1 else 1
    for (name, _), high in zip(parts, highest, strict=True):
        fits = factor == WHITE or high == 0 or high > 1
        expect(
            fits, where, name, "pixels from 0 to 255, as there are in another part", f"none above {high:g}"
        )
    said = f"Pixels were {shaped[0].dtype} from 0 to {WHITE // factor}, and were rounded to 256 levels."
    return [_bytes(x, factor) for x in shaped], said


def _check_shape(where: object, name: str, x: Array) -> None:
    expected = "images (n, height, width) or (n, height, width, 1 or 3)"
    if x.ndim == 4 and x.shape[1] in CHANNELS and x.shape[3] not in CHANNELS:
        expected += "; these have their channels first, which x.transpose(0, 2, 3, 1) mends"
    fits = x.ndim == 3 or (x.ndim == 4 and x.shape[3] in CHANNELS)
    expect(fits and x.dtype.kind in "buif", where, name, expected, described(x))


def _highest(where: object, name: str, x: Array) -> float:
    lowest, highest = float(x.min()), float(x.max())  # NaN where there is one
    fits = lowest >= 0 and highest <= WHITE
    advice = "pixels from 0 to 1 or from 0 to 255; undo a standardisation of images before they are saved"
    expect(fits, where, name, advice, f"{lowest:g} to {highest:g}")
    return highest


def _bytes(x: Array, factor: int) -> Array:
    pixels = np.empty(x.shape, np.uint8)
    for row in range(0, len(x), ROWS_AT_ONCE):
        block = x[row : row + ROWS_AT_ONCE].astype(np.float64)
        pixels[row : row + ROWS_AT_ONCE] = np.rint(block * factor)
    return pixels
