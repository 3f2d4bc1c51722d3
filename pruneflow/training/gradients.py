"""The gradients of a trained network that stays as it is, for criteria that rank by them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.spec import Part, Spec
from pruneflow.models.tasks import task_of
from pruneflow.runtime import backend


def saliencies(
    model: Any, part: Part, spec: Spec, variables: Mapping[str, Any], *, loss: str
) -> dict[str, npt.NDArray[np.float32]]:
    """Sum |gradient x weight| over batches, as pruning does over training steps.

    Args:
        model: A ``tf_keras.Model``; it is not changed.
        loss: Name of the loss, of `pruneflow.training.metrics.LOSSES`.
    """
    from pruneflow.datasets.batches import evaluation_batches
    from pruneflow.training import keras_metrics

    tf, cost = backend.tensorflow(), keras_metrics.loss(task_of(model, spec), loss)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def products(x: Any, y: Any) -> list[Any]:
        with tf.GradientTape() as tape:
            value = cost(y, model(x, training=False))
        found = tape.gradient(value, list(variables.values()), unconnected_gradients="zero")
        pairs = zip(found, variables.values(), strict=True)
        return [tf.abs(tf.convert_to_tensor(gradient) * weight) for gradient, weight in pairs]

    sums = {name: np.zeros(variable.shape, np.float32) for name, variable in variables.items()}
    for x, y in evaluation_batches(part, spec, batch_size=BATCH):
        for name, product in zip(sums, products(x, y), strict=True):
            sums[name] += product.numpy()
    return sums


BATCH = 100  # examples whose gradients are averaged before absolute values are taken
