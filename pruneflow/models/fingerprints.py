"""The identity of a network that code builds: its layers and what they do, not the name of that code."""

import inspect
import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.spec import Spec
from pruneflow.models.brought import Origin
from pruneflow.runtime import backend
from pruneflow.sparsity.kernels import leaves, named_weights

PROBES = 4  # examples of chance that it is asked about
DIGITS = 4  # of what it says, relative to the largest: the last bits differ between processors


def fingerprint(build: Callable[[], Any], spec: Spec, origin: Origin) -> dict[str, Any]:
    """Return the identity of a network that code builds; name and arguments are none, since code changes.

    It is built twice, from two seeds, and the first one is asked about a few examples of chance, as in use
    and as in training: a constant, a helper or an activation that changed shows in its answers.

    Returns:
        SHA-256 of its layers as Keras describes them, of its first weights, of its answers, and of the source
        of what in it is not Keras' own.

    Raises:
        ConfigError: if two calls give different networks, or one and the same.
    """
    first, second = (_built(build, seed) for seed in (0, 1))
    layers = [json.dumps(_described(model), sort_keys=True, default=str) for model in (first, second)]
    if layers[0] != layers[1]:
        raise origin.refused("it gives another network at each call", "Let it decide nothing by chance.")
    if {id(weight) for weight in first.weights} & {id(weight) for weight in second.weights}:
        raise origin.refused(
            "it gives one and the same network at each call, with what was trained in the one before",
            "Build the layers inside of the function.",
        )
    return {
        "layers": sha256(layers[0].encode()).hexdigest(),
        "weights": _digest(first.get_weights()),
        "answers": _digest(_answers(first, spec)),
        "code": digest_of_code(_own_classes(first)),
    }


def digest_of_code(objects: Iterable[Any]) -> str:
    """Return the SHA-256 of the source of classes and functions, in any order."""
    return sha256("\n".join(sorted({_source(each) for each in objects})).encode()).hexdigest()


def _built(build: Callable[[], Any], seed: int) -> Any:
    backend.set_seed(seed)
    return build()


def _described(model: Any) -> Any:
    """The layers as Keras saves them; versions are elsewhere in a digest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns of lambdas, which are not read back here
        try:
            return json.loads(model.to_json())["config"]
        except (NotImplementedError, TypeError, ValueError):  # of a layer without get_config
            return [
                [name, type(layer).__qualname__, sorted(named_weights(layer))]
                for name, layer in leaves(model)
            ]


def _answers(model: Any, spec: Spec) -> Iterator[npt.NDArray[Any]]:
    """Yield the outputs in use and in training, and the losses that layers add."""
    rng = np.random.default_rng(0)
    shape = (PROBES, *spec.shape)
    x = rng.integers(0, spec.vocabulary_size, shape) if spec.kind == "tokens" else rng.random(shape)
    for training in (False, True):
        backend.set_seed(0)
        outputs = model(x.astype(spec.input_dtype), training=training)
        yield np.asarray(outputs, np.float64)
        yield np.array([float(loss) for loss in model.losses])


def _digest(arrays: Any) -> str:
    digest = sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape} ".encode())
        if array.dtype.kind == "f" and array.size and np.isfinite(array).all():
            largest = float(np.abs(array).max())
            digest.update(f"{largest:.{DIGITS}g} ".encode())
            array = np.round(np.asarray(array, np.float64) / (largest or 1.0), DIGITS) + 0.0  # no -0.0
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def is_of_keras(code: Any) -> bool:
    """Return whether a class or function comes with Keras, TensorFlow or Python."""
    return code.__module__.split(".")[0] in ("tf_keras", "tensorflow", "builtins")


def _own_classes(model: Any) -> Iterator[type]:
    """Classes of layers that are not Keras' own, and those that they are made from."""
    for layer in model._flatten_layers():
        for kind in type(layer).__mro__:
            if not is_of_keras(kind):
                yield kind


def _source(code: Any) -> str:
    try:
        return inspect.getsource(code)
    except (OSError, TypeError):  # typed in a console, or made by code
        return f"{code.__module__}.{code.__qualname__}"
