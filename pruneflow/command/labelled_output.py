"""A cell: in which folder it works, and where several run side by side, whose lines are whose."""

import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from multiprocessing import current_process
from pathlib import Path
from typing import TextIO

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from pruneflow.command.launchers import engine_of
from pruneflow.runtime.surroundings import own_process

WATCH_S = 1.0


@contextmanager
def beside_others() -> Iterator[None]:
    """Work in the folder where the command was typed; beside other cells, with the name before each line."""
    own_process()  # of a worker as much as of a command
    settings = HydraConfig.get()
    os.chdir(settings.runtime.cwd)  # a launcher starts elsewhere, and hydra.job.chdir=true goes elsewhere
    if OmegaConf.is_missing(settings.job, "num") or not engine_of(settings).beside:
        yield
        return
    if current_process().name.startswith("LokyProcess"):
        _end_with_parent()
    label = Path(settings.runtime.output_dir).name
    with redirect_stdout(Labelled(sys.stdout, label)), redirect_stderr(Labelled(sys.stderr, label)):
        yield


@cache
def _end_with_parent() -> None:
    """End this worker when the process that started it is gone, even by SIGKILL; joblib's would go on."""
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(1)


class Labelled(io.TextIOBase):
    """A stream that several cells share: whole lines only, each with the name of its cell, and no bars.

    >>> import sys
    >>> print("epoch 1", file=Labelled(sys.stdout, "seed-2"))
    seed-2 | epoch 1
    """

    def __init__(self, stream: TextIO, label: str) -> None:
        self._stream, self._label, self._begun = stream, label, ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Return the one of the stream."""
        return self._stream.encoding

    def write(self, text: str) -> int:
        """Write the lines that are whole, in one go, so that no other process writes into them."""
        *lines, self._begun = (self._begun + text).split("\n")
        if lines:
            self._stream.write("".join(f"{self._label} | {line}".rstrip() + "\n" for line in lines))
            self._stream.flush()
        return len(text)

    def flush(self) -> None:
        """Flush what is whole."""
        self._stream.flush()

    def fileno(self) -> int:
        """Return the one of the stream."""
        return self._stream.fileno()
