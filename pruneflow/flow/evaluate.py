"""The stage that evaluates: dense, pruned and exported networks, scored on the same examples."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from pruneflow.datasets.spec import Data, Part
from pruneflow.errors import PruneflowError
from pruneflow.exports.exporters import Int8
from pruneflow.exports.inspection import Inspection
from pruneflow.exports.runner import tflite_outcome
from pruneflow.exports.sizes import Size
from pruneflow.flow.agreement import Rounding, require_agreement
from pruneflow.flow.export import Artefacts, Shipped
from pruneflow.flow.figures import (
    ChannelsResult,
    ClassResult,
    DenseResult,
    LatencyResult,
    PrunedResult,
    QuantizationAwareResult,
    SharingResult,
    TfliteResult,
    UnsharedResult,
    WrappedResult,
)
from pruneflow.flow.networks import Network, Networks
from pruneflow.flow.store import Stage, Store
from pruneflow.models.tasks import Task, task_of
from pruneflow.runtime.files import write_file
from pruneflow.runtime.records import fitted
from pruneflow.runtime.versions import library_versions
from pruneflow.sparsity.measure import WeightSparsity
from pruneflow.sparsity.shared_weights import SharedWeight
from pruneflow.training.metrics import HEADLINES
from pruneflow.training.scoring import (
    FloatArray,
    PairedDrop,
    Scores,
    keras_outcome,
    paired_drop,
    parity,
    score,
)

# Raise it in the commit that changes the figures which the same file and examples give. Evaluation measures
# no time that a result shows as a figure of the network; such a one must never be taken from another machine.
EVALUATE_VERSION = 4

FACTS, OUTCOME = "facts.json", "outcome.npz"
ARRAYS = {"test": "outcome", "validation": "validation_outcome"}  # in that file, by part
VALIDATION_COSTS = "validation_costs"


class AccuracyDropError(PruneflowError):
    """An exported file is less accurate than the network in Keras, by more than is allowed."""


@dataclass(frozen=True)
class Evaluating:
    """The settings of evaluation.

    Attributes:
        interpreters: TFLite interpreters that run side by side.
        rounding: By how much forms of one network may differ.
        test: Whether the test part is scored; otherwise the validation part alone.
    """

    metrics: tuple[str, ...]
    interpreters: int
    rounding: Rounding
    test: bool = True

    @property
    def part(self) -> str:
        """The part on which files are compared with Keras."""
        return "test" if self.test else "validation"


@dataclass(frozen=True)
class Evaluation:
    """Scores by part, of validation and perhaps test, and what the network says of examples, (n, ...).

    ``validation_costs`` has the cost of each validation example, (n,), as `Task.costs` gives it.
    """

    stage: Stage
    scores: dict[str, Scores]
    outcomes: dict[str, FloatArray] = field(repr=False)
    validation_costs: FloatArray = field(repr=False)
    seconds: float


@dataclass(frozen=True)
class Evaluations:
    """Dense, pruned and exported networks.

    Attributes:
        dense: The baseline; None where it was not trained.
        pruned: The stripped network as Keras runs it; after the later stages that are asked for.
        y: Of the test part.
        metrics: Names of those that were asked for beside the headline.
        part: The part on which files are compared with Keras.
        cut: The network that was cut, as Keras runs it; None where no zeros came after.
        before: The stripped network before later stages; None where there are none.
    """

    dense: Evaluation | None
    pruned: Evaluation
    files: dict[str, Evaluation]
    y: Any = field(repr=False)
    task: Task
    metrics: tuple[str, ...]
    part: str
    cut: Evaluation | None = None
    before: Evaluation | None = None

    @property
    def stripped(self) -> Evaluation:
        """The network that was under masks, before all later stages."""
        return self.before or self.pruned

    @property
    def seconds(self) -> float:
        """Seconds of the evaluations when they were done."""
        done = [self.dense, self.cut, self.before, self.pruned, *self.files.values()]
        return sum(evaluation.seconds for evaluation in done if evaluation)

    def classes(self, names: Sequence[str]) -> list[ClassResult]:
        """Return the accuracy of each class in the test part; none of a regression, or without that part.

        Args:
            names: What class 0, 1, ... are called; empty takes their numbers.
        """
        if self.task.headline != "accuracy" or self.part != "test":
            return []
        found = {"dense": self.dense, "pruned": self.stripped, **self.files}
        right = {name: each.outcomes["test"].argmax(axis=1) == self.y for name, each in found.items() if each}
        return [
            ClassResult(
                name=names[label] if names else str(label),
                examples=int((self.y == label).sum()),
                accuracy={name: float(each[self.y == label].mean()) for name, each in right.items()},
            )
            for label in np.unique(self.y)
        ]

    def dense_result(self, network: Network, artefacts: Artefacts) -> DenseResult:
        """Accuracies are None where the baseline was not trained."""
        found = self.dense
        test = found.scores.get("test") if found else None
        return DenseResult(
            **_reached(found),
            loss=test.loss if test else None,
            parameters=network.parameters,
            tflite=artefacts.dense.size,
            h5=network.size,
        )

    def pruned_result(
        self, network: Network, artefacts: Artefacts, cut: PrunedResult | None = None
    ) -> PrunedResult:
        """The pruned network, stripped, beside itself under its masks.

        Args:
            cut: What is known of it before its zeros, where it was cut.
        """
        before = {_name(layer): layer.size for layer in cut.layers} if cut else {}
        found = self._result(network, self.pruned, artefacts.pruned.size, before)
        if not (self.before and artefacts.before):
            return found
        last = UnsharedResult(**_reached(self.before), tflite=artefacts.before.size)
        epochs = network.aware_epochs
        aware = QuantizationAwareResult(epochs, last) if epochs else None
        return replace(found, sharing=_sharing(network, last), quantization_aware=aware)

    def cut_result(self, network: Network | None, artefacts: Artefacts) -> PrunedResult | None:
        """The same of the network that was cut, before zeros came; None where none came."""
        if not (network and self.cut and artefacts.cut):
            return None
        return self._result(network, self.cut, artefacts.cut.size, {})

    def _result(
        self, network: Network, found: Evaluation, tflite: Size, before: Mapping[str, int]
    ) -> PrunedResult:
        layers = network.layers
        kept = sum(layer.size - layer.zeros for layer in layers)
        size = sum(before.get(_name(layer), layer.size) for layer in layers)
        test = found.scores.get("test")
        return PrunedResult(
            **_reached(found),
            loss=test.loss if test else None,
            requested_sparsity=network.requested_sparsity,
            measured_sparsity=network.measured_sparsity,
            compression_ratio=size / max(1, kept),
            layers=layers,
            not_pruned=network.not_pruned,
            channels=fitted(network.channels, ChannelsResult | None),
            wrapped=self._wrapped(network, self.stripped if network.before else found),
            tflite=tflite,
            h5=network.size,
        )

    def _wrapped(self, network: Network, found: Evaluation) -> WrappedResult:
        outcome = network.wrapped
        assert outcome is not None, "a pruned network has it"
        scores = score(self.task, outcome, self.y, self.metrics) if self.part == "test" else None
        apart = parity(self.task, outcome, found.outcomes["test"])
        return WrappedResult(_accuracy(scores), _metrics(scores), **asdict(apart))

    def tflite_result(
        self, shipped: Shipped, inside: Inspection, latency: LatencyResult | None
    ) -> TfliteResult:
        """One exported file, beside the stripped network on the same examples and the baseline's file."""
        found = self.files[shipped.export.kind]
        size, dense = shipped.exported.size, shipped.dense.size
        return TfliteResult(
            **_reached(found),
            kind=shipped.export.kind,
            file=shipped.file.name,
            sent=shipped.sent.name,
            encoding=next(each.encoding for each in shipped.exported.candidates if each.kept),
            validation_drop=self.pruned.scores["validation"].headline - found.scores["validation"].headline,
            against_dense=self._against_dense(found),
            **asdict(parity(self.task, self.pruned.outcomes[self.part], found.outcomes[self.part])),
            size=size,
            dense_file=shipped.dense_file.name,
            dense_size=dense,
            size_ratios=dense.over(size),
            encodings=list(shipped.exported.candidates),
            inside=inside,
            theoretical_speedup=shipped.dense_multiply_adds / max(1, inside.nonzero_multiply_adds),
            latency=latency,
            stages={"export": shipped.exported.stage, "evaluate": found.stage},
            micro=shipped.micro,
            sent_bytes=shipped.sent.stat().st_size,
        )

    def _against_dense(self, found: Evaluation) -> PairedDrop | None:
        """Compare a file with the dense network on the validation part; None where that was not trained."""
        if self.dense is None:
            return None
        counted = self.task.headline == "accuracy"
        return paired_drop(self.dense.validation_costs, found.validation_costs, counted=counted)


