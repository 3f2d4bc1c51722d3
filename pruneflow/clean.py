"""``python -m pruneflow.clean``: delete stages by age or by size, those that were used last stay."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pruneflow.files import remove_folder
from pruneflow.manifests import LAYOUT, MANIFEST
from pruneflow.stages import LOCKS, RUNS, other_layouts, unused

__all__ = ["Entry", "clean", "entries", "main"]

UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
DAY_S = 86_400


@dataclass(frozen=True)
class Entry:
    """Something in a store that can be deleted.

    Attributes:
        path: Its folder.
        size_bytes: Size of all files in it.
        used: When it was last used, seconds since the epoch.
    """

    path: Path
    size_bytes: int
    used: float


def entries(folder: Path) -> list[Entry]:
    """What is in the store in ``folder``: stages, what killed runs left, and stores of other versions."""
    return sorted((_entry(path) for path in _paths(folder)), key=lambda entry: entry.used)


def _paths(folder: Path) -> Iterator[Path]:
    yield from other_layouts(folder)
    for kind in sorted((folder / LAYOUT).glob("*")):
        if kind.is_dir() and kind.name not in (LOCKS, RUNS):
            yield from (path for path in sorted(kind.iterdir()) if path.is_dir())


def _entry(path: Path) -> Entry:
    files = {}
    for file in path.rglob("*"):
        with suppress(FileNotFoundError):  # a run beside this command renames what it has finished
            if file.is_file():
                files[file] = file.stat()
    newest = max((found.st_mtime for found in files.values()), default=0.0)
    manifest = files.get(path / MANIFEST)
    used = manifest.st_mtime if manifest else newest
    return Entry(path, sum(found.st_size for found in files.values()), used)


def clean(folder: Path, *, unused_s: float | None = None, size_bytes: int | None = None) -> list[Entry]:
    """Delete what was not used for ``unused_s`` seconds, then the longest unused down to ``size_bytes``.

    What a run is working on is left alone, as are the runs' own folders.

    Returns:
        What was deleted.
    """
    found = entries(folder)
    total = sum(entry.size_bytes for entry in found)
    deleted = []
    for entry in found:
        old = unused_s is not None and time.time() - entry.used > unused_s
        much = size_bytes is not None and total > size_bytes
        if (old or much) and _delete(entry):
            deleted.append(entry)
            total -= entry.size_bytes
    return deleted


def _delete(entry: Entry) -> bool:
    """Delete it, unless a run works on it or has used it in the meantime."""
    with unused(entry.path) as free:
        wanted = free and entry.path.exists() and _entry(entry.path).used <= entry.used
        if wanted:
            remove_folder(entry.path)
    return wanted


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser("python -m pruneflow.clean", description=__doc__, allow_abbrev=False)
    parser.add_argument("--dir", type=Path, default=Path("outputs/.stages"), help="the store, stages.dir")
    parser.add_argument("--unused-days", type=float, help="delete what was not used for so many days")
    parser.add_argument("--max-size", type=_size, help="then keep at most so much, for instance 500M or 5G")
    chosen = parser.parse_args(arguments)
    if chosen.unused_days is None and chosen.max_size is None:
        parser.error("nothing to do: give --unused-days, --max-size or both")
    if not chosen.dir.is_dir():
        parser.error(f"--dir={chosen.dir}: there is no such folder; name the one in stages.dir")
    return _carry_out(chosen)


def _carry_out(chosen: argparse.Namespace) -> int:
    unused_s = None if chosen.unused_days is None else chosen.unused_days * DAY_S
    try:
        deleted = clean(chosen.dir, unused_s=unused_s, size_bytes=chosen.max_size)
    except OSError as error:
        print(
            f"{error.filename} cannot be deleted: {error.strerror}. Check its permissions.", file=sys.stderr
        )
        return 1
    left = entries(chosen.dir)
    print(f"Deleted {len(deleted)} stages, {_mb(deleted)}.")
    print(f"Left    {len(left)} stages, {_mb(left)}, in {chosen.dir}.")
    return 0


def _mb(found: Sequence[Entry]) -> str:
    return f"{sum(entry.size_bytes for entry in found) / 10**6:,.1f} MB"


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMGT]?)B?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text}: write a number and a unit, for instance 500M or 5G")
    return int(float(match[1]) * UNITS[match[2]])


if __name__ == "__main__":
    sys.exit(main())
