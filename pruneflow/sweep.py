"""Sweeps: the cells of a grid, their folder names, and the table over all of them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from pruneflow.errors import PruneflowError
from pruneflow.flow import results
from pruneflow.runtime.files import write_file
from pruneflow.runtime.records import read_json, require_fits

__all__ = [
    "FAILURE_FILE",
    "UNFINISHED_FILE",
    "CellOutcome",
    "begin",
    "cell_name",
    "differing",
    "end",
    "failure_in",
    "found",
    "is_done",
    "outcomes",
    "overrides_of",
    "record_failure",
    "run_name",
    "write_csv",
]

LONGEST_NAME = 80
FAILURE_FILE = "failure.json"
OVERRIDES = ".hydra/overrides.yaml"
UNFINISHED_FILE = ".unfinished"  # deleted when nothing is left to write, which a full disk allows


def cell_name(overrides: Sequence[str], constant_keys: Sequence[str]) -> str:
    """Folder name of a cell: what differs from the others, safe on every file system.

    Args:
        overrides: The overrides of this cell, ``key=value``.
        constant_keys: Keys that have the same value in all cells.

    >>> cell_name(["trainer.epochs=1", "schedule.final_sparsity=0.5", "export=int8"], ["trainer.epochs"])
    'final_sparsity=0.5,export=int8'
    """
    labels = [f"{label}={value}" for label, value in _varying(overrides, constant_keys)]
    return _safe(",".join(labels)) or "cell"


def run_name(overrides: Sequence[str]) -> str:
    """What the folder name of a single run ends with: what was typed, as `cell_name` writes it.

    >>> run_name(["model=lstm", "schedule.final_sparsity=0.5"]), run_name([])
    (',model=lstm,final_sparsity=0.5', '')
    """
    return f",{cell_name(overrides, [])}" if overrides else ""


def differing(overrides: Sequence[str], constant_keys: Sequence[str]) -> dict[str, str | float | bool]:
    """What differs from the other cells, by the names that `cell_name` gives it, numbers as numbers.

    Args:
        overrides: The overrides of this cell.
        constant_keys: Keys that have the same value in all cells.

    >>> differing(["seed=1", "schedule.final_sparsity=0.5", "model.filters=[8]"], ["seed"])
    {'final_sparsity': 0.5, 'filters': '[8]'}
    """
    return {label: _value(text) for label, text in _varying(overrides, constant_keys)}


def _value(text: str) -> str | float | bool:
    value = OverridesParser.create().parse_override(f"value={text}").value()
    return value if isinstance(value, (bool, int, float)) else text


def _varying(overrides: Sequence[str], constant_keys: Sequence[str]) -> list[tuple[str, str]]:
    """Name, as short as it can be, and value, as typed, of each override that differs."""
    pairs = [override.lstrip("+~").partition("=") for override in overrides]
    varying = [(key, value) for key, _, value in pairs if key not in constant_keys]
    last = Counter(_last_part(key) for key, _ in varying)
    return [(_last_part(key) if last[_last_part(key)] == 1 else key, value) for key, value in varying]


def _last_part(key: str) -> str:
    return re.split(r"[./@]", key)[-1] or key


def _safe(name: str) -> str:
    """Replace what file systems or shells stumble over; a digest keeps changed names apart."""
    safe = re.sub(r"[^A-Za-z0-9._=,+-]+", "_", name).strip("._")
    if safe == name and len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{safe[: LONGEST_NAME - 9]}-{digest}"


@dataclass(frozen=True)
class CellOutcome:
    """How one cell ended.

    Attributes:
        name: Folder name of the cell.
        result: Its ``result.json``, or None.
        failure: Its message where it failed; empty otherwise.
    """

    name: str
    result: dict[str, Any] | None
    failure: str


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
    """Leave the message of a failed cell in its folder.

    Raises:
        PruneflowError: if it cannot be written.
    """
    write_file(run_dir / FAILURE_FILE, (json.dumps({"message": message}, indent=2) + "\n").encode())


def failure_in(run_dir: Path) -> str | None:
    """The message that a failed run left; None where there is none."""
    try:
        found = read_json(run_dir / FAILURE_FILE)
        require_fits(found, _Failure)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return f"it failed, and {FAILURE_FILE} cannot be read"
    return str(found["message"])


class _Failure(TypedDict):
    message: str


def outcomes(sweep_dir: Path, cells: Mapping[str, Sequence[str]]) -> list[CellOutcome]:
    """Read how each cell ended.

    Args:
        sweep_dir: Folder of the sweep.
        cells: Name of each cell, and its overrides: Hydra keeps them in the folder that the cell ran in,
            whatever ``hydra.sweep.subdir`` made of its name.
    """
    folders = {tuple(overrides_of(folder) or ()): folder for folder in _folders(sweep_dir)}
    return [_outcome(name, folders.get(tuple(overrides))) for name, overrides in cells.items()]


def found(sweep_dir: Path) -> list[CellOutcome]:
    """Read how the cells of a search ended, which nobody knew before: all that lie there, as they began."""
    folders = sorted(_folders(sweep_dir), key=lambda folder: (folder / OVERRIDES).stat().st_mtime_ns)
    return [_outcome(str(folder.relative_to(sweep_dir)), folder) for folder in folders]


def _folders(sweep_dir: Path) -> list[Path]:
    return [file.parent.parent for file in sweep_dir.rglob(OVERRIDES) if file.is_file()]


def overrides_of(run_dir: Path) -> list[str] | None:
    """The overrides that Hydra noted down in the folder of a run; None where that cannot be read."""
    try:
        found = OmegaConf.load(run_dir / OVERRIDES) if (run_dir / OVERRIDES).is_file() else None
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException):
        return None
    return list(map(str, found)) if isinstance(found, ListConfig) else None


def _outcome(name: str, folder: Path | None) -> CellOutcome:
    if folder and (message := failure_in(folder)) is not None:
        return CellOutcome(name, None, message)
    if folder and is_done(folder):
        try:
            return CellOutcome(name, results.read(folder), "")
        except (PruneflowError, FileNotFoundError) as error:
            return CellOutcome(name, None, str(error))
    return CellOutcome(name, None, "did not finish")


def write_csv(path: Path, cells: Sequence[CellOutcome]) -> None:
    """Write one row per exported file; failed cells have one with their message and empty figures."""
    rows = [row for cell in cells for row in _rows(cell)]
    text = io.StringIO()
    columns = dict.fromkeys(column for row in rows for column in row if column != "message")
    writer = csv.DictWriter(text, fieldnames=[*columns, "message"])
    writer.writeheader()
    writer.writerows(rows)
    write_file(path, text.getvalue().encode(errors="backslashreplace"))


def _rows(cell: CellOutcome) -> list[dict[str, Any]]:
    files = cell.result["tflite"] if cell.result else [None]
    return [_row(cell, {**cell.result, "tflite": file} if cell.result else None) for file in files]


def _row(cell: CellOutcome, result: dict[str, Any] | None) -> dict[str, Any]:
    row: dict[str, Any] = {"cell": cell.name, "status": "failed" if cell.failure else "done"}
    row.update({column: _pick(result, path) for column, path in _COLUMNS.items()})
    row.update(_metrics(result or {}))
    row["message"] = cell.failure
    return row


def _metrics(result: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of the metrics that have none of their own, by network and name."""
    found: dict[str, Any] = {}
    for network in ("dense", "pruned", "tflite"):
        for prefix in ("", "validation_"):
            figures = result.get(network, {}).get(f"{prefix}metrics") or {}
            found |= {
                f"{network}_{prefix}{name}": value for name, value in figures.items() if name != "accuracy"
            }
    return found


