"""NumPy arrays from files of the user's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pruneflow.datasets.base import Answered
from pruneflow.datasets.reading import arrays
from pruneflow.datasets.reading.cache import named
from pruneflow.datasets.reading.given import assembled
from pruneflow.datasets.reading.names import check_class_names
from pruneflow.datasets.spec import Data
from pruneflow.options import option, require

__all__ = ["Arrays"]


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
