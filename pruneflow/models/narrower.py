"""A narrower network of the same kind, with a share of the parameters."""

from dataclasses import replace
from typing import Any

from pruneflow.datasets.spec import Spec
from pruneflow.models.base import Model

HALVINGS = 40


def narrower(model: Model, spec: Spec, share: float) -> Model:
    """Return the network whose layers are all narrower by one factor, with the nearest number of parameters.

    Widths are whole numbers from 1, so that the share is met about.

    Args:
        model: A network with `Model.widths`.
        share: Of the parameters of ``model``, (0, 1].
    """
    wanted = share * model.parameters(spec)
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if _scaled(model, middle).parameters(spec) > wanted:
            high = middle
        else:
            low = middle
    both = _scaled(model, low), _scaled(model, high)
    return min(both, key=lambda each: abs(each.parameters(spec) - wanted))


def widths_of(model: Model) -> str:
    """Return the widths of a network in words, such as ``filters=[8, 16], dense_units=[64]``."""
    return ", ".join(f"{key}={getattr(model, key)}" for key in model.widths if getattr(model, key))


def _scaled(model: Model, factor: float) -> Model:
    return replace(model, **{key: _times(getattr(model, key), factor) for key in model.widths})


def _times(widths: Any, factor: float) -> Any:
    """Return a width, or a list of them, times a factor, at least 1."""
    if isinstance(widths, int):
        return max(1, round(widths * factor))
    return [_times(width, factor) for width in widths]
