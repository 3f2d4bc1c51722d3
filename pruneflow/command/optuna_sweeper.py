"""The sweeper ``hydra/sweeper=optuna``: Optuna chooses cells, and Hydra's launcher runs them."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf

from pruneflow.command.grids import swept_in_yaml
from pruneflow.command.search_plan import Plan
from pruneflow.command.search_space import space_of, words_of
from pruneflow.command.search_trials import Cell, Trials
from pruneflow.flow.figures import Result
from pruneflow.options import require
from pruneflow.report.outcomes import outcome_in
from pruneflow.runtime.files import write_file
from pruneflow.runtime.terminal import complain

TARGET = "pruneflow.command.optuna_sweeper.OptunaSweeper"
BEST = "optimization_results.yaml"


@dataclass
class OptunaSettings:
    """Types of the settings in ``conf/hydra/sweeper/optuna.yaml``, which explains them."""

    _target_: str = TARGET
    _recursive_: bool = False
    sampler: Any = None
    direction: Any = None
    n_trials: int = 20
    n_jobs: int = 1
    max_failure_rate: float = 1.0
    storage: Any = None
    study_name: str | None = None
    params: Any = None
    custom_search_space: str | None = None


class OptunaSweeper(Sweeper):
    """Ask Optuna for cells, run ``n_jobs`` at a time, and tell it what they reached."""

    def __init__(self, **settings: Any) -> None:
        self._settings = OmegaConf.create(settings)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra hands over."""
        self._config = config
        self._launcher: Launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the search, or what is left of it."""
        folder = Path(self._config.hydra.sweep.dir)
        typed = OverridesParser.create().parse_overrides(arguments)
        space, fixed = space_of([*swept_in_yaml(self._config), *typed])
        plan = Plan(self._config.hydra.sweeper, list(self._config.objective), space)
        trials = Trials.of(plan, folder, partial(self._extend, fixed=fixed))
        while batch := trials.batch(self._settings.n_jobs):
            told = [trials.tell(*each) for each in self._ran(batch, fixed)]
            _write_best(folder / BEST, trials.best(), several=len(plan.objective) > 1)
            if told.count(False) > self._settings.max_failure_rate * len(told):
                allowed = f"hydra.sweeper.max_failure_rate={self._settings.max_failure_rate}"
                complain(f"{allowed}: {told.count(False)} of {len(told)} cells failed. The search ends here.")
                return

    def _ran(self, batch: list[Cell], fixed: list[str]) -> list[tuple[Cell, Result | None]]:
        """Run cells side by side, as the launcher has it; return what each reached."""
        words = [[*words_of(cell.trial.params), *fixed] for cell in batch]
        returned = self._launcher.launch(words, initial_job_idx=batch[0].number)
        settings = [each.hydra_cfg for each in returned if each.hydra_cfg]
        folders = [Path(each.hydra.runtime.output_dir) for each in settings]
        results = [outcome_in("", folder).result for folder in folders]
        return list(zip(batch, results, strict=True))

    def _extend(self, trial: Any, fixed: list[str]) -> None:
        """Let the user's function add values to a trial, of keys that are not typed."""
        name = self._settings.custom_search_space
        if name is None:
            return
        get_method(name)(self._config, trial)
        both = {word.partition("=")[0] for word in fixed} & set(trial.params)
        problem = f"it chooses {', '.join(sorted(both))}, which is given too"
        require(not both, "hydra.sweeper.custom_search_space", name, problem, "Leave one of them out.")


def _write_best(file: Path, best: list[dict[str, Any]], *, several: bool) -> None:
    """Write what is best so far: all of several objectives that no other trial beats, or the first of one."""
    first: dict[str, Any] = best[0] if best else {"params": {}, "values": [None]}
    one = {"best_params": first["params"], "best_value": first["values"][0]}
    text = OmegaConf.to_yaml({"name": "optuna", **({"solutions": best} if several else one)})
    write_file(file, text.encode())
