"""The folder of a run: whether the run ended, and how."""

import json
from dataclasses import dataclass
from pathlib import Path

from omegaconf import ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from pruneflow.runtime.files import write_file
from pruneflow.runtime.records import fitted, read_json

FAILURE_FILE = "failure.json"
OVERRIDES = ".hydra/overrides.yaml"
UNFINISHED_FILE = ".unfinished"  # deleted when nothing is left to write, which a full disk allows


def begin(run_dir: Path) -> None:
    """Mark a run as unfinished, whatever files it has.

    Raises:
        OSError: if that cannot be written.
    """
    (run_dir / UNFINISHED_FILE).touch()


def end(run_dir: Path) -> None:
    """Mark a run as done: every file that it leaves is written."""
    (run_dir / UNFINISHED_FILE).unlink(missing_ok=True)


def is_done(run_dir: Path) -> bool:
    """Return whether a run came to its end: its result alone does not say so."""
    against = (FAILURE_FILE, UNFINISHED_FILE)
    return (run_dir / "result.json").is_file() and not any((run_dir / name).exists() for name in against)


def record_failure(run_dir: Path, message: str) -> None:
    """Leave the message of a failed cell in its folder."""
    write_file(run_dir / FAILURE_FILE, (json.dumps({"message": message}, indent=2) + "\n").encode())


def failure_in(run_dir: Path) -> str | None:
    """The message that a failed run left; None where there is none."""
    try:
        found: _Failure = fitted(read_json(run_dir / FAILURE_FILE), _Failure)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return f"it failed, and {FAILURE_FILE} cannot be read"
    return found.message


@dataclass(frozen=True)
class _Failure:
    message: str


def overrides_of(run_dir: Path) -> list[str] | None:
    """The overrides that Hydra noted down in the folder of a run; None where that cannot be read."""
    try:
        found = OmegaConf.load(run_dir / OVERRIDES) if (run_dir / OVERRIDES).is_file() else None
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException):
        return None
    return list(map(str, found)) if isinstance(found, ListConfig) else None
