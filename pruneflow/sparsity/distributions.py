"""Distributions: how the sparsity of a network is shared among its weights."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from math import ceil, prod
from typing import Any, ClassVar

from pruneflow.errors import spelled
from pruneflow.options import BELOW_1, SPARSITY, open_mapping, option, require, require_number
from pruneflow.sparsity.sensitivity import Curve, Scan, shares

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(kw_only=True)
class Distribution:
    """The settings of every distribution.

    Attributes:
        name: Label in tables.
        layers: Final sparsity, [0, 1), of layers or weights by file-name pattern on ``layer`` or
            ``layer/weight``; the last pattern that matches counts. They take no part in the sharing.
    """

    option_name: ClassVar[str]  # as chosen on the command line; set by @option
    scans: ClassVar[bool] = False  # whether it waits for a scan of the trained network

    name: str
    layers: dict[str, float] = field(default_factory=partial(open_mapping, float))

    def __post_init__(self) -> None:
        given: Any = {} if self.layers is None else self.layers  # null is as good as none
        require(
            isinstance(given, Mapping) and not any(isinstance(value, Mapping) for value in given.values()),
            "distribution.layers",
            given,
            "allowed is {pattern:sparsity,...}",
            "In a shell the whole is quoted: 'distribution.layers={conv2d:0.5,dense*:0.95}'.",
        )
        self.layers = dict(given)
        for pattern, sparsity in self.layers.items():
            key, remedy = "distribution.layers", f"distribution.layers={spelled({pattern: 0.5})}"
            problem, typed = SPARSITY.words, spelled({pattern: sparsity})
            require(SPARSITY.hold(sparsity), key, typed, problem, f"Write for instance {remedy}.")

    def overrides(self, names: Sequence[str]) -> dict[str, float]:
        """Final sparsity of each weight that has its own.

        Args:
            names: ``layer/weight`` of every weight that is pruned. A pattern may match the whole name, or
                what comes before any of its slashes.

        Raises:
            ConfigError: if a pattern matches no name, or later patterns decide all that it matches.
        """
        decided: dict[str, str] = {}
        for pattern in self.layers:
            matched = [name for name in names if _matches(name, pattern)]
            self._require(
                bool(matched),
                pattern,
                f"matches nothing that is pruned, which is {', '.join(names)}",
                "Patterns are file-name patterns on layer or layer/weight, such as dense*.",
            )
            decided.update(dict.fromkeys(matched, pattern))
        for pattern in self.layers:
            problem = "decides nothing, since the last pattern that matches counts"
            remedy = "Put it after the wider patterns, or leave it out."
            self._require(pattern in decided.values(), pattern, problem, remedy)
        return {name: self.layers[pattern] for name, pattern in decided.items()}

    def _require(self, condition: bool, pattern: str, problem: str, remedy: str) -> None:
        entry = spelled({pattern: self.layers[pattern]})
        require(condition, "distribution.layers", entry, f"{pattern} {problem}", remedy)

    def check(self, sparsity: float) -> None:
        """Check the final sparsity of the weights that are shared among.

        Args:
            sparsity: Their sparsity, all together, [0, 1).

        Raises:
            ConfigError: if it cannot be reached.
        """

    def share(self, shapes: Shapes, sparsity: float) -> dict[str, float | None]:
        """Sparsity of each weight, so that all together have ``sparsity``.

        Args:
            shapes: Of every weight that has no sparsity of its own, by ``layer/weight``.
            sparsity: Of all elements together, [0, 1).

        Returns:
            A sparsity per weight, [0, 1); None where weights are ranked together.
        """
        raise NotImplementedError

    def floor(self, size: int) -> int:
        """Elements that a weight of ``size`` elements keeps whatever the others do, 1 or more."""
        return 1


@option("distribution", "uniform")
@dataclass(kw_only=True)
class Uniform(Distribution):
    """The same sparsity for every weight, as tfmot does."""

    def share(self, shapes: Shapes, sparsity: float) -> dict[str, float | None]:
        """The sparsity itself."""
        return dict.fromkeys(shapes, sparsity)


@dataclass(kw_only=True)
class _Floored(Distribution):
    """Keeps a part of every weight."""

    min_density: float

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = BELOW_1.said("it is the least fraction of a weight that is kept; {}")
        remedy = "Write for instance distribution.min_density=0.01."
        require_number("distribution.min_density", self.min_density, allowed, remedy)

    def check(self, sparsity: float) -> None:
        """Check that the floor leaves room for ``sparsity``."""
        most = round(1 - sparsity, 9)
        require(
            self.min_density <= most,
            "distribution.min_density",
            self.min_density,
            f"every weight would keep more than schedule.final_sparsity={sparsity} leaves, which is {most}",
            f"Lower it to {most} or less, or lower schedule.final_sparsity.",
        )

    def floor(self, size: int) -> int:
        """``min_density`` of the elements, rounded up, and at least one."""
        return max(1, ceil(round(self.min_density * size, 6)))


@option("distribution", "global")
@dataclass(kw_only=True)
class Global(_Floored):
    """All weights ranked together, by their scores; each keeps at least ``min_density`` of its elements."""

    def share(self, shapes: Shapes, sparsity: float) -> dict[str, float | None]:
        """None for every weight: it is the scores that share."""
        return dict.fromkeys(shapes)


@option("distribution", "erk")
@dataclass(kw_only=True)
class Erk(_Floored):
    """Erdos-Renyi-Kernel: larger weights are sparser. Density is proportional to sum(shape) / prod(shape).

    Evci et al. 2020, arXiv 1911.11134; for matrices Mocanu et al. 2018, arXiv 1707.04780. Densities above 1
    are clipped to 1 and those below ``min_density`` raised to it; the others are scaled to meet the total.
    """

    def share(self, shapes: Shapes, sparsity: float) -> dict[str, float | None]:
        """1 - density of each weight."""
        if not shapes:
            return {}
        sizes = {name: prod(shape) for name, shape in shapes.items()}
        ratios = {name: sum(shape) / sizes[name] for name, shape in shapes.items()}

        def densities(scale: float) -> dict[str, float]:
            return {n: min(1.0, max(self.min_density, scale * ratio)) for n, ratio in ratios.items()}

        def kept(scale: float) -> float:
            return sum(density * sizes[name] for name, density in densities(scale).items())

        wanted = (1 - sparsity) * sum(sizes.values())
        bends = sorted(bound / ratio for ratio in ratios.values() for bound in (self.min_density, 1.0))
        return {name: 1 - density for name, density in densities(_solve(kept, bends, wanted)).items()}


@option("distribution", "matrices")
@dataclass(kw_only=True)
class Matrices(_Floored):
    """Zeros where they can save time: in matrices, of which each has the same sparsity.

    TFLite has sparse kernels for fully connected layers, none for convolutions (but 1 x 1, in networks made
    for it). Weights of other ranks stay dense, unless the total cannot be met without them; then the matrices
    keep ``min_density`` of themselves, and what is missing is shared evenly by the others.
    """

    def share(self, shapes: Shapes, sparsity: float) -> dict[str, float | None]:
        """As sparse as it has to be: first the matrices, then the others."""
        sizes = {name: prod(shape) for name, shape in shapes.items()}
        inside = sum(size for name, size in sizes.items() if len(shapes[name]) == 2)
        outside = sum(sizes.values()) - inside
        zeros = sparsity * (inside + outside)
        of_matrices = min(zeros / inside, 1 - self.min_density) if inside else 0.0
        of_others = max(0.0, (zeros - of_matrices * inside) / outside) if outside else 0.0
        return {name: of_matrices if len(shape) == 2 else of_others for name, shape in shapes.items()}


@option("distribution", "sensitivity")
@dataclass(kw_only=True)
class Scanning(_Floored):
    """The shares that cost least by a scan of the trained network; see `pruneflow.sparsity.sensitivity`.

    The scan is made once the dense network is trained. Before, all weights have the same sparsity.
    """

    scans: ClassVar[bool] = True

    def share(self, shapes: Shapes, sparsity: float) -> dict[str, float | None]:
        """The sparsity itself, in place of what is not known yet."""
        return dict.fromkeys(shapes, sparsity)

    def after(self, scan: Scan) -> Scanning:
        """Return the distribution that the scan decides."""
        return AfterScan(name=self.name, layers=self.layers, min_density=self.min_density, scan=scan)


@dataclass(kw_only=True)
class AfterScan(Scanning):
    """The same once the scan is known; nothing that can be chosen."""

    scans: ClassVar[bool] = False

    scan: Scan

    @property
    def curves(self) -> list[Curve]:
        """Damage of each weight, or of each group of channels, in the order of the network."""
        return [each.curve(self.scan.loss) for each in self.scan.weights]

    def share(self, shapes: Shapes, sparsity: float) -> dict[str, float | None]:
        """The shares of least damage."""
        sizes = {name: prod(shape) for name, shape in shapes.items()}
        curves = dict(zip((each.name for each in self.scan.weights), self.curves, strict=True))
        return {**shares(curves, sizes, sparsity, most=1 - self.min_density)}


def _solve(rising: Callable[[float], float], bends: Sequence[float], wanted: float) -> float:
    """Return the argument at which a function, piecewise linear between ``bends``, reaches ``wanted``."""
    index = bisect_right(bends, wanted, key=rising)
    if index in (0, len(bends)):
        return bends[max(0, index - 1)]
    below, above = bends[index - 1], bends[index]
    start = rising(below)
    return below + (above - below) * (wanted - start) / (rising(above) - start)


def _matches(name: str, pattern: str) -> bool:
    parts = name.split("/")
    return any(fnmatchcase("/".join(parts[:count]), pattern) for count in range(1, len(parts) + 1))
