"""The work that a command line asks for: every cell composed and checked before anything is written."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_search_path import SearchPathElement
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pruneflow.command import answers, continuing, goal, grids, launchers, plugins, search, targets, workers
from pruneflow.command.folders import name_latest, require_no_run, require_writable, unused
from pruneflow.command.names import cell_name
from pruneflow.errors import ConfigError
from pruneflow.flow import objectives, results
from pruneflow.flow.config import Config, from_hydra, option_from_hydra, plain
from pruneflow.flow.goal import Searched
from pruneflow.flow.judgement import require_worth
from pruneflow.flow.run_folder import is_done
from pruneflow.flow.store import Store
from pruneflow.options import require
from pruneflow.report.goal import finish
from pruneflow.report.outcomes import CellOutcome, found, outcomes, write_csv
from pruneflow.runtime import versions
from pruneflow.runtime.files import config_folder
from pruneflow.runtime.terminal import console, say

NOTES = ".hydra"
SWEEP_TABLE = "sweep.csv"


@dataclass(frozen=True)
class Job:
    """One run, or the cells of a sweep.

    Attributes:
        cells: Overrides of each cell; one entry where it is no sweep, and none of a search, whose cells are
            chosen while it runs.
        configs: Each cell's settings, typed and checked as far as that goes without data; of a search those
            at the ends of its ranges.
        settings: Hydra's own.
        named: Whether the command names the folder.
        goal: What a search for one file looks for; None where there is none.
        decided: Overrides that it needs beside: ways that what is typed rules out, the export of a file.
    """

    cells: list[list[str]]
    constant_keys: list[str]
    sweep: bool
    folder: Path
    configs: list[Config]
    settings: DictConfig
    named: bool
    typed: list[str]
    goal: Searched | None = None
    decided: Sequence[str] = ()

    @classmethod
    def of(cls, parsed: Any) -> Job:
        """Compose every cell.

        Raises:
            HydraException: for what Hydra refuses.
            ConfigError: for settings that cannot be used.
        """
        with _hydra_with(parsed.config_dir):
            plugins.prefer_own_yaml()
            typed, compose, settings, sweep = _settings(parsed)
            swept = [*grids.swept_in_yaml(settings), *typed]
            if sweep:
                _check_sweep(settings, swept)
            searches = sweep and search.is_search(settings.hydra)
            if searches and parsed.dry_run:
                raise ConfigError("--dry-run: a search chooses its cells while it runs. Leave it out.")
            wanted, decided = _goal(settings, swept, sweep=sweep), list[str]()
            cells = [] if searches else _cells(swept, settings) if sweep else [list(parsed.overrides)]
            if wanted:
                goal.check(wanted, swept)
                decided = _export_of_a_file(parsed, typed)
                swept += OverridesParser.create().parse_overrides(decided)
                found, dropped = _ways(
                    goal.probes(wanted, swept), compose, {each.key_or_group for each in typed}
                )
                decided += [f"~goal.ways.{way}" for way in dropped]
                configs = [replace(each, report=settings.report) for each in found]
                composed = []
            else:
                probes = search.probes(swept) if searches else cells
                composed = [compose(each) for each in probes] if sweep else [settings]
                configs = [from_hydra(goal.bare(each)) for each in composed]
            if sweep and len({*map(tuple, cells)}) == len(cells):
                _require_a_folder_each(composed)
            if searches and wanted is None:
                search.check(settings.hydra, configs[0].objective, swept)
                objectives.check_shares(configs[0].objective, [each.ends_with_cut for each in configs])
            key = "hydra.sweep.dir" if sweep else "hydra.run.dir"
            folder = _folder(settings, key)
            named = any(override.key_or_group == key for override in typed)
        constant = [override.key_or_group for override in swept if not override.is_sweep_override()]
        if wanted:
            constant += [word.partition("=")[0] for word in goal.cell(wanted, swept)]
            goal.check_settings(wanted, configs[0])
        words = list(parsed.overrides)
        return cls(cells, constant, sweep, folder, configs, settings.hydra, named, words, wanted, decided)

    @property
    def pinned(self) -> list[str]:
        """Overrides that make Hydra use the folder and the cell names that were checked here."""
        if not self.sweep:
            return [f"hydra.run.dir={_quoted(str(self.folder))}"]
        engine = launchers.engine_of(self.settings)
        folder = self.folder.absolute() if engine.elsewhere else self.folder
        pinned = [f"hydra.sweep.dir={_quoted(str(folder))}", *engine.pinned(self._at_a_time)]
        pinned += self.decided
        if self.constant_keys:
            keys = ",".join(_quoted(key) for key in self.constant_keys)
            pinned.append(f"hydra.job.config.override_dirname.exclude_keys=[{keys}]")
        if not self.cells:  # a search may come to the same cell twice
            subdir = self.settings.sweep._get_node("subdir")._value()
            pinned.append(f"hydra.sweep.subdir={_quoted('${hydra.job.num}-' + subdir)}")
        return pinned

    @property
    def names(self) -> list[str]:
        """Folder name of each cell."""
        return [cell_name(cell, self.constant_keys) for cell in self.cells]

    def check(self) -> None:
        """Refuse, before anything is written, what any cell could not do."""
        twice = {name for name in self.names if self.names.count(name) > 1}
        if twice:
            raise ConfigError(
                f"The sweep has the same cell twice: {', '.join(sorted(twice))}. Give each value once."
            )
        if self.named and continuing.left(self._store, self.identity) != self.folder.absolute():
            require_no_run(self.folder, "hydra.sweep.dir" if self.sweep else "hydra.run.dir")
        require_writable(self.folder)
        workers.check(self.configs, sweep=self.sweep)
        from pruneflow.flow import pipeline

        for config in self.configs[:1] if self.goal else self.configs:
            ready = pipeline.prepare(config)
            if self.goal:
                goal.check_examples(self.goal, ready.data)
            elif not self.cells:
                objectives.check_task(config.objective, ready.data.spec)

    def forecast(self) -> None:
        """Show which trainings the store has, and how long the others may take; nothing is written."""
        from pruneflow.flow import forecast, pipeline
        from pruneflow.report import tables

        record = forecast.Record(self._store)
        cells = [forecast.trainings(record, config, pipeline.prepare(config)) for config in self.configs]
        tables.show_forecast(self.names if self.sweep else ["run"], cells)

    @property
    def identity(self) -> str:
        """Digest of this command: its cells, its launcher, and the versions at work."""
        from pruneflow.flow.pipeline import STAGE_VERSIONS

        cells = [{**plain(config), **dict.fromkeys(results.BESIDE)} for config in self.configs]
        launcher, sweeper = (
            OmegaConf.to_container(self.settings[name], resolve=False) for name in ("launcher", "sweeper")
        )
        facts = {
            "cells": cells,
            "names": self.names,
            "sweep": self.sweep,
            "by": [launcher, sweeper],
            "words": sorted(self.typed) if not self.cells else [],  # what a search searches
            "goal": asdict(self.goal) if self.goal else None,
            "in": str(Path.cwd()),
            "folder": str(self.folder.absolute()) if self.named else "",
            "code": STAGE_VERSIONS,
        }
        return continuing.identity_of(facts, versions.versions())

    @property
    def _store(self) -> Store:
        stages = self.configs[0].stages
        return Store(stages.folder, reuse=stages.reuse)

    def run(self, start_hydra: Callable[[list[str], RunMode | None], None]) -> bool:
        """Let Hydra run it, and say how it went; for a sweep in one table and in ``sweep.csv``.

        The same command goes on in the folder where it was cut off.

        Args:
            start_hydra: Starts Hydra with the command line, the overrides that it is given, and the value of
                ``hydra.mode``.

        Returns:
            Whether every cell is done.

        Raises:
            WreckError: if it is no sweep, everything is written, and pruning left a wreck.
        """
        with continuing.claimed(self._store, self.identity) as claim:
            if claim.record is None:
                self._beside_itself()
            job = self._in_its_folder(claim.left)
            claim.begin(job.folder)
            with job._engine_running() as cells:
                start_hydra(job.pinned, job.settings.mode)
            done = job._shown(cells)
            if done:
                claim.finish()
        if done or (job.folder / SWEEP_TABLE).exists():
            name_latest(job.folder)
        if done and not self.sweep:
            require_worth(results.read(job.folder).judgement)
        if self.goal:
            finish(job.folder)
        return done

    def _beside_itself(self) -> None:
        """The same command runs already: it keeps its folder."""
        key = "hydra.sweep.dir" if self.sweep else "hydra.run.dir"
        problem = "the same command is running in this folder"
        require(not self.named, key, self.folder, problem, "Wait for it, or name another.")
        console.print("Beside     the same command, which is running: in a folder of its own")

    def _in_its_folder(self, left: Path | None) -> Job:
        """The job in the folder that it was cut off in, or in one that holds none yet."""
        if self.named or left is None:
            return self if self.named else replace(self, folder=unused(self.folder))
        finished = sum(1 for _ in left.rglob("result.json"))
        cells = f": {finished} of {len(self.cells)} cells are finished" if self.sweep and self.cells else ""
        say(f"Continues  {left}{cells}")
        return replace(self, folder=left)

    def _engine_running(self) -> AbstractContextManager[launchers.Cells]:
        if not self.sweep:
            return nullcontext(launchers.Cells())
        return launchers.running(launchers.engine_of(self.settings), self._at_a_time)

    def _shown(self, ran: launchers.Cells) -> bool:
        """Show how the cells ended, for a sweep in one table; return whether all are done."""
        if not self.sweep:
            return is_done(self.folder)
        from pruneflow.report import ending, tables
        from pruneflow.report.automatic import report_sweep
        from pruneflow.report.logged import log_sweep

        cells = self._outcomes()
        if not cells:
            return False
        if not self.cells and not self.goal:
            search.show_best(cells, self.configs[0].objective)
        write_csv(self.folder / SWEEP_TABLE, cells)
        tables.show_sweep(cells)
        if self.configs[0].report:
            report_sweep(self.folder)
        log_sweep(self.configs[0].logger, self.folder)
        ending.show_sweep_done(cells, self.folder, searched=bool(self.goal))
        return ran.whole and (bool(self.goal) or not any(cell.failure for cell in cells))

    def _outcomes(self) -> list[CellOutcome]:
        if not self.cells:
            return found(self.folder)
        of_hydra = ("hydra.", "hydra/")
        own = [[word for word in cell if not word.lstrip("+~").startswith(of_hydra)] for cell in self.cells]
        return outcomes(self.folder, dict(zip(self.names, own, strict=True)))

    @property
    def _at_a_time(self) -> int:
        """Cells that the sweeper hands to the launcher together."""
        sweeper = self.settings.sweeper
        batch: int | None = sweeper.get("max_batch_size") if self.cells else sweeper.get("n_jobs")
        return min(batch or sys.maxsize, len(self.cells) or sys.maxsize)


@contextmanager
def _hydra_with(folder: str | None) -> Iterator[None]:
    """Let Hydra find files in pruneflow's config folder and in the user's, the main one among them."""
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        assert isinstance(loader, ConfigLoaderImpl)
        if folder:
            *_, schema = places = loader.get_search_path().get_path()
            places[-1:] = [SearchPathElement("command-line", f"file://{Path(folder).absolute()}"), schema]
            loader.repository.initialize_sources(loader.get_search_path())
        yield


def _settings(parsed: Any) -> tuple[list[Override], _Composing, DictConfig, bool]:
    """Compose the settings that all cells share.

    Returns:
        What was typed, the function that composes a cell from its overrides, the settings, and whether a
        sweep is asked for.
    """
    loader = GlobalHydra.instance().config_loader()
    typed = OverridesParser.create(config_loader=loader).parse_overrides(parsed.overrides)
    fixed = [override.input_line or "" for override in typed if not override.is_sweep_override()]
    keys = {override.key_or_group for override in typed}
    compose = partial(_compose, parsed.config_name or "config", keys)
    settings = compose(fixed)
    sweep = _is_sweep(parsed, settings.hydra.mode)
    if not sweep and len(fixed) < len(typed):
        compose(parsed.overrides)  # which Hydra refuses, as several values need a sweep
    return typed, compose, settings, sweep


_Composing: TypeAlias = Callable[[Sequence[str]], DictConfig]


def _check_sweep(settings: DictConfig, swept: Sequence[Override]) -> None:
    plugins.check(settings.hydra)
    launchers.engine_of(settings.hydra).check()
    grids.check_swept(swept)


def _compose(name: str, typed: Collection[str], overrides: Sequence[str]) -> DictConfig:
    composed = answers.composed(name, list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(composed)  # for ${hydra:...} in what is read from it
    targets.check(composed, typed)
    subdir, problem = composed.hydra.output_subdir, "pruneflow reads what Hydra notes down there"
    require(subdir == NOTES, "hydra.output_subdir", subdir, problem, f"Leave it {NOTES}.")
    return composed


def _is_sweep(parsed: Any, mode: RunMode | None) -> bool:
    asked = RunMode.RUN if parsed.run else RunMode.MULTIRUN if parsed.multirun else mode
    if mode is not None and asked != mode:
        flag = "--run" if parsed.run else "-m"
        raise ConfigError(f"hydra.mode={mode.name}: {flag} asks for the opposite. Leave one of them out.")
    return asked == RunMode.MULTIRUN


def _goal(settings: DictConfig, overrides: Sequence[Override], *, sweep: bool) -> Searched | None:
    """Return what a search for one file looks for; None where there is none."""
    wanted = option_from_hydra(settings, "goal")
    if not isinstance(wanted, Searched):
        wanted.check_typed(each.input_line or "" for each in overrides)
        return None
    problem = f"goal={wanted.option_name} is a search of many runs, by a sweeper of its own"
    require(sweep, "hydra.mode", "RUN", problem, "Leave it out.")
    own = str(settings.hydra.sweeper._target_).endswith(".GoalSweeper")
    chosen = settings.hydra.runtime.choices["hydra/sweeper"]
    require(own, "hydra/sweeper", chosen, problem, "Leave it out.")
    return wanted


def _export_of_a_file(parsed: Any, typed: Sequence[Override]) -> list[str]:
    """Return the export that a file chooses, which wins over the goal's kinds unless these are typed."""
    if {"export", "goal.kinds"} & {each.key_or_group for each in typed}:
        return []
    loader = GlobalHydra.instance().config_loader()
    words = [each.input_line or "" for each in typed]
    listed = loader.compute_defaults_list(parsed.config_name or "config", words, RunMode.MULTIRUN)
    chosen = listed.overrides.override_choices.get("export")
    if chosen is None:
        return []
    console.print(f"Export     {chosen}, which a file chooses; goal.kinds would be other ones", markup=False)
    return [f"export={chosen}"]


