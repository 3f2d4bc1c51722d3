"""Files and folders with a network that Keras 2 or Keras 3 wrote."""

import io
import json
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy.typing as npt

from pruneflow.errors import PruneflowError
from pruneflow.models.descriptions import CONFIG, REMEDY, description_in, in_float32, require_harmless
from pruneflow.models.keras3 import ConversionError, converted
from pruneflow.models.keras3.files import read_keras_3, version_in
from pruneflow.models.stored_weights import WEIGHTS, read_weights, require_room, sized_by
from pruneflow.runtime import backend, extensions
from pruneflow.runtime.files import require_regular

FORMATS = "a .keras or .h5 file of Keras 2 (tf_keras) or 3, or a SavedModel folder of Keras 2"
LONGEST = 200  # characters of what Keras says, which may repeat a whole network
ZIP, HDF5 = b"PK", b"\x89HDF"


@dataclass(frozen=True)
class SavedNetwork:
    """A network as it was saved.

    Attributes:
        description: Its layers, as JSON of Keras.
        weights: In the order of Keras.
        difference: Largest difference to the outputs of the network of Keras 3 that it was; None for one of
            Keras 2.
    """

    description: str
    weights: list[npt.NDArray[Any]]
    difference: float | None = None

    def build(self) -> Any:
        """A new ``tf_keras.Model`` in float32, whatever precision it was trained in."""
        described = json.dumps(in_float32(json.loads(self.description)))
        model = backend.keras().models.model_from_json(described)
        model.set_weights(self.weights)
        return model


def check_file(path: Path) -> None:
    """Refuse what is certainly no network of Keras, without loading TensorFlow."""
    if not path.exists():
        raise PruneflowError(f"{path}: no such file. model.path takes {FORMATS}.")
    for file in path.rglob("*") if path.is_dir() else [path]:
        require_regular(file)
    if path.is_dir():
        _check_folder(path)
    elif _begins(path, ZIP):
        _check_zip(path)
    elif _begins(path, HDF5):
        _check_hdf5(path)
    else:
        raise PruneflowError(f"{path} is no file of Keras, or is broken. model.path takes {FORMATS}.")


def read_network(path: Path) -> SavedNetwork:
    """Load the network; what was compiled with it is not read.

    Raises:
        PruneflowError: if Keras cannot load it, or if it is of Keras 3 and has no equal in Keras 2.
    """
    check_file(path)
    return _read(path, digest_of_files(path), tuple(backend.registered().items()))


def original_in(path: Path) -> Any:
    """Return the network of Keras 3 that a file holds; None where it is of Keras 2."""
    return read_keras_3(path) if _is_of_keras_3(path) else None


def digest_of_files(path: Path) -> str:
    """SHA-256 of a file, or of all files of a folder with their names."""
    digest = sha256()
    for file in _files(path):
        digest.update(f"{file.relative_to(path)} {file.stat().st_size} ".encode(errors="surrogateescape"))
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()


@lru_cache(maxsize=1)  # a run builds the network several times
def _read(path: Path, digest: str, own: tuple[tuple[str, Any], ...]) -> SavedNetwork:
    try:
        with redirect_stderr(io.StringIO()), backend.quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _converted(path) if _is_of_keras_3(path) else _network_in(path, _loaded(path))
    except PruneflowError:
        raise
    except Exception as error:  # of any kind: the file decides which layers are made
        raise PruneflowError(_cannot(path, error)) from error


def _is_of_keras_3(path: Path) -> bool:
    return version_in(path).partition(".")[0] == "3"


def _converted(path: Path) -> SavedNetwork:
    try:
        found = converted(read_keras_3(path))
    except ConversionError as error:
        raise PruneflowError(f"{path}: {error}") from error
    return replace(_network_in(path, found.model), difference=found.difference)


def _loaded(path: Path) -> Any:
    """The network, built from what the file says of its layers; nothing that lies in the file is run."""
    extensions.load()  # may register layers; this can be a process that has loaded nothing else
    description = description_in(path)
    require_harmless(description, path)
    with sized_by(path):
        model = backend.keras().models.model_from_json(json.dumps(description))
    if isinstance(model, backend.keras().Model):
        read_weights(model, path)
    return model


def _network_in(path: Path, model: Any) -> SavedNetwork:
    """Return the loaded network as one that can be built again, which is tried."""
    keras, kind = backend.keras(), type(model).__name__
    if not isinstance(model, keras.Model):
        raise PruneflowError(f"{path} holds {kind}, and no network. {REMEDY}")
    if not (isinstance(model, keras.Sequential) or model._is_graph_network):
        problem = f"holds a subclassed model ({kind}), whose layers are not known"
        raise PruneflowError(f"{path} {problem}. {REMEDY}")
    network = SavedNetwork(model.to_json(), model.get_weights())
    network.build()
    return network


def _cannot(path: Path, error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0][:LONGEST].rstrip(".") if lines else "nothing more is known"
    saved = ""
    if _is_of_keras_3(path):
        saved = f" Keras {version_in(path)} has saved it, and {backend.keras3().__version__} reads it."
    return f"{path} cannot be loaded by Keras: {type(error).__name__}: {said}.{saved} {REMEDY}"


def _files(path: Path) -> Iterator[Path]:
    return iter(sorted(file for file in path.rglob("*") if file.is_file())) if path.is_dir() else iter([path])


def _begins(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError as error:
        raise PruneflowError(f"{path} cannot be read: {error.strerror}.") from error


def _check_folder(path: Path) -> None:
    if not (path / "saved_model.pb").is_file():
        raise PruneflowError(f"{path}: there is no saved_model.pb in it. model.path takes {FORMATS}.")
    if not (path / "keras_metadata.pb").is_file():
        raise PruneflowError(
            f"{path} holds operations without the layers of Keras, as Keras 3 and tf.saved_model.save write "
            f"them. model.path takes {FORMATS}."
        )


def _check_zip(path: Path) -> None:
    problem = f"{path} is no file of Keras, or is broken. Save the network again."
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {each.filename: each.file_size for each in archive.infolist()}
            require_room(sum(entries.values()), path, path.stat().st_size)
            json.loads(archive.read("metadata.json")).get("keras_version")
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, AttributeError) as error:
        raise PruneflowError(problem) from error
    if not {CONFIG, WEIGHTS} <= entries.keys():
        raise PruneflowError(problem)


def _check_hdf5(path: Path) -> None:
    import h5py  # type: ignore[import-untyped]

    try:
        with h5py.File(path) as file:
            described = "model_config" in file.attrs
    except OSError as error:
        raise PruneflowError(f"{path} is broken: {error}. Save the network again.") from error
    if not described:
        raise PruneflowError(
            f"{path} holds weights without layers. Save the whole network: model.save('network.h5')."
        )
