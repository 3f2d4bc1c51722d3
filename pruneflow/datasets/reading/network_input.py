"""Images that the network in a file reads, by the layers that the file describes; nothing in it is run."""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONFIG = "config.json"  # of a .keras file
METADATA = "keras_metadata.pb"  # of a SavedModel, which holds JSON
KEYS = ("batch_input_shape", "batch_shape")
SIZE = rb"(null|\d+)"
SHAPE = re.compile(  # in a SavedModel, a list or what Keras writes for a tuple
    rb'"batch_input_shape": (?:\{"class_name": "\w+", "items": )?\[null, ' + rb", ".join([SIZE] * 3) + rb"\]"
)
MOST_BYTES = 1 << 26  # of a description

Shape = tuple[int | None, int | None, int | None]


def image_shape_in(path: Path) -> Shape | None:
    """Find the shape of the images that a network reads.

    Args:
        path: A ``.keras`` or ``.h5`` file, or the folder of a SavedModel.

    Returns:
        Height, width and channels, each None where the network takes any; None where the file cannot be read,
        which the model says better, or reads no images.
    """
    try:
        if path.is_dir():
            found = SHAPE.search(_read(path / METADATA))
            return _shape([None, *(_size(each) for each in found.groups())]) if found else None
        described = json.loads(_described(path))
    except (OSError, ValueError, KeyError, RecursionError, zipfile.BadZipFile):
        return None
    return _shape(next(_input_shapes(described), None))


def _described(path: Path) -> bytes | str:
    if not zipfile.is_zipfile(path):
        import h5py  # type: ignore[import-untyped]

        with h5py.File(path) as file:
            held: bytes | str = file.attrs["model_config"]
            return held
    with zipfile.ZipFile(path) as archive:
        if archive.getinfo(CONFIG).file_size > MOST_BYTES:
            raise ValueError(CONFIG)
        return archive.read(CONFIG)


def _read(path: Path) -> bytes:
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(path)
    return path.read_bytes()


def _size(digits: bytes) -> int | None:
    return None if digits == b"null" else int(digits)


def _input_shapes(described: Any) -> Iterator[Any]:
    """Shapes of inputs in the order of the layers, that of the network first."""
    if isinstance(described, dict):
        yield from (described[key] for key in KEYS if described.get(key) is not None)
        inner: Any = described.values()
    else:
        inner = described if isinstance(described, list) else ()
    for each in inner:
        yield from _input_shapes(each)


def _shape(found: Any) -> Shape | None:
    """Height, width and channels of a batch of images; None for other shapes."""
    if isinstance(found, dict):  # what Keras writes for a tuple
        found = found.get("items")
    if not isinstance(found, list) or len(found) != 4:
        return None
    sizes = found[1:]
    return tuple(sizes) if all(each is None or isinstance(each, int) for each in sizes) else None
