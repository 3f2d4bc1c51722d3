"""``python -m pruneflow.clean``: delete stages by age or by size, those that were used last stay."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pruneflow.stages import LAYOUT, MANIFEST, Store, in_use

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
    for layout in sorted(folder.glob("v*/")):
        if layout.name != LAYOUT:
            yield layout
            continue
        for kind in sorted(layout.iterdir()):
            if kind.is_dir() and kind.name not in Store.OWN_FOLDERS:
                yield from (path for path in sorted(kind.iterdir()) if path.is_dir())


def _entry(path: Path) -> Entry:
    files = [file.stat() for file in path.rglob("*") if file.is_file()]
    manifest = path / MANIFEST
    used = manifest.stat().st_mtime if manifest.exists() else max((f.st_mtime for f in files), default=0.0)
    return Entry(path, sum(file.st_size for file in files), used)


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
        if (old or much) and _delete(entry.path):
            deleted.append(entry)
            total -= entry.size_bytes
    return deleted


def _delete(path: Path) -> bool:
    with in_use(path) as busy:
        if not busy:
            shutil.rmtree(path)
    return not busy


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
    unused_s = None if chosen.unused_days is None else chosen.unused_days * DAY_S
    deleted = clean(chosen.dir, unused_s=unused_s, size_bytes=chosen.max_size)
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
