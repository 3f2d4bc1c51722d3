"""Locks between processes; they end with their owner, however it ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pruneflow.runtime.terminal import say

POLL_S = 0.1


@contextmanager
def locked(file: Path, *, waiting: str) -> Iterator[None]:
    """Hold the lock ``file``, which stays, empty; print ``waiting`` where another process has it.

    Raises:
        OSError: if the file cannot be made.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file, poll_interval=POLL_S)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(waiting)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def attempted(file: Path) -> Iterator[bool]:
    """Hold the lock ``file`` where no other process has it; whether that is so.

    Raises:
        OSError: if the file cannot be made.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
