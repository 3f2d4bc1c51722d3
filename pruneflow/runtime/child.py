"""A function in a process of its own: what it crashes there is not the process that wants to know."""

from __future__ import annotations

import gc
import math
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any

from pruneflow.runtime.signals import POLL_S, end_with_parent, ended, leave_to_parent, let_through
from pruneflow.runtime.surroundings import own_process

RAISED = 1  # exit status of Python where an exception ended it
NICE = 5  # a third of the time that a process beside it has; it stays so, since only root may raise it


@dataclass(frozen=True)
class Outcome:
    """The outcome of a function in a child process.

    Attributes:
        values: What the function yielded, until it ended or crashed.
        status: Exit status of its process; below 0 the number of the signal that ended it.
        silent_s: Seconds without a value after which it was ended; 0 where it was not.
        log: The last line that it wrote to standard error, but for what TensorFlow and LiteRT call INFO.
    """

    values: list[Any]
    status: int
    silent_s: float = 0
    log: str = field(default="", compare=False)

    @property
    def crash(self) -> str:
        """The crash in words, such as ``"signal 11, SIGSEGV"``; empty without one."""
        if self.status in (0, RAISED):
            return ""
        if self.status > 0:  # as a crash ends on Windows
            return f"exit status {self.status}"
        names = {each.value: f", {each.name}" for each in signal.Signals}
        return f"signal {-self.status}{names.get(-self.status, '')}"

    @property
    def killed(self) -> bool:
        """Return whether another process ended the child, as the system does when memory is short."""
        return self.status in (-signal.SIGTERM, -getattr(signal, "SIGKILL", signal.SIGTERM))

    @property
    def problem(self) -> str:
        """The reason why the process ended early, in words; empty where it did not."""
        last = f" ({self.log})" if self.log else ""
        if self.silent_s:
            return f"its process was ended, since it gave no answer in {self.silent_s:g} seconds"
        if self.killed:
            return f"its process was killed ({self.crash}); is memory short?"
        if self.crash:
            return f"its process crashed with {self.crash}{last}"
        return f"its process failed{last}" if self.status else ""


def values_of(
    function: Callable[..., Iterator[Any]],
    *arguments: Any,
    silent_s: float = math.inf,
    prepare: Callable[[Path], object] = lambda folder: None,
    watch: Callable[[Any], object] = lambda value: None,
) -> Outcome:
    """Run a generator function in a child, without a GPU, and keep what it yields.

    What the child prints is dropped, and its temporary files are deleted. It ends with this process.

    Args:
        function: One of a module that can be imported.
        arguments: What it is called with; what pickle cannot carry is an exception of the child's.
        silent_s: Seconds without a new value after which the child is ended.
        prepare: Called first, with the folder of the child's temporary files.
        watch: Called with each value soon after it was yielded.
    """
    with waiting(prepare=prepare) as child:
        return child.ask(function, *arguments, silent_s=silent_s, watch=watch)


class Child:
    """A process that runs one function when it is asked to."""

    def __init__(self, process: subprocess.Popen[bytes] | None, heard: IO[bytes], log: IO[bytes]) -> None:
        self._process, self._heard, self._log = process, heard, log

    def ask(
        self,
        function: Callable[..., Iterator[Any]],
        *arguments: Any,
        silent_s: float = math.inf,
        watch: Callable[[Any], object] = lambda value: None,
    ) -> Outcome:
        """Run a function as `values_of` does; a second one finds the process ended."""
        work = _pickled((function, arguments))
        if not work or not self._process:
            return Outcome([], RAISED)
        _write(self._process, pickle.dumps(work))
        answers = _Answers(self._heard, silent_s, watch)
        status = _status(self._process, answers)
        return Outcome(answers.values, status, silent_s if answers.late else 0, _last_line(self._log))


