"""The description of layers in a file, read as data: nothing in it is made before all of its names are known.

Keras makes an object from each ``class_name`` in a description. It imports any module that the description
names, and unmarshals code that lies in it. So each name is first looked up in lists of what only computes.
"""

import json
import re
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pruneflow.errors import PruneflowError
from pruneflow.models.brought import wrapper_of_tfmot
from pruneflow.runtime import backend

CONFIG = "config.json"
REMEDY = "Build it in a function, and name that with model=custom."
ROOTS = ("Functional", "Model", "Sequential")
# Layers of Keras that run what a description holds, or read files that it names.
UNSAFE = ("Lambda", "__lambda__", "TFSMLayer", "StringLookup", "IntegerLookup", "TextVectorization")
OPERATIONS = ("TFOpLambda", "SlicingOpLambda")
STRUCTURE = (
    *("TensorShape", "InputSpec", "Policy"),
    *("__tuple__", "__ellipsis__", "__bytes__", "__numpy__", "__tensor__"),
)
OWN = re.compile(r"(tf_)?keras(\.[\w.]+)?|builtins")

# Operations of TensorFlow that only compute: those of some of its modules, and some by name. Others write or
# read files, call Python or print, and any of those can be named in a description.
_MODULES = re.compile(r"(__operators__|bitwise|dtypes|image|linalg|math|nn|quantization|signal)\.\w+")
_NOT_OF_THEM = re.compile(r".*(sampler|nce_loss|sampled)")  # some read a vocabulary from a file
_OPERATIONS = re.compile(
    r"(keras\.(backend|activations|losses)\.)?("
    r"abs|acos|acosh|add|add_n|all|any|argmax|argmin|argsort|asin|asinh|atan|atan2|atanh|batch_dot|"
    r"batch_flatten|batch_normalization|batch_to_space|bias_add|binary_crossentropy|boolean_mask|broadcast_to|"
    r"cast|cast_to_floatx|categorical_crossentropy|clip|clip_by_norm|clip_by_value|complex|concat|concatenate|"
    r"constant|conv[123]d|conv2d_transpose|convert_to_tensor|cos|cosh|cosine_similarity|cumprod|cumsum|"
    r"depthwise_conv2d|divide|dot|dropout|dynamic_partition|dynamic_stitch|einsum|elu|ensure_shape|equal|exp|"
    r"expand_dims|exponential|eye|fill|flatten|floor|gather|gather_nd|gelu|greater|greater_equal|"
    r"hard_sigmoid|identity|l2_normalize|less|less_equal|linear|linspace|log|logical_(and|not|or)|matmul|max|"
    r"maximum|mean|mean_absolute_error|mean_squared_error|meshgrid|min|minimum|mish|multiply|negative|norm|"
    r"not_equal|one_hot|ones|ones_like|pad|permute_dimensions|pool[23]d|pow|prod|range|rank|realdiv|reduce_\w+|"
    r"relu|repeat|repeat_elements|reshape|resize_images|reverse|roll|round|saturate_cast|scalar_mul|scatter_nd|"
    r"searchsorted|selu|separable_conv2d|sequence_mask|shape|sigmoid|sign|sin|sinh|size|slice|softmax|softplus|"
    r"softsign|sort|space_to_batch(_nd)?|spatial_2d_padding|split|sqrt|square|squeeze|stack|std|stop_gradient|"
    r"strided_slice|subtract|sum|swish|tan|tanh|temporal_padding|tensor_scatter_nd_\w+|tensordot|tile|transpose|"
    r"truediv|unique|unstack|where|zeros|zeros_like)"
)


def description_in(path: Path) -> dict[str, Any]:
    """Read the layers that a file describes, without what the network was compiled with.

    Args:
        path: A ``.keras`` or ``.h5`` file, or the folder of a SavedModel.

    Returns:
        ``class_name`` and ``config``, as JSON has them.
    """
    if path.is_dir():
        found = _of_saved_model(path)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            found = json.loads(archive.read(CONFIG))
    else:
        found = _of_hdf5(path)
    kind = found["class_name"]
    if kind not in ROOTS and not _is_registered(str(kind), found) and not wrapper_of_tfmot([str(kind)]):
        raise PruneflowError(
            f"{path} holds a subclassed model ({kind}), whose layers are not known. {REMEDY}"
        )
    return {"class_name": kind, "config": _uncompiled(found["config"])}


