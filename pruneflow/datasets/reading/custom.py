"""The values of a function of the user's own, as a data set."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pruneflow.datasets.reading.checks import Array, checked_labels, described, expect
from pruneflow.datasets.reading.given import Given, Labelled
from pruneflow.datasets.reading.names import listed, refuse_twins, require_every_class
from pruneflow.datasets.rows import Rows
from pruneflow.datasets.spec import Data, Part, Spec, Targets
from pruneflow.datasets.weights import checked_weights
from pruneflow.errors import DataError

EXPECTED = (
    "a pruneflow.Data, a mapping with the NumPy arrays x_train and y_train (and x_test, y_test, "
    "x_validation, y_validation, class_names, groups, groups_test, groups_validation, sample_weights where "
    "you have them), or a tuple (x_train, y_train) or ((x_train, y_train), (x_test, y_test))"
)
KEYS = (
    *("x_train", "y_train", "x_test", "y_test", "x_validation", "y_validation"),
    *("class_names", "groups", "groups_test", "groups_validation", "sample_weights"),
)
DTYPES = {"image": np.uint8, "tokens": np.int32, "numbers": np.float32, "signal": np.float32}
SHAPES = {  # of one example: how many dimensions
    "image": ((3,), "3 int"),
    "tokens": ((1,), "1 int"),
    "numbers": ((1,), "1 int (spec.kind=signal has more)"),
    "signal": (range(2, 33), "2 or more int"),
}


def given_of(where: object, value: object) -> Given:
    """Take the arrays out of what a function returned."""
    named = _mapping(where, value)
    unknown = [str(key) for key in named if key not in KEYS]
    if unknown:
        raise DataError(f"{where}: unknown keys {', '.join(unknown)}; expected {', '.join(KEYS)}.")
    names = named.pop("class_names", ())
    _check_names(where, names)
    train = _labelled(where, named, "train")
    if train is None:
        raise DataError(
            f"{where}: expected x_train and y_train, found {', '.join(named) or 'an empty mapping'}."
        )
    test, validation = (_labelled(where, named, part) for part in ("test", "validation"))
    return Given(where, train, test, validation, tuple(map(str, names)))


def check_data(where: object, data: Data) -> None:
    """Refuse data whose parts are not what their spec says."""
    spec = data.spec
    if not isinstance(spec, Spec) or not isinstance(spec.kind, str) or spec.kind not in DTYPES:
        raise DataError(
            f"{where}: spec.kind: expected {', '.join(DTYPES)}, found {getattr(spec, 'kind', spec)!r}."
        )
    _check_spec(where, spec)
    for name in ("train", "validation", "test"):
        _check_part(where, name, getattr(data, name), spec)
    _check_facts(where, data)
    if spec.targets is None:
        require_every_class(data, data.class_names or list(map(str, range(spec.classes))), where)


def _check_spec(where: object, spec: Spec) -> None:
    sizes, targets, (dimensions, shown) = spec.shape, spec.targets, SHAPES[spec.kind]
    fits = isinstance(sizes, tuple) and len(sizes) in dimensions and all(map(_is_size, sizes))
    expect(fits, where, "spec.shape", f"a tuple of {shown}, each from 1", repr(sizes))
    expect(spec.pixels is None, where, "spec.pixels", "None: pixels are given from 0 to 1", spec.pixels)
    fits = spec.kind != "tokens" or _is_size(spec.vocabulary_size)
    expect(fits, where, "spec.vocabulary_size", "an int from 1", repr(spec.vocabulary_size))
    if targets is None:
        fits = _is_size(spec.classes) and spec.classes >= 2
        expect(fits, where, "spec.classes", "an int, 2 or more", repr(spec.classes))
        return
    expect(isinstance(targets, Targets), where, "spec.targets", "pruneflow.Targets or None", repr(targets))
    fits = len(targets) > 0 and spec.classes == 0
    expect(fits, where, "spec.classes", "0, and a target or more, for numbers to predict", spec.classes)
    fits = len(targets.mean) == len(targets.scale) and all(map(_is_number, targets.mean + targets.scale))
    expect(fits, where, "spec.targets", "a finite mean and scale of each target", repr(targets))


def _is_size(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= 1


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _check_facts(where: object, data: Data) -> None:
    """Refuse what else a data set says of itself, where the results could not say it."""
    names, words, lists = data.class_names, data.vocabulary, data.standardisation
    _check_names(where, names)
    count = data.spec.classes
    fits = len(names) in (0, count)
    expect(fits, where, "class_names", f"none, or one for each of the {count} classes", listed(names))
    for name in ("source", "note"):
        text = getattr(data, name)
        expect(isinstance(text, str), where, name, "a text", repr(text))
    most = data.spec.vocabulary_size
    fits = words is None or (
        isinstance(words, dict)
        and all(isinstance(word, str) and type(id_) is int and 0 <= id_ < most for word, id_ in words.items())
    )
    expect(
        fits, where, "vocabulary", f"None, or a dict of words and their ids below {most}", "something else"
    )
    fits = lists is None or (
        isinstance(lists, dict)
        and all(
            isinstance(key, str) and isinstance(held, list) and all(map(_is_number, held))
            for key, held in lists.items()
        )
    )
    expect(fits, where, "standardisation", "None, or a dict of lists of finite numbers", repr(lists))
    left = data.left_out
    fits = isinstance(left, (tuple, list)) and all(isinstance(name, str) for name in left)
    expect(fits, where, "left_out", "a tuple of texts", repr(left))


def _check_names(where: object, names: Any) -> None:
    """Refuse names of classes that are no texts, or of which two are one."""
    fits = isinstance(names, (tuple, list, np.ndarray)) and all(isinstance(name, str) for name in names)
    expect(fits, where, "class_names", "a list of texts", repr(names))
    expect(len(set(names)) == len(names), where, "class_names", "each name once", listed(list(names)))
    refuse_twins(f"{where}: class_names", names)


def _check_part(where: object, name: str, part: Part, spec: Spec) -> None:
    expect(isinstance(part, Part), where, name, "a pruneflow.Part", type(part).__name__)
    x, y, dtype = part.x, part.y, np.dtype(DTYPES[spec.kind])
    expected = f"a NumPy array of {dtype} (n, {', '.join(map(str, spec.shape))})"
    expect(isinstance(x, (np.ndarray, Rows)), where, f"{name}.x", expected, type(x).__name__)
    fits = x.dtype == dtype and x.shape[1:] == tuple(spec.shape) and len(x) > 0
    expect(fits, where, f"{name}.x", expected, f"{x.dtype} {x.shape}")
    expect(isinstance(y, np.ndarray), where, f"{name}.y", "a NumPy array (n,)", type(y).__name__)
    _check_answers(where, f"{name}.y", part, spec)
    if part.weights is not None and name == "train":  # those of other parts are not read
        _check_weights(where, f"{name}.weights", part.weights, len(part))
    _check_values(where, f"{name}.x", x, spec)


def _check_weights(where: object, name: str, weights: Any, count: int) -> None:
    fits = isinstance(weights, np.ndarray) and weights.dtype == np.float32
    expected = f"None, or a NumPy array of float32 ({count},)"
    expect(fits, where, name, expected, getattr(weights, "dtype", type(weights).__name__))
    checked_weights(where, name, weights, count)


def _check_answers(where: object, name: str, part: Part, spec: Spec) -> None:
    y, count = part.y, len(part.x)
    if spec.targets is None:
        checked_labels(where, name, y, count=count, classes=spec.classes)
        expect(y.dtype == np.int64, where, name, "int64", described(y))
        return
    shape = (count, len(spec.targets))
    fits = y.dtype == np.float32 and y.shape == shape
    expect(fits, where, name, f"float32 {shape}, numbers to predict", described(y))
    expect(bool(np.isfinite(y).all()), where, name, "finite numbers", "NaN or infinity")


def _check_values(where: object, name: str, x: Any, spec: Spec) -> None:
    """Refuse numbers that are none, and ids beyond the vocabulary, which would read other memory."""
    if spec.is_measured:
        expect(bool(np.isfinite(x).all()), where, name, "finite numbers", "NaN or infinity")
    if spec.kind == "tokens":
        fits = int(x.min()) >= 0 and int(x.max()) < spec.vocabulary_size
        expected = f"ids from 0 to spec.vocabulary_size - 1 = {spec.vocabulary_size - 1}"
        expect(fits, where, name, expected, f"{x.min()} to {x.max()}")


def _mapping(where: object, value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {str(key): held for key, held in value.items() if held is not None}
    if isinstance(value, tuple) and 1 < len(value) <= 6:
        flat = [each for pair in value for each in (pair if isinstance(pair, tuple) else (pair,))]
        if len(flat) in (2, 4):
            return dict(zip(KEYS, flat, strict=False))
    came = type(value).__name__ + (f" of {len(value)}" if isinstance(value, tuple) else "")
    raise DataError(f"{where}: expected {EXPECTED}; it returned {came}.")


def _labelled(where: object, named: Mapping[str, Any], part: str) -> Labelled | None:
    x_name, y_name = f"x_{part}", f"y_{part}"
    beside = ["groups", "sample_weights"] if part == "train" else [f"groups_{part}"]
    found = {name: _array(where, name, named[name]) for name in (x_name, y_name, *beside) if name in named}
    if not found:
        return None
    first = next(iter(found))
    for name in (x_name, y_name):
        expect(name in found, where, name, f"to be there beside {first}", "none")
    return Labelled(found[x_name], found[y_name], (x_name, y_name), *(found.get(name) for name in beside))


def _array(where: object, name: str, value: object) -> Array:
    """Lists and other libraries' tensors become arrays; what has no number type does not."""
    try:
        array = np.asarray(value)
    except Exception as error:  # a class of the user's own can raise anything
        raise DataError(
            f"{where}: array {name}: expected a NumPy array, found {type(value).__name__}."
        ) from error
    fits = array.dtype.kind in "biufUS" and array.ndim > 0
    expect(
        fits,
        where,
        name,
        "a NumPy array of numbers, labels also of texts",
        f"{type(value).__name__} ({array.dtype})",
    )
    return array
