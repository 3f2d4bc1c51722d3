"""Train on two logical CPUs, and say what was seen; run by tests in a process of its own.

    python on_replicas.py FOLDER OVERRIDE...

TensorFlow divides its processor before it computes first, so one process has one number of devices.
"""

import json
import shutil
import sys
from pathlib import Path

import hydra
import numpy as np

from pruneflow.flow import pipeline
from pruneflow.flow.config import config_folder, from_hydra
from pruneflow.flow.manifests import LAYOUT
from pruneflow.flow.networks import dense_network, pruned_network
from pruneflow.runtime import backend
from pruneflow.sparsity.masked import Masked
from pruneflow.training import checkpoints

CUT_AFTER = 8  # checkpoints of the pruning phase: one a step


class Cut(BaseException):
    pass


def copies_of(variable):
    return [each.numpy() for each in variable.distribute_strategy.experimental_local_results(variable)]


def equal(variable):
    first, *others = copies_of(variable)
    return all(np.array_equal(first, each) for each in others)


def watch(seen):
    """Note at each update whether replicas are equal, and when masks are applied whether zeros are zeros."""
    update, apply = Masked.update, Masked.apply

    def updated(self, step):
        update(self, step)
        seen["updates"].append(all(equal(each.mask) and equal(each.weight) for each in self.weights))

    def applied(self):
        apply(self)
        if hasattr(self.weights[0].mask, "distribute_strategy") and backend.tensorflow().executing_eagerly():
            pairs = [(each, copies_of(each.mask)[0]) for each in self.weights]
            left = [np.any(copy[~kept]) for each, kept in pairs for copy in copies_of(each.weight)]
            seen["zeros"].append(not any(left))

    Masked.update, Masked.apply = updated, applied


def train(config, ready, folder):
    folder.mkdir()
    store = config.stages.open()
    dense = dense_network(store, config, ready, folder)
    pruned = pruned_network(store, config, ready, dense, folder)
    return dense.model.get_weights(), pruned.model.get_weights(), pruned.wrapped


def main(folder, overrides):
    seen = {"updates": [], "zeros": []}
    watch(seen)

    def composed(*more):
        with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
            return from_hydra(hydra.compose("config", [*overrides, *more]))

    config = composed(f"stages.dir={folder / 'whole'}")
    ready = pipeline.prepare(config)
    whole = train(config, ready, folder / "one")
    cut = composed(f"stages.dir={folder / 'cut'}", "stages.checkpoint_seconds=0")
    shutil.copytree(*[folder / name / LAYOUT / "dense" for name in ("whole", "cut")])
    write, written = checkpoints.Checkpoints.write, []

    def write_and_cut(self, epoch, step):
        write(self, epoch, step)
        written.append((epoch, step))
        if len(written) == CUT_AFTER:
            raise Cut

    checkpoints.Checkpoints.write = write_and_cut
    try:
        train(cut, ready, folder / "two")
    except Cut:
        seen["cut"] = written[-1]
    resumed = train(cut, ready, folder / "three")
    seen["same bits"] = all(
        np.array_equal(one, other)
        for before, after in zip(whole, resumed, strict=True)
        for one, other in zip(before, after, strict=True)
    )
    seen["device"] = ready.device
    print(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
