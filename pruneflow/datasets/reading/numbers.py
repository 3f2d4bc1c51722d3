"""Rows of numbers, and signals: finite, of one shape, and standardised by what the training part holds."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.reading.checks import Array, described, expect
from pruneflow.datasets.rows import Rows, chunks
from pruneflow.datasets.spec import Data, Part
from pruneflow.datasets.split import digest_of

Floats = npt.NDArray[np.float64]


def checked_numbers(where: object, parts: Sequence[tuple[str, Array]]) -> list[Array]:
    """Check rows of numbers, or signals.

    Args:
        parts: Name and numbers of each, (n, features) or (n, ..., channels) of any number type.
    """
    for name, x in parts:
        expect(x.dtype.kind in "buif" and x.ndim >= 2, where, name, "numbers (n, features)", described(x))
        with np.errstate(over="ignore"):
            bad = np.argwhere(~np.isfinite(x.astype(np.float32)))
        found = (
            f"{x[tuple(bad[0])]} in row {bad[0][0]}, column {_listed(bad[0][1:])}, {len(bad):,} in all"
            if len(bad)
            else ""
        )
        expect(not len(bad), where, name, "finite numbers; drop such rows or fill them", found)
    return [x for _, x in parts]


def standardised(data: Data, *, wanted: bool) -> Data:
    """Turn the numbers of all parts into float32, with mean 0 and standard deviation 1 in training if wanted.

    A feature that never changes in the training part is only moved. Of a signal, each channel, which is the
    last dimension, has one mean and one standard deviation.

    Args:
        data: (n, features) or (n, ..., channels) of any number type.
    """
    if not wanted:
        return _with(data, np.zeros(1), np.ones(1))
    mean, scale = mean_and_scale(np.asarray(data.train.x, np.float64))
    facts = {"mean": mean.tolist(), "scale": scale.tolist()}
    return replace(_with(data, mean, scale), standardisation=facts)


def mean_and_scale(train: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each column, 1 of one that never changes.

    Args:
        train: (n, columns) or (n, ..., columns).
    """
    train = train.reshape(-1, train.shape[-1])
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    # The mean of equal numbers may be off by its last bits, which a deviation of about 0 would blow up.
    constant = train.min(axis=0) == train.max(axis=0)
    return np.where(constant, train[0], mean), np.where(constant, 1.0, deviation)


def mean_and_scale_of_files(train: Rows) -> tuple[Floats, Floats]:
    """The same of rows in files, in one pass; the last bits may differ.

    Sums are taken of distances from the first row, so that they stay small (Chan et al. 1983).
    """
    columns = train.shape[-1]
    shift = train[:1].reshape(-1, columns)[0].astype(np.float64)
    count, total, squares, changes = 0, np.zeros(columns), np.zeros(columns), np.zeros(columns, bool)
    for rows in chunks(train):
        away = rows.reshape(-1, columns).astype(np.float64) - shift
        count += len(away)
        total += away.sum(axis=0)
        squares += np.square(away).sum(axis=0)
        changes |= away.any(axis=0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
    return shift + mean, np.where(changes & (deviation > 0), deviation, 1.0)


def _listed(place: npt.NDArray[np.int64]) -> str:
    return str(place[0]) if len(place) == 1 else str(tuple(place.tolist()))


def _with(data: Data, mean: Floats, scale: Floats) -> Data:
    def moved(part: Part) -> Part:
        return replace(part, x=((np.asarray(part.x, np.float64) - mean) / scale).astype(np.float32))

    train, validation, test = map(moved, (data.train, data.validation, data.test))
    digest = digest_of(train, validation, test)
    return replace(data, train=train, validation=validation, test=test, digest=digest)
