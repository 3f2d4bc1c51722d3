"""Files from far away: resumed where a download broke off, trusted only once their hash is right."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError

from pruneflow.errors import DataError
from pruneflow.runtime.terminal import bar

TIMEOUT_S = 10.0
PIECE_BYTES = 1 << 18
PARTIAL = ".part"
HASHES = {32: "MD5", 64: "SHA-256"}  # by hexadecimal digits


class UnreachableError(DataError):
    """A place that could not be reached at all, so that the next one may be tried."""


@dataclass(frozen=True)
class RemoteFile:
    """A file and the content it must have.

    Attributes:
        hash: SHA-256 of the content, hexadecimal; MD5 where its publisher gives no other.
    """

    url: str
    hash: str


def download(remote: RemoteFile, to: Path) -> None:
    """Download a file and check its content; go on where an earlier call broke off.

    What has arrived lies beside ``to``, see `is_partial`, until the file is whole. It is used again only if
    the server still has the same version of the file (RFC 9110: If-Range).

    Args:
        to: Where to put it; nothing is there after an error.

    Raises:
        UnreachableError: if the server is not reached or does not have the file.
        DataError: if the download breaks off or brings something else.
        OSError: if ``to`` cannot be written; what has arrived is removed.
    """
    partial = _Partial(to.with_name(to.name + PARTIAL), remote)
    response = _opened(partial)
    try:
        with response:
            _store(response, partial)
        check_hash(partial.file, remote.hash, remote.url)
        partial.file.replace(to)
    except BrokenOffError:
        raise
    except (DataError, OSError):
        partial.forget()
        raise
    partial.forget()


class BrokenOffError(DataError):
    """A connection that ended early; what has arrived is kept."""

    @classmethod
    def of(cls, partial: _Partial, how: str) -> BrokenOffError:
        """Say how, and what the next run does."""
        advice = "the next run goes on from there" if partial.version else "the server cannot resume it"
        return cls(f"{partial.remote.url}: broke off {how}. Run again: {advice}.")


@dataclass(frozen=True)
class _Partial:
    """The part of a file that has arrived, and beside it in JSON the version of the file."""

    file: Path
    remote: RemoteFile

    @property
    def _memory(self) -> Path:
        return self.file.with_name(self.file.name + ".json")

    @property
    def size(self) -> int:
        return self.file.stat().st_size if self.file.is_file() else 0

    @property
    def version(self) -> str:
        """Entity tag or date that the server gave; empty if it gave none or if the file is another."""
        try:
            memory = json.loads(self._memory.read_text(encoding="utf-8"))
            known = memory["url"] == self.remote.url and memory["hash"] == self.remote.hash
            return str(memory["version"]) if known else ""
        except (OSError, ValueError, KeyError, TypeError):  # none, or cut short by a kill
            return ""

    def headers(self) -> dict[str, str]:
        """Ask for the rest only, where there is a beginning."""
        size, version = self.size, self.version
        return {"Range": f"bytes={size}-", "If-Range": version} if size and version else {}

    def begin(self, response: HTTPResponse) -> None:
        """Forget what was there, and note the version that arrives now."""
        self.forget()
        tag = response.headers.get("ETag", "")
        version = response.headers.get("Last-Modified", "") if tag.startswith("W/") or not tag else tag
        memory = {"url": self.remote.url, "hash": self.remote.hash, "version": version}
        self._memory.write_text(json.dumps(memory), encoding="utf-8")

    def forget(self) -> None:
        """Remove both files."""
        self.file.unlink(missing_ok=True)
        self._memory.unlink(missing_ok=True)


def is_partial(path: Path) -> bool:
    """Return whether a file belongs to a download that broke off and can be resumed."""
    return path.name.endswith((PARTIAL, f"{PARTIAL}.json"))


def _opened(partial: _Partial) -> HTTPResponse:
    remote = partial.remote
    request = urllib.request.Request(remote.url, headers=partial.headers())
    try:
        response: HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_S)
        return response
    except HTTPError as error:
        error.close()
        if error.code == 416 and request.has_header("Range"):  # nothing is left to send: it cannot be right
            partial.forget()
            return _opened(partial)
        raise UnreachableError(f"{remote.url}: {error}") from error
    except (OSError, HTTPException) as error:
        raise UnreachableError(f"{remote.url}: {getattr(error, 'reason', error)}") from error


def _store(response: HTTPResponse, partial: _Partial) -> None:
    received = _start(response, partial)
    total = None if response.length is None else received + response.length
    name = partial.file.name.removesuffix(PARTIAL)
    with (
        partial.file.open("ab") as stream,
        bar(f"Downloading {name}", total=total, unit="bytes") as advance,
    ):
        advance(received)
        while piece := _piece(response, partial):
            stream.write(piece)
            received += len(piece)
            advance(len(piece))
    if total is not None and received != total:
        raise BrokenOffError.of(partial, f"after {received} of {total} bytes")


def _start(response: HTTPResponse, partial: _Partial) -> int:
    """Bytes that are there already; 0 where the server sends the whole file."""
    if response.status != 206:
        partial.begin(response)
        return 0
    size, sent = partial.size, response.headers.get("Content-Range", "")
    if not sent.startswith(f"bytes {size}-"):
        raise DataError(f"{partial.remote.url}: sent {sent!r}, asked for bytes {size}-. Run again.")
    return size


def _piece(response: HTTPResponse, partial: _Partial) -> bytes:
    try:
        return response.read(PIECE_BYTES)
    except (OSError, HTTPException) as error:
        raise BrokenOffError.of(partial, f"({error})") from error


def check_hash(path: Path, expected: str, origin: str) -> None:
    """Refuse a file whose content is not the expected one.

    Args:
        expected: Its SHA-256 or MD5, hexadecimal.
    """
    name = HASHES[len(expected)]
    digest = hashlib.new(name.replace("-", ""), usedforsecurity=False)
    with path.open("rb") as stream:
        while piece := stream.read(PIECE_BYTES):
            digest.update(piece)
    if digest.hexdigest() != expected:
        raise DataError(
            f"{origin}: {name} is {digest.hexdigest()}, expected {expected}. The file was changed on its "
            "way or at its origin and is not used. Run again, or pass a file that you trust as dataset.path."
        )
