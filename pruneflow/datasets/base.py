"""Common parts of data sets: settings that several options of the group ``dataset`` share."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from pruneflow.datasets.preparation import Preparation
from pruneflow.datasets.reading.cache import Origin, Place, cache_folder, named, stored
from pruneflow.datasets.reading.given import Aim
from pruneflow.datasets.reading.kinds import KINDS
from pruneflow.datasets.reading.pixels import Reading
from pruneflow.datasets.spec import Data, Spec
from pruneflow.datasets.split import Halves, Plan, validation_size
from pruneflow.datasets.weights import check_class_weights
from pruneflow.options import ABOVE_0, require, require_number, require_one_of

MOST_TOKENS = 1_000_000  # of one text
MOST_WORDS = 100_000_000
TASKS = ("classification", "regression")


@dataclass(kw_only=True)
class Dataset:
    """The settings of every data set.

    Attributes:
        name: Label in tables.
        class_weights: How much examples of each class count in the training loss; see
            `pruneflow.datasets.weights.weighed`. None counts each example once.
    """

    option_name: ClassVar[str]  # as chosen on the command line; set by @option
    kind: ClassVar[str | None]  # of Spec, such as "image"; None where only the data tell

    name: str
    class_weights: Any = None

    def __post_init__(self) -> None:
        check_class_weights(self.class_weights)
        if isinstance(self.class_weights, Mapping):  # YAML takes names such as 1 for numbers
            self.class_weights = {str(name): weight for name, weight in self.class_weights.items()}

    def load(self) -> Data:
        """Read the three parts.

        Raises:
            DataError: if they cannot be had.
            ConfigError: if a part would be empty.
        """
        raise NotImplementedError

    def preparation(self, data: Data) -> Preparation:
        """Return the steps from a file with one example to the input of a network.

        Args:
            data: What `load` returned.
        """
        return Preparation.of(data)

    def _check_names(self, *keys: str) -> None:
        """Refuse an empty name, and empty paths of the settings ``keys``."""
        require(self.name != "", "dataset.name", "", "must not be empty", "Give a label for tables.")
        for key in keys:
            remedy = "Name a path, or null."
            require(getattr(self, key) != "", f"dataset.{key}", "", "must not be empty", remedy)


@dataclass(kw_only=True)
class Stored(Dataset):
    """The settings of data sets that lie in a file; the values stand in ``conf/dataset``."""

    path: str | None
    cache_dir: str | None
    validation_fraction: float
    split_seed: int
    limit: int | None
    download: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_names("path", "cache_dir")
        _check_fraction("validation", self.validation_fraction)
        _check_draws(self.split_seed, self.limit, self.validation_fraction)

    def _place(self, file: str, formats: str, *origins: Origin) -> Place:
        if self.path is not None:
            formats = f"{formats}; null uses the cache folder"
            return named(self.path, key="dataset.path", formats=formats, file=file)
        return stored(cache_folder(self.cache_dir), file=file, download=self.download, origins=origins)

    def _cut(self, halves: Halves, spec: Spec, place: Place) -> Data:
        plan = Plan(self.validation_fraction, self.split_seed, self.limit)
        return plan.apply(halves, name=self.name, spec=spec, source=place.source(halves.origin))


@dataclass(kw_only=True)
class Own(Dataset):
    """The settings of data sets of the user's own; the values stand in ``conf/dataset``."""

    test_fraction: float
    validation_fraction: float
    split_seed: int
    limit: int | None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_names()
        _check_fraction("test", self.test_fraction)
        _check_fraction("validation", self.validation_fraction)
        _check_draws(self.split_seed, self.limit, self.validation_fraction)

    def _named(self, key: str, formats: str) -> Place:
        """The file or folder that the setting ``key`` names, which must name one."""
        path = getattr(self, key)
        require(bool(path), f"dataset.{key}", path, f"it takes {formats}", "Name yours.")
        return named(path, key=f"dataset.{key}", formats=formats)

    @property
    def _plan(self) -> Plan:
        return Plan(self.validation_fraction, self.split_seed, self.limit, self.test_fraction)


@dataclass(kw_only=True)
class Answered(Own):
    """Arrays of examples, and of what is to be learned of them."""

    task: str
    examples: str
    white: float | None
    channels_first: bool | None
    standardise: bool
    standardise_targets: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("dataset.task", self.task, TASKS)
        require_one_of("dataset.examples", self.examples, KINDS)
        check_white(self.white)
        for key in ("white", "channels_first"):
            value, problem = getattr(self, key), f"dataset.examples={self.examples} has no pixels"
            fits = value is None or self.examples in ("auto", "image")
            require(fits, f"dataset.{key}", value, problem, "Set it to null.")

    def preparation(self, data: Data) -> Preparation:
        """Return the steps from an array as those that came, in a .npy file, images too."""
        return replace(super().preparation(data), file="array")

    def _aim(self, source: str) -> Aim:
        numbers, pixels = self.task == "regression", Reading(self.white, self.channels_first)
        targets = self.standardise_targets
        return Aim(self.name, source, self.standardise, numbers, targets, self.examples, pixels)


def check_white(white: float | None) -> None:
    """Refuse a value of white that is none."""
    require_number("dataset.white", white, ABOVE_0.said("{}, or null"), "1, 255, 4095 and 65535 are usual.")


def _check_fraction(part: str, fraction: float) -> None:
    whole = {"validation": "training half for choices", "test": "examples for testing"}[part]
    problem, remedy = "must lie between 0 and 1, both excluded", f"0.1 keeps a tenth of the {whole}."
    require(0 < fraction < 1, f"dataset.{part}_fraction", fraction, problem, remedy)


def _check_draws(seed: int, limit: int | None, validation_fraction: float) -> None:
    require(seed >= 0, "dataset.split_seed", seed, "must be 0 or more", "0 is usual.")
    if limit is not None:
        remedy = "Take some thousands for a quick look, null for all."
        require(limit >= 2, "dataset.limit", limit, "must be 2 or more, or null", remedy)
        validation_size(limit, validation_fraction)


def check_tokens(*, vocabulary_size: int, length: int) -> None:
    """Refuse sizes by which no text could be told from another."""
    remedy = "Ids 0 to 3 are marks; 10000 keeps the usual words."
    require(vocabulary_size >= 5, "dataset.vocabulary_size", vocabulary_size, "must be 5 or more", remedy)
    require(length >= 1, "dataset.length", length, "must be 1 or more", "250 keeps most of a review.")
