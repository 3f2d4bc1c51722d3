"""Stages: results kept under a digest of exactly what they depend on, so that none is computed twice."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from pruneflow.errors import PruneflowError
from pruneflow.files import remove_temporaries, write_file
from pruneflow.options import require
from pruneflow.signals import undisturbed
from pruneflow.terminal import console

__all__ = [
    "LAYOUT",
    "MANIFEST",
    "SCRATCH",
    "Stage",
    "Stages",
    "Store",
    "digest_of",
    "in_use",
    "locked",
    "other_layouts",
]

LAYOUT = "v1"  # of the store's folders and manifests; another one lies beside it and is left alone
MANIFEST = "manifest.json"
SCRATCH = (
    "scratch"  # in the folder of a stage that is being made: what helps to make it, such as a checkpoint
)
LOCK_POLL_S = 0.1

T = TypeVar("T")


@dataclass(kw_only=True)
class Stages:
    """Where results of stages are kept, and whether they are used again.

    Attributes:
        dir: Folder of the store; may be shared between machines.
        reuse: Whether finished stages, and runs that were cut off, are taken up; else all is computed anew.
        checkpoint_seconds: Least seconds of training between two checkpoints; null takes none.
    """

    dir: str
    reuse: bool
    checkpoint_seconds: float | None

    def __post_init__(self) -> None:
        """Refuse an empty folder name and a negative interval."""
        require(bool(self.dir.strip()), "stages.dir", self.dir, "it is empty", "Name a folder.")
        seconds = self.checkpoint_seconds
        require(
            seconds is None or 0 <= seconds < float("inf"),
            "stages.checkpoint_seconds",
            seconds,
            "allowed are numbers from 0 (after every step), or null (never)",
            "30 costs less than a hundredth of the time.",
        )

    @property
    def folder(self) -> Path:
        """Folder of the store."""
        return Path(self.dir).expanduser()

    def open(self) -> Store:
        """The store that these settings name; what other versions wrote there is ignored with a word."""
        others = [folder.name for folder in other_layouts(self.folder)]
        if others:
            console.print(
                f"[bold yellow]Ignored    {', '.join(others)} in {self.folder}: written by another version "
                "of pruneflow. python -m pruneflow.clean deletes what is no longer used.[/bold yellow]",
                soft_wrap=True,
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


def digest_of(name: str, inputs: Mapping[str, Any]) -> str:
    """SHA-256 over the name of a stage and its inputs, whatever their order.

    >>> digest_of("dense", {"a": 1, "b": 2}) == digest_of("dense", {"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(_canonical({"stage": name, "inputs": inputs}).encode()).hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


class Store:
    """Finished stages below one folder, and the checkpoints of those that are under way.

    A stage is made in ``<digest>.part``, under a lock that ends with its owner, and renamed when it is whole.
    The ``scratch`` in a ``.part`` that a killed process left is handed to the next one that makes the stage.
    """

    OWN_FOLDERS = ("locks", "runs")  # beside those of the kinds of stages

    def __init__(self, folder: Path, *, reuse: bool = True) -> None:
        self.folder, self.reuse = folder / LAYOUT, reuse

    def get(
        self,
        name: str,
        inputs: Mapping[str, Any],
        *,
        make: Callable[[Path], None],
        read: Callable[[Stage], T],
    ) -> tuple[Stage, T]:
        """Take a finished stage, or make it.

        Args:
            name: Kind of the stage, such as ``"dense"``.
            inputs: Everything that the result depends on, as JSON takes it.
            make: Writes the result into an existing folder, whose ``scratch`` holds what an earlier call left
                there that was cut off.
            read: Reads what the caller wants from the finished stage, while nobody else can remove it.

        Returns:
            The stage, and what ``read`` returned.

        Raises:
            PruneflowError: if the store cannot be written.
        """
        digest = digest_of(name, inputs)
        place = self.folder / name / digest
        with _writing(self.folder):
            place.parent.mkdir(parents=True, exist_ok=True)
        with locked(_lock_of(place), waiting_for=f"stage {name} {digest[:12]}"):
            reused = self.reuse and _is_whole(place)
            if reused:
                _touch(place)
            else:
                self._make(place, {"name": name, "digest": digest, "inputs": inputs}, make)
            stage = Stage(digest, str(place), reused)
            return stage, read(stage)

    def _make(self, place: Path, facts: dict[str, Any], make: Callable[[Path], None]) -> None:
        work = place.with_suffix(".part")
        scratch = work / SCRATCH
        with _writing(self.folder):
            if not self.reuse:
                _remove(work)
            scratch.mkdir(parents=True, exist_ok=True)
            done = not _problem(work, place.name)  # it was cut off between the manifest and the new name
            if not done:
                _clear(work)
        if not done:
            with undisturbed():
                make(work)
            _write_manifest(work, facts)
        with _writing(self.folder):
            shutil.rmtree(scratch)
            _remove(place)
            work.rename(place)


@contextmanager
def locked(file: Path, *, waiting_for: str) -> Iterator[None]:
    """Hold a lock that ends with its owner; say so when another process has it.

    Args:
        file: The lock file; it stays, empty.
        waiting_for: What the other process does, for the message.

    Raises:
        PruneflowError: if the file cannot be made.
    """
    lock = FileLock(file, poll_interval=LOCK_POLL_S)
    with _writing(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            console.print(f"Waits      for another run that makes {waiting_for}", soft_wrap=True)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def in_use(place: Path) -> Iterator[bool]:
    """Whether a run works on the stage in ``place``, finished or not; if none does, none can start to.

    For the store of another version: whether a run works on any of its stages at this moment.
    """
    if (place / "locks").is_dir():
        yield any(_held(file) for file in (place / "locks").iterdir())
        return
    lock = FileLock(_lock_of(place))
    lock_file = Path(lock.lock_file)
    if not lock_file.parent.is_dir():
        yield False
        return
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield True
        return
    try:
        yield False
    finally:
        lock.release()


def _held(file: Path) -> bool:
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _lock_of(place: Path) -> Path:
    """The lock of the stage in ``<kind>/<digest>``, whole or still ``.part``."""
    return place.parent.parent / "locks" / f"{place.parent.name}-{place.stem}"


def other_layouts(folder: Path) -> list[Path]:
    """Stores of other versions in the folder of a store; what else lies there is none of ours."""
    found = [place for place in folder.glob("v*") if re.fullmatch(r"v\d+", place.name)]
    return sorted(place for place in found if place.name != LAYOUT and (place / "locks").is_dir())


def _clear(work: Path) -> None:
    """Delete what a process that was killed left, but for its scratch."""
    for path in work.iterdir():
        if path.is_dir() and path.name != SCRATCH:
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()
    remove_temporaries(work / SCRATCH)


def _write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    files = {
        str(file.relative_to(folder)): _sha256(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.relative_to(folder).parts[0] != SCRATCH
    }
    manifest = {"layout": LAYOUT, **facts, "files": files, "finished": time.time()}
    write_file(folder / MANIFEST, (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())


def _is_whole(place: Path) -> bool:
    """Whether a finished stage is there and every byte of it is as it was written."""
    if not place.exists():
        return False
    problem = _problem(place, place.name)
    if problem:
        console.print(
            f"[bold yellow]Stage {place} is corrupt ({problem}) and is computed anew.[/bold yellow]",
            soft_wrap=True,
        )
    return not problem


def _problem(place: Path, digest: str) -> str:
    """What is wrong with the stage in ``place``; empty where nothing is."""
    try:
        manifest = json.loads((place / MANIFEST).read_text())
        listed = dict(manifest["files"])
        inputs, name = manifest["inputs"], manifest["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{MANIFEST} cannot be read"
    if manifest.get("layout") != LAYOUT or digest_of(name, inputs) != digest:
        return f"{MANIFEST} belongs to another stage"
    for file, expected in listed.items():
        try:
            if _sha256(place / file) != expected:
                return f"{file} has another SHA-256 than when it was written"
        except FileNotFoundError:
            return f"{file} is missing"
        except OSError as error:
            return f"{file} cannot be read: {error.strerror}"
    return ""


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _touch(place: Path) -> None:
    """Remember the use, for cleaning by age; a store may be read-only for this user."""
    with suppress(OSError):
        (place / MANIFEST).touch()


def _remove(place: Path) -> None:
    """Take a folder out of sight at once, then delete it."""
    if place.exists():
        away = place.with_name(f"{place.name[:12]}.{secrets.token_hex(4)}.trash")
        place.rename(away)
        shutil.rmtree(away, ignore_errors=True)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PruneflowError(
            f"{error.filename or folder} cannot be written: {error.strerror}. Free space or permissions "
            "there, or choose another stages.dir."
        ) from error
