"""Caches of decoded images: how they lie in the cache folder, when they were used, which may be deleted.

Below the cache folder there is a folder for what was asked for, and in it one for the state of the files:
their names, sizes, times and inodes. It holds ``index.npz`` (which files, the SHA-256 of the pixels of each,
why others were left out) and ``pixels.bin``. The lock lies beside the first.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pruneflow.runtime.files import TRASH, is_folder
from pruneflow.runtime.locks import attempted

FOLDER = "images"
INDEX, PIXELS, MAKING = "index.npz", "pixels.bin", ".making"

KEY = r"[0-9a-f]{16}"  # what both folders are called


def lock_of(home: Path) -> Path:
    """The lock of the cache in ``home``, which a run holds while it decodes or checks the images."""
    return home.with_name(f"{home.name}.lock")


def mark_used(place: Path) -> None:
    """Remember the use of what is in ``place``, for cleaning by age; it may be read-only for this user."""
    with suppress(OSError):
        os.utime(place / INDEX)


def caches(folder: Path) -> list[Path]:
    """The caches below the cache folder ``folder``.

    What else lies there, as images of the user's own in a folder of that name, is none of ours.
    """
    return [path for path in _found(folder, "*") if _is_ours(path)]


def drop_locks(folder: Path) -> None:
    """Delete the locks of caches that are no longer there."""
    for lock in _found(folder, "*.lock"):
        home = lock.with_suffix("")
        if _is_named_so(home) and not home.exists() and lock.lstat().st_size == 0:
            with unused(home):
                pass


def _found(folder: Path, pattern: str) -> list[Path]:
    """Return the contents of the folder of all caches; nothing where that is a link."""
    return sorted((folder / FOLDER).glob(pattern)) if is_folder(folder / FOLDER) else []


@contextmanager
def unused(home: Path) -> Iterator[bool]:
    """Yield whether no run decodes or checks the images of a cache; then none can start to in the block.

    A run that trains on them has their file open, and reads on after it was deleted, as POSIX has it. If the
    cache is gone after the block, its lock goes too: who waits for one that was deleted makes another. The
    folder of all caches stays, since a run may be about to make its lock there.
    """
    with attempted(lock_of(home)) as got:
        yield got
        if got and not home.exists():
            with suppress(OSError):  # not allowed, or not while it is open
                lock_of(home).unlink()


def _is_ours(home: Path) -> bool:
    """Return whether a folder has the name of a cache and holds nothing but its files."""
    try:
        return _is_named_so(home) and is_folder(home) and all(map(is_place, home.iterdir()))
    except FileNotFoundError:  # a run beside this process replaces it
        return False


def _is_named_so(home: Path) -> bool:
    return bool(re.fullmatch(f"{KEY}|{TRASH}", home.name))


def is_place(place: Path) -> bool:
    """Return whether a folder is called as one for a state of the files, and holds what is written there."""
    named_so = place.name == MAKING or bool(re.fullmatch(KEY, place.name))
    return named_so and is_folder(place) and {path.name for path in place.iterdir()} <= {INDEX, PIXELS}
