"""Everything that a run finds out, as ``result.json`` keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pruneflow.datasets.spec import Data
from pruneflow.exports.encodings import Candidate
from pruneflow.exports.inspection import Inspection
from pruneflow.exports.latency import Timing
from pruneflow.exports.micro import MicroFacts
from pruneflow.exports.sizes import Size
from pruneflow.exports.verdict import Speedup
from pruneflow.flow.contract import Contract
from pruneflow.flow.judgement import Judgement
from pruneflow.flow.store import Stage
from pruneflow.sparsity.measure import WeightSparsity
from pruneflow.sparsity.shared_weights import SharedWeight
from pruneflow.training.metrics import headline_of
from pruneflow.training.scoring import PairedDrop

FORMAT = 3  # raise it when a reader of an older result.json would misread a newer one


@dataclass(frozen=True)
class DataFacts:
    """The data that were measured on: names, origin, SHA-256 of the arrays, examples in each part.

    ``class_names`` is what the data set calls class 0, 1 and so on; empty where it has numbers only.
    ``metric`` is what networks are compared by: accuracy, or r2 for a regression. ``left_out`` names the
    files and rows that could not be read and were left out.
    """

    name: str
    source: str
    note: str
    digest: str
    train: int
    validation: int
    test: int
    class_names: tuple[str, ...] = ()
    metric: str = "accuracy"
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: Data) -> DataFacts:
        """Read the facts off loaded data."""
        return cls(
            data.name,
            data.source,
            data.note,
            data.digest,
            len(data.train),
            len(data.validation),
            len(data.test),
            data.class_names,
            headline_of(data.spec),
            data.left_out,
        )


@dataclass(frozen=True)
class Scored:
    """The metrics of a network or a file.

    Accuracies are shares in [0, 1], on the test part unless named otherwise, null for a regression.
    ``metrics`` has the one that networks are compared by, accuracy or r2, and those that ``trainer.metrics``
    names. All are null where there was nothing to score.
    """

    accuracy: float | None
    validation_accuracy: float | None
    metrics: dict[str, float] | None
    validation_metrics: dict[str, float] | None


@dataclass(frozen=True)
class DenseResult(Scored):
    """The dense baseline; its loss and metrics are null where it was not trained, here or before.

    The loss is cross-entropy in nats, or mean squared error, on the test part. Sizes are those of the network
    as float TFLite and as ``.h5``.
    """

    loss: float | None
    parameters: int
    tflite: Size
    h5: Size


@dataclass(frozen=True)
class PrunedResult(Scored):
    """The pruned network as Keras runs it, and its sizes as float TFLite and as ``.h5``.

    Sparsity and compression ratio are over pruned weights; biases and layers that were left are not counted.
    With zeros on top of a cut, the compression ratio is against these weights before the cut.
    Of ``structure=channel`` the sparsity is the share of the network that was cut out, as `channels` says;
    ``layers`` are those before the cut. With ``sharing.values`` this is the network that shares values, and
    ``sharing.before`` the one before. With ``quantization_aware.epochs`` it is the network that rounds as
    int8 does; its sizes are those of its weights in float32. ``quantization_aware.before`` is the pruned one.
    """

    loss: float | None
    requested_sparsity: float
    measured_sparsity: float
    compression_ratio: float
    tflite: Size
    h5: Size
    layers: list[WeightSparsity]
    not_pruned: dict[str, str]
    wrapped: WrappedResult | None
    channels: ChannelsResult | None = None
    sharing: SharingResult | None = None
    quantization_aware: QuantizationAwareResult | None = None


@dataclass(frozen=True)
class GroupResult:
    """Channels that are counted together: how many there were, and how many are kept."""

    name: str
    units: int
    kept: int


@dataclass(frozen=True)
class LayerResult:
    """A layer before and after the cut: its units (heads and values, both directions apart), multiply-adds
    of one example, parameters.
    """

    name: str
    units: list[GroupResult]
    multiply_adds: tuple[int, int]
    parameters: tuple[int, int]


@dataclass(frozen=True)
class ChannelsResult:
    """The channels cut out of a network: ``requested`` and ``removed`` are shares of ``of``, [0, 1).

    ``multiply_adds`` (of one example) and ``parameters`` are those of the dense network and of the cut one,
    and so for each of ``layers``, of which those are left out that neither multiply nor make units.
    """

    of: str
    requested: float
    removed: float
    multiply_adds: tuple[int, int]
    parameters: tuple[int, int]
    groups: list[GroupResult]
    layers: list[LayerResult] = field(default_factory=list)  # earlier stages have none


@dataclass(frozen=True)
class UnsharedResult(Scored):
    """The pruned network before later stages, as Keras runs it, and its size as float TFLite."""

    tflite: Size


@dataclass(frozen=True)
class SharingResult:
    """Values that weights share: the most of each, epochs of their training, and what there is, counted."""

    values: int
    epochs: int
    weights: list[SharedWeight]
    before: UnsharedResult


@dataclass(frozen=True)
class QuantizationAwareResult:
    """Training for the int8 file: its epochs, and the pruned network before it."""

    epochs: int
    before: UnsharedResult


@dataclass(frozen=True)
class WrappedResult:
    """The pruned network under its masks, and how far the stripped one is from it on the test part."""

    accuracy: float | None
    metrics: dict[str, float] | None
    disagreements: int
    agreement: float
    max_difference: float


@dataclass(frozen=True)
class Parts:
    """The parts of a speedup: ``cut`` is the dense file over the one of the cut network, ``zeros`` that one
    over the file with zeros on top; ``timing`` is of the file of the cut network.
    """

    timing: Timing
    cut: Speedup
    zeros: Speedup


@dataclass(frozen=True)
class LatencyResult:
    """An exported file timed in turn with the baseline of the same kind, in this run and on this machine.

    ``parts`` says what the cut gave and what the zeros, where there are both.
    ``against_float`` compares an int4 file with the float baseline: its arithmetic may be slow.
    """

    dense: Timing
    pruned: Timing
    speedup: Speedup
    verdict: str
    parts: Parts | None = None
    against_float: Speedup | None = None


@dataclass(frozen=True)
class TfliteResult(Scored):
    """One exported file: its metrics, and how far it is from the stripped network in Keras.

    Both networks are compared on the part ``Result.part``.

    ``agreement`` is the share of equal predictions, ``disagreements`` the number of others,
    ``max_difference`` the largest difference in probability, or in a predicted number. ``validation_drop`` is
    what the file loses against Keras on the validation part, in accuracy or r2. ``dense_*`` is the baseline
    exported in the same way, with which ``size_ratios`` compare, like for like. ``theoretical_speedup`` is
    multiply-adds of the baseline over those of this file with weights other than zero. ``against_dense`` is
    what the file loses against the dense network on the validation part, example by example. ``micro`` is
    what a microcontroller needs; None where the file is not made for one. ``sent_bytes`` is the size of
    ``sent``.
    """

    kind: str
    file: str
    sent: str
    encoding: str
    validation_drop: float | None
    disagreements: int
    agreement: float
    max_difference: float
    size: Size
    dense_file: str
    dense_size: Size | None
    size_ratios: dict[str, float]
    encodings: list[Candidate]
    inside: Inspection | None
    theoretical_speedup: float | None
    latency: LatencyResult | None
    stages: dict[str, Stage]
    micro: MicroFacts | None = None
    sent_bytes: int | None = None
    against_dense: PairedDrop | None = None


@dataclass(frozen=True)
class ClassResult:
    """The accuracy of one class, which a network that is good on average may have lost.

    ``accuracy`` is the share of its test examples that are right, by network: ``"dense"`` (where it was
    trained), ``"pruned"``, and each exported file by its kind. ``name`` is the number of the class where it
    has no other.
    """

    name: str
    examples: int
    accuracy: dict[str, float]


@dataclass(frozen=True)
class PhaseCost:
    """Wall seconds of a phase when it was done, and examples per second where it goes through examples."""

    seconds: float
    examples_per_second: float | None = None


@dataclass(frozen=True)
class PlanFacts:
    """The plan of a phase of pruning, in steps of training; ``cut`` is that of the phase before, if any."""

    begin_step: int
    end_step: int
    frequency: int
    updates: int
    total_steps: int
    dense_epochs: int | None = None
    epochs: int | None = None
    dense_batch_size: int | None = None
    batch_size: int | None = None
    cut: PlanFacts | None = None


@dataclass(frozen=True)
class Result:
    """Everything a run found out. docs/results.md has the meaning of each field.

    ``judgement`` and ``contract`` are null in results of before. ``cut`` is the network that the first phase
    has cut, where a second one put zeros on top: ``pruned`` is that network then, and its sparsity is of the
    weights left. ``left_out`` has the kinds of files that could not be made, with the reason. ``part`` is the
    part whose figures are shown: ``"test"``, or ``"validation"`` where the test part was left alone
    (``test_part=false``). Accuracies, losses, metrics and classes of the test part are null or empty then.
    """

    config: dict[str, Any]
    command: str
    versions: dict[str, str]
    device: dict[str, Any]
    seed: int
    data: DataFacts
    plan: PlanFacts
    dense: DenseResult
    pruned: PrunedResult
    tflite: list[TfliteResult]
    ratios: dict[str, float]
    phases: dict[str, PhaseCost]
    stages: dict[str, Stage]
    seconds: float
    peak_memory_bytes: int
    classes: list[ClassResult] = field(default_factory=list)
    judgement: Judgement | None = None
    cut: PrunedResult | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    contract: Contract | None = None
    part: str = "test"
    format: int = FORMAT

    @property
    def examples(self) -> str:
        """The number of examples of the part that is shown, in words, such as ``10,000 test examples``."""
        count = self.data.test if self.part == "test" else self.data.validation
        return f"{count:,} {self.part} examples"

    def metrics(self, network: Scored, part: str | None = None) -> dict[str, float]:
        """Return all metrics of a network by name; none where it was not scored on this part.

        Args:
            network: One of the networks or files of this result.
            part: ``"test"`` or ``"validation"``; None takes the one that this result shows.
        """
        tested = (part or self.part) == "test"
        return (network.metrics if tested else network.validation_metrics) or {}

    def quality(self, network: Scored, part: str | None = None) -> float | None:
        """Return the metric that networks are compared by, accuracy or R2; None where `metrics` has none."""
        return self.metrics(network, part).get(self.data.metric)

    @property
    def sparsity_of(self) -> str:
        """Name the whole of the pruned network's sparsity: ``"cut"`` or ``"zeros"`` of the weights left."""
        return "cut" if self.pruned.channels else "zeros"

    @property
    def nonzero_parameters(self) -> int | None:
        """Parameters of the pruned network other than zeros of pruned weights; None after a cut."""
        return (
            None if self.channels else self.dense.parameters - sum(each.zeros for each in self.pruned.layers)
        )

    @property
    def positions(self) -> int:
        """Positions that a bitmap of the zeros has: the elements of the pruned weights; 0 without zeros."""
        return sum(each.size for each in self.pruned.layers) if self.pruned.measured_sparsity else 0

    @property
    def channels(self) -> ChannelsResult | None:
        """The channels that were cut out of the network; None where none were."""
        return (self.cut or self.pruned).channels


def like_for_like(dense: DenseResult, pruned: PrunedResult, tflite: TfliteResult) -> dict[str, float]:
    """Size ratios, dense over pruned, above 1 where pruning made it smaller.

    ``tflite_gzip``, ``tflite_raw``, ``tflite_zstd`` and ``h5_zip`` compare one format with itself,
    ``export_gzip`` the dense float file with the first exported one. ``guide`` compares as the guide "Pruning
    in Keras" does: the zipped dense ``.h5`` with the zipped exported ``.tflite``.
    """
    of_tflite = dense.tflite.over(pruned.tflite)
    return {
        **{f"tflite_{form}": of_tflite[form] for form in ("gzip", "raw", "zstd")},
        "h5_zip": dense.h5.over(pruned.h5)["zip"],
        "export_gzip": dense.tflite.over(tflite.size)["gzip"],
        "guide": dense.h5.over(tflite.size)["zip"],
    }
