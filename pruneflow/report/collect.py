"""The runs below some folders: finished, failed, and what there is to say of the others."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruneflow import results
from pruneflow.errors import PruneflowError
from pruneflow.sweep import FAILURE_FILE

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
    for folder in folders:
        if not folder.is_dir():
            raise PruneflowError(
                f"{folder}: there is no such folder. Name the folder of a run or of a sweep, below outputs/."
            )
    places = sorted({place.resolve(): place for folder in folders for place in _runs_below(folder)}.values())
    base = _common(folders)
    found = [_look(place, str(place.resolve().relative_to(base))) for place in places]
    collected = Collected(
        folders=tuple(folders),
        runs=[each for each in found if isinstance(each, Run)],
        failed=[each for each in found if isinstance(each, Failed)],
        notices=[each for each in found if isinstance(each, str)],
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


def _runs_below(folder: Path) -> Iterator[Path]:
    for place, inner, _ in os.walk(folder):
        if is_run(Path(place)):
            inner.clear()  # there is no run in a run
            yield Path(place)
        else:
            inner[:] = sorted(name for name in inner if not name.startswith("."))


def _common(folders: Sequence[Path]) -> Path:
    """The innermost folder that all are in; of a single run the one above it."""
    base = Path(os.path.commonpath([folder.resolve() for folder in folders]))
    return base.parent if is_run(base) else base


def _look(folder: Path, name: str) -> Run | Failed | str:
    if (folder / FAILURE_FILE).is_file():
        return Failed(name, folder, _message(folder / FAILURE_FILE))
    if not (folder / "result.json").is_file():
        return f"{name}: there is no result yet. It is under way, or was cut off; the same command goes on."
    try:
        return Run(name, folder, results.read(folder))
    except (PruneflowError, OSError) as error:
        return f"{name}: left out. {error}"


def _message(file: Path) -> str:
    try:
        return str(json.loads(file.read_text())["message"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"it failed, and {file.name} cannot be read"
