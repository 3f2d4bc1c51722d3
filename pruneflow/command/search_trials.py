"""The trials of one search: which of a study's are its own, which are left to run, and what they reached."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from pruneflow.command.search_plan import Plan, quiet
from pruneflow.flow import objectives
from pruneflow.flow.figures import Result
from pruneflow.flow.judgement import violations
from pruneflow.runtime.files import write_file
from pruneflow.runtime.records import read_json

NOTE = "search.json"
SEARCH, CELL = "search", "cell"  # what a trial is marked with: the search that chose it, and its cell


def identity_in(folder: Path) -> str:
    """The identity of the search in a folder, which is noted there; several searches may share a study."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(read_json(folder / NOTE)[SEARCH])
    folder.mkdir(parents=True, exist_ok=True)
    identity = secrets.token_hex(8)
    write_file(folder / NOTE, (json.dumps({SEARCH: identity}) + "\n").encode())
    return identity


@dataclass(frozen=True)
class Cell:
    """A cell that a trial chose.

    Attributes:
        number: Its number in the search, from 0.
        trial: Optuna's trial, which awaits what the cell reaches.
    """

    number: int
    trial: Any


class Trials:
    """The trials of a search, those that are there already among them."""

    def __init__(self, plan: Plan, study: Any, search: str, extend: Callable[[Any], None]) -> None:
        """See which cells are left: those without a result, and those that were not chosen yet."""
        self._plan, self._study, self._search, self._extend = plan, study, search, extend
        own = [each for each in study.get_trials() if each.user_attrs.get(SEARCH) == search]
        self._last = {each.user_attrs[CELL]: each for each in own}
        done = {number for number, each in self._last.items() if each.state.name == "COMPLETE"}
        self._numbers = [number for number in range(plan.cells) if number not in done]

    @classmethod
    def of(cls, plan: Plan, folder: Path, extend: Callable[[Any], None]) -> Trials:
        """The trials of the search in a folder, begun where there is none."""
        search = identity_in(folder)
        return cls(plan, plan.open(folder, f"search-{search}"), search, extend)

    def batch(self, most: int) -> list[Cell]:
        """Take up to ``most`` cells whose numbers follow each other; none where all were taken."""
        numbers = self._numbers[:most]
        taken = [number for place, number in enumerate(numbers) if number == numbers[0] + place]
        self._numbers = self._numbers[len(taken) :]
        with quiet():
            return [self._cell(number) for number in taken]

    def tell(self, cell: Cell, result: Result | None) -> bool:
        """Tell Optuna what a cell reached; return whether it has a result that a search can use.

        Args:
            result: Its result; None where the cell failed.
        """
        from optuna.trial import TrialState

        names = self._plan.objective
        values = objectives.values(result, names) if result else None
        usable = values is not None and all(map(isfinite, values))
        with quiet():
            for name, value in violations(result.judgement).items() if result and usable else ():
                cell.trial.set_constraint(name, value)
            with self._ending():
                state = TrialState.COMPLETE if usable else TrialState.FAIL
                self._study.tell(cell.trial, values if usable else None, state)
        return usable

    def _ending(self) -> AbstractContextManager[Any]:
        """Let Optuna's grid end: after its last cell it stops a loop of Optuna's own, and there is none."""
        return suppress(RuntimeError) if self._plan.is_grid else nullcontext()

    def best(self) -> list[dict[str, Any]]:
        """Parameters and values of the feasible trials of the study that no other one beats."""
        with quiet():
            return [{"params": each.params, "values": each.values} for each in self._study.best_trials]

    def _tried_again(self, before: Any) -> int:
        """Add a trial of the same values, and return its id.

        It is made at once and never queued: another search of the study would take it from the queue.
        """
        from optuna.trial import TrialState, create_trial

        one = create_trial(
            state=TrialState.RUNNING,
            params=before.params,
            distributions=before.distributions,
            user_attrs=before.user_attrs,
            system_attrs=before.system_attrs,
        )
        self._study.add_trial(one)
        added = (each for each in self._study.get_trials() if each.state == TrialState.RUNNING)
        return max(int(each._trial_id) for each in added if each.user_attrs == before.user_attrs)

    def _cell(self, number: int) -> Cell:
        """Take up the trial of a cell, try it again where it failed, or choose one."""
        import optuna

        before = self._last.get(number)
        if before:
            running = before.state == optuna.trial.TrialState.RUNNING
            trial_id = before._trial_id if running else self._tried_again(before)
            return Cell(number, optuna.trial.Trial(self._study, trial_id))
        trial = self._plan.ask(self._study, self._search)
        self._extend(trial)
        trial.set_user_attr(CELL, number)
        trial.set_user_attr(SEARCH, self._search)  # last: a trial without it was never begun
        return Cell(number, trial)
