"""Group lasso on the units that are cut, against plain masking: accuracy after the same cut.

    python benchmarks/group_lasso.py [--strengths 0 1e-5 1e-4 1e-3] [--seeds 0 1 2] [--share 0.9]

A CNN on a part of MNIST has a penalty on the norm of the weights of each unit (Yuan and Lin 2006), in both
phases. Strength 0 is plain masking. All runs cut the same share of the multiply-adds with the same epochs.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import pruneflow
from pruneflow.datasets.spec import Spec
from pruneflow.runtime import backend

SETTINGS = [
    "dataset=mnist",
    "dataset.limit=6000",
    "trainer.dense_epochs=6",
    "trainer.epochs=8",
    "trainer.dense_batch_size=64",
    "trainer.batch_size=64",
    "structure=channel",
    "structure.multiple=2",
    "latency.seconds=0",
]


def network(spec: Spec, strength: float) -> Any:
    """Return a CNN whose units are penalised.

    Args:
        spec: Of the data.
        strength: Factor of the penalty.
    """
    layers = backend.keras().layers
    penalty = {"kernel_regularizer": _penalty(strength)} if strength else {}
    return backend.keras().Sequential(
        [
            layers.Input(spec.shape),
            layers.Conv2D(32, 5, padding="same", activation="relu", **penalty),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 5, padding="same", activation="relu", **penalty),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(256, activation="relu", **penalty),
            layers.Dense(spec.classes),
        ]
    )


def _penalty(strength: float) -> Any:
    keras, tf = backend.keras(), backend.tensorflow()

    @keras.utils.register_keras_serializable("group_lasso")
    class GroupLasso(keras.regularizers.Regularizer):  # type: ignore[misc,name-defined]
        """The sum of the norms of all units, each times the root of the number of its weights."""

        def __init__(self, strength: float) -> None:
            self.strength = strength

        def __call__(self, kernel: Any) -> Any:
            weights = tf.reshape(kernel, (-1, kernel.shape[-1]))
            norms = tf.sqrt(tf.reduce_sum(tf.square(weights), axis=0) + 1e-12)
            return self.strength * np.sqrt(weights.shape[0]) * tf.reduce_sum(norms)

        def get_config(self) -> dict[str, float]:
            return {"strength": self.strength}

    return GroupLasso(strength)


def measured(strength: float, seed: int, share: float) -> tuple[float, float]:
    """Return the accuracy of the dense and of the cut network."""
    factory = [
        "model=custom",
        "model.factory=group_lasso:network",
        f"model.arguments={{strength:{strength}}}",
    ]
    words = [*SETTINGS, *factory, f"seed={seed}", f"schedule.final_sparsity={share}"]
    result = pruneflow.run(words, report=False)
    return result.dense.accuracy or 0.0, result.pruned.accuracy or 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.0, 1e-5, 1e-4, 1e-3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--share", type=float, default=0.9)
    chosen = parser.parse_args()
    for strength in chosen.strengths:
        dense, cut = np.transpose([measured(strength, seed, chosen.share) for seed in chosen.seeds])
        print(
            f"strength {strength:g}: dense {dense.mean():.4f} ({dense.min():.4f} to {dense.max():.4f}), "
            f"cut {cut.mean():.4f} ({cut.min():.4f} to {cut.max():.4f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
