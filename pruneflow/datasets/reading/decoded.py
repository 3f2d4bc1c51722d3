"""Images of a folder as rows: decoded once into a cache file, or at each use where that would be too large.

How the cache is laid out stands in `pruneflow.datasets.reading.image_cache`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.reading.checks import Arrays
from pruneflow.datasets.reading.decoding import Decoding, UndecodableError, in_parallel, strictly
from pruneflow.datasets.reading.files import read_arrays, write_arrays
from pruneflow.datasets.reading.folders import Listing
from pruneflow.datasets.reading.image_cache import FOLDER, INDEX, MAKING, PIXELS, is_place, lock_of, mark_used
from pruneflow.datasets.reading.image_rows import CachedRows, DecodedRows, verify
from pruneflow.datasets.reading.names import listed, printable
from pruneflow.datasets.rows import Source
from pruneflow.errors import DataError
from pruneflow.runtime import backend
from pruneflow.runtime.locks import locked
from pruneflow.runtime.terminal import bar, say

VERSION = 4  # raise it where other pixels come out of the same files, or the index has another form

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cache:
    """The folder in which decoded images may be kept.

    Attributes:
        max_bytes: What the pixels may take there; images that take more are decoded at each use.
        asked: Settings that decide which images are decoded, and how.
    """

    folder: Path
    max_bytes: int
    asked: dict[str, Any]


@dataclass(frozen=True)
class Decoded:
    """The images that could be decoded.

    Attributes:
        source: Their pixels, (height, width, channels) each, of the dtype of `Decoding`.
        kept: (k,) their places in the listing.
        left_out: Names of the others, and what is wrong with each.
    """

    source: Source
    kept: Indices
    left_out: dict[str, str]


def decoded(listing: Listing, how: Decoding, cache: Cache, *, skip: bool) -> Decoded:
    """Decode all images once, unless that was done before, and find those that cannot be.

    Args:
        skip: Whether images that cannot be decoded are left out, rather than refused.

    Raises:
        DataError: if images cannot be decoded, are of several sizes where none is set, or cannot be kept
            though that is wanted.
    """
    work = _Work(listing, how, cache, skip)
    asked = {"version": VERSION, "root": str(listing.root.resolve()), **cache.asked}
    home = cache.folder / FOLDER / _key(json.dumps(asked, sort_keys=True).encode())
    place = home / _key(os.fsencode("\0".join(listing.names)), listing.stamps.tobytes())
    try:
        with locked(
            lock_of(home), waiting=f"Waiting for another run that decodes the images of {listing.root}."
        ):
            shutil.rmtree(home / MAKING, ignore_errors=True)  # what a run that was killed left
            found = _kept(place, listing, how, cache)
            if found:
                mark_used(place)
            else:
                _make(home, place, work)
                found = _kept(place, listing, how, cache, checked=False)
    except OSError as error:
        if cache.max_bytes == 0:
            return _unkept(work, error)
        raise DataError(
            f"{cache.folder}: cannot keep decoded images there ({error}). Set dataset.cache_dir to a folder "
            "that can be written and has room, or dataset.cache_max_bytes=0 to decode them at each epoch."
        ) from error
    if not found:
        raise DataError(
            f"{place}: the images that were just decoded cannot be read back. Is the disk broken?"
        )
    if found.left_out and not skip:
        raise _refusal(listing, found.left_out)
    return found


def _unkept(work: _Work, error: OSError) -> Decoded:
    """Decode all images without a cache, and once more at each use."""
    said = f"{work.cache.folder} cannot be written ({error}): the images are decoded once more at each start."
    say(said)
    index = _decode(io.BytesIO(), work)
    return Decoded(_streamed(index, work.listing, work.how), index["kept"], _left_out(index, work.listing))


@dataclass(frozen=True)
class _Work:
    """The images to decode, the settings, the cache, and whether bad images are left out."""

    listing: Listing
    how: Decoding
    cache: Cache
    skip: bool


def _key(*content: bytes) -> str:
    digest = hashlib.sha256()
    for each in content:
        digest.update(each)
    return digest.hexdigest()[:16]


def _kept(
    place: Path, listing: Listing, how: Decoding, cache: Cache, *, checked: bool = True
) -> Decoded | None:
    """Return the images of an earlier run, if they are whole and wanted now."""
    if not (place / INDEX).is_file():
        return None
    try:
        index = read_arrays(place / INDEX, ["kept", "digests", "shape", "reasons"])
        source = _source(place, index, listing, how, cache)
        if source is None:
            return None
        if checked and isinstance(source, CachedRows):
            verify(source, listing.root)
    except (DataError, OSError) as error:
        say(f"{place} is broken and is made anew: {error}")
        return None
    return Decoded(source, index["kept"], _left_out(index, listing))


def _left_out(index: Arrays, listing: Listing) -> dict[str, str]:
    gone = np.delete(np.arange(len(listing)), index["kept"])
    return {listing.names[i]: str(reason) for i, reason in zip(gone, index["reasons"], strict=True)}


def _streamed(index: Arrays, listing: Listing, how: Decoding, file: Path | None = None) -> DecodedRows:
    """Rows that are decoded when they are read; ``file`` holds the index, if one does."""
    height, width, channels = map(int, index["shape"])
    return DecodedRows(listing.at(index["kept"]), how, (height, width, channels), index["digests"], file)


def _source(place: Path, index: Arrays, listing: Listing, how: Decoding, cache: Cache) -> Source | None:
    """Pixels in the cache, or the files where they do not fit; None where they fit and are not there."""
    shape, size_bytes = tuple(map(int, index["shape"])), _size_bytes(index, how)
    if len(listing) * size_bytes > cache.max_bytes:  # as `_decode` decides
        return _streamed(index, listing, how, place / INDEX)
    if not (place / PIXELS).is_file():
        return None
    if (place / PIXELS).stat().st_size != len(index["kept"]) * size_bytes:
        raise DataError(f"{PIXELS} has another size than was written")
    return CachedRows.opened(place / PIXELS, shape, index["digests"], how.dtype)


def _size_bytes(index: Arrays, how: Decoding) -> int:
    return int(np.prod(index["shape"])) * how.dtype.itemsize


def _make(home: Path, place: Path, work: _Work) -> None:
    """Decode into a hidden folder, which is renamed when it is whole."""
    making = home / MAKING
    making.mkdir(parents=True)
    try:
        with (making / PIXELS).open("wb") as stream:
            index = _decode(stream, work)
            stream.flush()
            os.fsync(stream.fileno())
        if (making / PIXELS).stat().st_size != len(index["kept"]) * _size_bytes(index, work.how):
            (making / PIXELS).unlink()
        write_arrays(making / INDEX, index)
        shutil.rmtree(place, ignore_errors=True)
        making.rename(place)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    for other in home.iterdir():  # of files that have changed since
        if other != place and is_place(other):
            shutil.rmtree(other, ignore_errors=True)


def _decode(stream: IO[bytes], work: _Work) -> Arrays:
    """Decode all images; write them if they fit.

    Returns:
        ``kept`` (k,), ``digests`` (k, 32), ``shape`` (3,), and ``reasons`` (n - k,) why the others cannot be
        decoded.
    """
    listing, kept, digests = work.listing, [], bytearray()
    bad: dict[str, str] = {}
    first: tuple[str, tuple[int, ...]] | None = None
    with (
        bar(f"Decoding {len(listing):,} images", total=len(listing)) as advance,
        backend.quiet(),  # libjpeg in TensorFlow speaks of broken files on standard error
        strictly(),
        closing(_each(work)) as images,
    ):
        for place, pixels in enumerate(images):
            advance()
            if isinstance(pixels, UndecodableError):
                bad[listing.names[place]] = str(pixels)
                continue
            first = first or (listing.names[place], pixels.shape)
            _require_size(listing, place, pixels.shape, first)
            kept.append(place)
            digests += hashlib.sha256(pixels.data).digest()
            if pixels.nbytes * len(listing) <= work.cache.max_bytes:  # those left out only make more room
                stream.write(pixels.data)
    if bad and not (work.skip and kept):
        raise _refusal(listing, bad)
    assert first
    return {
        "kept": np.array(kept, np.int64),
        "digests": np.frombuffer(bytes(digests), np.uint8).reshape(-1, 32),
        "shape": np.array(first[1], np.int64),
        "reasons": np.array(list(bad.values()), np.str_),
    }


def _each(work: _Work) -> Generator[npt.NDArray[Any] | UndecodableError]:
    def decode(name: str) -> npt.NDArray[Any] | UndecodableError:
        try:
            return np.ascontiguousarray(work.how.decode(work.listing.root / name))
        except UndecodableError as error:
            return error

    return in_parallel(decode, work.listing.names)


def _require_size(
    listing: Listing, place: int, shape: tuple[int, ...], first: tuple[str, tuple[int, ...]]
) -> None:
    name, (height, width, _) = first
    if shape != first[1]:
        raise DataError(
            f"{listing.root}: images of several sizes: {printable(name)} has {height} x {width} pixels "
            f"(height x width), {printable(listing.names[place])} {shape[0]} x {shape[1]}. Set "
            "dataset.height and dataset.width, to which all are resized."
        )


def _refusal(listing: Listing, bad: dict[str, str]) -> DataError:
    shown = [f"{name} ({reason})" for name, reason in bad.items()]
    return DataError(
        f"{listing.root}: {len(bad):,} of {len(listing):,} files cannot be decoded: {listed(shown)}. Mend or "
        "remove them, or set dataset.corrupt=skip to leave them out. PNG, JPEG, BMP, GIF and WebP are read."
    )
