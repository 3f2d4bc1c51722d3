"""The worker processes of one training: their addresses, and whether all of them have come."""

import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pruneflow.errors import ConfigError
from pruneflow.options import require
from pruneflow.runtime.signals import POLL_S, let_through

KEY = "device.strategy"
SHAPE = '{"cluster": {"worker": ["host:port", "host:port"]}, "task": {"type": "worker", "index": 0}}'
OK, ANSWER_S = b"ok\n", 5.0  # the answer to a greeting, and most seconds until it is there
FIRST_PORT, PORTS = 12_000, 18_000  # of the jobs of Slurm, below those that systems hand out


@dataclass(frozen=True)
class Cluster:
    """The workers of a training.

    Attributes:
        addresses: ``host:port`` of each; the first is the chief.
        index: Place of this process among them.
    """

    addresses: tuple[str, ...]
    index: int


def found() -> Cluster:
    """Return the cluster that the environment names: by ``TF_CONFIG``, else by the variables of Slurm.

    Raises:
        ConfigError: if neither names two workers or more.
    """
    if said := os.environ.get("TF_CONFIG", "").strip():
        return of_tf_config(said)
    problem = "neither TF_CONFIG nor the environment of Slurm names the workers"
    require("SLURM_PROCID" in os.environ, KEY, "multi_worker", problem, "Set TF_CONFIG, or start with srun.")
    return of_slurm(os.environ)


def of_tf_config(said: str) -> Cluster:
    """Read the value of ``TF_CONFIG``.

    Raises:
        ConfigError: if it does not name a cluster and a task in it.

    >>> of_tf_config('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}')
    Cluster(addresses=('a:1', 'b:1'), index=1)
    """
    try:
        read = json.loads(said)
    except (ValueError, RecursionError) as error:
        raise _wrong(said, f"it is no JSON ({error})") from error
    cluster, task = (read.get(key) if isinstance(read, dict) else None for key in ("cluster", "task"))
    if not isinstance(cluster, dict) or not isinstance(task, dict) or {*cluster} - {"chief", "worker"}:
        raise _wrong(said, "it must name a cluster of workers, and the task of this process")
    jobs = {job: cluster.get(job, []) for job in ("chief", "worker")}
    if not all(isinstance(each, list) for each in jobs.values()):
        raise _wrong(said, "the addresses of workers must be a list")
    kind, index = task.get("type"), task.get("index")
    if kind not in [*jobs] or type(index) is not int or not 0 <= index < len(jobs[kind]):
        raise _wrong(said, f"task {kind} {index} is not in its cluster")
    place = index if kind == "chief" else len(jobs["chief"]) + index
    return _checked(said, [*jobs["chief"], *jobs["worker"]], place)


def _checked(said: str, addresses: list[Any], index: int) -> Cluster:
    for each in addresses:
        host, _, port = str(each).rpartition(":")
        if not host or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 2**16:
            raise _wrong(said, f"{each} is no host:port")
        if ":" in host and not re.fullmatch(r"\[.+\]", host):
            raise _wrong(said, f"{each}: an address of IPv6 stands in brackets, as in [::1]:12345")
    if len({*addresses}) < len(addresses):
        raise _wrong(said, "it has an address twice")
    if len(addresses) < 2:
        raise _wrong(said, "it names one worker; device.strategy=mirrored takes all GPUs of one machine")
    return Cluster(tuple(addresses), index)


def _wrong(said: str, problem: str) -> ConfigError:
    return ConfigError.of("TF_CONFIG", said, problem, f"Write it as {SHAPE}.")


def of_slurm(environment: Mapping[str, str]) -> Cluster:
    """Return the tasks of a job step: a worker each, on a port that follows from the number of the job.

    Args:
        environment: With ``SLURM_PROCID`` and so on, as ``srun`` sets them.
    """
    try:
        nodes = _hosts(_first(environment, "SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"))
        counts = _counts(_first(environment, "SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"))
        port = FIRST_PORT + int(environment["SLURM_JOB_ID"]) % PORTS
        index = int(environment["SLURM_PROCID"])
        pairs = zip(nodes, counts, strict=True)
        addresses = [f"{node}:{port + each}" for node, count in pairs for each in range(count)]
    except (KeyError, ValueError) as error:
        problem = f"the environment of Slurm does not name the workers ({error})"
        raise ConfigError.of(KEY, "multi_worker", problem, "Start with srun, or set TF_CONFIG.") from error
    problem = f"Slurm started {len(addresses)} task"
    require(
        0 <= index < len(addresses) > 1, KEY, "multi_worker", problem, "Start two or more: srun --ntasks=2."
    )
    return Cluster(tuple(addresses), index)


