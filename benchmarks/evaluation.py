"""Evaluating TFLite on whole test sets: pruneflow's scoring against the loop of the guide "Pruning in Keras".

    python benchmarks/evaluation.py [--rounds 3]

The guide's loop takes one interpreter, expands each example, invokes, and reads the output. Both read the
same files and the same examples, turn and turn about in one process: 10,000 MNIST images through the
guide's CNN and 25,000 IMDB reviews through the LSTM, as float. The guide's loop knows no state; it is
given the reset that an LSTM needs, or its predictions would be wrong. Needs MNIST and IMDB in
PRUNEFLOW_DATA_DIR or the cache folder.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from commands import show

from pruneflow.datasets.spec import Data
from pruneflow.exports.exporters import Float
from pruneflow.exports.runner import tflite_outcome
from pruneflow.flow.config import config_folder, from_hydra
from pruneflow.models.tasks import task_of
from pruneflow.runtime import backend
from pruneflow.runtime.device import processors

CASES = {"mnist": "cnn", "imdb": "lstm"}


def prepared(dataset: str, folder: Path) -> tuple[Data, Any, Path]:
    """The data, a network with seeded weights, and its file."""
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        settings = from_hydra(hydra.compose("config", [f"dataset={dataset}", f"model={CASES[dataset]}"]))
    data = settings.dataset.load()
    backend.set_seed(0)
    model = settings.model.build(data.spec)
    file = folder / f"{dataset}.tflite"
    file.write_bytes(Float(name="float").convert(model, data.spec, np.empty(0)))
    return data, model, file


def guide(file: Path, data: Data) -> np.ndarray:
    """The guide's loop: one example after the other through one interpreter."""
    interpreter = backend.litert().Interpreter(model_path=str(file))
    interpreter.allocate_tensors()
    read = interpreter.get_input_details()[0]["index"]
    written = interpreter.get_output_details()[0]["index"]
    rows = []
    for example in data.test.x[:]:
        interpreter.reset_all_variables()
        interpreter.set_tensor(read, data.spec.model_input(np.expand_dims(example, axis=0)))
        interpreter.invoke()
        rows.append(interpreter.tensor(written)()[0].copy())
    return np.stack(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for dataset in CASES:
            _compare(dataset, Path(folder), rounds=chosen.rounds)


def _compare(dataset: str, folder: Path, *, rounds: int) -> None:
    data, model, file = prepared(dataset, folder)
    task, ratios = task_of(model, data.spec), []
    for _ in range(rounds):
        start = time.perf_counter()
        expected = task.outcome(guide(file, data))
        middle = time.perf_counter()
        found = tflite_outcome(file, data.test, data.spec, task=task, threads=processors())
        end = time.perf_counter()
        assert np.array_equal(found, expected), "the same file gives the same answers"
        show(f"{dataset}, {len(data.test):,} examples: guide, s", f"{middle - start:.2f}")
        show("  pruneflow, s", f"{end - middle:.2f} ({processors()} interpreters)")
        ratios.append((end - middle) / (middle - start))
    spread = f"({min(ratios):.2f} to {max(ratios):.2f}, n={rounds})"
    show(f"{dataset}: pruneflow / guide", f"{statistics.median(ratios):.2f} {spread}")


if __name__ == "__main__":
    main()
