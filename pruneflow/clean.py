"""``python -m pruneflow.clean``: delete stages, and caches of decoded images, by age or by size.

Those that were used last stay, and so does whatever cannot be proved to be pruneflow's.
"""

import argparse
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from pruneflow.datasets.reading import image_cache
from pruneflow.datasets.reading.cache import image_folder
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.flow.manifests import MANIFEST
from pruneflow.flow.store import layouts, stages_in, unused
from pruneflow.runtime.files import remove_folder
from pruneflow.runtime.process import run_command
from pruneflow.runtime.terminal import complain, printing

UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
DAY_S = 86_400
STORE = Path("outputs/.stages")  # as stages.dir has it


@dataclass(frozen=True)
class Entry:
    """Something that can be deleted.

    Attributes:
        used: When it was last used, seconds since the epoch.
    """

    path: Path
    size_bytes: int
    used: float


@dataclass(frozen=True)
class Kind:
    """A kind of things that can be deleted.

    Attributes:
        paths: Finds them in a folder.
        mark: Pattern of the files in one whose time is that of its last use.
        unused: Whether no run works on the one in a path; then none can start to in the block.
    """

    name: str
    paths: Callable[[Path], Iterable[Path]]
    mark: str
    unused: Callable[[Path], AbstractContextManager[bool]]


def _stages(folder: Path) -> Iterator[Path]:
    """Stages, and what killed runs left of some, of this version and of others."""
    for layout in layouts(folder):
        yield from stages_in(layout)


STAGES = Kind("stages", _stages, MANIFEST, unused)
IMAGES = Kind("caches of decoded images", image_cache.caches, f"*/{image_cache.INDEX}", image_cache.unused)


def entries(folder: Path, kind: Kind = STAGES) -> list[Entry]:
    """Return the entries of a kind, the longest unused first."""
    return sorted((_entry(path, kind) for path in kind.paths(folder)), key=lambda entry: entry.used)


def _entry(path: Path, kind: Kind) -> Entry:
    files = {}
    for file in path.rglob("*"):
        with suppress(FileNotFoundError):  # a run beside this command renames what it has finished
            if file.is_file() and not file.is_symlink():
                files[file] = file.stat()
    newest = max((found.st_mtime for found in files.values()), default=0.0)
    used = max((files[file].st_mtime for file in path.glob(kind.mark) if file in files), default=newest)
    return Entry(path, sum(found.st_size for found in files.values()), used)


def clean(
    folder: Path,
    kind: Kind = STAGES,
    *,
    unused_s: float | None = None,
    size_bytes: int | None = None,
    dry_run: bool = False,
) -> list[Entry]:
    """Delete what was not used for ``unused_s`` seconds, then the longest unused down to ``size_bytes``.

    What a run is working on is left alone, as are the runs' own folders. A dry run deletes nothing, and does
    not look for runs that work on something.

    Returns:
        What was deleted, or would be.
    """
    found = entries(folder, kind)
    total = sum(entry.size_bytes for entry in found)
    deleted = []
    for entry in found:
        old = unused_s is not None and time.time() - entry.used > unused_s
        much = size_bytes is not None and total > size_bytes
        if (old or much) and (dry_run or _delete(entry, kind)):
            deleted.append(entry)
            total -= entry.size_bytes
    return deleted


def _delete(entry: Entry, kind: Kind) -> bool:
    """Delete it, unless a run works on it or has used it in the meantime."""
    with kind.unused(entry.path) as free:
        wanted = free and entry.path.exists() and _entry(entry.path, kind).used <= entry.used
        if wanted:
            remove_folder(entry.path)
    return wanted


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser("python -m pruneflow.clean", description=__doc__, allow_abbrev=False)
    parser.add_argument("--dir", type=_folder, help=f"the store, stages.dir; by default {STORE}")
    parser.add_argument(
        "--images",
        nargs="?",
        type=_folder,
        const=True,
        metavar="FOLDER",
        help="clean the caches of decoded images too, by the same rules; FOLDER is dataset.cache_dir, by "
        "default the user's cache folder",
    )
    parser.add_argument("--unused-days", type=_days, help="delete what was not used for so many days")
    parser.add_argument("--max-size", type=_size, help="then keep at most so much, for instance 500M or 5G")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="delete nothing; show what would be deleted, unless a run works on it then",
    )
    chosen = parser.parse_args(arguments)
    if chosen.unused_days is None and chosen.max_size is None:
        parser.error("nothing to do: give --unused-days, --max-size or both")
    try:
        with printing():
            return _carry_out(_places(chosen), chosen)
    except ConfigError as error:
        parser.error(str(error))
    except PruneflowError as error:
        complain(str(error))
        return error.exit_code
    except OSError as error:
        complain(f"{error.filename} cannot be read or deleted: {error.strerror}. Check its permissions.")
        return 1


def _places(chosen: argparse.Namespace) -> list[tuple[Kind, Path]]:
    """Return the kinds that are cleaned, and their folders."""
    places = []
    if chosen.images is not None:
        folder = image_folder(None if chosen.images is True else str(chosen.images))
        if chosen.images is not True and not folder.is_dir():  # the user's is made when it is first needed
            raise ConfigError(
                f"--images={folder}: there is no such folder; name the one in dataset.cache_dir"
            )
        places.append((IMAGES, folder))
    store = chosen.dir or STORE
    if store.is_dir():
        if not layouts(store):
            raise ConfigError(f"--dir={store}: it is no store of stages; name the folder in stages.dir")
        return [(STAGES, store), *places]
    if places and not chosen.dir:  # only images are asked for
        return places
    raise ConfigError(f"--dir={store}: there is no such folder; name the one in stages.dir")


def _carry_out(places: Sequence[tuple[Kind, Path]], chosen: argparse.Namespace) -> int:
    unused_s = None if chosen.unused_days is None else chosen.unused_days * DAY_S
    for kind, folder in places:
        dry = chosen.dry_run
        deleted = clean(folder, kind, unused_s=unused_s, size_bytes=chosen.max_size, dry_run=dry)
        if kind is IMAGES and not dry:
            image_cache.drop_locks(folder)
        for entry in deleted if dry else []:
            print(f"{entry.path}  {_mb([entry])}")
        left = [entry for entry in entries(folder, kind) if entry not in deleted]
        print(f"{'Would delete' if dry else 'Deleted'} {len(deleted)} {kind.name}, {_mb(deleted)}.")
        print(f"{'Would leave ' if dry else 'Left   '} {len(left)} {kind.name}, {_mb(left)}, in {folder}.")
    return 0


def _mb(found: Sequence[Entry]) -> str:
    return f"{sum(entry.size_bytes for entry in found) / 10**6:,.1f} MB"


def _folder(text: str) -> Path:
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; name a folder")
    return Path(text)


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not 0 <= days < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: allowed are numbers from 0; 30 is usual")
    return days


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMGT]?)B?", text)
    size = float(match[1]) * UNITS[match[2]] if match else math.inf
    if math.isinf(size):
        raise argparse.ArgumentTypeError(f"{text}: write a number and a unit, for instance 500M or 5G")
    return int(size)


if __name__ == "__main__":
    run_command(main)
