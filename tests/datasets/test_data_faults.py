"""The table of bad data in docs/data.md: every row is made, loaded, and gets the answer that stands there."""

import gzip
import os
import re
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_fixtures import (
    Server,
    imdb_arrays,
    imdb_option,
    mnist_arrays,
    mnist_option,
    rows,
    saved,
    serving,
    sha256,
)
from data_formats import REVIEWS, archive, idx_bytes, idx_folder, member, opinions, review_folder, table
from support import ROOT

from pruneflow.datasets.reading import mnist
from pruneflow.datasets.reading.cache import ENVIRONMENT
from pruneflow.datasets.reading.fetch import RemoteFile
from pruneflow.errors import PruneflowError

DOCS = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
ROWS = re.findall(
    r"^\| (.+?) \| (.+) \|$", DOCS.split("## Messages about bad data")[1].split("\n## ")[0], re.M
)[1:]

Load = Callable[[], Any]
Maker = Callable[["Bench"], Load]


class Bench:
    """A folder to make bad files in, and a server to fetch them from."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder, self.server = folder, server

    def images(self, **changes: Any) -> Load:
        """Load an mnist.npz some of whose arrays are others."""
        return self.mnist(saved(self.folder / "mnist.npz", {**mnist_arrays(), **changes}))

    def idx(self, content: bytes | None, *, packed: bool = False) -> Load:
        """Load a folder of IDX files whose training images are ``content``."""
        folder = idx_folder(self.folder / "idx", packed=packed)
        if content is not None:
            (folder / f"train-images-idx3-ubyte{'.gz' if packed else ''}").write_bytes(content)
        return self.mnist(folder)

    def ranks(self, **changes: Any) -> Load:
        """Load a flat imdb.npz some of whose arrays are others."""
        return self.imdb(saved(self.folder / "imdb.npz", {**imdb_arrays(), **changes}))

    def pickled(self, x_train: Any) -> Load:
        """Load an imdb.npz in the Keras layout."""
        y = np.array([0, 1])
        arrays = {"x_train": x_train, "y_train": y, "x_test": rows([1], [2]), "y_test": y}
        return self.imdb(saved(self.folder / "imdb.npz", arrays))

    def reviews(self, changes: dict[str, bytes] | None = None) -> Load:
        """Load an aclImdb folder some of whose files are others."""
        folder = review_folder(self.folder / "aclImdb")
        for name, content in (changes or {}).items():
            (folder / name).write_bytes(content)
        return self.imdb(folder)

    def packed(self, name: str, content: bytes = b"", **changes: Any) -> Load:
        """Load an archive with one member more."""
        return self.imdb(archive(self.folder / "aclImdb.tar.gz", member(name, content, **changes)))

    def csv(self, content: bytes) -> Load:
        """Load a CSV file."""
        (self.folder / "mine.csv").write_bytes(content)
        return self.imdb(self.folder / "mine.csv")

    def index(self, content: bytes | None) -> Load:
        """Load reviews with an index."""
        path = self.folder / "index.json"
        if content is not None:
            path.write_bytes(content)
        return self.imdb(review_folder(self.folder / "aclImdb"), index_path=str(path))

    def fetched(self, cache: Path | None = None, **changes: Any) -> Load:
        """Fetch into the cache folder."""
        return lambda: mnist_option(cache_dir=str(cache or self.folder / "cache"), **changes).load()

    def mnist(self, path: Path) -> Load:
        return lambda: mnist_option(path=str(path)).load()

    def imdb(self, path: Path, **changes: Any) -> Load:
        return lambda: imdb_option(path=str(path), **changes).load()


class Evil:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("escaped",)


def empty(bench: Bench) -> Path:
    (bench.folder / "empty").mkdir()
    return bench.folder / "empty"


def cut(path: Path, kept: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    return path


def flipped(path: Path, at: int) -> Path:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    return path


def whole(bench: Bench, folder: str = "") -> Path:
    (bench.folder / folder).mkdir(exist_ok=True)
    return saved(bench.folder / folder / "mnist.npz", mnist_arrays())


def other_file(bench: Bench) -> Path:
    (bench.folder / "images.zip").write_bytes(b"PK")
    return bench.folder / "images.zip"


def cached_and_flipped(bench: Bench) -> Load:
    flipped(whole(bench, "cache"), 5000)
    return bench.fetched()


def without_labels(bench: Bench) -> Load:
    arrays = mnist_arrays()
    del arrays["y_test"]
    return bench.mnist(saved(bench.folder / "mnist.npz", arrays))


def no_labels_file(bench: Bench) -> Load:
    load = bench.idx(None)
    (bench.folder / "idx" / "t10k-labels-idx1-ubyte").unlink()
    return load


def two_sets(bench: Bench) -> Load:
    load = bench.idx(None)
    (bench.folder / "idx" / "emnist-train-images-idx3-ubyte").write_bytes(b"")
    return load


def without_positive_tests(bench: Bench) -> Load:
    load = bench.reviews()
    (bench.folder / "aclImdb/test/pos/0_9.txt").unlink()
    (bench.folder / "aclImdb/test/pos").rmdir()
    return load


def without_bad_ones(bench: Bench) -> Load:
    load = bench.reviews()
    for file in (bench.folder / "aclImdb/train/neg").iterdir():
        file.unlink()
    return load


def with_test_file(bench: Bench, rows: list[Any] | None) -> Load:
    path = table(bench.folder / "mine.csv", opinions(20))
    test = bench.folder / "test.csv"
    if rows is not None:
        table(test, rows)
    return bench.imdb(path, test_path=str(test))


def broken_off(bench: Bench) -> Load:
    bench.server.sent = 1000
    return bench.fetched()


def another_file(bench: Bench) -> Load:
    bench.server.content = b"something else"
    return bench.fetched()


def no_network(bench: Bench) -> Load:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    mnist.KERAS = RemoteFile(f"http://127.0.0.1:{port}/file", "0" * 64)
    return bench.fetched()


def below_a_file(bench: Bench) -> Load:
    (bench.folder / "file").write_bytes(b"")
    return bench.fetched(bench.folder / "file" / "cache")


def on_a_full_disk(bench: Bench) -> Load:
    cache = bench.folder / "cache"
    cache.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=20k", "tmpfs", str(cache)]
    try:
        done = subprocess.run(command, capture_output=True, check=False).returncode
    except FileNotFoundError:
        done = 1
    if done:
        pytest.skip("mounting a small file system takes Linux and root")
    return bench.fetched()


IMAGES = mnist_arrays()["x_train"]
PACKED = gzip.compress(idx_bytes(IMAGES))
NOT_A_NUMBER = np.where(np.arange(20 * 784).reshape(20, 28, 28) == 9, np.nan, 1).astype(np.float32)
ODD_LABELS = np.where(np.arange(20) == 9, 255, np.arange(20) % 10)
WITH_NAN = np.where(np.arange(20) == 9, np.nan, np.arange(20) % 10)
LINK = {"type": b"2", "linkname": "/etc/passwd"}

MAKERS: dict[str, Maker] = {
    "a path at which nothing is": lambda b: b.mnist(b.folder / "mnist.npz"),
    "no download allowed, and nothing in the cache": lambda b: b.fetched(download=False),
    "a folder without data": lambda b: b.mnist(empty(b)),
    "a folder without reviews": lambda b: b.imdb(empty(b)),
    "a file of another kind": lambda b: b.mnist(other_file(b)),
    "a file of texts of another kind": lambda b: b.imdb(table(b.folder / "mine.tsv", [])),
    "an empty .npz file": lambda b: b.mnist(cut(whole(b), 0)),
    "a .npz file that was cut short": lambda b: b.mnist(cut(whole(b), 0.9)),
    "a .npz file with one byte changed": lambda b: b.mnist(flipped(whole(b), 5000)),
    "a .npz file with one byte changed, in the cache": cached_and_flipped,
    "a .npz file without one of its arrays": without_labels,
    "images in rows of 784": lambda b: b.images(x_train=IMAGES.reshape(20, 784)),
    "images of two sizes": lambda b: b.images(x_test=IMAGES[:10, ::2, ::2]),
    "no images": lambda b: b.images(x_test=IMAGES[:0]),
    "float pixels": lambda b: b.images(x_train=IMAGES.astype(np.float32)),
    "NaN among the pixels": lambda b: b.images(x_train=NOT_A_NUMBER),
    "fewer labels than images": lambda b: b.images(y_train=np.zeros(19, np.uint8)),
    "NaN among the labels": lambda b: b.images(y_train=WITH_NAN),
    "a label below 0": lambda b: b.images(y_test=np.arange(-1, 9)),
    "a test label that training lacks": lambda b: b.images(y_test=np.arange(1, 11)),
    "a stray label of 255": lambda b: b.images(y_train=ODD_LABELS),
    "labels in a pickle": lambda b: b.images(y_train=rows(*range(20))),
    "an IDX folder without one file": no_labels_file,
    "an IDX folder with two sets": two_sets,
    "an empty IDX file": lambda b: b.idx(b""),
    "a web page in place of an IDX file": lambda b: b.idx(b"<!DOCTYPE html>"),
    "an IDX file of floats": lambda b: b.idx(idx_bytes(IMAGES.astype(">f4"), code=13)),
    "an IDX file that was cut short": lambda b: b.idx(idx_bytes(IMAGES)[:15016]),
    "an IDX file that is too long": lambda b: b.idx(idx_bytes(IMAGES) + b"\0"),
    "an IDX file that declares 16 GB": lambda b: b.idx(struct.pack(">4B3I", 0, 0, 8, 3, 2**20, 2**7, 2**7)),
    "a .gz file that was cut short": lambda b: b.idx(PACKED[:-20], packed=True),
    "a .gz file that is none": lambda b: b.idx(idx_bytes(IMAGES), packed=True),
    "a .gz file that unpacks to more than it declares": lambda b: b.idx(
        gzip.compress(idx_bytes(IMAGES) + bytes(10**8), 1), packed=True
    ),
    "a pickle that would run code": lambda b: b.pickled(rows([1], Evil())),
    "a pickle of texts in place of ranks": lambda b: b.pickled(rows(["a"], ["film"])),
    "ranks from 0": lambda b: b.ranks(x_train_tokens=np.arange(10, dtype=np.int32)),
    "offsets beyond the ranks": lambda b: b.ranks(x_train_offsets=np.arange(10)),
    "a review labelled 2": lambda b: b.ranks(y_train=np.array([0, 1] * 4 + [0, 2])),
    "`aclImdb` without test/pos": without_positive_tests,
    "`aclImdb` with an empty train/neg": without_bad_ones,
    "a review in Latin-1": lambda b: b.reviews({"train/neg/0_1.txt": b"caf\xe9"}),
    "reviews without a word": lambda b: b.reviews(dict.fromkeys(REVIEWS, b"...")),
    "an archive that was cut short": lambda b: b.imdb(cut(archive(b.folder / "aclImdb.tar.gz"), 0.7)),
    "an archive with a wrong CRC": lambda b: b.imdb(flipped(archive(b.folder / "aclImdb.tar.gz"), -8)),
    "an archive with an absolute path": lambda b: b.packed("/tmp/escaped.txt", b"out"),
    "an archive that climbs out": lambda b: b.packed("aclImdb/../../escaped.txt", b"out"),
    "an archive with a link": lambda b: b.packed("aclImdb/train/pos/7_7.txt", **LINK),
    "an archive with a device": lambda b: b.packed("aclImdb/null", type=b"3"),
    "an archive with a review of a megabyte": lambda b: b.packed(
        "aclImdb/train/pos/7_7.txt", bytes((1 << 20) + 1)
    ),
    "an empty CSV file": lambda b: b.csv(b""),
    "a CSV file with other columns": lambda b: b.csv(b"review,sentiment\na,0\nb,1\n"),
    "a CSV file with a column twice": lambda b: b.csv(b"text,text,label\na,b,0\n"),
    "a CSV file with a comma too many": lambda b: b.csv(b"text,label\na,0\nb, c,1\n"),
    "a CSV file without a label in one row": lambda b: b.csv(b"text,label\na,0\nb,\n"),
    "a CSV file with NaN as a label": lambda b: b.csv(b"text,label\na,0\nb,nan\n"),
    "a CSV file of three classes": lambda b: b.csv(b"text,label\na,0\nb,1\nc,2\n"),
    "a CSV file of one class": lambda b: b.csv(b"text,label\na,0\nb,0\n"),
    "a CSV file with four rows and no test file": lambda b: b.csv(b"text,label\na,0\nb,1\nc,0\nd,1\n"),
    "a CSV file that ends within a quoted text": lambda b: b.csv(b'text,label\na,0\n"b'),
    "a CSV file in Latin-1": lambda b: b.csv(b"text,label\na,0\ncaf\xe9,1\n"),
    "a CSV file in UTF-16": lambda b: b.csv("text,label\na,0\n".encode("utf-16-le").join([b"\xff\xfe", b""])),
    "a CSV file in UTF-16 without its mark": lambda b: b.csv("text,label\na,0\n".encode("utf-16-le")),
    "a CSV file with semicolons": lambda b: b.csv(b"text;label\na;0\nb, c;1\n"),
    "a CSV file with tabs": lambda b: b.csv(b"text\tlabel\na\t0\nb\t1\n"),
    "a test file with another label": lambda b: with_test_file(b, [("a", "meh")]),
    "a test file that is missing": lambda b: with_test_file(b, None),
    "a test file where none is needed": lambda b: b.imdb(b.folder, test_path="test.csv"),
    "an index that is missing": lambda b: b.index(None),
    "an index that was cut short": lambda b: b.index(b'{"the": 1'),
    "an index with a rank of 0": lambda b: b.index(b'{"the": 0}'),
    "a download that is cut in the middle": broken_off,
    "a download that is another file": another_file,
    "no network": no_network,
    "a cache folder that cannot be made": below_a_file,
    "a full disk": on_a_full_disk,
}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bench]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    with serving() as server:
        server.content = saved(tmp_path / "served.npz", mnist_arrays()).read_bytes()
        server.headers = {"ETag": '"one"'}
        (tmp_path / "served.npz").unlink()
        monkeypatch.setattr(mnist, "KERAS", RemoteFile(server.url, sha256(server.content)))
        yield Bench(tmp_path, server)
    subprocess.run(["umount", str(tmp_path / "cache")], capture_output=True, check=False)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_table_has_the_rows_that_are_made_here_once_each() -> None:
    assert [what for what, _ in ROWS] == list(dict.fromkeys(what for what, _ in ROWS))
    assert {what for what, _ in ROWS} == set(MAKERS)


@pytest.mark.run
@pytest.mark.parametrize(("what", "answer"), ROWS, ids=[what for what, _ in ROWS])
def test_bad_data_get_the_answer_of_the_table_and_everything_stays_as_it_was(
    bench: Bench, what: str, answer: str
) -> None:
    load = MAKERS[what](bench)
    before = contents(bench.folder)
    with pytest.raises(PruneflowError) as caught:
        load()
    message = str(caught.value).replace(f"{bench.folder}/", "")
    message = message.replace(bench.server.url, "http://SERVER/file").replace("\n", " ")
    pattern = r".*".join(re.escape(piece.strip()) for piece in answer.split("..."))
    assert re.fullmatch(pattern, message), message
    after = contents(bench.folder)
    left = {path.name for path in after.keys() - before.keys()} - {".mnist.lock"}
    assert left == ({"mnist.npz.part", "mnist.npz.part.json"} if "cut in the middle" in what else set())
    assert {path: after[path] for path in before} == before
    assert not (bench.folder / "escaped").exists()
