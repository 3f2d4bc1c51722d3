"""The settings ``quantization_aware``, and networks that round as int8 does while they are trained."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pruneflow.options import at_most, require, require_number, whole_from
from pruneflow.runtime import backend
from pruneflow.sparsity.kernels import variables

KEY = "quantization_aware.epochs"
PREFIX = "quant_"  # of the names of layers that tfmot wraps


@dataclass(kw_only=True)
class QuantizationAware:
    """Training after all pruning, with weights and activations rounded as an int8 file rounds them."""

    epochs: int = at_most(1_000_000)

    def __post_init__(self) -> None:
        require_number(KEY, self.epochs, whole_from(0), "0 leaves it out.")

    def check_exports(self, option: str, kinds: Collection[str], *, layers: Collection[str]) -> None:
        """Refuse files other than int8 in every layer."""
        fits = {*kinds} == {"int8"} and "*" in layers
        problem = f"it trains for a file that is int8 in every layer, and export={option} makes another one"
        remedy = f"Take export=int8 with all layers, or {KEY}=0."
        require(not self.epochs or fits, KEY, self.epochs, problem, remedy)


def not_taken(model: Any) -> list[str]:
    """Return the layers that tfmot has no quantization for, such as ``"lstm (LSTM)"``.

    Args:
        model: A built ``tf_keras.Model``.
    """
    taken = backend.tfmot().quantization.keras.default_8bit.Default8BitQuantizeRegistry().supports
    layers, made_of_layers = backend.keras().layers, backend.keras().Model
    known = (layers.InputLayer, layers.BatchNormalization)  # tried: the latter after a convolution
    return [
        f"{each.name} ({type(each).__name__})"
        for each in model.layers
        if isinstance(each, made_of_layers) or not (isinstance(each, known) or taken(each))
    ]


def fake_quantized(model: Any) -> Any:
    """Wrap a copy of a network as tfmot does: it reads and gives floats, and rounds as int8 on the way.

    Args:
        model: A built functional or sequential ``tf_keras.Model`` in float32; it is left as it is.
    """
    keras = backend.tfmot().quantization.keras
    with backend.float32():
        wrapped = keras.quantize_apply(keras.quantize_annotate_model(model))
    for name, variable in inner_weights(model, wrapped).items():
        variable.assign(variables(model)[name])
    return wrapped


def inner_weights(model: Any, wrapped: Any) -> dict[str, Any]:
    """Return the variables of a wrapped network by the names that they have in the network, ``layer/weight``.

    Args:
        wrapped: What `fake_quantized` made of it.

    Raises:
        KeyError: if tfmot replaced a layer by others.
    """
    inside = variables(wrapped)
    return {name: inside[name if name in inside else f"{PREFIX}{name}"] for name in variables(model)}


def keep_zeros(model: Any, variables: Collection[Any]) -> None:
    """Have each training step end with zeros where there are zeros now.

    Args:
        model: A built model of Keras 2, which is not compiled yet.
        variables: Some of its weights.
    """
    tf = backend.tensorflow()
    masks = [(each, tf.not_equal(each, 0)) for each in variables]
    own = model.train_step

    def train_step(batch: Any) -> Any:
        logs = own(batch)
        for variable, kept in masks:
            variable.assign(tf.where(kept, variable, tf.zeros_like(variable)))  # no zero gets a sign
        return logs

    model.train_step = train_step
