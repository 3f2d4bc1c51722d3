"""Arguments of the library's functions: each is checked before any work, and refused by name."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.errors import ConfigError
from pruneflow.exports.signatures import Port, Signature
from pruneflow.options import FROM_0_TO_1, require, whole_from
from pruneflow.runtime import backend

REMEDY = "Give (n, ...) inputs as the model reads them."
EXAMPLES_AT_A_TIME = 32
TFLITE_MARK = b"TFL3"  # bytes 4 to 7 of every TFLite file


def texts(key: str, value: Any, like: str) -> list[str]:
    """A list of texts; ``like`` shows one."""
    example = value if isinstance(value, str) and 0 < len(value) < 100 else like
    problem = f"it must be a list, such as ['{example}']"
    is_list = isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))
    require(is_list, key, _quoted(value), problem, f"See the documentation of {key}.")
    for index, each in enumerate(value):
        require(
            isinstance(each, str), f"{key}[{index}]", _quoted(each), "it must be text", f"Write '{like}'."
        )
    return list(value)


def _quoted(value: Any) -> Any:
    return repr(value) if isinstance(value, (str, bytes)) else value


def whole(key: str, value: Any, lowest: int, highest: int, remedy: str) -> int:
    """A whole number, of Python or NumPy."""
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    allowed = whole_from(lowest, highest)
    require(is_whole and allowed.hold(int(value)), key, value, allowed.words, remedy)
    return int(value)


def path_of(key: str, value: Any) -> Path:
    """A path that the file system can have, whether or not something is there."""
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else value
    require(
        isinstance(text, str) and text != "", key, _quoted(value), "it names no file or folder", "Name one."
    )
    try:
        Path(text).stat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # nothing is there, which may be right
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError.of(
            key, _quoted(value), f"it cannot be a path: {reason}", "Name another."
        ) from error
    return Path(text)


def existing_folder(key: str, value: Any) -> Path:
    """The folder that is named."""
    folder = path_of(key, value).absolute()
    require(folder.is_dir(), key, value, "there is no such folder", "Name one.")
    return folder


def run_folder(key: str, value: Any) -> Path:
    """A folder that is there, or that can be made below one."""
    folder = path_of(key, value)
    nearest = next(each for each in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(each))
    require(nearest.is_dir(), key, value, f"{nearest} is no folder", "Name another.")
    return folder


def new_file(key: str, value: Any) -> Path:
    """Return the path of a TFLite file: in a folder that exists, over nothing but an older file."""
    place = path_of(key, value).absolute()
    require(not place.is_dir(), key, value, "it is a folder", "Name a file, such as model.tflite.")
    require(place.parent.is_dir(), key, value, f"there is no folder {place.parent}", "Make it first.")
    if place.exists():
        problem = "there is a file that is no TFLite file, and it is not written over"
        require(_is_tflite(place), key, value, problem, "Name another, or move it away.")
    return place


def _is_tflite(file: Path) -> bool:
    if not file.is_file():  # a device or a pipe
        return False
    try:
        with file.open("rb") as content:
            return content.read(8)[4:] == TFLITE_MARK
    except OSError:
        return False


def built_model(model: Any) -> None:
    """Refuse what is no built model of Keras, and one whose weights are not all finite numbers."""
    kinds = (backend.keras().Model, backend.keras3().Model)
    require(
        isinstance(model, kinds) and model.built,
        "model",
        type(model).__module__ + "." + type(model).__qualname__,
        "it must be a built model of Keras 3 (keras.Model, tf.keras.Model) or Keras 2 (tf_keras.Model)",
        "Build it: begin with keras.Input(shape), or call it once on an example.",
    )
    for weight, values in zip(model.weights, model.get_weights(), strict=True):
        problem = f"its weight {weight.name} has NaN or infinity"
        remedy = "Train it anew, with a lower learning rate."
        require(_is_finite(values), "model", model.name, problem, remedy)


def _is_finite(values: npt.NDArray[Any]) -> bool:
    with np.errstate(over="ignore"):  # of float64 above the largest float32
        return values.dtype.kind in "biu" or bool(np.isfinite(values.astype(np.float32, copy=False)).all())


def share(key: str, value: Any, remedy: str) -> float:
    """A number from 0 to 1."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    require(is_number and FROM_0_TO_1.hold(value), key, value, FROM_0_TO_1.words, remedy)
    return float(value)


def examples_of(signature: Signature, examples: Any) -> dict[str, npt.NDArray[Any]]:
    """Examples by the names of the inputs: finite, as many of each, as the model reads them.

    Args:
        examples: An array for one input, or a list or dictionary of arrays, as ``model.predict`` takes them.
    """
    several = len(signature.inputs) > 1 or not isinstance(signature.structure, str)
    given = _by_input(signature, examples) if several else [_unwrapped(signature, examples)]
    found = {
        port.name: _of_input(port, each, f"examples of {port.name}" if several else "examples")
        for port, each in zip(signature.inputs, given, strict=True)
    }
    counts = {name: len(values) for name, values in found.items()}
    problem = "each input needs as many"
    require(len(set(counts.values())) == 1, "examples", counts, problem, "Give one of each input in a row.")
    return found


