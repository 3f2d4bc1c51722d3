"""Sizes of files as they lie on disk and as they travel."""

from __future__ import annotations

import gzip
import io
import zipfile
from dataclasses import dataclass

__all__ = ["Size", "size_of"]


@dataclass(frozen=True)
class Size:
    """Bytes of one file.

    Attributes:
        bytes: As it is.
        gzip_bytes: After gzip, level 9.
        zip_bytes: As the only member of a deflated zip archive, as in the guide "Pruning in Keras".
    """

    bytes: int
    gzip_bytes: int
    zip_bytes: int


def size_of(content: bytes) -> Size:
    """Measure ``content``; the same content always gives the same sizes."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(zipfile.ZipInfo("model"), content, zipfile.ZIP_DEFLATED)
    return Size(len(content), len(gzip.compress(content, 9, mtime=0)), len(archive.getvalue()))
