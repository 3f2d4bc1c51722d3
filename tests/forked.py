"""Commands that tests start, forked from one Python that has loaded TensorFlow: it loads once, not each time.

TensorFlow has done nothing yet where the process is forked, so the command goes on as a fresh one does: with
its own words, folder, environment, streams, signals and exit code. Only the seed of hashes is shared.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import os
import pickle
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import types
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

LOADED = ("pruneflow.command.cli", "tensorflow", "tf_keras", "tensorflow_model_optimization")
LOADED += ("pruneflow.flow.pipeline", "pruneflow.report.tables", "pruneflow.report.automatic")
# Variables that nothing reads while it loads, and those that TensorFlow sets. Where another one is not as the
# test found it, the command starts plainly.
LATE = {"PRUNEFLOW_DATA_DIR", "XDG_CACHE_HOME", "TMPDIR", "PATH", "PYTHONPATH", "PYTHONUNBUFFERED"}
LATE |= {"PYTHONIOENCODING", "PYTEST_CURRENT_TEST", "TF_CPP_MIN_LOG_LEVEL", "CUDA_VISIBLE_DEVICES"}
LATE |= {"TF2_BEHAVIOR", "TPU_ML_PLATFORM", "TPU_ML_PLATFORM_VERSION", "ENABLE_RUNTIME_UPTIME_TELEMETRY"}
LATE |= {"HDF5_PLUGIN_PATH", "TF_CONFIG", "FAILS"}  # the last is of tests/command/worker.py
OTHERWISE = (0, 1, 3, 8, 20)  # of `Popen`: executable, preexec_fn, pass_fds, shell, start_new_session
surroundings = dict(os.environ)  # as a test finds it


def run(line: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command as ``subprocess.run(line, capture_output=True, text=True)`` does."""
    timeout = options.pop("timeout", None)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Command(line, text=True, **{**streams, **options}) as process:
        try:
            said = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(line, process.returncode, *said)


class Command(subprocess.Popen):  # type: ignore[type-arg]
    """A command ``python [-u] -m MODULE ...`` or ``python [-u] -c CODE ...``, with what `Popen` can do.

    It inherits no files but its streams. Other commands, and those that ask for a session of their own or for
    a function that runs before them, are started plainly.
    """

    _keeper: socket.socket | None = None

    def _execute_child(self, args: Sequence[str], *rest: Any) -> None:
        cwd, env, pipes = rest[4], rest[5], rest[9:15]
        variables = dict(os.environ if env is None else env)
        plain = not _is_of_python(args) or any(rest[place] for place in OTHERWISE)
        if plain or not _early(variables) == _early(surroundings) == server().early:
            super()._execute_child(args, *rest)  # type: ignore[misc]
            return
        request = (list(args[1:]), str(cwd or Path.cwd()), variables)
        theirs = enumerate((pipes[0], pipes[3], pipes[5]))
        streams = [number if pipe == -1 else pipe for number, pipe in theirs]
        self._keeper = server().asked(request, streams)
        self.pid = _number(self._keeper)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if not self._keeper:
            return super()._try_wait(wait_flags)  # type: ignore[misc, no-any-return]
        flags = socket.MSG_DONTWAIT if wait_flags & os.WNOHANG else 0
        try:
            status = _number(self._keeper, flags)
        except BlockingIOError:
            return 0, 0
        self._keeper.close()
        return self.pid, status

    def _internal_poll(self, *given: Any, **more: Any) -> int | None:
        if not self._keeper:
            return super()._internal_poll(*given, **more)  # type: ignore[misc, no-any-return]
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode


class _Server:
    """The process that commands are forked from. It ends with this one."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        line = [sys.executable, __file__, str(theirs.fileno())]
        own = {"pass_fds": [theirs.fileno()], "stdin": subprocess.DEVNULL, "env": surroundings}
        self.process, self.early = subprocess.Popen(line, **own), _early(surroundings)
        theirs.close()
        atexit.register(self._end)

    def asked(self, request: Any, streams: list[int]) -> socket.socket:
        """Have a command forked; the socket gives its pid and then its exit status, 4 bytes each."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._ours, [b"."], [theirs.fileno(), *streams])
        ours.sendall(pickle.dumps(request))
        ours.shutdown(socket.SHUT_WR)
        return ours

    def _end(self) -> None:
        self._ours.close()
        self.process.terminate()  # a process that was forked from this one may hold the socket
        self.process.wait()


