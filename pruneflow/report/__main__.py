"""``python -m pruneflow.report``: make the page of a run, a sweep or several from the files they left."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from pruneflow.errors import PruneflowError
from pruneflow.report.collect import Collected, collect, is_run
from pruneflow.report.page import REPORT
from pruneflow.report.run_page import write_run_report
from pruneflow.report.sweep_page import write_sweep_report
from pruneflow.runtime.process import run_command
from pruneflow.runtime.terminal import answered, complain, say, warn

COMPARISON = "comparison.html"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0: done. 1: there is nothing to show, it cannot be written, or something broken was left out of it.
        2: a wrong option.
    """
    parser = argparse.ArgumentParser("python -m pruneflow.report", description=__doc__, allow_abbrev=False)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="of a run, a sweep, or above")
    parser.add_argument("--output", type=Path, metavar="FILE.html", help="where a comparison goes")
    parser.add_argument("--runs", action="store_true", help="make the page of each run again, too")
    chosen = parser.parse_args(arguments)
    if chosen.output and chosen.output.suffix != ".html":
        parser.error(f"--output={chosen.output}: the name of a page ends with .html.")
    return answered(lambda: _carry_out(chosen.folders, chosen.output, every_run=chosen.runs))


def _carry_out(folders: Sequence[Path], output: Path | None, *, every_run: bool) -> int:
    """Make what is asked for; return 0 where it could be made, with nothing broken left out, else 1."""
    collected = collect(folders)
    single = len(folders) == 1 and is_run(folders[0]) and output is None
    if single:
        _require_finished(collected)
    elif collected.runs or collected.failed:  # where there is nothing else, they are the answer
        for notice in collected.notices:
            warn(notice)
    complete = not any(each.broken for each in collected.left_out)
    if single or every_run:
        for run in collected.runs:
            complete &= _made(run.folder)
    if not single:
        _say(write_sweep_report(collected, output or _usual(folders)))
    return 0 if complete else 1


def _made(folder: Path) -> bool:
    """Make the page of one run; another's must not fail with it."""
    try:
        _say(write_run_report(folder))
    except PruneflowError as error:
        complain(str(error))
        return False
    return True


def _usual(folders: Sequence[Path]) -> Path:
    """In the folder of a sweep; of several, where the command is typed."""
    return folders[0] / REPORT if len(folders) == 1 else Path(COMPARISON)


def _require_finished(collected: Collected) -> None:
    if not collected.runs:
        reasons = [f"{run.name} failed: {run.message}" for run in collected.failed] + collected.notices
        raise PruneflowError("\n".join(["The run has no result, so there is nothing to show.", *reasons]))


def _say(page: Path) -> None:
    say(f"Report     {shlex.quote(str(page))}")


if __name__ == "__main__":
    run_command(main)
