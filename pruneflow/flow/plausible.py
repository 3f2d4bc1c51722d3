"""What must hold of a result beside its types, so that tables and pages can be made of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, TypedDict

from pruneflow.flow import figures
from pruneflow.runtime.records import require_fits
from pruneflow.training.metrics import HEADLINES

__all__ = ["require_plausible"]


class _Named(TypedDict):
    name: str


class _Config(TypedDict):
    model: _Named
    dataset: _Named


class _Plan(TypedDict):
    begin_step: int
    end_step: int
    updates: int
    total_steps: int


class _Device(TypedDict):
    kind: str
    name: str
    precision: str
    threads: int


class _Ratios(TypedDict):
    guide: float


class _Open(TypedDict):
    """The keys that are read of parts whose keys a result leaves open."""

    config: _Config
    plan: _Plan
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


def require_plausible(result: Mapping[str, Any]) -> None:
    """Refuse what no run can have found, whoever wrote it.

    Args:
        result: What ``result.json`` holds, every value of its type.

    Raises:
        ValueError: naming what is wrong.
    """
    require_fits(result, _Open)
    for key, value in result.items():
        if key != "config":
            _require_in_range(value, key)
    for key, values in (("tflite", result["tflite"]), ("pruned.layers", result["pruned"]["layers"])):
        _require(len(values) > 0, key, "is empty")
    for index, file in enumerate(result["tflite"]):
        for key in ("kind", "file"):
            name = file[key]
            plain = PurePath(name).name == name and name not in ("", "..") and "\0" not in name
            _require(plain, f"tflite[{index}].{key}", "is no name of a file")
    _require_compared(result)
    _require_classes(result)


def _require_in_range(value: Any, where: str) -> None:
    """Look at a number, or at all numbers in a list or an object."""
    if isinstance(value, dict):
        for key, each in value.items():
            _require_in_range(each, f"{where}.{key}")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            _require_in_range(each, f"{where}[{index}]")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        usual = (0 if isinstance(value, int) else -math.inf, math.inf)
        low, high = next((ends for pattern, ends in _RANGES if pattern.search(where)), usual)
        _require(low <= value <= high, where, f"is {value}, which cannot be")


def _require_compared(result: Mapping[str, Any]) -> None:
    """Every network that is shown has the metric that networks are compared by."""
    name = figures.metric_of(result)
    _require(name in HEADLINES, "data.metric", f"is none of {', '.join(HEADLINES)}")
    shown = figures.part_of(result)
    _require(shown in ("test", "validation"), "part", "is none of test, validation")
    pruned = result["pruned"]
    networks = {"pruned": pruned, "pruned.wrapped": pruned["wrapped"]}
    networks |= {"cut": result["cut"]} if result.get("cut") else {}
    networks |= {f"tflite[{index}]": file for index, file in enumerate(result["tflite"])}
    for where, network in networks.items():
        tested = ["test"] if shown == "test" else []
        for part in tested if where == "pruned.wrapped" else [*tested, "validation"]:
            reached = figures.quality(result, network, part)
            _require(reached is not None, where, f"has no {name} on the {part} part")


def _require_classes(result: Mapping[str, Any]) -> None:
    """Each class tells of the same networks, the exported ones among them."""
    classes = result.get("classes", [])
    exported = {file["kind"] for file in result["tflite"]}
    for index, each in enumerate(classes):
        same = each["accuracy"].keys() == classes[0]["accuracy"].keys() >= exported
        _require(same, f"classes[{index}].accuracy", "is not of every network")


def _require(condition: bool, where: str, problem: str) -> None:
    if not condition:
        raise ValueError(f"{where} {problem}")
