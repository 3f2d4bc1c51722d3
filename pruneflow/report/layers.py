"""The layers inside the exported file, beside those of the dense one: multiply-adds and bytes, as bars."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pruneflow.exports import tflite
from pruneflow.exports.tflite import Graph, Weight
from pruneflow.exports.zeros import named_after
from pruneflow.flow.figures import LayerResult, Result

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
        cells: Bars by the name of their column; units have none or several.
    """

    name: str
    cells: Mapping[str, Sequence[Bar]]


@dataclass(frozen=True)
class _Costs:
    """The costs of the weights of a layer in a file; biases are not counted."""

    multiply_adds: int = 0
    bytes: int = 0
    compressed: int = 0

    @classmethod
    def of(cls, weight: Weight) -> _Costs:
        compressed = len(zlib.compress(weight.stored.tobytes()))
        return cls(weight.nonzero_multiply_adds, weight.stored_bytes, min(compressed, weight.stored_bytes))

    def __add__(self, other: _Costs) -> _Costs:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return _Costs(*(one + another for one, another in pairs))


COLUMNS = {"multiply-adds": "multiply_adds", "bytes": "bytes", "bytes after gzip": "compressed"}


def layer_rows(folder: Path, result: Result) -> list[LayerRow]:
    """Compare the layers of the first exported file with those of the dense file of its kind.

    Returns:
        A row for each layer that has weights, and sums below; none where a file is gone, or where the files
        are not those of one network.
    """
    file = result.tflite[0]
    places = folder / file.dense_file, folder / file.file
    if not all(place.is_file() for place in places):
        return []
    dense, pruned = (tflite.parse(tflite.read(place), str(place)) for place in places)
    consumers = [[weight.consumers for weight in graph.weights] for graph in (dense, pruned)]
    if not dense.weights or consumers[0] != consumers[1]:
        return []
    names = _names(result, dense, pruned)
    before, after = _by_layer(names, dense), _by_layer(names, pruned)
    units = {layer.name: layer for layer in result.channels.layers} if result.channels else {}
    longest = {name: max(getattr(each, name) for each in before.values()) for name in COLUMNS.values()}
    rows = [
        LayerRow(name, {**_units(units, name), **_bars((before[name], after[name]), longest)})
        for name in before
    ]
    whole = sum(before.values(), _Costs()), sum(after.values(), _Costs())
    sums = {name: [Bar(bar.text)] for name, (bar,) in _bars(whole, longest).items()}
    return [*rows, LayerRow(TOTAL, {**({"units": []} if units else {}), **sums})]


def _names(result: Result, dense: Graph, pruned: Graph) -> list[str]:
    """Name the layer of each weight: as it was traced, else as a tensor is named after a layer."""
    traced = result.tflite[0].inside.weights if result.tflite[0].inside else []
    known = {tensor: each.name.rpartition("/")[0] for each in traced for tensor in each.tensors}
    layers = [each.name for each in result.pruned.layers] + list(result.pruned.not_pruned)
    layers.sort(key=len, reverse=True)

    def name(weight: Weight, beside: Weight) -> str:
        after = (layer for layer in layers for each in (weight, beside) if named_after(each.name, layer))
        return known.get(weight.name) or next(after, weight.name.partition(";")[0])

    return [name(*pair) for pair in zip(pruned.weights, dense.weights, strict=True)]


def _by_layer(names: Sequence[str], graph: Graph) -> dict[str, _Costs]:
    found: dict[str, _Costs] = {}
    for name, weight in zip(names, graph.weights, strict=True):
        found[name] = found.get(name, _Costs()) + _Costs.of(weight)
    return found


def _units(cut: Mapping[str, LayerResult], name: str) -> dict[str, list[Bar]]:
    """Return the units of a layer that was cut, one bar for each kind; nothing where no network was cut."""
    if not cut:
        return {}
    longest = max((each.units for layer in cut.values() for each in layer.units), default=1)
    units = cut[name].units if name in cut else []
    return {"units": [_bar(f"{each.name} ".lstrip(), (each.units, each.kept), longest) for each in units]}


def _bars(both: Sequence[_Costs], longest: Mapping[str, int]) -> dict[str, list[Bar]]:
    return {
        column: [_bar("", [getattr(each, name) for each in both], longest[name])]
        for column, name in COLUMNS.items()
    }


def _bar(name: str, both: Sequence[int], longest: int) -> Bar:
    before, after = both
    numbers = f"{before:,} to {after:,}" if before != after else f"{before:,}"
    share = 100 * after / max(1, before)
    return Bar(f"{name}{numbers}", 100 * before / max(1, longest), min(100.0, share))
