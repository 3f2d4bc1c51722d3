"""The stage that shares values: each weight that was pruned gets few, which may be trained."""

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pruneflow.flow.config import Config
from pruneflow.flow.networks import Network, cost_of, deliver, journal, keep, later, say_where_from
from pruneflow.flow.prepared import Prepared
from pruneflow.flow.store import Store
from pruneflow.runtime import backend
from pruneflow.runtime.versions import library_versions
from pruneflow.sparsity.shared_weights import counted, keep_shared, share, variables
from pruneflow.training.events import remove
from pruneflow.training.fit import Fit

# Raise it in the commit that changes the weights which the same settings give.
SHARED_VERSION = 1

NAME = "shared"
PHASE = 3  # of the seeds of a run, after those of dense training and of pruning


def shared_inputs(config: Config, ready: Prepared, *, pruned: str) -> dict[str, Any]:
    """Everything that the weights of the network depend on, as JSON takes it."""
    return {
        "version": SHARED_VERSION,
        "libraries": library_versions("numpy"),
        "pruned": pruned,
        "values": config.sharing.values,
        "fit": _fit(config, ready).inputs,
    }


def shared_network(store: Store, config: Config, ready: Prepared, pruned: Network, run_dir: Path) -> Network:
    """Let the weights of a pruned network share values, or take it from the store.

    Returns:
        The network; ``shared.h5`` and, where its values were trained, ``shared/`` with the curves are in
        ``run_dir``. It is ``pruned`` itself where ``sharing.values`` is null.
    """
    if config.sharing.values is None:
        return pruned
    with store.held(NAME, shared_inputs(config, ready, pruned=pruned.stage.digest)) as held:
        if held.missing:
            with held.making() as folder:
                _make(config, ready, pruned, folder, run_dir / NAME)
        facts = deliver(held.stage, run_dir, NAME)
    say_where_from(held.stage, NAME)
    network = later(pruned, held.stage, facts, run_dir, NAME)
    return replace(network, shared={**asdict(config.sharing), "weights": facts["weights"]})


def _make(config: Config, ready: Prepared, pruned: Network, folder: Path, events: Path) -> None:
    start, names = time.perf_counter(), [f"{layer.name}/{layer.weight}" for layer in pruned.layers]
    remove(events)  # what a run of other settings left, that failed
    backend.keras().backend.clear_session()
    network, fit = pruned.read(), _fit(config, ready)
    assert config.sharing.values is not None
    share(network, names, config.sharing.values)
    facts = {"trained": True, "seconds": time.perf_counter() - start, "examples_per_second": None}
    if fit.epochs:
        backend.set_seed(*fit.seed)  # dropout draws from generators that are made with the layers
        model = pruned.build()
        model.set_weights(network.get_weights())
        keep_shared(model, variables(model, names).values())
        facts |= cost_of(fit.run(model, ready.data, journal(config, folder, events)))
        network.set_weights(model.get_weights())
    weights = [asdict(each) for each in counted(network, names)]
    keep(network, {**facts, "weights": weights}, folder, events=events)


def _fit(config: Config, ready: Prepared) -> Fit:
    fit = ready.trainer.pruned_fit(config.seed, config.augmentation)
    return replace(fit, name=NAME, epochs=config.sharing.epochs, seed=(config.seed, PHASE))
