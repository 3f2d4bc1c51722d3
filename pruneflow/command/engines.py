"""Engines that run the cells of a sweep: what a cell may use, and what becomes of cells when one ends."""

import inspect
import os
import re
import secrets
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from pruneflow.errors import ConfigError
from pruneflow.options import require
from pruneflow.runtime import backend
from pruneflow.runtime.device import processors
from pruneflow.runtime.terminal import error_console

KNOCK_S = 10.0
RAY_LOGS_S = 1.0  # what the last lines of a cell take from a worker of Ray to here


class Engine:
    """Hydra's own launcher: one cell after the other, in this process.

    Attributes:
        beside: Whether cells run side by side, in processes of their own.
        elsewhere: Whether these need not start in the folder where the command was typed.
    """

    beside = False
    elsewhere = False

    def __init__(self, launcher: DictConfig) -> None:
        self.launcher = launcher

    def check(self) -> None:
        """Refuse settings that the engine cannot use."""

    def share(self) -> float | None:
        """Processors of a cell; None where it has all there are."""
        return None

    def pinned(self, cells: int) -> list[str]:
        """Overrides that fix what depends on how many cells may run at a time."""
        return []

    def told(self, cells: int) -> str:
        """Return the message before the cells start."""
        return ""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around the cells: prepare this process, and leave no cell behind when it ends."""
        yield


class Joblib(Engine):
    """Worker processes of joblib, each used for one cell after the other."""

    def __init__(self, launcher: DictConfig) -> None:
        super().__init__(launcher)
        self.beside = launcher.n_jobs != 1  # else joblib stays in this process

    def share(self) -> float:
        """All processors, divided by the cells at a time, a number that `pinned` has written down."""
        return processors() / int(self.launcher.n_jobs)

    def pinned(self, cells: int) -> list[str]:
        """Cells at a time: no more than there are cells."""
        return [f"hydra.launcher.n_jobs={self._at_a_time(cells)}"]

    def told(self, cells: int) -> str:
        """Cells at a time, and their processors."""
        count = self._at_a_time(cells)
        return f"{count} at a time, each with {max(1, processors() // count)} of {processors()} processors"

    def _at_a_time(self, cells: int) -> int:
        """joblib counts down from all processors where the number is negative: -2 leaves one of them free."""
        wanted = int(self.launcher.n_jobs)
        return min(cells, wanted if wanted > 0 else max(1, processors() + 1 + wanted))


class Ray(Engine):
    """Tasks on a Ray cluster: one that runs, or one that is started here for the sweep."""

    beside = elsewhere = True

    def check(self) -> None:
        """Refuse an address HOST:PORT where nobody listens, and more than a cluster here has.

        Ray 2.60 would wait for minutes for the one, for good for the other.
        """
        if not self._address:
            self._require_here("num_cpus", processors())
            self._require_here("num_gpus", len(list(Path("/dev").glob("nvidia[0-9]*"))))
        self._check_keys()
        if match := re.fullmatch(r"([\w.-]+):(\d+)", self._address or ""):
            with self._refusing():
                socket.create_connection((match[1], int(match[2])), timeout=KNOCK_S).close()

    def _check_keys(self) -> None:
        """Refuse keys that Ray does not know; those with _ in front it keeps to itself."""
        self._set_environment()
        import ray

        known = inspect.signature(ray.init).parameters
        for key in map(str, self.launcher.ray.init):
            problem, remedy = "ray.init takes no such argument", "Leave it out."
            typed = f"hydra.launcher.ray.init.{key}"
            require(key in known or key[0] == "_", typed, self.launcher.ray.init[key], problem, remedy)
        remote: Any = OmegaConf.to_container(self.launcher.ray.remote, resolve=True)
        try:
            ray.remote(**{"num_cpus": 1, **remote})(_count)
        except (TypeError, ValueError, AssertionError) as error:
            said = str(error).splitlines()[0].rstrip(".")
            raise ConfigError.of("hydra.launcher.ray.remote", remote, said, "Mend it.") from error

    def _require_here(self, key: str, found: int) -> None:
        """Hold what a cell asks for against what Ray is told that there is, or finds on this machine."""
        wanted = OmegaConf.select(self.launcher, f"ray.remote.{key}") or 0
        there = OmegaConf.select(self.launcher, f"ray.init.{key}") or found
        problem = f"no cell would ever start: this machine has {there}"
        require(wanted <= there, f"hydra.launcher.ray.remote.{key}", wanted, problem, "Lower it.")

    def share(self) -> float:
        """Processors that Ray gives a task; 1 where nothing is said."""
        return float(OmegaConf.select(self.launcher, "ray.remote.num_cpus") or 1)

    def told(self, cells: int) -> str:
        """The cluster, and the processors of a cell."""
        return f"on Ray, {self._address or 'started on this machine'}, each with {_count(self.share())}"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Join the cluster; wait for cells when one has died, and for their last lines before the table."""
        self._set_environment()
        import ray

        on_sigterm = signal.getsignal(signal.SIGTERM)
        settings: Any = OmegaConf.to_container(self.launcher.ray.init, resolve=True)
        with self._refusing():
            ray.init(**settings)
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own aborts this process
        try:
            yield
        except SystemError as error:  # how Ray's C code passes on what a signal raises, unless it is Ctrl-C
            raise (error.__cause__ or error) from None
        except Exception as error:
            if tasks := _started(error, "runs"):
                ray.wait(tasks, num_returns=len(tasks))
            raise
        finally:
            time.sleep(RAY_LOGS_S)
            ray.shutdown()

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError.of(
                "hydra.launcher.ray.init.address",
                self._address,
                "no Ray cluster answers there",
                "Start one with ray start --head, or leave it null for one of this sweep.",
            ) from error

    @property
    def _address(self) -> str | None:
        address: str | None = OmegaConf.select(self.launcher, "ray.init.address")
        return address

    def _set_environment(self) -> None:
        """Set the environment of Ray: it reports nothing, and writes nothing at home."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # it takes lines that differ in numbers for the same
        if not sys.stdout.isatty():
            os.environ.setdefault("RAY_COLOR_PREFIX", "0")
        chosen = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ)
        if not self._address and not chosen:
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # Ray 2.60 would keep one in ~/.ray


class Submitit(Engine):
    """Jobs of submitit, on this machine or in Slurm's queue."""

    beside = elsewhere = True

    def share(self) -> float | None:
        """Processors that are asked for; None takes what the machine gives the job."""
        count: float | None = OmegaConf.select(self.launcher, "cpus_per_task")
        return count

    def told(self, cells: int) -> str:
        """Processors of a cell, and where its output is."""
        folder = Path(str(self.launcher.submitit_folder)).parent
        return f"as jobs, each with {_count(self.share())}; what they print is in {folder}"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Wait for jobs when one has died; leave none behind on this machine when this process is ended."""
        try:
            with backend.quiet() if self._is_local else nullcontext():  # their tracebacks when they are ended
                yield
        except Exception as error:
            self._wait(_started(error, "jobs"))
            raise
        except BaseException as error:
            self._end(_started(error, "jobs"))
            raise

    @property
    def _is_local(self) -> bool:
        return str(self.launcher._target_).endswith("LocalLauncher")

    def _wait(self, jobs: list[Any]) -> None:
        try:
            for job in jobs:
                job.wait()
        except BaseException:
            self._end(jobs)
            raise

    def _end(self, jobs: list[Any]) -> None:
        """End jobs of this machine; those in a queue stay, as who closes a terminal expects."""
        if self._is_local:
            for job in jobs:
                job.cancel()
        elif jobs:
            arrays = " ".join(sorted({str(job.job_id).split("_")[0] for job in jobs}))
            error_console.print(f"The jobs stay in the queue. To end them: scancel {arrays}", soft_wrap=True)


def _started(error: BaseException, name: str) -> list[Any]:
    """Handles of the cells that were started: a launcher keeps them in a variable of its own only."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "launch" and name in frame.f_locals:
            return list(frame.f_locals[name])
    return []


def _count(number: float | None) -> str:
    return (
        "the processors it finds" if number is None else f"{number:g} processor{'' if number == 1 else 's'}"
    )
