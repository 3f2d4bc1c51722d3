"""The last lines of a run and of a sweep: advice, the folder, the script that uses a file, a line to grep."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from pruneflow.exports.use_script import ARGUMENTS
from pruneflow.flow.figures import Result
from pruneflow.flow.judgement import marked
from pruneflow.report.advice import advice
from pruneflow.report.outcomes import CellOutcome
from pruneflow.runtime.terminal import say


def show_done(result: Result, run_dir: Path, *, in_sweep: bool = False) -> None:
    """Print the last lines of a run, of which one for each exported file is made to grep.

    Args:
        in_sweep: Whether the run is part of a sweep, which ends with advice of its own.
    """
    if not in_sweep:
        _show("Advice", advice([result]))
        _show("Folder", shlex.quote(str(run_dir)))
        _show("Use", _use(result, run_dir))
    judged = marked(result.judgement)
    for file in result.tflite:
        words = {
            "dataset": result.data.name,
            "model": result.config["model"]["name"],
            "export": file.kind,
            "sparsity": f"{result.pruned.measured_sparsity:.4f}",
            **({"cut": f"{result.cut.measured_sparsity:.4f}"} if result.cut else {}),
            _metric_key(result): f"{result.quality(file):.4f}",
            "gzip_bytes": str(file.size.gzip_bytes),
            **({"verdict": judged.verdict} if judged else {}),
            "run": str(run_dir),
        }
        line = " ".join(f"{key}={shlex.quote(value)}" for key, value in words.items())
        say(f"done {line}")


def show_sweep_done(cells: Sequence[CellOutcome], sweep_dir: Path, *, searched: bool = False) -> None:
    """Print the last lines of a sweep, of which one is made to grep.

    Args:
        searched: Whether it searched for one file, which its answer is about.
    """
    kept = [cell for cell in cells if cell.result and not marked(cell.result.judgement)]
    if not searched:
        _show("Advice", advice([cell.result for cell in cells if cell.result]))
        _show("Folder", shlex.quote(str(sweep_dir)))
        _show("Use", _use_of_smallest(kept, sweep_dir))
    failed = sum(not cell.result for cell in cells)
    lost = len(cells) - failed - len(kept)
    counts = f"cells={len(cells)} failed={failed}" + (f" marked={lost}" if lost else "")
    table = shlex.quote(str(sweep_dir / "sweep.csv"))
    say(f"done {counts} table={table}")


def _show(label: str, text: str) -> None:
    if text:
        say(f"{label:<10} {text}")


def _use(result: Result, run_dir: Path) -> str:
    """Return the command that uses the first file of a run; empty where none runs here."""
    contract = result.contract
    if not contract or not contract.script:
        return ""
    script = shlex.quote(str(run_dir / contract.script))
    return f"python {script} {ARGUMENTS.get(contract.reads.file, 'FILE')}"


def _use_of_smallest(cells: Sequence[CellOutcome], sweep_dir: Path) -> str:
    """Return the command that uses the cell with the smallest first file, where its folder has its name."""
    sizes = {
        each.result.tflite[0].size.gzip_bytes: each
        for each in cells
        if each.result and (sweep_dir / each.name).is_dir()
    }
    found = sizes[min(sizes)] if sizes else None
    use = _use(found.result, sweep_dir / found.name) if found and found.result else ""
    return f"{use} (the smallest file that is not marked)" if use else ""


def _metric_key(result: Result) -> str:
    """Return the metric of the part that is shown, as ``result.json`` calls it."""
    name, part = result.data.metric, result.part
    return name if part == "test" else f"{part}_{name}"
