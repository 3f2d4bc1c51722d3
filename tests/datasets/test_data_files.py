import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_fixtures import imdb_arrays, imdb_option, mnist_arrays, mnist_option, rows, saved

from pruneflow.datasets.options import Imdb, Mnist
from pruneflow.datasets.reading import files, imdb
from pruneflow.datasets.reading.files import read_arrays, read_text
from pruneflow.errors import DataError


def assert_refused(option: Mnist | Imdb, beginning: str, pattern: str) -> None:
    """Loading fails, and the message names file and array, what was expected and what to do."""
    with pytest.raises(DataError) as caught:
        option.load()
    message = str(caught.value)
    assert message.startswith(beginning)
    assert re.search(pattern, message), message
    assert "dataset.path" in message


def keras_imdb(**changes: Any) -> dict[str, Any]:
    """What `imdb_arrays` holds, in the Keras layout."""
    return {
        "x_train": rows(*[[rank] for rank in range(1, 11)]),
        "y_train": np.tile(np.array([0, 1]), 5),
        "x_test": rows([1], [2, 3]),
        "y_test": np.array([0, 1]),
        **changes,
    }


@pytest.mark.parametrize(
    ("array", "value", "pattern"),
    [
        (
            "x_train",
            np.zeros((20, 28, 27), np.uint8),
            r"of \(28, 27, 1\) as in x_train, found .* \(10, 28, 28, 1\)",
        ),
        (
            "x_train",
            np.zeros((20, 28, 28, 2), np.uint8),
            r"width, 1 or 3\), .* found uint8 \(20, 28, 28, 2\)",
        ),
        (
            "x_train",
            np.zeros((20, 28, 28), np.float32),
            r"astype\('uint8'\).* found float32 \(20, 28, 28\)\.",
        ),
        ("x_train", np.full((20, 28, 28), np.nan), r"found float64 \(20, 28, 28\) with NaN"),
        ("x_train", np.zeros((20, 28, 28), np.int64), "found int64"),
        ("x_test", np.zeros((10, 0, 28), np.uint8), "at least one image"),
        ("x_test", np.zeros((10, 784), np.uint8), r"found uint8 \(10, 784\)"),
        ("x_test", np.zeros((0, 28, 28), np.uint8), "at least one image"),
        ("y_train", np.zeros(19, np.uint8), r"integers \(20,\), found uint8 \(19,\)"),
        ("y_train", np.zeros((20, 1), np.uint8), r"integers \(20,\), found uint8 \(20, 1\)"),
        ("y_test", np.zeros(10), r"integers \(10,\), found float64"),
        ("y_test", np.arange(1, 11), "labels 0 to 9, found 1 to 10"),
        ("y_test", np.arange(-1, 9), "labels 0 to 9, found -1 to 8"),
        ("y_train", np.arange(-1, 19), "labels 0 to 18, found -1 to 18"),
        ("y_train", np.array([0, 255] * 10), "half of which occur, found 2 different ones up to 255"),
        ("y_train", np.full(20, np.nan), r"integers \(20,\), found float64"),
        ("y_test", rows(*range(10)), "pickles"),
    ],
)
def test_an_image_array_that_is_not_as_expected_is_refused(
    tmp_path: Path, array: str, value: Any, pattern: str
) -> None:
    path = saved(tmp_path / "m.npz", {**mnist_arrays(), array: value})
    assert_refused(mnist_option(path=str(path)), f"{path}: ", pattern)


@pytest.mark.parametrize(
    ("array", "value", "pattern"),
    [
        ("x_train_tokens", np.arange(1, 11), "expected int32"),
        ("x_train_tokens", np.arange(10, dtype=np.int32), "ranks from 1, found the rank 0"),
        ("x_train_tokens", np.int32(1), "0 first and 0 last"),
        ("x_test_tokens", np.arange(1, 5, dtype=np.int32), "0 first and 4 last, found 0 and 3"),
        ("x_test_offsets", np.array([1, 2, 3]), "found 1 and 3"),
        ("x_test_offsets", np.array([0, 4, 3]), "ascending"),
        ("x_test_offsets", np.array([0]), r"n at least 1, found int64 \(1,\)"),
        ("x_test_offsets", np.array([0, 1, 3], np.int32), "expected int64"),
        ("y_test", np.array([0, 1, 0]), r"integers \(2,\)"),
        ("y_test", np.array([1, 2]), "labels 0 to 1, found 1 to 2"),
    ],
)
def test_a_review_array_that_is_not_as_expected_is_refused(
    tmp_path: Path, array: str, value: Any, pattern: str
) -> None:
    path = saved(tmp_path / "i.npz", {**imdb_arrays(), array: value})
    assert_refused(imdb_option(path=str(path)), f"{path}: array ", pattern)