def evaluate(
    store: Store, data: Data, networks: Networks, artefacts: Artefacts, how: Evaluating
) -> Evaluations:
    """Score all networks and files on the validation part and, unless it is left alone, the test part.

    Raises:
        DisagreementError: if the network under masks, the stripped one and its float file do not say the same
            of the test part.
        AccuracyDropError: if a file loses more on the validation part than its export allows.
    """
    dense, cut, pruned = networks.dense, networks.cut, networks.pruned
    of_dense = _of_network(store, dense, data, "dense", how) if dense.trained else None
    of_cut = _of_network(store, cut, data, "cut", how) if cut else None
    before = _of_network(store, pruned.unchanged, data, "pruned", how) if pruned.unchanged else None
    of_pruned = _of_network(store, pruned, data, pruned.form, how)
    files = {
        shipped.export.kind: _of_file(store, shipped, pruned, data, how) for shipped in artefacts.shipped
    }
    task = task_of(pruned.model, data.spec)
    found = Evaluations(of_dense, of_pruned, files, data.test.y, task, how.metrics, how.part, of_cut, before)
    _require_one_network(pruned, found, artefacts, how.rounding)
    for shipped in artefacts.shipped:
        _require_quality(shipped, of_pruned.scores, files[shipped.export.kind].scores)
    return found


