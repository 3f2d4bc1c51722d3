"""Measure pruning without training: weights fitted to the outputs of dense layers, against plain magnitude.

    python benchmarks/reconstruct.py
    python benchmarks/reconstruct.py --networks mlp --seeds 0 1 2 --sparsities 0.8 2:4
    python benchmarks/reconstruct.py --examples 64 512

Each network is trained dense once per seed; all rows of a seed share it through the store of stages. The runs
of a row differ in ``pruning.reconstruct`` alone. Accuracies are of the whole test part, in Keras.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pruneflow
from pruneflow.flow import results
from pruneflow.flow.judgement import WreckError

NETWORKS = {
    "cnn": ["trainer.dense_epochs=2", "dataset.limit=20000"],
    "mlp": ["model=mlp", "trainer.dense_epochs=2", "dataset.limit=20000"],
    "lstm": ["model=lstm", "dataset=imdb", "trainer.dense_epochs=2", "dataset.limit=8000"],
}
QUIET = ["trainer.epochs=0", "latency.seconds=0", "report=false"]
SPARSITIES = ("0.5", "0.7", "0.8", "2:4")


def wanted(sparsity: str) -> list[str]:
    """Return the settings of one column."""
    if ":" not in sparsity:
        return [f"schedule.final_sparsity={sparsity}"]
    n, m = map(int, sparsity.split(":"))
    return [
        "structure=n_of_m",
        f"structure.n={n}",
        f"structure.m={m}",
        f"schedule.final_sparsity={1 - n / m}",
    ]


def measured(words: Sequence[str], store: str) -> tuple[float, float, float]:
    """Return the accuracy of the dense and of the pruned network, and seconds of pruning."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "run"
        with suppress(WreckError):  # what is left guesses: that is a result too
            pruneflow.run([*words, *QUIET, f"stages.dir={store}"], folder=place)
        result = results.read(place)
    return result.dense.accuracy or 0.0, result.pruned.accuracy or 0.0, result.phases["pruned"].seconds


def main() -> None:
    """Print a line for each network, sparsity, number of examples and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--sparsities", nargs="+", default=SPARSITIES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--examples", nargs="+", type=int, default=[512])
    asked = parser.parse_args()
    ways = {"magnitude": ["pruning.reconstruct=false"]}
    for count in asked.examples:
        words = ["pruning.reconstruct=true", f"pruning.reconstruct_examples={count}"]
        ways[f"{count} examples"] = words
    with tempfile.TemporaryDirectory() as store:
        for network in asked.networks:
            for sparsity in asked.sparsities:
                for way, words in ways.items():
                    settings = [*NETWORKS[network], *wanted(sparsity), *words]
                    found = [measured([*settings, f"seed={seed}"], store) for seed in asked.seeds]
                    print(f"{network:5} {sparsity:4} {way:14} {line(found)}", flush=True)


def line(found: Sequence[tuple[float, float, float]]) -> str:
    """Say medians, and of the pruned network all values."""
    dense, pruned, seconds = zip(*found, strict=True)
    every = ", ".join(f"{each:.4f}" for each in pruned)
    return (
        f"dense {statistics.median(dense):.4f}  pruned {statistics.median(pruned):.4f} ({every})  "
        f"{statistics.median(seconds):.1f} s"
    )


if __name__ == "__main__":
    main()
