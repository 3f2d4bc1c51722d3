"""Surroundings of a process: streams, environment variables, the user's folders. No result depends on it."""

import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path

import platformdirs

from pruneflow.errors import ConfigError

STREAMS = ("stdin", "stdout", "stderr")  # by file descriptor
MAY_FAIL = ("strict", "surrogateescape", "surrogatepass")  # error handlers of a stream

# Environment variables with which TensorFlow computes other bits, or may on some processor.
ARITHMETIC = (
    *("TF_ENABLE_*", "TF_DISABLE_*", "TF_USE_*", "TF_SET_*", "TF_ONEDNN_*", "TF_XLA_*", "TF_*DETERMINISTIC*"),
    *("TF_CUDNN_*", "TF_CUBLAS_*", "TF_MATMUL_*", "TF_AUTO_MIXED_*", "TF_*FP16*", "TF_OVERRIDE_GLOBAL_*"),
    *("XLA_*", "ONEDNN_*", "DNNL_*", "CUBLAS_*", "NVIDIA_TF32_OVERRIDE"),
)

_own = False
_temporary: str | None = None  # the folder of temporary files that this process was started with


def own_process() -> None:
    """Say that nobody else's objects are in this process, and make it independent of how it was started.

    Standard streams that are closed lead nowhere; text that a stream cannot encode is escaped; matplotlib
    draws without a screen. Everything that starts a process of ours calls this first.
    """
    global _own, _temporary
    _own = True
    with suppress(OSError):  # there is none
        _temporary = _temporary or tempfile.gettempdir()
    open_streams()
    for stream in _streams_that_may_fail():
        stream.reconfigure(errors="backslashreplace")
    os.environ["MPLBACKEND"] = "agg"


def is_own() -> bool:
    """Return whether `own_process` was called."""
    return _own


def open_streams() -> None:
    """Let standard streams that are closed lead nowhere.

    Otherwise the next file that is opened gets the number of such a stream, and what C++ code prints is
    written into that file.
    """
    for number, name in enumerate(STREAMS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


@contextmanager
def printable() -> Iterator[None]:
    """Escape what the streams of somebody else's process cannot encode, inside the block."""
    before = [(stream, stream.errors) for stream in _streams_that_may_fail()]
    for stream, _ in before:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in before:
            stream.reconfigure(errors=errors)


def _streams_that_may_fail() -> list[io.TextIOWrapper]:
    streams = (sys.stdout, sys.stderr)
    return [each for each in streams if isinstance(each, io.TextIOWrapper) and each.errors in MAY_FAIL]


def arithmetic() -> dict[str, str]:
    """Return the environment variables that are set and may change bits; on most machines there are none."""
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name != "TF_USE_LEGACY_KERAS" and any(fnmatchcase(name, pattern) for pattern in ARITHMETIC)
    }


def expanded(key: str, path: str) -> Path:
    """Expand ``~`` in the path that a setting names.

    Raises:
        ConfigError: if the home folder is not known.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        problem = str(error).rstrip(".")
        raise ConfigError.of(key, path, problem, "Write the path out.") from error


def user_cache() -> Path:
    """Return the user's cache folder, or a temporary one of this user where the home folder is of no use."""
    for folder in _usual_caches():
        if folder.is_absolute() and _can_be_written(folder):
            return folder
    user = getattr(os, "getuid", int)()
    folder = Path(_temporary or tempfile.gettempdir()) / f"pruneflow-{user}"
    foreign = folder.exists() and folder.stat().st_uid != user
    return Path(tempfile.mkdtemp(prefix="pruneflow-")) if foreign else folder


def _usual_caches() -> Iterator[Path]:
    with suppress(RuntimeError):  # there is no home folder
        yield platformdirs.user_cache_path("pruneflow", appauthor=False)
        yield Path.home() / ".cache" / "pruneflow"  # where XDG_CACHE_HOME is of no use


def _can_be_written(folder: Path) -> bool:
    """Return whether a folder is there, or can be made in the home folder."""
    if folder.is_dir():
        return True
    there = [place for place in (folder.parent, folder.parent.parent) if place.is_dir()]
    return bool(there) and os.access(there[0], os.W_OK | os.X_OK)