def _reached(found: Evaluation | None) -> dict[str, Any]:
    validation, test = (found.scores.get(part) if found else None for part in ("validation", "test"))
    return {
        "accuracy": _accuracy(test),
        "validation_accuracy": _accuracy(validation),
        "metrics": _metrics(test),
        "validation_metrics": _metrics(validation),
    }


def _sharing(network: Network, before: UnsharedResult) -> SharingResult | None:
    if not network.shared:
        return None
    weights = fitted(network.shared["weights"], list[SharedWeight])
    return SharingResult(**{**network.shared, "weights": weights}, before=before)


def _name(layer: WeightSparsity) -> str:
    return f"{layer.name}/{layer.weight}"


def _accuracy(scores: Scores | None) -> float | None:
    return scores.metrics.get("accuracy") if scores else None


def _metrics(scores: Scores | None) -> dict[str, float] | None:
    return scores.metrics if scores else None


def _require_one_network(
    pruned: Network, found: Evaluations, artefacts: Artefacts, rounding: Rounding
) -> None:
    """Refuse a stripped network or a float file that is not the network that was trained."""
    in_keras, task = found.pruned.outcomes[found.part], found.task
    if pruned.wrapped is not None:
        forms = "The pruned network under masks and the stripped one"
        require_agreement(forms, (pruned.wrapped, found.stripped.outcomes["test"]), task, rounding)
    for shipped in artefacts.shipped:
        if shipped.export.kind == "float":
            forms = f"The stripped network in Keras and {shipped.file.name}"
            require_agreement(forms, (in_keras, found.files["float"].outcomes[found.part]), task, rounding)


