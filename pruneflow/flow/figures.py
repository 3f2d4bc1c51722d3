"""Figures of a result, whichever version of this format wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["examples_of", "metric_of", "metrics_of", "part_of", "quality"]


def metric_of(result: Mapping[str, Any]) -> str:
    """Name of the metric that its networks are compared by: ``"accuracy"``, or ``"r2"`` for a regression."""
    return str(result["data"].get("metric", "accuracy"))  # results of before had no other


def part_of(result: Mapping[str, Any]) -> str:
    """The part whose figures a result shows: ``"test"``, or ``"validation"`` with ``test_part=false``."""
    return str(result.get("part", "test"))  # results of before had no other


def examples_of(result: Mapping[str, Any]) -> str:
    """Return how many examples that part has, in words.

    >>> examples_of({"part": "validation", "data": {"validation": 6000}})
    '6,000 validation examples'
    """
    part = part_of(result)
    return f"{result['data'][part]:,} {part} examples"


def quality(result: Mapping[str, Any], network: Mapping[str, Any], part: str | None = None) -> float | None:
    """The metric that a network is compared by.

    Args:
        result: What ``result.json`` holds.
        network: Its dense, pruned or wrapped network, or one of its files.
        part: ``"test"`` or ``"validation"``; None takes the one that the result shows.

    Returns:
        None where the network was not trained, or not measured on this part.
    """
    return metrics_of(network, part or part_of(result)).get(metric_of(result))


def metrics_of(network: Mapping[str, Any], part: str = "test") -> dict[str, float]:
    """All metrics of a network by name; none where it was not trained, or not measured on this part.

    Args:
        network: As `quality` takes it.
        part: ``"test"`` or ``"validation"``.
    """
    prefix = "" if part == "test" else f"{part}_"
    if f"{prefix}metrics" in network:
        return dict(network[f"{prefix}metrics"] or {})
    accuracy = network[f"{prefix}accuracy"]  # results of before
    return {} if accuracy is None else {"accuracy": accuracy}


def sparsity_of(result: Mapping[str, Any]) -> str:
    """Return what the sparsity of the pruned network is a share of.

    Args:
        result: What ``result.json`` holds.

    Returns:
        ``"cut"``: of what was cut out; ``"zeros"``: of zeros in the weights that are left.
    """
    return "cut" if result["pruned"].get("channels") else "zeros"