def _first(environment: Mapping[str, str], *names: str) -> str:
    return next((environment[name] for name in names if name in environment), "") or environment[names[0]]


def _hosts(listed: str) -> list[str]:
    """Expand Slurm's list of nodes, such as ``a[01-02,7],b``."""
    hosts = []
    for before, ranges, after in re.findall(r"([^\s,\[\]]+)(?:\[([^\]]+)\])?([^\s,\[\]]*)", listed):
        for each in ranges.split(","):
            low, _, high = each.partition("-")
            numbers = range(int(low), int(high or low) + 1) if each else [""]
            hosts += [f"{before}{str(number).zfill(len(low))}{after}" for number in numbers]
    return hosts


def _counts(listed: str) -> list[int]:
    """Expand Slurm's numbers of tasks, such as ``2(x3),1``."""
    counts = []
    for each in listed.split(","):
        count, _, times = each.rstrip(")").partition("(x")
        counts += [int(count)] * int(times or 1)
    return counts


def meet(cluster: Cluster, *, seconds: float) -> None:
    """Wait until every worker has come; TensorFlow itself would wait without a limit, and without Ctrl-C."""
    others = {each: place for place, each in enumerate(cluster.addresses) if place != cluster.index}
    deadline, reached = time.monotonic() + seconds, set[int]()
    with _listening(cluster) as heard:
        while True:
            for address in [each for each, place in others.items() if place not in reached]:
                if _greeted(address, cluster.index):
                    reached.add(others[address])
            let_through()
            come = heard & reached
            missing = [f"{each} (worker {place})" for each, place in others.items() if place not in come]
            if not missing:
                return
            problem = f"{', '.join(missing)} did not come within device.worker_wait_seconds={seconds:g}"
            remedy = "Start the same command there, or raise that limit."
            require(time.monotonic() < deadline, KEY, "multi_worker", problem, remedy)
            time.sleep(POLL_S / 4)


def _greeted(address: str, index: int) -> bool:
    """Tell a worker that this one is there; return whether it answered."""
    host, _, port = address.rpartition(":")
    with suppress(OSError), socket.create_connection((host.strip("[]"), int(port)), POLL_S) as link:
        link.settimeout(ANSWER_S)
        link.sendall(b"pruneflow %d\n" % index)
        if link.recv(len(OK)) == OK:
            link.sendall(OK)
            return True
    return False


@contextmanager
def _listening(cluster: Cluster) -> Iterator[set[int]]:
    """Answer the greetings of other workers in the block; yields the set of those that have greeted."""
    heard, port = set[int](), int(cluster.addresses[cluster.index].rpartition(":")[2])
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        listener = socket.create_server(
            ("", port), family=family, backlog=len(cluster.addresses), dualstack_ipv6=both
        )
    except OSError as error:
        problem = f"port {port} of this worker cannot be opened: {error.strerror}"
        raise ConfigError.of(KEY, "multi_worker", problem, "Take another port.") from error
    with listener:
        thread = threading.Thread(target=_answer, args=(listener, heard), daemon=True)
        thread.start()
        try:
            yield heard
        finally:
            with suppress(OSError):  # of a system that does not know it for a listener
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
    thread.join(POLL_S)


def _answer(listener: socket.socket, heard: set[int]) -> None:
    with suppress(OSError):  # the listener was closed
        while True:
            link, _ = listener.accept()
            threading.Thread(target=_greet_back, args=(link, heard), daemon=True).start()


def _greet_back(link: socket.socket, heard: set[int]) -> None:
    """Answer a greeting; who has read the answer has come, as it will not greet again."""
    with suppress(OSError, ValueError), link:
        link.settimeout(ANSWER_S)
        word, index = link.recv(64).decode().split()
        if word == "pruneflow":
            link.sendall(OK)
            if link.recv(len(OK)) == OK:
                heard.add(int(index))
