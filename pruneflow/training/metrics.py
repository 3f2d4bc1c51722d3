"""Losses and metrics that have a name: which there are, for which task, and which way is better."""

from collections.abc import Sequence
from dataclasses import dataclass

from pruneflow.datasets.spec import Spec
from pruneflow.errors import ConfigError
from pruneflow.options import require

CLASSES, NUMBERS = "classes", "numbers"
TASKS = {CLASSES: "a classification", NUMBERS: "a regression"}


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        task: ``"classes"`` or ``"numbers"``.
        higher_is_better: Which way is better.
        meaning: What it is, a sentence.
        label: What tables and charts call it; empty for its name.
    """

    task: str
    higher_is_better: bool
    meaning: str
    label: str = ""


HEADLINES = {
    "accuracy": Metric(CLASSES, True, "Share of examples whose most probable class is the label."),
    "r2": Metric(
        NUMBERS,
        True,
        "Coefficient of determination, mean over the targets: 1 is perfect, 0 as good as their mean.",
        label="R2",
    ),
}
"""The one metric of each task that tables, charts and searches compare by."""

_OF_CLASS = "of class 1 where there are two classes, else the mean over the classes"

METRICS = {
    "precision": Metric(CLASSES, True, f"Share of the predictions of a class that are right, {_OF_CLASS}."),
    "recall": Metric(CLASSES, True, f"Share of the examples of a class that are found, {_OF_CLASS}."),
    "f1": Metric(CLASSES, True, f"Harmonic mean of precision and recall, {_OF_CLASS}."),
    "auc": Metric(
        CLASSES,
        True,
        "Area under the ROC curve from 200 thresholds, as Keras has it; mean over the classes where there "
        "are more than two.",
    ),
    "top_3_accuracy": Metric(CLASSES, True, "Share of examples whose label is among the 3 most probable."),
    "top_5_accuracy": Metric(CLASSES, True, "Share of examples whose label is among the 5 most probable."),
    "mean_absolute_error": Metric(NUMBERS, False, "Mean absolute error, in the units of the data."),
    "root_mean_squared_error": Metric(
        NUMBERS, False, "Root of the mean squared error, in the units of the data."
    ),
    "mean_absolute_percentage_error": Metric(
        NUMBERS, False, "Mean absolute error as a percentage of the true number, which must not be 0."
    ),
}
"""Metrics that ``trainer.metrics`` may name beside the headline."""

LOSSES = {
    "auto": "",
    "crossentropy": CLASSES,
    "focal_crossentropy": CLASSES,
    "mean_squared_error": "",
    "mean_absolute_error": NUMBERS,
    "huber": NUMBERS,
    "log_cosh": NUMBERS,
}
"""Losses that ``trainer.loss`` may name, and the task that each is for; empty for both."""


def metric(name: str) -> Metric:
    """Any metric by its name."""
    return {**HEADLINES, **METRICS}[name]


def meaning_of(name: str) -> str:
    """Return the meaning of a metric, a sentence; empty for one of a newer version."""
    return metric(name).meaning if name in {**HEADLINES, **METRICS} else ""


def label_of(name: str) -> str:
    """Return the name of a metric in tables and charts."""
    return HEADLINES[name].label or name if name in HEADLINES else name.replace("_", " ")


def headline_of(spec: Spec) -> str:
    """Name of the metric that sums up how good a network for such data is."""
    return next(name for name, each in HEADLINES.items() if each.task == _task(spec))


def check_names(loss: str, metrics: Sequence[str], monitor: str) -> None:
    """Refuse names that no task has.

    Args:
        loss: ``trainer.loss``.
        metrics: ``trainer.metrics``.
        monitor: ``trainer.early_stopping.monitor``.
    """
    _require_known("loss", loss, list(LOSSES), "auto follows from the task.")
    allowed = f"allowed are {', '.join(METRICS)}, each once"
    fits = len(set(metrics)) == len(metrics) and set(metrics) <= set(METRICS)
    require(fits, "trainer.metrics", list(metrics), allowed, "Give a list of them, or [].")
    monitors = ["loss", *HEADLINES, *metrics]
    _require_known("early_stopping.monitor", monitor, monitors, "Others must be in trainer.metrics too.")


def check_task(spec: Spec, loss: str, metrics: Sequence[str], monitor: str | None) -> None:
    """Refuse names that are of another task than the data.

    Args:
        loss: ``trainer.loss``.
        metrics: ``trainer.metrics``.
        monitor: ``trainer.early_stopping.monitor``; None where nothing stops early.
    """
    task = _task(spec)
    if LOSSES[loss] not in ("", task):
        fitting = [name for name, of in LOSSES.items() if of in ("", task)]
        raise _of_other_task("loss", loss, task, fitting)
    for name in metrics:
        if METRICS[name].task != task:
            raise _of_other_task("metrics", name, task, _names(task))
        if name.startswith("top_") and int(name.split("_")[1]) >= spec.classes:
            raise ConfigError.of(
                "trainer.metrics",
                name,
                f"the data set has {spec.classes} classes, so that it would always be 1",
                "Leave it out.",
            )
    if monitor not in (None, "loss") and metric(str(monitor)).task != task:
        raise _of_other_task("early_stopping.monitor", str(monitor), task, ["loss", headline_of(spec)])


def _task(spec: Spec) -> str:
    return NUMBERS if spec.targets else CLASSES


def _names(task: str) -> list[str]:
    return [name for name, each in METRICS.items() if each.task == task]


def _require_known(key: str, value: str, allowed: Sequence[str], remedy: str) -> None:
    require(value in allowed, f"trainer.{key}", value, f"allowed are {', '.join(allowed)}", remedy)


def _of_other_task(key: str, value: str, task: str, allowed: Sequence[str]) -> ConfigError:
    problem = f"the data set is {TASKS[task]}, for which it means nothing"
    return ConfigError.of(f"trainer.{key}", value, problem, f"Take {' or '.join(allowed)}.")
