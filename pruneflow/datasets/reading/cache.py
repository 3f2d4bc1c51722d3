"""The file that is read: the one that the user names, the one in the cache folder, or one fetched into it."""

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pruneflow.datasets.reading.checks import Arrays
from pruneflow.datasets.reading.fetch import UnreachableError, is_partial
from pruneflow.datasets.reading.files import reading, write_arrays
from pruneflow.errors import DataError
from pruneflow.runtime.locks import locked
from pruneflow.runtime.surroundings import expanded, user_cache

ENVIRONMENT = "PRUNEFLOW_DATA_DIR"

T = TypeVar("T")
Origin = Callable[[Path], Arrays]
"""Fetches a data set, given a folder to work in."""


@dataclass(frozen=True)
class Place:
    """A data file, and what to do when it is broken.

    Attributes:
        found: How it was found, such as ``"dataset.path"`` or ``"cache"``.
        remedy: What to do when it cannot be used, a sentence.
    """

    path: Path
    found: str
    remedy: str

    def source(self, origin: str) -> str:
        """Return the path of the file, and its origin if it remembers that."""
        return f"{self.found}: {self.path}" + (f" ({origin})" if origin else "")

    def read(self, reader: Callable[[Path], T]) -> T:
        """Read the file."""
        try:
            return reader(self.path)
        except DataError as error:
            raise DataError(f"{error} {self.remedy}") from error


def cache_folder(cache_dir: str | None) -> Path:
    """Find the folder of data sets: ``cache_dir``, else PRUNEFLOW_DATA_DIR, else the user's cache folder."""
    if not cache_dir and (chosen := os.environ.get(ENVIRONMENT)):
        return expanded(ENVIRONMENT, chosen)
    return image_folder(cache_dir)


def image_folder(cache_dir: str | None) -> Path:
    """Find the folder of decoded images: ``cache_dir``, else the user's cache folder.

    PRUNEFLOW_DATA_DIR may be shared; nothing is written there but the data sets that are fetched into it.
    """
    return expanded("dataset.cache_dir", cache_dir) if cache_dir else user_cache()


def named(path: str, *, key: str, formats: str, file: str = "") -> Place:
    """Take the file or folder that a setting names.

    Args:
        key: The setting, such as ``"dataset.path"``.
        file: Name of the file that is taken where it names a folder with such a file.
    """
    chosen = expanded(key, path)
    remedy = f"{key} takes {formats}."
    with reading(chosen):
        inside = bool(file) and (chosen / file).is_file()
    return Place(chosen / file if inside else chosen, key, remedy)


def stored(folder: Path, *, file: str, download: bool, origins: Sequence[Origin]) -> Place:
    """Take ``file`` from the cache folder, and fetch it first if it is missing.

    Args:
        folder: The cache folder; it is written only when something is fetched.
        origins: Where to fetch it from; the next is tried where one is out of reach.
    """
    target = folder / file
    try:
        if not target.is_file():
            _require_download(target, download=download)
            _fetch(target, origins)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot keep {file} there ({error}). Set dataset.cache_dir or {ENVIRONMENT} to a "
            "folder that can be written and has room, or pass the file as dataset.path."
        ) from error
    return Place(target, "cache", "Remove the file and run again: it is fetched anew.")


def _require_download(target: Path, *, download: bool) -> None:
    if not download:
        remedy = "Put it there, pass dataset.path, or set dataset.download=true."
        raise DataError(f"{target}: no such file, and dataset.download=false. {remedy}")


def _fetch(target: Path, origins: Sequence[Origin]) -> None:
    """Fetch into a hidden folder beside ``target``, and rename the file when it is whole.

    What stays in the hidden folder after an error is a download that broke off, for the next run to resume.
    """
    hidden = f".{target.stem}"
    work = target.with_name(f"{hidden}-fetching")
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f"{hidden}.lock")
    with locked(lock, waiting=f"Waiting for another run that holds {lock}."):
        if target.is_file():  # another run has fetched it
            return
        _tidy(work)  # after a run that was killed
        try:
            work.mkdir(exist_ok=True)
            arrays = _first_reached(origins, work, target.name)
            write_arrays(work / "whole.npz", arrays)
            (work / "whole.npz").replace(target)
        finally:
            _tidy(work, all_of_it=target.is_file())


def _tidy(work: Path, *, all_of_it: bool = False) -> None:
    """Empty a work folder of everything that no run can resume, and remove it if nothing is left."""
    for entry in list(work.iterdir()) if work.is_dir() else []:
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        elif all_of_it or not is_partial(entry):
            entry.unlink(missing_ok=True)
    with suppress(OSError):  # not empty, or not there
        work.rmdir()


def _first_reached(origins: Sequence[Origin], work: Path, file: str) -> Arrays:
    tried = []
    for origin in origins:
        try:
            return origin(work)
        except UnreachableError as error:
            tried.append(f"\n  {error}")
    raise DataError(
        f"{file} could not be fetched. Tried:{''.join(tried)}\n"
        f"Check the network, or get the file elsewhere and pass dataset.path=/folder/{file}."
    )
