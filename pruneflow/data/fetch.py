"""Files from far away: downloaded in pieces, and trusted only once their SHA-256 is right."""

from __future__ import annotations

import hashlib
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError

from pruneflow.errors import DataError
from pruneflow.terminal import bar

__all__ = ["RemoteFile", "UnreachableError", "check_sha256", "download"]

TIMEOUT_S = 10.0
PIECE_BYTES = 1 << 18


class UnreachableError(DataError):
    """A place that could not be reached at all, so that the next one may be tried."""


@dataclass(frozen=True)
class RemoteFile:
    """A file and the content it must have.

    Attributes:
        url: Address.
        sha256: SHA-256 of the content, hexadecimal.
    """

    url: str
    sha256: str


def download(remote: RemoteFile, to: Path) -> None:
    """Download a file and check its content.

    Args:
        remote: What to download.
        to: Where to put it. What lies there after an error is not to be trusted.

    Raises:
        UnreachableError: if the server is not reached or does not have the file.
        DataError: if the download breaks off or brings something else.
        OSError: if ``to`` cannot be written.
    """
    try:
        response = urllib.request.urlopen(remote.url, timeout=TIMEOUT_S)
    except HTTPError as error:
        error.close()
        raise UnreachableError(f"{remote.url}: {error}") from error
    except (OSError, HTTPException) as error:
        raise UnreachableError(f"{remote.url}: {getattr(error, 'reason', error)}") from error
    with response:
        _store(response, remote.url, to)
    check_sha256(to, remote.sha256, remote.url)


def _store(response: HTTPResponse, url: str, to: Path) -> None:
    total, received = response.length, 0
    with to.open("wb") as stream, bar(f"Downloading {to.name}", total=total, unit="bytes") as advance:
        while piece := _piece(response, url):
            stream.write(piece)
            received += len(piece)
            advance(len(piece))
    if total is not None and received != total:
        raise DataError(f"{url}: broke off after {received} of {total} bytes. Run again.")


def _piece(response: HTTPResponse, url: str) -> bytes:
    try:
        return response.read(PIECE_BYTES)
    except (OSError, HTTPException) as error:
        raise DataError(f"{url}: broke off ({error}). Run again.") from error


def check_sha256(path: Path, expected: str, origin: str) -> None:
    """Refuse a file whose content is not the expected one.

    Raises:
        DataError: naming the origin and both digests.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(PIECE_BYTES):
            digest.update(piece)
    if digest.hexdigest() != expected:
        raise DataError(
            f"{origin}: SHA-256 is {digest.hexdigest()}, expected {expected}. The file was changed on its "
            "way or at its origin and is not used. Run again, or pass a file that you trust as dataset.path."
        )
