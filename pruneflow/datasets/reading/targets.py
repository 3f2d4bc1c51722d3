"""Numbers to predict: finite, as many for each example, standardised by what the training part holds."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pruneflow.datasets.reading.checks import Array, described, expect
from pruneflow.datasets.reading.labels import SEVERAL
from pruneflow.datasets.reading.names import listed
from pruneflow.datasets.reading.numbers import checked_numbers, mean_and_scale
from pruneflow.datasets.spec import Data, Targets
from pruneflow.datasets.split import digest_of


def checked_targets(where: object, parts: Sequence[tuple[str, Array]]) -> list[Array]:
    """Check numbers to predict.

    Args:
        parts: Name and numbers of each, the training part first: (n,) or (n, targets) of any number type.

    Returns:
        (n, targets) float64 of each.
    """
    columns = []
    for name, y in parts:
        fits = y.ndim in (1, 2) and y.size > 0 and y.dtype.kind in "buif"
        expect(fits, where, name, "numbers to predict, (n,) or (n, targets)", described(y))
        columns.append((name, np.asarray(y, np.float64).reshape(len(y), -1)))
    first = columns[0][1].shape[1]
    for name, y in columns:
        expect(
            y.shape[1] == first, where, name, f"{first} numbers for each example, as for training", y.shape
        )
    checked = checked_numbers(where, columns)
    train = checked[0]
    several = train.shape[1] > 1 and bool(((train == 0) | (train == 1)).all())
    expected = f"numbers to predict, not only 0 and 1 in {train.shape[1]} columns; {SEVERAL}"
    expect(not several, where, parts[0][0], expected, described(parts[0][1]))
    return checked


def learnable(data: Data, *, standardise: bool) -> Data:
    """Turn the numbers to predict into float32, with mean 0 and standard deviation 1 in training if wanted.

    Args:
        data: (n, targets) numbers as y, of any number type.

    Raises:
        DataError: if one has the same value in all of the training part, so that nothing can be learned.
    """
    numbers = np.asarray(data.train.y, np.float64)
    constant = np.flatnonzero(numbers.min(axis=0) == numbers.max(axis=0))
    found = f"the same in each of column {listed(list(constant))}"
    expect(not len(constant), data.name, "y", "numbers to predict that differ in the training part", found)
    targets = Targets.plain(numbers.shape[1])
    if standardise:
        mean, scale = mean_and_scale(numbers)
        targets = Targets(tuple(mean.tolist()), tuple(scale.tolist()))
    targets = replace(targets, span=(float(numbers.min()), float(numbers.max())))
    parts = [
        replace(part, y=((part.y - np.array(targets.mean)) / np.array(targets.scale)).astype(np.float32))
        for part in (data.train, data.validation, data.test)
    ]
    facts = dict(data.standardisation or {})
    if standardise:
        facts |= {"target_mean": list(targets.mean), "target_scale": list(targets.scale)}
    train, validation, test = parts
    return replace(
        data,
        spec=replace(data.spec, targets=targets),
        train=train,
        validation=validation,
        test=test,
        digest=digest_of(train, validation, test),
        standardisation=facts or None,
    )
