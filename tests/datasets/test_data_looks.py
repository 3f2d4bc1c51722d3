"""What is seen in data before they are trained on, and what is not said of good ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_fixtures import arrays, class_folders, images, rows, texts
from PIL import Image

from pruneflow.datasets import looks
from pruneflow.datasets.spec import Data, Part, Spec
from pruneflow.errors import DataError

RNG = np.random.default_rng(0)


def data_of(train: Any, test: Any = None, *, kind: str = "numbers", y: Any = None, **facts: Any) -> Data:
    """Data whose validation part is the training part."""
    x = np.asarray(train)
    labels = np.arange(len(x)) % 2 if y is None else np.asarray(y)
    held = np.asarray(test) if test is not None else RNG.random((30, *x.shape[1:])).astype(x.dtype)
    size = 50 if kind == "tokens" else 0
    spec = Spec(kind, x.shape[1:], 2, size)
    part = Part(x, labels)
    return Data("mine", spec, part, part, Part(held, np.arange(len(held)) % 2), **facts)


def noise(n: int = 40) -> np.ndarray:
    return RNG.integers(0, 256, (n, 4, 4, 1), dtype=np.uint8)


def test_nothing_is_said_of_good_data() -> None:
    good = [data_of(noise(), noise(), kind="image"), data_of(RNG.random((40, 3)))]
    good.append(data_of(RNG.integers(3, 50, (40, 6)), kind="tokens", vocabulary={"a": 4}))
    for data in good:
        assert looks.looked(data).note == ""


def test_a_note_is_kept_and_added_to() -> None:
    data = data_of(np.ones((40, 1)) * np.arange(40)[:, None], y=[0] * 40, note="Drawn.")
    assert looks.looked(data).note.startswith("Drawn. 100.0% of the training part is class 0:")


@pytest.mark.parametrize(
    ("kind", "said"), [("image", "dataset.channels=4"), ("numbers", "Look at the arrays")]
)
def test_examples_that_are_all_equal_are_refused(kind: str, said: str) -> None:
    shape = (40, 4, 4, 1) if kind == "image" else (40, 3)
    with pytest.raises(DataError, match=f"mine: all 40 examples of the training part are equal.*{said}"):
        looks.looked(data_of(np.zeros(shape, np.uint8), kind=kind))


def test_black_drawings_on_a_transparent_ground_are_refused_and_kept_by_four_channels(tmp_path: Path) -> None:
    for name in ("left", "right"):
        (tmp_path / "icons" / name).mkdir(parents=True)
        for each in range(20):
            drawn = np.zeros((6, 6, 4), np.uint8)
            drawn[each % 6, : 3 if name == "left" else 6, 3] = 255
            Image.fromarray(drawn).save(tmp_path / "icons" / name / f"{each}.png")
    with pytest.raises(
        DataError, match=r"are equal, .* transparent ground, it was dropped: dataset\.channels=4"
    ):
        images(tmp_path / "icons").load()
    assert images(tmp_path / "icons", channels=4).load().train.x[:].max() == 255


def test_images_that_hardly_differ_are_told() -> None:
    near = np.full((40, 4, 4, 1), 200, np.uint8) + (np.arange(40) % 3).astype(np.uint8)[:, None, None, None]
    said = "Images of the training part differ by at most 2 of 255 in every pixel: are they alike?"
    assert looks.similar_images(data_of(near, kind="image")) == said
    near[0, 0, 0, 0] = 100
    assert looks.similar_images(data_of(near, kind="image")) == ""


def test_images_without_a_bright_pixel_are_told() -> None:
    assert "is 15 of 255" in looks.dark_images(data_of(noise() % 16, kind="image"))
    assert looks.dark_images(data_of(noise() % 65, kind="image")) == ""


def test_one_example_that_makes_up_more_than_half_is_told() -> None:
    x = np.arange(40.0)[:, None]
    x[:20] = 0.0
    assert looks.repeated_examples(data_of(x)) == ""
    x[20] = 0.0
    said = "21 of 40 examples of the training part are one and the same."
    assert looks.repeated_examples(data_of(x)) == said


@pytest.mark.parametrize(("shared", "told"), [(0, False), (1, False), (2, True)])
def test_test_rows_that_are_training_rows_are_told_from_one_percent_on(shared: int, told: bool) -> None:
    train, test = np.arange(40.0)[:, None], np.arange(1000.0, 1150.0)[:, None]
    test[:shared] = train[:shared]
    said = looks.shared_rows(data_of(train, test))
    assert said.startswith(f"{shared:,} of 150 test examples are in the training part") == told
    assert bool(said) == told


def test_the_same_image_under_another_name_in_the_test_folder_is_told(tmp_path: Path) -> None:
    class_folders(tmp_path / "pets" / "train", count=20)
    class_folders(tmp_path / "pets" / "test", count=20)
    assert "of 40 test examples are in the training part too" in images(tmp_path / "pets").load().note


def test_constant_features_and_channels_are_named() -> None:
    x = RNG.random((40, 3))
    x[:, 1] = 7.0
    assert looks.constant_features(data_of(x)) == (
        "Feature 1 has one value in the whole training part, and so no say."
    )
    signal = RNG.random((40, 5, 4))
    signal[..., 0] = signal[..., 3] = 0.0
    assert looks.constant_features(data_of(signal, kind="signal")).startswith(
        "Channels 0, 3 (2 in all) have one value"
    )


@pytest.mark.parametrize(("rest", "told"), [(5, False), (4, True)])
def test_one_class_of_more_than_95_percent_is_told(rest: int, told: bool) -> None:
    y = np.array([0] * (100 - rest) + [1] * rest)
    said = looks.one_class(data_of(RNG.random((100, 2)), y=y, class_names=("calm", "loud")))
    assert said.startswith("96.0% of the training part is class calm") == told


def test_texts_whose_words_are_mostly_unknown_are_told(tmp_path: Path) -> None:
    lines = ["text,label", *(f"这家店{i}很{'好' if i % 2 else '坏'}吃,{i % 2}" for i in range(60))]
    path = rows(tmp_path / "mine.csv", lines)
    note = texts(path).load().note
    assert "100% of the words of the validation part are unknown words" in note
    assert "dataset.words=characters" in note
    by_characters = texts(path, words="characters", length=8).load()
    assert "unknown" not in by_characters.note
    assert {"这", "好", "坏"} <= set(by_characters.vocabulary or ())


def test_token_ids_of_unknown_words_mean_no_unknown_words() -> None:
    assert looks.unknown_words(data_of(np.full((40, 3), 2), kind="tokens")) == ""
    known = data_of(np.full((40, 3), 2), kind="tokens", vocabulary={"a": 4})
    assert "dataset.vocabulary_size keeps too few" in looks.unknown_words(known)


def test_classes_that_differ_in_the_form_of_a_number_are_told() -> None:
    x = RNG.random((40, 2))
    assert "Classes 1 and 1.0 differ" in looks.alike_numerals(data_of(x, class_names=("1", "1.0")))
    assert "Classes 01 and 1 differ" in looks.alike_numerals(data_of(x, class_names=("01", "1")))
    assert looks.alike_numerals(data_of(x, class_names=("1", "10"))) == ""


def test_a_field_that_holds_the_lines_of_other_rows_is_told(tmp_path: Path) -> None:
    lines = ["label\ttext", *(f"{i % 2}\tmessage {i}" for i in range(100))]
    lines[20] = '0\t"message 19'
    lines[50] = '1\tmessage 49"'
    path = rows(tmp_path / "mine.tsv", lines)
    note = texts(path).load().note
    assert "a field that ends in line 51 holds 31 lines, most of which look like rows" in note
    whole = texts(path, quotes="none").load()
    assert len(whole.train) + len(whole.validation) + len(whole.test) == 100
    assert "holds" not in whole.note


@pytest.mark.parametrize(("lines", "told"), [(30, False), (101, True)])
def test_a_long_text_is_told_from_a_hundred_lines_on(tmp_path: Path, lines: int, told: bool) -> None:
    poem = '"' + "\n".join(f"verse {i}" for i in range(lines)) + '",bad'
    body = [f"a {'bad' if i % 2 else 'good'} film {i},{'bad' if i % 2 else 'good'}" for i in range(30)]
    note = texts(rows(tmp_path / "mine.csv", ["text,label", poem, *body])).load().note
    assert (f"holds {lines} lines:" in note) == told


def test_whole_numbers_of_one_range_are_told_to_be_no_token_ids(tmp_path: Path) -> None:
    ids, y = RNG.integers(0, 400, (60, 6)), np.arange(60) % 2
    np.savez(tmp_path / "mine.npz", x=ids, y=y)
    assert "token ids need dataset.examples=tokens" in arrays(tmp_path / "mine.npz").load().note
    ids[:, 1:] %= 3
    np.savez(tmp_path / "mine.npz", x=ids, y=y)
    assert "token ids" not in arrays(tmp_path / "mine.npz").load().note
