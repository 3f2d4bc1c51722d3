"""Kinds of arrays of examples: images, rows of numbers, signals or token ids."""

from collections.abc import Sequence

import numpy as np

from pruneflow.datasets.reading.checks import Array, described, expect
from pruneflow.datasets.reading.pixels import COLOURS, has_levels, span_of, white_of

KINDS = ("auto", "image", "numbers", "signal", "tokens")
DIMENSIONS = {
    "image": ((3, 4), "images (n, height, width) or (n, height, width, channels)"),
    "numbers": ((2,), "rows of numbers (n, features)"),
    "signal": (
        range(3, 33),
        "signals (n, steps, channels) or of more dimensions; x[..., None] adds a channel",
    ),
    "tokens": ((2,), "token ids (n, length)"),
}
MANY_IDS = 20  # whole numbers up to here are rather counts, or answers of a form


def kind_of(
    where: object, parts: Sequence[tuple[str, Array]], asked: str, *, white: float | None = None
) -> tuple[str, str]:
    """Decide what arrays are: by what is asked for, else by their shape and values.

    Args:
        parts: Name and examples of each, alike but for their number.
        asked: One of `KINDS`.
        white: Value of a white pixel, where a setting says it, so that they are images.

    Returns:
        ``"image"``, ``"numbers"``, ``"signal"`` or ``"tokens"``, and what has to be said of the decision.

    Raises:
        DataError: if they have other dimensions than what is asked for, or may be images or signals.
    """
    name, x = parts[0]
    if asked != "auto":
        dimensions, expected = DIMENSIONS[asked]
        expect(x.ndim in dimensions, where, name, f"{expected} (dataset.examples={asked})", described(x))
        return asked, ""
    if x.ndim == 2:
        return "numbers", _may_be_ids(name, x)
    if x.ndim == 3 and 1 in x.shape[1:] and x.dtype.kind == "f":
        return "signal", ""
    if x.ndim > 4:
        return "signal", ""
    if white is not None or x.dtype.kind not in "if":
        return "image", ""
    spans = [span_of(x) for _, x in parts]
    span = min(low for low, _ in spans), max(high for _, high in spans)
    return _image_or_signal(where, name, x, span)


def _image_or_signal(where: object, name: str, x: Array, span: tuple[float, float]) -> tuple[str, str]:
    """Tell images from signals by values that a pixel cannot have, and by levels that a signal has not."""
    low, high = span
    if low < 0 and white_of(low, high) is None:
        said = f"{name} goes from {low:g} to {high:g}, which pixels do not: it was taken as a signal."
        return "signal", said
    white = white_of(low, high)
    if white is None or x.dtype.kind == "i" or has_levels(x, white):
        return "image", ""  # of unknown white: `checked_pixels` asks for it
    expected = (
        "images of 256 levels, or a setting: dataset.examples=image rounds these to 256 levels, "
        "dataset.examples=signal keeps them as they are"
    )
    coloured = x.ndim == 4 and x.shape[3] in COLOURS[1:]  # of one channel may be a spectrogram
    expect(coloured, where, name, expected, f"{described(x)} from {low:g} to {high:g}, of more levels")
    return "image", ""


def _may_be_ids(name: str, x: Array) -> str:
    """A sentence where rows of numbers look like token ids: whole, from 0, of one range in all columns."""
    if x.dtype.kind not in "iu" or x.shape[1] < 2 or x.min() < 0 or x.max() <= MANY_IDS:
        return ""
    highest = x.max(axis=0)
    if 2 * np.median(highest) < highest.max():
        return ""
    return (
        f"{name} holds whole numbers from {x.min()} to {x.max()}, which were taken as measurements: token "
        "ids need dataset.examples=tokens."
    )
