"""The search for one file: the cells that Hydra runs for ``goal``, and how the search ends."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf

from pruneflow.errors import ConfigError
from pruneflow.flow import winner
from pruneflow.flow.config import from_hydra, option_from_hydra
from pruneflow.flow.goal import USUAL_SHARE, Searched, Way
from pruneflow.flow.goal_search import Proposal, Tried, best, next_proposal
from pruneflow.flow.judgement import fails
from pruneflow.options import require
from pruneflow.report.goal import add_test, step
from pruneflow.report.outcomes import outcome_in
from pruneflow.training.scoring import paired_drop

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction

    from pruneflow.datasets.spec import Data
    from pruneflow.flow.config import Config


class GoalSweeper(Sweeper):
    """A sweeper of Hydra that trains one network after the other, each chosen by those before."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands over."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Train until the search ends, and keep ``goal.json`` beside the cells."""
        assert self.config is not None, "setup comes first"
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        goal = option_from_hydra(self.config, "goal")
        typed = OverridesParser.create().parse_overrides(arguments)
        ways, shared = ways_left(goal, typed), cell(goal, typed)
        tried: list[Tried] = []
        cells: list[Path] = []
        while proposal := next_proposal(goal, ways, tried):
            start = time.perf_counter()
            cells.append(self._trained([*shared, *proposal.words], len(tried)))
            tried.append(_tried(goal, proposal, cells[-1], time.perf_counter() - start))
            step(folder, goal, tried, cells)
        if found := best(goal, tried):
            config = self._settings([*shared, *tried[found.tried].proposal.words])
            add_test(folder, winner.tested(config, cells[found.tried], found.file.kind))
        return None

    def _trained(self, words: list[str], number: int) -> Path:
        """Run a cell, and return its folder."""
        assert self.launcher is not None, "setup comes first"
        (job,) = self.launcher.launch([words], initial_job_idx=number)
        assert job.hydra_cfg is not None
        return Path(job.hydra_cfg.hydra.runtime.output_dir)

    def _settings(self, words: Sequence[str]) -> Config:
        """Compose the settings of a cell, as the launcher does."""
        assert self.config is not None and self.hydra_context is not None
        loader = self.hydra_context.config_loader
        return from_hydra(bare(loader.load_sweep_config(self.config, list(words))))


def bare(config: DictConfig) -> DictConfig:
    """Return what Hydra composed, without its own settings."""
    found = config.copy()
    OmegaConf.set_struct(found, False)
    del found["hydra"]
    return found


def check(goal: Searched, overrides: Sequence[Override]) -> None:
    """Refuse a search for one file inside a sweep, and keys that are typed though the search chooses them."""
    shares = {way.share or USUAL_SHARE for way in goal.ways.values()}
    for override in overrides:
        line, key = f"{override.input_line}: goal={goal.option_name}", override.key_or_group
        if override.is_sweep_override():
            remedy = "Give the key one value, or leave goal out"
            raise ConfigError(f"{line} chooses its networks itself. {remedy}.")
        if key == "test_part" and override.value() is not False:
            raise ConfigError(f"{line} looks at the test part once, for its winner. Leave it out.")
        if key in shares:
            remedy = "Leave it out; goal.ways.NAME.start says where the search begins"
            raise ConfigError(f"{line} searches this key. {remedy}.")
    typed = {override.key_or_group for override in overrides}
    problem, remedy = "export is typed too, which says what is made", "Leave one of them out."
    require(not {"export", "goal.kinds"} <= typed, "goal.kinds", goal.kinds, problem, remedy)
    left = ways_left(goal, overrides)
    require(bool(left), "goal.ways", list(goal.ways), "all their settings are typed", "Leave some out.")


def check_settings(goal: Searched, config: Config) -> None:
    """Refuse a search without a dense network or the latency that it looks at, or with a second limit."""
    limit, problem = config.pruning.max_accuracy_drop, f"goal={goal.option_name} has a limit of its own"
    remedy = "Leave it out; goal.max_accuracy_drop is that limit."
    require(limit is None, "pruning.max_accuracy_drop", limit, problem, remedy)
    seconds, problem = config.latency.seconds, f"goal={goal.option_name} reads the latency of each file"
    require(not goal.times or seconds > 0, "latency.seconds", seconds, problem, "Leave it out.")
    require(
        config.trainer.dense_epochs != 0 or config.model.starts_trained,
        "trainer.dense_epochs",
        0,
        f"goal={goal.option_name} compares files with the dense network, which would not be trained",
        "Give it epochs, or leave it out.",
    )


def check_examples(goal: Searched, data: Data) -> None:
    """Refuse a limit that no file could keep, since the validation part is too small to show it."""
    if data.spec.targets or goal.allowed_drop is None:
        return
    n = len(data.validation)
    least = paired_drop(np.zeros(n), np.zeros(n), counted=True).at_most(goal.confidence)
    require(
        least <= goal.allowed_drop,
        "goal.max_accuracy_drop",
        goal.allowed_drop,
        f"on {n:,} validation examples an equally good file may lose {least:.4f} by chance "
        f"(goal.confidence={goal.confidence:g})",
        "Raise dataset.validation_fraction or goal.max_accuracy_drop, or lower goal.confidence.",
    )


def ways_left(goal: Searched, overrides: Sequence[Override]) -> dict[str, Way]:
    """Return the ways without what is typed; one of which nothing is left is no way of its own."""
    typed = {override.key_or_group for override in overrides}
    left = {name: _without(way, typed) for name, way in goal.ways.items()}
    return {name: way for name, way in left.items() if way.settings or not goal.ways[name].settings}


def _without(way: Way, typed: Collection[str]) -> Way:
    settings = [word for word in way.settings if word.partition("=")[0] not in typed]
    return Way(settings, way.share, way.start)


def cell(goal: Searched, overrides: Sequence[Override]) -> list[str]:
    """Return the overrides that all networks of a search share: those that are typed, but for the goal
    and the test part, which none looks at."""
    own_keys = ("goal", "test_part")
    kept = [each for each in overrides if each.key_or_group.partition(".")[0] not in own_keys]
    typed = {override.key_or_group for override in overrides}
    by_file = "goal" not in typed or "experiment" in typed
    own = {
        "goal=none": "goal=none" if by_file else "",
        "test_part": "test_part=false",
        "export": f"export=every export.kinds=[{','.join(goal.kinds)}]",
        "latency.seconds": "latency.seconds=0" if not goal.times else "",
        "report": "report=false",
    }
    left = {each.key_or_group for each in kept}
    added = [word for key, words in own.items() if key not in left for word in words.split()]
    return [*added, *(each.input_line or "" for each in kept)]


def probes(goal: Searched, overrides: Sequence[Override]) -> dict[str, list[str]]:
    """Return the overrides of the first network of each way, by the name of the way."""
    ways, shared = ways_left(goal, overrides), cell(goal, overrides)
    first = next_proposal(goal, ways, [])
    assert first is not None
    others = [
        Proposal(name, tuple(way.settings), way.share or USUAL_SHARE, way.start or first.share)
        for name, way in ways.items()
    ]
    return {each.way: [*shared, *each.words] for each in others}


def _tried(goal: Searched, proposal: Proposal, folder: Path, seconds: float) -> Tried:
    """Read what came of a network; no files where the run failed, after so many seconds."""
    found = outcome_in("", folder).result
    if found is None:
        return Tried(proposal, (), seconds)
    files = tuple(goal.figures_of(file, guesses=fails(found.judgement)) for file in found.tflite)
    return Tried(proposal, files, found.seconds)
