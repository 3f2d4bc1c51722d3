"""Runs and sweeps are sent to loggers once they have ended: what is in the folder, in a process of its own.

Training knows nothing of it. The process starts with the run, and loads the tool meanwhile. A tool that is
slow, away or broken costs one warning and the seconds that ``logger.seconds`` allows.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pruneflow.errors import PruneflowError
from pruneflow.flow.loggers import Logger, Tool
from pruneflow.flow.run_folder import FAILURE_FILE, OVERRIDES, is_done
from pruneflow.report.curves import load_reader
from pruneflow.report.record import record_of_run, record_of_sweep
from pruneflow.runtime.child import Child, values_of, waiting
from pruneflow.runtime.files import write_file
from pruneflow.runtime.locks import locked
from pruneflow.runtime.records import read_json
from pruneflow.runtime.terminal import console, warn

AGAIN = "Everything else is done. The same command takes it from the store, and logs it."
AT_END = "Everything else is done. The sweep tries again at its end."
SECRET = re.compile(
    r"^(WANDB|MLFLOW|DATABRICKS|AWS|AZURE|GOOGLE)_\w*(KEY|TOKEN|PASSWORD|USERNAME|SECRET)\w*$"
)


@dataclass(frozen=True)
class Sent:
    """The outcome of sending one folder: its place in the tool, or the problem."""

    where: str = ""
    problem: str = ""


@contextmanager
def logged(logger: Logger, folder: Path, sweep: Path | None = None) -> Iterator[None]:
    """Send the run of the block, done or failed, unless it was sent; warn where that fails.

    The tools are loaded while the block runs. A block that Ctrl-C ends sends nothing.

    Args:
        logger: Who is told.
        folder: Folder of the run.
        sweep: Folder of the sweep that it is part of. Where a tool was away for a run of the sweep, the
            others do not wait for it: `log_sweep` sends them.
    """
    folder, sweep = folder.absolute(), sweep.absolute() if sweep else None
    with ExitStack() as stack:
        tools = [] if _has_ended(folder) else logger.tools()  # a run that ended before is sent at once
        loading = {tool.title: _loading(tool, stack) for tool in tools if _is_due(tool, folder, sweep)}
        try:
            yield
        except Exception:
            _log(logger, folder, sweep, loading)
            raise
        _log(logger, folder, sweep, loading)


def _loading(tool: Tool, stack: ExitStack) -> Child | None:
    """Start the process that sends; None where none can be started now."""
    with suppress(OSError):
        return stack.enter_context(waiting(partial(_load, tool)))
    return None


def _load(tool: Tool) -> None:
    """Import what reads a record, and load the tool."""
    load_reader()
    tool.load()


def _log(logger: Logger, folder: Path, sweep: Path | None, loading: Mapping[str, Child | None]) -> None:
    for tool in logger.tools():
        if not _is_due(tool, folder, sweep):
            continue
        problem = _problem(tool, [folder], sweep, loading.get(tool.title))
        if problem:
            warn(f"Logger     {tool.title}: {problem}. {AT_END if sweep else AGAIN}")
        if problem and sweep:
            _away(tool, sweep).touch()


def _is_due(tool: Tool, folder: Path, sweep: Path | None) -> bool:
    """Return whether a run is not sent, and the tool not away for a run beside it."""
    return not _is_sent(tool, folder) and not (sweep and _away(tool, sweep).exists())


def log_sweep(logger: Logger, folder: Path) -> None:
    """Send a sweep, and first those of its runs that were not sent; warn where that fails."""
    folder = folder.absolute()
    runs = sorted(file.parent.parent for file in folder.rglob(OVERRIDES))
    for tool in logger.tools():
        _away(tool, folder).unlink(missing_ok=True)
        left = [run for run in runs if _has_ended(run) and not _is_sent(tool, run)]
        if problem := _problem(tool, [*left, folder], folder):
            warn(f"Logger     {tool.title}: {problem}. {AGAIN}")


def _problem(tool: Tool, folders: Sequence[Path], sweep: Path | None, early: Child | None = None) -> str:
    """Send folders, and say where the last is found; return the problem, empty where there is none."""
    try:
        outcome = early.ask(_send, tool, folders, sweep, silent_s=tool.seconds) if early else None
        if outcome is None or not (outcome.values or outcome.silent_s):  # it has died meanwhile
            outcome = values_of(_send, tool, folders, sweep, silent_s=tool.seconds)
    except OSError as error:  # no space for what the process answers
        return str(error.strerror)
    sent = outcome.values
    if problem := next((each.problem for each in sent if each.problem), ""):
        return problem
    if len(sent) < len(folders):
        late = f"it gave no answer in {tool.seconds:g} seconds"
        return late if outcome.silent_s else f"its process failed{outcome.crash and ', ' + outcome.crash}"
    console.print(f"Logged     {tool.title}: {sent[-1].where}", markup=False, soft_wrap=True)
    return ""


def _send(tool: Tool, folders: Sequence[Path], sweep: Path | None) -> Iterator[Sent]:
    """Send each folder; the first problem ends it."""
    try:
        for folder in folders:
            yield Sent(where=_sent(tool, folder, sweep))
    except Exception as error:  # of any kind, as of the tools and of what they talk to
        yield Sent(problem=without_secrets(_said(error)))


def _sent(tool: Tool, folder: Path, sweep: Path | None) -> str:
    if folder == sweep:
        return tool.send(record_of_sweep(folder), _opened_sweep(tool, folder))
    parent = _opened_sweep(tool, sweep) if sweep else ""
    record = record_of_run(folder, sweep)
    identity = _identity(tool, folder) or tool.open(record, parent)
    _note(tool, folder, {"id": identity})  # sent under this id again, where sending breaks off
    where = tool.send(record, identity)
    _note(tool, folder, {"id": identity, "sent": _ending(folder)})
    return where


def _opened_sweep(tool: Tool, sweep: Path) -> str:
    """Return the id of a sweep, which the first of its runs opens."""
    with locked(sweep / f".{tool.option_name}.lock", waiting=""):
        identity = _identity(tool, sweep) or tool.open(record_of_sweep(sweep), "")
        _note(tool, sweep, {"id": identity})
    return identity


def _notes(tool: Tool, folder: Path) -> dict[str, str]:
    try:
        return dict(read_json(folder / f".{tool.option_name}.json"))
    except (OSError, ValueError, TypeError):
        return {}


def _note(tool: Tool, folder: Path, notes: dict[str, str]) -> None:
    write_file(folder / f".{tool.option_name}.json", json.dumps(notes).encode())


def _identity(tool: Tool, folder: Path) -> str:
    return _notes(tool, folder).get("id", "")


def _is_sent(tool: Tool, folder: Path) -> bool:
    return _notes(tool, folder).get("sent") == _ending(folder)


def _ending(folder: Path) -> str:
    return "failed" if (folder / FAILURE_FILE).exists() else "done"


def _has_ended(folder: Path) -> bool:
    return is_done(folder) or (folder / FAILURE_FILE).exists()


def _away(tool: Tool, sweep: Path) -> Path:
    return sweep / f".{tool.option_name}.away"


def _said(error: Exception) -> str:
    """Return the first line of a message, which others may write at length."""
    first = (str(error).strip().splitlines() or [""])[0]
    said = first if isinstance(error, PruneflowError) else f"{type(error).__name__}: {first[:200]}"
    return said.rstrip(". ")


def without_secrets(text: str) -> str:
    """Return a text without names and passwords in addresses, and without what secret variables hold."""
    text = re.sub(r"://[^/@\s]*@", "://", text)
    for name, value in os.environ.items():
        if SECRET.match(name) and value:
            text = text.replace(value, "...")
    return text
