"""The cache folder under real trouble: other processes, killed owners, full and read-only disks."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_fixtures import Server, mnist_arrays, mnist_option, saved, serving, sha256

from pruneflow.datasets.reading import mnist
from pruneflow.datasets.reading.fetch import RemoteFile
from pruneflow.errors import DataError

LOAD = """
import sys
sys.path.insert(0, sys.argv[1])
from data_fixtures import mnist_option
from pruneflow.datasets.reading import mnist
from pruneflow.datasets.reading.fetch import RemoteFile
from pruneflow.errors import DataError
mnist.KERAS = RemoteFile(sys.argv[3], sys.argv[4])
try:
    print("loaded", len(mnist_option(cache_dir=sys.argv[2]).load().train))
except DataError as error:
    sys.exit(f"DataError: {error}")
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """Serves 600 kB that no file system can pack, in place of the Keras file."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    arrays = mnist_arrays()
    arrays["x_train"] = np.random.default_rng(0).integers(0, 256, (750, 28, 28)).astype(np.uint8)
    arrays["y_train"] = np.tile(np.arange(10, dtype=np.uint8), 75)
    with serving() as running:
        running.content = saved(tmp_path / "served.npz", arrays).read_bytes()
        running.headers = {"ETag": '"one"'}
        monkeypatch.setattr(mnist, "KERAS", RemoteFile(running.url, sha256(running.content)))
        yield running


def started(server: Server, cache: Path, **options: Any) -> subprocess.Popen[str]:
    """Another process that loads the data set, fetching it into ``cache``."""
    here = Path(__file__).parent.parent
    arguments = [str(here), str(cache), server.url, sha256(server.content)]
    environment = {**os.environ, "PYTHONPATH": str(here.parent)}
    return subprocess.Popen(
        [sys.executable, "-c", LOAD, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.run
def test_a_run_waits_with_a_line_while_another_process_fills_the_cache(
    server: Server, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    server.delay_s = 3.0
    first = started(server, cache)
    until(lambda: server.requests)
    second = started(server, cache)
    (one, _), (two, _) = first.communicate(timeout=30), second.communicate(timeout=30)
    assert "Waiting" not in one
    assert f"Waiting for another run that holds {cache / '.mnist.lock'}" in two
    assert "loaded 675" in one
    assert "loaded 675" in two
    assert server.requests == 1


def test_the_lock_of_a_killed_process_is_taken_over_and_its_download_resumed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    server.sent, server.hold = 300_000, True
    first = started(server, cache)
    part = cache / ".mnist-fetching" / "mnist.npz.part"
    until(lambda: part.is_file() and part.stat().st_size == 262_144)  # the first piece is on the disk
    first.send_signal(signal.SIGKILL)
    first.communicate()
    server.sent, server.hold = None, False
    (cache / ".mnist-fetching" / "whole.npz").write_bytes(b"half-written")
    assert len(mnist_option(cache_dir=str(cache)).load().train) == 675
    assert server.asked[1] == ("bytes=262144-", '"one"')
    assert names(cache) == [".mnist.lock", "mnist.npz"]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small file system of its own, given its options."""
    point = tmp_path / "disk"
    point.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(point)]
        if sys.platform != "linux" or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small file system takes Linux and root")
        return point

    yield mount
    subprocess.run(["umount", str(point)], capture_output=True, check=False)


def test_a_disk_that_fills_while_the_cache_is_written_is_named_and_left_as_it_was(
    server: Server, mounted: Callable[[str], Path]
) -> None:
    cache = mounted("size=1m")  # room for the download, not for the file made of it
    (cache / "other.npz").write_bytes(b"mine")
    with pytest.raises(DataError) as caught:
        mnist_option(cache_dir=str(cache)).load()
    message = str(caught.value)
    assert message.startswith(f"{cache}: cannot keep mnist.npz there ([Errno 28] No space left on device)")
    assert (
        "Set dataset.cache_dir or PRUNEFLOW_DATA_DIR to a folder that can be written and has room" in message
    )
    assert names(cache) == [".mnist.lock", "other.npz"]
    assert (cache / "other.npz").read_bytes() == b"mine"


def test_a_disk_that_fills_while_the_download_is_written_keeps_nothing_of_it(
    server: Server, mounted: Callable[[str], Path]
) -> None:
    cache = mounted("size=400k")
    with pytest.raises(DataError, match=r"cannot keep mnist\.npz there \(\[Errno 28\]"):
        mnist_option(cache_dir=str(cache)).load()
    assert names(cache) == [".mnist.lock"]


def test_a_read_only_disk_is_named_and_what_lies_on_it_is_still_read(
    server: Server, mounted: Callable[[str], Path]
) -> None:
    cache = mounted("size=2m")
    subprocess.run(["mount", "-o", "remount,ro", str(cache)], check=True)
    with pytest.raises(DataError, match=r"disk: cannot keep mnist\.npz there \(.*Read-only file system"):
        mnist_option(cache_dir=str(cache)).load()
    subprocess.run(["mount", "-o", "remount,rw", str(cache)], check=True)
    (cache / "mnist.npz").write_bytes(server.content)
    subprocess.run(["mount", "-o", "remount,ro", str(cache)], check=True)
    assert len(mnist_option(cache_dir=str(cache)).load().train) == 675
    assert server.requests == 0


@pytest.mark.run
@pytest.mark.parametrize("room", [-300_000, 20])  # in the download; in the file made of it, which is longer
def test_a_limit_on_the_size_of_files_is_an_error_that_leaves_nothing(
    server: Server, tmp_path: Path, room: int
) -> None:
    cache = tmp_path / "cache"
    quota = (len(server.content) + room,) * 2
    process = started(server, cache, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, quota))
    _, words = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"DataError: {cache}: cannot keep mnist.npz there ([Errno 27] File too large)" in words
    assert len(words.strip().splitlines()) == 1
    assert names(cache) == [".mnist.lock"]
