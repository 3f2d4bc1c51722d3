"""Arrays of the user's own, from files or from a function: options of the group ``dataset``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pruneflow.data import arrays
from pruneflow.data.cache import named
from pruneflow.data.custom import check_data, given_of
from pruneflow.data.given import Aim, assembled
from pruneflow.data.names import check_class_names
from pruneflow.data.spec import Data, Spec
from pruneflow.data.split import digest_of
from pruneflow.options import open_mapping, option, require, require_one_of
from pruneflow.runtime.factories import called, check_name, checked_arguments
from pruneflow.sources import Own

__all__ = ["Arrays", "Custom"]

KEY = "dataset.factory"
TASKS = ("classification", "regression")


@dataclass(kw_only=True)
class Answered(Own):
    """Arrays of examples, and of what is to be learned of them.

    Attributes:
        task: ``"classification"``, or ``"regression"``, where labels are numbers to predict.
        standardise: Whether rows of numbers get mean 0 and standard deviation 1 in each feature, measured on
            the training part; images never do.
        standardise_targets: Whether numbers to predict do; metrics are in their own units all the same.
    """

    task: str
    standardise: bool
    standardise_targets: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of("dataset.task", self.task, TASKS)

    def _aim(self, source: str) -> Aim:
        numbers = self.task == "regression"
        return Aim(self.name, source, self.standardise, numbers, self.standardise_targets)


@option("dataset", "arrays")
@dataclass(kw_only=True)
class Arrays(Answered):
    """NumPy arrays: images, or rows of numbers, with labels that are numbers or texts, or numbers to predict.

    Attributes:
        path: A .npz file with examples and labels, or a .npy file with examples. ``~`` is expanded.
        labels_path: The .npy file with the labels, where ``path`` names a .npy file; else null.
        class_names: The labels of classes in the order of their numbers; null takes their own order.
        x_key: Array with the training examples; null takes x_train, x or another usual name.
        y_key: Array with their labels.
        x_test_key: Array with the test examples.
        y_test_key: Array with their labels.
        x_validation_key: Array with the validation examples.
        y_validation_key: Array with their labels.
    """

    kind = None

    path: str | None
    labels_path: str | None
    class_names: list[str] | None
    x_key: str | None
    y_key: str | None
    x_test_key: str | None
    y_test_key: str | None
    x_validation_key: str | None
    y_validation_key: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._named("path", arrays.FORMATS)
        if self._is_pair:
            problem, remedy = (
                "is needed where dataset.path is a .npy file",
                "Name the .npy file with the labels.",
            )
            require(bool(self.labels_path), "dataset.labels_path", "null", problem, remedy)
        else:
            problem = "is for a .npy file as dataset.path"
            require(
                self.labels_path is None, "dataset.labels_path", self.labels_path, problem, "Set it to null."
            )
        names, problem = self.class_names or [], "dataset.task=regression has no classes"
        require(
            not names or self.task != "regression", "dataset.class_names", names, problem, "Set it to null."
        )
        check_class_names(names)

    @property
    def _is_pair(self) -> bool:
        return Path(self.path or "").suffix.lower() == ".npy"

    def load(self) -> Data:
        """Read the arrays.

        Returns:
            Parts with x (n, height, width, channels) uint8 or (n, features) float32, and y (n,) labels
            0 .. classes - 1, or (n, targets) float32 numbers to predict.

        Raises:
            DataError: if a file is missing or broken, or holds something else.
            ConfigError: if there is no array of a name that a setting gives, or if a part would be empty.
        """
        place = self._named("path", arrays.FORMATS)
        if self.labels_path is not None:
            labels = named(
                self.labels_path, key="dataset.labels_path", formats="a .npy file with labels, or null"
            )
            x, y = place.read(arrays.read_npy), labels.read(arrays.read_npy)
            given = arrays.of_pair(place.path, x, y, labels_name=labels.path.name)
        else:
            given = place.read(partial(arrays.read_npz, keys=self._keys))
        given = replace(given, class_order=tuple(self.class_names or ()))
        aim = self._aim(place.source(""))
        return place.read(lambda _: assembled(given, self._plan, aim))

    @property
    def _keys(self) -> arrays.Keys:
        keys = [f"{letter}{part}" for part in ("", "_test", "_validation") for letter in "xy"]
        return arrays.Keys(**{key: getattr(self, f"{key}_key") for key in keys})


@option("dataset", "custom")
@dataclass(kw_only=True)
class Custom(Answered):
    """What a function of the user's own returns.

    Attributes:
        factory: The function, spelled ``package.module:function``; modules of the current folder count too.
        arguments: Its keyword arguments.
    """

    kind = None

    factory: str | None
    arguments: dict[str, Any] = field(default_factory=partial(open_mapping, Any))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name(KEY, self.factory)
        self.arguments = checked_arguments("dataset.arguments", self.arguments)

    def load(self) -> Data:
        """Call the function.

        Returns:
            Its `Data` under this option's name, checked, with a digest of its content; or its arrays, cut as
            `Arrays` does.

        Raises:
            ConfigError: if there is no such function, or if a part would be empty.
            PruneflowError: if it raises.
            DataError: if it returns something else.
        """
        name = str(self.factory)
        value, where = called(KEY, name, self.arguments), f"{KEY}={name}"
        if not isinstance(value, Data):
            return assembled(given_of(where, value), self._plan, self._aim(where))
        check_data(where, value)
        self._check_task(value.spec)
        digest = digest_of(value.train, value.validation, value.test)
        names, left = tuple(value.class_names), tuple(value.left_out)
        value = replace(value, name=self.name, source=value.source or where, digest=digest)
        return replace(value, class_names=names, left_out=left)

    def _check_task(self, spec: Spec) -> None:
        """Refuse data of another task than the setting says."""
        found = "regression" if spec.targets else "classification"
        require(
            self.task == found,
            "dataset.task",
            self.task,
            f"the Data that {self.factory} returns is for a {found}",
            f"Set it to {found}.",
        )