def _ways(
    probes: Mapping[str, list[str]], compose: Callable[[Sequence[str]], DictConfig], typed: Collection[str]
) -> tuple[list[Config], list[str]]:
    """Return the settings of the first network of each way, and the ways that what is typed rules out.

    Raises:
        ConfigError: of the first way, where none is left, and of a way that is typed itself.
    """
    found, refused = list[Config](), dict[str, Exception]()
    for way, words in probes.items():
        try:
            found.append(from_hydra(goal.bare(compose(words))))
        except (ConfigError, *answers.REFUSED) as error:
            if any(f"{key}.".startswith(f"goal.ways.{way}.") for key in typed):
                raise ConfigError(f"goal.ways.{way}: {_said(error)}") from error
            refused[way] = error
    if not found:
        raise next(iter(refused.values()))
    for way, reason in refused.items():
        say(f"Left out   the way {way}: {_said(reason)}")
    return found, list(refused)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, ConfigError) else answers.in_words(error)


def _cells(swept: list[Override], settings: DictConfig) -> list[list[str]]:
    """The cells of a grid; one cell is worth a sweep where a launcher carries it elsewhere."""
    several = any(override.is_sweep_override() for override in swept)
    if not several and not launchers.engine_of(settings.hydra).elsewhere:
        remedy = "Write for instance -m seed=0,1, or leave -m (hydra.mode=MULTIRUN) out"
        raise ConfigError(f"-m: there is nothing to sweep: no key has several values. {remedy}.")
    return grids.cells(swept)


def _require_a_folder_each(composed: Sequence[DictConfig]) -> None:
    """Refuse a name for the folders of cells that several of them would share."""
    taken: set[str] = set()
    for each in composed:
        with suppress(OmegaConfBaseException):  # a launcher fills in numbers, as ${hydra.job.num}
            folder = str(OmegaConf.select(each, "hydra.sweep.subdir"))
            problem = "two cells of the sweep would go into this folder"
            require(folder not in taken, "hydra.sweep.subdir", folder, problem, "Leave it out.")
            taken.add(folder)


def _folder(settings: DictConfig, key: str) -> Path:
    value = OmegaConf.select(settings, key)
    require(bool(value), key, value, "no folder is named", "Name one, or leave it out.")
    return Path(value)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
