"""What makes a step shorter without changing a bit, each beside what it replaces, in turn in one run.

    python benchmarks/shorter_steps.py [--rounds 15]

Adam's update of a dense layer of 25,088 x 128 and of an embedding of 20,000 x 128 (3,200 words a batch),
beside Keras' Adam; the product of that layer with its mask, a byte for each element, beside a mask of floats.
Each round takes 25 calls of each; a ratio is the median over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from commands import show

from pruneflow.runtime import backend, fused
from pruneflow.training import adam

CALLS = 25
LAYER, EMBEDDING = (25_088, 128), (20_000, 128)
tf: Any = backend.tensorflow()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    keras = backend.keras().optimizers.Adam
    compare("Adam, dense layer", rounds, *(updates(kind, LAYER) for kind in (adam.Adam, keras)))
    compare("Adam, embedding", rounds, *(updates(kind, EMBEDDING, words=3200) for kind in (adam.Adam, keras)))
    compare("mask", rounds, *(masking(boolean=boolean) for boolean in (True, False)))


def compare(label: str, rounds: int, ours: Callable[[], Any], theirs: Callable[[], Any]) -> None:
    for call in (ours, theirs):
        milliseconds(call)  # tracing and compiling
    times = [(milliseconds(ours), milliseconds(theirs)) for _ in range(rounds)]
    ratios = sorted(mine / its for mine, its in times)
    mine, its = (statistics.median(column) for column in zip(*times, strict=True))
    spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    show(label, f"{spread}, {mine:.2f} and {its:.2f} ms")


def milliseconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    for _ in range(CALLS):
        call()
    return 1000 * (time.perf_counter() - start) / CALLS


def updates(kind: Any, shape: tuple[int, int], *, words: int = 0) -> Callable[[], Any]:
    """One update of a weight, as a function."""
    rng, optimizer = np.random.default_rng(0), kind(0.001)
    weight = tf.Variable(rng.normal(size=shape), dtype=tf.float32)
    optimizer.build([weight])
    values = tf.constant(rng.normal(size=(words or shape[0], shape[1])), tf.float32)
    rows = tf.constant(rng.integers(0, shape[0], words or 1))

    def update() -> None:
        gradient = tf.IndexedSlices(values, rows, shape) if words else values
        optimizer.apply_gradients([(gradient, weight)])

    return as_graph(update)


def masking(*, boolean: bool) -> Callable[[], Any]:
    rng = np.random.default_rng(0)
    weight = tf.Variable(rng.normal(size=LAYER), dtype=tf.float32)
    kept = tf.Variable(rng.random(LAYER) < 0.2, dtype=tf.bool if boolean else tf.float32)

    def masked() -> None:
        if boolean:
            fused.mask(weight, kept)
        else:
            weight.assign(weight * kept)

    return as_graph(masked)


def as_graph(function: Callable[[], None]) -> Callable[[], Any]:
    graph: Callable[[], Any] = tf.function(function)
    return graph


if __name__ == "__main__":
    main()
