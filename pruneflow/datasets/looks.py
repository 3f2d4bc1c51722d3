"""Looks at data before they are trained on: what makes their numbers mean less than they seem to.

Each look takes the data, or a part, and returns one sentence, empty where there is nothing to say.
`looked` puts the sentences into the note of the data, which is shown before training.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.reading.names import is_numeral
from pruneflow.datasets.rows import Examples, Rows, chunks
from pruneflow.datasets.spec import Data, Part
from pruneflow.errors import DataError

SAMPLED = 64  # images that are read to compare their pixels
LEVELS = 2.0  # of 255, by which images differ that are alike to the eye
DIM = 64  # of 255: below it the brightest pixel rather shows a wrong white level
MOSTLY = 0.95
SOME = 0.01
HALF = 0.5
FEW = 20  # examples of a part, of which no share means anything
SHOWN = 5


def looked(data: Data) -> Data:
    """Look at data, and say in their note what was seen.

    Raises:
        DataError: if all examples of the training part are equal, so that nothing can be learned.
    """
    require_different(data)
    said = [data.note, *(look(data) for look in LOOKS)]
    return replace(data, note=" ".join(filter(None, said)))


def require_different(data: Data) -> None:
    """Refuse a training part whose examples are all equal."""
    x = data.train.x
    if len(x) < FEW or _most_common(_digests(_some(x))) < min(SAMPLED, len(x)):
        return
    if _most_common(_digests(x)) < len(x):
        return
    reasons = {
        "image": "If they are drawn on a transparent ground, it was dropped: dataset.channels=4 of "
        "dataset=image_folder keeps it.",
        "tokens": "They have no word in common with the vocabulary, or dataset.length is too short.",
    }
    remedy = reasons.get(data.spec.kind, "Look at the arrays that were read.")
    raise DataError(
        f"{data.source or data.name}: all {len(data.train):,} examples of the training part are equal, so "
        f"that nothing tells them apart. {remedy}"
    )


def similar_images(data: Data) -> str:
    """Say that images of the training part hardly differ, by a sample of them."""
    if data.spec.kind != "image" or len(data.train) < 2:
        return ""
    sample = _sampled(data.train.x)
    differ = float(np.ptp(sample, axis=0).max())
    if differ > LEVELS:
        return ""
    return f"Images of the training part differ by at most {differ:g} of 255 in every pixel: are they alike?"


def dark_images(data: Data) -> str:
    """Say that no pixel of a sample of the training part is bright."""
    if data.spec.kind != "image":
        return ""
    brightest = float(_sampled(data.train.x).max())
    if brightest >= DIM:
        return ""
    return (
        f"The brightest pixel of {min(SAMPLED, len(data.train)):,} training images is {brightest:g} of 255: "
        "if it is white, dataset.white (arrays, custom, image_folder) takes its value in the files."
    )


def repeated_examples(data: Data) -> str:
    """Say that one and the same example makes up most of the training part."""
    x = data.train.x
    if len(x) < FEW or 2 * _most_common(_digests(_some(x))) < HALF * min(SAMPLED, len(x)):
        return ""
    count = _most_common(_digests(x))
    if count <= HALF * len(data.train):
        return ""
    return f"{count:,} of {len(data.train):,} examples of the training part are one and the same."


def shared_rows(data: Data) -> str:
    """Say how many test examples are training examples, from 1 % of them on."""
    shared = int(np.isin(_digests(data.test.x), _digests(data.train.x)).sum())
    if len(data.test) < FEW or shared < SOME * len(data.test):
        return ""
    return (
        f"{shared:,} of {len(data.test):,} test examples are in the training part too, so that the test "
        "part says less of new ones than it seems to."
    )


def constant_features(data: Data) -> str:
    """Name features, or channels of a signal, with one value in the whole training part."""
    if not data.spec.is_measured:
        return ""
    first, constant = None, np.arange(data.spec.shape[-1])
    for rows in chunks(data.train.x):
        rows = rows.reshape(-1, data.spec.shape[-1])
        first = rows[0] if first is None else first
        constant = constant[(rows[:, constant] == first[constant]).all(axis=0)]
        if not len(constant):  # most features are seen to change in the first rows
            return ""
    what = "Channel" if data.spec.kind == "signal" else "Feature"
    shown = ", ".join(map(str, constant[:SHOWN])) + (", ..." if len(constant) > SHOWN else "")
    named = (
        f"{what} {shown} has" if len(constant) == 1 else f"{what}s {shown} ({len(constant):,} in all) have"
    )
    return f"{named} one value in the whole training part, and so no say."


def one_class(data: Data) -> str:
    """Say that nearly all examples of the training part are of one class."""
    if not data.spec.classes or len(data.train) < FEW:
        return ""
    counts = np.bincount(data.train.y, minlength=data.spec.classes)
    most = int(counts.argmax())
    share = counts[most] / counts.sum()
    if share <= MOSTLY:
        return ""
    name = data.class_names[most] if data.class_names else str(most)
    return (
        f"{share:.1%} of the training part is class {name}: always saying that gives about this accuracy. "
        "trainer.metrics=[f1] counts each class."
    )


def unknown_words(data: Data) -> str:
    """Say that most words of the validation or test part never occur in the training part.

    Only of texts whose words are known, as token ids 0, 1 and 2 mean nothing elsewhere.
    """
    if data.spec.kind != "tokens" or data.vocabulary is None:
        return ""
    shares = {"validation": _unknown(data.validation), "test": _unknown(data.test)}
    most = max(shares, key=lambda part: shares[part])
    if shares[most] <= HALF:
        return ""
    cause = (
        "dataset.vocabulary_size keeps too few"
        if _unknown(data.train) > HALF
        else "training has not seen them"
    )
    return (
        f"{shares[most]:.0%} of the words of the {most} part are unknown words ({cause}). Where texts have "
        "no blanks between words, as in Chinese, dataset.words=characters (dataset=csv_text) reads each "
        "character as a word."
    )


def alike_numerals(data: Data) -> str:
    """Say that names of classes are one number in several forms, such as 1 and 1.0."""
    forms: dict[Decimal, list[str]] = {}
    for name in filter(is_numeral, data.class_names):
        forms.setdefault(Decimal(name), []).append(name)
    twins = [" and ".join(names) for names in forms.values() if len(names) > 1]
    if not twins:
        return ""
    return f"Classes {', '.join(twins[:SHOWN])} differ in the form of a number alone: one class, or two?"


LOOKS: Sequence[Callable[[Data], str]] = (
    *(similar_images, dark_images, repeated_examples, shared_rows),
    *(constant_features, one_class, unknown_words, alike_numerals),
)


def _unknown(part: Part) -> float:
    """Share of the unknown among the words of texts as token ids."""
    ids = np.asarray(part.x)
    words = int((ids > 1).sum())  # 0 pads and 1 starts a text
    return float((ids == 2).sum() / words) if words else 0.0


def _digests(x: Examples) -> npt.NDArray[np.int64]:
    """Return a hash of 64 bits of each example, (n,), which holds in this process."""
    if isinstance(x, Rows):
        return np.ascontiguousarray(x.digests[:, :8]).view(np.int64).ravel()
    return np.fromiter((hash(row.tobytes()) for row in x), np.int64, len(x))


def _most_common(digests: npt.NDArray[np.int64]) -> int:
    return int(np.unique(digests, return_counts=True)[1].max())


def _spread(count: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(SAMPLED, count)).round().astype(np.int64))


def _some(x: Examples) -> Examples:
    at = _spread(len(x))
    return x.taken(at) if isinstance(x, Rows) else x[at]


def _sampled(x: Examples) -> npt.NDArray[np.float32]:
    """Some examples, evenly spread."""
    return np.asarray(x[_spread(len(x))]).astype(np.float32)
