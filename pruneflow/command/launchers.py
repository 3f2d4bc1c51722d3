"""Where the cells of a sweep run: one after the other, side by side on this machine, or on a cluster."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from omegaconf import OmegaConf

from pruneflow.command.engines import Engine, Joblib, Ray, Submitit
from pruneflow.command.plugins import package_of
from pruneflow.runtime.device import processors
from pruneflow.runtime.terminal import complain, console

__all__ = ["engine_of", "run_cells", "share"]

_ENGINES: dict[str, type[Engine]] = {
    "hydra_plugins.hydra_joblib_launcher": Joblib,
    "hydra_plugins.hydra_ray_launcher": Ray,
    "hydra_plugins.hydra_submitit_launcher": Submitit,
}


def engine_of(settings: Any) -> Engine:
    """The engine that Hydra's settings name; a launcher that is not known here is left alone."""
    return _ENGINES.get(package_of(settings.launcher), Engine)(settings.launcher)


def share(settings: Any) -> int | None:
    """Processors that a cell may use in this process; None where it has all of them.

    Args:
        settings: Hydra's settings, as the cell sees them.
    """
    if OmegaConf.is_missing(settings.job, "num"):  # a run of its own, whatever the launcher
        return None
    wanted = engine_of(settings).share()
    return None if wanted is None else max(1, min(int(wanted), processors()))


def run_cells(hydra: Callable[[], None], engine: Engine, cells: int) -> bool:
    """Let Hydra run the cells of a sweep.

    Args:
        hydra: Runs them.
        engine: What they run on.
        cells: How many may run at a time.

    Returns:
        Whether the engine came to its end; otherwise what it says is told.
    """
    if told := engine.told(cells):
        console.print(f"Cells      {told}", markup=False, soft_wrap=True)
    try:
        with engine.running():
            hydra()
    except Exception as error:
        if type(error).__module__.split(".")[0] in ("joblib", "multiprocessing", "ray", "submitit"):
            said = " ".join(re.split(r"\n\s*\n|\n-----", str(error))[0].split())
            complain(f"A cell ended without a result: {said}")
        elif str(error) != "No trials are completed yet.":  # how Optuna ends when every cell has failed
            raise
        return False
    return True
