"""The plan of ``structure=channel``: which units are masked at which step, over all weights at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.errors import ConfigError, spelled
from pruneflow.options import require
from pruneflow.sparsity.channels.groups import Channels, Counts, Kept
from pruneflow.sparsity.channels.option import Channel
from pruneflow.sparsity.channels.shares import Order, counts_for, fewest, ladder, steps
from pruneflow.sparsity.distributions import AfterScan, Global, Scanning, Uniform
from pruneflow.sparsity.masks import SAME, Alone, Arrays, Mask, MaskPlan, settings_of
from pruneflow.sparsity.selection import Scores, keep_largest
from pruneflow.sparsity.sensitivity import damage_at
from pruneflow.sparsity.structures import finite_scores

COUNTED = ("multiply_adds", "parameters")
STEPS = (16, 8, 4, 2)  # units: TFLite takes as long for 17 channels as for 32 (benchmarks/channels.py)
TINY = 1e-12
NEAR = 0.02  # of the whole network, by which the share may be missed for the sake of such a step


@dataclass(frozen=True)
class ChannelPlan(MaskPlan):
    """The plan of masks: the units that are masked at each step.

    Attributes:
        channels: What can be removed; None where the network is not known yet.
    """

    structure: Channel
    channels: Channels | None = None
    _known: dict[int, Counts] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def step(self) -> int:
        """The number whose multiples are kept, in groups of more units."""
        if self.structure.multiple is not None:
            return self.structure.multiple
        return next((step for step in STEPS if self._is_near(step)), 1)

    def _is_near(self, step: int) -> bool:
        """Return whether such counts come near to the share, and others to all that is asked."""
        end = self.plan.total_steps
        counts = self._decided(end, self._order, self._ladders(step))
        share, most = (self._found.share(self.structure.of, each) for each in (counts, self._fewest(step)))
        asked = self.plan.sparsity_after(end)
        return abs(share - asked) <= NEAR and asked <= most + SAME and (share > 0 or not asked)

    @property
    def _found(self) -> Channels:
        assert self.channels is not None, "the network is known once masks are decided"
        return self.channels

    def check(self) -> list[str]:
        """Check that the options fit each other and the network.

        Returns:
            What is asked and what will be reached.
        """
        self.check_options()
        self._require_one_share_each()
        asked, of = self.plan.schedule.final_sparsity, self.structure.of
        most = self._found.share(of, self._fewest(self.step))
        words = of.replace("_", "-")
        problem = f"structure=channel can remove at most {most:.4f} of the {words} of this network"
        is_coarse = self.step > 1 and (self._found.sizes > self.step).any()
        finer = ", or set structure.multiple=1" if is_coarse else ""
        remedy = f"Lower it to {np.floor(most * 1e4) / 1e4:g} or less{finer}."
        require(asked <= most + SAME, "schedule.final_sparsity", asked, problem, remedy)
        return [] if self._is_global or self.distribution.scans else [self._said(asked, words)]

    def _said(self, asked: float, words: str) -> str:
        counts = self._counts(self.plan.total_steps)
        reached = self._found.share(self.structure.of, counts)
        if asked and not reached:
            problem = f"no choice of units comes nearer to {asked:g} of the {words} than none"
            key, remedy = "structure.multiple", "Lower it; 1 allows any number."
            if self.step == 1:
                key, remedy = "schedule.final_sparsity", "Raise it."
            raise ConfigError.of(key, self.step if self.step > 1 else asked, problem, remedy)
        steps = f" in steps of {self.step}" if self.step > 1 else ""
        said = f"{asked:.4f} of the {words} are asked for, the nearest choice of units{steps} removes"
        return f"{said} {reached:.4f}."

    def _require_one_share_each(self) -> None:
        """Refuse shares of layers whose units go together, if they differ."""
        for group, own in zip(self._found.groups, self._own_of_groups(), strict=True):
            shares = ", ".join(f"{maker} {share:g}" for maker, share in own.items())
            problem = (
                f"units of {', '.join(group.makers)} go together, and are given several shares ({shares})"
            )
            remedy = "Give one of these layers a share, or all the same."
            one = len({*own.values()}) <= 1
            require(one, "distribution.layers", spelled(self.distribution.layers), problem, remedy)

    def check_options(self) -> None:
        """Check that the options fit each other, for which the network need not be known."""
        self._require_gradients()
        require(
            isinstance(self.distribution, (Uniform, Global, Scanning)),
            "distribution",
            self.distribution.option_name,
            "structure=channel shares what is removed among groups of units, and not among weights",
            "Take uniform, global or sensitivity.",
        )

    def sparsities(self, step: int) -> dict[str, float | None]:
        """Share of zeros of each weight after the update at ``step``; None where all are ranked together."""
        return self.sparsities_after(step)

    def sparsities_after(self, step: int) -> dict[str, float | None]:
        """Share of zeros of each weight in force after ``step`` steps; see `MaskPlan.sparsities_after`."""
        if self._is_global and step >= self.plan.updates.start:
            return {p.name: None for p in self.prunables}
        return {p.name: (self._zeros(p.name, step) or 0) / p.size for p in self.prunables}

    def requested_sparsity(self, step: int) -> float:
        """Share of the network that is asked to be removed after ``step`` steps, [0, 1)."""
        return self.plan.sparsity_after(step)

    def units_after(self, step: int) -> dict[tuple[str, int], int | None]:
        """Units that stay after ``step`` steps, by name and size of each group; None where scores decide."""
        groups = [(group.name, group.size) for group in self._found.groups]
        if self._is_global:
            return dict.fromkeys(groups)
        return dict(zip(groups, self._counts(step).tolist(), strict=True))

    def update(self, step: int, weights: Arrays, accumulated: Arrays | None = None) -> dict[str, Mask]:
        """Decide the masks of the update at ``step``; see `MaskPlan.update`."""
        scores = self._scores_of_units(weights, accumulated)
        counts = self._counts(step, scores)
        kept, lowest = self._found.all(), np.zeros(len(counts))
        for index, (group, count) in enumerate(zip(self._found.groups, counts, strict=True)):
            kept[group.units], lowest[index] = keep_largest(scores[index], int(count))
        return {
            p.name: Mask(self._mask(p.name, p.shape, kept), self._lowest(p.name, lowest))
            for p in self.prunables
        }

    def expected_zeros(self, name: str, step: int) -> int | None:
        """Zeros of the mask of one weight; None where units are ranked together."""
        return None if self.sparsities_after(step)[name] is None else self._zeros(name, step)

    def tolerance(self, name: str) -> int:
        """Masks hold exactly what counts of units say."""
        return 0

    def total_tolerance(self, step: int) -> int:
        """Return how far zeros may be off: of units ranked together only the number is known."""
        return sum(p.size for p in self.prunables) if self._is_global else 0

    def total_expected_zeros(self, step: int) -> int:
        """Zeros of all masks, within `total_tolerance`."""
        return sum(self.expected_zeros(p.name, step) or 0 for p in self.prunables)

    def described(self, masks: Arrays) -> dict[str, Any] | None:
        """Return the units, multiply-adds and parameters that go; see `results.ChannelsResult`."""
        found, kept = self._found, self._found.kept_by(masks)
        counts = found.counts(kept)
        groups = zip(found.groups, counts.tolist(), strict=True)
        return {
            "of": self.structure.of,
            "requested": self.plan.sparsity_after(self.plan.total_steps),
            "removed": found.share(self.structure.of, counts),
            **{key: [round(found.cost(key, each)) for each in (found.sizes, counts)] for key in COUNTED},
            "groups": [{"name": each.name, "units": each.size, "kept": count} for each, count in groups],
            "layers": list(self._layers(kept)),
        }

    def _layers(self, kept: Kept) -> Iterator[dict[str, Any]]:
        """Yield what goes of each layer that multiplies or makes units; see `results.LayerResult`."""
        found = self._found
        both = [found.sizes, found.counts(kept)]
        adds, parameters = (
            [found.costs_of_layers(of, each) for each in both] for of in ("multiply_adds", "parameters")
        )
        for layer in parameters[0]:
            units = [
                {"name": path[len(layer) + 1 :], "units": len(ids), "kept": int(kept[ids].sum())}
                for path, ids in found.units.items()
                if f"{path}/".startswith(f"{layer}/")
            ]
            if units or layer in adds[0]:
                costs = {"multiply_adds": [each.get(layer, 0) for each in adds]}
                costs["parameters"] = [each[layer] for each in parameters]
                yield {"name": layer, "units": units, **costs}

    def resized(self, model: Any, masks: Arrays) -> Any:
        """Build another network with the same layers as small as the finished one; its weights are new.

        Args:
            model: Of Keras 2 or 3; what is traced may have it inside of another one.
            masks: Of every weight, by name.
        """
        from pruneflow.sparsity.channels.cut import rebuilt, sizes_of

        names = {layer.name for layer in model.layers}
        sizes = sizes_of(self._found, self._found.kept_by(masks))
        return rebuilt(model, {p if p[0] in names else p[1:]: each for p, each in sizes.items()})

    def finished(self, model: Any, masks: Mapping[str, npt.NDArray[Any]]) -> Any:
        """Build the network without the units that are masked."""
        from pruneflow.sparsity.channels.cut import cut

        return cut(model, self._found, self._found.kept_by(masks))

    def require_same(self, model: Any, finished: Any) -> None:
        """Refuse a cut network that says something else on random examples."""
        from pruneflow.sparsity.channels import proof

        proof.require_same(model, finished)

    def finished_masks(self, masks: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Return masks of the small network, which keep everything."""
        kept = self._found.kept_by(masks)
        return {name: self._found.cut(name, mask, kept) for name, mask in masks.items()}

    def inputs(self) -> dict[str, Any]:
        """Return all that decides the masks, but weights, gradients and seed, as JSON takes it."""
        updates = self.plan.updates
        return {
            "structure": {"option": "channel", "of": self.structure.of, "multiple": self.step},
            "criterion": settings_of(self.criterion),
            "distribution": {**settings_of(self.distribution), **self._scanned},
            "groups": [[group.name, *group.makers, group.units.tolist()] for group in self._found.groups],
            "curve": [[step, self.plan.sparsity_of_update(step)] for step in updates],
        }

    def alone(self, weights: Arrays, accumulated: Arrays | None = None) -> Iterator[Alone]:
        """Yield each group; see `MaskPlan.alone`."""
        found, scores = self._found, self._scores_of_units(weights, accumulated)
        for index, group in enumerate(found.groups):
            without = found.sizes
            without[index] = 0
            share = found.share("multiply_adds", without)
            yield Alone(group.name, group.size, share, partial(self._group_alone, index, scores[index]))

    def _group_alone(self, index: int, scores: Scores, share: float) -> tuple[float, dict[str, Kept]]:
        """Return the share of units that is masked, as counted, and the masks of all weights they lie in."""
        group, kept = self._found.groups[index], self._found.all()
        count = max(1, round((1 - share) * group.size))
        kept[group.units], _ = keep_largest(scores, count)
        masks = {
            p.name: self._mask(p.name, p.shape, kept)
            for p in self.prunables
            if self._found.elements[p.name].by_group[:, index].any()
        }
        return 1 - count / group.size, masks

    def ranking(self) -> dict[str, Any]:
        """Return all that decides what `alone` yields; see `MaskPlan.ranking`."""
        inputs = self.inputs()
        return {
            "structure": {"option": "channel"},
            "criterion": inputs["criterion"],
            "groups": inputs["groups"],
        }

    @property
    def _is_global(self) -> bool:
        return isinstance(self.distribution, Global)

    @property
    def _scanned(self) -> dict[str, Any]:
        """Return the damage of each group, where a scan has found it."""
        return {"curves": self.distribution.curves} if isinstance(self.distribution, AfterScan) else {}

    def _zeros(self, name: str, step: int) -> int:
        size = next(p.size for p in self.prunables if p.name == name)
        return size - round(self._found.elements[name].of(self._counts(step)))

    def _mask(self, name: str, shape: tuple[int, ...], kept: Kept) -> Kept:
        return np.broadcast_to(self._found.mask(name, kept), shape)

    def _lowest(self, name: str, lowest: npt.NDArray[Any]) -> float:
        """Return the lowest score among the groups of a weight."""
        of_weight = self._found.elements[name].by_group.any(axis=0)
        return float(lowest[of_weight].min())

    def _scores_of_units(self, weights: Arrays, accumulated: Arrays | None) -> list[Scores]:
        """Mean score over all slices of a unit, rows and columns alike, group by group."""
        found = self._found
        if not self.criterion.reads_weights:
            return [self._drawn(group.name, group.size) for group in found.groups]
        sums, counts = np.zeros(found.ids), np.zeros(found.ids)
        for p in self.prunables:
            seen = accumulated[p.name] if accumulated else None
            scores = self.criterion.scores(weights[p.name], name=p.name, seed=self.seed, accumulated=seen)
            for axis, ids in enumerate(found.axes[p.name]):
                if ids is not None:
                    others = tuple(other for other in range(scores.ndim) if other != axis)
                    of_slices = finite_scores(scores).sum(axis=others, dtype=np.float64)
                    sums += np.bincount(ids, of_slices, found.ids)
                    counts += np.bincount(ids, minlength=found.ids) * (scores.size // len(ids))
        means = sums / np.maximum(counts, 1)
        return [means[group.units] for group in found.groups]

    def _drawn(self, name: str, size: int) -> Scores:
        return self.criterion.scores(np.zeros(size), name=name, seed=self.seed, accumulated=None)

    def _counts(self, step: int, scores: Sequence[Scores] | None = None) -> Counts:
        """Return the units of each group that stay after ``step`` steps."""
        if step < self.plan.updates.start:
            return self._found.sizes
        if self._is_global:
            assert scores is not None, "units are ranked together"
            return self._decided(step, self._by_score(scores), self._ladders(self.step))
        if step not in self._known:
            self._known[step] = self._decided(step, self._order, self._ladders(self.step))
        return self._known[step]

    @property
    def _order(self) -> Order:
        """Order of the steps where no scores decide it."""
        return self._by_damage if isinstance(self.distribution, AfterScan) else self._evenly

    def _evenly(self, group: int, now: int, then: int) -> tuple[float, ...]:
        """Order steps so that each group keeps the same part of itself."""
        return (-(now + then) / self._found.groups[group].size,)

    def _by_damage(self, group: int, now: int, then: int) -> tuple[float, ...]:
        """Order steps by their price, damage per share that goes; what costs nothing goes evenly."""
        assert isinstance(self.distribution, AfterScan)
        found, size = self._found, self._found.groups[group].size
        curve = self.distribution.curves[group]
        damage = damage_at(curve, 1 - then / size) - damage_at(curve, 1 - now / size)
        before, after = found.sizes, found.sizes
        before[group], after[group] = now, then
        gone = found.share(self.structure.of, after) - found.share(self.structure.of, before)
        return (damage / max(gone, TINY), *self._evenly(group, now, then))

    def _by_score(self, scores: Sequence[Scores]) -> Order:
        ranked = [np.sort(each)[::-1] for each in scores]
        return lambda group, now, then: (float(ranked[group][then:now].mean()),)

    def _decided(self, step: int, when: Order, ladders: Sequence[list[int]]) -> Counts:
        own = self._own(step, ladders)
        ladders = [[own[index]] if index in own else each for index, each in enumerate(ladders)]
        start = np.array([each[0] for each in ladders], np.int64)
        share = self.plan.sparsity_after(step)
        return counts_for(self._found, self.structure.of, share, start, steps(ladders, when))

    def _ladders(self, multiple: int) -> list[list[int]]:
        floor = getattr(self.distribution, "min_density", 0)
        return [
            ladder(group.size, max(1, ceil(round(floor * group.size, 6))), multiple)
            for group in self._found.groups
        ]

    def _fewest(self, multiple: int) -> Counts:
        ladders = self._ladders(multiple)
        own = self._own(self.plan.total_steps, ladders)
        return fewest([[own[i]] if i in own else each for i, each in enumerate(ladders)])

    def _own(self, step: int, ladders: Sequence[Sequence[int]]) -> dict[int, int]:
        """Return the units that stay of groups with a sparsity of their own."""
        found = {}
        for index, (shares, counts) in enumerate(zip(self._own_of_groups(), ladders, strict=True)):
            for final in {*shares.values()}:  # one, as is checked
                size = self._found.groups[index].size
                wanted = (1 - self._following(final).sparsity_after(step)) * size
                found[index] = min([size, *counts], key=lambda count: abs(count - wanted))
        return found

    def _own_of_groups(self) -> list[dict[str, float]]:
        """Return for each group the final sparsities of those of its makers that have their own."""
        groups = self._found.groups
        own = self.distribution.overrides([maker for group in groups for maker in group.makers])
        return [{maker: own[maker] for maker in group.makers if maker in own} for group in groups]
