"""The stage that trains a pruned network for its int8 file: weights and activations are rounded meanwhile."""

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pruneflow.datasets.spec import Data
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.flow.config import Config
from pruneflow.flow.networks import Network, cost_of, deliver, journal, keep, later, say_where_from
from pruneflow.flow.prepared import Prepared
from pruneflow.flow.store import Store
from pruneflow.options import require
from pruneflow.runtime import backend
from pruneflow.runtime.memory import ran_out
from pruneflow.runtime.versions import library_versions
from pruneflow.sparsity.kernels import weights
from pruneflow.sparsity.shared_weights import counted, keep_shared
from pruneflow.training.fit import Fit
from pruneflow.training.quantization_aware import (
    KEY,
    fake_quantized,
    inner_weights,
    keep_zeros,
    not_taken,
)

# Raise it in the commit that changes the weights which the same settings give.
AWARE_VERSION = 1

NAME = "quantization_aware"
RANGES = "fake-quantized.npz"
PHASE = 4  # of the seeds of a run, after those of dense training, of pruning and of sharing
SHOWN = 200  # characters of what tfmot or the converter says


def check_network(config: Config, data: Data, model: Any) -> None:
    """Refuse a network that tfmot cannot wrap, or that the converter cannot take then; it is tried.

    Args:
        model: The network, built; it is left as it is.
    """
    epochs = config.quantization_aware.epochs
    if not epochs:
        return
    remedy = f"Set {KEY}=0, which quantizes after training, or take another network."
    problem = f"tfmot cannot train these layers so: {', '.join(not_taken(model))}"
    require(not not_taken(model), KEY, epochs, problem, remedy)
    try:
        with backend.float32():
            config.export.convert(fake_quantized(model), data.spec, data.train.x[:0])
    except Exception as error:
        if ran_out(error):
            raise
        said = " ".join(str(error).split())[:SHOWN].rstrip(".")
        raise ConfigError.of(KEY, epochs, f"tfmot cannot train this network so: {said}", remedy) from error


def aware_inputs(config: Config, ready: Prepared, *, before: str) -> dict[str, Any]:
    """Everything that the weights of the network depend on, as JSON takes it.

    Args:
        before: Digest of the pruned network, values shared where that is asked for.
    """
    return {
        "version": AWARE_VERSION,
        "libraries": library_versions("tensorflow-model-optimization"),
        "before": before,
        "fit": _fit(config, ready).inputs,
    }


def aware_network(store: Store, config: Config, ready: Prepared, before: Network, run_dir: Path) -> Network:
    """Train a pruned network for its int8 file, or take it from the store.

    Returns:
        The network; ``quantization_aware.h5`` and its curves are in ``run_dir``. It is ``before`` itself
        where ``quantization_aware.epochs`` is 0.

    Raises:
        PruneflowError: if zeros, or values that weights share, are lost.
    """
    if not config.quantization_aware.epochs:
        return before
    with store.held(NAME, aware_inputs(config, ready, before=before.stage.digest)) as held:
        if held.missing:
            with held.making() as folder:
                _make(config, ready, before, folder, run_dir / NAME)
        facts, ranges = deliver(held.stage, run_dir, NAME), _arrays(Path(held.stage.path) / RANGES)
    say_where_from(held.stage, NAME)
    shared = {**before.shared, "weights": facts["weights"]} if before.shared else None
    network = later(before, held.stage, facts, run_dir, NAME)
    network = replace(network, shared=shared, aware_epochs=config.quantization_aware.epochs)
    return replace(network, fake_quantized=partial(_read, network, ranges))


def _make(config: Config, ready: Prepared, before: Network, folder: Path, events: Path) -> None:
    """Train, and prove that zeros and shared values are still there."""
    names = [f"{layer.name}/{layer.weight}" for layer in before.layers]
    backend.keras().backend.clear_session()
    network, fit = before.read(), _fit(config, ready)
    backend.set_seed(*fit.seed)  # dropout draws from generators that are made with the layers
    wrapped = fake_quantized(network)
    inside = inner_weights(network, wrapped)
    (keep_shared if before.shared else keep_zeros)(wrapped, [inside[name] for name in names])
    done = fit.run(wrapped, ready.data, journal(config, folder, events))
    old = weights(network)
    for name, variable in inner_weights(network, network).items():
        variable.assign(inside[name])
    new, found = weights(network), counted(network, names)
    lost = [name for name in names if np.any(new[name][old[name] == 0])]
    shared = before.shared["values"] if before.shared else None
    lost += [each.name for each in found if shared is not None and each.values > shared]
    if lost:
        raise PruneflowError(f"{KEY}: training lost zeros, or values that are shared, in {', '.join(lost)}.")
    arrays = {str(place): array for place, array in enumerate(wrapped.get_weights())}
    with (folder / RANGES).open("wb") as file:
        np.savez_compressed(file, **arrays)
    keep(
        network,
        {"trained": True, **cost_of(done), "weights": [asdict(e) for e in found]},
        folder,
        events=events,
    )


def _arrays(file: Path) -> list[Any]:
    with np.load(file, allow_pickle=False) as arrays:
        return [arrays[str(place)] for place in range(len(arrays.files))]


def _read(network: Network, arrays: list[Any]) -> Any:
    """The network as it was trained, with the ranges of weights and activations."""
    wrapped = fake_quantized(network.read())
    wrapped.set_weights(arrays)
    return wrapped


def _fit(config: Config, ready: Prepared) -> Fit:
    fit = ready.trainer.pruned_fit(config.seed, config.augmentation)
    return replace(fit, name=NAME, epochs=config.quantization_aware.epochs, seed=(config.seed, PHASE))
