"""NumPy arrays from files of the user's own."""

from collections.abc import Iterable
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


@option("dataset", "arrays")
@dataclass(kw_only=True)
class Arrays(Answered):
    """NumPy arrays: images, or rows of numbers, with labels (numbers or texts) or numbers to predict."""

    kind = None

    path: str | None
    labels_path: str | None
    test_path: str | None
    test_labels_path: str | None
    class_names: list[str] | None
    groups: str | None
    sample_weights: str | None
    x_key: str | None
    y_key: str | None
    x_test_key: str | None
    y_test_key: str | None
    x_validation_key: str | None
    y_validation_key: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_names("test_path", "groups", "sample_weights")
        self._named("path", arrays.FORMATS)
        self._check_files()
        names, problem = self.class_names or [], "dataset.task=regression has no classes"
        require(
            not names or self.task != "regression", "dataset.class_names", names, problem, "Set it to null."
        )
        check_class_names(names)

    def _check_files(self) -> None:
        """Refuse files that lack their other half, and names of arrays that nothing would read."""
        for key, labels in (("path", "labels_path"), ("test_path", "test_labels_path")):
            _check_labels(key, getattr(self, key), labels, getattr(self, labels))
        if self.labels_path is not None:
            problem = "is for a .npz file of several arrays, and dataset.labels_path names a file for each"
            remedy = "Set it to null; dataset.test_path and dataset.test_labels_path name the test part."
            self._refuse_keys(arrays.USUAL, problem, remedy)
        if self.test_path is not None:
            problem, remedy = "dataset.test_path names the test part already", "Set one of the two to null."
            self._refuse_keys(("x_test", "y_test"), problem, remedy)

    def _refuse_keys(self, keys: Iterable[str], problem: str, remedy: str) -> None:
        for key in keys:
            value = getattr(self, f"{key}_key")
            require(value is None, f"dataset.{key}_key", value, problem, remedy)

    def load(self) -> Data:
        """Read the arrays.

        Returns:
            Parts with x (n, height, width, channels) uint8, (n, features) or (n, ..., channels) float32 or
            (n, length) int32 token ids, and y (n,) labels 0 .. classes - 1, or (n, targets) float32 numbers
            to predict.
        """
        place = self._named("path", arrays.FORMATS)
        given = replace(self._given(place), class_order=tuple(self.class_names or ()))
        aim = self._aim(place.source(""))
        return place.read(lambda _: assembled(given, self._plan, aim))

    def _given(self, place: Place) -> Given:
        if self.labels_path is None:
            given = place.read(partial(arrays.read_npz, keys=self._keys))
        else:
            train = self._labelled(place.read(arrays.read_one), "labels_path", "x")
            groups = None if self.groups is None else self._array("groups")
            weights = None if self.sample_weights is None else self._array("sample_weights")
            given = Given(place.path, replace(train, groups=groups, weights=weights))
        if self.test_path is None:
            return given
        if given.test is not None:
            unused = f"{' and '.join(given.test.names)} of {place.path.name} were not used"
            note = f"{given.note} {unused}: dataset.test_path names the test part.".strip()
            given = replace(given, note=note)
        return replace(given, test=self._test())

    def _test(self) -> Labelled:
        if self.test_labels_path is not None:
            return self._labelled(self._array("test_path"), "test_labels_path", "x_test")
        formats = (
            "a .npz file with x_test and y_test or x and y, or a .npy file beside dataset.test_labels_path"
        )
        place = named(str(self.test_path), key="dataset.test_path", formats=f"{formats}, or null")
        return place.read(partial(arrays.read_test, groups=self.groups))

    def _labelled(self, x: Array, labels: str, name: str) -> Labelled:
        called = f"y{name[1:]} ({Path(getattr(self, labels)).name})"
        return Labelled(x, self._array(labels), (name, called))

    def _array(self, key: str) -> Array:
        """The one array of the file that a setting names."""
        formats = "a .npy file, or a .npz file with one array, or null"
        return named(getattr(self, key), key=f"dataset.{key}", formats=formats).read(arrays.read_one)

    @property
    def _keys(self) -> arrays.Keys:
        named_arrays = {key: getattr(self, f"{key}_key") for key in arrays.USUAL}
        return arrays.Keys(**named_arrays, groups=self.groups, sample_weights=self.sample_weights)


def _check_labels(key: str, path: str | None, labels: str, labels_path: str | None) -> None:
    """Refuse examples in a .npy file without a file of labels, and labels without examples."""
    lacking = Path(path or "").suffix.lower() == ".npy" and not labels_path
    problem = f"is needed where dataset.{key} is a .npy file"
    require(not lacking, f"dataset.{labels}", "null", problem, "Name the .npy file with the labels.")
    alone, problem = labels_path is not None and path is None, f"dataset.{key} is null"
    require(not alone, f"dataset.{labels}", labels_path, problem, "Name the examples too, or set it to null.")
