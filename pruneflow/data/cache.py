"""Which file is read: the one that the user names, the one in the cache folder, or one fetched into it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import platformdirs
from filelock import FileLock, Timeout

from pruneflow.data.checks import Arrays
from pruneflow.data.fetch import UnreachableError
from pruneflow.data.files import read_text, reading, write_arrays
from pruneflow.errors import ConfigError, DataError
from pruneflow.terminal import console

__all__ = ["ENVIRONMENT", "Origin", "Place", "cache_folder", "named", "stored"]

ENVIRONMENT = "PRUNEFLOW_DATA_DIR"

T = TypeVar("T")
Origin = Callable[[Path], Arrays]
"""Fetches a data set, given a folder to work in."""


@dataclass(frozen=True)
class Place:
    """A data file, and what to do when it is broken.

    Attributes:
        path: The file.
        found: How it was found, ``"dataset.path"`` or ``"cache"``.
        remedy: What to do when it cannot be used, a sentence.
    """

    path: Path
    found: str
    remedy: str

    @property
    def source(self) -> str:
        """Where the file is, and where it came from if it remembers that."""
        origin = read_text(self.path, "source")
        return f"{self.found}: {self.path}" + (f" ({origin})" if origin else "")

    def read(self, reader: Callable[[Path], T]) -> T:
        """Read the file.

        Raises:
            DataError: what ``reader`` found wrong, and what to do.
        """
        try:
            return reader(self.path)
        except DataError as error:
            raise DataError(f"{error} {self.remedy}") from error


def cache_folder(cache_dir: str | None) -> Path:
    """Find the cache folder: ``cache_dir``, else PRUNEFLOW_DATA_DIR, else the user's cache folder."""
    if cache_dir:
        return _expanded("dataset.cache_dir", cache_dir)
    if chosen := os.environ.get(ENVIRONMENT):
        return _expanded(ENVIRONMENT, chosen)
    return platformdirs.user_cache_path("pruneflow", appauthor=False)


def named(path: str, *, file: str) -> Place:
    """Take the file that ``dataset.path`` names, or the one called ``file`` in the folder that it names."""
    chosen = _expanded("dataset.path", path)
    remedy = f"dataset.path must name a file, or a folder that holds {file}; null uses the cache folder."
    with reading(chosen):
        is_folder = chosen.is_dir()
    return Place(chosen / file if is_folder else chosen, "dataset.path", remedy)


def stored(folder: Path, *, file: str, download: bool, origins: Sequence[Origin]) -> Place:
    """Take ``file`` from the cache folder, and fetch it first if it is missing.

    Args:
        folder: The cache folder; it is written only when something is fetched.
        file: Name of the file.
        download: Whether a missing file may be fetched.
        origins: Where to fetch it from; the next is tried where one is out of reach.

    Raises:
        DataError: if the file is missing and may not or cannot be fetched or written.
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
    """Fetch into a hidden folder beside ``target``, and rename the file when it is whole."""
    folder, hidden = target.parent, f".{target.stem}"
    folder.mkdir(parents=True, exist_ok=True)
    with _turn(folder / f"{hidden}.lock"):
        if target.is_file():  # another run has fetched it
            return
        for left in folder.glob(f"{hidden}-*"):  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        with TemporaryDirectory(prefix=f"{hidden}-", dir=folder) as work:
            arrays = _first_reached(origins, Path(work), target.name)
            whole = Path(work) / "whole.npz"
            write_arrays(whole, arrays)
            whole.replace(target)


@contextmanager
def _turn(lock: Path) -> Iterator[None]:
    """Wait until no other run fetches the same file."""
    turn = FileLock(lock)
    try:
        turn.acquire(timeout=0)
    except Timeout:
        console.print(f"Waiting for another run that holds {lock}.", soft_wrap=True, markup=False)
        turn.acquire()
    try:
        yield
    finally:
        turn.release()


def _expanded(key: str, path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError.of(key, path, str(error), "Write the path out.") from error


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
