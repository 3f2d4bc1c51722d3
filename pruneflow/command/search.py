"""A search: cells that a sweeper chooses one after the other, such as ``hydra/sweeper=optuna``."""

from collections.abc import Sequence

from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig, ListConfig

from pruneflow.command.optuna_sweeper import TARGET
from pruneflow.command.search_plan import Plan
from pruneflow.command.search_space import ends, space_of
from pruneflow.errors import ConfigError
from pruneflow.flow import objectives
from pruneflow.flow.judgement import fails
from pruneflow.options import require, require_one_of
from pruneflow.report.outcomes import CellOutcome
from pruneflow.runtime.terminal import complain, console, say

NONE = (
    "The search found nothing: each pruned network guesses, or lost more than pruning.max_accuracy_drop. "
    "Search lower values of schedule.final_sparsity, or train longer (trainer.min_steps or trainer.epochs)."
)
HYDRAS_OWN = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


def is_search(settings: DictConfig) -> bool:
    """Return whether the sweeper chooses cells itself, unlike Hydra's own grid."""
    return str(settings.sweeper._target_) != HYDRAS_OWN


def check(settings: DictConfig, objective: Sequence[str], overrides: Sequence[Override]) -> None:
    """Refuse a search over nothing or over a glob, and directions that do not fit the objectives."""
    ranges = [override for override in overrides if override.is_sweep_override()]
    own = settings.sweeper.get("custom_search_space")
    problem = "there is nothing to search"
    remedy = "Give a key a range or a list, such as 'schedule.final_sparsity=interval(0.5,0.95)'."
    require(bool(own or ranges), "hydra/sweeper", settings.runtime.choices["hydra/sweeper"], problem, remedy)
    for override in ranges:
        if isinstance(override.value(), Glob):
            raise ConfigError(f"{override.input_line}: a search takes no glob. List the options.")
    _check_directions(settings, objective)
    if settings.sweeper._target_ == TARGET:
        Plan(settings.sweeper, list(objective), space_of(overrides)[0]).check()


def _check_directions(settings: DictConfig, objective: Sequence[str]) -> None:
    if "direction" not in settings.sweeper:  # of a sweeper that has no such thing
        return
    found = settings.sweeper.direction
    directions = list(found) if isinstance(found, (list, ListConfig)) else [found]
    for direction in directions:
        require_one_of("hydra.sweeper.direction", direction, ("maximize", "minimize"))
    problem = f"there are {len(objective)} objectives: {', '.join(objective)}"
    remedy = "Leave it out: it follows from objective."
    require(len(directions) == len(objective), "hydra.sweeper.direction", directions, problem, remedy)


def probes(overrides: Sequence[Override]) -> list[list[str]]:
    """Cells that a search may come to: the first value of each range, then each other end of one of them.

    Args:
        overrides: All of the command line, ranges among them; of the same key the last one counts.

    Returns:
        The overrides of each.
    """
    last = {override.key_or_group: override for override in overrides}.values()
    fixed = [override.input_line or "" for override in last if not override.is_sweep_override()]
    ranges = [_ends(override) for override in last if override.is_sweep_override()]
    first = [ends[0] for ends in ranges]
    others = [
        [*first[:place], end, *first[place + 1 :]] for place, ends in enumerate(ranges) for end in ends[1:]
    ]
    return [[*fixed, *cell] for cell in (first, *others)]


def _ends(override: Override) -> list[str]:
    """``key=value`` for both ends of a range, and for each of listed values."""
    value, key = override.value(), override.get_key_element()
    if isinstance(value, IntervalSweep):
        return [f"{key}={value.start}", f"{key}={value.end}"]
    if isinstance(value, RangeSweep):
        return [f"{key}={each}" for each in dict.fromkeys(ends(value))]
    return [f"{key}={text}" for text in override.sweep_string_iterator()]


def show_best(cells: Sequence[CellOutcome], objective: Sequence[str]) -> None:
    """Print the cells that no other one beats, with their objectives; wrecks are none of them."""
    usable = [(cell.name, cell.result) for cell in cells if cell.result and not fails(cell.result.judgement)]
    reached = [(name, objectives.values(result, objective)) for name, result in usable]
    done = [(name, values) for name, values in reached if values]
    if not done:
        if any(cell.result for cell in cells):
            complain(NONE)
        return
    console.print()
    console.print(f"Best of {len(done)} by {', '.join(objective)} (validation part and sizes):")
    for place in objectives.best([values for _, values in done], objective):
        name, values = done[place]
        say(f"  {name}: {objectives.shown(values, objective)}")
