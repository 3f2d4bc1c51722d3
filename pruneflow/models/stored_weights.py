"""Weights from files of Keras, read as numbers: from the file itself, and never more than it can hold."""

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

from pruneflow.errors import PruneflowError
from pruneflow.runtime import backend

WEIGHTS = "model.weights.h5"  # in a .keras file
UNPACKED = 40  # bytes of numbers for one byte of a file, as compressed zeros may come to
ALWAYS = 2**24  # bytes that any file may unpack to


def read_weights(model: Any, path: Path) -> None:
    """Give a network the weights that a file holds for it.

    Args:
        model: A network of the same layers.
        path: A ``.keras`` or ``.h5`` file, or the folder of a SavedModel, of which the variables are read.

    Raises:
        PruneflowError: if the file takes them from other files, or declares more than it can hold.
    """
    if path.is_dir():
        model.load_weights(path / "variables" / "variables").assert_existing_objects_matched()
        return
    with tempfile.TemporaryDirectory(prefix="pruneflow-") as folder:
        is_zip = zipfile.is_zipfile(path)
        copy = Path(folder) / (WEIGHTS if is_zip else "network.h5")  # by its name Keras tells what it is
        _unpack(path, copy) if is_zip else shutil.copyfile(path, copy)
        require_plain_hdf5(copy, path)
        model.load_weights(copy)


def require_plain_hdf5(file: Path, shown: Path) -> None:
    """Refuse an HDF5 file that leads to other files, or that declares more numbers than it can hold."""
    import h5py  # type: ignore[import-untyped]

    declared = 0

    def leads_elsewhere(name: str, held: Any) -> str | None:
        return None if isinstance(held, h5py.HardLink) else name

    def is_not_of_this_file(name: str, held: Any) -> str | None:
        nonlocal declared
        declared += getattr(held, "nbytes", 0)
        return name if isinstance(held, h5py.Dataset) and (held.is_virtual or held.external) else None

    with h5py.File(file) as content:
        found = content.visititems_links(leads_elsewhere) or content.visititems(is_not_of_this_file)
    if found:
        raise PruneflowError(f"{shown}: {found} leads to another file or place. Save the network again.")
    require_room(declared, shown, file.stat().st_size)


def require_room(count: int, path: Path, size: int) -> None:
    """Refuse what a file declares and cannot hold, before memory is taken for it."""
    if count > UNPACKED * size + ALWAYS:
        raise PruneflowError(
            f"{path} is broken: it has {size:,} bytes, and declares {count:,} bytes of numbers. "
            "Save the network again."
        )


@contextmanager
def sized_by(path: Path) -> Iterator[None]:
    """Let networks be built that the file can hold the weights of; larger ones are refused at once."""
    files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    size, declared = sum(file.stat().st_size for file in files), 0

    def creator(following: Any, **given: Any) -> Any:
        nonlocal declared
        declared += 4 * prod(each or 1 for each in given.get("shape") or ())
        require_room(declared, path, size)
        return following(**given)

    with backend.tensorflow().variable_creator_scope(creator):
        yield


def _unpack(path: Path, copy: Path) -> None:
    with zipfile.ZipFile(path) as archive, archive.open(WEIGHTS) as stored, copy.open("wb") as file:
        shutil.copyfileobj(stored, file)
