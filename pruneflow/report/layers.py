"""The drawing of a network's layers before and after a cut, as bars of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pruneflow.flow.figures import ChannelsResult, LayerResult

__all__ = ["Bar", "LayerRow", "layer_rows"]

FLOAT32_BYTES = 4
TOTAL = "whole network"


@dataclass(frozen=True)
class Bar:
    """A number before and after, and how long the two are drawn.

    Attributes:
        text: Both numbers, in words.
        before: Length of the bar, in percent of the longest of its column.
        after: Length of the part that stays, in percent of the bar.
    """

    text: str
    before: float = 0.0
    after: float = 0.0


@dataclass(frozen=True)
class LayerRow:
    """A layer of the drawing.

    Attributes:
        name: Of the layer.
        cells: Bars by the name of their column; units have none or several.
    """

    name: str
    cells: Mapping[str, Sequence[Bar]]


def layer_rows(cut: ChannelsResult | None) -> list[LayerRow]:
    """Draw each layer, and sums of the whole network below.

    Args:
        cut: The channels that were cut out; None, and no rows, where none were.
    """
    if not cut or not cut.layers:
        return []
    longest = {
        "units": max((each.units for layer in cut.layers for each in layer.units), default=1),
        "multiply_adds": max(layer.multiply_adds[0] for layer in cut.layers),
        "parameters": max(layer.parameters[0] for layer in cut.layers),
    }
    rows = [LayerRow(layer.name, dict(_cells(layer, longest))) for layer in cut.layers]
    whole = {column: [Bar(each.text)] for column, (each,) in _costs(cut, longest)}
    return [*rows, LayerRow(TOTAL, {"units": [], **whole})]


def _cells(layer: LayerResult, longest: Mapping[str, int]) -> Iterator[tuple[str, list[Bar]]]:
    yield (
        "units",
        [_bar(f"{each.name} ".lstrip(), (each.units, each.kept), longest["units"]) for each in layer.units],
    )
    yield from _costs(layer, longest)


def _costs(of: LayerResult | ChannelsResult, longest: Mapping[str, int]) -> Iterator[tuple[str, list[Bar]]]:
    yield "multiply-adds", [_bar("", of.multiply_adds, longest["multiply_adds"])]
    stored = [FLOAT32_BYTES * count for count in of.parameters]
    yield "bytes", [_bar("", stored, FLOAT32_BYTES * longest["parameters"])]


def _bar(name: str, both: Sequence[int], longest: int) -> Bar:
    before, after = both
    numbers = f"{before:,} to {after:,}" if before != after else f"{before:,}"
    return Bar(f"{name}{numbers}", 100 * before / max(1, longest), 100 * after / max(1, before))
