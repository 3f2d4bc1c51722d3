"""The second pruning phase: zeros in the network that the first one has cut; see the group ``then``."""

from dataclasses import replace
from typing import Any

import numpy as np

from pruneflow.flow import lengths
from pruneflow.flow.config import Config, masks_for, plan_for, selected
from pruneflow.flow.prepared import Prepared
from pruneflow.sparsity.distributions import Distribution, Uniform
from pruneflow.sparsity.kernels import weights
from pruneflow.sparsity.then import Nothing, Zeros, named, renamed


def names(config: Config) -> dict[str, str]:
    """Return the names of the phases before the second one, as `lengths.PHASES`."""
    return lengths.PHASES if isinstance(config.then, Nothing) else {**lengths.PHASES, "": "cut"}


def settings(config: Config) -> Config:
    """Return the settings of the second phase, which is a run of one phase on the network that was cut."""
    then, schedule = config.then, config.schedule
    assert isinstance(then, Zeros), "there is a second phase"
    initial = min(schedule.initial_sparsity, then.final_sparsity)
    epochs = config.trainer.epochs if then.epochs is None else then.epochs
    return replace(
        config,
        schedule=replace(schedule, initial_sparsity=initial, final_sparsity=then.final_sparsity),
        structure=then.structure,
        distribution=_distribution(config, then),
        trainer=replace(config.trainer, epochs=epochs),
        then=Nothing(name="none"),
    )


def _distribution(config: Config, then: Zeros) -> Distribution:
    """Return that of the first phase without its shares of groups; uniform where nothing can be shared."""
    if then.structure.limit:  # the same in every weight
        return Uniform(name="uniform")
    shared: Distribution = replace(config.distribution, layers={})
    return shared


def rehearsed(config: Config, ready: Prepared, model: Any) -> Prepared | None:
    """Check the second phase on a network that is cut before it is trained, to about the size of later.

    Returns:
        What is known of the second phase; None where there is none.
    """
    if isinstance(config.then, Nothing):
        return None
    with named():
        own = settings(config)
        trainer, plan = plan_for(own, ready.data)
    known = replace(
        ready,
        trainer=trainer,
        plan=plan,
        lengths=lengths.said(own.trainer, trainer, len(ready.data.train), phases={"": "pruned"}),
        warnings=[]
        if plan.total_steps == ready.plan.total_steps
        else [renamed(each) for each in lengths.doubts(own.trainer, plan)],
    )
    return prepared(config, known, cut_untrained(ready, model))


def cut_untrained(ready: Prepared, model: Any) -> Any:
    """Cut a network before it is trained, to about the size of later."""
    untrained = weights(model)
    seen = {name: np.abs(values) for name, values in untrained.items()}  # in place of gradients
    decided = ready.masks.update(ready.plan.updates[-1], untrained, seen)
    return ready.masks.finished(model, {name: mask.kept for name, mask in decided.items()})


def prepared(config: Config, known: Prepared, network: Any) -> Prepared:
    """Return what is known of the second phase once the network is cut."""
    own = settings(config)
    with named():
        selection = selected(own, network)
        masks = masks_for(own, known.plan, selection)
        return replace(
            known, selection=selection, masks=masks, notes=[renamed(each) for each in masks.check()]
        )
