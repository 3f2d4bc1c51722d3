"""NumPy arrays from files of the user's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pruneflow.datasets.base import Answered
from pruneflow.datasets.reading import arrays
from pruneflow.datasets.reading.cache import Place, named
from pruneflow.datasets.reading.checks import Array
from pruneflow.datasets.reading.given import Given, Labelled, assembled
from pruneflow.datasets.reading.names import check_class_names
from pruneflow.datasets.spec import Data
from pruneflow.options import option, require

__all__ = ["Arrays"]


@option("dataset", "arrays")
@dataclass(kw_only=True)
class Arrays(Answered):
    """NumPy arrays: images, or rows of numbers, with labels that are numbers or texts, or numbers to predict.

    Attributes:
        path: A .npz file with examples and labels, or beside ``labels_path`` a .npy file with examples.
            ``~`` is expanded.
        labels_path: The .npy file with the labels, where ``path`` names a .npy file; else null.
        test_path: File of the test part, like that of ``path``; null takes what ``path`` has, or holds some
            examples out.
        test_labels_path: The .npy file with the labels of the test part, where ``test_path`` names one.
        class_names: The labels of classes in the order of their numbers; null takes their own order.
        groups: Array of the .npz file, or a .npy file, with the group (speaker, patient, recording) of each
            training example; those of one group come into one part. Null knows no groups.
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
    test_path: str | None
    test_labels_path: str | None
    class_names: list[str] | None
    groups: str | None
    x_key: str | None
    y_key: str | None
    x_test_key: str | None
    y_test_key: str | None
    x_validation_key: str | None
    y_validation_key: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_names("test_path", "groups")
        self._named("path", arrays.FORMATS)
        self._check_files()
        names, problem = self.class_names or [], "dataset.task=regression has no classes"
        require(
            not names or self.task != "regression", "dataset.class_names", names, problem, "Set it to null."
        )
        check_class_names(names)

    def _check_files(self) -> None:
        """Refuse files of labels without those of examples, and keys of arrays that no file has."""
        for key, labels in (("path", "labels_path"), ("test_path", "test_labels_path")):
            path, named_labels = getattr(self, key), getattr(self, labels)
            if self.labels_path is None and path is not None:
                problem, remedy = (
                    f"is needed where dataset.{key} is a .npy file",
                    "Name the .npy file with the labels.",
                )
                require(
                    _suffix(path) != ".npy" or bool(named_labels),
                    f"dataset.{labels}",
                    "null",
                    problem,
                    remedy,
                )
        shown, problem = self.test_labels_path, "is for a dataset.test_path beside dataset.labels_path"
        pair = self.labels_path is not None and self.test_path is not None
        remedy = "Set it to null, or name both." if self.test_path is None else "Set it to null."
        require(shown is None or pair, "dataset.test_labels_path", shown, problem, remedy)
        if self.labels_path is not None:
            self._check_pair()
        problem, remedy = "dataset.test_path names the test part already", "Set one of the two to null."
        for key in ("x_test_key", "y_test_key"):
            value = getattr(self, key)
            require(value is None or self.test_path is None, f"dataset.{key}", value, problem, remedy)

    def _check_pair(self) -> None:
        problem = "dataset.test_path beside dataset.labels_path needs the labels of its own"
        fits, remedy = self.test_path is None or bool(self.test_labels_path), "Name the .npy file with them."
        require(fits, "dataset.test_labels_path", "null", problem, remedy)
        problem, remedy = (
            "is for a .npz file of several arrays, and dataset.labels_path names a file for each",
            "Set it to null; dataset.test_path and dataset.test_labels_path name the test part.",
        )
        for key, value in vars(self._keys).items():
            require(value is None, f"dataset.{key}_key", value, problem, remedy)

    def load(self) -> Data:
        """Read the arrays.

        Returns:
            Parts with x (n, height, width, channels) uint8, (n, features) or (n, ..., channels) float32 or
            (n, length) int32 token ids, and y (n,) labels 0 .. classes - 1, or (n, targets) float32 numbers
            to predict.

        Raises:
            DataError: if a file is missing or broken, or holds something else.
            ConfigError: if there is no array of a name that a setting gives, or if a part would be empty.
        """
        place = self._named("path", arrays.FORMATS)
        given = self._pair(place) if self.labels_path is not None else self._npz(place)
        given = replace(given, class_order=tuple(self.class_names or ()))
        aim = self._aim(place.source(""))
        return place.read(lambda _: assembled(given, self._plan, aim))

    def _pair(self, place: Place) -> Given:
        """Examples and labels in a file each, and those for testing too."""
        groups = None if self.groups is None else self._array("groups")
        given = Given(
            place.path, self._labelled(place.read(arrays.read_one), "labels_path", "x"), groups=groups
        )
        if self.test_path is None:
            return given
        return replace(given, test=self._labelled(self._array("test_path"), "test_labels_path", "x_test"))

    def _labelled(self, x: Array, labels: str, name: str) -> Labelled:
        called = f"y{name[1:]} ({Path(getattr(self, labels)).name})"
        return Labelled(x, self._array(labels), (name, called))

    def _array(self, key: str) -> Array:
        """The one array of the file that a setting names."""
        formats = "a .npy file, or a .npz file with one array"
        return named(getattr(self, key), key=f"dataset.{key}", formats=f"{formats}, or null").read(
            arrays.read_one
        )

    def _npz(self, place: Place) -> Given:
        """All arrays in one file, those for testing perhaps in another."""
        given = place.read(partial(arrays.read_npz, keys=self._keys, groups=self.groups))
        if self.test_path is None:
            return given
        test = named(self.test_path, key="dataset.test_path", formats=f"{arrays.FORMATS}, or null")
        return replace(given, test=test.read(arrays.read_test))

    @property
    def _keys(self) -> arrays.Keys:
        keys = [f"{letter}{part}" for part in ("", "_test", "_validation") for letter in "xy"]
        return arrays.Keys(**{key: getattr(self, f"{key}_key") for key in keys})


def _suffix(path: str) -> str:
    return Path(path).suffix.lower()
