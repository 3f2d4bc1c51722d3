"""Answers of the exported file by class, and examples that pruning made wrong, worked out by hand."""

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pruneflow.datasets.preparation import Preparation
from pruneflow.datasets.spec import Data, Part, Spec
from pruneflow.errors import PruneflowError
from pruneflow.flow.evaluate import Evaluation, Evaluations
from pruneflow.flow.mistakes import MISTAKES_FILE, read_mistakes, written_mistakes
from pruneflow.models.tasks import Classification, Regression

# Three classes; the dense network has examples 0 to 3 right, the file 0 and 4.
Y = np.array([0, 1, 2, 0, 1])
DENSE = [[0.8, 0.1, 0.1], [0.1, 0.9, 0], [0.2, 0.2, 0.6], [0.7, 0.3, 0], [0.6, 0.4, 0]]
FILE = [[0.9, 0.1, 0.0], [0.6, 0.4, 0], [0.1, 0.8, 0.1], [0.3, 0.7, 0], [0.3, 0.7, 0]]


def evaluation(outcome, part="test"):
    return Evaluation(None, {}, {part: np.array(outcome)}, np.zeros(0), 0.0)


def found(dense=DENSE, part="test", **changed):
    of_dense = None if dense is None else evaluation(dense, part)
    of_file = evaluation(FILE, part)
    task = Classification(3, from_logits=False)
    known = Evaluations(of_dense, of_file, {"float": of_file}, Y, task, (), part)
    return replace(known, **changed)


def data(x, spec, **known):
    nothing = Part(x[:0], Y[:0])
    return Data("made", spec, nothing, Part(x, Y), Part(x, Y), **known)


PICTURES = data(
    (np.arange(5 * 2 * 2) % 256).reshape(5, 2, 2, 1).astype(np.uint8), Spec("image", (2, 2, 1), 3)
)


def written(tmp_path, of=PICTURES, evaluations=None, *, shown=True):
    return written_mistakes(evaluations or found(), of, Preparation.of(of), tmp_path, shown=shown)


def test_the_confusion_matrix_and_the_lost_examples_are_those_of_the_answers(tmp_path):
    mistakes = written(tmp_path)
    assert mistakes.confusion == ((1, 1, 0), (1, 1, 0), (0, 1, 0))
    assert (mistakes.lost, mistakes.gained, mistakes.part, mistakes.kind) == (3, 1, "test", "float")
    shown = [
        (each.index, each.label, each.answer, each.dense_share, each.share) for each in mistakes.examples
    ]
    assert shown == [(2, "2", "1", 0.6, 0.8), (3, "0", "1", 0.7, 0.7), (1, "1", "0", 0.9, 0.6)]
    image = Image.open(io.BytesIO(base64.b64decode(mistakes.examples[0].png)))
    assert np.asarray(image).tolist() == [[8, 9], [10, 11]]
    assert read_mistakes(tmp_path) == mistakes


def test_the_validation_part_is_answered_where_the_test_part_was_left_alone(tmp_path):
    assert written(tmp_path, evaluations=found(part="validation")).part == "validation"


def test_texts_are_quoted_in_words_and_in_ids_where_these_are_all_there_is(tmp_path):
    tokens = np.array([[0, 1, 5, 6, 2]] * 5, np.int32)
    texts = data(tokens, Spec("tokens", (5,), 3, 10), vocabulary={"good": 5, "film": 6})
    assert written(tmp_path, texts).examples[0].text == "good film …"
    assert written(tmp_path, replace(texts, vocabulary=None)).examples[0].text == "5 6 2"
    long = data(np.full((5, 200), 5, np.int32), Spec("tokens", (200,), 3, 10), vocabulary={"good": 5})
    assert written(tmp_path, long).examples[0].text.split() == ["…", *["good"] * 60]


def test_numbers_are_in_the_units_of_the_data(tmp_path):
    scales = {"mean": [100.0, 0.0], "scale": [10.0, 1.0]}
    numbers = data(np.full((5, 2), 0.5, np.float32), Spec("numbers", (2,), 3), standardisation=scales)
    assert written(tmp_path, numbers).examples[0].text == "105, 0.5"
    signals = data(np.zeros((5, 3, 2), np.float32), Spec("signal", (3, 2), 3))
    assert {(each.png, each.text) for each in written(tmp_path, signals).examples} == {("", "")}


def test_large_images_are_reduced_and_at_most_twelve_are_kept(tmp_path):
    y, count = np.zeros(20, int), 20
    right, wrong = np.tile([0.9, 0.1], (count, 1)), np.tile([0.1, 0.9], (count, 1))
    x = np.full((count, 200, 400, 3), 300.0, np.float32)  # beyond white
    part = Part(x, y)
    large = Data("large", Spec("image", (200, 400, 3), 2), part, part, part)
    mistakes = written(
        tmp_path,
        large,
        Evaluations(
            evaluation(right), evaluation(wrong), {"int8": evaluation(wrong)}, y,
            Classification(2, from_logits=False), (), "test",
        ),
    )  # fmt: skip
    assert (mistakes.lost, len(mistakes.examples)) == (20, 12)
    image = Image.open(io.BytesIO(base64.b64decode(mistakes.examples[0].png)))
    assert image.size == (96, 48) and image.getpixel((0, 0)) == (255, 255, 255)


def test_no_example_is_kept_where_that_is_asked_for_and_counts_stay(tmp_path):
    mistakes = written(tmp_path, shown=False)
    assert (mistakes.examples, mistakes.lost) == ((), 3)
    assert "png" not in (tmp_path / MISTAKES_FILE).read_text()


def test_without_a_dense_network_there_is_a_matrix_alone_and_for_numbers_nothing(tmp_path):
    mistakes = written(tmp_path, evaluations=found(dense=None))
    assert (mistakes.lost, mistakes.gained, mistakes.examples) == (None, None, ())
    assert mistakes.confusion
    assert written(tmp_path, evaluations=found(task=Regression(None))) is None
    assert not (tmp_path / MISTAKES_FILE).exists() and read_mistakes(tmp_path) is None


BROKEN = {
    "text": "{",
    "list": [],
    "confusion": {"confusion": [[1, 2], [3, 4]]},
    "negative": {"confusion": [[1, 0, 0], [0, -1, 0], [0, 0, 1]]},
    "examples": {"examples": [{"index": 1}]},
}


@pytest.mark.parametrize("how", [*BROKEN, "base64", "picture", "many"])
def test_a_damaged_file_is_named(tmp_path, how):
    written(tmp_path)
    file = tmp_path / MISTAKES_FILE
    whole = json.loads(file.read_text())
    broken = BROKEN.get(how, {})
    if how in ("base64", "picture"):
        whole["examples"][0]["png"] = "no base64!" if how == "base64" else "R0lGODlh"
    if how == "many":
        whole["examples"] *= 5
    text = broken if isinstance(broken, str) else json.dumps({**whole, **broken} if broken != [] else [])
    file.write_text(text)
    with pytest.raises(
        PruneflowError, match=r"mistakes\.json does not hold the mistakes of a run: .*Delete it"
    ):
        read_mistakes(tmp_path)
