"""The one adapter to tfmot: which layers are pruned, wrapping them, stripping the wrappers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from pruneflow import backend
from pruneflow.errors import ConfigError
from pruneflow.options import require
from pruneflow.sparsity.measure import WeightSparsity, count_zeros
from pruneflow.sparsity.schedules import Plan

__all__ = ["Pruning", "Selection", "masks", "measure", "strip", "thresholds", "weights", "wrap"]


@dataclass(kw_only=True)
class Pruning:
    """Which layers are pruned, by patterns on their names (``*``, ``?``, ``[...]``).

    Attributes:
        include: Layers to prune.
        skip: Layers to leave dense; wins over ``include``.
    """

    include: list[str]
    skip: list[str]

    def __post_init__(self) -> None:
        """Refuse an empty list of layers to prune."""
        require(
            bool(self.include),
            "pruning.include",
            self.include,
            "no layer would be pruned; allowed is a list of one or more layer-name patterns",
            'Write pruning.include=["*"] for all layers.',
        )

    def select(self, model: Any) -> Selection:
        """Sort the layers of ``model`` into those to prune and those to leave, with the reason.

        Raises:
            ConfigError: if a pattern matches no layer, or nothing is left to prune.
        """
        self._require_matches([layer.name for layer in model.layers])
        pruned, left = [], {}
        for layer in model.layers:
            reason = self._reason_to_leave(layer)
            if reason:
                left[layer.name] = reason
            else:
                pruned.append(layer.name)
        if not pruned:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in left.items())
            raise ConfigError.of(
                "pruning.include", self.include, f"no layer is left to prune ({reasons})", "Widen it."
            )
        return Selection(tuple(pruned), left)

    def _require_matches(self, names: list[str]) -> None:
        for key in ("include", "skip"):
            for pattern in getattr(self, key):
                require(
                    any(fnmatchcase(name, pattern) for name in names),
                    f"pruning.{key}",
                    pattern,
                    f"it matches no layer; the layers are {', '.join(names)}",
                    "Patterns are file-name patterns, such as dense*.",
                )

    def _reason_to_leave(self, layer: Any) -> str:
        if not layer.weights:
            return "has no weights"
        reason = _unsupported(layer)
        if reason:
            return reason
        for pattern in self.skip:
            if fnmatchcase(layer.name, pattern):
                return f"pruning.skip={pattern}"
        if not any(fnmatchcase(layer.name, pattern) for pattern in self.include):
            return "not in pruning.include"
        return ""


@dataclass(frozen=True)
class Selection:
    """Layers of one model.

    Attributes:
        pruned: Names of the layers to prune.
        left: Name of each other layer, and why it is left as it is.
    """

    pruned: tuple[str, ...]
    left: dict[str, str]


def wrap(model: Any, plan: Plan, pruned: Sequence[str]) -> Any:
    """Copy ``model`` with the layers in ``pruned`` wrapped by tfmot's ``prune_low_magnitude``.

    Args:
        model: A built functional ``tf_keras.Model``; it is not changed, its weights are copied.
        plan: When masks change and to which sparsity.
        pruned: Names of layers to wrap.

    Returns:
        A ``tf_keras.Model`` that needs the ``UpdatePruningStep`` callback in ``fit``.
    """
    schedule = _planned_schedule(plan)

    def clone(layer: Any) -> Any:
        copy = layer.__class__.from_config(layer.get_config())
        if layer.name not in pruned:
            return copy
        wrapper = backend.tfmot().sparsity.keras.prune_low_magnitude(
            copy, pruning_schedule=schedule, dtype=copy.dtype_policy
        )
        return _masking_in_full_precision(wrapper)

    wrapped = backend.keras().models.clone_model(model, clone_function=clone)
    for layer, copy in zip(model.layers, wrapped.layers, strict=True):
        copy.set_weights(layer.get_weights())
    return wrapped


def strip(wrapped: Any, into: Any) -> Any:
    """Move the weights of a wrapped model, masks applied, into a plain one.

    Args:
        wrapped: What ``wrap`` returned, trained.
        into: A freshly built model of the same network; its weights are overwritten.

    Returns:
        ``into``, which knows nothing of tfmot.
    """
    for layer in _wrappers(wrapped):
        layer.pruning_obj.weight_mask_op()
    stripped = backend.tfmot().sparsity.keras.strip_pruning(wrapped)
    into.set_weights(stripped.get_weights())
    return into


def measure(wrapped: Any, requested_sparsity: float) -> list[WeightSparsity]:
    """Count the zeros of every pruned weight, mask applied, without changing the model.

    Args:
        wrapped: What ``wrap`` returned.
        requested_sparsity: What the plan asks for at this moment, [0, 1).
    """
    measured = []
    for layer in _wrappers(wrapped):
        for weight, mask, _ in layer.pruning_vars:
            mask_values = mask.numpy()
            values = weight.numpy() * mask_values
            zeros = count_zeros(values)
            measured.append(
                WeightSparsity(
                    name=layer.layer.name,
                    weight=_weight_name(weight),
                    shape=tuple(values.shape),
                    requested_sparsity=requested_sparsity,
                    measured_sparsity=zeros / values.size,
                    zeros=zeros,
                    masked=count_zeros(mask_values),
                )
            )
    return measured


def masks(wrapped: Any) -> dict[str, Any]:
    """Mask of every pruned weight, by ``layer/weight``: arrays of its shape, 1 = kept."""
    return {
        f"{layer.layer.name}/{_weight_name(weight)}": mask.numpy()
        for layer in _wrappers(wrapped)
        for weight, mask, _ in layer.pruning_vars
    }


def weights(model: Any) -> dict[str, Any]:
    """Every weight of a plain model, by ``layer/weight``, as arrays; names as ``masks`` gives them."""
    return {
        f"{layer.name}/{_weight_name(variable)}": variable.numpy()
        for layer in model.layers
        for variable in layer.weights
    }


def thresholds(wrapped: Any) -> dict[str, float]:
    """Magnitude below which weights were masked at the last update, by ``layer/weight``."""
    return {
        f"{layer.layer.name}/{_weight_name(weight)}": float(threshold.numpy())
        for layer in _wrappers(wrapped)
        for weight, _, threshold in layer.pruning_vars
    }


def _wrappers(model: Any) -> list[Any]:
    return [layer for layer in model.layers if hasattr(layer, "pruning_vars")]


def _masking_in_full_precision(wrapper: Any) -> Any:
    """Give tfmot the variables themselves, not Keras' casting views of them.

    With mixed precision tfmot 0.8.1 multiplies weight and mask after both were cast to half precision, and
    assigns the product: at each step the weights would be rounded to half precision.
    """
    build = wrapper.build

    def build_uncast(input_shape: Any) -> None:
        build(input_shape)
        plain = [tuple(getattr(view, "_variable", view) for view in views) for views in wrapper.pruning_vars]
        wrapper.pruning_vars = wrapper.pruning_obj._pruning_vars = plain

    if wrapper.compute_dtype != wrapper.variable_dtype:
        wrapper.build = build_uncast
    return wrapper


def _weight_name(variable: Any) -> str:
    """``kernel`` for ``lstm/lstm_cell/kernel:0``."""
    return str(variable.name).rsplit("/", maxsplit=1)[-1].split(":")[0]


def _unsupported(layer: Any) -> str:
    """Why tfmot has nothing to prune in ``layer``; empty where it has."""
    registry = backend.prune_registry()
    kind = type(layer).__name__
    if not registry.supports(layer):
        return f"tfmot cannot prune {kind}"
    copy = layer.__class__.from_config(layer.get_config())
    copy.build(layer.input_shape)
    if not registry.make_prunable(copy).get_prunable_weights():
        return f"tfmot prunes no weight of {kind}"
    return ""


def _planned_schedule(plan: Plan) -> Any:
    """Make tfmot follow ``plan``: a table of its updates, so that every schedule needs one formula only."""
    tf = backend.tensorflow()
    base = backend.tfmot().sparsity.keras.PruningSchedule

    class PlannedSparsity(base):  # type: ignore[misc, valid-type]
        """Sparsity by step, looked up."""

        def __init__(self, first_step: int, frequency: int, sparsities: list[float]) -> None:
            self.first_step, self.frequency, self.sparsities = first_step, frequency, sparsities

        def __call__(self, step: Any) -> tuple[Any, Any]:
            past = tf.cast(step, tf.int64) - self.first_step
            index = past // self.frequency
            count = len(self.sparsities)
            due = (past >= 0) & (index < count) & (past % self.frequency == 0)
            table = tf.constant(np.asarray(self.sparsities, np.float32))
            return due, tf.gather(table, tf.clip_by_value(index, 0, count - 1))

        def get_config(self) -> dict[str, Any]:
            return {
                "class_name": "PlannedSparsity",
                "config": {
                    "first_step": self.first_step,
                    "frequency": self.frequency,
                    "sparsities": self.sparsities,
                },
            }

    updates = plan.updates
    return PlannedSparsity(updates.start, plan.frequency, [plan.sparsity_of_update(s) for s in updates])
