"""The work of one cell: in this process while that loses little memory, then in a child of its own.

TensorFlow 2.21 loses about three times the weights of each network that is trained (tensorflow issue 62854)
and one and a half times those of each that is converted (122598); a long grid in one process adds this up.
"""

import gc
import os
import pickle
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TextIO

from pruneflow.command import answers
from pruneflow.errors import PruneflowError
from pruneflow.flow.config import Config
from pruneflow.flow.run_folder import FAILURE_FILE, end, record_failure
from pruneflow.report import hparams
from pruneflow.runtime import memory, process, signals
from pruneflow.runtime.child import started
from pruneflow.runtime.files import remove_temporaries
from pruneflow.runtime.surroundings import own_process
from pruneflow.runtime.terminal import complain

BUDGET_BYTES = 256 * 2**20  # what this process may lose; a child costs the seconds in which TensorFlow loads

_after_first: int | None = None


@dataclass(frozen=True)
class Work:
    """One cell.

    Attributes:
        run_dir: Its folder, which exists.
        command: The command line that runs it alone.
        differing: The settings, by short name, in which it differs from others.
        share: Processors of a cell beside others; None takes all.
        sweep: Folder of the sweep that it is part of; None for a run of its own.
    """

    config: Config
    run_dir: Path
    command: str
    differing: hparams.Differing = field(default_factory=dict)
    share: int | None = None
    sweep: Path | None = None


def carry_out(work: Work) -> None:
    """Train, prune, export and evaluate; leave a run that is done, or ``failure.json`` with the reason."""
    global _after_first
    from pruneflow.flow import pipeline
    from pruneflow.report import ending, tables
    from pruneflow.report.automatic import report_run

    try:
        remove_temporaries(work.run_dir)
        hparams.forget(work.run_dir, work.config)
        ready = pipeline.prepare(work.config, share=work.share)
        tables.show_prepared(ready)
        result = pipeline.run(work.config, ready, work.run_dir, command=work.command)
        hparams.write(work.run_dir, work.differing)
        tables.show_result(result)
        if work.config.report:
            report_run(work.run_dir)
        end(work.run_dir)
        ending.show_done(result, work.run_dir, in_sweep=work.sweep is not None)
    except Exception as error:
        _fail(work, error)
    gc.collect()
    _after_first = _after_first or memory.resident_bytes()


def is_due() -> bool:
    """Return whether this process lost so much memory since its first cell that the next gets a child."""
    return _after_first is not None and memory.resident_bytes() - _after_first > BUDGET_BYTES


def in_child(work: Work) -> None:
    """Do the work in a process of its own, which ends with this one and holds none of its locks."""
    labelled = sys.stdout is not sys.__stdout__  # somebody wants to see the lines first
    output = subprocess.PIPE if labelled else None
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"} if labelled else None
    streams = {"stdout": output, "stderr": output, "env": environment}
    request = pickle.dumps(work)
    with started("pruneflow.command.isolation", request, lambda it: it.terminate(), **streams) as child:
        code = _followed(child)
    if code and not (work.run_dir / FAILURE_FILE).exists():
        _fail(work, PruneflowError(f"The process of this cell ended with {code}. Is memory short?"))


def _followed(child: subprocess.Popen[bytes]) -> int:
    """Pass on what a child writes, where it does not write here itself; return its exit status."""
    streams = [(child.stdout, sys.stdout), (child.stderr, sys.stderr)]
    threads = [threading.Thread(target=_pass_on, args=pair, daemon=True) for pair in streams if pair[0]]
    for thread in threads:
        thread.start()
    code = child.wait()
    for thread in threads:
        thread.join()
    return code


def _pass_on(source: IO[bytes], target: TextIO) -> None:
    for line in source:
        with suppress(OSError):  # nobody reads on: the child must not wait for that
            target.write(line.decode(errors="replace"))


def _fail(work: Work, error: Exception) -> None:
    """Say why a cell failed, in TensorBoard too unless it has a result, or the disk is what failed."""
    fail(work.run_dir, error)
    if not (work.run_dir / "result.json").exists():
        with suppress(PruneflowError, OSError):
            hparams.write_failed(work.run_dir, work.config, work.differing)


def fail(run_dir: Path, error: Exception) -> None:
    """Say why a cell failed, and leave the message in its folder if that can be written."""
    message = answers.failure_in_words(error)
    complain(message)
    if not message:
        traceback.print_exception(error)
    with suppress(PruneflowError):  # such as the same full disk: one message is enough
        record_failure(run_dir, message or f"{type(error).__name__}: {error}")


def _serve() -> None:
    """Do the work that standard input brings; end when the parent does."""
    own_process()
    work = pickle.load(sys.stdin.buffer)  # written by the parent
    signals.end_with_parent(process.remove_temporary_folder)
    signals.answer()
    try:
        carry_out(work)
    except KeyboardInterrupt:  # the parent says so
        process.leave(signals.received()[1])


if __name__ == "__main__":
    _serve()
