import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_fixtures import imdb_option, rows, saved

from pruneflow.datasets.reading.pickles import read_rows, unpickled
from pruneflow.errors import DataError

# array([5, 7], uint8) as Python 2 wrote it, protocol 2, with its bytes as str.
PYTHON_2 = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85"
    b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    b"\x89U\x02\x05\x07tb."
)


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def read(content: bytes) -> Any:
    return unpickled(io.BytesIO(content), "file")


def test_an_array_of_python_2_is_read() -> None:
    array = read(PYTHON_2)
    assert array.dtype == np.uint8
    assert array.tolist() == [5, 7]


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("dtype", ["<f4", ">i4", "|u1", "|b1", "<i8"])
def test_arrays_in_containers_come_out_as_they_went_in(protocol: int, dtype: str) -> None:
    array = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    first, (second, numbers), by_name = read(
        pickle.dumps((array, [np.asfortranarray(array), [1, 2]], {"a": array[:1]}), protocol)
    )
    assert first.dtype == second.dtype == np.dtype(dtype)
    assert first.tolist() == second.tolist() == array.tolist()
    assert numbers == [1, 2]
    assert by_name["a"].tolist() == [[0, 1, 1]]


@pytest.mark.parametrize("protocol", [2, 4])
def test_an_object_array_comes_out_as_the_list_of_its_elements(protocol: int) -> None:
    assert read(pickle.dumps(rows([1, 2], [], [3]), protocol)) == [[1, 2], [], [3]]


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_names_a_function_is_refused_and_the_function_does_not_run(
    tmp_path: Path, protocol: int
) -> None:
    content = pickle.dumps([1, Evil(tmp_path / "made")], protocol)
    with pytest.raises(DataError, match=r"^file: .*it names (posix|nt)\.mkdir"):
        read(content)
    assert not (tmp_path / "made").exists()
    pickle.loads(content)
    assert (tmp_path / "made").exists(), "the pickle is harmless, so the test above shows nothing"


def test_an_array_file_with_a_forged_pickle_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    evil = rows([1], Evil(tmp_path / "made"))
    path = saved(
        tmp_path / "imdb.npz", {"x_train": evil, "y_train": [0, 1], "x_test": evil, "y_test": [0, 1]}
    )
    with pytest.raises(DataError, match=r"imdb\.npz: array x_train: .*mkdir.*dataset\.path"):
        imdb_option(path=str(path)).load()
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        PYTHON_2[:-10],
        PYTHON_2.replace(b"U\x02\x05\x07", b"U\x01\x05"),  # fewer bytes than the shape says
        PYTHON_2.replace(b"u1", b"O8"),
        PYTHON_2.replace(b"u1", b"zz"),
        pickle.dumps(np.array(["a"])),
        pickle.dumps(np.array([(1, 2)], "i4,i4")),
        pickle.dumps(np.float64(1.0)),
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00utf-8\x86R.",
        b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
    ],
)
def test_anything_else_is_an_error_that_names_the_file(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^file: not a pickle of plain arrays and lists"):
        read(content)


def test_an_array_that_is_not_pickled_is_no_list_of_rows(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz", {"x": np.zeros(3, np.int64)})
    with pytest.raises(DataError, match=r"a\.npz: array x: expected object \(n,\), found int64 \(3,\)"):
        read_rows(path, "x")
