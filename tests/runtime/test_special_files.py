"""What is no file, and would be read without end, or is waited for: it is refused at once."""

import os
import signal

import pytest

from pruneflow.api import compose
from pruneflow.command.cli import main
from pruneflow.datasets.reading.files import LARGEST_BYTES, content_of, reading
from pruneflow.errors import DataError
from pruneflow.models.keras_files import check_file


@pytest.fixture(autouse=True)
def _is_not_waited_for():
    """A pipe that is opened would be waited for, for good."""

    def waited(*_):
        raise AssertionError("it is waited for")

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


SETTINGS = [
    ["dataset.path=x.npz"],
    ["dataset=arrays", "dataset.path=x.npz"],
    ["dataset=arrays", "dataset.path=x.npy", "dataset.labels_path=x.npy"],
    ["dataset=csv_text", "dataset.path=x.csv", "model=lstm"],
    ["dataset=imdb", "dataset.path=x.csv", "model=lstm"],
    ["dataset=imdb", "dataset.index_path=x.json", "model=lstm"],
    ["dataset=image_folder", "dataset.path=x.npz"],
]


@pytest.mark.parametrize("words", SETTINGS, ids=lambda words: " ".join(words))
def test_a_pipe_in_place_of_data_is_refused(words):
    for suffix in ("npz", "npy", "csv", "json"):
        os.mkfifo(f"x.{suffix}")
    with pytest.raises(DataError, match=r"^x\.\w+: a pipe is no file\. Copy what it holds into a file"):
        compose(words).dataset.load()


@pytest.mark.parametrize("inside", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte.gz"])
def test_a_pipe_in_a_folder_of_data_is_refused(tmp_path, inside):
    from pruneflow.datasets.reading.idx import read_idx

    os.mkfifo(tmp_path / inside)
    with pytest.raises(DataError, match="a pipe is no file"):
        read_idx(tmp_path / inside, 3)


def test_a_device_is_refused_by_whatever_name(tmp_path):
    (tmp_path / "x.csv").symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"x\.csv: a device is no file"), reading(tmp_path / "x.csv"):
        raise AssertionError("it is read")


@pytest.mark.parametrize("place", ["x.h5", "saved/variables/variables.index"])
def test_a_pipe_in_place_of_a_network_is_refused(tmp_path, place):
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(tmp_path / place)
    with pytest.raises(DataError, match="a pipe is no file"):
        check_file(tmp_path / place.split("/")[0])


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.write_bytes(b"#" * 1_000_001)])
@pytest.mark.parametrize("words", [["experiment=mine"], ["--cfg", "job"]])
def test_a_config_folder_with_a_pipe_or_too_large_a_file_is_refused(tmp_path, capsys, make, words):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    make(tmp_path / "mine" / "experiment" / "mine.yaml")
    with pytest.raises(SystemExit) as ended:
        main(["--config-dir", "mine", *words])
    said = "mine/experiment/mine.yaml is no file of at most 1,000,000 bytes. Remove it."
    assert (ended.value.code, capsys.readouterr().err) == (2, f"--config-dir=mine: {said}\n")


def test_a_file_that_is_too_large_to_be_read_at_once_is_refused(tmp_path):
    file = tmp_path / "x.json"
    file.touch()
    os.truncate(file, LARGEST_BYTES + 1)
    with pytest.raises(DataError, match=r"x\.json: it has 4,294,967,297 bytes, and at most 4,294,967,296"):
        content_of(file)
