"""tfmot's wrapper with masks that are decided outside of the graph: TensorFlow only multiplies by them."""

from __future__ import annotations

import inspect
from typing import Any

from pruneflow.runtime import backend, fused

__all__ = ["Masked", "apply", "observe_gradients"]

keras: Any = backend.keras()
tf: Any = backend.tensorflow()
Wrapper: Any = type(backend.tfmot().sparsity.keras.prune_low_magnitude(keras.layers.Dense(1)))


class Masked(Wrapper):  # type: ignore[misc]
    """A layer whose weights are multiplied by their masks before each training step.

    tfmot's own wrapper (0.8.1) sorts all weights to find a threshold, looks at one layer at a time, drops
    Keras' masks of padded steps, and keeps a mask as floats. The callbacks that go with it are the same.
    """

    def __init__(self, layer: Any, *, observed: bool = False, **kwargs: Any) -> None:
        """Wrap ``layer``, which has a method ``get_prunable_weights``.

        Args:
            layer: Unbuilt.
            observed: Whether each pruned weight has a ``saliency`` beside it, to be added to at each step.
            kwargs: As any Keras layer takes.
        """
        super().__init__(layer, **kwargs)
        self.observed = observed
        self.saliencies: list[Any] = []
        self.supports_masking = layer.supports_masking
        takes = inspect.signature(layer.call).parameters
        self._passed = [name for name in ("training", "mask") if name in takes]

    def build(self, input_shape: Any) -> None:
        """Add masks, one byte per element, thresholds and, where they are wanted, saliencies."""
        keras.layers.Wrapper.build(self, input_shape)
        # With mixed precision the variables themselves are masked, not Keras' casting views of them.
        self.prunable_weights = [
            getattr(weight, "_variable", weight) for weight in self.layer.get_prunable_weights()
        ]
        self.pruning_vars = [
            (
                weight,
                self._decided("mask", weight.shape, "ones", dtype="bool"),
                self._decided("threshold", [], "zeros", dtype=weight.dtype),
            )
            for weight in self.prunable_weights
        ]
        if self.observed:
            self.saliencies = [
                self._beside("saliency", weight.shape, "zeros", dtype="float32")
                for weight in self.prunable_weights
            ]
        self.pruning_step = self._beside("pruning_step", [], keras.initializers.Constant(-1), dtype="int64")
        self.pruning_obj = _Masks(self)

    def _decided(self, name: str, shape: Any, initial: Any, *, dtype: Any) -> Any:
        """A variable that is set between two steps, on all replicas alike."""
        aggregation = tf.VariableAggregation.ONLY_FIRST_REPLICA
        return self._beside(name, shape, initial, dtype=dtype, aggregation=aggregation)

    def _beside(self, name: str, shape: Any, initial: Any, **kwargs: Any) -> Any:
        return self.add_weight(name, shape=shape, initializer=initial, trainable=False, **kwargs)

    def call(
        self, inputs: Any, *args: Any, training: bool | None = None, mask: Any = None, **kwargs: Any
    ) -> Any:
        """Call the layer; in training after its weights have been multiplied by their masks."""
        if training is None:
            training = backend.keras().backend.learning_phase()
        if training:
            self.pruning_step.assign_add(1)
            for weight, kept, _ in self.pruning_vars:
                apply(weight, kept)
        given = {"training": training, "mask": mask}
        return self.layer.call(inputs, *args, **{name: given[name] for name in self._passed}, **kwargs)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Keras' mask of padded steps, as the layer gives it."""
        return self.layer.compute_mask(inputs, mask)


class _Masks:
    """What tfmot's ``UpdatePruningStep`` asks of a wrapper."""

    def __init__(self, wrapper: Masked) -> None:
        self._wrapper = wrapper

    def weight_mask_op(self) -> None:
        """Multiply the weights by their masks."""
        for weight, kept, _ in self._wrapper.pruning_vars:
            apply(weight, kept)


def apply(weight: Any, kept: Any) -> None:
    """Multiply a variable by its mask, boolean or of numbers."""
    if kept.dtype == tf.bool and fused.suits(weight):
        fused.mask(weight, kept)
    else:
        weight.assign(weight * tf.cast(kept, weight.dtype))


def observe_gradients(model: Any) -> None:
    """Add |gradient x weight| to the saliencies at each training step of a compiled model."""
    observed = {
        id(weight): (weight, saliency)
        for layer in model._flatten_layers()
        if isinstance(layer, Masked)
        for (weight, _, _), saliency in zip(layer.pruning_vars, layer.saliencies, strict=True)
    }
    optimizer = model.optimizer
    compute_gradients = optimizer.compute_gradients

    def compute(loss: Any, variables: Any, tape: Any = None) -> Any:
        pairs = compute_gradients(loss, variables, tape)
        for gradient, variable in pairs:
            found = observed.get(id(getattr(variable, "_variable", variable)))
            if found and gradient is not None:
                weight, saliency = found
                product = tf.abs(tf.convert_to_tensor(gradient) * weight)
                # with mixed precision a step of too large a loss scale is skipped, and so it is here
                finite = tf.where(tf.math.is_finite(product), product, tf.zeros_like(product))
                saliency.assign_add(tf.cast(finite, saliency.dtype))
        return pairs

    optimizer.compute_gradients = compute
