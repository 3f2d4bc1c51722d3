"""The option ``device``: processor, memory, precision, threads, and the replicas that train together."""

import logging
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.options import (
    FINITE_ABOVE_0,
    MOST_THREADS,
    at_most,
    option,
    require,
    require_number,
    require_one_of,
    whole_from,
)
from pruneflow.runtime import backend, cluster
from pruneflow.runtime.replicas import Replicas, mirrored, of_workers, use
from pruneflow.runtime.signals import undisturbed
from pruneflow.runtime.surroundings import printable

KINDS = ("auto", "cpu", "gpu")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
STRATEGIES = ("none", "mirrored", "multi_worker")
MOST_REPLICAS = 64


@option("device", "default")
@dataclass(kw_only=True)
class Device:
    """The device, threads and precision of the arithmetic, for the whole process."""

    kind: str
    memory_growth: bool
    precision: str
    threads: int | None = at_most(MOST_THREADS)
    inter_op_threads: int | None = at_most(MOST_THREADS)
    evaluation_threads: int | None = at_most(MOST_THREADS)
    stock_keras: bool
    strategy: str
    replicas: int | None = at_most(MOST_REPLICAS)
    worker_wait_seconds: float

    def __post_init__(self) -> None:
        for key, allowed in (("kind", KINDS), ("precision", PRECISIONS), ("strategy", STRATEGIES)):
            require_one_of(f"device.{key}", getattr(self, key), allowed)
        self._check_replicas()
        for key in ("threads", "inter_op_threads", "evaluation_threads"):
            remedy = "null takes all processors."
            require_number(f"device.{key}", getattr(self, key), whole_from(1).said("{}, or null"), remedy)

    def _check_replicas(self) -> None:
        problem = "device.strategy=mirrored alone takes a number of replicas, from 2"
        fits = self.replicas is None or (self.strategy == "mirrored" and self.replicas >= 2)
        require(fits, "device.replicas", self.replicas, problem, "Leave it out.")
        require_number(
            "device.worker_wait_seconds", self.worker_wait_seconds, FINITE_ABOVE_0, "300 is usual."
        )

    def check_engine(self, engine: str) -> None:
        """Refuse tfmot's wrappers on replicas."""
        problem = f"it is a control on one device, and device.strategy={self.strategy} has several"
        remedy = "Take pruning.engine=pruneflow, or device.strategy=none."
        require(engine != "tfmot" or self.strategy == "none", "pruning.engine", engine, problem, remedy)

    def check_workers(self) -> int:
        """Refuse workers that the environment does not name.

        Returns:
            Number of replicas, or the least of it where the machine has to be asked.
        """
        if self.strategy == "multi_worker":
            return len(cluster.found().addresses)
        return self.replicas or 1

    def require_one_process(self, problem: str, remedy: str) -> None:
        """Refuse several workers."""
        require(self.strategy != "multi_worker", "device.strategy", self.strategy, problem, remedy)

    def interpreters(self, share: int | None = None) -> int:
        """TFLite interpreters that run side by side.

        Args:
            share: Processors that null takes, where cells of a sweep run side by side; None takes all.
        """
        return self.evaluation_threads or share or processors()

    def configure(self, share: int | None = None) -> dict[str, Any]:
        """Prepare TensorFlow; the first call in a process decides on threads.

        Args:
            share: As `interpreters` takes it.

        Returns:
            What is used: kind, name, precision, threads.

        Raises:
            ConfigError: if a GPU is asked for that TensorFlow does not see.
            PruneflowError: if the process already runs with other settings.
        """
        tf = backend.tensorflow()
        from pruneflow.runtime import fused

        gpus = [] if self.kind == "cpu" else tf.config.list_physical_devices("GPU")
        if self.kind == "gpu" and not gpus:
            raise ConfigError.of(
                "device.kind",
                "gpu",
                "TensorFlow sees no GPU",
                'Install the CUDA libraries with pip install "pruneflow[gpu]" (pip install -e ".[gpu]" in a '
                "checkout) and check nvidia-smi, or use device.kind=auto.",
            )
        threads = self.threads or share or processors()
        inter_op = self.inter_op_threads or threads
        try:
            _apply(tf, gpus, self.memory_growth, threads, inter_op)
            found = self._replicas(tf, gpus)
        except RuntimeError as error:
            raise PruneflowError(
                "device: this process already runs TensorFlow with other device settings "
                f"({error}). Run cells with different device settings as commands of their own."
            ) from error
        backend.keras().mixed_precision.set_global_policy(self.precision)
        fused.enable(not self.stock_keras)
        return {
            "kind": "gpu" if gpus else "cpu",
            "name": _name(tf, gpus),
            "precision": self.precision,
            "threads": threads,
            "inter_op_threads": inter_op,
            "memory_growth": bool(gpus) and self.memory_growth,
            **({"strategy": self.strategy, **found.layout} if found else {}),
        }

    def _replicas(self, tf: Any, gpus: list[Any]) -> Replicas | None:
        """Return the replicas of this process, made once, and have `current` return them."""
        key = (self.strategy, self.replicas, len(gpus))
        if self.strategy != "none" and key not in _made:
            _made[key] = self._workers() if self.strategy == "multi_worker" else self._mirrored(tf, gpus)
        use(_made.get(key))
        return _made.get(key)

    def _mirrored(self, tf: Any, gpus: list[Any]) -> Replicas:
        count = self.replicas or len(gpus)
        problem = f"TensorFlow sees {len(gpus)} GPU, and replicas are two or more"
        remedy = "Leave it none; without a GPU device.replicas=2 tries it out on two logical CPUs."
        require(count >= 2, "device.strategy", "mirrored", problem, remedy)
        problem = f"TensorFlow sees {len(gpus)} GPU"
        require(not 0 < len(gpus) < count, "device.replicas", count, problem, "Lower it.")
        if not gpus:
            _divide_cpu(tf, count)
        kind = "GPU" if gpus else "CPU"
        return mirrored([f"{kind}:{number}" for number in range(count)])

    def _workers(self) -> Replicas:
        found = cluster.found()
        cluster.meet(found, seconds=self.worker_wait_seconds)
        return of_workers(found)

    @contextmanager
    def awaited(self, share: int | None = None) -> Iterator[None]:
        """Have `started` configure TensorFlow with these settings inside the block, if anything needs it.

        Args:
            share: As `configure` takes it.
        """
        _awaited.append(lambda: self.configure(share))
        try:
            yield
        finally:
            _awaited.clear()


