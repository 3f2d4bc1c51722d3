"""A pruning phase without training: one update of the masks, and least squares on examples if chosen."""

import time
from typing import Any

import numpy as np

from pruneflow.datasets.batches import evaluation_batches
from pruneflow.datasets.spec import Data, Part
from pruneflow.flow.config import Config
from pruneflow.runtime.terminal import say
from pruneflow.sparsity import reconstruction
from pruneflow.sparsity.masked import Masked
from pruneflow.sparsity.selected_layers import Selection
from pruneflow.training.fit import Phase

BATCH = 32  # of examples that run through both networks
# Raise it in the commit that changes the weights which the same settings give.
RECONSTRUCTED_VERSION = 2


def inputs(config: Config, data: Data) -> dict[str, Any]:
    """Return what the weights depend on beside masks and dense weights, as JSON takes it."""
    if not config.pruning.reconstruct:
        return {}
    return {"reconstruct": {"version": RECONSTRUCTED_VERSION, "examples": _count(config, data)}}


def notes(config: Config, data: Data, model: Any, selection: Selection) -> list[str]:
    """Return what has to be said of it, a sentence each."""
    if not config.pruning.reconstruct:
        return []
    count = _count(config, data)
    said = f"Kept weights are fitted to the outputs of the dense layers on {count:,} training examples."
    return [said, *reconstruction.notes(model, selection.prunables)]


def prune_at_once(config: Config, data: Data, masked: Masked) -> Phase:
    """Prune a network by one update of its masks.

    Args:
        data: Examples are drawn from its training part, by the seed.
        masked: The network, of which no step was made.

    Returns:
        What it took.
    """
    start = time.perf_counter()
    if config.pruning.reconstruct:
        for note in reconstruction.reconstruct(masked, _batches(config, data)):
            say(note)
    else:
        masked.begin_step()
        masked.apply()
    return Phase(time.perf_counter() - start, None, 0)


def _batches(config: Config, data: Data) -> Any:
    """Inputs of the network, which can be read again and again."""
    train, count = data.train, _count(config, data)
    drawn = np.random.default_rng([config.seed, count]).choice(len(train), count, replace=False)
    chosen = np.sort(drawn)
    examples = Part(train.x[chosen], train.y[chosen])
    return evaluation_batches(examples, data.spec, batch_size=BATCH).map(lambda x, _: x)


def _count(config: Config, data: Data) -> int:
    return min(config.pruning.reconstruct_examples, len(data.train))
