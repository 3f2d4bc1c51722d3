"""The runs below some folders: finished, failed, and what there is to say of the others."""

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pruneflow.errors import PruneflowError
from pruneflow.flow import results
from pruneflow.flow.figures import Result
from pruneflow.flow.run_folder import FAILURE_FILE, failure_in


@dataclass(frozen=True)
class Run:
    """A run that has finished.

    Attributes:
        name: Its folder, as seen from the one that all of them are in.
    """

    name: str
    folder: Path
    result: Result


@dataclass(frozen=True)
class Failed:
    """A run that failed, and its message."""

    name: str
    folder: Path
    message: str


@dataclass(frozen=True)
class LeftOut:
    """A folder that is not shown, the reason, and whether it is broken or unreadable."""

    notice: str
    broken: bool


@dataclass(frozen=True)
class Collected:
    """The runs below some folders.

    Attributes:
        runs: The runs that have finished, by name.
        left_out: What could not be read or is not there yet.
    """

    folders: tuple[Path, ...]
    runs: list[Run]
    failed: list[Failed]
    left_out: list[LeftOut]

    @property
    def notices(self) -> list[str]:
        """Notices about the folders that were left out, a line each."""
        return [each.notice for each in self.left_out]


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
    unread: list[LeftOut] = []
    places = {place.resolve(): place for folder in folders for place in _runs_below(folder, unread)}
    base = _common(folders)
    found = [_look(place, _name(place, base)) for place in sorted(places.values())]
    collected = Collected(
        folders=tuple(folders),
        runs=[each for each in found if isinstance(each, Run)],
        failed=[each for each in found if isinstance(each, Failed)],
        left_out=[each for each in found if isinstance(each, LeftOut)] + unread,
    )
    if not places and not unread:
        shown = ", ".join(map(str, folders))
        raise PruneflowError(
            f"{shown}: there is no run in it. Name a folder below outputs/, of a run or of a sweep."
        )
    return collected


def is_run(folder: Path) -> bool:
    """Return whether a folder belongs to a run, finished or not."""
    marks = ("result.json", FAILURE_FILE, ".hydra/overrides.yaml")
    return any(os.path.lexists(folder / mark) for mark in marks)


def _runs_below(folder: Path, unread: list[LeftOut]) -> Iterator[Path]:
    """Folders of runs; links are followed, each folder once. What cannot be read is noted in ``unread``."""

    def note(error: OSError) -> None:
        said = f"{error.filename}: left out, it cannot be read: {error.strerror}."
        unread.append(LeftOut(said, broken=True))

    seen = set()
    for place, inner, _ in os.walk(folder, followlinks=True, onerror=note):
        real = os.path.realpath(place)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        if not os.access(place, os.X_OK):  # its names could be read, and nothing else
            note(PermissionError(errno.EACCES, os.strerror(errno.EACCES), place))
            inner.clear()
        elif is_run(Path(place)):
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


def _look(folder: Path, name: str) -> Run | Failed | LeftOut:
    if (message := failure_in(folder)) is not None:
        return Failed(name, folder, message)
    if not os.path.lexists(folder / "result.json"):
        notice = f"{name}: there is no result yet. It is under way, or was cut off; the same command goes on."
        return LeftOut(notice, broken=False)
    try:
        return Run(name, folder, results.read(folder))
    except (PruneflowError, OSError) as error:
        return LeftOut(f"{name}: left out. {error}", broken=True)