def _require_quality(shipped: Shipped, keras: Mapping[str, Scores], tflite: Mapping[str, Scores]) -> None:
    name = next(iter(keras["validation"].metrics))
    before, after = keras["validation"].headline, tflite["validation"].headline
    allowed = shipped.export.max_accuracy_drop
    if before - after > allowed:
        more = "Raise export.calibration_samples, take" if isinstance(shipped.export, Int8) else "Take"
        label = HEADLINES[name].label
        raise AccuracyDropError(
            f"export.max_accuracy_drop={allowed:g}: {shipped.file.name} loses {before - after:.4f}"
            f"{f' of {label}' if label else ''} on the validation part: {before:.4f} in Keras, {after:.4f} "
            f"in TFLite. {more} another export, or allow more."
        )


def _of_network(store: Store, network: Network, data: Data, name: str, how: Evaluating) -> Evaluation:
    def says(part: str, examples: Part) -> FloatArray:
        return keras_outcome(
            network.as_trained, examples, data.spec, description=f"Evaluating {name}, {part}"
        )

    libraries = library_versions("tensorflow", "numpy")
    inputs = {"libraries": libraries, "network": network.stage.digest}
    proved = network.wrapped is not None and network.before is None
    return _evaluation(store, inputs, lambda: _scored(network, data, how, says, proved=proved), how)


def _of_file(store: Store, shipped: Shipped, network: Network, data: Data, how: Evaluating) -> Evaluation:
    """Load the exported file again and score it on whole parts."""

    def says(part: str, examples: Part) -> FloatArray:
        task = task_of(network.model, data.spec)
        runner, threads = shipped.export.runner, how.interpreters
        return tflite_outcome(shipped.file, examples, data.spec, task=task, threads=threads, runner=runner)

    libraries = library_versions(shipped.export.library, "numpy")
    inputs = {"libraries": libraries, "export": shipped.exported.stage.digest}
    return _evaluation(store, inputs, lambda: _scored(network, data, how, says), how)


def _scored(
    network: Network,
    data: Data,
    how: Evaluating,
    says: Callable[[str, Part], FloatArray],
    *,
    proved: bool = False,
) -> _Scored:
    """Score a network; one that is to be ``proved`` answers the test part too, without its labels."""
    parts = {"validation": data.validation, **({"test": data.test} if how.test or proved else {})}
    task = task_of(network.model, data.spec)
    found = {part: says(part, examples) for part, examples in parts.items()}
    scored = parts if how.test else ("validation",)
    scores = {part: score(task, found[part], parts[part].y, how.metrics) for part in scored}
    costs = task.costs(found["validation"], task.truth(data.validation.y))
    kept = {part: outcome for part, outcome in found.items() if part in ("test", how.part)}
    return scores, {**{ARRAYS[part]: outcome for part, outcome in kept.items()}, VALIDATION_COSTS: costs}


_Scored: TypeAlias = tuple[dict[str, Scores], dict[str, FloatArray]]


def _evaluation(
    store: Store, inputs: dict[str, Any], run: Callable[[], _Scored], how: Evaluating
) -> Evaluation:
    asked = {"metrics": list(how.metrics)} if how.metrics else {}
    asked |= {} if how.test else {"parts": ["validation"]}
    with store.held("evaluate", {"version": EVALUATE_VERSION, **inputs, **asked}) as held:
        if held.missing:
            with held.making() as folder:
                _keep(run, folder)
        return _kept(held.stage)


def _keep(run: Callable[[], _Scored], folder: Path) -> None:
    start = time.perf_counter()
    scores, arrays = run()
    seconds = time.perf_counter() - start
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    write_file(folder / OUTCOME, content.getvalue())
    facts = {"seconds": seconds, "scores": {part: asdict(found) for part, found in scores.items()}}
    write_file(folder / FACTS, json.dumps(facts).encode())


def _kept(stage: Stage) -> Evaluation:
    folder = Path(stage.path)
    facts = json.loads((folder / FACTS).read_bytes())
    scores = {part: Scores(**found) for part, found in facts["scores"].items()}
    with np.load(folder / OUTCOME, allow_pickle=False) as arrays:
        said = {part: arrays[name] for part, name in ARRAYS.items() if name in arrays.files}
        return Evaluation(stage, scores, said, arrays[VALIDATION_COSTS], facts["seconds"])
