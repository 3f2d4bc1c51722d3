"""tfmot's wrapper with masks that are decided outside of the graph: TensorFlow only multiplies by them."""

from __future__ import annotations

import inspect
from typing import Any

from pruneflow import backend

__all__ = ["Masked", "observe_gradients"]

tf: Any = backend.tensorflow()
Wrapper: Any = type(backend.tfmot().sparsity.keras.prune_low_magnitude(backend.keras().layers.Dense(1)))


class Masked(Wrapper):  # type: ignore[misc]
    """A layer whose weights are multiplied by their masks before each training step.

    tfmot's own wrapper (0.8.1) sorts all weights to find a threshold, looks at one layer at a time, and drops
    Keras' masks of padded steps. Variables and the callbacks that go with them are the same.
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
        """Add masks, thresholds and, where they are wanted, saliencies."""
        super().build(input_shape)
        if self.observed:
            self.saliencies = [
                self.add_weight(
                    "saliency", shape=weight.shape, initializer="zeros", dtype="float32", trainable=False
                )
                for weight, _, _ in self.pruning_vars
            ]

    def call(
        self, inputs: Any, *args: Any, training: bool | None = None, mask: Any = None, **kwargs: Any
    ) -> Any:
        """Call the layer; in training after its weights have been multiplied by their masks."""
        if training is None:
            training = backend.keras().backend.learning_phase()
        if training:
            self.pruning_step.assign_add(1)
            for weight, pruning_mask, _ in self.pruning_vars:
                weight.assign(weight * pruning_mask)
        given = {"training": training, "mask": mask}
        return self.layer.call(inputs, *args, **{name: given[name] for name in self._passed}, **kwargs)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Keras' mask of padded steps, as the layer gives it."""
        return self.layer.compute_mask(inputs, mask)


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
