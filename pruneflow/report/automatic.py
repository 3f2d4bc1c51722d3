"""The report at the end of a run or a sweep; the result is written before, and stands without it."""

import shlex
import traceback
from collections.abc import Callable
from pathlib import Path

from pruneflow.errors import PruneflowError
from pruneflow.runtime.terminal import say


def report_run(folder: Path) -> None:
    """Make the page of a run that has just finished, and say where it is."""
    from pruneflow.report.run_page import write_run_report  # loads the plotting library

    # pruneflow.report would refuse the folder, which is that of a run that failed
    _made(lambda: write_run_report(folder), "the same command")


def report_sweep(folder: Path) -> None:
    """Make the page of all runs of a sweep, and say where it is."""
    from pruneflow.report.collect import collect
    from pruneflow.report.page import REPORT
    from pruneflow.report.sweep_page import write_sweep_report

    again = f"python -m pruneflow.report {shlex.quote(str(folder))}"
    _made(lambda: write_sweep_report(collect([folder]), folder / REPORT), again)


def _made(make: Callable[[], Path], again: str) -> None:
    try:
        page = make()
    except Exception as error:  # of any kind: what draws is not ours
        if not isinstance(error, (PruneflowError, OSError)):
            traceback.print_exception(error)
        raise PruneflowError(
            f"The report is not made: {error} The result is whole; {again} makes the report."
        ) from error
    say(f"Report     {shlex.quote(str(page))}")
