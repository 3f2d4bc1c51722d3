"""Differences between runs: groups, repetitions with other seeds, and which of them are Pareto-optimal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from pruneflow.errors import spelled
from pruneflow.flow.figures import Result, TfliteResult
from pruneflow.report.collect import Run
from pruneflow.training.metrics import label_of

LARGEST_GROUPS = 8  # colours that can be told apart by everybody

# Groups of options. Settings that only one option of a group has do not count as a difference beside it.
GROUPS = (
    *("dataset", "augmentation", "model", "schedule", "structure", "criterion", "distribution", "then"),
    *("export", "trainer"),
)
# How a network is stored, timed or searched for is no property of it.
APART = (
    *("stages.", "latency.seconds", "latency.warmup", "logger", "objective", "report", "tensorboard."),
    *("dataset.path", "dataset.cache_dir", "dataset.download", "test_part"),
)
# Along these a line is drawn: they say how far a network is pruned.
ALONG = ("schedule.final_sparsity", "structure.n", "then.final_sparsity")


@dataclass(frozen=True, eq=False)
class Point:
    """One exported file of one run.

    Attributes:
        settings: Every setting, by its dotted key; an option's name under that of its group.
        part: The part that it is compared with others on, ``"test"`` or ``"validation"``.
    """

    run: Run
    file: TfliteResult
    settings: Mapping[str, Any]
    part: str = "test"

    @property
    def metric(self) -> str:
        """Name of the metric that charts compare: accuracy or R2."""
        return label_of(self.run.result.data.metric)

    @property
    def quality(self) -> float:
        """The value of that metric for the TFLite file on that part, at most 1."""
        reached = self.run.result.quality(self.file, self.part)
        assert reached is not None, "what is exported was trained"
        return reached

    @property
    def size_bytes(self) -> int:
        """Size after gzip, bytes."""
        return self.file.size.gzip_bytes

    @property
    def validation(self) -> float | None:
        """The same metric on the validation part, by which choices are made; None in results of before."""
        return self.run.result.quality(self.file, "validation")

    @property
    def sparsity(self) -> float:
        """Measured sparsity of the network, [0, 1)."""
        return self.run.result.pruned.measured_sparsity

    @property
    def latency_ms(self) -> float | None:
        """Median latency, ms; None where it was not timed."""
        return self.file.latency.pruned.median_ms if self.file.latency else None

    @property
    def compression(self) -> float:
        """Size of the dense float file over that of this one, both after gzip."""
        return self.run.result.dense.tflite.gzip_bytes / self.size_bytes

    @property
    def data(self) -> tuple[str, str]:
        """Name and digest of what it was measured on."""
        data = self.run.result.data
        return data.name, data.digest


@dataclass(frozen=True, eq=False)
class Mark:
    """Runs that differ in nothing but their seed, drawn as one mark.

    Each seed counts once: where it was run several times, by the mean of these.

    Attributes:
        label: What it is, in words; empty where nothing differs.
        group: Line that it is on.
        points: All of them, one or more for each seed.
    """

    label: str
    group: str
    points: tuple[Point, ...]

    @cached_property
    def seeds(self) -> int:
        """Number of different seeds."""
        return len(self._by_seed)

    @cached_property
    def quality(self) -> float:
        """Mean of accuracy or R2 over the seeds, at most 1."""
        return self._mean(lambda point: point.quality)

    @cached_property
    def validation(self) -> float | None:
        """Mean of the same on the validation part; None where that is not known of all."""
        return self._known(lambda point: point.validation)

    @cached_property
    def sparsity(self) -> float:
        """Mean of the measured sparsity over the seeds."""
        return self._mean(lambda point: point.sparsity)

    @cached_property
    def latency_ms(self) -> float | None:
        """Mean of the median latencies, ms; None where one was not timed."""
        return self._known(lambda point: point.latency_ms)

    @cached_property
    def qualities(self) -> tuple[float, float]:
        """Lowest and highest."""
        values = [point.quality for point in self.points]
        return min(values), max(values)

    @cached_property
    def size_bytes(self) -> float:
        """Mean over the seeds, bytes after gzip."""
        return self._mean(lambda point: point.size_bytes)

    @cached_property
    def compression(self) -> float:
        """Mean over the seeds."""
        return self._mean(lambda point: point.compression)

    @property
    def counted(self) -> str:
        """The number of seeds or runs in words; empty for one."""
        if self.seeds > 1:
            return f"{self.seeds} seeds"
        return f"{len(self.points)} runs of one seed" if len(self.points) > 1 else ""

    @cached_property
    def _by_seed(self) -> dict[int, list[Point]]:
        found: dict[int, list[Point]] = {}
        for point in self.points:
            found.setdefault(point.run.result.seed, []).append(point)
        return found

    def _known(self, figure: Callable[[Point], float | None]) -> float | None:
        if None in map(figure, self.points):
            return None
        return self._mean(lambda point: figure(point) or 0.0)

    def _mean(self, figure: Callable[[Point], float]) -> float:
        return fmean(fmean(map(figure, points)) for points in self._by_seed.values())


@dataclass(frozen=True, eq=False)
class Grid:
    """Points on the same data, sorted into marks and groups.

    Attributes:
        keys: Settings that differ, the seed aside.
        labels: Short name of each of them.
        group_keys: Those which tell groups apart.
        lined: Whether the marks of a group lie on one line, along how far they are pruned.
        marks: By group and size.
    """

    keys: tuple[str, ...]
    labels: Mapping[str, str]
    group_keys: tuple[str, ...]
    lined: bool
    marks: tuple[Mark, ...]

    @property
    def metric(self) -> str:
        """Name of the metric that compares its points."""
        return self.marks[0].points[0].metric

    @property
    def part(self) -> str:
        """The part on which its points are compared."""
        return self.marks[0].points[0].part

    @property
    def label(self) -> str:
        """The metric in words, with the part where it is not the test part."""
        return self.metric if self.part == "test" else f"{self.part} {self.metric}"

    @property
    def examples(self) -> int:
        """Examples of that part."""
        data = self.marks[0].points[0].run.result.data
        return data.test if self.part == "test" else data.validation

    @property
    def groups(self) -> list[str]:
        """Names of the groups, in the order in which they come."""
        return list(dict.fromkeys(mark.group for mark in self.marks))

    @property
    def seeds(self) -> int:
        """Most seeds of one mark."""
        return max(mark.seeds for mark in self.marks)

    @cached_property
    def front(self) -> frozenset[Mark]:
        """Marks that no other beats in both size and accuracy, or R2."""
        kept = pareto([(mark.size_bytes, mark.quality) for mark in self.marks])
        return frozenset(self.marks[index] for index in kept)


def points_of(runs: Sequence[Run]) -> list[Point]:
    """One point for each file that the runs exported.

    Where one run left the test part alone, all on these data are compared on the validation part; files of
    which no figures on it are known, as in the first results, have no point then.
    """
    untested = {run.result.data.digest for run in runs if run.result.part != "test"}
    points = [
        Point(run, file, _settings(run.result, file), "validation" if digest in untested else "test")
        for run in runs
        for digest in [run.result.data.digest]
        for file in run.result.tflite
    ]
    return [point for point in points if point.run.result.quality(point.file, point.part) is not None]


def grid_of(points: Sequence[Point]) -> Grid:
    """Sort points into marks and groups."""
    keys = differing(points)
    named = labels(keys)
    group_keys, lined = _group_keys(points, keys)
    found: dict[tuple[str, ...], list[Point]] = {}
    for point in points:
        found.setdefault(tuple(_spelled_at(point, key) for key in keys), []).append(point)
    marks = [_mark(each, keys, group_keys, named) for each in found.values()]
    marks.sort(key=lambda mark: (mark.group, mark.size_bytes, mark.label))
    return Grid(tuple(keys), named, tuple(group_keys), lined, tuple(marks))


def pareto(figures: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of those that no other beats: smaller without being less accurate, or more accurate without
    being larger.

    Args:
        figures: Size and accuracy of each.

    >>> pareto([(10, 0.9), (20, 0.95), (20, 0.94), (30, 0.95), (5, 0.5)])
    [0, 1, 4]
    """
    kept, best, size_of_best = set(), float("-inf"), float("inf")
    for index in sorted(range(len(figures)), key=lambda i: (figures[i][0], -figures[i][1])):
        size, accuracy = figures[index]
        if accuracy > best or (accuracy, size) == (best, size_of_best):
            kept.add(index)
            best, size_of_best = accuracy, size
    return sorted(kept)