@contextmanager
def waiting(
    load: Callable[[], object] | None = None, prepare: Callable[[Path], object] = lambda folder: None
) -> Iterator[Child]:
    """Start a child that waits until it is asked; the end of the block ends it.

    Args:
        load: What it calls meanwhile, at a low priority, such as imports. What it raises is dropped.
        prepare: Called first, with the folder of the child's temporary files.

    Raises:
        OSError: if its files cannot be made.
    """
    with (
        TemporaryDirectory(prefix="pruneflow-", ignore_cleanup_errors=True) as scratch,
        TemporaryFile() as log,
        Path(scratch, "answers").open("wb") as said,  # opened twice, so that each side has its own place
        Path(scratch, "answers").open("rb") as heard,
        ExitStack() as stack,
    ):
        prepare(Path(scratch))
        request = pickle.dumps((sys.path, scratch, _pickled(load) if load else b""))
        environment = {**os.environ, "TMPDIR": scratch, "CUDA_VISIBLE_DEVICES": "-1"}
        streams = {"stdout": said, "stderr": log, "env": environment}
        process = None
        with suppress(OSError):  # no Python of its own, or no process left
            begin = started("pruneflow.runtime.child", request, lambda it: it.kill(), **streams)
            process = stack.enter_context(begin)
            stack.callback(process.kill)
        yield Child(process, heard, log)


def _pickled(work: object) -> bytes:
    """Return what a child reads; empty for what pickle cannot carry."""
    try:
        return pickle.dumps(work)
    except Exception:  # of any kind, as of objects of the user's own
        return b""


class _Answers:
    """The values that a child has yielded so far, and whether it is late with the next one."""

    def __init__(self, file: IO[bytes], silent_s: float, watch: Callable[[Any], object]) -> None:
        self.values: list[Any] = []
        self.late = False
        self._file, self._watch, self._polls_left = file, watch, silent_s / POLL_S
        self._most_polls = self._polls_left  # counted, not timed: a process that is stopped waits for nothing

    def collect(self) -> None:
        """Take what has arrived whole since the last time."""
        before = len(self.values)
        with suppress(EOFError, pickle.UnpicklingError):  # the end, or what is not written out, or cut short
            while True:
                place = self._file.tell()
                self.values.append(pickle.load(self._file))
        self._file.seek(place)
        self._polls_left = self._most_polls if len(self.values) > before else self._polls_left - 1
        self.late = self._polls_left < 0
        for value in self.values[before:]:
            self._watch(value)


def _status(child: subprocess.Popen[bytes], answers: _Answers) -> int:
    """Collect answers until a child ends, or is late and is ended; return its exit status."""

    def meanwhile() -> None:
        answers.collect()
        if answers.late:
            child.kill()

    status = ended(child, meanwhile)
    let_through()  # a signal that reached both
    return status


@contextmanager
def started(
    module: str, request: bytes, end: Callable[[subprocess.Popen[bytes]], object], **streams: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a module as a child, which reads a request from its standard input; that stays open.

    Args:
        module: Its name.
        request: What it reads.
        end: Ends the child if the block raises.
        streams: As `subprocess.Popen` takes them.

    Raises:
        OSError: if no process can be started.
    """
    with subprocess.Popen([sys.executable, "-m", module], 0, stdin=subprocess.PIPE, **streams) as child:
        try:
            _write(child, request)
            yield child
        except BaseException:
            end(child)
            raise


def _write(child: subprocess.Popen[bytes], request: bytes) -> None:
    assert child.stdin
    with suppress(BrokenPipeError):  # it has died, as its exit status tells
        child.stdin.write(request)


def _last_line(log: IO[bytes]) -> str:
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - 4096))
    lines = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line and not line.startswith("INFO:")), "")


def _serve() -> None:
    """Run the function that standard input brings, with modules from where the parent finds them."""
    leave_to_parent()
    own_process()
    path, scratch, load = pickle.load(sys.stdin.buffer)
    remove = partial(shutil.rmtree, scratch, ignore_errors=True)
    _leave_no_core()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the function prints is no answer
    sys.path[:] = path
    if load:
        _load(load)
    try:
        work = pickle.load(sys.stdin.buffer)
    except (EOFError, pickle.UnpicklingError):  # the parent has ended
        remove()
        return
    end_with_parent(remove)
    function, arguments = pickle.loads(work)
    for value in function(*arguments):
        pickle.dump(value, answers)
        answers.flush()
    gc.freeze()  # else Python walks through all objects as it ends: 0.8 s of processor time after MLflow


def _load(load: bytes) -> None:
    """Do what is done before the parent asks, while that needs the processors itself."""
    if hasattr(os, "nice"):
        os.nice(NICE)
    with suppress(Exception):  # of any kind; the function meets it again, and says so
        pickle.loads(load)()


def _leave_no_core() -> None:
    """Keep a crash from leaving an image of the memory in the current folder."""
    with suppress(ImportError, OSError, ValueError):  # Windows, or not allowed
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


if __name__ == "__main__":
    _serve()
