"""Stages: results kept under a digest of exactly what they depend on, so that none is computed twice."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pruneflow.datasets.reading.names import printable
from pruneflow.errors import PruneflowError
from pruneflow.flow.manifests import (
    LAYOUT,
    MANIFEST,
    SCRATCH,
    digest_of,
    is_stated,
    problem,
    strangers,
    write_manifest,
)
from pruneflow.options import Numbers, require, require_number
from pruneflow.runtime.files import TRASH, is_folder, remove_folder, remove_temporaries
from pruneflow.runtime.locks import attempted, locked
from pruneflow.runtime.signals import undisturbed
from pruneflow.runtime.surroundings import expanded
from pruneflow.runtime.terminal import warn

DIGEST = r"[0-9a-f]{64}"
LOCKS, RUNS = "locks", "runs"  # folders of a store, beside one for each kind of stage


@dataclass(kw_only=True)
class Stages:
    """The folder of finished stages, and whether they are used again."""

    dir: str
    reuse: bool
    checkpoint_seconds: float | None

    def __post_init__(self) -> None:
        require(bool(self.dir.strip()), "stages.dir", self.dir, "it is empty", "Name a folder.")
        problem = "allowed are numbers from 0 (after every step), or null (never)"
        allowed = Numbers(problem, lambda value: 0 <= value < float("inf"))
        remedy = "30 costs less than a hundredth of the time."
        require_number("stages.checkpoint_seconds", self.checkpoint_seconds, allowed, remedy)

    @property
    def folder(self) -> Path:
        """Folder of the store."""
        return expanded("stages.dir", self.dir)

    def open(self) -> Store:
        """The store that these settings name; what other versions wrote there is ignored with a word."""
        others = [each.name for each in layouts(self.folder) if each.name != LAYOUT and any(stages_in(each))]
        if others:
            warn(
                f"Ignored    {', '.join(others)} in {self.folder}: written by another version of pruneflow. "
                "python -m pruneflow.clean deletes what is no longer used."
            )
        return Store(self.folder, reuse=self.reuse)


@dataclass(frozen=True)
class Stage:
    """One finished stage.

    Attributes:
        digest: SHA-256 over everything that its result depends on, hexadecimal.
        path: Folder in the store that holds the result.
        reused: Whether the result was there before.
    """

    digest: str
    path: str
    reused: bool


class Store:
    """Finished stages below one folder, and the checkpoints of those that are under way.

    A stage is made in ``<digest>.part``, under a lock that ends with its owner, and renamed when it is whole.
    The ``scratch`` in a ``.part`` that a killed process left is handed to the next one that makes the stage.
    """

    def __init__(self, folder: Path, *, reuse: bool = True) -> None:
        self.folder, self.reuse = folder / LAYOUT, reuse

    @contextmanager
    def held(self, name: str, inputs: Mapping[str, Any]) -> Iterator[Held]:
        """Hold a stage: nobody else makes or removes it in the block.

        Args:
            name: Kind of the stage, such as ``"dense"``.
            inputs: Everything that the result depends on, as JSON takes it.
        """
        digest = digest_of(name, inputs)
        place = self.folder / name / digest
        with _writing(self.folder):
            place.parent.mkdir(parents=True, exist_ok=True)
            _lock_of(place).parent.mkdir(exist_ok=True)
        waiting = f"Waits      for another run that makes stage {name} {digest[:12]}"
        with locked(_lock_of(place), waiting=waiting):
            reused = self.reuse and _is_whole(place)
            if reused:
                _touch(place)
            missing = not reused and not self._is_taken_up(place)
            stage = Stage(digest, str(place), reused)
            yield Held(stage, missing, {"name": name, "digest": digest, "inputs": inputs})

    def _is_taken_up(self, place: Path) -> bool:
        """Prepare the folder that a stage is made in; return whether a killed process had made it whole."""
        work = place.with_suffix(".part")
        scratch = work / SCRATCH
        with _writing(self.folder):
            if not self.reuse or not is_folder(work):
                remove_folder(work)
            elif not is_folder(scratch):
                remove_folder(scratch)
            scratch.mkdir(parents=True, exist_ok=True)
            whole = not problem(work, place.name)  # it was cut off between the manifest and the new name
            if whole:
                _finish(place)
            else:
                _clear(work)
        return whole


@dataclass
class Held:
    """A stage that is held.

    Attributes:
        missing: Whether it has to be made.
        facts: What its manifest says of it.
    """

    stage: Stage
    missing: bool
    facts: dict[str, Any] = field(repr=False)

    @contextmanager
    def making(self) -> Iterator[Path]:
        """Make the stage: the block writes the result into the folder that it is given.

        The ``scratch`` in it holds what an earlier call left there that was cut off. Signals are held back.
        """
        place = Path(self.stage.path)
        work = place.with_suffix(".part")
        with undisturbed():
            yield work
        write_manifest(work, self.facts)
        with _writing(place.parent.parent):
            _finish(place)
        self.missing = False


def _finish(place: Path) -> None:
    work = place.with_suffix(".part")
    shutil.rmtree(work / SCRATCH)
    _give_way(place)
    work.rename(place)


@contextmanager
def unused(place: Path) -> Iterator[bool]:
    """Yield whether no run works on the stage in ``place``; then none can start to in the block.

    In the store of another version: whether, besides, no run works on any of its stages at this moment.
    """
    layout = place.parent.parent
    idle = layout.name == LAYOUT or all(_is_free(file) for file in (layout / LOCKS).iterdir())
    with attempted(_lock_of(place)) as got:
        yield got and idle


def _is_free(lock: Path) -> bool:
    with attempted(lock) as got:
        return got


def _lock_of(place: Path) -> Path:
    """The lock of the stage in ``<kind>/<digest>``, whole or still ``.part``."""
    return place.parent.parent / LOCKS / f"{place.parent.name}-{place.stem}"


def layouts(folder: Path) -> list[Path]:
    """Stores of this version and of others in the folder of a store; none where a folder is no store."""
    named_so = [place for place in folder.glob("v*") if re.fullmatch(r"v\d+", place.name)]
    return sorted(place for place in named_so if is_folder(place) and is_folder(place / LOCKS))


def stages_in(layout: Path) -> Iterator[Path]:
    """Stages in the store of one version, finished or not; what else lies there is none of ours."""
    for kind in sorted(layout.iterdir()):
        if is_folder(kind) and kind.name not in (LOCKS, RUNS):
            yield from (place for place in sorted(kind.iterdir()) if is_folder(place) and _is_ours(place))


def _is_ours(place: Path) -> bool:
    """Return whether a stage is proved to be ours: by its manifest, or by its lock where it has none yet."""
    if re.fullmatch(DIGEST, place.name):
        return is_stated(place) and not strangers(place)
    if re.fullmatch(rf"{DIGEST}\.part", place.name):
        return _lock_of(place).is_file()
    locks = [lock.name for lock in (place.parent.parent / LOCKS).iterdir()]
    begins = f"{place.parent.name}-{place.name[:12]}"
    return bool(re.fullmatch(TRASH, place.name)) and any(lock.startswith(begins) for lock in locks)


def _give_way(place: Path) -> None:
    """Delete a stage that is made anew, but for one in which somebody keeps files of their own."""
    if others := strangers(place):
        kept = place.with_name(f"{place.name[:12]}.{secrets.token_hex(4)}.kept")
        place.rename(kept)
        warn(f"Kept       {kept}, since {printable(others[0])} in it is none of pruneflow's.")
    else:
        remove_folder(place)


def _clear(work: Path) -> None:
    """Delete what a process that was killed left, but for its scratch."""
    for path in work.iterdir():
        if path.name != SCRATCH:
            shutil.rmtree(path) if is_folder(path) else path.unlink()
    remove_temporaries(work / SCRATCH)


def _is_whole(place: Path) -> bool:
    """Return whether a finished stage is there and every byte is as it was written."""
    if not os.path.lexists(place):
        return False
    found = problem(place, place.name)
    if found:
        warn(f"Stage {place} is corrupt ({found}) and is computed anew.")
    return not found


def _touch(place: Path) -> None:
    """Remember the use, for cleaning by age; a store may be read-only for this user."""
    with suppress(OSError):
        (place / MANIFEST).touch()


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PruneflowError(
            f"{error.filename or folder} cannot be written: {error.strerror}. Free space or permissions "
            "there, or choose another stages.dir."
        ) from error