_started = cache(_Server)


def server() -> _Server:
    """Return the process that commands are forked from; another one where it was killed."""
    if _started().process.poll() is not None:
        _started.cache_clear()
    return _started()


def _number(keeper: socket.socket, flags: int = 0) -> int:
    answer = keeper.recv(4, flags)
    if not answer:
        raise RuntimeError("the process that was to fork a command is gone")
    return int.from_bytes(answer, "big")


def _is_of_python(words: Sequence[str]) -> bool:
    own, *others = words
    return own == sys.executable and [each for each in others[:2] if each != "-u"][:1] in (["-m"], ["-c"])


def _early(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name not in LATE}


def _serve(requests: socket.socket) -> tuple[list[str], str, dict[str, str]]:
    """Fork for each request, as long as there may be more; returns in commands alone, with the request."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        message, numbers, *_ = socket.recv_fds(requests, 1, 4)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not message:
            os._exit(0)
        if os.fork() == 0:
            requests.close()
            return _kept(numbers)
        for number in numbers:
            os.close(number)


def _kept(numbers: list[int]) -> tuple[list[str], str, dict[str, str]]:
    """Fork the command, and tell its pid and how it ended; returns the request in the command alone."""
    status, *streams = numbers
    with socket.socket(fileno=status) as asking:
        request = pickle.loads(asking.makefile("rb").read())
        pid = os.fork()
        if pid == 0:
            asking.close()
            _take(streams)
            return request
        for number in streams:
            os.close(number)
        asking.sendall(pid.to_bytes(4, "big"))
        with suppress(OSError):  # nobody waits for it any more
            asking.sendall(os.waitpid(pid, 0)[1].to_bytes(4, "big"))
        os._exit(0)


def _take(streams: list[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)


def _open_streams(encoding: str | None, *, unbuffered: bool) -> None:
    """Open them as Python does at its start."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        mode, plain = ("wb" if number else "rb"), bool(number) and unbuffered
        content = open(number, mode, 0 if plain else -1, closefd=False)  # noqa: SIM115
        form = {"encoding": encoding or getattr(sys, name).encoding, "errors": getattr(sys, name).errors}
        lines = number == 2 or content.isatty()
        stream = io.TextIOWrapper(content, line_buffering=lines, write_through=plain, **form)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _become(words: list[str], folder: str, variables: dict[str, str]) -> None:
    """Be the process that Python would be with these words."""
    how, what, *arguments = words[words[0] == "-u" :]
    unbuffered = words[0] == "-u" or "PYTHONUNBUFFERED" in variables
    _open_streams(variables.get("PYTHONIOENCODING"), unbuffered=unbuffered)
    os.chdir(folder)
    sys.path[:] = [folder if how == "-m" else "", *_from_environment(variables), *_REST]
    os.environ.clear()
    os.environ.update(variables)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tempfile.tempdir = None
    np.random.seed()
    sys.argv = [how, *arguments]
    if how == "-m":
        if not hasattr(sys.modules.get(what), "__path__"):  # of a package, its module __main__ runs
            sys.modules.pop(what, None)
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(what, vars(sys.modules["__main__"]))


def _from_environment(variables: Mapping[str, str]) -> list[str]:
    return [folder for folder in variables.get("PYTHONPATH", "").split(os.pathsep) if folder]


def _load() -> None:
    """Import as a run does; what it leaves in memory is not walked through again."""
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_HOME": os.devnull}
    gc.disable()
    with backend.quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in LOADED:
            importlib.import_module(name)
    gc.freeze()
    gc.enable()


if __name__ == "__main__":
    from pruneflow.runtime import backend

    _load()
    _REST = sys.path[1 + len(_from_environment(os.environ)) :]
    _become(*_serve(socket.socket(fileno=int(sys.argv[1]))))
