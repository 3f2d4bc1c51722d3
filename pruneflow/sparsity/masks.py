"""Masks: schedule, structure, criterion and distribution put together for the weights of one network."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.errors import ConfigError, spelled
from pruneflow.options import require
from pruneflow.sparsity.criteria import Criterion
from pruneflow.sparsity.distributions import Distribution, Uniform
from pruneflow.sparsity.schedules import Plan
from pruneflow.sparsity.selection import (
    Kept,
    Scores,
    Sizes,
    keep_at_least,
    keep_by_size,
    kept_count,
    nearest_units,
)
from pruneflow.sparsity.structures import Layout, Shape, Structure, Units, finite_scores, lowest

Arrays = Mapping[str, npt.NDArray[Any]]

SAME = 1e-5  # sparsities that differ by less are the same: 2 of 3 is typed 0.66667


@dataclass(frozen=True)
class Prunable:
    """One weight that is pruned.

    Attributes:
        name: ``layer/weight``; the layer may have slashes in its name.
    """

    name: str
    shape: tuple[int, ...]
    layout: Layout

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def matrix_shape(self) -> Shape:
        """Inputs and outputs."""
        return self.layout.shape(self.shape)


@dataclass(frozen=True)
class Mask:
    """The mask of one weight.

    Attributes:
        kept: True for each element that is kept, of the weight's shape.
        threshold: The lowest score that was enough to be kept; what a floor or a pattern protects aside.
    """

    kept: Kept
    threshold: float


@dataclass(frozen=True)
class Alone:
    """A weight or a group of channels that a scan masks alone.

    Attributes:
        name: ``layer/weight``, or the name of the group.
        size: Elements of the weight, or units of the group.
        share: Of the elements of all weights, or of the multiply-adds of the network, what it holds, [0, 1].
        masks: Masks of the weights that it lies in, by name, for a share that is masked.
    """

    name: str
    size: int
    share: float
    masks: Callable[[float], tuple[float, dict[str, Kept]]]


@dataclass(frozen=True)
class MaskPlan:
    """The plan of masks: the elements of each weight that are masked at each step.

    Attributes:
        plan: When masks change, and the sparsity then.
        seed: Of the run, for criteria that draw.
    """

    plan: Plan
    structure: Structure
    criterion: Criterion
    distribution: Distribution
    prunables: tuple[Prunable, ...]
    seed: int

    def check(self) -> list[str]:
        """Check that the options fit each other and the weights.

        Returns:
            Sentences that have to be said: a sparsity that is capped, each weight that is padded.
        """
        self.check_options()
        if self._shared():
            self.distribution.check(self._final_sparsity)
        else:
            self._require_something_to_share()
        padded = [self.structure.check(p.name, p.matrix_shape) for p in self.prunables]
        return [sentence for sentence in (self._capped(), *padded) if sentence]

    def check_options(self) -> None:
        """Check that the options fit each other, for which no weights need be known."""
        self._require_gradients()
        self._require_one_pattern()

    def sparsities(self, step: int) -> dict[str, float | None]:
        """Sparsity asked for after the update at ``step``.

        Returns:
            A sparsity per weight, [0, 1), by name; None for weights that are ranked together.
        """
        return self._sparsities(lambda plan: plan.sparsity_of_update(step))

    def sparsities_after(self, step: int) -> dict[str, float | None]:
        """Sparsity in force after ``step`` steps: of the last update at or before it, 0 before the first.

        Args:
            step: Any step of the pruning phase, 0 or more.

        Returns:
            As `sparsities` does.
        """
        if step < self.plan.updates.start:
            return {p.name: 0.0 for p in self.prunables}
        return self._sparsities(lambda plan: plan.sparsity_after(step))

    def requested_sparsity(self, step: int) -> float:
        """Sparsity asked for of all weights together after ``step`` steps, [0, 1).

        Args:
            step: Any step of the pruning phase, 0 or more.
        """
        together = self.plan.sparsity_after(step)
        found = {name: together if s is None else s for name, s in self.sparsities_after(step).items()}
        if len(set(found.values())) == 1:
            return next(iter(found.values()))
        return sum(found[p.name] * p.size for p in self.prunables) / sum(p.size for p in self.prunables)

    def update(self, step: int, weights: Arrays, accumulated: Arrays | None = None) -> dict[str, Mask]:
        """Decide the masks of the update at ``step``.

        Args:
            step: An update of the plan.
            weights: Values of every weight, by name, of its shape.
            accumulated: Where the criterion uses gradients: what `Criterion.scores` takes, by name.

        Returns:
            A mask per weight, by name.
        """
        masks: dict[str, Mask] = {}
        together: dict[str, Scores] = {}
        wanted = self.sparsities(step)
        for prunable in self.prunables:
            name, sparsity = prunable.name, wanted[prunable.name]
            scores = self._scores(prunable, weights[name], accumulated[name] if accumulated else None)
            if sparsity is None:
                together[name] = scores
            else:
                kept, threshold = self.structure.select(scores, sparsity)
                masks[name] = Mask(prunable.layout.restore(kept, prunable.shape), threshold)
        return masks | self._rank_together(together, step)

    def alone(self, weights: Arrays, accumulated: Arrays | None = None) -> Iterator[Alone]:
        """Yield what can be masked alone, one after the other.

        Args:
            weights: As `update` takes them.
            accumulated: As `update` takes it.
        """
        whole = sum(p.size for p in self.prunables)
        for p in self.prunables:
            scores = self._scores(p, weights[p.name], accumulated[p.name] if accumulated else None)
            yield Alone(p.name, p.size, p.size / whole, partial(self._masked_alone, p, scores))

    def _masked_alone(
        self, prunable: Prunable, scores: Scores, share: float
    ) -> tuple[float, dict[str, Kept]]:
        """Return the share that is masked, as counted, and the mask."""
        kept, _ = self.structure.select(scores, min(share, self.structure.max_sparsity))
        return 1 - float(kept.mean()), {prunable.name: prunable.layout.restore(kept, prunable.shape)}

    def ranking(self) -> dict[str, Any]:
        """Return all that decides what `alone` yields, but weights, gradients and seed, as JSON takes it."""
        options = {"structure": settings_of(self.structure), "criterion": settings_of(self.criterion)}
        return {**options, "weights": [_described(p) for p in self.prunables]}

    def expected_zeros(self, name: str, step: int) -> int | None:
        """Zeros of the mask of one weight after ``step`` steps, within `tolerance`.

        Args:
            step: Any step of the pruning phase, 0 or more.

        Returns:
            None where weights are ranked together, of which only the total is known.
        """
        sparsity = self.sparsities_after(step)[name]
        if sparsity is None:
            return None
        return self.structure.expected_zeros(self._matrix_shape(name), sparsity)

    def tolerance(self, name: str) -> int:
        """Return how far the zeros of the mask of one weight may be from `expected_zeros`."""
        return self.structure.tolerance(self._matrix_shape(name))

    def total_expected_zeros(self, step: int) -> int:
        """Zeros of all masks after ``step`` steps, within `total_tolerance`.

        Args:
            step: Any step of the pruning phase, 0 or more.
        """
        each = sum(self.expected_zeros(p.name, step) or 0 for p in self.prunables)
        return each + self._expected_together(step)[0]

    def total_tolerance(self, step: int) -> int:
        """Return how far the zeros of all masks after ``step`` steps may be from `total_expected_zeros`."""
        together = self._together(step)
        each = sum(self.tolerance(p.name) for p in self.prunables if p not in together)
        return each + self._expected_together(step)[1]

    def inputs(self) -> dict[str, Any]:
        """Return all that decides the masks, but weights, gradients and seed, as JSON takes it.

        Plans that do the same work have the same inputs: labels, and settings on which nothing depends, are
        left out; of schedule and distribution it is the sparsities that count.

        Returns:
            ``structure`` and ``criterion`` with their settings; ``curves``, lists of ``[step, sparsity]``;
            ``weights``, a list: name, layout, ``curve`` (an index), and where weights are ranked together how
            many elements of it are kept at least.
        """
        updates = self.plan.updates
        sparsities = [self.sparsities(step) for step in updates]
        total = [self._following(self._final_sparsity).sparsity_of_update(step) for step in updates]
        curves: list[list[list[float]]] = []
        weights = []
        for prunable in self.prunables:
            known = [every[prunable.name] for every in sparsities]
            followed = [of_all if own is None else own for own, of_all in zip(known, total, strict=True)]
            curve = [[step, sparsity] for step, sparsity in zip(updates, followed, strict=True)]
            if curve not in curves:
                curves.append(curve)
            floor = {"floor": self.distribution.floor(prunable.size)} if None in known else {}
            weights.append({**_described(prunable), "curve": curves.index(curve), **floor})
        options = {"structure": settings_of(self.structure), "criterion": settings_of(self.criterion)}
        return {**options, "weights": weights, "curves": curves}

    def described(self, masks: Arrays) -> dict[str, Any] | None:
        """Say what masks remove of the network, as JSON takes it; None where zeros say it."""
        return None

    def resized(self, model: Any, masks: Arrays) -> Any:
        """Return a network with the same layers in the sizes of the finished one; its weights are new."""
        return model

    def finished(self, model: Any, masks: Arrays) -> Any:
        """Return the network that is delivered: the one that was trained, or a smaller one made of it."""
        return model

    def require_same(self, model: Any, finished: Any) -> None:
        """Refuse a finished network that says something else on random examples."""

    def finished_masks(self, masks: Arrays) -> Arrays:
        """Return the masks of the network that is delivered."""
        return masks

    @property
    def _final_sparsity(self) -> float:
        """Of the schedule, at most what the structure has."""
        final: float = self.plan.schedule.final_sparsity
        limit = self.structure.max_sparsity
        return limit if limit < 1 and final > limit - SAME else final

    def _following(self, final: float) -> Plan:
        schedule = self.plan.schedule
        if final == schedule.final_sparsity:
            return self.plan
        initial = min(schedule.initial_sparsity, final)
        return replace(self.plan, schedule=replace(schedule, final_sparsity=final, initial_sparsity=initial))

    def _sparsities(self, at: Callable[[Plan], float]) -> dict[str, float | None]:
        shapes = {p.name: p.shape for p in self._shared()}
        shared = self.distribution.share(shapes, at(self._following(self._final_sparsity)))
        own = {name: at(self._following(final)) for name, final in self._overrides().items()}
        both = {**shared, **own}
        return {p.name: both[p.name] for p in self.prunables}

    def _overrides(self) -> dict[str, float]:
        return self.distribution.overrides([p.name for p in self.prunables])

    def _shared(self) -> list[Prunable]:
        own = self._overrides()
        return [p for p in self.prunables if p.name not in own]

    def _together(self, step: int) -> list[Prunable]:
        """Weights that are ranked together after ``step`` steps."""
        sparsities = self.sparsities_after(step)
        return [p for p in self.prunables if sparsities[p.name] is None]

    def _matrix_shape(self, name: str) -> Shape:
        return next(p.matrix_shape for p in self.prunables if p.name == name)

    def _scores(
        self, prunable: Prunable, weight: npt.NDArray[Any], accumulated: npt.NDArray[Any] | None
    ) -> Scores:
        scores = self.criterion.scores(weight, name=prunable.name, seed=self.seed, accumulated=accumulated)
        return prunable.layout.matrix(scores)

    def _rank_together(self, scores: Mapping[str, Scores], step: int) -> dict[str, Mask]:
        """One ranking over the units of several weights, whose floors are protected first."""
        together = [p for p in self.prunables if p.name in scores]
        if not together:
            return {}
        units = [self.structure.units(scores[p.name]) for p in together]
        floors = [self.distribution.floor(p.size) for p in together]
        kept, threshold = _rank(units, floors, self._zeros_together(together, step))
        return {
            p.name: Mask(p.layout.restore(self.structure.expand(part, p.matrix_shape), p.shape), threshold)
            for p, part in zip(together, kept, strict=True)
        }

    def _zeros_together(self, together: Sequence[Prunable], step: int) -> int:
        """Zeros that are asked for of weights that are ranked together."""
        size = sum(p.size for p in together)
        return size - kept_count(size, self._following(self._final_sparsity).sparsity_after(step))

    def _expected_together(self, step: int) -> tuple[int, int]:
        """Zeros of all weights that are ranked together, and how far their number may be from that."""
        together = self._together(step)
        if not together:
            return 0, 0
        least, most = (sum(rooms) for rooms in zip(*map(self._room, together), strict=True))
        zeros = min(self._zeros_together(together, step), most)
        units = {self.structure.unit(p.matrix_shape) for p in together}
        if len(units) > 1 or any(self.tolerance(p.name) for p in together):
            return zeros, max(*units, zeros - least)
        (unit,) = units
        return nearest_units(zeros, unit) * unit, 0

    def _room(self, prunable: Prunable) -> tuple[int, int]:
        """Least and most elements of a weight that its floor leaves to be masked."""
        unit = self.structure.unit(prunable.matrix_shape)
        floor = self.distribution.floor(prunable.size)
        if self.tolerance(prunable.name):
            return max(0, prunable.size - floor - unit + 1), prunable.size - floor
        room = prunable.size - -(-floor // unit) * unit
        return room, room

    def _require_gradients(self) -> None:
        if not self.criterion.uses_gradients or self.plan.updates.start > 1:
            return
        later = (
            "schedule.begin_step=0 puts the first update before step schedule.frequency."
            if self.plan.frequency > 1
            else "schedule.begin_step=2 puts it one step later."
        )
        raise ConfigError.of(
            "criterion",
            self.criterion.option_name,
            "the first mask update comes before step 1, when no gradient has been seen",
            later,
        )

    def _require_something_to_share(self) -> None:
        """Refuse a way of sharing where each weight has a sparsity of its own."""
        require(
            isinstance(self.distribution, Uniform),
            "distribution",
            self.distribution.option_name,
            "distribution.layers gives every weight a sparsity of its own, so that there is nothing to share",
            "Take uniform, or leave some weights out of distribution.layers.",
        )

    def _require_one_pattern(self) -> None:
        """Refuse what would share a sparsity that the structure fixes, or never reach it."""
        if not self.structure.limit:
            return
        fixed = f"{self.structure.limit} in every weight, so that there is nothing to share"
        layers, kind = self.distribution.layers, self.distribution.option_name
        dense = "pruning.skip leaves layers dense."
        require(isinstance(self.distribution, Uniform), "distribution", kind, fixed, "Use uniform.")
        require(not layers, "distribution.layers", spelled(layers), fixed, f"Leave it out; {dense}")
        final, limit = self.plan.schedule.final_sparsity, self.structure.max_sparsity
        problem = f"{self.structure.limit}, which is sparsity {limit:.3f} and would never be reached"
        remedy = f"Set schedule.final_sparsity={limit:g}."
        require(final > limit - SAME, "schedule.final_sparsity", final, problem, remedy)

    def _capped(self) -> str | None:
        final, limit = self.plan.schedule.final_sparsity, self.structure.max_sparsity
        if final <= limit + SAME:
            return None
        return (
            f"{self.structure.limit}, so it ends at sparsity {limit:.3f}; schedule.final_sparsity={final} "
            "is taken as that."
        )


def _rank(units: Sequence[Units], floors: Sequence[int], zeros: int) -> tuple[list[Kept], float]:
    """Rank units of several weights together.

    Args:
        floors: Elements that each keeps at least.
        zeros: Elements to mask of all weights; fewer are masked where floors leave no more.

    Returns:
        What is kept of each weight, unit by unit, and the lowest score that is kept.
    """
    floored = [keep_at_least(u.scores, u.sizes, floor) for u, floor in zip(units, floors, strict=True)]
    scores = np.concatenate([u.scores for u in units])
    protected = np.concatenate(floored)
    sizes = _joined_sizes(units)
    free = np.where(protected, np.inf, finite_scores(scores))
    room = int((~protected * sizes).sum())
    kept, threshold = keep_by_size(free, sizes, min(zeros, room))
    if np.isinf(threshold):
        threshold = lowest(scores, kept)
    return np.split(kept, np.cumsum([len(u.scores) for u in units])[:-1]), threshold


def _joined_sizes(units: Sequence[Units]) -> Sizes:
    sizes = {u.sizes for u in units if isinstance(u.sizes, int)}
    if len(sizes) == 1 and all(isinstance(u.sizes, int) for u in units):
        return sizes.pop()
    return np.concatenate([np.broadcast_to(u.sizes, len(u.scores)) for u in units])


def settings_of(option: Structure | Criterion | Distribution) -> dict[str, Any]:
    """Name on the command line and settings that decide something."""
    names = [field.name for field in fields(option) if field.name not in ("name", "indivisible", "scan")]
    return {"option": option.option_name, **{name: getattr(option, name) for name in names}}


def _described(prunable: Prunable) -> dict[str, Any]:
    layout = prunable.layout
    return {"name": prunable.name, "axes": list(layout.axes), "inputs": layout.inputs}
