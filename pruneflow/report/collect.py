"""The runs below some folders: finished, failed, and what there is to say of the others."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruneflow import results, summary
from pruneflow.errors import PruneflowError
from pruneflow.sweep import FAILURE_FILE, failure_of

__all__ = ["Collected", "Failed", "Run", "collect", "is_run"]


@dataclass(frozen=True)
class Run:
    """A run that has finished.

    Attributes:
        name: Its folder, as seen from the one that all of them are in.
        folder: Its folder.
        result: What ``result.json`` holds.
    """

    name: str
    folder: Path
    result: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    """A run that failed, and its message."""

    name: str
    folder: Path
    message: str


@dataclass(frozen=True)
class Collected:
    """What lies below some folders.

    Attributes:
        folders: The folders.
        runs: The runs that have finished, by name.
        failed: The runs that failed.
        notices: What could not be read or is not there yet, a line each.
    """

    folders: tuple[Path, ...]
    runs: list[Run]
    failed: list[Failed]
    notices: list[str]


def collect(folders: Sequence[Path]) -> Collected:
    """Find all runs in and below ``folders``; what is hidden, such as a store of stages, is left alone.

    Raises:
        PruneflowError: for a folder that is not there, or where there is nothing of a run in any.
    """
    if len(folders) > 1:  # as a shell gives them for a star: files among them are no runs
        folders = [folder for folder in folders if not folder.is_file()] or folders
    for folder in folders:
        if not folder.is_dir():
            raise PruneflowError(
                f"{folder}: there is no such folder. Name the folder of a run or of a sweep, below outputs/."
            )
    unread: list[str] = []
    places = {place.resolve(): place for folder in folders for place in _runs_below(folder, unread)}
    base = _common(folders)
    found = [_look(place, _name(place, base)) for place in sorted(places.values())]
    collected = Collected(
        folders=tuple(folders),
        runs=[each for each in found if isinstance(each, Run)],
        failed=[each for each in found if isinstance(each, Failed)],
        notices=[each for each in found if isinstance(each, str)] + unread,
    )
    if not places:
        shown = ", ".join(map(str, folders))
        raise PruneflowError(
            f"{shown}: there is no run in it. Name a folder below outputs/, of a run or of a sweep."
        )
    return collected


def is_run(folder: Path) -> bool:
    """Whether a run, of whatever state, has this folder."""
    marks = ("result.json", FAILURE_FILE, ".hydra/overrides.yaml")
    return any((folder / mark).is_file() for mark in marks)


def _runs_below(folder: Path, unread: list[str]) -> Iterator[Path]:
    """Folders of runs; links are followed, each folder once. What cannot be read is noted in ``unread``."""

    def note(error: OSError) -> None:
        unread.append(f"{error.filename}: left out, it cannot be read: {error.strerror}.")

    seen = set()
    for place, inner, _ in os.walk(folder, followlinks=True, onerror=note):
        real = os.path.realpath(place)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        if is_run(Path(place)):
            inner.clear()  # there is no run in a run
            yield Path(place)
        else:
            inner[:] = sorted(name for name in inner if not name.startswith("."))


def _name(place: Path, base: Path) -> str:
    """A run's folder as seen from the one that all are in; a linked one under the name of its link."""
    return os.path.relpath(place.absolute(), base) if place.is_symlink() else _inside(place, base)


def _inside(place: Path, base: Path) -> str:
    real = place.resolve()
    return str(real.relative_to(base)) if real.is_relative_to(base) else str(place)


def _common(folders: Sequence[Path]) -> Path:
    """The innermost folder that all are in; of a single run the one above it."""
    base = Path(os.path.commonpath([folder.resolve() for folder in folders]))
    return base.parent if is_run(base) else base


def _look(folder: Path, name: str) -> Run | Failed | str:
    if (folder / FAILURE_FILE).is_file():
        return Failed(name, folder, failure_of(folder))
    if not (folder / "result.json").is_file():
        return f"{name}: there is no result yet. It is under way, or was cut off; the same command goes on."
    try:
        run = Run(name, folder, results.read(folder))
        _require_whole(run)
    except (PruneflowError, OSError) as error:
        return f"{name}: left out. {error}"
    except (KeyError, TypeError, ValueError) as error:
        return f"{name}: left out. {folder / 'result.json'} is not whole: {type(error).__name__}: {error}."
    return run


def _require_whole(run: Run) -> None:
    """Look once at what a page shows, so that one broken result costs its own row only."""
    result = run.result
    list(summary.findings(result))
    summary.run_rows(result)
    for part in ("config", "data", "device", "versions", "plan"):
        dict(result[part])
    for file in result["tflite"]:
        reached = [summary.quality(result, file, part) for part in ("test", "validation")]
        least = 0 if summary.metric_of(result) == "accuracy" else -math.inf
        if not (file["gzip_bytes"] > 0 and all(each is not None and least <= each <= 1 for each in reached)):
            raise ValueError("a size or an accuracy that cannot be")
