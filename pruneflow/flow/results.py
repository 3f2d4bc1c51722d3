"""The result of a run on disk: ``result.json``, written whole or not at all."""

import json
import reprlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pruneflow import __version__
from pruneflow.errors import PruneflowError
from pruneflow.flow.figures import FORMAT, Result
from pruneflow.flow.older_results import of_today
from pruneflow.flow.plausible import require_plausible
from pruneflow.runtime.files import write_file
from pruneflow.runtime.records import fitted, read_json
from pruneflow.runtime.terminal import warn

BESIDE = ("stages", "logger")  # settings that change no result: runs that differ in them alone are the same


def write(result: Result, run_dir: Path) -> None:
    """Write ``run_dir/result.json``."""
    text = json.dumps(asdict(result), indent=2, allow_nan=False)
    write_file(run_dir / "result.json", (text + "\n").encode())


def read(run_dir: Path) -> Result:
    """Read ``run_dir/result.json``, of this format or an older one; tables and pages can be made of it.

    Raises:
        FileNotFoundError: if the run has not finished.
        PruneflowError: if the file is not a result, not a whole one, or one of a newer format.
    """
    path = run_dir / "result.json"
    found = _read(path)
    if not 1 <= found["format"] <= FORMAT:
        raise PruneflowError(
            f"{path} has format {reprlib.repr(found['format'])}, and pruneflow {__version__} reads formats "
            f"1 to {FORMAT}. Read it with the version that wrote it, or run again."
        )
    try:
        result: Result = fitted(of_today(found), Result)
        require_plausible(result)
    except ValueError as error:
        raise PruneflowError(f"{path} is not whole: {error}. Delete it, or run again.") from error
    return result


def _read(path: Path) -> dict[str, Any]:
    """Any object with a format."""
    try:
        found = fitted(read_json(path), dict[str, Any])
        fitted(found.get("format"), int, "format")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise PruneflowError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
    except ValueError as error:
        raise PruneflowError(
            f"{path} is not a result of pruneflow: {error}. Delete it, or run again."
        ) from error
    return dict(found)


def finished(
    run_dir: Path, config: dict[str, Any], usual: Callable[[Collection[str]], Mapping[str, Any]] | None = None
) -> Result | None:
    """Read the result of a run that ended before, in a folder that is taken up.

    Args:
        config: Its settings, nested; where stages are kept and who is told does not matter.
        usual: Gives the settings that nobody typed, nested, with the groups of the names that it is given as
            they are chosen; results of before there was a key have had its default.

    Returns:
        None where there is no whole one.

    Raises:
        PruneflowError: if the folder holds the result of other settings.
    """
    try:
        result = read(run_dir)
    except FileNotFoundError:
        return None
    except PruneflowError as error:
        warn(f"The run is carried out anew. {error}")
        return None
    wanted = json.loads(json.dumps({**config, **dict.fromkeys(BESIDE)}))
    kept = {**result.config, **dict.fromkeys(BESIDE)}
    if usual and kept != wanted:
        kept = _completed(kept, wanted, usual(list(kept)))
    if kept != wanted:
        raise PruneflowError(
            f"{run_dir} holds the result of other settings. Name another folder, or delete it."
        )
    return result


def _completed(
    kept: Mapping[str, Any], wanted: Mapping[str, Any], usual: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings of before, with the defaults of keys that came later.

    >>> _completed({"a": {"b": 1}}, {"a": {"b": 2, "c": 3}, "d": 4}, {"a": {"b": 5, "c": 6}, "d": 7})
    {'a': {'b': 1, 'c': 6}, 'd': 7}
    """
    found = dict(kept)
    for key, value in wanted.items():
        if key not in kept and key in usual:
            found[key] = usual[key]
        elif isinstance(value, dict) and isinstance(kept.get(key), dict):
            found[key] = _completed(kept[key], value, usual.get(key) or {})
    return found
