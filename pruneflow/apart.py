"""A function in a process of its own: what it crashes there is not the process that wants to know."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any

from pruneflow.signals import end_with_parent, ended, let_through

__all__ = ["Outcome", "values_of"]

RAISED = 1  # exit status of Python where an exception ended it


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        values: What the function yielded, until it ended or crashed.
        status: Exit status of its process; below 0 the number of the signal that ended it.
    """

    values: list[Any]
    status: int

    @property
    def crash(self) -> str:
        """How the process crashed, such as ``"signal 11, SIGSEGV"``; empty where it did not."""
        if self.status in (0, RAISED):
            return ""
        if self.status > 0:  # as a crash ends on Windows
            return f"exit status {self.status}"
        names = {each.value: f", {each.name}" for each in signal.Signals}
        return f"signal {-self.status}{names.get(-self.status, '')}"

    @property
    def killed(self) -> bool:
        """Whether another process ended it, as the system does when memory is short."""
        return self.status in (-signal.SIGTERM, -getattr(signal, "SIGKILL", signal.SIGTERM))


def values_of(function: Callable[..., Iterator[Any]], *arguments: Any) -> Outcome:
    """Run a generator function in a child, without a GPU, and keep what it yields.

    What the child prints is dropped, and its temporary files are deleted. It ends with this process.

    Args:
        function: One of a module that can be imported.
        arguments: What it is called with; what pickle cannot carry is an exception of the child's.
    """
    try:
        work = pickle.dumps((function, arguments))
    except Exception:  # of any kind, as of objects of the user's own
        return Outcome([], RAISED)
    with (
        TemporaryDirectory(prefix="pruneflow-", ignore_cleanup_errors=True) as scratch,
        TemporaryFile() as said,
    ):
        request = pickle.dumps((sys.path, scratch, work))
        status = _served(request, scratch, said)
        return Outcome(list(_values(said)), status)


def _served(request: bytes, scratch: str, said: IO[bytes]) -> int:
    """Have a child do it, whose temporary files go to ``scratch`` and whose answer goes to ``said``.

    Returns:
        Its exit status.
    """
    line = [sys.executable, "-m", "pruneflow.apart"]
    environment = {**os.environ, "TMPDIR": scratch, "CUDA_VISIBLE_DEVICES": "-1"}
    log = subprocess.DEVNULL
    try:
        child = subprocess.Popen(line, 0, stdin=subprocess.PIPE, stdout=said, stderr=log, env=environment)
    except OSError:  # no Python of its own, or no process left
        return RAISED
    with child:
        try:
            assert child.stdin
            with suppress(BrokenPipeError):  # it died at once, as its exit status tells
                child.stdin.write(request)
            status = ended(child)
            let_through()  # a signal that reached both
        except BaseException:
            child.kill()
            raise
    return status


def _values(said: IO[bytes]) -> Iterator[Any]:
    said.seek(0)
    with suppress(EOFError, pickle.UnpicklingError):  # the end, or what was cut short by a crash
        while True:
            yield pickle.load(said)


def _serve() -> None:
    """Run the function that standard input brings, with modules from where the parent finds them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    path, scratch, work = pickle.load(sys.stdin.buffer)
    end_with_parent(partial(shutil.rmtree, scratch, ignore_errors=True))
    _leave_no_core()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the function prints is no answer
    sys.path[:] = path
    from pruneflow import backend

    backend.own_process()
    function, arguments = pickle.loads(work)
    for value in function(*arguments):
        pickle.dump(value, answers)
        answers.flush()


def _leave_no_core() -> None:
    """Keep a crash from leaving an image of the memory in the current folder."""
    with suppress(ImportError, OSError, ValueError):  # Windows, or not allowed
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


if __name__ == "__main__":
    _serve()
