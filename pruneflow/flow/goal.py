"""The group ``goal``: the file that a search looks for, and the ways that it tries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, make_dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pruneflow.errors import ConfigError
from pruneflow.exports.several import KINDS
from pruneflow.options import (
    ABOVE_0,
    BELOW_1,
    BETWEEN_0_AND_1,
    Numbers,
    at_most,
    option,
    require,
    require_number,
    require_one_of,
)
from pruneflow.runtime.records import pick

if TYPE_CHECKING:
    from pruneflow.flow.figures import TfliteResult

# Name: what is read off an exported file in a result, and how it is shown.
MEASURES = {
    "gzip_bytes": ("size.gzip_bytes", "{:,.0f} B after gzip"),
    "bytes": ("size.bytes", "{:,.0f} B"),
    "latency_ms": ("latency.pruned.median_ms", "{:.4g} ms"),
    "multiply_adds": ("inside.multiply_adds", "{:,.0f} multiply-adds"),
}
USUAL_SHARE = "schedule.final_sparsity"
USUAL_DROP = 0.005  # allowed where nothing else limits the answer
MUCH = 1e9  # a miss that has no size: of a limit of 0, of a network that guesses
FROM_HALF = Numbers("allowed are numbers from 0.5 up to, not including, 1", lambda value: 0.5 <= value < 1)


@dataclass
class Way:
    """A way to make a file smaller or faster, tried on top of the best one before it.

    Attributes:
        settings: Overrides of the command line.
        share: Key of the share that is searched; null takes that of the way below, or `USUAL_SHARE`.
        start: The first share; null takes the best one so far.
    """

    settings: list[str] = field(default_factory=list)
    share: str | None = None
    start: float | None = None

    @property
    def keys(self) -> set[str]:
        """The keys that the way sets."""
        return {word.partition("=")[0] for word in self.settings} | ({self.share} if self.share else set())


@dataclass(frozen=True)
class FileFigures:
    """The figures of an exported file that a goal reads.

    Attributes:
        measure: What is made small.
        accuracy: Accuracy or R2 on the validation part.
        drop: Measured drop against the dense network there.
        drop_at_most: Upper end of the interval of the drop.
        bytes: Size that is limited.
        latency_ms: Median latency; None where it was not measured.
        metric: Name of what ``accuracy`` is: accuracy or r2.
        guesses: Whether pruning left a network that guesses, or lost more than a run allows.
    """

    kind: str
    measure: float
    accuracy: float
    drop: float
    drop_at_most: float
    bytes: float
    latency_ms: float | None
    metric: str = "accuracy"
    guesses: bool = False


@dataclass(kw_only=True)
class Goal:
    """The base of the options for what a command looks for."""

    option_name: ClassVar[str]  # as chosen on the command line; set by @option
    searches: ClassVar[bool] = False

    name: str

    def check_typed(self, words: Iterable[str]) -> None:
        """Refuse words of a command line that make no sense with this goal."""


@dataclass(kw_only=True)
class Searched(Goal):
    """A search for one file, by figures of the validation part and of sizes."""

    searches: ClassVar[bool] = True

    measure: str
    max_accuracy_drop: float | None
    max_bytes: int | None
    max_latency_ms: float | None
    confidence: float
    max_trainings: int = at_most(1000)
    max_minutes: float | None
    tolerance: float
    kinds: list[str]
    ways: dict[str, Any]

    def __post_init__(self) -> None:
        require_one_of("goal.measure", self.measure, tuple(MEASURES))
        self._check_limits()
        shares, remedy = BETWEEN_0_AND_1.said("it is a share; {}"), "0.5 takes the measured drop as it is."
        require_number("goal.confidence", self.confidence, FROM_HALF, remedy)
        remedy = "Write for instance goal.max_trainings=10."
        require_number("goal.max_trainings", self.max_trainings, ABOVE_0, remedy)
        _require_positive("goal.max_minutes", self.max_minutes)
        remedy = "0.02 stops where less than 2 % can be gained."
        require_number("goal.tolerance", self.tolerance, shares, remedy)
        for kind in self.kinds:
            require_one_of("goal.kinds", kind, KINDS)
        require(bool(self.kinds), "goal.kinds", self.kinds, "no kind is wanted", "Give one or more.")
        require(bool(self.ways), "goal.ways", self.ways, "there is nothing to try", "Leave it out.")
        self.ways = {name: _way(name, way) for name, way in self.ways.items()}

    def _check_limits(self) -> None:
        shares = BELOW_1.said("it is a share; {}, or null")
        require_number("goal.max_accuracy_drop", self.max_accuracy_drop, shares, "0.005 allows half a point.")
        _require_positive("goal.max_bytes", self.max_bytes)
        _require_positive("goal.max_latency_ms", self.max_latency_ms)

    @property
    def allowed_drop(self) -> float | None:
        """The drop that is allowed: half a point where nothing limits the file."""
        limited = self.max_bytes is not None or self.max_latency_ms is not None
        return USUAL_DROP if self.max_accuracy_drop is None and not limited else self.max_accuracy_drop

    @property
    def times(self) -> bool:
        """Return whether latency counts."""
        return self.measure == "latency_ms" or self.max_latency_ms is not None

    @property
    def wants_accuracy(self) -> bool:
        """Return whether the most accurate file is looked for, not the smallest."""
        return self.allowed_drop is None

    def figures_of(self, file: TfliteResult, *, guesses: bool = False) -> FileFigures:
        """Read the figures of an exported file off a result.

        Args:
            file: One of the result's files.
            guesses: Whether the network that it was made of is a wreck.
        """
        paired, scores = file.against_dense, file.validation_metrics
        assert paired and scores, "a search trains the dense network, and compares each file with it"
        metric, accuracy = next(iter(scores.items()))
        return FileFigures(
            kind=file.kind,
            measure=float(pick(file, MEASURES[self.measure][0])),
            accuracy=float(accuracy),
            drop=paired.drop,
            drop_at_most=paired.at_most(self.confidence),
            bytes=file.size.bytes if self.measure == "bytes" else file.size.gzip_bytes,
            latency_ms=file.latency.pruned.median_ms if file.latency else None,
            metric=metric,
            guesses=guesses,
        )

    def value(self, file: FileFigures) -> float:
        """Return what is made small: the measure, or the error of the most accurate file."""
        return 1 - file.accuracy if self.wants_accuracy else file.measure

    def misses(self, file: FileFigures) -> dict[str, float]:
        """Return by how much a file misses each limit, as a share of it; empty where it keeps all.

        What was not measured keeps no limit.
        """
        return {name: strain - 1 for name, strain in self._strains(file).items() if strain > 1}

    def strain(self, file: FileFigures) -> float:
        """Return the largest figure that gets worse on the way, as a multiple of its limit; 1 keeps it.

        On the way to an accurate file the drop gets better: it is judged at the end.
        """
        judged_later = {"max_accuracy_drop"} if self.wants_accuracy else set()
        found = self._strains(file)
        return max((found[name] for name in found.keys() - judged_later), default=0.0)

    def _strains(self, file: FileFigures) -> dict[str, float]:
        limits = {
            "max_accuracy_drop": (file.drop_at_most, self.allowed_drop),
            "max_bytes": (file.bytes, self.max_bytes),
            "max_latency_ms": (file.latency_ms, self.max_latency_ms),
        }
        found = {name: _strain(*pair) for name, pair in limits.items() if pair[1] is not None}
        return {**found, **({"guessing": 1 + MUCH} if file.guesses else {})}

    def shown(self, value: float) -> str:
        """Spell a value of the measure."""
        return MEASURES[self.measure][1].format(value)


_KEYS = [(each.name, Any, None) for each in fields(Searched) if each.name != "name"]


@option("goal", "none")
@dataclass(kw_only=True)
class NoGoal(make_dataclass("_Unused", _KEYS, bases=(Goal,), kw_only=True)):  # type: ignore[misc]
    """The command is one run, or a sweep.

    It has the keys of a search, unused: a file may set them, and ``goal=none`` leaves the search out.
    """

    def check_typed(self, words: Iterable[str]) -> None:
        """Refuse several goals, and settings of a goal."""
        for word in words:
            key, _, value = word.lstrip("+~").partition("=")
            if key == "goal" and "," in value:
                raise ConfigError(
                    f"{word}: a command has one goal, which is a search of many runs. Choose one."
                )
            if key.startswith("goal."):
                raise ConfigError(f"{word}: goal=none looks for nothing. Choose one, such as goal=smallest.")


@option("goal", "smallest")
@dataclass(kw_only=True)
class Smallest(Searched):
    """The smallest file within the limits."""


@option("goal", "fastest")
@dataclass(kw_only=True)
class Fastest(Searched):
    """The fastest file within the limits."""


@option("goal", "most_accurate")
@dataclass(kw_only=True)
class MostAccurate(Searched):
    """The most accurate file below a size or a latency."""

    @property
    def wants_accuracy(self) -> bool:
        """Always, also where the drop is limited too."""
        return True

    def _check_limits(self) -> None:
        super()._check_limits()
        require(
            self.max_bytes is not None or self.max_latency_ms is not None,
            "goal",
            "most_accurate",
            "nothing limits the file, and the dense one is the most accurate",
            "Set goal.max_bytes or goal.max_latency_ms.",
        )


def _way(name: str, given: Any) -> Way:
    if isinstance(given, Way):
        return given
    key, allowed = f"goal.ways.{name}", ", ".join(field.name for field in fields(Way))
    try:
        way = Way(**given)
    except TypeError as error:
        problem = f"a way has the keys {allowed}"
        raise ConfigError.of(key, given, problem, "See conf/goal/base/zeros.yaml.") from error
    lists = isinstance(way.settings, list) and all(isinstance(word, str) for word in way.settings)
    remedy = f"Write for instance '+{key}={{settings:[\"criterion=lamp\"]}}'."
    require(lists, f"{key}.settings", way.settings, "it must be a list of overrides", remedy)
    shares = BETWEEN_0_AND_1.said("it is a share; {}, or null")
    require_number(f"{key}.start", way.start, shares, "null takes the best so far.")
    return way


def _strain(found: float | None, limit: float | None) -> float:
    """Return a figure as a multiple of its limit; of a limit of 0 nothing above it is a little."""
    if found is None:
        return 1 + MUCH
    return found / limit if limit else 1 + MUCH * (found > 0)


def _require_positive(key: str, value: float | None) -> None:
    if value is not None:
        require_number(key, value, ABOVE_0, "null limits none.")
