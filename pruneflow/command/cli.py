"""The command line: compose, check everything, hand over to Hydra, say how it went."""

import logging
import os
import shlex
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.hydra import Hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from pruneflow import __version__
from pruneflow.command import answers, isolation, launchers, workers
from pruneflow.command.arguments import folders, parse, shows
from pruneflow.command.help import help_text, usual_choices
from pruneflow.command.job import Job
from pruneflow.command.labelled_output import beside_others
from pruneflow.command.names import cell_name, differing, run_name
from pruneflow.command.plugins import prefer_own_yaml
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.flow import objectives, results
from pruneflow.flow.config import Config, from_hydra, plain
from pruneflow.flow.figures import Result
from pruneflow.flow.judgement import fails
from pruneflow.flow.run_folder import FAILURE_FILE, begin, end, is_done
from pruneflow.report import hparams
from pruneflow.report.logged import logged
from pruneflow.runtime import signals
from pruneflow.runtime.files import config_folder
from pruneflow.runtime.terminal import complain, printing, say

OmegaConf.register_new_resolver("pruneflow.cell", cell_name, replace=True)
OmegaConf.register_new_resolver("pruneflow.typed", run_name, replace=True)
OmegaConf.register_new_resolver("pruneflow.directions", objectives.directions, replace=True)


STAYS = "Nothing half-written stays."
GOES_ON = f"{STAYS} Unless stages.reuse=false, the same command goes on from the last checkpoint."


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the code of how it ended.

    0 done, 1 failed, 2 refused, 3 pruned to a wreck, 4 goal missed, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions reach us, not a traceback the terminal
    with _answered():
        words = list(sys.argv[1:] if arguments is None else arguments)
        if "--version" in words:
            sys.exit(_print(f"pruneflow {__version__}\n"))
        parsed, words = parse(words)
        if parsed.help or parsed.help_all:
            sys.exit(_print(help_text(folders(parsed), whole=parsed.help_all)))
        if shows(parsed):
            sys.exit(_show(["--hydra-help"] if parsed.hydra_help else words))
        job = Job.of(parsed)
        job.check()
        if parsed.dry_run:
            job.forecast()
            sys.exit(0)
        if workers.follows():
            sys.exit(workers.follow(job.configs[0]))
        with workers.others_told(lambda error: _answer(error)[1]):
            sys.exit(0 if job.run(partial(start_hydra, words)) else 1)
    raise AssertionError("the block exits")


@contextmanager
def _answered() -> Iterator[None]:
    """Say what ends a command, and exit with its code."""
    try:
        yield
    except (PruneflowError, OSError, MemoryError, KeyboardInterrupt, *answers.REFUSED) as error:
        message, code = _answer(error)
    complain(message)
    sys.exit(code)


def _answer(error: BaseException) -> tuple[str, int]:
    if isinstance(error, PruneflowError):
        return str(error), error.exit_code
    if isinstance(error, answers.REFUSED):
        return answers.in_words(error), ConfigError.exit_code
    if isinstance(error, KeyboardInterrupt):
        said, code = signals.received()
        return f"{said}. {GOES_ON}", code
    return (answers.failure_in_words(error) if isinstance(error, Exception) else ""), 1


def _print(text: str) -> int:
    with printing():
        print(text, end="")
    return 0


def _show(arguments: list[str]) -> int:
    """Let Hydra print what it is asked for."""
    logging.raiseExceptions = False  # Hydra logs some of it, and a closed pipe is answered here
    with printing():
        try:
            start_hydra(arguments)
        except (ValueError, *answers.REFUSED) as error:  # some are OSErrors, as those of a closed stream
            raise ConfigError(answers.in_words(error)) from error
    return 0


def start_hydra(words: Sequence[str], pinned: Sequence[str] = (), mode: RunMode | None = None) -> None:
    """Let Hydra parse the words and start the job or jobs.

    Args:
        mode: Value of ``hydra.mode``, which Hydra would compose everything once more to find.
    """
    sys.argv = ["pruneflow", *words, *pinned]
    prefer_own_yaml()
    Hydra.get_mode = lambda *_, **__: mode  # type: ignore[method-assign]
    hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="config")(task)()


