"""Sizes of files as they lie on disk and as they travel."""

from __future__ import annotations

import gzip
import io
import lzma
import zipfile
from dataclasses import dataclass

import zstandard

FORMS = ("raw", "gzip", "zip", "zstd")

# Ways to send a file, and what they add to its name.
COMPRESSIONS = {"gzip": ".gz", "zstd": ".zst", "xz": ".xz", "brotli": ".br"}

ZSTD_LEVEL = 19  # the highest that needs no more memory to unpack; packed once, sent many times


@dataclass(frozen=True)
class Size:
    """Bytes of one file.

    Attributes:
        bytes: As it is.
        gzip_bytes: After gzip, level 9.
        zip_bytes: As the only member of a deflated zip archive, as in the guide "Pruning in Keras".
        zstd_bytes: After Zstandard, level 19; None in results of before.
    """

    bytes: int
    gzip_bytes: int
    zip_bytes: int
    zstd_bytes: int | None = None

    @property
    def forms(self) -> dict[str, int | None]:
        """Bytes by the name of each form."""
        return dict(zip(FORMS, vars(self).values(), strict=True))

    def over(self, other: Size) -> dict[str, float]:
        """Return how many times as large as another file it is, by the name of each form that both have.

        >>> Size(8, 4, 4).over(Size(2, 2, 4))
        {'raw': 4.0, 'gzip': 2.0, 'zip': 1.0}
        """
        both = zip(FORMS, vars(self).values(), vars(other).values(), strict=True)
        return {form: one / another for form, one, another in both if one and another}


def size_of(content: bytes) -> Size:
    """Measure ``content``; the same content always gives the same sizes."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(zipfile.ZipInfo("model"), content, zipfile.ZIP_DEFLATED)
    return Size(
        bytes=len(content),
        gzip_bytes=len(compressed(content, "gzip")),
        zip_bytes=len(archive.getvalue()),
        zstd_bytes=len(compressed(content, "zstd")),
    )


def compressed(content: bytes, compression: str) -> bytes:
    """Compress ``content``, always to the same bytes.

    Args:
        compression: One of `COMPRESSIONS`.
    """
    return _WAYS[compression](content)


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, 9, mtime=0)


def _zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(content)


def _xz(content: bytes) -> bytes:
    """Compress as numbers of 4 bytes, and as single bytes, and take the smaller."""
    how = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0}
    ways = [{**how, "lp": 2, "pb": 2}, {**how, "lp": 0, "pb": 0}]
    return min((lzma.compress(content, check=lzma.CHECK_CRC32, filters=[way]) for way in ways), key=len)


def _brotli(content: bytes) -> bytes:
    import brotli

    return bytes(brotli.compress(content, quality=11, lgwin=24))


_WAYS = {"gzip": _gzip, "zstd": _zstd, "xz": _xz, "brotli": _brotli}
