"""Losses and metrics as Keras wants them: on a network's outputs as they are, for the task that it has."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.models.tasks import Classification, FloatArray, Regression, Task
from pruneflow.runtime import backend

keras: Any = backend.keras()
tf: Any = backend.tensorflow()

CHUNK = 10_000  # examples that a metric takes at a time


def loss(task: Task, name: str) -> Any:
    """The loss to train with, mean over the batch.

    Args:
        name: Of `pruneflow.training.metrics.LOSSES`.
    """
    if isinstance(task, Classification):
        return _loss_of_classes(task, name)
    return _LOSSES_OF_NUMBERS[name]()


def metrics(task: Task, names: Sequence[str]) -> list[Any]:
    """Return the metrics of training: the headline of the task, then those that are named.

    Args:
        names: Of `pruneflow.training.metrics.METRICS`.
    """
    return [_headline(task), *(_OnOutputs(task, name) for name in names)]


def measured(task: Task, name: str, outcome: FloatArray, truth: npt.NDArray[Any]) -> float:
    """The value of a metric over all examples.

    Args:
        name: Of `pruneflow.training.metrics.METRICS`.
        outcome: As `Task.outcome` gives it.
        truth: As `Task.truth` gives it.
    """
    metric = _plain(task, name)
    if isinstance(task, Classification):
        truth = np.eye(task.classes, dtype=np.float32)[truth]
    for start in range(0, len(outcome), CHUNK):
        metric.update_state(truth[start : start + CHUNK], outcome[start : start + CHUNK])
    return float(metric.result())


def _loss_of_classes(task: Classification, name: str) -> Any:
    losses = keras.losses
    if name in ("auto", "crossentropy"):
        if task.units == 1:
            return losses.BinaryCrossentropy(from_logits=task.from_logits)
        return losses.SparseCategoricalCrossentropy(from_logits=task.from_logits)
    if name == "mean_squared_error":
        return _OnProbabilities(task)
    if task.units == 1:
        return losses.BinaryFocalCrossentropy(from_logits=task.from_logits)
    return _OnOneHot(task, losses.CategoricalFocalCrossentropy(from_logits=task.from_logits))


_LOSSES_OF_NUMBERS: dict[str, Callable[[], Any]] = {
    "auto": keras.losses.MeanSquaredError,
    "mean_squared_error": keras.losses.MeanSquaredError,
    "mean_absolute_error": keras.losses.MeanAbsoluteError,
    "huber": keras.losses.Huber,
    "log_cosh": keras.losses.LogCosh,
}


class _OnOneHot(keras.losses.Loss):  # type: ignore[misc]
    """A loss of Keras that wants a column for each class, on class numbers."""

    def __init__(self, task: Classification, inner: Any) -> None:
        super().__init__(name=inner.name)
        self.task, self.inner = task, inner

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each example, (batch,)."""
        return self.inner.call(_one_hot(self.task, y_true), y_pred)


class _OnProbabilities(keras.losses.Loss):  # type: ignore[misc]
    """Mean squared error of the probabilities (Brier 1950)."""

    def __init__(self, task: Classification) -> None:
        super().__init__(name="mean_squared_error")
        self.task = task

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each example, (batch,)."""
        difference = _one_hot(self.task, y_true) - _probabilities(self.task, y_pred)
        return tf.reduce_mean(tf.square(difference), axis=-1)


def _headline(task: Task) -> Any:
    if isinstance(task, Regression):
        metric = keras.metrics.R2Score(name=task.headline)
        metric.build((None, task.units), (None, task.units))
        return metric
    assert isinstance(task, Classification)
    if task.units == 1:
        return keras.metrics.BinaryAccuracy(task.headline, threshold=0.0 if task.from_logits else 0.5)
    return keras.metrics.SparseCategoricalAccuracy(task.headline)


class _OnOutputs(keras.metrics.Metric):  # type: ignore[misc]
    """A metric of what outputs mean, on the outputs."""

    def __init__(self, task: Task, name: str) -> None:
        super().__init__(name=name)
        self.task, self.inner = task, _plain(task, name)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Count a batch."""
        return self.inner.update_state(*_meant(self.task, y_true, y_pred))

    def result(self) -> Any:
        """The metric of all batches so far."""
        return self.inner.result()

    def reset_state(self) -> None:
        """Begin anew."""
        self.inner.reset_state()


