"""The command line: compose, check everything, hand over to Hydra, say how it went."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pruneflow import __version__, refusals
from pruneflow.config import config_folder, from_hydra
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.help import help_text
from pruneflow.jobs import Job
from pruneflow.options import require
from pruneflow.sweep import cell_name, record_failure
from pruneflow.terminal import error_console

__all__ = ["main", "task"]

OmegaConf.register_new_resolver("pruneflow.cell", cell_name, replace=True)


class Terminated(BaseException):
    """SIGTERM, raised where the program stands, so that it unwinds as for Ctrl-C."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 refused, 130 Ctrl-C, 143 SIGTERM."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach us, not a traceback the terminal
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
    except PruneflowError as error:
        code = _say(str(error), error.exit_code)
    except (HydraException, OmegaConfBaseException) as error:
        code = _say(refusals.in_words(error), ConfigError.exit_code)
    except OSError as error:
        code = _say(refusals.failure_in_words(error), 1)
    except KeyboardInterrupt:
        code = _say("Interrupted. Nothing half-written stays; the run folder keeps its curves so far.", 130)
    except Terminated:
        code = _say("Terminated. Nothing half-written stays; the run folder keeps its curves so far.", 143)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    if "--version" in arguments:
        print(f"pruneflow {__version__}")
        return 0
    parsed = get_args_parser().parse_intermixed_args(arguments)
    # Hydra's own parser wants the overrides together; people write `seed=1 -m export=float,int8`.
    arguments = [word for word in arguments if word not in parsed.overrides] + parsed.overrides
    if parsed.help:
        user = [Path(parsed.config_dir)] if parsed.config_dir else []
        print(help_text([config_folder(), *user]), end="")
        return 0
    if parsed.hydra_help or parsed.info or parsed.cfg or parsed.shell_completion:
        _hydra(arguments)
        return 0
    require(
        not parsed.experimental_rerun,
        "--experimental-rerun",
        parsed.experimental_rerun,
        "pruneflow does not run pickled jobs",
        "Type the command that is in result.json.",
    )
    job = Job.of(parsed)
    job.check()
    _hydra([*arguments, *job.pinned])
    return 0 if job.report() else 1


def _hydra(arguments: list[str]) -> None:
    """Let Hydra parse the command line and start the job or jobs."""
    sys.argv = ["pruneflow", *arguments]
    hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")(task)()


def task(composed: DictConfig) -> float | None:
    """Run one cell in the folder Hydra made for it.

    Returns:
        Validation accuracy of the pruned network, which a sweeper may maximise; None where the cell failed.
    """
    from pruneflow import pipeline, tables

    settings = HydraConfig.get()
    run_dir = Path(settings.runtime.output_dir)
    command = _command(settings)
    first = OmegaConf.is_missing(settings.job, "num") or settings.job.num == 0
    try:
        config = from_hydra(composed)
        tables.show_config(OmegaConf.to_container(composed) if first else {}, command)
        ready = pipeline.prepare(config)
        tables.show_prepared(ready)
        result = pipeline.run(config, ready, run_dir, command=command)
    except Exception as error:
        _fail(run_dir, error)
        return None
    tables.show_result(result, run_dir)
    return result.pruned.validation_accuracy


def _command(settings: HydraConf) -> str:
    """The command line that runs this cell alone."""
    words = ["python", "-m", "pruneflow"]
    added = [source.path for source in settings.runtime.config_sources if source.provider == "command-line"]
    words += [f"--config-dir={path}" for path in added]
    if settings.job.config_name != "config":
        words.append(f"--config-name={settings.job.config_name}")
    return shlex.join([*words, *settings.overrides.task])


def _fail(run_dir: Path, error: Exception) -> None:
    """Say why a cell failed, and leave the message in its folder."""
    message = refusals.failure_in_words(error)
    _say(message, 1)
    if not message:
        traceback.print_exception(error)
    try:
        record_failure(run_dir, message or f"{type(error).__name__}: {error}")
    except PruneflowError as second:  # such as the same full disk
        if str(second) != message:
            _say(str(second), 1)


def _say(message: str, code: int) -> int:
    if message:
        error_console.print(message, style="bold red", markup=False, soft_wrap=True)
    return code


def _terminate(*_: object) -> NoReturn:
    raise Terminated
