"""The bases of loggers, and what they are given of a run that has ended."""

from __future__ import annotations

import importlib
import importlib.util
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pruneflow.options import require

Points = Sequence[tuple[int, float]]


@dataclass(frozen=True, kw_only=True)
class Record:
    """A run, or a sweep, that has ended.

    Attributes:
        name: Name of its folder; of a run in a sweep, below that of the sweep.
        sweep: Name of the sweep that it is, or is part of; empty for a run of its own.
        is_sweep: Whether it is the sweep itself.
        settings: Nested; empty for a sweep.
        figures: Final figures by name, such as ``float/gzip_bytes``.
        curves: Phase, tag of TensorBoard, and steps with values.
        files: What is kept with it.
        failure: Message of what failed; empty otherwise.
        begun: Seconds since the epoch.
        ended: Seconds since the epoch.
    """

    name: str
    sweep: str
    is_sweep: bool
    settings: Mapping[str, Any]
    figures: Mapping[str, float]
    curves: Mapping[str, Mapping[str, Points]]
    files: Sequence[Path]
    failure: str
    begun: float
    ended: float


@dataclass(kw_only=True)
class Logger:
    """The base of the options for who is told of a run.

    Attributes:
        name: Label in tables.
    """

    option_name: ClassVar[str]  # as chosen on the command line; set by @option

    name: str

    def tools(self) -> Sequence[Tool]:
        """Return the tools that are told; none by default."""
        return []

    def check_installed(self) -> None:
        """Refuse to begin where a tool is not installed.

        Raises:
            ConfigError: with the line that installs it.
        """
        for tool in self.tools():
            tool.require_installed(self.option_name)


@dataclass(kw_only=True)
class Tool(Logger, ABC):
    """The base of loggers that are one tool: they open a record under an id, and send it.

    Both are called in a process of their own, which is ended after ``seconds`` without an answer.

    Attributes:
        project: Name under which the tool files runs.
        seconds: Most seconds that a run waits for the tool.
    """

    title: ClassVar[str]  # as the tool writes itself
    needs: ClassVar[Sequence[str]]  # modules that must be there to import
    extra: ClassVar[str]  # extra of pruneflow that installs them

    project: str
    seconds: float

    def __post_init__(self) -> None:
        """Refuse names that a tool cannot file under, and to wait for nothing or for ever."""
        named = re.fullmatch(r"[^/\\#?%:]{1,128}", self.project.strip()) is not None
        problem = "allowed are 1 to 128 characters without / \\ # ? % :"
        require(
            named, "logger.project", self.project, problem, "Write for instance logger.project=pruneflow."
        )
        problem = "allowed are numbers above 0"
        finite = self.seconds > 0 and math.isfinite(self.seconds)
        require(finite, "logger.seconds", self.seconds, problem, "60 is usual.")

    def tools(self) -> Sequence[Tool]:
        """Return this one."""
        return [self]

    def require_installed(self, choice: str) -> None:
        """Refuse ``logger=choice`` where a module is missing.

        Raises:
            ConfigError: with the line that installs it.
        """
        missing = [name for name in self.needs if importlib.util.find_spec(name) is None]
        line = f'pip install "pruneflow[{self.extra}]" (pip install -e ".[{self.extra}]" in a checkout)'
        problem = f"{next(iter(missing), '')} is not installed"
        require(not missing, "logger", choice, problem, f"Install it with {line}.")

    def load(self) -> None:
        """Import what `open` and `send` need, while the run is under way.

        Nothing is made or sent here: where the run is cut off, this process ends at once. What this raises is
        dropped, and `open` follows all the same.
        """
        for name in self.needs:
            importlib.import_module(name)

    @abstractmethod
    def open(self, record: Record, parent: str) -> str:
        """Make room for a record.

        Args:
            record: What is going to be sent.
            parent: Id of its sweep; empty where it is part of none.

        Returns:
            Its id.
        """

    @abstractmethod
    def send(self, record: Record, identity: str) -> str:
        """Send a record under the id that `open` gave; sent once more, it is the same.

        Returns:
            Where it is found, in words.
        """


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested settings by their dotted keys.

    >>> dict(flat({"model": {"name": "cnn", "filters": [8]}, "seed": 0}))
    {'model.name': 'cnn', 'model.filters': [8], 'seed': 0}
    """
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