def _meant(task: Task, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Return `Task.truth` and `Task.outcome` as tensors; classes as a column each."""
    if isinstance(task, Classification):
        return _one_hot(task, y_true), _probabilities(task, y_pred)
    assert isinstance(task, Regression)
    mean, scale = (tf.constant(values, tf.float32) for values in (task.targets.mean, task.targets.scale))
    return tf.cast(y_true, tf.float32) * scale + mean, tf.cast(y_pred, tf.float32) * scale + mean


def _one_hot(task: Classification, y_true: Any) -> Any:
    return tf.one_hot(tf.cast(tf.reshape(y_true, [-1]), tf.int32), task.classes)


def _probabilities(task: Classification, y_pred: Any) -> Any:
    outputs = tf.cast(y_pred, tf.float32)
    if task.units == 1:
        positive = tf.sigmoid(outputs) if task.from_logits else outputs
        return tf.concat([1 - positive, positive], axis=-1)
    return tf.nn.softmax(outputs) if task.from_logits else outputs


def _plain(task: Task, name: str) -> Any:
    """The metric on truth and outcome; classes as a column each."""
    if name in _OF_NUMBERS:
        return _OF_NUMBERS[name]()
    assert isinstance(task, Classification)
    if name in _OF_CONFUSION:
        return _OfConfusion(task.classes, name)
    if name == "auc":
        return _Auc(task.classes)
    return keras.metrics.TopKCategoricalAccuracy(int(name.split("_")[1]))


_OF_NUMBERS: dict[str, Callable[[], Any]] = {
    "mean_absolute_error": keras.metrics.MeanAbsoluteError,
    "root_mean_squared_error": keras.metrics.RootMeanSquaredError,
    "mean_absolute_percentage_error": keras.metrics.MeanAbsolutePercentageError,
}


class _Auc(keras.metrics.AUC):  # type: ignore[misc]
    """Area under the ROC curve: of class 1 where there are two, else the mean over one against the rest."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        several = {"multi_label": True, "num_labels": classes} if classes > 2 else {}
        super().__init__(name="auc", **several)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Count a batch."""
        if self.classes == 2:
            y_true, y_pred = y_true[:, 1], y_pred[:, 1]
        return super().update_state(y_true, y_pred)


_OF_CONFUSION: dict[str, Callable[[Any, Any, Any], Any]] = {
    "precision": lambda hits, true, predicted: tf.math.divide_no_nan(hits, predicted),
    "recall": lambda hits, true, predicted: tf.math.divide_no_nan(hits, true),
    "f1": lambda hits, true, predicted: tf.math.divide_no_nan(2 * hits, true + predicted),
}


class _OfConfusion(keras.metrics.Metric):  # type: ignore[misc]
    """A figure of each class, from how often it was there, was predicted, and both.

    A class that is never there, or never predicted, counts 0.
    """

    def __init__(self, classes: int, name: str) -> None:
        super().__init__(name=name)
        self.classes = classes
        self.counts = self.add_weight(name="counts", shape=(3, classes), initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Count a batch: ``y_true`` and ``y_pred`` (batch, classes)."""
        true = tf.cast(y_true, tf.float32)
        predicted = tf.one_hot(tf.argmax(y_pred, axis=-1), self.classes)
        counts = [tf.reduce_sum(each, axis=0) for each in (true * predicted, true, predicted)]
        return self.counts.assign_add(tf.stack(counts))

    def result(self) -> Any:
        """Of class 1 where there are two classes, else the mean over the classes."""
        figures = _OF_CONFUSION[self.name](*tf.unstack(self.counts))
        return figures[1] if self.classes == 2 else tf.reduce_mean(figures)

    def reset_state(self) -> None:
        """Begin anew."""
        self.counts.assign(tf.zeros_like(self.counts))