def labels(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each key, or the whole of it where two end alike.

    >>> labels(["schedule.final_sparsity", "trainer.epochs", "export"])
    {'schedule.final_sparsity': 'final_sparsity', 'trainer.epochs': 'epochs', 'export': 'export'}
    """
    last = [key.rpartition(".")[2] for key in keys]
    return {key: end if last.count(end) == 1 else key for key, end in zip(keys, last, strict=True)}


def _settings(result: Result, file: TfliteResult) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for key, value in result.config.items():
        _flatten(key, value, settings)
    for key, off in (("sharing.values", None), ("sharing.epochs", 0), ("quantization_aware.epochs", 0)):
        settings.setdefault(key, off)
    for group in GROUPS:
        usual = "none" if group in ("augmentation", "then") else group  # which results of before do not name
        settings[group] = settings.pop(f"{group}.name", usual)
    return {**settings, "export": file.kind, "dataset": result.data.name}


WHOLE = ("distribution.layers", "dataset.class_weights")  # mappings that are one value


def _flatten(key: str, value: Any, into: dict[str, Any]) -> None:
    if isinstance(value, Mapping) and key not in WHOLE:
        for inner, each in value.items():
            _flatten(f"{key}.{inner}", each, into)
    else:
        into[key] = value


def differing(points: Sequence[Point]) -> list[str]:
    """Settings of which the points have several values, but for the seed and what an option brings."""
    keys = dict.fromkeys(key for point in points for key in point.settings)
    seen = {key: {_spelled_at(point, key) for point in points if key in point.settings} for key in keys}
    found = [key for key in keys if len(seen[key]) > 1 and key != "seed" and not key.startswith(APART)]
    options = [key for key in GROUPS if key in found]
    return options + [key for key in found if key not in options and not _brought(key, options, points)]


def _brought(key: str, options: Sequence[str], points: Sequence[Point]) -> bool:
    """Return whether a setting follows from the option of its own group, such as a label or a recipe.

    ``schedule.final_sparsity`` is what people set and compare, whichever schedule has it.
    """
    group = key.partition(".")[0]
    if group not in options or key in ALONG:
        return False
    values: dict[str, set[str]] = {}
    for point in points:
        if key in point.settings:
            values.setdefault(_spelled_at(point, group), set()).add(_spelled_at(point, key))
    return all(len(each) == 1 for each in values.values())


def _group_keys(points: Sequence[Point], keys: Sequence[str]) -> tuple[list[str], bool]:
    """Settings that tell groups apart, as many as there are colours for, and whether none was left out."""
    chosen = [key for key in keys if not key.startswith(ALONG)]
    lined = True
    while chosen and _count(points, chosen) > LARGEST_GROUPS:
        most = max(chosen, key=lambda key: (key not in GROUPS, _count(points, [key])))
        chosen.remove(most)
        lined = False
    return chosen, lined


def _count(points: Sequence[Point], keys: Sequence[str]) -> int:
    return len({tuple(_spelled_at(point, key) for key in keys) for point in points})


def _mark(
    points: Sequence[Point], keys: Sequence[str], group_keys: Sequence[str], named: Mapping[str, str]
) -> Mark:
    return Mark(_label(points[0], keys, named), _label(points[0], group_keys, named), tuple(points))


def _label(point: Point, keys: Sequence[str], named: Mapping[str, str]) -> str:
    return ", ".join(f"{named[key]}={_spelled_at(point, key)}" for key in keys if key in point.settings)


def _spelled_at(point: Point, key: str) -> str:
    return spelled(point.settings[key]) if key in point.settings else ""
