"""The answers of the exported file: its confusion matrix, and examples that pruning made wrong."""

import base64
import io
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.preparation import IMAGE_CHANNELS, Preparation
from pruneflow.datasets.reading.text import PAD, START
from pruneflow.datasets.spec import Data
from pruneflow.errors import PruneflowError
from pruneflow.flow.evaluate import Evaluations
from pruneflow.models.tasks import Classification
from pruneflow.runtime.files import write_file
from pruneflow.runtime.records import fitted, read_json

MISTAKES_FILE = "mistakes.json"
MOST_CLASSES = 100  # of a confusion matrix; more could not be read
MOST_EXAMPLES = 12
MOST_PIXELS = 96  # of a side; larger images are reduced
MOST_WORDS = 60  # of a text, its last ones, which the network reads last
MOST_NUMBERS = 12
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Mistake:
    """An example that the dense network had right and the exported file has wrong.

    Attributes:
        index: Its position in the part.
        label: Its class.
        answer: The class that the file gives.
        dense_share: Probability of the label, as the dense network gives it.
        share: Probability of the wrong answer, as the file gives it.
        png: An image, as base64; empty for others.
        text: A text, or numbers; empty for others.
    """

    index: int
    label: str
    answer: str
    dense_share: float
    share: float
    png: str = ""
    text: str = ""


@dataclass(frozen=True)
class Mistakes:
    """The answers of one exported file.

    Attributes:
        kind: Its kind, such as ``"float"``.
        part: The part that it answered, ``"test"`` or ``"validation"``.
        classes: Names of the classes.
        confusion: Examples by label (rows) and answer; empty where there are more than 100 classes.
        lost: Examples that the dense network has right and the file has wrong; null without a dense network.
        gained: The same the other way round.
        examples: Some of the lost ones, the surest wrong answers first.
    """

    kind: str
    part: str
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    lost: int | None
    gained: int | None
    examples: tuple[Mistake, ...]


def written_mistakes(
    found: Evaluations, data: Data, reads: Preparation, run_dir: Path, *, shown: bool
) -> Mistakes | None:
    """Write ``mistakes.json`` for the first exported file, from answers that are known already.

    Returns:
        What was written; None for a regression, which has no classes.
    """
    file = run_dir / MISTAKES_FILE
    file.unlink(missing_ok=True)  # of a run that was carried out anew
    if not isinstance(found.task, Classification):
        return None
    mistakes = _mistakes(found, data, reads, shown=shown)
    write_file(file, (json.dumps(asdict(mistakes), indent=1) + "\n").encode())
    return mistakes


def read_mistakes(run_dir: Path) -> Mistakes | None:
    """Read ``mistakes.json`` back.

    Returns:
        None where there is none: of a regression, and of runs of before.
    """
    file = run_dir / MISTAKES_FILE
    if not os.path.lexists(file):
        return None
    try:
        found: Mistakes = fitted(read_json(file), Mistakes)
        _require_whole(found)
    except (OSError, ValueError) as error:
        raise PruneflowError(
            f"{file} does not hold the mistakes of a run: {error}. Delete it, or run again."
        ) from error
    return found


def _require_whole(found: Mistakes) -> None:
    count = len(found.classes)
    counts = [number for row in found.confusion for number in row]
    square = all(len(row) == count for row in found.confusion) and len(found.confusion) in (0, count)
    if not square or min(counts, default=0) < 0:
        raise ValueError(f"confusion is no matrix of counts of {count} classes")
    for example in found.examples[MOST_EXAMPLES:]:
        raise ValueError(f"example {example.index} is more than the {MOST_EXAMPLES} that a run keeps")
    for example in found.examples:
        if not base64.b64decode(example.png, validate=True).startswith(PNG if example.png else b""):
            raise ValueError(f"the picture of example {example.index} is no PNG")


def _mistakes(found: Evaluations, data: Data, reads: Preparation, *, shown: bool) -> Mistakes:
    kind, of_file = next(iter(found.files.items()))
    part = data.test if found.part == "test" else data.validation
    outcome = of_file.outcomes[found.part]
    count = outcome.shape[1]
    names = data.class_names or tuple(map(str, range(count)))
    answers = outcome.argmax(axis=1)
    known = Mistakes(kind, found.part, tuple(names), _confusion(part.y, answers, count), None, None, ())
    if found.dense is None:
        return known
    of_dense = found.dense.outcomes[found.part]
    was_right, is_right = of_dense.argmax(axis=1) == part.y, answers == part.y
    lost = np.flatnonzero(was_right & ~is_right)
    surest = lost[np.argsort(-outcome[lost, answers[lost]], kind="stable")][: MOST_EXAMPLES if shown else 0]
    words = {token: word for word, token in (data.vocabulary or {}).items()}
    examples = tuple(
        Mistake(
            index=int(index),
            label=names[part.y[index]],
            answer=names[answers[index]],
            dense_share=round(float(of_dense[index, part.y[index]]), 4),
            share=round(float(outcome[index, answers[index]]), 4),
            **_shown(example, reads, words),
        )
        for index, example in zip(surest, part.x[surest] if len(surest) else (), strict=True)
    )
    gained = int((is_right & ~was_right).sum())
    return replace(known, lost=len(lost), gained=gained, examples=examples)


def _confusion(y: npt.NDArray[Any], answers: npt.NDArray[Any], count: int) -> tuple[tuple[int, ...], ...]:
    """Count examples by label and answer.

    >>> _confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    ((1, 1), (0, 1))
    """
    if count > MOST_CLASSES:
        return ()
    counts = np.zeros((count, count), int)
    np.add.at(counts, (y, answers), 1)
    return tuple(tuple(map(int, row)) for row in counts)


def _shown(example: npt.NDArray[Any], reads: Preparation, words: Mapping[int, str]) -> dict[str, str]:
    """Return an example as a picture or in words; empty for what is neither, such as a signal."""
    if reads.kind == "image" and example.shape[-1] in IMAGE_CHANNELS:
        return {"png": _png(example)}
    if reads.kind == "tokens":
        return {"text": _text(example, words, "" if reads.words == "characters" else " ")}
    if reads.kind == "numbers":
        return {"text": _numbers(example, reads)}
    return {}


def _png(example: npt.NDArray[Any]) -> str:
    from PIL import Image

    pixels = np.clip(np.rint(example), 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    image.thumbnail((MOST_PIXELS, MOST_PIXELS))
    content = io.BytesIO()
    image.save(content, format="PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode()


def _text(example: npt.NDArray[Any], words: Mapping[int, str], between: str) -> str:
    """Return the end of a text; a word without an id of its own is an ellipsis."""
    tokens = [int(token) for token in example if token not in (PAD, START)]
    cut = ["…"] if len(tokens) > MOST_WORDS else []
    named = [words.get(token, "…" if words else str(token)) for token in tokens[-MOST_WORDS:]]
    return between.join([*cut, *named])


def _numbers(example: npt.NDArray[Any], reads: Preparation) -> str:
    """Return the first numbers in the units of the data."""
    values = example.astype(np.float64)
    if reads.mean:
        values = values * np.array(reads.scale) + np.array(reads.mean)
    shown = ", ".join(f"{value:.4g}" for value in values.ravel()[:MOST_NUMBERS])
    return f"{shown}, …" if values.size > MOST_NUMBERS else shown
