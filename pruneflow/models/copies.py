"""A copy of a model that is proved to say the same."""

from typing import Any

import numpy as np

from pruneflow.errors import ConfigError
from pruneflow.models.keras3.weights import finalize
from pruneflow.runtime import backend
from pruneflow.sparsity.kernels import keras_of

EXAMPLES = 4
REMEDY = "Build the model a second time with the same weights, and prune that one."


def copied(model: Any) -> Any:
    """Copy a model with its weights, and ask both about random examples.

    Args:
        model: A functional or sequential model of Keras 2 or 3.

    Raises:
        ConfigError: if Keras cannot copy it, or the copy gives other outputs or shares weights, as where a
            layer uses another one's weights.
    """
    keras = keras_of(model)
    try:
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
        if keras is not backend.keras():
            finalize(copy)
        answers = [_answers(each) for each in (model, copy)]
    except Exception as error:  # of any kind, as of the model's own layers
        said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ConfigError.of("copy", True, f"Keras cannot copy {model.name}: {said}", REMEDY) from error
    if {id(weight) for weight in model.weights} & {id(weight) for weight in copy.weights}:
        raise ConfigError.of("copy", True, f"the copy of {model.name} shares weights with it", REMEDY)
    if any(not np.array_equal(one, other, equal_nan=True) for one, other in zip(*answers, strict=True)):
        raise ConfigError.of("copy", True, f"the copy of {model.name} gives other outputs", REMEDY)
    return copy


def _answers(model: Any) -> list[Any]:
    rng = np.random.default_rng(0)
    tf = backend.tensorflow()
    drawn = [
        tf.cast(rng.integers(0, 2, [EXAMPLES if size is None else size for size in each.shape]), each.dtype)
        for each in model.inputs
    ]
    outputs = model(drawn[0] if len(drawn) == 1 else drawn, training=False)
    return [np.asarray(each) for each in tf.nest.flatten(outputs)]
