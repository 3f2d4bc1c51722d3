"""The range of the pixels that a network reads, by the layers that it begins with."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.runtime import backend

Array = npt.NDArray[np.float64]
Span = tuple[float, float]

UNIT: Span = (0.0, 1.0)  # what the data give pixels in
USUAL: tuple[Span, ...] = (UNIT, (-1.0, 1.0), (0.0, 255.0))
LARGE = 10.0  # no number by which values in [0, 1] are divided, or that is taken off them
NARROW = 0.5  # below it 0 to 255 was divided by too much
ROUNDED = 0.01  # of a range, by which its ends may be off, as by 1 / 256 in place of 1 / 255


@dataclass(frozen=True)
class Said:
    """The statement of a network, by the first layer that changes values, on the pixels that it reads.

    Attributes:
        span: Lowest and highest value of a pixel; None where they are other than 0 and 1, and not known.
    """

    layer: str
    span: Span | None


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


def pixels_said(model: Any) -> Said | None:
    """Return what a network says of its pixels; None where it says nothing.

    A ``Rescaling`` says it by what it makes of the usual ranges, an adapted ``Normalization`` by its mean and
    variance, and operations as those of ``preprocess_input`` by dividing by a large number or taking one off;
    also behind layers that move pixels only, such as those that augment images, and inside of models in the
    model.

    Args:
        model: A functional or sequential ``tf_keras.Model`` with one input.
    """
    return _looked_through(model)[0]


def in_words(span: Sequence[float]) -> str:
    """Return a range as in ``from 0 to 255``."""
    return f"from {span[0]:g} to {span[1]:g}"


def _looked_through(model: Any) -> tuple[Said | None, bool]:
    """Return what it says, and whether what it gives are the same pixels still."""
    pixels = {id(model.inputs[0])}
    for layer in model.layers:  # in the order in which they are computed
        for node in layer._inbound_nodes:
            inputs = node.keras_inputs
            if not inputs or any(id(tensor) not in pixels for tensor in inputs):
                continue
            inner = isinstance(layer, backend.keras().Model) and bool(getattr(layer, "layers", None))
            said, keeps = _looked_through(layer) if inner and layer.inputs else _does(layer, node)
            if said:
                return said, False
            if keeps:
                pixels |= {id(tensor) for tensor in backend.tensorflow().nest.flatten(node.outputs)}
    return None, id(model.outputs[0]) in pixels


def _does(layer: Any, node: Any) -> tuple[Said | None, bool]:
    kind = type(layer).__name__
    if kind == "Rescaling":
        return _rescales(layer.name, *_arrays(layer.scale, layer.offset))
    if kind == "Normalization" and not layer.invert:
        return _normalizes(layer.name, *_arrays(layer.mean, layer.variance))
    if kind == "TFOpLambda":
        sizes = [_largest(each) for each in _constants(node)]
        shrinks, keeps = _operates(str(layer.get_config()["function"]), sizes)
        return (Said(layer.name, USUAL[-1]) if shrinks else None), keeps
    return None, kind in KEEPING


def _rescales(name: str, scale: Array, offset: Array) -> tuple[Said | None, bool]:
    """The usual range that becomes another one says it; that of 0 to 1, where several do."""
    if (scale == 1).all() and (offset == 0).all():
        return None, True
    for span in USUAL:
        low, high = (end * scale + offset for end in span)
        if any(_are(low, high, other) for other in USUAL if other != span):
            return Said(name, span), False
    large = _largest(scale) < 1 / LARGE
    known = large and _largest(scale) * USUAL[-1][1] >= NARROW
    return (Said(name, USUAL[-1] if known else None) if large else None), False


def _are(low: Array, high: Array, span: Span) -> bool:
    allowed = ROUNDED * (span[1] - span[0])
    return _largest(low - span[0]) <= allowed and _largest(high - span[1]) <= allowed


def _normalizes(name: str, mean: Array, variance: Array) -> tuple[Said | None, bool]:
    """The smallest usual range in which values can have that mean and that variance.

    Of values from a to b with mean m, the variance is at most (b - m)(m - a) (Bhatia and Davis, 2000).
    """
    if (mean == 0).all() and (variance == 1).all():  # not adapted
        return None, True
    large = max(_largest(mean), math.sqrt(_largest(variance))) > LARGE
    for low, high in USUAL if large else USUAL[:-1]:
        most = (high - mean) * (mean - low)
        if ((low <= mean) & (mean <= high) & (variance <= most * (1 + ROUNDED))).all():
            return Said(name, (low, high)), False
    return (Said(name, None) if large else None), False


def _operates(function: str, constants: list[float]) -> tuple[bool, bool]:
    """Return whether it divides by a large number or takes one off, and whether it gives pixels still."""
    name = function.rsplit(".", maxsplit=1)[-1]
    if name in ("multiply", "mul"):
        return any(0 < size < 1 / LARGE for size in constants), False
    if name in ("truediv", "divide", "div", "subtract", "sub", "add", "bias_add"):
        return any(size > LARGE for size in constants), False
    return False, name in KEEPING_FUNCTIONS or function.startswith("image.")


def _arrays(*values: Any) -> list[Array]:
    return [np.asarray(each, np.float64) for each in values]


def _constants(node: Any) -> Iterator[Any]:
    """Numbers that an operation is given beside tensors of Keras."""
    for value in backend.tensorflow().nest.flatten([node.call_args, node.call_kwargs]):
        number = isinstance(value, (int, float, np.ndarray)) and not isinstance(value, bool)
        if number or hasattr(value, "numpy"):
            yield value


def _largest(values: Any) -> float:
    return float(np.abs(np.asarray(values, np.float64)).max())
