"""Files: read without running anything, refused unless they are whole."""

import codecs
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from pruneflow.datasets.reading.checks import Array, Arrays, described, expect
from pruneflow.errors import DataError, PruneflowError
from pruneflow.runtime.files import require_regular
from pruneflow.runtime.memory import RAN_OUT

SUFFIX = ".npy"
NPZ = "a whole .npz file without pickles"
LARGEST_BYTES = 1 << 32  # of one array or text file; what declares more is refused, not unpacked

PEEK_BYTES = 64
MARKS = {  # the mark of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

BROKEN = (
    *(OSError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError),
    *(ValueError, KeyError, NotImplementedError, RecursionError, struct.error),
)


def array_names(path: Path) -> list[str]:
    """List the arrays that a .npz file holds."""
    with reading(path), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(SUFFIX) for name in archive.namelist()]


def read_arrays(path: Path, names: Sequence[str]) -> Arrays:
    """Read arrays of a .npz file; pickled ones are refused."""
    held = array_names(path)
    for name in names:
        expect(name in held, path, name, "to be there", "only " + (", ".join(held) or "an empty archive"))
    with reading(path), zipfile.ZipFile(path) as archive:
        largest = max(archive.getinfo(name + SUFFIX).file_size for name in names)
    expect(largest <= LARGEST_BYTES, path, "of those", f"at most {LARGEST_BYTES} bytes each", largest)
    with reading(path), np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in names}


def content_of(path: Path) -> bytes:
    """Read a file whole, inside `reading`.

    Raises:
        DataError: if it is larger than what is ever read at once.
    """
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise DataError(f"{path}: it has {size:,} bytes, and at most {LARGEST_BYTES:,} are read.")
    return path.read_bytes()


def read_text(path: Path, name: str) -> str:
    """Read a text that stands in a .npz file as an array of its own; empty where there is none."""
    if name not in array_names(path):
        return ""
    text = read_arrays(path, [name])[name]
    expect(text.dtype.kind == "U" and text.ndim == 0, path, name, "one text", described(text))
    return str(text)


def write_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write an uncompressed .npz file, down to the disk; the caller renames it when it is whole.

    Raises:
        OSError: if the file cannot be written.
    """
    with path.open("wb") as stream:
        # np.savez (NumPy 1.26) leaves its archive open where writing fails, which Python reports later.
        with zipfile.ZipFile(stream, "w") as archive:
            for name, array in arrays.items():
                with archive.open(name + SUFFIX, "w", force_zip64=True) as member:
                    npy.write_array(member, array, allow_pickle=False)
        stream.flush()
        os.fsync(stream.fileno())


def decoded(content: bytes, where: object) -> str:
    """Read UTF-8, with or without a byte order mark."""
    refuse_other_encoding(content, where)
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: byte {error.start} (0x{content[error.start]:02x}) is not UTF-8. Convert the file, for "
            "instance with iconv -f latin1 -t utf-8."
        ) from error


def refuse_other_encoding(content: bytes, where: object) -> None:
    """Refuse a text that is UTF-16 or UTF-32: by its byte order mark, or by every other byte being 0.

    Args:
        content: The bytes of a file, or the first few of them.
    """
    if found := other_encoding(content):
        remedy = f"Convert it with iconv -f {found} -t utf-8 FILE > NEW_FILE."
        raise DataError(f"{where}: is {found.upper()}, not UTF-8. {remedy}")


def other_encoding(content: bytes) -> str:
    """Name UTF-16 or UTF-32 by its byte order mark, or by every other byte being 0; empty for others.

    >>> other_encoding("ab".encode("utf-16-le"))
    'utf-16le'
    """
    first = content[:PEEK_BYTES]
    for mark, name in MARKS.items():
        if first.startswith(mark):
            return name
    for name, ascii_zeros in (("utf-16le", first[1::2]), ("utf-16be", first[0:-1:2])):
        if 2 * ascii_zeros.count(0) > len(ascii_zeros):
            return name
    return ""


@contextmanager
def reading(path: Path, what: str = NPZ) -> Iterator[None]:
    """Turn the many ways in which a broken file fails into one error that names the file.

    Raises:
        DataError: if the body fails to read ``path``, or if that is no file.
        PruneflowError: if memory runs out.
    """
    require_regular(path)
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: no such file.") from None
    except (PermissionError, IsADirectoryError) as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except MemoryError as error:
        raise PruneflowError(f"{path}: {RAN_OUT}") from error
    except BROKEN as error:
        raise DataError(f"{path}: not {what} ({error or type(error).__name__}).") from error


def refuse_kind(path: Path, *, allowed: Sequence[str], holds: str, others: str) -> None:
    """Refuse a path that is neither missing nor a file with one of the suffixes ``allowed``.

    Args:
        allowed: Suffixes, such as ``".npz"``.
        holds: What a folder would have to hold, for the message.
        others: What to do with other data, a sentence.
    """
    with reading(path):
        kind = stat.S_IFMT(path.stat().st_mode)
    if kind == stat.S_IFDIR:
        raise DataError(f"{path}: holds neither {holds}. {others}")
    if kind != stat.S_IFREG or path.suffix.lower() not in allowed:
        raise DataError(f"{path}: not a file whose name ends with {' or '.join(allowed)}. {others}")