def batches_for(model: Any, examples: Any) -> list[Any]:
    """Examples in batches, as a model is called with them; it is called once.

    Args:
        model: A built model of Keras 2 or 3.
        examples: An array for one input, or a list, tuple or dictionary of arrays.

    Raises:
        ConfigError: for what holds no finite numbers, as many for each input, and what the model cannot read.
    """
    tf = backend.tensorflow()
    inputs = getattr(model, "inputs", None) or []
    several = len(inputs) > 1 or (not inputs and isinstance(examples, Mapping))
    place = _place(model) if len(inputs) == 1 else None
    if len(inputs) == 1:
        name = next(iter(place)) if isinstance(place, Mapping) else inputs[0].name
        examples = _alone(examples, name, len(inputs[0].shape))
    read = partial(_finite, key="examples")
    arrays = tf.nest.map_structure(read, examples) if several else read(examples)
    arrays = tf.nest.pack_sequence_as(place, [arrays]) if len(inputs) == 1 else arrays
    counts = {len(each) if each.ndim else 0 for each in tf.nest.flatten(arrays)}
    problem = "each input needs as many, one or more"
    require(len(counts) == 1 and min(counts) > 0, "examples", sorted(counts), problem, REMEDY)
    (count,) = counts
    batches = [
        tf.nest.map_structure(lambda each, at=at: tf.constant(each[at : at + EXAMPLES_AT_A_TIME]), arrays)
        for at in range(0, count, EXAMPLES_AT_A_TIME)
    ]
    try:
        model(batches[0], training=False)
    except Exception as error:  # of any kind, as of the model's own layers
        said = " ".join(str(error).split())[:200].rstrip(".")
        problem = f"the model cannot read them: {said}"
        raise ConfigError.of("examples", type(examples).__name__, problem, REMEDY) from error
    return batches


def _by_input(signature: Signature, examples: Any) -> list[Any]:
    """One entry for each input, in the order of the model."""
    names = [port.name for port in signature.inputs]
    if isinstance(examples, Mapping):
        flat = examples if set(names) <= set(examples) else None
        problem, remedy = f"the inputs are {', '.join(names)}", "Give an array for each."
        require(flat is not None, "examples", list(examples), problem, remedy)
        return [examples[name] for name in names]
    problem = f"the model reads {len(names)} inputs: {', '.join(names)}"
    fits = isinstance(examples, (list, tuple)) and len(examples) == len(names)
    what = f"{type(examples).__name__} of {len(examples)}" if isinstance(examples, (list, tuple)) else None
    remedy = "Give a list or dictionary of arrays, as model.predict takes it."
    require(fits, "examples", what or type(examples).__name__, problem, remedy)
    return list(examples)


def _unwrapped(signature: Signature, examples: Any) -> Any:
    """The array of one input, which may lie in a list or dictionary."""
    (port,) = signature.inputs
    return _alone(examples, port.name, len(port.shape) + 1)


def _alone(examples: Any, name: str, axes: int) -> Any:
    if isinstance(examples, Mapping) and set(examples) == {name}:
        return examples[name]
    inside = examples[0] if isinstance(examples, (list, tuple)) and len(examples) == 1 else None
    return inside if isinstance(inside, np.ndarray) and inside.ndim == axes else examples


def _place(model: Any) -> Any:
    """Return the argument of a model of one input: a tensor, or a list or dictionary of one."""
    sequential = (backend.keras().Sequential, backend.keras3().Sequential)
    return model.inputs[0] if isinstance(model, sequential) else model.input


def _of_input(port: Port, examples: Any, key: str) -> npt.NDArray[Any]:
    x = _numbers(examples, tokens=port.dtype == "int32", key=key)
    shape = port.shape
    fits = x.ndim == len(shape) + 1 and all(a in (None, b) for a, b in zip(shape, x.shape[1:], strict=True))
    problem = f"the model reads {shape}"
    require(fits and x.size > 0, key, f"an array of {x.shape}", problem, REMEDY)
    return x.astype(port.dtype, copy=False)


def _finite(examples: Any, *, key: str) -> npt.NDArray[Any]:
    """Numbers, whole ones as they are: they may be token ids."""
    x = _numbers(examples, tokens=False, key=key)
    given = np.asarray(examples)
    return given if given.dtype.kind in "iu" else x


def _numbers(examples: Any, *, tokens: bool, key: str) -> npt.NDArray[Any]:
    """Examples as the model reads them: finite, and whole numbers where they are token ids."""
    try:
        given = np.asarray(examples)
    except (TypeError, ValueError, RecursionError) as error:  # rows of several lengths, among others
        raise ConfigError.of(key, type(examples).__name__, f"no array: {error}", REMEDY) from error
    what = f"an array of {given.dtype}"
    require(given.dtype.kind in "biuf", key, what, "allowed are numbers", REMEDY)
    with np.errstate(over="ignore", invalid="ignore"):
        x = given.astype(np.int32 if tokens else np.float32)
    require(bool(np.isfinite(given).all()), key, what, "it has NaN or infinity", "Leave them out.")
    require(bool(np.isfinite(x).all()), key, what, "it has numbers above 3.4e38", "Scale them.")
    exact = not tokens or bool((x == given).all())
    require(exact, key, what, "the model reads token ids, which are whole numbers", REMEDY)
    return x
