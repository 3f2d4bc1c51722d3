"""The feature specification of TFRecord files: the features of a record, and what they hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml  # type: ignore[import-untyped]

from pruneflow.datasets.reading.decoding import MODES
from pruneflow.datasets.reading.files import content_of, reading
from pruneflow.datasets.reading.names import listed, refuse_twins
from pruneflow.errors import DataError
from pruneflow.runtime.device import started

TYPES = {"image": "bytes", "numbers": "float", "signal": "float", "tokens": "int64"}  # of features, by kind
DIMENSIONS = {"image": (3,), "numbers": (1,), "signal": (2, 3, 4), "tokens": (1,)}
KEYS = {"example": ("name", "kind", "shape", "vocabulary_size"), "label": ("name", "classes")}
LABELS = ("int64", "bytes")


@dataclass(frozen=True)
class Features:
    """The features that are read of each record.

    Attributes:
        x: Name of the feature with the example.
        kind: What the example is, see `pruneflow.datasets.spec.Spec`.
        shape: Shape of the example; images of other sizes are resized to it.
        y: Name of the feature with the label.
        classes: Names of classes in the order of their numbers; empty where none are given.
        vocabulary_size: Number of token ids; 0 where it is not given.
        label: Type of the labels: ``"int64"``, or ``"bytes"`` for names of classes.
    """

    x: str
    kind: str
    shape: tuple[int, ...]
    y: str
    classes: tuple[str, ...] = ()
    vocabulary_size: int = 0
    label: str = "int64"

    @property
    def is_image(self) -> bool:
        """True where an example is an encoded image."""
        return self.kind == "image"

    @property
    def dtype(self) -> np.dtype[Any]:
        """dtype of examples that are no images."""
        return np.dtype(np.int32 if self.kind == "tokens" else np.float32)

    def parsed(self, records: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Take the features out of records.

        Args:
            records: (k,) bytes, each a ``tf.train.Example``.

        Returns:
            Examples, (k,) encoded images or (k, *shape) numbers, and labels, (k,) int64 or bytes.

        Raises:
            ValueError: if a record does not fit; `problem` says why.
        """
        tf = started()
        types = {"bytes": tf.string, "float": tf.float32, "int64": tf.int64}
        shape = () if self.is_image else self.shape
        wanted = {
            self.x: tf.io.FixedLenFeature(shape, types[TYPES[self.kind]]),
            self.y: tf.io.FixedLenFeature((), types[self.label]),
        }
        try:
            found = tf.io.parse_example(records, wanted)
        except tf.errors.InvalidArgumentError as error:
            raise ValueError(error.message) from error  # or UnicodeDecodeError, which is one, by TensorFlow
        return found[self.x].numpy(), found[self.y].numpy()

    def problem(self, record: bytes) -> str:
        """Say what is wrong with a record, and what it holds; empty where it fits.

        Args:
            record: One ``tf.train.Example``.
        """
        held = held_by(record)
        if held is None:
            return "it is no tf.train.Example"
        count = 1 if self.is_image else prod(self.shape)
        shown = "" if self.is_image else f" of shape {list(self.shape)}"
        for key, name, type_, size in (
            ("example", self.x, TYPES[self.kind], count),
            ("label", self.y, self.label, 1),
        ):
            if name not in held:
                return f"{key}.name={name}: it has no such feature; it holds {_described(held)}"
            if held[name] != (type_, size):
                asked = _feature(type_, size) + (shown if key == "example" else "")
                return f"{key}.name={name}: expected {asked}, found {_feature(*held[name])}"
        return ""


def held_by(record: bytes) -> dict[str, tuple[str, int]] | None:
    """Type and number of values of each feature of a record; None where it is no ``tf.train.Example``."""
    example = started().train.Example()
    try:
        example.ParseFromString(record)
    except Exception:  # DecodeError of protobuf, which is not imported for its name alone
        return None
    held = {}
    for name, feature in sorted(example.features.feature.items()):
        type_ = (feature.WhichOneof("kind") or "").removesuffix("_list")
        held[name] = (type_, len(getattr(feature, f"{type_}_list").value) if type_ else 0)
    return held


