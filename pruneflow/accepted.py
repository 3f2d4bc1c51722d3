"""What the functions of the library accept: each argument is checked before any work, and refused by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.spec import Data, Part, Spec
from pruneflow.errors import ConfigError
from pruneflow.options import require
from pruneflow.runtime import backend

TFLITE_MARK = b"TFL3"  # bytes 4 to 7 of every TFLite file

__all__ = [
    "built_model",
    "data_of",
    "existing_folder",
    "new_file",
    "one_tensor",
    "path_of",
    "run_folder",
    "texts",
    "whole",
]


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
    require(
        is_whole and lowest <= int(value) <= highest,
        key,
        value,
        f"allowed are whole numbers from {lowest} to {highest}",
        remedy,
    )
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
    """Where a TFLite file goes: in a folder that is there, over nothing else than an older one."""
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
        require(
            _is_finite(values),
            "model",
            model.name,
            f"its weight {weight.name} has NaN or infinity",
            "Train it anew, with a lower learning rate.",
        )


def _is_finite(values: npt.NDArray[Any]) -> bool:
    with np.errstate(over="ignore"):  # of float64 above the largest float32
        return values.dtype.kind in "biu" or bool(np.isfinite(values.astype(np.float32, copy=False)).all())


def one_tensor(what: str, model: Any) -> None:
    """Refuse a model whose input or output is not one tensor."""
    tensors = getattr(model, f"{what}s") or []  # None of a subclassed model
    given = getattr(model, what) if tensors else None
    lies = f"its {what} lies in a {type(given).__name__}"
    require(
        len(tensors) == 1 and not isinstance(given, (dict, list, tuple)),
        "model",
        model.name,
        lies if len(tensors) == 1 else f"it has {len(tensors) or 'no known'} {what}s",
        f"Let it have one {what}, connected by its tensor: keras.Model(inputs, outputs).",
    )


def data_of(model: Any, examples: Any) -> Data:
    """Inputs as data, which is what conversion and proof take."""
    shape, dtype = tuple(model.input_shape[1:]), np.dtype(model.inputs[0].dtype.as_numpy_dtype)
    tokens = np.issubdtype(dtype, np.integer)
    if examples is None:
        problem = f"the model reads {shape}, any size where None stands"
        require(
            None not in shape, "examples", None, problem, "Give inputs of the size that the file is to read."
        )
        draw = np.random.default_rng(0)
        examples = np.zeros((8, *shape)) if tokens else draw.normal(size=(32, *shape))
    x = _numbers(examples, tokens=tokens)
    fits = x.ndim == len(shape) + 1 and all(a in (None, b) for a, b in zip(shape, x.shape[1:], strict=True))
    require(
        fits and x.size > 0,
        "examples",
        f"an array of {x.shape}",
        f"the model reads {shape}",
        "Give (n, ...) inputs as the model reads them.",
    )
    spec = Spec(
        kind="tokens" if tokens else "numbers", shape=x.shape[1:], classes=int(model.output_shape[-1] or 1)
    )
    part = Part(x, np.zeros(len(x), np.int64))
    return Data("examples", spec, part, part, part, source="", note="", digest="")


def _numbers(examples: Any, *, tokens: bool) -> npt.NDArray[Any]:
    """Examples as the model reads them: finite, and whole numbers where they are token ids."""
    remedy = "Give (n, ...) inputs as the model reads them."
    try:
        given = np.asarray(examples)
    except (TypeError, ValueError, RecursionError) as error:  # rows of several lengths, among others
        raise ConfigError.of("examples", type(examples).__name__, f"no array: {error}", remedy) from error
    what = f"an array of {given.dtype}"
    require(given.dtype.kind in "biuf", "examples", what, "allowed are numbers", remedy)
    with np.errstate(over="ignore", invalid="ignore"):
        x = given.astype(np.int32 if tokens else np.float32)
    require(bool(np.isfinite(given).all()), "examples", what, "it has NaN or infinity", "Leave them out.")
    require(bool(np.isfinite(x).all()), "examples", what, "it has numbers above 3.4e38", "Scale them.")
    exact = not tokens or bool((x == given).all())
    require(exact, "examples", what, "the model reads token ids, which are whole numbers", remedy)
    return x
