"""TFRecord files of the user's own, which are read as a stream: an option of the group ``dataset``."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.base import Own
from pruneflow.datasets.looks import looked
from pruneflow.datasets.preparation import Preparation
from pruneflow.datasets.reading.cache import Place
from pruneflow.datasets.reading.decoding import RESIZES, Decoding, strictly
from pruneflow.datasets.reading.features import Features, read_features
from pruneflow.datasets.reading.labels import numbered_records
from pruneflow.datasets.reading.names import check_class_names, require_every_class
from pruneflow.datasets.reading.numbers import mean_and_scale_of_files
from pruneflow.datasets.reading.record_rows import RecordRows, Shuffling
from pruneflow.datasets.reading.shard_files import listed_shards
from pruneflow.datasets.reading.shards import Shards, scanned, with_type_of_label
from pruneflow.datasets.rows import Rows
from pruneflow.datasets.spec import Data, Part, Spec
from pruneflow.datasets.split import HELD_OUT_STREAM, VALIDATION_STREAM, Halves, said_of_test, taken
from pruneflow.options import at_most, option, require, require_number, require_one_of, whole_from
from pruneflow.runtime.backend import quiet
from pruneflow.runtime.surroundings import expanded

FORMATS = "a folder with TFRecord files, and features.yaml beside them"
SPECIFICATION = "features.yaml"
PARTS = ("train", "validation", "test")

Indices = npt.NDArray[np.int64]


@option("dataset", "tfrecord")
@dataclass(kw_only=True)
class TfRecord(Own):
    """Records in files, of which a batch at a time is in memory."""

    kind = None

    path: str | None
    features: str | None
    train: str | None
    validation: str | None
    test: str | None
    class_names: list[str] | None
    resize: str
    standardise: bool
    shuffle_buffer: int = at_most(10_000_000)
    parallel_files: int = at_most(256)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_names("features", *PARTS)
        self._named("path", FORMATS)
        check_class_names(self.class_names or ())
        require_one_of("dataset.resize", self.resize, RESIZES)
        for key in ("shuffle_buffer", "parallel_files"):
            require_number(f"dataset.{key}", getattr(self, key), whole_from(1), "Take more.")

    def load(self) -> Data:
        """Read all files once, check them, and cut their records into parts.

        Returns:
            Parts with x `Rows` of (n, *shape): uint8 or float32 images, float32 numbers, int32 token ids;
            they are read when they are asked for. y is (n,) labels 0 .. classes - 1.
        """
        place = self._named("path", FORMATS)
        return looked(place.read(lambda _: self._read(place)))

    def preparation(self, data: Data) -> Preparation:
        """Resize images as the examples were."""
        return replace(super().preparation(data), resize=self.resize if data.spec.kind == "image" else "")

    def _read(self, place: Place) -> Data:
        files = listed_shards(place.path, {part: getattr(self, part) for part in PARTS})
        together = [file for part in PARTS for file in files[part]]
        features = with_type_of_label(self._specification(place), together)
        scan = scanned(together, features)
        y, names = numbered_records(place.path, scan.y, self.class_names or features.classes)
        rows = RecordRows(scan.shards, features, self._decoding(features), self._shuffling)
        _decode_first(rows)
        ids = features.vocabulary_size or scan.ids
        data = self._cut(place, files, rows, y, Spec(features.kind, features.shape, len(names), ids))
        require_every_class(data, names, place.path)
        plain = names == tuple(map(str, range(len(names))))
        data = replace(data, class_names=() if plain else names)
        return self._known(self._standardised(data), scan.shards)

    def _specification(self, place: Place) -> Features:
        named = self.features and expanded("dataset.features", self.features)
        return read_features(named or place.path / SPECIFICATION)

    def _cut(
        self, place: Place, files: dict[str, list[Path]], rows: RecordRows, y: Indices, spec: Spec
    ) -> Data:
        whole = Part(Rows(rows, np.arange(len(y))), y)
        drawn = self._drawn(place.path, rows.shards, files)
        train, validation, test = (taken(whole, at) for at in drawn)
        halves = Halves(train, test, "", validation=validation)
        source = place.source(f"{len(y):,} records in {len(rows.shards.files):,} files")
        data = self._plan.apply(halves, name=self.name, spec=spec, source=source)
        if files["test"]:
            return data
        how = "drawn by dataset.split_seed: no file is named as of the test part"
        said = said_of_test(data, "records", how, validation_too=not files["validation"])
        return replace(data, note=said)

    def _decoding(self, features: Features) -> Decoding:
        height, width, channels = features.shape if features.is_image else (1, 1, 1)
        return Decoding((height, width), channels, self.resize)

    @property
    def _shuffling(self) -> Shuffling:
        return Shuffling(self.shuffle_buffer, self.parallel_files)

    def _drawn(self, root: Path, shards: Shards, files: dict[str, list[Path]]) -> list[Indices]:
        """Numbers of the records of each part, ascending: of its files, or a share of those for training.

        A draw depends on the name of the file, the place in it and ``dataset.split_seed`` alone.
        """
        part = np.concatenate([np.full(len(files[each]), i) for i, each in enumerate(PARTS)])
        part = np.repeat(part, np.diff(shards.starts))
        for name, stream in (("test", HELD_OUT_STREAM), ("validation", VALIDATION_STREAM)):
            if not files[name]:
                fraction = getattr(self, f"{name}_fraction")
                chosen = (part == 0) & (self._chances(root, shards, stream) < fraction)
                _require_some(name, fraction, int(chosen.sum()), int((part == 0).sum()))
                part[chosen] = PARTS.index(name)
        return [np.flatnonzero(part == i) for i in range(len(PARTS))]

    def _chances(self, root: Path, shards: Shards, stream: int) -> npt.NDArray[np.float64]:
        """A number from 0 to 1 for each record."""
        found = []
        for file, count in zip(shards.files, np.diff(shards.starts), strict=True):
            digest = hashlib.sha256(file.relative_to(root).as_posix().encode(errors="surrogateescape"))
            seed = [self.split_seed, stream, *np.frombuffer(digest.digest(), np.uint32)]
            found.append(np.random.default_rng(seed).random(count))
        return np.concatenate(found)

    def _standardised(self, data: Data) -> Data:
        if not (data.spec.is_measured and self.standardise):
            return data
        assert isinstance(data.train.x, Rows)
        mean, scale = mean_and_scale_of_files(data.train.x)
        parts = {part: getattr(data, part) for part in PARTS}
        parts = {name: replace(part, x=part.x.scaled(mean, scale)) for name, part in parts.items()}
        facts = {"mean": mean.tolist(), "scale": scale.tolist()}
        return replace(data, **parts, standardisation=facts)

    def _known(self, data: Data, shards: Shards) -> Data:
        """Let the digest know what decides the order of training, and the scales, beside the examples."""
        known = (shards.starts.tolist(), self._shuffling, self.resize, data.standardisation)
        digest = hashlib.sha256(f"{data.digest} {known}".encode()).hexdigest()
        return replace(data, digest=digest)


def _decode_first(rows: RecordRows) -> None:
    with quiet(), strictly():
        rows.read(np.zeros(1, np.int64))


def _require_some(part: str, fraction: float, chosen: int, count: int) -> None:
    problem = f"puts {chosen:,} of {count:,} training records into the {part} part; neither part may be empty"
    remedy = "Choose a value nearer to 0.5, or write more records."
    require(0 < chosen < count, f"dataset.{part}_fraction", fraction, problem, remedy)