_made: dict[tuple[str, int | None, int], Replicas] = {}
_awaited: list[Callable[[], object]] = []
_started: list[Any] = []
_starting = Lock()


def started() -> Any:
    """Return TensorFlow, ready to compute before a run has prepared it; any thread may call this.

    The first computation in a process decides on threads. So the settings of `Device.awaited` come first.
    """
    if not _started:
        with _starting, undisturbed():
            for configure in _awaited:
                configure()
            _started.append(backend.tensorflow())
    return _started[0]


@contextmanager
def left_as_found() -> Iterator[None]:
    """Give the process back its precision, random numbers of Python and NumPy, and its log, after the block.

    Inside, Keras has its defaults, and text that a stream cannot encode is escaped. Where nobody has set up
    logging, TensorFlow's first message does (absl), and all others would be shown.
    """
    streams, handlers = (random.getstate(), np.random.get_state()), list(logging.root.handlers)
    policy = backend.keras().mixed_precision.global_policy()
    from pruneflow.runtime import fused

    try:
        with backend.default_settings(), printable():
            yield
    finally:
        random.setstate(streams[0])
        np.random.set_state(streams[1])
        logging.root.handlers[:] = handlers
        backend.keras().mixed_precision.set_global_policy(policy)
        fused.enable(True)


def _apply(tf: Any, gpus: list[Any], memory_growth: bool, threads: int, inter_op: int) -> None:
    """Set what differs; TensorFlow refuses changes once it has started."""
    threading = tf.config.threading
    if tf.config.get_visible_devices("GPU") != gpus:
        tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus:
        if tf.config.experimental.get_memory_growth(gpu) != memory_growth:
            tf.config.experimental.set_memory_growth(gpu, memory_growth)
    if (threading.get_intra_op_parallelism_threads() or _usual_threads("INTRAOP")) != threads:
        threading.set_intra_op_parallelism_threads(threads)
    if (threading.get_inter_op_parallelism_threads() or _usual_threads("INTEROP")) != inter_op:
        threading.set_inter_op_parallelism_threads(inter_op)


def _divide_cpu(tf: Any, count: int) -> None:
    """Make so many logical CPUs of the processor, unless they are there."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    if len(tf.config.get_logical_device_configuration(cpu) or [cpu]) != count:
        parts = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(cpu, parts)


def _usual_threads(kind: str) -> int:
    """Threads that TensorFlow takes where none are set: of its environment variable, else all processors."""
    said = os.environ.get(f"TF_NUM_{kind}_THREADS", "")
    return int(said) if said.isdecimal() and int(said) else processors()


def processors() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _name(tf: Any, gpus: list[Any]) -> str:
    if gpus:
        return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))
    import platform

    return platform.processor() or platform.machine()
