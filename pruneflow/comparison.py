"""Dense, pruned and exported network, scored on the same examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pruneflow.artefacts import Artefacts, Networks
from pruneflow.data import Data
from pruneflow.evaluate import (
    FloatArray,
    Scores,
    agreement,
    keras_probabilities,
    score,
    tflite_probabilities,
)
from pruneflow.results import DenseResult, PrunedResult, TfliteResult
from pruneflow.sparsity.measure import total_sparsity
from pruneflow.tasks import task_of

__all__ = ["Figures", "compare"]


@dataclass(frozen=True)
class Figures:
    """Dense, pruned and exported network side by side."""

    dense: DenseResult
    pruned: PrunedResult
    tflite: TfliteResult


def compare(networks: Networks, data: Data, artefacts: Artefacts, *, interpreters: int) -> Figures:
    """Score all three on the test part, and the two Keras networks on the validation part.

    Args:
        networks: The Keras networks.
        data: The examples.
        artefacts: The exported file and the sizes.
        interpreters: TFLite interpreters that run side by side.
    """
    dense = _dense_result(networks, data, artefacts)
    pruned, probabilities = _pruned_result(networks, data, artefacts)
    tflite = _tflite_result(artefacts, networks, data, probabilities, interpreters=interpreters)
    return Figures(dense, pruned, tflite)


def _dense_result(networks: Networks, data: Data, artefacts: Artefacts) -> DenseResult:
    """Score the baseline; accuracies are None where it was not trained."""
    parameters = int(networks.dense.count_params())
    if not networks.trained_dense:
        return DenseResult(None, None, None, parameters=parameters, **artefacts.dense.fields)
    validation, test, _ = _scores(networks.dense, data, "dense")
    return DenseResult(
        test.accuracy,
        validation.accuracy,
        test.loss,
        parameters=parameters,
        **artefacts.dense.fields,
    )


def _pruned_result(networks: Networks, data: Data, artefacts: Artefacts) -> tuple[PrunedResult, FloatArray]:
    """Score the pruned network.

    Returns:
        The result, and the probabilities on the test part, (n, classes).
    """
    validation, test, probabilities = _scores(networks.pruned, data, "pruned")
    size = sum(layer.size for layer in networks.layers)
    zeros = sum(layer.zeros for layer in networks.layers)
    result = PrunedResult(
        accuracy=test.accuracy,
        validation_accuracy=validation.accuracy,
        loss=test.loss,
        requested_sparsity=networks.layers[0].requested_sparsity,
        measured_sparsity=total_sparsity(networks.layers),
        compression_ratio=size / max(1, size - zeros),
        layers=networks.layers,
        not_pruned=networks.not_pruned,
        **artefacts.pruned.fields,
    )
    return result, probabilities


def _tflite_result(
    artefacts: Artefacts, networks: Networks, data: Data, of_keras: FloatArray, *, interpreters: int
) -> TfliteResult:
    """Load the exported file again and score it on the whole test part, beside Keras.

    Args:
        artefacts: Where the file is.
        networks: The networks it was made of.
        data: Scored on ``data.test``.
        of_keras: Probabilities that Keras gave, (n, classes).
        interpreters: Interpreters that run side by side.
    """
    task = task_of(networks.pruned)
    probabilities = tflite_probabilities(
        artefacts.file, data.test, data.spec, task=task, threads=interpreters
    )
    share, difference = agreement(of_keras, probabilities)
    return TfliteResult(
        kind=artefacts.file.stem.removeprefix("pruned-"),
        file=artefacts.file.name,
        accuracy=score(probabilities, data.test.y).accuracy,
        agreement=share,
        max_difference=difference,
        bytes=artefacts.size.bytes,
        gzip_bytes=artefacts.size.gzip_bytes,
        zip_bytes=artefacts.size.zip_bytes,
    )


def _scores(model: Any, data: Data, name: str) -> tuple[Scores, Scores, FloatArray]:
    """Scores on validation and test part, and the probabilities on the test part."""
    parts = {"validation": data.validation, "test": data.test}
    found = {
        part: keras_probabilities(model, examples, data.spec, description=f"Evaluating {name}, {part}")
        for part, examples in parts.items()
    }
    return score(found["validation"], data.validation.y), score(found["test"], data.test.y), found["test"]
