"""Folders of runs and sweeps: where one may go without writing over another."""

import itertools
import tempfile
from pathlib import Path

from pruneflow.errors import PruneflowError
from pruneflow.flow.run_folder import FAILURE_FILE
from pruneflow.options import require
from pruneflow.runtime.files import write_file

LATEST = Path("outputs/latest")


def name_latest(folder: Path) -> None:
    """Write the folder of a run or sweep that has ended into ``outputs/latest``, if it lies in ``outputs``.

    A link would be read by TensorBoard (2.21) as another run, with the same curves.
    """
    inside = folder.absolute().is_relative_to(LATEST.parent.absolute())
    if inside and not LATEST.is_dir():  # which somebody named so
        write_file(LATEST, f"{folder.absolute()}\n".encode(errors="surrogateescape"))


def unused(folder: Path) -> Path:
    """``folder``, or the first of ``folder-2``, ``folder-3`` ... that is not there: a clock may jump back."""
    names = itertools.chain([folder.name], (f"{folder.name}-{count}" for count in itertools.count(2)))
    return next(folder.with_name(name) for name in names if not folder.with_name(name).exists())


def require_no_run(folder: Path, key: str) -> None:
    """Refuse a folder that a run would write over, finished or not."""
    names = ("result.json", FAILURE_FILE, "dense", "cut", "pruned")
    taken = any((place / name).exists() for place in [folder, *folder.glob("*/")] for name in names)
    problem = "there is a run in this folder already, and none is written over"
    require(not taken, key, folder, problem, "Name another, or delete it.")


def require_writable(folder: Path) -> None:
    """Refuse an outputs folder that cannot be made or written, leaving nothing behind."""
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError as error:
        raise PruneflowError(
            f"{folder.absolute()} cannot be written by TensorFlow: its name is no UTF-8 here. Name another "
            "with hydra.run.dir (for a sweep: hydra.sweep.dir)."
        ) from error
    parent = next(path for path in [folder, *folder.absolute().parents] if path.exists())
    try:
        Path(tempfile.mkdtemp(dir=parent)).rmdir()
    except OSError as error:
        raise PruneflowError(
            f"{folder} cannot be made: {parent} cannot be written to ({error.strerror}). "
            "Work in another folder, or set hydra.run.dir (for a sweep: hydra.sweep.dir)."
        ) from error
