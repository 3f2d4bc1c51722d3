"""Batches: an order fixed by the seed and the epoch, so that any step can be found again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.augmentation import Augmentation, augment
from pruneflow.datasets.reading.decoding import workers
from pruneflow.datasets.rows import Rows
from pruneflow.datasets.spec import Part, Spec
from pruneflow.runtime import backend

PREFETCHED = 2  # batches made ready while a step runs
READERS = 2 + workers() // 2  # batches that are read from files at a time
MOST_BYTES = 1 << 23  # of a batch that is evaluated, where examples lie in files


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Steps of one epoch; the last batch may be smaller.

    >>> steps_per_epoch(54000, 128)
    422
    """
    return -(-examples // batch_size)


def epoch_order(examples: int, seed: tuple[int, ...], epoch: int) -> npt.NDArray[np.int64]:
    """Order of the examples in one epoch.

    Returns:
        (examples,) int64, a permutation that depends on ``seed`` and ``epoch`` only.
    """
    return np.random.default_rng([*seed, epoch]).permutation(examples)


@dataclass(frozen=True)
class Order:
    """The order of the batches of a phase.

    Attributes:
        epochs: Numbers of the epochs.
        batch_size: Examples per batch; the last one of an epoch may be smaller.
        seed: With the number of an epoch, fixes its order.
        skip: Batches of the first epoch to leave out.
        own: Numbers of those whose shares are wanted, one after the other.
    """

    epochs: range
    batch_size: int
    seed: tuple[int, ...]
    skip: int = 0
    replicas: int = 1
    own: range = range(1)

    def shares(self, batch: Sequence[Any]) -> tuple[Any, ...]:
        """Return the shares of a batch.

        A batch that the replicas do not divide, as the last one of an epoch may be, has some of its first
        examples twice.

        Args:
            batch: The places of its examples, (n,), and of a stream their records, (n,).

        Returns:
            Of each the shares of ``own``, (shares, examples), with as many examples as the others have.
        """
        tf = backend.tensorflow()
        count = tf.size(batch[0])
        each = -(-count // self.replicas)
        taken = tf.reshape(tf.range(each * self.replicas) % count, [self.replicas, each])
        return tuple(tf.gather(one, taken[self.own.start : self.own.stop]) for one in batch)

    def number(self, place: Any, first: int) -> Any:
        """Return the number of a share among those of all replicas and steps.

        Args:
            place: Its place among those that are wanted, from 0.
            first: Number of the first step.
        """
        here = len(self.own)
        return (first + place // here) * self.replicas + self.own.start + place % here


def training_batches(part: Part, spec: Spec, order: Order, augmentation: Augmentation | None = None) -> Any:
    """All batches of the epochs in ``order``, each epoch in an order of its own.

    Args:
        augmentation: How examples are changed at random; None leaves them as they are.

    Returns:
        A ``tf.data.Dataset`` of (x, y): x (batch, *shape) as the model reads it, y (batch,) int64; or of
        (x, y, weights) where the part has weights, (batch,) float32. With replicas, of their shares.
    """
    tf = backend.tensorflow()

    def indices(epoch: Any) -> Any:
        if isinstance(part.x, Rows) and (source := part.x.streamed):
            return source.stream(part.x.at, order.seed, epoch).batch(order.batch_size)
        examples = tf.numpy_function(
            lambda e: epoch_order(len(part), order.seed, int(e)), [epoch], tf.int64, stateful=False
        )
        examples = tf.ensure_shape(examples, [len(part)])
        return tf.data.Dataset.from_tensor_slices(examples).batch(order.batch_size)

    epochs = tf.data.Dataset.range(order.epochs.start, order.epochs.stop)
    places = epochs.flat_map(indices).skip(order.skip)
    if order.replicas > 1:
        places = places.flat_map(lambda *batch: tf.data.Dataset.from_tensor_slices(order.shares(batch)))
    batches = _read(places, part, spec, weights=part.weights)
    layers = augmentation.layers() if augmentation else []
    if not layers:
        return batches
    changed = augment(layers, order.seed)
    first = order.epochs.start * steps_per_epoch(len(part), order.batch_size) + order.skip
    numbered = batches.enumerate()
    return numbered.map(
        lambda place, batch: (changed(batch[0], order.number(place, first)), *batch[1:])
    ).prefetch(PREFETCHED)


def evaluation_batches(part: Part, spec: Spec, *, batch_size: int = 500) -> Any:
    """The examples of a part once, in order, as (x, y) batches; smaller ones of large examples in files.

    Each counts once, whatever the weights of the part.
    """
    tf = backend.tensorflow()
    if isinstance(part.x, Rows):
        batch_size = min(batch_size, max(1, MOST_BYTES // (4 * int(np.prod(spec.shape)))))
    return _read(tf.data.Dataset.range(len(part)).batch(batch_size), part, spec)


def _read(dataset: Any, part: Part, spec: Spec, weights: Any = None) -> Any:
    """Look indices up; the same arithmetic as ``Spec.model_input``."""
    tf = backend.tensorflow()
    # tf.data's autotuning thread may sleep on for a minute after the last batch, and its iterator waits for
    # it (TensorFlow 2.21: a phase of 87 s took 143 s). There is nothing to tune in one map and one buffer.
    options = tf.data.Options()
    options.autotune.enabled = False
    look_up = _looked_up(part, spec, weights)
    if isinstance(part.x, Rows):
        # Threads of their own: readers that wait for files must not take those that the steps run on.
        options.threading.private_threadpool_size = READERS + 1
        return dataset.map(look_up, num_parallel_calls=READERS).prefetch(PREFETCHED).with_options(options)
    return dataset.map(look_up).prefetch(PREFETCHED).with_options(options)


def _looked_up(part: Part, spec: Spec, weights: Any) -> Callable[..., tuple[Any, ...]]:
    """A function of tensors: indices (batch,) to (x, y), or (x, y, weights) where weights are given.

    Of a stream it takes numbers (batch,) and records (batch,).
    """
    tf = backend.tensorflow()
    answers, rows = [tf.constant(each) for each in (part.y, weights) if each is not None], part.x
    x, source = (None, rows.streamed) if isinstance(rows, Rows) else (tf.constant(rows), None)
    at = tf.constant(rows.at) if isinstance(rows, Rows) else None

    def from_files(index: Any, *records: Any) -> Any:
        read = source.decoded if source and records else lambda at: rows[at]
        found = tf.numpy_function(read, [index, *records], tf.as_dtype(rows.dtype), stateful=False)
        return tf.ensure_shape(found, [None, *spec.shape])

    def look_up(index: Any, *records: Any) -> tuple[Any, ...]:
        examples = from_files(index, *records) if x is None else tf.gather(x, index)
        if spec.kind == "image":
            examples = spec.scaled(tf.cast(examples, tf.float32))
        if records:
            index = tf.searchsorted(at, index)
        return (examples, *(tf.gather(each, index) for each in answers))

    return look_up
