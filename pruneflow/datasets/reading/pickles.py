"""Pickles read as data: arrays and plain containers come out, nothing that the file names is ever run.

The classes that the pickle of an array names are replaced by stand-ins, so that not even NumPy's own
reconstruction, which trusts what it is told, sees the content of the file.
"""

import pickle
import zipfile
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from pruneflow.datasets.reading.checks import expect
from pruneflow.datasets.reading.files import SUFFIX, reading
from pruneflow.errors import DataError

NUMERIC_KINDS = "biuf"


def unpickled(stream: IO[bytes] | BufferedIOBase, where: str) -> Any:
    """Read one pickle that holds numbers, texts, lists, tuples, dicts and arrays, and nothing else.

    Returns:
        The object. Arrays come as ndarray where they hold numbers, and as the list of their elements
        where their dtype is object.

    Raises:
        DataError: if the pickle is broken or names anything else, which is not run.
    """
    try:
        return _resolved(_DataUnpickler(stream, encoding="bytes").load())
    except Exception as error:  # a forged pickle can raise anything
        raise DataError(f"{where}: not a pickle of plain arrays and lists ({error}).") from error


def read_rows(path: Path, name: str) -> list[Any]:
    """Read a one-dimensional object array of a .npz file as the list of its elements."""
    with reading(path), zipfile.ZipFile(path) as archive, archive.open(name + SUFFIX) as stream:
        version = npy.read_magic(stream)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = header(stream)
        expect(dtype.hasobject and len(shape) == 1, path, name, "object (n,)", f"{dtype} {shape}")
        rows = unpickled(stream, f"{path}: array {name}")
    whole = isinstance(rows, list) and len(rows) == shape[0]
    expect(whole, path, name, f"a pickled array of {shape[0]} elements", "something else")
    return list(rows)


class _Dtype:
    """Stands in for numpy.dtype: keeps the type code and the byte order, drops the rest."""

    def __init__(self, code: str | bytes, *_: object) -> None:
        self.code = code if isinstance(code, str) else code.decode("ascii")
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        self.order = order if isinstance(order, str) else order.decode("ascii")


class _Array:
    """Stands in for numpy.ndarray and for the function that makes an empty one."""

    def __init__(self, *_: object) -> None:
        self.value: Any = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, stand_in, fortran, data = state
        dtype = np.dtype(stand_in.code)
        if dtype.hasobject and len(shape) == 1 and isinstance(data, list):
            self.value = data
        elif dtype.kind in NUMERIC_KINDS:
            ordered = dtype.newbyteorder(stand_in.order if stand_in.order in ("<", ">") else "=")
            self.value = np.frombuffer(data, ordered).reshape(shape, order="F" if fortran else "C")
        else:
            raise pickle.UnpicklingError(f"array of dtype {dtype} and shape {shape}")


def _latin1(text: str, encoding: str | bytes) -> bytes:
    """Stand in for codecs.encode, by which old protocols spell bytes."""
    if encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin1")


STAND_INS = {
    "numpy.ndarray": _Array,
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray._reconstruct": _Array,
    "numpy.dtype": _Dtype,
    "_codecs.encode": _latin1,
}


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in STAND_INS:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return STAND_INS[f"{module}.{name}"]


def _resolved(value: Any) -> Any:
    """Put arrays where their stand-ins are, however deep; long lists of numbers are passed over quickly."""
    if isinstance(value, _Array):
        value = value.value
    if isinstance(value, dict):
        return {key: _resolved(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and set(map(type, value)) != {int}:
        return type(value)(_resolved(item) for item in value)
    return value
