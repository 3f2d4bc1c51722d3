"""Images in arrays of any number type, as bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pruneflow.datasets.reading.checks import Array, described, expect

BRIGHTEST = 255
SEVEN_BITS = 127  # below it, 255 is one guess among many: 100 and 16 are scales too
DEPTHS = (1023, 4095, 16383, 65535)  # white of 10, 12, 14 and 16 bits
OVER = 0.001  # share of white by which rounding elsewhere may miss 0 or white
COLOURS = (1, 3, 4)  # channels that come last wherever somebody else's may come first
ROWS_AT_ONCE = 1024  # bounds the memory of the float copies


@dataclass(frozen=True)
class Reading:
    """The settings about images.

    Attributes:
        white: Value of a white pixel; None takes 1 or 255 where the values leave no doubt.
        channels_first: Whether the channels lie before height and width; None refuses what looks so.
    """

    white: float | None = None
    channels_first: bool | None = None


UNKNOWN = Reading()


def checked_pixels(
    where: object, parts: Sequence[tuple[str, Array]], how: Reading = UNKNOWN
) -> tuple[list[Array], str]:
    """Turn images into uint8, all parts by the same rule.

    uint8 is taken as it is. Other numbers are scaled so that white becomes 255, and rounded. Without a
    setting white is 1 where all values lie from 0 to 1, and 255 where they end above 127.

    Args:
        parts: Name and images of each, (n, height, width) or (n, height, width, channels).

    Returns:
        (n, height, width, channels) uint8 of each part, and what was done, empty if nothing was.

    Raises:
        DataError: if they are of another shape, if nobody says which value is white, if values lie below 0 or
            above white, or if one part reaches 1 and another 255.
    """
    shaped = [_shaped(where, name, x, how.channels_first) for name, x in parts]
    said = "Channels were moved from the first place to the last." if how.channels_first else ""
    kinds = {x.dtype for x in shaped}
    if _as_they_are(shaped, how):
        return shaped, said
    expect(len(kinds) == 1, where, parts[-1][0], f"{shaped[0].dtype} as in {parts[0][0]}", shaped[-1].dtype)
    spans = [span_of(x) for _, x in parts]
    low, high = min(low for low, _ in spans), max(high for _, high in spans)
    white = how.white or white_of(low, high)
    name = parts[[high for _, high in spans].index(high)][0] if high == high else parts[0][0]
    expect(white is not None, where, name, _asked(high), f"{shaped[0].dtype} from {low:g} to {high:g}")
    assert white is not None
    _check_spans(where, [name for name, _ in parts], spans, white)
    did = f"Pixels were {shaped[0].dtype}, {low:g} to {high:g}; {white:g} was taken as white, and they were "
    return [_bytes(x, white) for x in shaped], f"{said} {did}rounded to 256 levels.".strip()


def white_taken(xs: Sequence[Array], how: Reading = UNKNOWN) -> float | None:
    """Return the value that `checked_pixels` takes as white; None where it takes bytes as they are.

    >>> white_taken([np.array([0.0, 1.0])]), white_taken([np.array([0, 255], np.uint8)])
    (1.0, None)
    """
    if _as_they_are(xs, how):
        return None
    lows, highs = zip(*map(span_of, xs), strict=True)
    return how.white or white_of(min(lows), max(highs))


def _as_they_are(xs: Sequence[Array], how: Reading) -> bool:
    return {x.dtype for x in xs} == {np.dtype(np.uint8)} and how.white in (None, BRIGHTEST)


def span_of(x: Array) -> tuple[float, float]:
    """Lowest and highest value; NaN where there is one."""
    return float(x.min()), float(x.max())


def white_of(low: float, high: float) -> float | None:
    """The value of a white pixel, where the values leave no doubt; else None.

    >>> white_of(0.0, 1.0), white_of(0.0, 250.0), white_of(0.0, 16.0), white_of(-1.0, 1.0)
    (1.0, 255.0, None, None)
    """
    if low >= -OVER and high <= 1 + OVER:
        return 1.0
    return 255.0 if low >= -OVER * BRIGHTEST and SEVEN_BITS < high <= (1 + OVER) * BRIGHTEST else None


def has_levels(x: Array, white: float) -> bool:
    """Return whether the first images have 256 levels, so that nothing is lost by rounding.

    Args:
        x: (n, ...) numbers.
    """
    levels = x[:ROWS_AT_ONCE].astype(np.float64) * (BRIGHTEST / white)
    blurred = 0.2 if x.dtype == np.float16 else 0.001
    return bool(np.abs(levels - np.rint(levels)).max() <= blurred)


def _asked(high: float) -> str:
    white = next((depth for depth in DEPTHS if depth >= high), high) if high > BRIGHTEST else high
    guess = f"dataset.white={white:g}" if high > 1 else "dataset.white"
    return (
        "pixels from 0 to 1 or from 0 to 255, or the value of white in a setting, such as "
        f"{guess}; dataset.examples=signal keeps numbers that are no pixels as they are"
    )


def _check_spans(where: object, names: list[str], spans: list[tuple[float, float]], white: float) -> None:
    for name, (low, high) in zip(names, spans, strict=True):
        inside = -OVER * white <= low and high <= (1 + OVER) * white
        expect(inside, where, name, f"pixels from 0 to {white:g}", f"{low:g} to {high:g}")
        lit = white == 1 or high == 0 or high > 1
        expect(
            lit,
            where,
            name,
            f"pixels from 0 to {white:g}, as there are in another part",
            f"none above {high:g}",
        )


def _shaped(where: object, name: str, x: Array, channels_first: bool | None) -> Array:
    expected = "images (n, height, width) or (n, height, width, channels)"
    fits = x.ndim in (3, 4) and x.dtype.kind in "buif"
    expect(fits, where, name, expected, described(x))
    if x.ndim == 3:
        moved = "images (n, channels, height, width), as dataset.channels_first=true says"
        expect(not channels_first, where, name, moved, described(x))
        return x[..., None]
    if channels_first:
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    expected += (
        "; these look as if their channels came first: set dataset.channels_first=true, which turns them, or "
        "false, if they do not"
    )
    expect(channels_first is False or not _look_turned(x.shape), where, name, expected, described(x))
    return x


def _look_turned(shape: tuple[int, ...]) -> bool:
    """Return whether (n, a, b, c) is rather (n, channels, height, width)."""
    _, first, second, last = shape
    smaller = first < min(second, last) and last not in COLOURS
    return smaller and (first in COLOURS or second == last)


def _bytes(x: Array, white: float) -> Array:
    pixels = np.empty(x.shape, np.uint8)
    for row in range(0, len(x), ROWS_AT_ONCE):
        block = x[row : row + ROWS_AT_ONCE].astype(np.float64) * (BRIGHTEST / white)
        pixels[row : row + ROWS_AT_ONCE] = np.rint(block).clip(0, BRIGHTEST)
    return pixels
