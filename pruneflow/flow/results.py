"""What a run leaves behind: ``result.json``, written whole or not at all."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pruneflow import __version__
from pruneflow.datasets.spec import Data
from pruneflow.errors import PruneflowError
from pruneflow.exports.encodings import Candidate
from pruneflow.exports.inspection import Inspection
from pruneflow.exports.latency import Timing
from pruneflow.exports.micro import MicroFacts
from pruneflow.exports.verdict import Speedup
from pruneflow.flow.contract import Contract
from pruneflow.flow.judgement import Judgement
from pruneflow.flow.plausible import require_plausible
from pruneflow.flow.store import Stage
from pruneflow.runtime.files import write_file
from pruneflow.runtime.records import read_json, require_fits
from pruneflow.runtime.terminal import warn
from pruneflow.sparsity.measure import WeightSparsity
from pruneflow.sparsity.shared_weights import SharedWeight
from pruneflow.training.metrics import headline_of
from pruneflow.training.scoring import PairedDrop

__all__ = [
    "FORMAT",
    "ChannelsResult",
    "ClassResult",
    "DataFacts",
    "DenseResult",
    "GroupResult",
    "LatencyResult",
    "LayerResult",
    "Parts",
    "PhaseCost",
    "PrunedResult",
    "QuantizationAwareResult",
    "Result",
    "SharingResult",
    "TfliteResult",
    "UnsharedResult",
    "WrappedResult",
    "finished",
    "like_for_like",
    "read",
]

FORMAT = 2  # raise it when a reader of an older result.json would misread a newer one
LATER = ("metrics", "validation_metrics", "expected")  # fields that the first results of this format lack


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
class DenseResult:
    """The dense baseline; accuracies, loss and metrics are null where it was not trained, here or before.

    Accuracies are shares in [0, 1], on the test part unless named otherwise, null for a regression; the loss
    is cross-entropy in nats, or mean squared error. ``metrics`` has the one that networks are compared by,
    accuracy or r2, and those that ``trainer.metrics`` names.
    """

    accuracy: float | None
    validation_accuracy: float | None
    loss: float | None
    metrics: dict[str, float] | None
    validation_metrics: dict[str, float] | None
    parameters: int
    tflite_bytes: int
    tflite_gzip_bytes: int
    tflite_zip_bytes: int
    tflite_zstd_bytes: int
    h5_bytes: int
    h5_gzip_bytes: int
    h5_zip_bytes: int
    h5_zstd_bytes: int


@dataclass(frozen=True)
class PrunedResult:
    """The pruned network as Keras runs it, and its sizes as float TFLite and as ``.h5``.

    Sparsity and compression ratio are over pruned weights; biases and layers that were left are not counted.
    With zeros on top of a cut, the compression ratio is against these weights before the cut.
    Of ``structure=channel`` the sparsity is the share of the network that was cut out, as `channels` says;
    ``layers`` are those before the cut. With ``sharing.values`` this is the network that shares values, and
    ``sharing.before`` the one before. With ``quantization_aware.epochs`` it is the network that rounds as
    int8 does; its sizes are those of its weights in float32. ``quantization_aware.before`` is the pruned one.
    """

    accuracy: float | None
    validation_accuracy: float | None
    loss: float | None
    metrics: dict[str, float] | None
    validation_metrics: dict[str, float]
    requested_sparsity: float
    measured_sparsity: float
    compression_ratio: float
    tflite_bytes: int
    tflite_gzip_bytes: int
    tflite_zip_bytes: int
    tflite_zstd_bytes: int
    h5_bytes: int
    h5_gzip_bytes: int
    h5_zip_bytes: int
    h5_zstd_bytes: int
    layers: list[WeightSparsity]
    not_pruned: dict[str, str]
    wrapped: WrappedResult
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
    multiply_adds: list[int]
    parameters: list[int]

    @classmethod
    def of_facts(cls, facts: dict[str, Any]) -> LayerResult:
        """Read it as a plan describes it."""
        return cls(**{**facts, "units": [GroupResult(**units) for units in facts["units"]]})


@dataclass(frozen=True)
class ChannelsResult:
    """The channels cut out of a network: ``requested`` and ``removed`` are shares of ``of``, [0, 1).

    ``multiply_adds`` (of one example) and ``parameters`` are those of the dense network and of the cut one,
    and so for each of ``layers``, of which those are left out that neither multiply nor make units.
    """

    of: str
    requested: float
    removed: float
    multiply_adds: list[int]
    parameters: list[int]
    groups: list[GroupResult]
    layers: list[LayerResult] = field(default_factory=list)

    @classmethod
    def of_cut(cls, facts: dict[str, Any] | None) -> ChannelsResult | None:
        """Read it as a stage has kept it; None where nothing was cut."""
        if facts is None:
            return None
        groups = [GroupResult(**group) for group in facts["groups"]]
        layers = [LayerResult.of_facts(each) for each in facts.get("layers", [])]  # earlier stages have none
        return cls(**{**facts, "groups": groups, "layers": layers})


@dataclass(frozen=True)
class UnsharedResult:
    """The pruned network before later stages, as Keras runs it, and its sizes as float TFLite."""

    accuracy: float | None
    validation_accuracy: float | None
    metrics: dict[str, float] | None
    validation_metrics: dict[str, float]
    tflite_bytes: int
    tflite_gzip_bytes: int
    tflite_zip_bytes: int
    tflite_zstd_bytes: int


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
class TfliteResult:
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
    accuracy: float | None
    validation_accuracy: float | None
    metrics: dict[str, float] | None
    validation_metrics: dict[str, float]
    validation_drop: float
    disagreements: int
    agreement: float
    max_difference: float
    bytes: int
    gzip_bytes: int
    zip_bytes: int
    zstd_bytes: int
    dense_file: str
    dense_bytes: int
    dense_gzip_bytes: int
    dense_zip_bytes: int
    dense_zstd_bytes: int
    size_ratios: dict[str, float]
    encodings: list[Candidate]
    inside: Inspection
    theoretical_speedup: float
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
    plan: dict[str, Any]
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

    def write(self, run_dir: Path) -> Path:
        """Write ``run_dir/result.json``."""
        path = run_dir / "result.json"
        text = json.dumps(asdict(self), indent=2, allow_nan=False)
        write_file(path, (text + "\n").encode())
        return path


def like_for_like(dense: DenseResult, pruned: PrunedResult, tflite: TfliteResult) -> dict[str, float]:
    """Size ratios, dense over pruned, above 1 where pruning made it smaller.

    ``tflite_gzip``, ``tflite_raw``, ``tflite_zstd`` and ``h5_zip`` compare one format with itself,
    ``export_gzip`` the dense float file with the first exported one. ``guide`` compares as the guide "Pruning
    in Keras" does: the zipped dense ``.h5`` with the zipped exported ``.tflite``.
    """
    return {
        "tflite_gzip": dense.tflite_gzip_bytes / pruned.tflite_gzip_bytes,
        "tflite_raw": dense.tflite_bytes / pruned.tflite_bytes,
        "tflite_zstd": dense.tflite_zstd_bytes / pruned.tflite_zstd_bytes,
        "h5_zip": dense.h5_zip_bytes / pruned.h5_zip_bytes,
        "export_gzip": dense.tflite_gzip_bytes / tflite.gzip_bytes,
        "guide": dense.h5_zip_bytes / tflite.zip_bytes,
    }


def read(run_dir: Path) -> dict[str, Any]:
    """Read ``run_dir/result.json`` as plain dictionaries, of which tables and pages can be made.

    Raises:
        FileNotFoundError: if the run has not finished.
        PruneflowError: if the file is not a result, not a whole one, or one of another format.
    """
    path = run_dir / "result.json"
    found = _read(path)
    if found["format"] != FORMAT:
        raise PruneflowError(
            f"{path} has format {reprlib.repr(found['format'])}, and pruneflow {__version__} reads format "
            f"{FORMAT}. Read it with the version that wrote it, or run again."
        )
    try:
        require_fits(found, Result, later=LATER)
        require_plausible(found)
    except ValueError as error:
        raise PruneflowError(f"{path} is not whole: {error}. Delete it, or run again.") from error
    return found


def _read(path: Path) -> dict[str, Any]:
    """Any object with a format."""
    try:
        found = read_json(path)
        require_fits(found, dict)
        require_fits(found.get("format"), int, "format")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise PruneflowError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
    except ValueError as error:
        raise PruneflowError(
            f"{path} is not a result of pruneflow: {error}. Delete it, or run again."
        ) from error
    return dict(found)


def finished(
    run_dir: Path, config: dict[str, Any], usual: Callable[[Collection[str]], Mapping[str, Any]] | None = None
) -> dict[str, Any] | None:
    """The result of a run that ended before, in a folder that is taken up; None where there is no whole one.

    Args:
        run_dir: Folder of the run.
        config: Its settings, nested; where stages are kept does not matter.
        usual: Gives the settings that nobody typed, nested, with the groups of the names that it is given as
            they are chosen; results of before there was a key have had its default.

    Raises:
        PruneflowError: if the folder holds the result of other settings.
    """
    try:
        result = read(run_dir)
    except FileNotFoundError:
        return None
    except PruneflowError as error:
        warn(f"The run is carried out anew. {error}")
        return None
    wanted = json.loads(json.dumps({**config, "stages": None}))
    kept = {**result["config"], "stages": None}
    if usual and kept != wanted:
        kept = _completed(kept, wanted, usual(list(kept)))
    if kept != wanted:
        raise PruneflowError(
            f"{run_dir} holds the result of other settings. Name another folder, or delete it."
        )
    return result


def _completed(
    kept: Mapping[str, Any], wanted: Mapping[str, Any], usual: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings of before, with the defaults of keys that came later.

    >>> _completed({"a": {"b": 1}}, {"a": {"b": 2, "c": 3}, "d": 4}, {"a": {"b": 5, "c": 6}, "d": 7})
    {'a': {'b': 1, 'c': 6}, 'd': 7}
    """
    found = dict(kept)
    for key, value in wanted.items():
        if key not in kept and key in usual:
            found[key] = usual[key]
        elif isinstance(value, dict) and isinstance(kept.get(key), dict):
            found[key] = _completed(kept[key], value, usual.get(key) or {})
    return found