def require_harmless(description: Any, path: Path) -> None:
    """Refuse a description that names more than layers which only compute."""
    for layer, found in objects_in(description):
        kind = str(found["class_name"])
        if wrapped := wrapper_of_tfmot([kind]):
            raise PruneflowError(f"{path}: {wrapped[0]}. {wrapped[1]}")
        if problem := _problem(kind, found):
            raise PruneflowError(f"{path}: layer {layer or kind} {problem}. {REMEDY}")


def _problem(kind: str, found: dict[str, Any]) -> str:
    if kind in UNSAFE:
        return f"({kind}) runs code or reads files, as the file says; nothing in a file is run"
    if kind in OPERATIONS:
        name = str(found["config"]["function"])
        return "" if _only_computes(name) else f"runs the operation {name}, which does not only compute"
    names, known = {kind}, _kinds()
    if kind == "function":
        names, known = {str(found.get("config")), str(found.get("registered_name") or kind)}, _functions()
    is_own = found.get("module") is None or OWN.fullmatch(str(found["module"]))
    if _is_registered(kind, found) or (is_own and names <= known):
        return ""
    return (
        f"has {' and '.join(sorted(names - {'function'}))}, which is neither of Keras nor registered with it"
    )


def _only_computes(name: str) -> bool:
    name = name.removeprefix("compat.v1.")
    whole = _MODULES.fullmatch(name) or _OPERATIONS.fullmatch(name)
    return bool(whole and not _NOT_OF_THEM.fullmatch(name))


def _is_registered(kind: str, found: dict[str, Any]) -> bool:
    """Return whether code of this process has registered the class or function with Keras."""
    if kind == "function":
        return backend.keras().saving.get_registered_object(str(found.get("config"))) is not None
    held = backend.keras().saving.get_registered_object(str(found.get("registered_name") or kind))
    return getattr(held, "__name__", None) == kind or (held is not None and "registered_name" not in found)


@cache
def _kinds() -> frozenset[str]:
    keras = backend.keras()
    layers = keras.layers, keras.layers.experimental, keras.layers.experimental.preprocessing
    places = *layers, keras.initializers, keras.regularizers, keras.constraints
    named = {name for place in places for name, held in vars(place).items() if isinstance(held, type)}
    return frozenset(named | {*ROOTS, *STRUCTURE, "BatchNormalizationV1", "BatchNormalizationV2"})


@cache
def _functions() -> frozenset[str]:
    named = {name for name, held in vars(backend.keras().activations).items() if callable(held)}
    return frozenset({"function", *named} - {"get", "serialize", "deserialize"})


def objects_in(value: Any, layer: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object in a description, the outer ones first, with the name of its layer."""
    if isinstance(value, dict):
        if "class_name" in value:
            config = value.get("config")
            layer = str(config.get("name") or layer) if isinstance(config, dict) else layer
            yield layer, value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from objects_in(each, layer)


def _uncompiled(described: Any) -> Any:
    """The same without losses, metrics and optimizers, of networks in the network too."""
    if isinstance(described, list):
        return [_uncompiled(each) for each in described]
    if not isinstance(described, dict):
        return described
    return {key: _uncompiled(each) for key, each in described.items() if key != "compile_config"}


def _of_hdf5(path: Path) -> Any:
    import h5py  # type: ignore[import-untyped]

    with h5py.File(path) as file:
        return json.loads(file.attrs["model_config"])


def _of_saved_model(path: Path) -> Any:
    """Read Keras' description beside the graph, which is never loaded: its operations could write files."""
    metadata = backend.keras().protobuf.saved_metadata_pb2.SavedMetadata
    root = json.loads(metadata.FromString((path / "keras_metadata.pb").read_bytes()).nodes[0].metadata)
    found = root.get("model_config") or root
    if found["class_name"] not in ROOTS and root.get("is_graph_network"):
        return {**found, "class_name": "Functional"}  # a class of its own around plain layers
    return found


def in_float32(described: Any) -> Any:
    """Return the same description of layers, those of mixed precision in float32: exports start from it."""
    if isinstance(described, list):
        return [in_float32(each) for each in described]
    if not isinstance(described, dict):
        return described
    return {
        key: "float32" if key == "dtype" and _is_mixed(value) else in_float32(value)
        for key, value in described.items()
    }


def _is_mixed(dtype: Any) -> bool:
    name = dtype.get("config", {}).get("name", "") if isinstance(dtype, dict) else dtype
    return str(name).startswith("mixed_")
