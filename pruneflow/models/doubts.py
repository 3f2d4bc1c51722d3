"""Signs that a network which somebody trained elsewhere does not read the data as it was trained to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pruneflow.datasets.spec import Spec
from pruneflow.runtime import backend
from pruneflow.runtime.records import read_json, require_fits

__all__ = ["guessing", "other_words", "shrinks_pixels"]

LARGE = 10.0  # no number by which values in [0, 1] are divided, or that is taken off them
STANDARD_ERRORS = 3.0  # by which an accuracy must be above chance, not to be taken for guessing

# Layers and operations behind which pixels are still pixels.
KEEPING = {
    *("InputLayer", "SlicingOpLambda", "Concatenate", "Permute", "Reshape", "Flatten", "Dropout"),
    *("SpatialDropout2D", "GaussianNoise", "Resizing", "CenterCrop", "Cropping2D", "ZeroPadding2D"),
    *("UpSampling2D", "MaxPooling2D", "AveragePooling2D", "RandomFlip", "RandomRotation", "RandomZoom"),
    *("RandomTranslation", "RandomCrop", "RandomContrast", "RandomBrightness", "RandomHeight", "RandomWidth"),
}
KEEPING_FUNCTIONS = {
    "cast",
    "identity",
    "reshape",
    "transpose",
    "reverse",
    "concat",
    "stack",
    "clip_by_value",
}


def shrinks_pixels(model: Any) -> bool:
    """Whether a network begins by making values small, as one does that reads pixels from 0 to 255.

    It divides them by a large number or takes one off: in a ``Rescaling``, in a ``Normalization`` that is
    adapted to such pixels, or in operations as those of ``preprocess_input``; also behind layers that move
    pixels only, such as those that augment images, and inside of models in the model.

    Args:
        model: A functional or sequential ``tf_keras.Model`` with one input.
    """
    return _looked_through(model)[0]


def _looked_through(model: Any) -> tuple[bool, bool]:
    """Whether it shrinks pixels, and whether what it gives are pixels still."""
    pixels = {id(model.inputs[0])}
    for layer in model.layers:  # in the order in which they are computed
        for node in layer._inbound_nodes:
            inputs = node.keras_inputs
            if not inputs or any(id(tensor) not in pixels for tensor in inputs):
                continue
            inner = isinstance(layer, backend.keras().Model) and bool(getattr(layer, "layers", None))
            shrinks, keeps = _looked_through(layer) if inner and layer.inputs else _does(layer, node)
            if shrinks:
                return True, False
            if keeps:
                pixels |= {id(tensor) for tensor in backend.tensorflow().nest.flatten(node.outputs)}
    return False, id(model.outputs[0]) in pixels


def _does(layer: Any, node: Any) -> tuple[bool, bool]:
    kind = type(layer).__name__
    if kind == "Rescaling":
        return _largest(layer.scale) < 1 / LARGE, False
    if kind == "Normalization":
        return max(_largest(layer.mean), math.sqrt(_largest(layer.variance))) > LARGE, False
    if kind == "TFOpLambda":
        return _operates(str(layer.get_config()["function"]), [_largest(each) for each in _constants(node)])
    return False, kind in KEEPING


def _operates(function: str, constants: list[float]) -> tuple[bool, bool]:
    name = function.rsplit(".", maxsplit=1)[-1]
    if name in ("multiply", "mul"):
        return any(0 < size < 1 / LARGE for size in constants), False
    if name in ("truediv", "divide", "div", "subtract", "sub", "add", "bias_add"):
        return any(size > LARGE for size in constants), False
    return False, name in KEEPING_FUNCTIONS or function.startswith("image.")


def _constants(node: Any) -> Iterator[Any]:
    """Numbers that an operation is given beside tensors of Keras."""
    for value in backend.tensorflow().nest.flatten([node.call_args, node.call_kwargs]):
        number = isinstance(value, (int, float, np.ndarray)) and not isinstance(value, bool)
        if number or hasattr(value, "numpy"):
            yield value


def _largest(values: Any) -> float:
    return float(np.abs(np.asarray(values, np.float64)).max())


def guessing(accuracy: float, spec: Spec, examples: int) -> str:
    """A sentence where a network that came trained knows the classes no better than chance.

    Args:
        accuracy: On examples that it is to know, [0, 1].
        spec: The data.
        examples: Their number.

    Returns:
        What is likely to be wrong; empty where it is better than chance, and for numbers to predict.

    >>> guessing(0.5, Spec(kind="tokens", shape=(5,), classes=4, vocabulary_size=9), 400)
    ''
    """
    if not spec.classes or not examples:
        return ""
    chance = 1 / spec.classes
    error = math.sqrt(chance * (1 - chance) / examples)
    if accuracy > chance + STANDARD_ERRORS * error:
        return ""
    return (
        f"The network as it came gives the right one of {spec.classes} classes for {accuracy:.1%} of "
        f"{examples:,} examples; guessing gives {chance:.1%}. Likely causes: classes in another order "
        f"(dataset.class_names, where the data have it), {_MISREAD[spec.kind]}. "
        "Pruning cannot mend this; look for the cause first."
    )


_MISREAD = {
    "image": "pixels in another range (model.pixels), images that were resized or cropped in another way "
    "(dataset.height, dataset.width, dataset.resize), or colours in another order",
    "numbers": "numbers that were standardised in another way (dataset.standardise)",
    "signal": "channels that were standardised in another way (dataset.standardise)",
    "tokens": "words with other token ids (dataset.index_path, dataset.vocabulary_size, dataset.length)",
}


def other_words(file: Path, vocabulary: Mapping[str, int]) -> str:
    """Return a sentence where the vocabulary beside a network is not that of the data.

    Args:
        file: A JSON file of words and token ids, as a run leaves it.
        vocabulary: Words and token ids of the data.

    Returns:
        How many words differ, and what to do; empty where none does.
    """
    try:
        learned = read_json(file)
        require_fits(learned, dict[str, int])
    except (OSError, ValueError) as error:
        return f"{file} lies beside the network and cannot be compared with the words of the data: {error}."
    if learned == vocabulary:
        return ""
    same = sum(vocabulary.get(word) == number for word, number in learned.items())
    return (
        f"{file} lies beside the network, and the data give {same:,} of its {len(learned):,} words the same "
        f"token id. Set dataset.index_path={file}, so that the network reads the ids that it learned."
    )