_COLUMNS = {
    "dataset": "data.name",
    "model": "config.model.name",
    "schedule": "config.schedule.name",
    "structure": "config.structure.name",
    "criterion": "config.criterion.name",
    "distribution": "config.distribution.name",
    "export": "tflite.kind",
    "seed": "seed",
    "batch_size": "config.trainer.batch_size",
    "requested_sparsity": "pruned.requested_sparsity",
    "measured_sparsity": "pruned.measured_sparsity",
    "compression_ratio": "pruned.compression_ratio",
    "dense_accuracy": "dense.accuracy",
    "dense_validation_accuracy": "dense.validation_accuracy",
    "pruned_accuracy": "pruned.accuracy",
    "pruned_validation_accuracy": "pruned.validation_accuracy",
    "tflite_accuracy": "tflite.accuracy",
    "metric": "data.metric",
    "agreement": "tflite.agreement",
    "dense_tflite_gzip_bytes": "dense.tflite_gzip_bytes",
    "tflite_bytes": "tflite.bytes",
    "tflite_gzip_bytes": "tflite.gzip_bytes",
    "tflite_zstd_bytes": "tflite.zstd_bytes",
    "encoding": "tflite.encoding",
    "same_kind_gzip_ratio": "tflite.size_ratios.gzip",
    "theoretical_speedup": "tflite.theoretical_speedup",
    "latency_ms": "tflite.latency.pruned.median_ms",
    "dense_latency_ms": "tflite.latency.dense.median_ms",
    "speedup": "tflite.latency.speedup.ratio",
    "speedup_low": "tflite.latency.speedup.low",
    "speedup_high": "tflite.latency.speedup.high",
    "export_gzip_ratio": "ratios.export_gzip",
    "dense_seconds": "phases.dense.seconds",
    "pruned_seconds": "phases.pruned.seconds",
    "pruned_examples_per_second": "phases.pruned.examples_per_second",
    "peak_memory_bytes": "peak_memory_bytes",
}


def _pick(result: Any, path: str) -> Any:
    """Follow a dotted path through dictionaries; empty where there is no result."""
    for part in path.split("."):
        result = result.get(part) if isinstance(result, Mapping) else None
    return "" if result is None else result
