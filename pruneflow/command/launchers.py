"""Launchers of the cells of a sweep: one after the other, side by side on this machine, or on a cluster."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from pruneflow.command.engines import Engine, Joblib, Ray, Submitit
from pruneflow.command.plugins import package_of
from pruneflow.runtime.device import processors
from pruneflow.runtime.terminal import complain, say

_ENGINES: dict[str, type[Engine]] = {
    "hydra_plugins.hydra_joblib_launcher": Joblib,
    "hydra_plugins.hydra_ray_launcher": Ray,
    "hydra_plugins.hydra_submitit_launcher": Submitit,
}


def engine_of(settings: Any) -> Engine:
    """The engine that Hydra's settings name; a launcher that is not known here is left alone."""
    return _ENGINES.get(package_of(settings.launcher), Engine)(settings.launcher)


def share(settings: Any) -> int | None:
    """Processors that a cell may use in this process; None where it has all of them."""
    if OmegaConf.is_missing(settings.job, "num"):  # a run of its own, whatever the launcher
        return None
    wanted = engine_of(settings).share()
    return None if wanted is None else max(1, min(int(wanted), processors()))


@dataclass
class Cells:
    """The cells of a sweep, or the one cell of a run.

    Attributes:
        whole: Whether the engine that ran them came to its end.
    """

    whole: bool = True


@contextmanager
def running(engine: Engine, at_a_time: int) -> Iterator[Cells]:
    """Have an engine ready while Hydra runs the cells of a sweep; what ends it early is told."""
    if told := engine.told(at_a_time):
        say(f"Cells      {told}")
    cells = Cells()
    try:
        with engine.running():
            yield cells
    except Exception as error:
        if type(error).__module__.split(".")[0] in ("joblib", "multiprocessing", "ray", "submitit"):
            complain(f"A cell ended without a result: {_said(error)}. The same command runs it.")
        else:
            raise
        cells.whole = False


def _said(error: Exception) -> str:
    """Return what an engine says at first, without its guesses at the reason."""
    first = re.split(r"\n\s*\n|\n-----|\.? This can happen if", str(error))[0]
    return " ".join(first.split()).rstrip(".")
