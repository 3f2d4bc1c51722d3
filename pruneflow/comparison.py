"""The stage that evaluates: dense, pruned and exported networks, scored on the same examples."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pruneflow.artefacts import Artefacts, Shipped
from pruneflow.data import Data
from pruneflow.errors import PruneflowError
from pruneflow.files import write_file
from pruneflow.inspection import Inspection
from pruneflow.networks import Network
from pruneflow.results import (
    DenseResult,
    LatencyResult,
    PrunedResult,
    TfliteResult,
    WrappedResult,
    library_versions,
)
from pruneflow.scoring import FloatArray, Scores, keras_probabilities, parity, score, tflite_probabilities
from pruneflow.sizes import Size
from pruneflow.sparsity.measure import total_sparsity
from pruneflow.stages import Stage, Store
from pruneflow.tasks import task_of

__all__ = ["EVALUATE_VERSION", "AccuracyDropError", "Evaluation", "Evaluations", "evaluate"]

# Raise it in the commit that changes the figures which the same file and examples give. Evaluation measures
# no time that a result shows as a figure of the network; such a one must never be taken from another machine.
EVALUATE_VERSION = 2

FACTS, PROBABILITIES = "facts.json", "probabilities.npz"


class AccuracyDropError(PruneflowError):
    """An exported file is less accurate than the network in Keras, by more than is allowed."""


@dataclass(frozen=True)
class Evaluation:
    """Scores on the validation and the test part, and the probabilities on the test part, (n, classes)."""

    stage: Stage
    scores: dict[str, Scores]
    probabilities: FloatArray = field(repr=False)
    seconds: float


@dataclass(frozen=True)
class Evaluations:
    """Dense, pruned and exported networks.

    Attributes:
        dense: The baseline; None where it was not trained.
        pruned: The stripped network as Keras runs it.
        files: The exported files, by kind.
        labels: Of the test part, (n,).
    """

    dense: Evaluation | None
    pruned: Evaluation
    files: dict[str, Evaluation]
    labels: Any = field(repr=False)

    @property
    def seconds(self) -> float:
        """What the evaluations took, when they were done."""
        done = [self.dense, self.pruned, *self.files.values()]
        return sum(evaluation.seconds for evaluation in done if evaluation)

    def dense_result(self, network: Network, artefacts: Artefacts) -> DenseResult:
        """Accuracies are None where the baseline was not trained."""
        found = self.dense
        validation, test = (found.scores["validation"], found.scores["test"]) if found else (None, None)
        return DenseResult(
            accuracy=test.accuracy if test else None,
            validation_accuracy=validation.accuracy if validation else None,
            loss=test.loss if test else None,
            parameters=network.parameters,
            **_sizes(tflite=artefacts.dense.size, h5=network.size),
        )

    def pruned_result(self, network: Network, artefacts: Artefacts) -> PrunedResult:
        """The pruned network, stripped, beside itself with tfmot's wrappers."""
        layers, found = network.layers, self.pruned
        size = sum(layer.size for layer in layers)
        zeros = sum(layer.zeros for layer in layers)
        return PrunedResult(
            accuracy=found.scores["test"].accuracy,
            validation_accuracy=found.scores["validation"].accuracy,
            loss=found.scores["test"].loss,
            requested_sparsity=network.requested_sparsity,
            measured_sparsity=total_sparsity(layers),
            compression_ratio=size / max(1, size - zeros),
            layers=layers,
            not_pruned=network.not_pruned,
            wrapped=self._wrapped(network),
            **_sizes(tflite=artefacts.pruned.size, h5=network.size),
        )

    def _wrapped(self, network: Network) -> WrappedResult:
        probabilities = network.wrapped
        assert probabilities is not None, "a pruned network has them"
        accuracy = score(probabilities, self.labels).accuracy
        return WrappedResult(accuracy, **asdict(parity(probabilities, self.pruned.probabilities)))

    def tflite_result(
        self, shipped: Shipped, inside: Inspection, latency: LatencyResult | None
    ) -> TfliteResult:
        """One exported file, beside the stripped network on the same examples and the baseline's file."""
        found = self.files[shipped.export.kind]
        size, dense = shipped.exported.size, shipped.dense.size
        accuracy = found.scores["validation"].accuracy
        return TfliteResult(
            kind=shipped.export.kind,
            file=shipped.file.name,
            sent=shipped.sent.name,
            encoding=next(each.encoding for each in shipped.exported.candidates if each.kept),
            accuracy=found.scores["test"].accuracy,
            validation_accuracy=accuracy,
            validation_drop=self.pruned.scores["validation"].accuracy - accuracy,
            **asdict(parity(self.pruned.probabilities, found.probabilities)),
            **asdict(size),
            dense_file=shipped.dense_file.name,
            **_sizes(dense=dense),
            size_ratios=_ratios(dense, size),
            encodings=list(shipped.exported.candidates),
            inside=inside,
            theoretical_speedup=inside.multiply_adds / max(1, inside.nonzero_multiply_adds),
            latency=latency,
            stages={"export": shipped.exported.stage, "evaluate": found.stage},
        )


