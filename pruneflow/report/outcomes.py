"""Outcomes of the cells of a sweep, and the table over all of them."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruneflow.errors import PruneflowError
from pruneflow.flow import results
from pruneflow.flow.figures import Result
from pruneflow.flow.judgement import marked
from pruneflow.flow.run_folder import OVERRIDES, failure_in, is_done, overrides_of
from pruneflow.runtime.files import write_file
from pruneflow.runtime.records import pick


@dataclass(frozen=True)
class CellOutcome:
    """The outcome of one cell of a sweep.

    Attributes:
        name: Folder name of the cell.
        failure: Its message where it failed; empty otherwise.
    """

    name: str
    result: Result | None
    failure: str


def outcomes(sweep_dir: Path, cells: Mapping[str, Sequence[str]]) -> list[CellOutcome]:
    """Read how each cell ended.

    Args:
        cells: Name of each cell, and its overrides: Hydra keeps them in the folder that the cell ran in,
            whatever ``hydra.sweep.subdir`` made of its name.
    """
    folders = {tuple(overrides_of(folder) or ()): folder for folder in _folders(sweep_dir)}
    return [outcome_in(name, folders.get(tuple(overrides))) for name, overrides in cells.items()]


def found(sweep_dir: Path) -> list[CellOutcome]:
    """Read how the cells of a search ended, which nobody knew before: all that lie there, as they began."""
    folders = sorted(_folders(sweep_dir), key=lambda folder: (folder / OVERRIDES).stat().st_mtime_ns)
    return [outcome_in(str(folder.relative_to(sweep_dir)), folder) for folder in folders]


def _folders(sweep_dir: Path) -> list[Path]:
    return [file.parent.parent for file in sweep_dir.rglob(OVERRIDES) if file.is_file()]


def outcome_in(name: str, folder: Path | None) -> CellOutcome:
    """Read how one cell ended.

    Args:
        folder: Its folder; None where there is none.
    """
    if folder and (message := failure_in(folder)) is not None:
        return CellOutcome(name, None, message)
    if folder and is_done(folder):
        try:
            return CellOutcome(name, results.read(folder), "")
        except (PruneflowError, FileNotFoundError) as error:
            return CellOutcome(name, None, str(error))
    return CellOutcome(name, None, "did not finish")


def write_csv(path: Path, cells: Sequence[CellOutcome]) -> None:
    """Write one row per exported file; failed cells have one with their message and empty figures.

    A cell that is marked has its figures, a ``verdict`` and a message.
    """
    rows = [row for cell in cells for row in _rows(cell)]
    text = io.StringIO()
    columns = dict.fromkeys(column for row in rows for column in row if column != "message")
    writer = csv.DictWriter(text, fieldnames=[*columns, "message"])
    writer.writeheader()
    writer.writerows(rows)
    write_file(path, text.getvalue().encode(errors="backslashreplace"))


def _rows(cell: CellOutcome) -> list[dict[str, Any]]:
    files = cell.result.tflite if cell.result else [None]
    return [_row(cell, {**vars(cell.result), "tflite": file} if cell.result else {}) for file in files]


def _row(cell: CellOutcome, found: dict[str, Any]) -> dict[str, Any]:
    """A row; ``found``: the result by field, with one file as ``tflite``; empty where there is none."""
    row: dict[str, Any] = {"cell": cell.name, "status": "failed" if cell.failure else "done"}
    figures = {column: pick(found, path) for column, path in _COLUMNS.items()}
    row.update({column: "" if value is None else value for column, value in figures.items()})
    row["batch_size"] = row["batch_size"] or pick(found, "config.trainer.batch_size") or ""  # once there only
    row["nonzero_parameters"] = cell.result.nonzero_parameters if cell.result else ""
    row["positions"] = cell.result.positions if cell.result else ""
    row["sparsity_of"] = cell.result.sparsity_of if cell.result else ""
    row.update(_metrics(found))
    judged = marked(cell.result.judgement) if cell.result else None
    row["message"] = judged.message if judged else cell.failure
    return row


def _metrics(found: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of the metrics that have none of their own, by network and name."""
    return {
        f"{network}_{prefix}{name}": value
        for network in ("dense", "pruned", "tflite")
        for prefix in ("", "validation_")
        for name, value in (pick(found, f"{network}.{prefix}metrics") or {}).items()
        if name != "accuracy"
    }


_COLUMNS = {
    "dataset": "data.name",
    "augmentation": "config.augmentation.name",
    "model": "config.model.name",
    "schedule": "config.schedule.name",
    "structure": "config.structure.name",
    "criterion": "config.criterion.name",
    "distribution": "config.distribution.name",
    "export": "tflite.kind",
    "seed": "seed",
    "verdict": "judgement.verdict",
    "validation_drop": "judgement.drop",
    "batch_size": "plan.batch_size",
    "final_sparsity": "config.schedule.final_sparsity",
    "requested_sparsity": "pruned.requested_sparsity",
    "measured_sparsity": "pruned.measured_sparsity",
    "compression_ratio": "pruned.compression_ratio",
    "dense_parameters": "dense.parameters",
    "dense_accuracy": "dense.accuracy",
    "dense_validation_accuracy": "dense.validation_accuracy",
    "pruned_accuracy": "pruned.accuracy",
    "pruned_validation_accuracy": "pruned.validation_accuracy",
    "tflite_accuracy": "tflite.accuracy",
    "tflite_validation_accuracy": "tflite.validation_accuracy",
    "metric": "data.metric",
    "agreement": "tflite.agreement",
    "dense_tflite_gzip_bytes": "dense.tflite.gzip_bytes",
    "tflite_bytes": "tflite.size.bytes",
    "tflite_gzip_bytes": "tflite.size.gzip_bytes",
    "tflite_zstd_bytes": "tflite.size.zstd_bytes",
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
    "then": "config.then.name",
    "cut_requested_sparsity": "cut.requested_sparsity",
    "cut_measured_sparsity": "cut.measured_sparsity",
    "cut_accuracy": "cut.accuracy",
}
