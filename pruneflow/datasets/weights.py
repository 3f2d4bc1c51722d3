"""The weight of each training example in the loss: by its class, and by a weight of its own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.reading.checks import Array, described, expect
from pruneflow.datasets.reading.names import listed, unquoted
from pruneflow.datasets.spec import Data
from pruneflow.options import require

KEY = "dataset.class_weights"
BALANCED = "balanced"
MOST = 1e6
SHOWN = 20  # classes whose weights a note has
NUMBERS = f"numbers from 0 to {MOST:,.0f}, not all 0"

Floats = npt.NDArray[np.float64]


def check_class_weights(given: Any) -> None:
    """Refuse a setting ``dataset.class_weights`` that can be that of no data."""
    if given is None or (isinstance(given, str) and given == BALANCED):
        return
    problem = "allowed are balanced, {class:weight,...}, a list with a weight for each class, or null"
    remedy = f"In a shell the whole is quoted: '{KEY}={{cat:1,dog:2.5}}'."
    require(isinstance(given, (Mapping, list, tuple)), KEY, given, problem, remedy)
    values = list(given.values()) if isinstance(given, Mapping) else list(given)
    fits = all(map(_is_weight, values)) and any(values)
    require(fits, KEY, given, f"weights are {NUMBERS}", "1 counts an example once.")


def weighed(data: Data, class_weights: Any) -> Data:
    """Give each training example the weight of its class, times its own where it has one.

    Validation and test part are left alone, as figures of evaluations count each example once.

    Args:
        class_weights: None; ``"balanced"``, which is examples / (classes * examples of the class), counted
            over the training part, as scikit-learn has it; a weight for each class in the order of their
            numbers; or weights by the names of classes, 1 for those that are not named.

    Returns:
        The data with `Part.weights` of the training part, and the weights in the note; the same data where
        there are no class weights.

    Raises:
        ConfigError: if the data have no classes, or others than are named.
    """
    check_class_weights(class_weights)
    given = data.train.weights
    if class_weights is None:
        problem = "all training examples that are left after dataset.limit and the split have weight 0"
        require(given is None or bool(given.any()), "dataset.sample_weights", 0, problem, "Mend them.")
        return data
    problem = "the data set has numbers to predict, and no classes"
    require(bool(data.spec.classes), KEY, class_weights, problem, "Set it to null.")
    of_class = _of_class(data, class_weights)
    weights = of_class[data.train.y] * (1.0 if given is None else given)
    problem = "no training example would count"
    require(bool(weights.any()), KEY, class_weights, problem, "Give a class that occurs a weight above 0.")
    train = replace(data.train, weights=weights.astype(np.float32))
    note = f"{data.note} {_said(data, of_class)}".strip()
    return replace(data, train=train, note=note)


def checked_weights(where: object, name: str, weights: Array, count: int) -> npt.NDArray[np.float32]:
    """Check weights of examples.

    Args:
        weights: (count,) of any number type.
        count: Number of training examples.

    Raises:
        DataError: if there are more or fewer, or if one is negative, infinite or NaN, or all are 0.
    """
    expected = f"numbers ({count},), one for each training example"
    fits = weights.shape == (count,) and weights.dtype.kind in "biuf"
    expect(fits, where, name, expected, described(weights))
    odd = np.flatnonzero(~((weights >= 0) & (weights <= MOST)))  # NaN too
    found = f"{weights[odd[0]]} in row {odd[0]}, {len(odd):,} in all" if len(odd) else "0 in each row"
    expect(not len(odd) and bool(weights.any()), where, name, NUMBERS, found)
    return weights.astype(np.float32)


def said_of_weights(weights: Array | None) -> str:
    """Return a sentence on the weights that examples have; empty where they have none."""
    if weights is None:
        return ""
    low, high, mean = (f"{value:.4g}" for value in (weights.min(), weights.max(), weights.mean()))
    return f"The training loss counts examples by weights from {low} to {high}, {mean} on average."


def _is_weight(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= MOST


def _of_class(data: Data, given: Any) -> Floats:
    counts, names = np.bincount(data.train.y, minlength=data.spec.classes), _names(data)
    if given == BALANCED:
        occur = counts > 0
        balanced: Floats = np.where(occur, counts.sum() / (occur.sum() * np.maximum(counts, 1)), 1.0)
        return balanced
    if not isinstance(given, Mapping):
        problem = f"it has {len(given)} weights, and the data set {len(names)} classes: {listed(names)}"
        require(len(given) == len(names), KEY, given, problem, "Give one for each, in this order.")
        return np.array(given, np.float64)
    named = {str(name): float(weight) for name, weight in given.items()}
    unknown = [name for name in named if name not in names]
    problem = f"the data have no {listed(unknown)}, but {listed(names)}"
    quoted = unquoted(unknown) if data.class_names else ""
    remedy = f"{quoted}Name some of these, or give a list in this order; others have weight 1."
    require(not unknown, KEY, given, problem, remedy)
    return np.array([named.get(name, 1.0) for name in names])


def _names(data: Data) -> tuple[str, ...]:
    return tuple(data.class_names) or tuple(map(str, range(data.spec.classes)))


def _said(data: Data, of_class: Floats) -> str:
    """Name the weight of each class that occurs in the training part."""
    occur = np.unique(data.train.y).tolist()
    pairs = [f"{_names(data)[number]} {of_class[number]:.4g}" for number in occur]
    return f"The training loss counts examples by class: {listed(pairs, most=SHOWN)}."