def evaluate(
    store: Store, data: Data, networks: tuple[Network, Network], artefacts: Artefacts, *, interpreters: int
) -> Evaluations:
    """Score all networks and files on the validation and the test part.

    Args:
        store: Where finished evaluations are kept.
        data: The examples.
        networks: The dense and the pruned network.
        artefacts: The exported files.
        interpreters: TFLite interpreters that run side by side.

    Raises:
        AccuracyDropError: if a file loses more on the validation part than its export allows.
    """
    dense, pruned = networks
    of_dense = _of_network(store, dense, data, "dense") if dense.trained else None
    of_pruned = _of_network(store, pruned, data, "pruned")
    files = {
        shipped.export.kind: _of_file(store, shipped, pruned, data, interpreters=interpreters)
        for shipped in artefacts.shipped
    }
    found = Evaluations(of_dense, of_pruned, files, data.test.y)
    for shipped in artefacts.shipped:
        _require_accuracy(shipped, of_pruned.scores, files[shipped.export.kind].scores)
    return found


def _require_accuracy(shipped: Shipped, keras: Mapping[str, Scores], tflite: Mapping[str, Scores]) -> None:
    before, after = keras["validation"].accuracy, tflite["validation"].accuracy
    allowed = shipped.export.max_accuracy_drop
    if before - after > allowed:
        more = "Raise export.calibration_samples, take" if shipped.export.kind == "int8" else "Take"
        raise AccuracyDropError(
            f"export.max_accuracy_drop={allowed:g}: {shipped.file.name} loses {before - after:.4f} on the "
            f"validation part: {before:.4f} in Keras, {after:.4f} in TFLite. {more} another export, or "
            "allow more."
        )


def _ratios(dense: Size, size: Size) -> dict[str, float]:
    """Dense over pruned, for each form of a file."""
    pruned = asdict(size)
    return {
        key.removesuffix("bytes").rstrip("_") or "raw": value / pruned[key]
        for key, value in asdict(dense).items()
    }


def _sizes(**files: Size) -> dict[str, int]:
    """Sizes by name, such as ``tflite_bytes`` to ``h5_zip_bytes``."""
    return {f"{name}_{key}": value for name, size in files.items() for key, value in asdict(size).items()}


def _of_network(store: Store, network: Network, data: Data, name: str) -> Evaluation:
    def run() -> tuple[dict[str, Scores], FloatArray]:
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
    return _evaluation(store, inputs, run)


def _of_file(
    store: Store, shipped: Shipped, network: Network, data: Data, *, interpreters: int
) -> Evaluation:
    """Load the exported file again and score it on the whole validation and test part."""

    def run() -> tuple[dict[str, Scores], FloatArray]:
        parts = {"validation": data.validation, "test": data.test}
        task = task_of(network.model)
        found = {
            part: tflite_probabilities(shipped.file, examples, data.spec, task=task, threads=interpreters)
            for part, examples in parts.items()
        }
        return {part: score(found[part], examples.y) for part, examples in parts.items()}, found["test"]

    inputs = {
        "version": EVALUATE_VERSION,
        "libraries": library_versions("ai-edge-litert", "numpy"),
        "export": shipped.exported.stage.digest,
    }
    return _evaluation(store, inputs, run)


def _evaluation(
    store: Store, inputs: dict[str, Any], run: Callable[[], tuple[dict[str, Scores], FloatArray]]
) -> Evaluation:
    def make(folder: Path) -> None:
        start = time.perf_counter()
        scores, probabilities = run()
        seconds = time.perf_counter() - start
        content = io.BytesIO()
        np.savez_compressed(content, probabilities=probabilities)
        write_file(folder / PROBABILITIES, content.getvalue())
        facts = {"seconds": seconds, "scores": {part: asdict(found) for part, found in scores.items()}}
        write_file(folder / FACTS, json.dumps(facts).encode())

    def read(stage: Stage) -> Evaluation:
        folder = Path(stage.path)
        facts = json.loads((folder / FACTS).read_text())
        scores = {part: Scores(**found) for part, found in facts["scores"].items()}
        with np.load(folder / PROBABILITIES, allow_pickle=False) as arrays:
            probabilities = arrays["probabilities"]
        return Evaluation(stage, scores, probabilities, facts["seconds"])

    return store.get("evaluate", inputs, make=make, read=read)[1]
