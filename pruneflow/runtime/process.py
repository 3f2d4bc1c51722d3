"""The process of a command: the signals that end it, its exit code, the temporary files that go with it."""

import atexit
import fcntl
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pruneflow.runtime import signals
from pruneflow.runtime.files import is_folder
from pruneflow.runtime.surroundings import own_process

NAME = re.compile(r"pruneflow-\d+-\w{8}")
LOCK = "owned"  # in the folder: locked as long as its owner lives

_folder: Path | None = None


def run_command(command: Callable[[], int]) -> NoReturn:
    """Run a command, and end this process with its exit code; signals as `ending` has it."""
    with ending() as end:
        end.code = command()
    raise AssertionError("the process has ended")


@dataclass
class Ending:
    """The exit code of the process."""

    code: Any = 0


@contextmanager
def ending() -> Iterator[Ending]:
    """End this process after the block, with the code that the block sets or exits with.

    The first Ctrl-C, SIGTERM or SIGHUP unwinds the block; those that follow change nothing.
    """
    own_process()
    signals.answer()
    end = Ending()
    try:
        with _exit_code_in(end):
            yield end
        signals.pass_over()
    except KeyboardInterrupt:
        said, end.code = signals.received()
        print(f"{said}.", file=sys.stderr)
    if end.code in signals.CODES and not {"joblib", "ray"} & set(sys.modules):
        leave(end.code)
    sys.exit(end.code)


@contextmanager
def _exit_code_in(end: Ending) -> Iterator[None]:
    try:
        yield
    except SystemExit as ended:
        end.code = ended.code


def leave(code: int) -> NoReturn:
    """End without taking TensorFlow down, whose threads are still at work: that may abort (2.21).

    Everything of ours has unwound by now. The engines of sweeps end their processes at exit: left to it.
    """
    remove_temporary_folder()
    with suppress(OSError):  # nobody reads what is left, or there is no room for it
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def own_temporary_folder() -> None:
    """Have temporary files of this process lie in a folder of its own, and delete those of killed processes.

    TensorFlow 2.21 writes Python files that it deletes at exit only. Where no such folder can be had, they go
    where they always go. The environment stays as it is: children have their own.
    """
    global _folder
    with suppress(OSError):
        _remove_left(Path(tempfile.gettempdir()))
        folder = Path(tempfile.mkdtemp(prefix=f"pruneflow-{os.getpid()}-"))
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)  # stays open, and locked
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if (folder / LOCK).exists():  # no other process took it for one that was left
            tempfile.tempdir, _folder = str(folder), folder
            atexit.register(remove_temporary_folder)


def remove_temporary_folder() -> None:
    """Delete the folder of this process's temporary files, if it has one."""
    global _folder
    if _folder:
        tempfile.tempdir = None
        shutil.rmtree(_folder, ignore_errors=True)
        _folder = None


def _remove_left(above: Path) -> None:
    """Delete the folders of processes that are gone: named as ours, of this user, their lock free."""
    for folder in above.glob("pruneflow-*"):
        if NAME.fullmatch(folder.name) and is_folder(folder) and folder.stat().st_uid == os.getuid():
            with suppress(OSError):
                _remove_unless_owned(folder)


def _remove_unless_owned(folder: Path) -> None:
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
