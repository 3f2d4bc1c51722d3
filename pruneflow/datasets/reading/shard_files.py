"""A folder with TFRecord files: which there are, and of which part each is; none is opened."""

import fnmatch
import re
from collections.abc import Sequence
from pathlib import Path

from pruneflow.datasets.reading.files import reading
from pruneflow.datasets.reading.names import listed
from pruneflow.errors import DataError

NUMBERED = re.compile(r"(.*?)(\d+)-of-(\d+)(.*)")  # name-00003-of-00010.tfrecord
WORDS = {"validation": "validation|valid|val", "test": "test"}  # in names of files, by part


def listed_shards(root: Path, patterns: dict[str, str | None]) -> dict[str, list[Path]]:
    """Find the files of each part.

    Args:
        patterns: Glob pattern of ``train``, ``validation`` and ``test``, against paths below the folder. None
            of validation and test takes the files whose names have that word; of train, all others.

    Returns:
        The files of each part, by name; none of a part that no file is named after.

    Raises:
        DataError: if there are none, if a pattern matches none, if a numbered set is not whole, or if a file
            is in two parts.
    """
    if root.exists() and not root.is_dir():
        raise DataError(f"{root}: a file, expected a folder with TFRecord files.")
    with reading(root, "a folder"):
        below = sorted(path for path in root.rglob("*") if path.is_file() and path.name[0] != ".")
    files = {path.relative_to(root).as_posix(): path for path in below}
    parts = _parts(root, list(files), patterns)
    _refuse_two_parts(root, parts)
    _require_whole_sets(root, files, parts)
    return {part: [files[name] for name in names] for part, names in parts.items()}


def _parts(root: Path, names: list[str], patterns: dict[str, str | None]) -> dict[str, list[str]]:
    usual = [name for name in names if "tfrecord" in name.lower()]
    parts = {part: [name for name in usual if _says(name, part)] for part in WORDS}
    asked = {part: pattern for part, pattern in patterns.items() if pattern is not None}
    for part, pattern in asked.items():
        parts[part] = fnmatch.filter(names, pattern)
        if not parts[part]:
            raise DataError(f"{root}: no file of dataset.{part}={pattern}; it holds {_held(names)}.")
    others = [name for name in usual if not any(name in each for each in parts.values())]
    parts.setdefault("train", others)
    if not parts["train"]:
        raise DataError(f"{root}: no TFRecord files for training; it holds {_held(names)}.")
    return parts


def _says(name: str, part: str) -> bool:
    """Return whether the name of a file says that it is of a part.

    >>> _says("my_test-00000.tfrecord", "test"), _says("latest.tfrecord", "test")
    (True, False)
    """
    return bool(re.search(rf"(?<![a-z])({WORDS[part]})(?![a-z])", name.lower()))


def _held(names: Sequence[str]) -> str:
    return listed(names) or "no files"


def _refuse_two_parts(root: Path, parts: dict[str, list[str]]) -> None:
    first: dict[str, str] = {}
    for part, names in parts.items():
        for name in names:
            if (other := first.setdefault(name, part)) != part:
                raise DataError(
                    f"{root}: {name} is in the {other} and the {part} part, by dataset.{other} and "
                    f"dataset.{part}. Choose patterns that have no file in common."
                )


def _require_whole_sets(root: Path, files: dict[str, Path], parts: dict[str, list[str]]) -> None:
    """Refuse files that are numbered as some of so many, of which others are not there."""
    found = [NUMBERED.fullmatch(name) for names in parts.values() for name in names]
    sets = {(each[1], len(each[2]), each[3], each[4]) for each in found if each}
    for before, digits, total, after in sorted(sets):
        whole = (f"{before}{n:0{digits}}-of-{total}{after}" for n in range(int(total)))
        missing = [each for each in whole if each not in files]
        if missing:
            raise DataError(
                f"{root}: {len(missing):,} of {int(total):,} shards are missing: {listed(missing)}. Copy "
                "them there, or rename the others if these are all."
            )
