"""The stage that evaluates: dense, pruned and exported network, scored on the same examples."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pruneflow.artefacts import Artefacts
from pruneflow.data import Data
from pruneflow.evaluate import (
    FloatArray,
    Scores,
    agreement,
    keras_probabilities,
    score,
    tflite_probabilities,
)
from pruneflow.files import write_file
from pruneflow.networks import Network
from pruneflow.results import DenseResult, PrunedResult, TfliteResult, library_versions
from pruneflow.sizes import Size
from pruneflow.sparsity.measure import total_sparsity
from pruneflow.stages import Stage, Store
from pruneflow.tasks import task_of

__all__ = ["EVALUATE_VERSION", "Figures", "compare"]

# Raise it in the commit that changes the figures which the same file and examples give. Evaluation measures
# no time that a result shows as a figure of the network; such a one must never be taken from another machine.
EVALUATE_VERSION = 1

FACTS, PROBABILITIES = "facts.json", "probabilities.npz"


@dataclass(frozen=True)
class Figures:
    """Dense, pruned and exported network side by side.

    Attributes:
        dense: The baseline.
        pruned: The pruned network as Keras runs it.
        tflite: The exported file.
        stage: Where the figures of the exported file were taken from.
        seconds: What the evaluations took, when they were done.
    """

    dense: DenseResult
    pruned: PrunedResult
    tflite: TfliteResult
    stage: Stage
    seconds: float


@dataclass(frozen=True)
class _Evaluation:
    """Scores on the parts that were looked at, and the probabilities on the test part, (n, classes)."""

    stage: Stage
    scores: dict[str, Scores]
    probabilities: FloatArray = field(repr=False)
    seconds: float


def compare(
    store: Store, data: Data, networks: tuple[Network, Network], artefacts: Artefacts, *, interpreters: int
) -> Figures:
    """Score all three on the test part, and the two Keras networks on the validation part.

    Args:
        store: Where finished evaluations are kept.
        data: The examples.
        networks: The dense and the pruned network.
        artefacts: The exported files.
        interpreters: TFLite interpreters that run side by side.
    """
    dense, pruned = networks
    of_dense = _of_network(store, dense, data, "dense") if dense.trained else None
    of_pruned = _of_network(store, pruned, data, "pruned")
    of_file = _of_file(store, artefacts, pruned, data, interpreters=interpreters)
    done = [evaluation for evaluation in (of_dense, of_pruned, of_file) if evaluation]
    return Figures(
        dense=_dense_result(dense, artefacts, of_dense),
        pruned=_pruned_result(pruned, artefacts, of_pruned),
        tflite=_tflite_result(artefacts, of_file, of_pruned),
        stage=of_file.stage,
        seconds=sum(evaluation.seconds for evaluation in done),
    )


def _dense_result(network: Network, artefacts: Artefacts, found: _Evaluation | None) -> DenseResult:
    """Accuracies are None where the baseline was not trained."""
    validation, test = (found.scores["validation"], found.scores["test"]) if found else (None, None)
    return DenseResult(
        accuracy=test.accuracy if test else None,
        validation_accuracy=validation.accuracy if validation else None,
        loss=test.loss if test else None,
        parameters=network.parameters,
        **_sizes(artefacts.dense.size, network.size),
    )


def _pruned_result(network: Network, artefacts: Artefacts, found: _Evaluation) -> PrunedResult:
    layers = network.layers
    size = sum(layer.size for layer in layers)
    zeros = sum(layer.zeros for layer in layers)
    return PrunedResult(
        accuracy=found.scores["test"].accuracy,
        validation_accuracy=found.scores["validation"].accuracy,
        loss=found.scores["test"].loss,
        requested_sparsity=layers[0].requested_sparsity,
        measured_sparsity=total_sparsity(layers),
        compression_ratio=size / max(1, size - zeros),
        layers=layers,
        not_pruned=network.not_pruned,
        **_sizes(artefacts.pruned.size, network.size),
    )


def _tflite_result(artefacts: Artefacts, found: _Evaluation, of_keras: _Evaluation) -> TfliteResult:
    """The exported file, beside Keras on the same examples."""
    share, difference = agreement(of_keras.probabilities, found.probabilities)
    size = artefacts.exported.size
    return TfliteResult(
        kind=artefacts.exported.kind,
        file=artefacts.file.name,
        accuracy=found.scores["test"].accuracy,
        agreement=share,
        max_difference=difference,
        bytes=size.bytes,
        gzip_bytes=size.gzip_bytes,
        zip_bytes=size.zip_bytes,
    )


def _sizes(tflite: Size, h5: Size) -> dict[str, int]:
    """Sizes as float TFLite and as ``.h5`` by name, ``tflite_bytes`` to ``h5_zip_bytes``."""
    return {
        f"{name}_{key}": value
        for name, size in {"tflite": tflite, "h5": h5}.items()
        for key, value in asdict(size).items()
    }


def _of_network(store: Store, network: Network, data: Data, name: str) -> _Evaluation:
    def evaluate() -> tuple[dict[str, Scores], FloatArray]:
        parts = {"validation": data.validation, "test": data.test}
        found = {
            part: keras_probabilities(
                network.model, examples, data.spec, description=f"Evaluating {name}, {part}"
            )
            for part, examples in parts.items()
        }
        scores = {part: score(found[part], examples.y) for part, examples in parts.items()}
        return scores, found["test"]

    inputs = {
        "version": EVALUATE_VERSION,
        "libraries": library_versions("tensorflow", "numpy"),
        "network": network.stage.digest,
    }
    return _evaluation(store, inputs, evaluate)


def _of_file(
    store: Store, artefacts: Artefacts, network: Network, data: Data, *, interpreters: int
) -> _Evaluation:
    """Load the exported file again and score it on the whole test part."""

    def evaluate() -> tuple[dict[str, Scores], FloatArray]:
        probabilities = tflite_probabilities(
            artefacts.file, data.test, data.spec, task=task_of(network.model), threads=interpreters
        )
        return {"test": score(probabilities, data.test.y)}, probabilities

    inputs = {
        "version": EVALUATE_VERSION,
        "libraries": library_versions("ai-edge-litert", "numpy"),
        "export": artefacts.exported.stage.digest,
    }
    return _evaluation(store, inputs, evaluate)


def _evaluation(
    store: Store, inputs: dict[str, Any], evaluate: Callable[[], tuple[dict[str, Scores], FloatArray]]
) -> _Evaluation:
    def make(folder: Path) -> None:
        start = time.perf_counter()
        scores, probabilities = evaluate()
        seconds = time.perf_counter() - start
        content = io.BytesIO()
        np.savez_compressed(content, probabilities=probabilities)
        write_file(folder / PROBABILITIES, content.getvalue())
        facts = {"seconds": seconds, "scores": {part: asdict(found) for part, found in scores.items()}}
        write_file(folder / FACTS, json.dumps(facts).encode())

    def read(stage: Stage) -> _Evaluation:
        folder = Path(stage.path)
        facts = json.loads((folder / FACTS).read_text())
        scores = {part: Scores(**found) for part, found in facts["scores"].items()}
        with np.load(folder / PROBABILITIES, allow_pickle=False) as arrays:
            probabilities = arrays["probabilities"]
        return _Evaluation(stage, scores, probabilities, facts["seconds"])

    return store.get("evaluate", inputs, make=make, read=read)[1]
