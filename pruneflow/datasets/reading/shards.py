"""The places of records in TFRecord files, which are read once from end to end, and checked."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.reading.decoding import in_parallel
from pruneflow.datasets.reading.features import LABELS, Features, held_by
from pruneflow.datasets.reading.files import reading
from pruneflow.datasets.reading.ids import MOST_IDS
from pruneflow.datasets.reading.names import listed
from pruneflow.errors import DataError
from pruneflow.runtime.device import started
from pruneflow.runtime.terminal import bar

HEADER, FRAME = 12, 16  # bytes before a record (length, CRC), and around it (another CRC behind)
AGAIN = "Copy or write it again."
GZIP = b"\x1f\x8b"
AT_ONCE = 64  # records that are parsed together

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Shards:
    """Files of records that follow one another.

    Attributes:
        starts: (files + 1,) number of the first record of each, and the number of all.
        places: (n + 1,) byte at which each record begins, counted through all files, and the end.
        digests: (n, 32) uint8, SHA-256 of the example in each.
    """

    files: list[Path]
    starts: Indices
    places: Indices
    digests: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.digests)

    def of(self, number: int) -> int:
        """Return the place of the file that holds a record."""
        return int(np.searchsorted(self.starts, number, side="right")) - 1

    def called(self, number: int) -> str:
        """Return what messages call a record."""
        file = self.of(number)
        return f"{self.files[file]}: record {number - int(self.starts[file]):,} (from 0)"


@dataclass(frozen=True, eq=False)
class Scan:
    """The content of some files, but for the examples.

    Attributes:
        y: (n,) label of each, int64 or bytes.
        ids: Number of token ids: the largest + 1; 0 for others.
    """

    shards: Shards
    y: npt.NDArray[Any]
    ids: int = 0


def with_type_of_label(features: Features, files: Sequence[Path]) -> Features:
    """Take the type of labels from the first record, and hold the specification against it."""
    for file in files:
        with _whole(file):
            for record in started().data.TFRecordDataset(str(file)).take(1).as_numpy_iterator():
                found = (held_by(record) or {}).get(features.y, ("", 0))[0]
                features = replace(features, label=found if found in LABELS else "int64")
                _require_fit(features, file, 0, record)
                return features
    raise DataError(f"{files[0].parent}: no examples in {listed([file.name for file in files])}.")


def _require_fit(features: Features, file: Path, number: int, record: bytes) -> None:
    if problem := features.problem(record):
        raise DataError(f"{file}: record {number:,} (from 0) does not fit the specification: {problem}.")


@contextmanager
def _whole(file: Path) -> Iterator[None]:
    """Turn what TensorFlow says of a damaged file into one message."""
    with reading(file, "a TFRecord file"):
        with file.open("rb") as stream:
            begin = stream.read(len(GZIP))
        if begin == GZIP:
            raise DataError(f"{file}: compressed with gzip. Write it without compression, or unpack it.")
    errors = started().errors
    try:
        yield
    except errors.DataLossError as error:
        said = re.search(r"(truncated|corrupted) record at (\d+)", str(error))
        shown = f"{said[1]} record at byte {int(said[2]):,}" if said else "a record"
        raise DataError(f"{file}: cut short or changed (CRC of {shown}). {AGAIN}") from None
    except errors.OpError as error:
        raise DataError(f"{file}: cannot be read ({' '.join(error.message.split())[:200]}).") from None


def scanned(files: Sequence[Path], features: Features) -> Scan:
    """Read all files once: check their CRC and every record, and note labels, places and SHA-256."""
    found = []
    with bar(f"Reading {len(files):,} TFRecord files", total=len(files)) as advance:
        for each in in_parallel(lambda file: _scanned(file, features), files):
            found.append(each)
            advance()
    sizes = np.concatenate([each.sizes for each in found])
    return Scan(
        Shards(
            files=list(files),
            starts=np.cumsum([0, *(len(each.sizes) for each in found)]),
            places=np.concatenate([[0], np.cumsum(sizes + FRAME)]),
            digests=np.frombuffer(b"".join(each.digests for each in found), np.uint8).reshape(-1, 32),
        ),
        y=np.concatenate([each.y for each in found if len(each.y)]),
        ids=max(each.ids for each in found),
    )


@dataclass
class _File:
    """The content of one file, but for the examples."""

    sizes: Indices
    digests: bytes
    y: npt.NDArray[Any]
    ids: int


def _scanned(file: Path, features: Features) -> _File:
    sizes, digests, labels, ids, count = [], bytearray(), [], 0, 0
    with _whole(file):
        records = started().data.TFRecordDataset(str(file)).batch(AT_ONCE)
        for batch in records.as_numpy_iterator():
            x, y = _parsed(features, file, count, batch)
            ids = max(ids, _checked(features, file, count, x))
            digests += b"".join(hashlib.sha256(each).digest() for each in x)
            sizes.append(np.fromiter(map(len, batch), np.int64, len(batch)))
            labels.append(y)
            count += len(batch)
    none = [np.zeros(0, np.int64)]
    found = _File(np.concatenate(sizes or none), bytes(digests), np.concatenate(labels or none), ids)
    _require_end(file, int(found.sizes.sum()) + FRAME * count)
    return found


def _require_end(file: Path, end: int) -> None:
    """Refuse bytes behind the last record: TensorFlow takes half a header for the end of the file."""
    size = file.stat().st_size
    if size != end:
        raise DataError(f"{file}: cut short ({size - end} bytes of a record at byte {end:,}). {AGAIN}")


def _parsed(
    features: Features, file: Path, first: int, batch: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    try:
        x, y = features.parsed(batch)
    except ValueError:
        for number, record in enumerate(batch):
            _require_fit(features, file, first + number, record)
        raise
    if features.label == "bytes":
        y = np.array(y.tolist(), np.bytes_)
    return x, y


def _checked(features: Features, file: Path, first: int, x: npt.NDArray[Any]) -> int:
    """Refuse values that no network can read; return the number of token ids so far."""
    if features.is_image:
        return 0
    most = features.vocabulary_size or MOST_IDS
    tokens = features.kind == "tokens"
    bad = np.argwhere((x < 0) | (x >= most) if tokens else ~np.isfinite(x))
    if len(bad):
        asked = f"token ids from 0, below {most:,}" if tokens else "finite numbers"
        raise DataError(
            f"{file}: record {first + int(bad[0][0]):,} (from 0): {features.x}: expected {asked}, found "
            f"{x[tuple(bad[0])]}."
        )
    return int(x.max()) + 1 if tokens else 0
