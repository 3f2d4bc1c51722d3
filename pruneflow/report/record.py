"""The record of a run or a sweep for a logger, read from its folder once everything is written there."""

import re
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pruneflow.errors import PruneflowError
from pruneflow.flow import results
from pruneflow.flow.loggers import Record
from pruneflow.flow.run_folder import FAILURE_FILE, failure_in
from pruneflow.report.curves import Curve, read_curves
from pruneflow.report.outcomes import found
from pruneflow.runtime.files import is_folder

SETTINGS = ".hydra/config.yaml"
LEFT_OUT = (".db", ".h5", ".keras", ".npz")  # what a search notes down, networks and masks
FINAL = "final/"  # begins the tags of figures that are no curves


def record_of_run(folder: Path, sweep: Path | None) -> Record:
    """Read a run that is done or failed."""
    failure = failure_in(folder)
    scalars = {place.name: read_curves(place) for place in sorted(folder.iterdir()) if is_folder(place)}
    last = folder / ("result.json" if failure is None else FAILURE_FILE)
    return Record(
        name=str(folder.relative_to(sweep)) if sweep else _name(folder),
        sweep=_name(sweep) if sweep else "",
        is_sweep=False,
        settings=_settings(folder),
        figures=_figures(scalars),
        curves=_curves(scalars),
        files=_files(folder),
        failure=failure or "",
        begun=(folder / SETTINGS).stat().st_mtime,
        ended=last.stat().st_mtime,
    )


def record_of_sweep(folder: Path) -> Record:
    """Read what a sweep has beside its runs."""
    runs = found(folder)
    failed = sum(1 for run in runs if run.failure)
    return Record(
        name=_name(folder),
        sweep=_name(folder),
        is_sweep=True,
        settings={},
        figures={"runs": len(runs), "failed": failed},
        curves={},
        files=_files(folder),
        failure=f"{failed} of {len(runs)} runs failed" if failed else "",
        begun=min((run.stat().st_mtime for run in folder.rglob(SETTINGS)), default=folder.stat().st_mtime),
        ended=folder.stat().st_mtime,
    )


def _name(folder: Path) -> str:
    """Return the name of a folder, with the day where that is the folder around it.

    >>> _name(Path("outputs/sweeps/2026-11-30/17-34-20-814504"))
    '2026-11-30 17-34-20-814504'
    """
    day = folder.parent.name
    return f"{day} {folder.name}" if re.fullmatch(r"\d{4}-\d\d-\d\d", day) else folder.name


def _settings(folder: Path) -> dict[str, Any]:
    """Return the settings of a result; of a run that failed those that it began with."""
    try:
        return dict(results.read(folder).config)
    except (PruneflowError, FileNotFoundError):
        return OmegaConf.to_container(OmegaConf.load(folder / SETTINGS))  # type: ignore[return-value]


def _figures(scalars: dict[str, dict[str, Curve]]) -> dict[str, float]:
    return {
        f"{place}/{tag.removeprefix(FINAL)}": curve.values[-1]
        for place, curves in scalars.items()
        for tag, curve in curves.items()
        if tag.startswith(FINAL)
    }


def _curves(scalars: dict[str, dict[str, Curve]]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    return {
        place: {
            tag: list(zip(curve.steps, curve.values, strict=True))
            for tag, curve in curves.items()
            if not tag.startswith(FINAL)
        }
        for place, curves in scalars.items()
    }


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder itself, without what is hidden, and `LEFT_OUT`."""
    return [
        file
        for file in sorted(folder.iterdir())
        if file.is_file() and not file.name.startswith(".") and file.suffix not in LEFT_OUT
    ]
