"""The replicas that train together: devices of this process, or of several worker processes."""

import signal
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from pruneflow.errors import PruneflowError
from pruneflow.runtime import backend, signals
from pruneflow.runtime.cluster import Cluster

BEGINS = b'{"begins": "training"}'  # a message of the chief, as others are

T = TypeVar("T")
Array = npt.NDArray[Any]


class WorkerLostError(PruneflowError):
    """A worker process is gone, or cannot be reached."""


class CalledOffError(Exception):
    """The chief does not begin the training that this worker waits in.

    Attributes:
        said: What the chief says in place of that it begins.
    """

    def __init__(self, said: bytes) -> None:
        super().__init__(said)
        self.said = said


class Replicas:
    """Copies of a network, each on a device, that take a share of each batch and the same steps.

    Attributes:
        strategy: The ``tf.distribute.Strategy``.
        workers: Number of processes.
        worker: Place of this process among them; 0 is the chief, which alone writes.
        count: Number of replicas in all processes.
    """

    def __init__(self, strategy: Any, *, worker: int = 0, workers: int = 1) -> None:
        self.strategy, self.worker, self.workers = strategy, worker, workers
        self.count: int = strategy.num_replicas_in_sync
        self.in_step = False  # whether other workers count on this one for a training step

    @property
    def layout(self) -> dict[str, int]:
        """Return the numbers of replicas and of processes, which decide bits."""
        return {"replicas": self.count, "workers": self.workers}

    @property
    def is_chief(self) -> bool:
        """Return whether this process writes."""
        return self.worker == 0

    @property
    def own(self) -> range:
        """Return the numbers of the replicas of this process."""
        here = self.count // self.workers
        return range(self.worker * here, (self.worker + 1) * here)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Have what is built and trained in the block be on all replicas.

        Other workers hold on to each step. So signals wait for `agreed`, and a step that was left in its
        middle is never followed by a message.

        Raises:
            CalledOffError: if the chief ends in place of training.
            WorkerLostError: if a worker is gone.
        """
        if (said := self.told(BEGINS)) != BEGINS:
            raise CalledOffError(said)
        waiting = signals.postponed() if self.workers > 1 else nullcontext()
        self.in_step = True
        with self.strategy.scope(), self._reached(), waiting:
            yield
        self.in_step = False

    def feed(self, batches: Any) -> Any:
        """Return the batches of the replicas of this process, in turn, as Keras takes them.

        Args:
            batches: A ``tf.data.Dataset``, which is never exhausted.
        """
        return self.strategy.distribute_datasets_from_function(lambda _: batches)

    def exchanged(self, content: bytes) -> list[bytes]:
        """Return what every worker gives to this call, in their order; all of them must call it.

        Raises:
            WorkerLostError: if a worker is gone.
        """
        if self.workers == 1:
            return [content]
        sizes = self._total(np.eye(self.workers, dtype=np.int64)[self.worker] * len(content))
        if not sizes.any():  # of which TensorFlow 2.21 crashes
            return [b""] * self.workers
        ends = np.cumsum([-(-int(size) // 8) for size in sizes])
        numbers, begin = np.zeros(int(ends[-1]), np.int64), int(ends[self.worker])
        padded = np.frombuffer(content + bytes(-len(content) % 8), np.int64)
        numbers[begin - len(padded) : begin] = padded
        parts = np.split(self._total(numbers), ends[:-1])
        return [part.tobytes()[: int(size)] for part, size in zip(parts, sizes, strict=True)]

    def told(self, content: bytes) -> bytes:
        """Return what the chief gives to this call; all workers must call it."""
        return self.exchanged(content if self.is_chief else b"")[0]

    def agreed(self, wish: bool) -> bool:
        """Return what the chief wishes; a signal that any worker holds back is answered by all of them."""
        if self.workers == 1:
            return wish
        said = self.exchanged(struct.pack("?i", wish, signals.held()))
        numbers = [struct.unpack("?i", each) for each in said]
        number = next((number for _, number in numbers if number), 0)
        if number:
            signals.answer_held(number)
        return bool(numbers[0][0])

    def _total(self, numbers: Array) -> Array:
        """Add up whole numbers, (n,) int64, of all workers."""
        with self._reached():
            total: Array = _waited(lambda: self._all_reduced(numbers).numpy())
        return total

    @cached_property
    def _all_reduced(self) -> Callable[[Array], Any]:
        tf, here = backend.tensorflow(), len(self.own)

        def on_replica(numbers: Any) -> Any:
            context = tf.distribute.get_replica_context()
            first = tf.cast(context.replica_id_in_sync_group % here == 0, tf.int64)
            return context.all_reduce("SUM", numbers * first)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])  # type: ignore[untyped-decorator]
        def total(numbers: Any) -> Any:
            found = self.strategy.run(on_replica, (numbers,))
            return self.strategy.experimental_local_results(found)[0]

        return total  # type: ignore[no-any-return]

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Say that a worker is gone where TensorFlow says that a connection is."""
        try:
            yield
        except backend.tensorflow().errors.OpError as error:
            if self.workers == 1 or not _is_of_connection(error):
                raise
            raise WorkerLostError(
                "device.strategy=multi_worker: another worker has ended, or cannot be reached. Type the same "
                "command on all of them: it goes on from the last checkpoint."
            ) from error