def _described(held: Mapping[str, tuple[str, int]]) -> str:
    shown = [f"{name} ({_feature(type_, count)})" for name, (type_, count) in held.items()]
    return listed(shown, most=8) or "none"


def _feature(type_: str, count: int) -> str:
    return f"{count:,} {type_} value{'s' * (count != 1)}" if type_ else "no values"


def read_features(path: Path) -> Features:
    """Read a feature specification.

    Args:
        path: A YAML file with ``example`` (``name``, ``kind``, ``shape``, of tokens ``vocabulary_size``) and
            ``label`` (``name``, and ``classes`` where they are known).
    """
    with reading(path, "a YAML file"):
        try:
            found = yaml.safe_load(content_of(path))
        except yaml.YAMLError as error:
            raise DataError(f"{path}: not a YAML file ({' '.join(str(error).split())}).") from error
    given = _Given(path, found)
    kind = given.one_of("example.kind", tuple(TYPES))
    return Features(
        x=given.text("example.name"),
        kind=kind,
        shape=given.shape(kind),
        y=given.text("label.name"),
        classes=given.classes(),
        vocabulary_size=given.vocabulary_size(kind),
    )


class _Given:
    """The content of a feature specification."""

    def __init__(self, path: Path, found: Any) -> None:
        """Refuse other keys than `KEYS`."""
        self.path, self.values = path, {}
        self._expect(isinstance(found, dict), "", f"the keys {' and '.join(KEYS)}", type(found).__name__)
        for part, value in found.items():
            self._expect(part in KEYS, part, f"no keys but {' and '.join(KEYS)}", part)
            self._expect(isinstance(value, dict), part, f"the keys {', '.join(KEYS[part])}", value)
            for key, each in value.items():
                self._expect(key in KEYS[part], part, f"the keys {', '.join(KEYS[part])}", key)
                self.values[f"{part}.{key}"] = each

    def text(self, key: str) -> str:
        """A text that must be there."""
        value = self.values.get(key)
        self._expect(isinstance(value, str) and bool(value), key, "a name", value)
        return str(value)

    def one_of(self, key: str, allowed: Sequence[str]) -> str:
        """One of some words."""
        value = self.values.get(key)
        self._expect(value in allowed, key, f"one of {', '.join(allowed)}", value)
        return str(value)

    def shape(self, kind: str) -> tuple[int, ...]:
        """The shape of an example, whose dimensions go with the kind."""
        key, value = "example.shape", self.values.get("example.shape")
        forms = {
            "image": "[height, width, channels]",
            "numbers": "[features]",
            "signal": "[steps, channels] or more dimensions",
            "tokens": "[length]",
        }
        fits = isinstance(value, list) and len(value) in DIMENSIONS[kind] and all(map(_is_size, value))
        self._expect(fits, key, f"{forms[kind]}, whole numbers from 1", value)
        shape = tuple(value or ())
        fits = kind != "image" or shape[-1] in MODES
        self._expect(fits, key, "1, 3 or 4 channels", value)
        return shape

    def classes(self) -> tuple[str, ...]:
        """Names of classes; none where the key is missing."""
        value = self.values.get("label.classes") or []
        fits = isinstance(value, list) and all(_is_name(each) for each in value)
        asked = "names of two or more classes, each once; in YAML no, yes and 001 need quotes"
        names = tuple(map(str, value)) if fits else ()
        self._expect(
            fits and len(names) != 1 and len(set(names)) == len(names), "label.classes", asked, value
        )
        refuse_twins(f"{self.path}: label.classes", names)
        return names

    def vocabulary_size(self, kind: str) -> int:
        """Number of token ids; 0 where it is not given."""
        key, value = "example.vocabulary_size", self.values.get("example.vocabulary_size")
        fits = value is None or (kind == "tokens" and _is_size(value) and value >= 2)
        self._expect(fits, key, "a whole number from 2, of tokens only", value)
        return int(value or 0)

    def _expect(self, condition: bool, key: str, expected: str, found: object) -> None:
        if not condition:
            shown = "nothing" if found is None else found
            raise DataError(f"{self.path}: {f'{key}: ' if key else ''}expected {expected}, found {shown}.")


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 1 << 31


def _is_name(value: object) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool) and bool(str(value).strip())
