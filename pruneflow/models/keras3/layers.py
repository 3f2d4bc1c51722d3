"""Layers of Keras 3 as layers of Keras 2 (tf_keras), each made from what ``get_config`` says of it."""

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

from pruneflow.errors import PruneflowError
from pruneflow.models.keras3.activations import SAME_ACTIVATIONS
from pruneflow.runtime import backend

NATIVE = "Leave it out, or prune the network as it is with pruneflow.prune."

# Layers that take the same arguments in both, but for those below.
SAME = (
    *("Dense", "EinsumDense", "Embedding", "Activation", "ActivityRegularization", "Identity", "Masking"),
    *("Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
    *("DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D"),
    *("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "LSTM", "GRU", "SimpleRNN"),
    *("LSTMCell", "GRUCell", "SimpleRNNCell", "MultiHeadAttention", "Attention", "AdditiveAttention"),
    *("BatchNormalization", "GroupNormalization", "LayerNormalization", "UnitNormalization"),
    *("Normalization", "Rescaling", "Resizing", "CenterCrop", "CategoryEncoding", "Discretization"),
    *("Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract"),
    *("AveragePooling1D", "AveragePooling2D", "AveragePooling3D"),
    *("MaxPooling1D", "MaxPooling2D", "MaxPooling3D"),
    *("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D"),
    *("GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D"),
    *("Cropping1D", "Cropping2D", "Cropping3D", "UpSampling1D", "UpSampling2D", "UpSampling3D"),
    *("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D", "Flatten", "Permute", "RepeatVector", "Reshape"),
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout"),
    *("GaussianDropout", "GaussianNoise", "ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax"),
    *("RandomBrightness", "RandomContrast", "RandomCrop", "RandomFlip", "RandomRotation"),
    *("RandomTranslation", "RandomZoom"),
)

# What Keras 2 has no argument for, and the values with which a layer does what that of Keras 2 does.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "antialias": (False,),
    "data_format": (None, "channels_last"),
    "fill_mode": ("constant",),
    "fill_value": (0.0,),
    "flash_attention": (None, False),
    "lora_alpha": (None,),
    "lora_rank": (None,),
    "pad_to_aspect_ratio": (False,),
    "quantization_config": (None,),
    "rms_scaling": (False,),
    "sliding_window": (None,),
    "use_cudnn": ("auto", False),
    "use_gate": (False,),
    "value_range": ((0, 255), [0, 255]),
    "zero_output_for_mask": (False,),
}
# Shapes that layers were built with, and seeds: the two draw other numbers from the same one.
UNREAD = ("seed", "query_shape", "key_shape", "value_shape")
RENAMED = {"LeakyReLU": {"negative_slope": "alpha"}}
RECURRENT = ("LSTM", "GRU", "LSTMCell", "GRUCell")  # whose gates can be scaled


class ConversionError(PruneflowError):
    """A network of Keras 3 that has no equal in Keras 2.

    Attributes:
        problem: What is wrong, without a final stop.
        remedy: What to do next, a sentence.
    """

    def __init__(self, problem: str, remedy: str = NATIVE) -> None:
        super().__init__(f"{problem}. {remedy}")
        self.problem, self.remedy = problem, remedy


def is_of_keras(kind: type) -> bool:
    """Return whether a class is one of Keras 3's own, and not derived from one."""
    return kind.__module__.split(".")[0] == "keras"


def shown(layer: Any) -> str:
    """Return how messages call a layer or an operation: its name and its class."""
    return f"layer {layer.name} ({type(layer).__name__})"


def made(kind: str, config: Mapping[str, Any]) -> Any:
    """Make the layer of Keras 2 that does what one of Keras 3 does.

    Args:
        kind: Name of its class, such as ``"Dense"``.
        config: What its ``get_config`` says.

    Returns:
        A layer of tf_keras without weights yet.
    """
    label = f"layer {config.get('name', kind)} ({kind})"
    if kind in WRAPPERS:
        return WRAPPERS[kind](config)
    if kind not in SAME:
        raise ConversionError(f"{label} is not in Keras 2")
    settings = {RENAMED.get(kind, {}).get(key, key): value for key, value in config.items()}
    settings = {key: _value(label, kind, key, value) for key, value in settings.items()}
    return _constructed(label, kind, settings)


def activation_of(given: Any) -> tuple[str, Mapping[str, Any]]:
    """Return the name of an activation, and its settings where it is a layer.

    Args:
        given: As in a config: a name, None, or what Keras says of a function or a layer.
    """
    if not isinstance(given, Mapping):
        return str(given or "linear"), {}
    if given["class_name"] == "function":
        return str(given["config"]), {}
    return str(given["class_name"]), dict(given["config"])


def without_activation(config: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Take the last activation off the config of a layer.

    Returns:
        The config with a linear one, also of a layer in a ``TimeDistributed``, and the activation; None where
        it is linear.
    """
    inner = config.get("layer")
    if isinstance(inner, Mapping):
        bare, activation = without_activation(inner["config"])
        return {**config, "layer": {**inner, "config": bare}}, activation
    activation = config.get("activation")
    return ({**config, "activation": "linear"}, activation) if activation else (dict(config), None)


def _constructed(label: str, kind: str, settings: dict[str, Any]) -> Any:
    cls = getattr(backend.keras().layers, kind)
    known = _arguments(cls)
    for key in [each for each in settings if each not in known]:
        value = settings.pop(key)
        if key not in UNREAD and value not in NEUTRAL.get(key, ()):
            raise ConversionError(f"{label} has {key}={value!r}, which Keras 2 does not know")
    try:
        return cls(**settings)
    except (TypeError, ValueError) as error:
        said = " ".join(str(error).split())
        raise ConversionError(f"{label} cannot be made in Keras 2: {said}") from error


@cache
def _arguments(cls: type) -> frozenset[str]:
    """The keyword arguments that a class of Keras 2 names."""
    found = {"name", "trainable", "dtype", "activity_regularizer"}
    if issubclass(cls, backend.keras().layers.RNN):
        found.add("zero_output_for_mask")  # taken without being named
    for each in cls.__mro__:
        if "__init__" in vars(each):
            given = inspect.signature(vars(each)["__init__"]).parameters.values()
            found |= {one.name for one in given if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    return frozenset(found - {"self", "layer"})


def _value(label: str, kind: str, key: str, value: Any) -> Any:
    if key == "dtype":
        return _dtype(label, value)
    if key in ("activation", "recurrent_activation"):
        return _activation(label, kind, key, value)
    if not isinstance(value, Mapping):
        return value
    if key.endswith("_initializer"):
        return _initializer(value)
    places = {"_regularizer": "regularizers", "_constraint": "constraints"}
    place = next((place for ending, place in places.items() if key.endswith(ending)), None)
    cls = (
        getattr(getattr(backend.keras(), place or ""), str(value.get("class_name")), None) if place else None
    )
    if cls is None or not str(value.get("module", "keras")).startswith("keras"):
        raise ConversionError(
            f"{label} has {key}={value.get('class_name', value)}, which Keras 2 does not know"
        )
    return cls(**value["config"])


def _dtype(label: str, value: Any) -> str:
    name = value.get("config", {}).get("name", "") if isinstance(value, Mapping) else str(value or "float32")
    if name != "float32" and not name.startswith(("int", "uint", "bool")):
        raise ConversionError(f"{label} computes in {name or value}", "Build it in float32.")
    return str(name)


def _activation(label: str, kind: str, key: str, value: Any) -> str:
    name, _ = activation_of(value)
    scaled = key == "recurrent_activation" and name == "hard_sigmoid" and kind in RECURRENT
    if name not in SAME_ACTIVATIONS and not scaled:
        raise ConversionError(f"{label} has {key}={name}, which Keras 2 has no equal of in that place")
    return SAME_ACTIVATIONS.get(name, name)


def _initializer(value: Mapping[str, Any]) -> Any:
    """The same initializer; zeros for one that Keras 2 lacks, since weights are set afterwards."""
    cls = getattr(backend.keras().initializers, str(value.get("class_name")), None)
    if cls is None:
        return "zeros"
    known = inspect.signature(cls.__init__).parameters
    return cls(**{key: each for key, each in value["config"].items() if key in known})


def _bidirectional(config: Mapping[str, Any]) -> Any:
    forward, backward = config["layer"], config["backward_layer"]
    layers = {"layer": _unprefixed(forward, "forward_"), "backward_layer": _unprefixed(backward, "backward_")}
    return backend.keras().layers.Bidirectional(
        layers["layer"],
        merge_mode=config["merge_mode"],
        backward_layer=layers["backward_layer"],
        name=config["name"],
        trainable=config.get("trainable", True),
    )


def _unprefixed(described: Mapping[str, Any], prefix: str) -> Any:
    """One direction; Keras 2 puts the prefix before its name itself."""
    config = {**described["config"], "name": str(described["config"]["name"]).removeprefix(prefix)}
    return made(str(described["class_name"]), config)


def _time_distributed(config: Mapping[str, Any]) -> Any:
    inner = config["layer"]
    layer = made(str(inner["class_name"]), inner["config"])
    return backend.keras().layers.TimeDistributed(
        layer, name=config["name"], trainable=config.get("trainable", True)
    )


def _rnn(config: Mapping[str, Any]) -> Any:
    cell = made(str(config["cell"]["class_name"]), config["cell"]["config"])
    settings = {key: value for key, value in config.items() if key != "cell"}
    label = f"layer {config['name']} (RNN)"
    settings = {key: _value(label, "RNN", key, value) for key, value in settings.items()}
    return _constructed(label, "RNN", {**settings, "cell": cell})


def _stacked(config: Mapping[str, Any]) -> Any:
    cells = [made(str(each["class_name"]), each["config"]) for each in config["cells"]]
    return backend.keras().layers.StackedRNNCells(cells, name=config["name"])


WRAPPERS = {
    "Bidirectional": _bidirectional,
    "RNN": _rnn,
    "StackedRNNCells": _stacked,
    "TimeDistributed": _time_distributed,
}
