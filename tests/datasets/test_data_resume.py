import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from data_fixtures import Server, mnist_arrays, mnist_option, saved, serving, sha256

from pruneflow.datasets.reading import fetch, mnist
from pruneflow.datasets.reading.fetch import RemoteFile, check_hash, download
from pruneflow.errors import DataError

VERSION = {"ETag": '"one"', "Last-Modified": "Sat, 01 Jan 2000 00:00:00 GMT"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as running:
        running.content = np.random.default_rng(0).bytes(5000)
        running.headers = VERSION
        yield running


def fetched(server: Server, folder: Path, content: bytes | None = None) -> bytes:
    """Download what the server has; ``content`` is what the file must hold."""
    to = folder / "file.npz"
    download(RemoteFile(server.url, sha256(server.content if content is None else content)), to)
    return to.read_bytes()


def broken_off(server: Server, folder: Path, *, after: int) -> None:
    server.sent = after
    whole = len(server.content)
    with pytest.raises(
        DataError, match=rf"^{server.url}: broke off after {after} of {whole} bytes\. Run again"
    ):
        fetched(server, folder)
    server.sent = None
    assert (folder / "file.npz.part").read_bytes() == server.content[:after]


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_download_goes_on_where_it_broke_off_and_leaves_the_whole_file_only(
    server: Server, tmp_path: Path
) -> None:
    broken_off(server, tmp_path, after=1200)
    assert fetched(server, tmp_path) == server.content
    assert server.asked == [(None, None), ("bytes=1200-", '"one"')]
    assert names(tmp_path) == ["file.npz"]


def test_a_download_that_breaks_off_twice_is_still_resumed(server: Server, tmp_path: Path) -> None:
    broken_off(server, tmp_path, after=1200)
    server.sent = 800
    with pytest.raises(DataError, match="broke off after 2000 of 5000 bytes"):
        fetched(server, tmp_path)
    server.sent = None
    assert fetched(server, tmp_path) == server.content
    assert server.asked[2] == ("bytes=2000-", '"one"')


def test_a_server_that_ignores_the_range_sends_the_whole_file_anew(server: Server, tmp_path: Path) -> None:
    broken_off(server, tmp_path, after=1200)
    server.ranges = False
    assert fetched(server, tmp_path) == server.content
    assert server.requests == 2


def test_a_file_that_changed_on_the_server_is_not_glued_to_the_old_beginning(
    server: Server, tmp_path: Path
) -> None:
    broken_off(server, tmp_path, after=1200)
    server.headers = {"ETag": '"two"'}
    assert fetched(server, tmp_path) == server.content
    assert server.asked[1] == ("bytes=1200-", '"one"')


@pytest.mark.parametrize(
    ("headers", "asked"),
    [
        (
            {"ETag": 'W/"weak"', "Last-Modified": "Sat, 01 Jan 2000 00:00:00 GMT"},
            "Sat, 01 Jan 2000 00:00:00 GMT",
        ),
        ({"Last-Modified": "Sun, 02 Jan 2000 00:00:00 GMT"}, "Sun, 02 Jan 2000 00:00:00 GMT"),
        ({"ETag": 'W/"weak"'}, None),
        ({}, None),
    ],
)
def test_without_an_exact_tag_the_date_counts_and_without_both_it_starts_anew(
    server: Server, tmp_path: Path, headers: dict[str, str], asked: str | None
) -> None:
    server.headers = headers
    broken_off(server, tmp_path, after=1200)
    assert fetched(server, tmp_path) == server.content
    assert server.asked[1] == ("bytes=1200-" if asked else None, asked)


def test_a_beginning_that_is_wrong_is_noticed_by_the_hash_and_removed(server: Server, tmp_path: Path) -> None:
    broken_off(server, tmp_path, after=1200)
    (tmp_path / "file.npz.part").write_bytes(bytes(1200))
    with pytest.raises(DataError, match=r": SHA-256 is [0-9a-f]{64}, expected "):
        fetched(server, tmp_path)
    assert names(tmp_path) == []
    assert fetched(server, tmp_path) == server.content


def test_a_beginning_that_is_longer_than_the_file_starts_anew(server: Server, tmp_path: Path) -> None:
    broken_off(server, tmp_path, after=1200)
    (tmp_path / "file.npz.part").write_bytes(bytes(6000))
    assert fetched(server, tmp_path) == server.content
    assert [wanted for wanted, _ in server.asked] == [None, "bytes=6000-", None]


@pytest.mark.parametrize(
    "memory", ["", "[]", "{}", '{"url": "http://elsewhere", "hash": "", "version": "1"}']
)
def test_a_beginning_of_unknown_origin_is_not_used(server: Server, tmp_path: Path, memory: str) -> None:
    broken_off(server, tmp_path, after=1200)
    (tmp_path / "file.npz.part.json").write_text(memory)
    assert fetched(server, tmp_path) == server.content
    assert server.asked[1] == (None, None)


def test_a_beginning_from_another_address_is_not_used(server: Server, tmp_path: Path) -> None:
    broken_off(server, tmp_path, after=1200)
    to = tmp_path / "file.npz"
    download(RemoteFile(f"{server.url}/mirror", sha256(server.content)), to)
    assert server.asked[1] == (None, None)


def test_a_beginning_is_remembered_from_its_first_byte_on(server: Server, tmp_path: Path) -> None:
    broken_off(server, tmp_path, after=1)
    memory = json.loads((tmp_path / "file.npz.part.json").read_text())
    assert memory == {"url": server.url, "hash": sha256(server.content), "version": '"one"'}


def test_the_next_run_resumes_what_lies_in_the_cache_folder(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.content = saved(tmp_path / "served.npz", mnist_arrays(pixel=7)).read_bytes()
    monkeypatch.setattr(mnist, "KERAS", RemoteFile(server.url, sha256(server.content)))
    option = mnist_option(cache_dir=str(tmp_path / "cache"))
    server.sent = 1200
    with pytest.raises(DataError, match="Run again: the next run goes on from there"):
        option.load()
    assert names(tmp_path / "cache") == [".mnist-fetching", ".mnist.lock"]
    server.sent = None
    assert int(option.load().train.x.max()) == 7
    assert server.asked == [(None, None), ("bytes=1200-", '"one"')]
    assert names(tmp_path / "cache") == [".mnist.lock", "mnist.npz"]


def test_a_hash_of_32_digits_is_md5_and_of_64_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    check_hash(tmp_path / "abc", "900150983cd24fb0d6963f7d28e17f72", "here")
    check_hash(tmp_path / "abc", sha256(b"abc"), "here")
    with pytest.raises(DataError, match=r"^here: MD5 is 900150983cd24fb0d6963f7d28e17f72, expected 0{32}"):
        check_hash(tmp_path / "abc", "0" * 32, "here")


def test_a_file_larger_than_one_piece_arrives_whole(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "PIECE_BYTES", 7)
    broken_off(server, tmp_path, after=1200)
    assert fetched(server, tmp_path) == server.content