def task(composed: DictConfig) -> float | tuple[float, ...] | None:
    """Run one cell in the folder Hydra made for it.

    Returns:
        What ``objective`` names: one figure, or several in this order; None where the cell failed.
    """
    with beside_others():
        try:
            work, found = _begun(composed)
        except Exception as error:
            isolation.fail(Path(HydraConfig.get().runtime.output_dir), error)
            return None
        with logged(work.config.logger, work.run_dir, work.sweep):
            if not found:
                carry_out = isolation.in_child if isolation.is_due() else isolation.carry_out
                carry_out(work)
                found = results.finished(work.run_dir, plain(work.config)) if is_done(work.run_dir) else None
        return _objectives(found, work.config) if found else None


def _begun(composed: DictConfig) -> tuple[isolation.Work, Result | None]:
    """Begin a cell; return what there is to do, and the result where it was done before."""
    from pruneflow.report import tables

    settings = HydraConfig.get()
    run_dir, command = Path(settings.runtime.output_dir), _command(settings)
    sweep = None if OmegaConf.is_missing(settings.job, "num") else Path(settings.sweep.dir)
    begin(run_dir)
    tables.show_config(None if sweep and settings.job.num else _changed(composed), command)
    differs = differing(settings.overrides.task, settings.job.config.override_dirname.exclude_keys)
    config, share = from_hydra(composed), launchers.share(settings)
    work = isolation.Work(config, run_dir, command, differs, share, sweep)
    found = _finished(work)
    if found:
        _complete(found, work)
    (run_dir / FAILURE_FILE).unlink(missing_ok=True)
    return work, found


def _finished(work: isolation.Work) -> Result | None:
    """The result of a cell that ended before, where it was of the same data and device."""
    from pruneflow.flow import pipeline

    found = results.finished(work.run_dir, plain(work.config), _usual)
    if not found:
        return None
    ready = pipeline.prepare(work.config, share=work.share)
    same = (found.data.digest, found.device) == (ready.data.digest, ready.device)
    return found if same else None


def _changed(composed: DictConfig) -> dict[str, Any]:
    """The settings that differ from those of the chosen options, and options that are not the defaults."""
    chosen = {group: name for group, name in HydraConfig.get().runtime.choices.items() if group in composed}
    changed = _differing(OmegaConf.to_container(composed, resolve=True), _usual(chosen))
    usual = usual_choices()
    labels = {group: f"{group}={name}" for group, name in chosen.items() if name != usual.get(group)}
    return {labels.get(key, key): changed.get(key, {}) for key in composed if key in changed or key in labels}


def _differing(values: Any, usual: Any) -> dict[str, Any]:
    """The entries of nested dictionaries that others do not have alike."""
    found = {}
    for key, value in values.items():
        other = usual.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            if inner := _differing(value, other):
                found[key] = inner
        elif value != other:
            found[key] = value
    return found


def _usual(groups: Collection[str]) -> dict[str, Any]:
    """Compose the settings of the cell that runs as they are where nothing but these groups is chosen."""
    chosen = HydraConfig.get().runtime.choices
    overrides = [f"{group}={chosen[group]}" for group in groups if group in chosen]
    found = OmegaConf.to_container(hydra.compose("config", overrides), resolve=True)
    return found if isinstance(found, dict) else {}  # type: ignore[return-value]


def _complete(result: Result, work: isolation.Work) -> None:
    """Write what is missing after a result that was written before, and say that it was."""
    from pruneflow.report import ending
    from pruneflow.report.automatic import report_run
    from pruneflow.report.page import REPORT

    hparams.write(work.run_dir, work.differing)
    say(f"Finished   before: {work.run_dir}")
    if work.config.report and not (work.run_dir / REPORT).exists():
        report_run(work.run_dir)
    end(work.run_dir)
    ending.show_done(result, work.run_dir, in_sweep=work.sweep is not None)


def _objectives(result: Result, config: Config) -> float | tuple[float, ...] | None:
    values = objectives.values(result, config.objective)
    if values is None or fails(result.judgement):  # which a search leaves out
        return None
    return values[0] if len(values) == 1 else tuple(values)


def _command(settings: HydraConf) -> str:
    """The command line that runs this cell alone."""
    words = ["python", "-m", "pruneflow"]
    added = [source.path for source in settings.runtime.config_sources if source.provider == "command-line"]
    words += [f"--config-dir={path}" for path in added]
    if settings.job.config_name != "config":
        words.append(f"--config-name={settings.job.config_name}")
    return shlex.join([*words, *settings.overrides.task])