def _is_of_connection(error: Any) -> bool:
    errors = backend.tensorflow().errors
    kinds = (errors.UnavailableError, errors.AbortedError, errors.CancelledError)
    return isinstance(error, kinds) or "Collective ops is aborted" in str(error)


def _waited(function: Callable[[], T]) -> T:
    """Call a function that waits for other workers in C++; signals that are not held back end that."""
    if threading.current_thread() is not threading.main_thread():
        return function()
    found: list[T] = []
    raised: list[BaseException] = []

    def call() -> None:
        try:
            found.append(function())
        except BaseException as error:  # given on to the thread that waits
            raised.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(signals.POLL_S)
        signals.let_through()
    if raised:
        raise raised[0]
    return found[0]


_current: list[Replicas] = []


def current() -> Replicas | None:
    """Return the replicas of this process; None where a network is trained on one device."""
    return _current[0] if _current else None


def training(model: Any) -> Replicas | None:
    """Return the replicas that a model of Keras 2 is trained on; None for one device."""
    replicas = current()
    return replicas if replicas and model.distribute_strategy is replicas.strategy else None


def use(replicas: Replicas | None) -> None:
    """Set what `current` returns."""
    _current[:] = [replicas] if replicas else []


def mirrored(devices: Sequence[str]) -> Replicas:
    """Return replicas on devices of this process, such as ``["GPU:0", "GPU:1"]``."""
    return Replicas(backend.tensorflow().distribute.MirroredStrategy(list(devices)))


def of_workers(cluster: Cluster) -> Replicas:
    """Return replicas on the devices of several processes, all of which call this; they must have met."""
    tf = backend.tensorflow()
    addresses = tf.train.ClusterSpec({"worker": list(cluster.addresses)})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        addresses, task_type="worker", task_id=cluster.index, rpc_layer="grpc"
    )
    handler = signal.getsignal(signal.SIGTERM)
    strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # TensorFlow 2.21 takes it for a notice of preemption
    return Replicas(strategy, worker=cluster.index, workers=len(cluster.addresses))


def summed(copies: Sequence[Array]) -> Array:
    """Add up what the replicas of this process have, and those of other workers."""
    total: Array = np.add.reduce(_of_all(np.stack(copies)))
    return total


def values_of(variable: Any) -> Array:
    """Return the values of a variable; where each replica has its own, those of all, (replicas, ...)."""
    copies = _copies(variable)
    if not copies:
        return variable.numpy()  # type: ignore[no-any-return]
    return _of_all(np.stack([each.numpy() for each in copies]))


def assign(variable: Any, values: Array) -> None:
    """Set a variable to what `values_of` returned."""
    copies, replicas = _copies(variable), current()
    if not copies:
        variable.assign(values)
        return
    first = replicas.own.start if replicas else 0
    for place, each in enumerate(copies):
        each.assign(values[first + place])


def _copies(variable: Any) -> Sequence[Any]:
    """Return the variables of the replicas of this process; none of what is one variable."""
    strategy = getattr(variable, "distribute_strategy", None)
    if strategy is None or not isinstance(variable, backend.tensorflow().distribute.DistributedValues):
        return ()
    return strategy.experimental_local_results(variable)  # type: ignore[no-any-return]


def _of_all(own: Array) -> Array:
    replicas = current()
    if replicas is None:
        return own
    parts = replicas.exchanged(own.tobytes())
    return np.concatenate([np.frombuffer(part, own.dtype).reshape(own.shape) for part in parts])
