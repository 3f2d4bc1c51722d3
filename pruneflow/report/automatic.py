"""The report at the end of a run or a sweep: made if it can be, and never what a result is lost for."""

from __future__ import annotations

import shlex
import traceback
from collections.abc import Callable
from pathlib import Path

from pruneflow.errors import PruneflowError
from pruneflow.terminal import console, warn

__all__ = ["report_run", "report_sweep"]


def report_run(folder: Path) -> None:
    """Make the page of a run that has just finished, and say where it is."""
    from pruneflow.report.run_page import write_run_report  # loads the plotting library

    _made(lambda: write_run_report(folder), folder)


def report_sweep(folder: Path) -> None:
    """Make the page of all runs of a sweep, and say where it is."""
    from pruneflow.report.collect import collect
    from pruneflow.report.page import REPORT
    from pruneflow.report.sweep_page import write_sweep_report

    _made(lambda: write_sweep_report(collect([folder]), folder / REPORT), folder)


def _made(make: Callable[[], Path], folder: Path) -> None:
    try:
        page = make()
    except Exception as error:  # the result is written and stands
        if not isinstance(error, PruneflowError):
            traceback.print_exception(error)
        again = f"python -m pruneflow.report {shlex.quote(str(folder))}"
        warn(f"Report     not made: {error} The result is whole; {again} makes the report.")
    else:
        console.print(f"Report     {shlex.quote(str(page))}", markup=False, soft_wrap=True)
