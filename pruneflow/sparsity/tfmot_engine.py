"""tfmot's own engine, ``pruning.engine=tfmot``: its wrappers and its arithmetic, as control and oracle."""

from typing import Any

import numpy as np

from pruneflow.errors import ConfigError
from pruneflow.runtime import backend
from pruneflow.sparsity.kernels import kernels, leaves, plain
from pruneflow.sparsity.masked import Masked, MaskedWeight
from pruneflow.sparsity.masks import MaskPlan
from pruneflow.sparsity.schedules import Plan


class Wrapped(Masked):
    """A copy of a network in tfmot's wrappers, which decide their masks and apply them themselves."""

    def __init__(self, model: Any, plan: MaskPlan, weights: tuple[MaskedWeight, ...], original: Any) -> None:
        super().__init__(model, plan, weights)
        self._original = original

    def _beside(self) -> list[Any]:
        return []  # the model knows them all

    def attach(self) -> None:
        """Leave the training step alone."""

    def update(self, step: int) -> None:
        """Leave masks to the wrappers."""

    def strip(self) -> Any:
        """Move the weights, masks applied, into the network that was copied; zeros have no sign."""
        self.apply()
        for layer, wrapped in zip(self._original.layers, self.model.layers, strict=True):
            trained = getattr(wrapped, "layer", wrapped) if hasattr(wrapped, "pruning_vars") else wrapped
            layer.set_weights([weight + np.zeros((), weight.dtype) for weight in trained.get_weights()])
        return self._original


def wrap(model: Any, plan: MaskPlan) -> Wrapped:
    """Copy ``model`` with the layers of the weights in ``plan`` in tfmot's ``PruneLowMagnitude``.

    Args:
        model: A built functional or sequential ``tf_keras.Model``; its weights are copied.
        plan: The weights, and when their masks change.

    Raises:
        ConfigError: if tfmot cannot wrap a layer, or Keras cannot copy one.
    """
    pruned = {prunable.name for prunable in plan.prunables}
    chosen = {
        n for n, layer in leaves(model) if any(f"{n}/{kernel.name}" in pruned for kernel in kernels(layer))
    }
    wrapper = _wrapper(plan.plan)

    def copied(layer: Any) -> Any:
        copy = type(layer).from_config(layer.get_config())
        return wrapper(copy) if layer.name in chosen else copy

    try:
        wrapped = backend.keras().models.clone_model(model, clone_function=copied)
        for original, copy in zip(model.layers, wrapped.layers, strict=True):
            inner = copy.layer if hasattr(copy, "pruning_vars") else copy
            inner.set_weights(original.get_weights())
        weights = {each.name: each for each in _pruned(wrapped)}
        return Wrapped(wrapped, plan, tuple(weights[p.name] for p in plan.prunables), model)
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        problem = f"tfmot cannot wrap the layers of this network: {said}"
        remedy = "Choose pruning.engine=pruneflow, or leave that layer dense with pruning.skip."
        raise ConfigError.of("pruning.engine", "tfmot", problem, remedy) from error


def _pruned(wrapped: Any) -> list[MaskedWeight]:
    """Return what tfmot prunes, under the names that kernels have."""
    return [
        MaskedWeight(layer.layer.name, f"{layer.layer.name}/{kernel.name}", weight, mask, threshold)
        for layer in wrapped.layers
        if hasattr(layer, "pruning_vars")
        for weight, mask, threshold in layer.pruning_vars
        for kernel in kernels(layer.layer)
        if kernel.variable is plain(weight)
    ]


def _wrapper(plan: Plan) -> Any:
    schedule = _planned_schedule(plan)
    wrap_layer = backend.tfmot().sparsity.keras.prune_low_magnitude

    def wrapped(layer: Any) -> Any:
        stock = wrap_layer(layer, pruning_schedule=schedule, dtype=layer.dtype_policy)
        return _masking_in_full_precision(stock)

    return wrapped


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
