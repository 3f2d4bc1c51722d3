"""Figures of a result, whichever version of this format wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["metric_of", "metrics_of", "quality"]


def metric_of(result: Mapping[str, Any]) -> str:
    """Name of the metric that its networks are compared by: ``"accuracy"``, or ``"r2"`` for a regression."""
    return str(result["data"].get("metric", "accuracy"))  # results of before had no other


def quality(result: Mapping[str, Any], network: Mapping[str, Any], part: str = "test") -> float | None:
    """The metric that a network is compared by.

    Args:
        result: What ``result.json`` holds.
        network: Its dense, pruned or wrapped network, or one of its files.
        part: ``"test"`` or ``"validation"``.

    Returns:
        None where the network was not trained.
    """
    return metrics_of(network, part).get(metric_of(result))


def metrics_of(network: Mapping[str, Any], part: str = "test") -> dict[str, float]:
    """All metrics of a network by name; none where it was not trained.

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
