"""``python -m pruneflow.sensitivity``: mask each weight of a trained network alone, and measure the cost."""

import argparse
import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pruneflow.api import compose
from pruneflow.command import answers
from pruneflow.command.folders import require_writable, unused
from pruneflow.flow.config import Config
from pruneflow.options import require
from pruneflow.runtime.process import run_command
from pruneflow.runtime.terminal import answered, complain, say

USAGE = """\
Train the dense network of a run, or take it from the store of stages, and scan it without training: each
weight (with structure=channel each group of units) is masked alone to the levels of sensitivity.levels, and
accuracy and loss are measured on sensitivity.examples examples of the validation part. Settings are those of
python -m pruneflow. It writes sensitivity.json, sensitivity.csv and sensitivity.html.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: 0 done, 1 it failed, 2 a setting cannot be used."""
    parser = argparse.ArgumentParser("python -m pruneflow.sensitivity", description=USAGE, allow_abbrev=False)
    parser.add_argument("settings", nargs="*", metavar="key=value", help="as for python -m pruneflow")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where it goes: a new or empty folder")
    chosen = parser.parse_args(arguments)
    try:
        return answered(lambda: _carry_out(compose(chosen.settings), _folder(chosen.output)))
    except (OSError, MemoryError) as error:
        complain(answers.failure_in_words(error))
        return 1


def _folder(named: Path | None) -> Path:
    if named is None:
        return unused(Path("outputs") / f"{datetime.now():%Y-%m-%d/%H-%M-%S-%f}_sensitivity")
    taken = named.exists() and not (named.is_dir() and not any(named.iterdir()))
    require(not taken, "--output", named, "something is there already", "Name a new or an empty folder.")
    return named


def _carry_out(config: Config, folder: Path) -> None:
    require_writable(folder)
    problem, remedy = "a scan is made by one process", "Leave it out, or take mirrored."
    config.device.require_one_process(problem, remedy)
    from pruneflow.flow import as_came, networks, prepare, sensitivity
    from pruneflow.report import sensitivity as shown

    ready = prepare.prepare(config)
    sensitivity.require_trained(config, ready)
    folder.mkdir(parents=True, exist_ok=True)
    store = config.stages.open()
    dense = networks.dense_network(store, config, ready, folder)
    as_came.show(config, ready, dense)
    found = sensitivity.scan(store, config, ready, dense)
    page = shown.write(found, folder)
    shown.show(found)
    left = "; ".join(f"{name} ({reason})" for name, reason in ready.selection.left.items())
    say(f"Not scanned {left or 'none'}")
    say(f"Report     {shlex.quote(str(page))}")


if __name__ == "__main__":
    run_command(main)
