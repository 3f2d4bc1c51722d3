import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_fixtures import mnist_arrays, mnist_option, saved
from data_formats import IDX_NAMES, idx_bytes, idx_folder

from pruneflow.datasets.reading.idx import read_idx
from pruneflow.datasets.spec import Data
from pruneflow.errors import DataError


def load(path: Path) -> Data:
    return mnist_option(path=str(path)).load()


def letters(classes: int, *, offset: int = 0, height: int = 5, width: int = 4) -> dict[str, Any]:
    """Two training images and one test image of each class."""
    y = np.arange(offset, classes + offset)
    images = (
        np.arange(classes * height * width, dtype=np.int64).reshape(classes, height, width).astype(np.uint8)
    )
    return {"x_train": np.concatenate([images] * 2), "y_train": np.tile(y, 2), "x_test": images, "y_test": y}


@pytest.mark.parametrize("packed", [False, True])
def test_four_idx_files_give_what_the_npz_file_gives(tmp_path: Path, packed: bool) -> None:
    arrays = letters(10, height=28, width=28)
    from_idx = load(idx_folder(tmp_path / "idx", arrays, packed=packed))
    from_npz = load(saved(tmp_path / "mnist.npz", arrays))
    assert from_idx.digest == from_npz.digest
    assert from_idx.spec == from_npz.spec
    assert from_idx.source == f"dataset.path: {tmp_path / 'idx'}"


@pytest.mark.parametrize(
    "spelling",
    [
        lambda name: name.replace("-idx", ".idx"),
        lambda name: f"emnist-letters-{name.replace('t10k', 'test')}",
        lambda name: name.replace("t10k", "test"),
    ],
)
def test_other_published_spellings_of_the_names_are_known(tmp_path: Path, spelling: Any) -> None:
    folder = idx_folder(tmp_path / "idx")
    expected = load(folder).digest
    for file in list(folder.iterdir()):
        file.rename(folder / spelling(file.name))
    assert load(folder).digest == expected


def test_the_plain_file_goes_before_its_gz(tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "idx")
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"broken")
    assert len(load(folder).train) == 18


def test_two_sets_in_one_folder_are_not_mixed(tmp_path: Path) -> None:
    folder = idx_folder(tmp_path / "idx")
    (folder / "emnist-train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(
        DataError,
        match=r"idx: emnist-train-images-idx3-ubyte, train-images-idx3-ubyte: keep one of them there",
    ):
        load(folder)


@pytest.mark.parametrize("name", IDX_NAMES.values())
def test_a_folder_of_three_idx_files_names_the_missing_one(tmp_path: Path, name: str) -> None:
    folder = idx_folder(tmp_path / "idx")
    (folder / name).unlink()
    with pytest.raises(DataError, match=rf"{name}: no such file, nor {name}\.gz"):
        load(folder)


def test_a_folder_with_mnist_npz_is_read_from_there_even_beside_idx_files(tmp_path: Path) -> None:
    idx_folder(tmp_path)
    saved(tmp_path / "mnist.npz", mnist_arrays(pixel=99))
    assert int(load(tmp_path).test.x.max()) == 99


@pytest.mark.parametrize(
    ("classes", "offset", "expected"),
    [(10, 0, 10), (26, 0, 26), (26, 1, 27), (62, 0, 62), (2, 0, 2), (1, 0, 2), (1, 1, 2)],
)
def test_the_number_of_classes_is_the_largest_training_label_and_one(
    tmp_path: Path, classes: int, offset: int, expected: int
) -> None:
    arrays = letters(classes, offset=offset)
    arrays["x_train"] = np.concatenate([arrays["x_train"]] * 5)
    arrays["y_train"] = np.tile(arrays["y_train"], 5)
    assert load(saved(tmp_path / "m.npz", arrays)).spec.classes == expected


def test_a_test_label_that_training_never_has_is_refused(tmp_path: Path) -> None:
    arrays = {**mnist_arrays(), "y_test": np.arange(1, 11)}
    with pytest.raises(DataError, match="array y_test: expected labels 0 to 9, found 1 to 10"):
        load(idx_folder(tmp_path / "idx", arrays))


@pytest.mark.parametrize("tail", [(), (1,), (3,)])
def test_images_are_taken_at_their_size_grey_or_in_colour(tmp_path: Path, tail: tuple[int, ...]) -> None:
    arrays = letters(10)
    for name in ("x_train", "x_test"):
        grey = arrays[name].reshape(*arrays[name].shape, *[1 for _ in tail])
        arrays[name] = np.repeat(grey, tail[0], axis=-1) if tail else grey
    data = load(saved(tmp_path / "m.npz", arrays))
    assert data.spec.shape == (5, 4, tail[0] if tail else 1)
    assert data.test.x.shape == (10, *data.spec.shape)
    assert data.test.x[1, 2, 3].tolist() == [20 + 2 * 4 + 3] * data.spec.shape[2]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", r"begins 00 00 08 03, this one is empty"),
        (b"<html>", r"begins 00 00 08 03, this one 3c 68 74 6d"),
        (idx_bytes(np.zeros((2, 2, 2), np.uint8), code=13), r"this one 00 00 0d 03"),
        (idx_bytes(np.zeros((2, 2), np.uint8)), r"this one 00 00 08 02"),
        (idx_bytes(np.zeros((2, 2, 2), np.uint8))[:10], r"ends within its header: cut short"),
        (idx_bytes(np.zeros((2, 3, 4), np.uint8))[:-1], r"says 2 x 3 x 4 = 24 bytes, it holds 23: cut short"),
        (idx_bytes(np.zeros((2, 3, 4), np.uint8)) + b"\0", r"says 2 x 3 x 4 = 24 bytes, it holds more"),
        (struct.pack(">4B3I", 0, 0, 8, 3, 2**31, 2**31, 2), r"declares 9223372036854775808 bytes, too many"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_an_idx_file_that_is_not_what_its_header_says_is_refused(
    tmp_path: Path, content: bytes, problem: str, packed: bool
) -> None:
    path = tmp_path / ("x.gz" if packed else "x")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataError, match=rf"^{path}: .*{problem}"):
        read_idx(path, 3)


@pytest.mark.parametrize("kept", [0, 5, 20, -9, -1])
def test_a_gz_that_is_cut_short_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.arange(240, dtype=np.uint8).reshape(2, 10, 12)))[:kept])
    with pytest.raises(DataError, match=rf"^{path}: "):
        read_idx(path, 3)


def test_a_gz_with_a_changed_byte_is_noticed_by_its_crc(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4)), 0))
    content[-12] ^= 1  # the last value, before CRC and size
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.gz: not a whole IDX file \(CRC"):
        read_idx(tmp_path / "x.gz", 3)


def test_no_more_is_unpacked_than_the_header_declares(tmp_path: Path) -> None:
    bomb = idx_bytes(np.zeros((1, 2, 3), np.uint8)) + bytes(200_000_000)
    (tmp_path / "x.gz").write_bytes(gzip.compress(bomb, 1))
    del bomb
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(DataError, match="it holds more"):
        read_idx(tmp_path / "x.gz", 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000
