"""The figures of the winner of a search on the test part, which no run of the search has looked at."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pruneflow.exports.runner import tflite_outcome
from pruneflow.flow.config import Config
from pruneflow.flow.prepare import prepare
from pruneflow.models.tasks import task_of
from pruneflow.runtime import backend
from pruneflow.training.scoring import keras_outcome, paired_drop, score


@dataclass(frozen=True)
class Tested:
    """A file and the dense network on the test part.

    Attributes:
        examples: Examples of it.
        metric: What networks are compared by: accuracy or r2.
        file: Metrics of the file, by name.
        dense: The same of the dense network.
        drop: What the file loses against the dense network, with its standard error, as `PairedDrop`.
    """

    examples: int
    metric: str
    file: dict[str, float]
    dense: dict[str, float]
    drop: dict[str, Any]


def tested(config: Config, folder: Path, kind: str) -> Tested:
    """Measure a file of a finished run, and its dense network, on the test part."""
    ready = prepare(config)
    spec, part, names = ready.data.spec, ready.data.test, tuple(config.trainer.metrics)
    (how,) = (each for each in ready.exports if each.kind == kind)
    with backend.float32():
        model = config.network(spec).build(spec)
    model.load_weights(folder / "dense.h5")
    task = task_of(model, spec)
    said = keras_outcome(model, part, spec, description="Evaluating dense, test")
    file, threads = folder / f"pruned-{kind}.tflite", ready.interpreters
    found = tflite_outcome(file, part, spec, task=task, threads=threads, runner=how.runner)
    truth = task.truth(part.y)
    costs = task.costs(said, truth), task.costs(found, truth)
    drop = paired_drop(*costs, counted=task.headline == "accuracy")
    of_dense, of_file = (score(task, each, part.y, names).metrics for each in (said, found))
    return Tested(len(part), task.headline, of_file, of_dense, asdict(drop))