@pytest.mark.parametrize(
    ("array", "value", "pattern"),
    [
        ("x_test", rows([1], [0]), "ranks from 1"),
        ("x_test", rows([1], [2.0]), "whole numbers, found .*float"),
        ("x_test", rows([1], ["2"]), "whole numbers, found .*str"),
        ("x_test", rows([1], [2**31]), "2147483648"),
        ("x_test", rows([1], [2**80]), "lists of word ranks"),
        ("x_test", rows([1], 2), "lists of word ranks"),
        ("x_test", rows([], []), "at least one"),
        ("x_test", np.zeros((2, 2), np.int32), r"object \(n,\), found int32 \(2, 2\)"),
        ("y_test", np.array([0]), r"integers \(2,\)"),
    ],
)
def test_a_pickled_array_that_is_not_as_expected_is_refused(
    tmp_path: Path, array: str, value: Any, pattern: str
) -> None:
    path = saved(tmp_path / "i.npz", keras_imdb(**{array: value}))
    assert_refused(imdb_option(path=str(path)), f"{path}: array {array}: ", pattern)


def test_the_keras_layout_and_the_flat_layout_of_reviews_give_the_same_data(tmp_path: Path) -> None:
    flat = imdb_option(path=str(saved(tmp_path / "flat.npz", imdb_arrays()))).load()
    keras = imdb_option(path=str(saved(tmp_path / "keras.npz", keras_imdb()))).load()
    assert flat.digest == keras.digest
    assert flat.test.x.tolist() == [[0, 0, 1, 4], [0, 1, 5, 6]]
    assert (flat.note, keras.note) == ("", "")


def test_rows_that_are_arrays_are_read_like_lists(tmp_path: Path) -> None:
    x_test = rows(np.array([1]), np.array([2, 3]))
    corpus = imdb.read(saved(tmp_path / "i.npz", keras_imdb(x_test=x_test)))
    assert corpus.test.tokens.tolist() == [1, 2, 3]


@pytest.mark.parametrize(("option", "file"), [(mnist_option, "mnist.npz"), (imdb_option, "imdb.npz")])
def test_an_archive_without_the_arrays_is_refused(tmp_path: Path, option: Any, file: str) -> None:
    path = saved(tmp_path / file, {"a": np.zeros(1), "b": np.zeros(1)})
    assert_refused(option(path=str(tmp_path)), f"{path}: array x_train", "to be there, found only a, b")


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, kept: float) -> None:
    path = saved(tmp_path / "m.npz", mnist_arrays())
    content = path.read_bytes()
    path.write_bytes(content[: kept if kept >= 1 else int(len(content) * kept)])
    assert_refused(mnist_option(path=str(path)), f"{path}: ", "not a whole")


def test_an_array_that_declares_too_much_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "m.npz", mnist_arrays())
    monkeypatch.setattr(files, "LARGEST_BYTES", 15_807)  # 20 x 28 x 28 and a header of 128
    assert_refused(mnist_option(path=str(path)), f"{path}: ", "at most 15807 bytes each, found 15808")
    monkeypatch.setattr(files, "LARGEST_BYTES", 15_808)
    assert len(mnist_option(path=str(path)).load().train) == 18


def test_a_single_changed_pixel_is_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.npz", mnist_arrays(pixel=7))
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    assert_refused(mnist_option(path=str(path)), f"{path}: ", "CRC")


@pytest.mark.parametrize("content", [b"text", b"\x93NUMPY\x01\x00", b"PK\x03\x04" + b"\0" * 40])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.npz"
    path.write_bytes(content)
    assert_refused(mnist_option(path=str(path)), f"{path}: ", "not a whole")


def test_a_missing_file_and_a_folder_without_it_are_refused(tmp_path: Path) -> None:
    assert_refused(mnist_option(path=str(tmp_path / "no.npz")), f"{tmp_path / 'no.npz'}: no such file", "")
    assert_refused(mnist_option(path=str(tmp_path)), f"{tmp_path}: ", "neither mnist.npz nor IDX files")
    assert_refused(imdb_option(path=str(tmp_path)), f"{tmp_path}: ", "neither imdb.npz nor aclImdb")


def test_a_text_in_a_file_is_read_and_its_absence_is_empty(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", {"note": np.array("é"), "number": np.array(1)})
    assert (read_text(path, "note"), read_text(path, "source")) == ("é", "")
    with pytest.raises(DataError, match="array number: expected one text"):
        read_text(path, "number")


def test_arrays_are_read_by_name(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", {"a": np.array([1]), "b": np.array([2])})
    assert {name: array.tolist() for name, array in read_arrays(path, ["b"]).items()} == {"b": [2]}
