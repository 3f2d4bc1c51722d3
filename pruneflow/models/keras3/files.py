"""Files of Keras 3: Keras 3 itself builds the network, from names that are known to compute only."""

import inspect
import json
import shutil
import tempfile
import zipfile
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from pruneflow.errors import PruneflowError
from pruneflow.models.descriptions import OWN, REMEDY, ROOTS, UNSAFE, description_in, objects_in
from pruneflow.models.keras3.layers import NATIVE, SAME, WRAPPERS
from pruneflow.models.keras3.operations import OPERATIONS
from pruneflow.models.keras3.weights import finalize
from pruneflow.models.stored_weights import WEIGHTS, require_plain_hdf5, require_room
from pruneflow.runtime import backend

# What a description holds beside layers, operations, initializers, regularizers and constraints.
STRUCTURE = (
    *("__keras_tensor__", "__slice__", "__ellipsis__", "__tensor__", "__numpy__"),
    *("DTypePolicy", "InputLayer"),
)


def version_in(path: Path) -> str:
    """Return the version of Keras that wrote a file; empty where it does not say, and of a folder."""
    if path.is_dir():
        return ""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return str(json.loads(archive.read("metadata.json")).get("keras_version") or "")
    import h5py  # type: ignore[import-untyped]

    with h5py.File(path) as file:
        version = file.attrs.get("keras_version")
        return version.decode() if isinstance(version, bytes) else str(version or "")


def read_keras_3(path: Path) -> Any:
    """Build the network that a ``.keras`` or ``.h5`` file of Keras 3 describes, with its weights.

    Nothing that lies in the file is run, and what it was compiled with is not read.

    Raises:
        PruneflowError: if it names more than layers that only compute, or declares more than it can hold.
    """
    description = description_in(path)
    _require_harmless(description, path)
    model = _built(description, path)
    with backend.keras3().StatelessScope():
        pass  # its end makes the weights
    with tempfile.TemporaryDirectory(prefix="pruneflow-") as folder:
        is_zip = zipfile.is_zipfile(path)
        copy = Path(folder) / (WEIGHTS if is_zip else "network.h5")  # by its name Keras tells what it is
        _copied(path, copy, is_zip)
        require_plain_hdf5(copy, path)
        model.load_weights(copy)
    finalize(model)
    return model


def _built(description: dict[str, Any], path: Path) -> Any:
    """The network, for whose weights no memory is taken yet."""
    keras = backend.keras3()
    kind = keras.Sequential if description["class_name"] == "Sequential" else keras.Model
    try:
        with keras.StatelessScope(initialize_variables=False):
            model = kind.from_config(_with_modules(_known_here(description["config"])))
        declared = sum(4 * prod(each.shape) for each in model.variables)
        require_room(declared, path, path.stat().st_size)
    except Exception:
        backend.forget_unmade_weights()
        raise
    return model


def _known_here(described: Any) -> Any:
    """Return a description without the arguments of a newer Keras that are None."""
    if isinstance(described, list):
        return [_known_here(each) for each in described]
    if not isinstance(described, dict):
        return described
    found = {key: _known_here(each) for key, each in described.items()}
    keras = backend.keras3()
    places = {"keras.layers": keras.layers, "keras.initializers": keras.initializers}
    place = places.get(found.get("module") or "keras.layers")  # an .h5 file names no module of a layer
    made = getattr(place, str(found.get("class_name")), None)
    if isinstance(made, type) and isinstance(found.get("config"), dict):
        makers = [vars(each)["__init__"] for each in made.__mro__ if "__init__" in vars(each)]
        known = {key for each in makers for key in inspect.signature(each).parameters}
        found["config"] = {key: v for key, v in found["config"].items() if key in known or v is not None}
    return found


def _with_modules(described: Any) -> Any:
    """Return a description whose operations have their module, which an ``.h5`` file leaves out."""
    if isinstance(described, list):
        return [_with_modules(each) for each in described]
    if not isinstance(described, dict):
        return described
    found = {key: _with_modules(each) for key, each in described.items()}
    config = found.get("config")
    if "inbound_nodes" not in found or "module" in found or not isinstance(config, dict):
        return found
    module = _module_of(str(found["class_name"]))
    if module is None or {"trainable", "batch_shape"} & config.keys():  # a layer
        return found
    return {**found, "module": module, "registered_name": found["class_name"]}


def _module_of(kind: str) -> str | None:
    """Name of the module that has an operation; None where there is no such operation."""
    modules = backend.operations_of_keras_3()
    return next((each.__name__ for each in modules if hasattr(each, kind)), None)


def _copied(path: Path, copy: Path, is_zip: bool) -> None:
    if not is_zip:
        shutil.copyfile(path, copy)
        return
    with zipfile.ZipFile(path) as archive, archive.open(WEIGHTS) as stored, copy.open("wb") as file:
        shutil.copyfileobj(stored, file)


def _require_harmless(description: Any, path: Path) -> None:
    for layer, found in objects_in(description):
        problem, remedy = _problem(str(found["class_name"]), found)
        if problem:
            raise PruneflowError(f"{path}: layer {layer or found['class_name']} {problem}. {remedy}")


def _problem(kind: str, found: dict[str, Any]) -> tuple[str, str]:
    """Return the fault of an object of a description, and the remedy; empty where there is none."""
    if kind in UNSAFE:
        return f"({kind}) runs code or reads files, as the file says; nothing in a file is run", REMEDY
    name, known = (str(found.get("config")), _functions()) if kind == "function" else (kind, _kinds())
    registered = {str(found.get("registered_name") or name), name} - {kind}
    is_own = found.get("module") is None or OWN.fullmatch(str(found["module"]))
    if is_own and {name, *registered} <= known:
        return "", ""
    layers = vars(backend.keras3().layers)
    if is_own and not registered and isinstance(layers.get(kind), type):
        return f"({kind}) is not in Keras 2", NATIVE
    return (
        f"has {' and '.join(sorted({name, *registered}))}, which is neither of Keras nor registered with it",
        REMEDY,
    )


@cache
def _kinds() -> frozenset[str]:
    keras = backend.keras3()
    places = keras.initializers, keras.regularizers, keras.constraints
    named = {name for place in places for name, held in vars(place).items() if isinstance(held, type)}
    return frozenset(named | {*ROOTS, *STRUCTURE, *SAME, *WRAPPERS, *OPERATIONS})


@cache
def _functions() -> frozenset[str]:
    named = {name for name, held in vars(backend.keras3().activations).items() if callable(held)}
    return frozenset(named - {"get", "serialize", "deserialize"})
