"""Conditions that a result keeps beside its types, so that tables and pages can be made of it."""

import math
import re
from dataclasses import dataclass, is_dataclass
from pathlib import PurePath
from typing import Any

from pruneflow.flow.figures import Result, Scored
from pruneflow.runtime.records import fitted
from pruneflow.training.metrics import HEADLINES


@dataclass
class _Named:
    name: str


@dataclass
class _Config:
    model: _Named
    dataset: _Named


@dataclass
class _Device:
    kind: str
    name: str
    precision: str
    threads: int


@dataclass
class _Ratios:
    guide: float


@dataclass
class _Open:
    """The keys that are read of parts whose keys a result leaves open."""

    config: _Config
    device: _Device
    ratios: _Ratios


# Lowest and highest of the numbers whose path ends so; the first that fits counts. No count is negative.
_RANGES = (
    (re.compile(r"peak_memory_bytes$"), (0, math.inf)),
    # divided by:
    (re.compile(r"(bytes|_ms(\[\d+\])?|plan\.total_steps|data\.(test|validation))$"), (1e-9, math.inf)),
    (re.compile(r"(accuracy(\.[^.]+)?|agreement|sparsity)$"), (0, 1)),
    (re.compile(r"metrics\.r2$"), (-math.inf, 1)),
    (re.compile(r"zero_point$"), (-math.inf, math.inf)),
)


def require_plausible(result: Result) -> None:
    """Refuse what no run can have found, whoever wrote it."""
    found = vars(result)
    fitted(found, _Open)
    for key, value in found.items():
        if key != "config":
            _require_in_range(value, key)
    for key, values in (("tflite", result.tflite), ("pruned.layers", result.pruned.layers)):
        _require(len(values) > 0, key, "is empty")
    for index, file in enumerate(result.tflite):
        for key, name in (("kind", file.kind), ("file", file.file)):
            plain = PurePath(name).name == name and name not in ("", "..") and "\0" not in name
            _require(plain, f"tflite[{index}].{key}", "is no name of a file")
    _require_compared(result)
    _require_classes(result)


def _require_in_range(value: Any, where: str) -> None:
    """Look at a number, or at all numbers in a list or an object."""
    if isinstance(value, dict) or is_dataclass(value):
        for key, each in (value if isinstance(value, dict) else vars(value)).items():
            _require_in_range(each, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, each in enumerate(value):
            _require_in_range(each, f"{where}[{index}]")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        usual = (0 if isinstance(value, int) else -math.inf, math.inf)
        low, high = next((ends for pattern, ends in _RANGES if pattern.search(where)), usual)
        _require(low <= value <= high, where, f"is {value}, which cannot be")


def _require_compared(result: Result) -> None:
    """Every network that is shown has the metric that networks are compared by."""
    name, pruned = result.data.metric, result.pruned
    _require(name in HEADLINES, "data.metric", f"is none of {', '.join(HEADLINES)}")
    tested = ["test"] if result.part == "test" else []
    _require(result.part in ("test", "validation"), "part", "is none of test, validation")
    networks: dict[str, Scored] = {"pruned": pruned, **({"cut": result.cut} if result.cut else {})}
    networks |= {f"tflite[{index}]": file for index, file in enumerate(result.tflite)}
    for where, network in networks.items():
        for part in [*tested, "validation"]:
            known = result.quality(network, part) is not None or (part, result.format) == ("validation", 1)
            _require(known, where, f"has no {name} on the {part} part")
    known = not (tested and pruned.wrapped) or name in (pruned.wrapped.metrics or {})
    _require(known, "pruned.wrapped", f"has no {name} on the test part")


def _require_classes(result: Result) -> None:
    """Each class tells of the same networks, the exported ones among them."""
    exported = {file.kind for file in result.tflite}
    for index, each in enumerate(result.classes):
        same = each.accuracy.keys() == result.classes[0].accuracy.keys() >= exported
        _require(same, f"classes[{index}].accuracy", "is not of every network")


def _require(condition: bool, where: str, problem: str) -> None:
    if not condition:
        raise ValueError(f"{where} {problem}")
