"""Array files: read without running anything, refused unless they are whole."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pruneflow.data.checks import Array, Arrays, described, expect
from pruneflow.errors import DataError

__all__ = ["array_names", "read_arrays", "read_text", "reading", "write_arrays"]

SUFFIX = ".npy"
BROKEN = (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def array_names(path: Path) -> list[str]:
    """List the arrays that a .npz file holds.

    Raises:
        DataError: if the file is missing or is not a whole .npz file.
    """
    with reading(path), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(SUFFIX) for name in archive.namelist()]


def read_arrays(path: Path, names: Sequence[str]) -> Arrays:
    """Read arrays of a .npz file; pickled ones are refused.

    Args:
        path: The file.
        names: Arrays to read, all of which must be there.

    Raises:
        DataError: if the file is missing, cut short or not a .npz file, or if an array is missing or pickled.
    """
    held = array_names(path)
    for name in names:
        expect(name in held, path, name, "to be there", "only " + (", ".join(held) or "an empty archive"))
    with reading(path), np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in names}


def read_text(path: Path, name: str) -> str:
    """Read a text that stands in a .npz file as an array of its own; empty where there is none.

    Raises:
        DataError: if the array is there and holds no text.
    """
    if name not in array_names(path):
        return ""
    text = read_arrays(path, [name])[name]
    expect(text.dtype.kind == "U" and text.ndim == 0, path, name, "one text", described(text))
    return str(text)


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write an uncompressed .npz file, down to the disk; the caller renames it when it is whole.

    Args:
        path: A temporary name.
        arrays: Arrays by name, none of dtype object.

    Raises:
        OSError: if the file cannot be written.
    """
    with path.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]  # the stub takes any keyword for allow_pickle
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the many ways in which a broken archive fails into one error that names the file.

    Raises:
        DataError: if the body fails to read ``path``.
    """
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except BROKEN as error:
        raise DataError(f"{path}: not a whole .npz file without pickles ({error}).") from error
