"""``aclImdb``, the form in which the Large Movie Review Dataset is published: one text file per review.

The archive is read as a stream; nothing of it is ever written to disk.
"""

import gzip
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np

from pruneflow.datasets.reading.corpus import Texts
from pruneflow.datasets.reading.files import content_of, decoded, reading
from pruneflow.errors import DataError
from pruneflow.runtime.terminal import Advance, bar

CLASS_NAMES = ("neg", "pos")
HALVES = ("train", "test")
FOLDERS = [(half, label) for half in HALVES for label in CLASS_NAMES]

MEMBER = re.compile(r"(?:.*/)?(train|test)/(neg|pos)/([^/.][^/]*\.txt)")
LARGEST_TEXT_BYTES = 1 << 20  # the longest review has 14 kB
ARCHIVE = "a whole .tar.gz archive"
PIECE_BYTES = 1 << 18


class _Review(NamedTuple):
    """In the order in which reviews are kept: class by class, each by file name."""

    half: str
    label: str
    file: str
    text: str


def holds_aclimdb(folder: Path) -> bool:
    """Return whether the folder is ``aclImdb``, or holds it."""
    return any((folder / inner / half).is_dir() for inner in ("", "aclImdb") for half in HALVES)


def read_folder(folder: Path) -> tuple[Texts, Texts]:
    """Read ``train/neg``, ``train/pos``, ``test/neg`` and ``test/pos``, each ``*.txt``.

    Args:
        folder: ``aclImdb``, or the folder that holds it.

    Returns:
        Training and test half; the same as `read_archive` gives.
    """
    root = folder if any((folder / half).is_dir() for half in HALVES) else folder / "aclImdb"
    with bar(f"Reading {root}", total=None) as advance:
        return _halves(root, _of_folder(root, advance))


def read_archive(path: Path) -> tuple[Texts, Texts]:
    """Read the .tar.gz of the ``aclImdb`` folder.

    Raises:
        DataError: if it is cut short or has no texts, if a text is not UTF-8, or if a member has an absolute
            path, climbs out with .. or is a link or a device.
    """
    with (
        bar(f"Reading {path}", total=None) as advance,
        reading(path, ARCHIVE),
        cast(IO[bytes], gzip.open(path)) as stream,
        tarfile.open(fileobj=stream, mode="r|") as archive,
    ):
        reviews = list(_of_archive(path, archive, advance))
        while stream.read(PIECE_BYTES):  # to the end, where the CRC is checked
            pass
    return _halves(path, reviews)


def _of_folder(root: Path, advance: Advance) -> Iterator[_Review]:
    for half, label in FOLDERS:
        inner = root / half / label
        with reading(inner, "a folder of texts"):
            files = [file for file in inner.iterdir() if file.suffix == ".txt" and file.name[0] != "."]
        for file in files:
            with reading(file, "a text"):
                content = content_of(file)
            advance()
            yield _Review(half, label, file.name, decoded(content, file))


def _of_archive(path: Path, archive: tarfile.TarFile, advance: Advance) -> Iterator[_Review]:
    while member := archive.next():
        archive.members.clear()  # type: ignore[attr-defined]  # tarfile would keep all of them
        _check_member(path, member)
        found = MEMBER.fullmatch(member.name)
        content = archive.extractfile(member) if found and member.isreg() else None
        if found and content:
            advance()
            text = decoded(content.read(), f"{path}: {member.name}")
            yield _Review(found[1], found[2], found[3], text)


def _check_member(path: Path, member: tarfile.TarInfo) -> None:
    """Refuse what no archive of texts has; a forged one is not to be trusted in anything else either."""
    climbs = member.name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", member.name)
    plain = member.isreg() or member.isdir()
    if climbs or not plain:
        what = "a path that leads out of it" if climbs else "a link or a device"
        raise DataError(f"{path}: member {member.name!r} is {what}. The archive is not used.")
    if member.size > LARGEST_TEXT_BYTES and MEMBER.fullmatch(member.name):
        raise DataError(
            f"{path}: member {member.name!r} has {member.size} bytes, expected a review of at most "
            f"{LARGEST_TEXT_BYTES}."
        )


def _halves(path: Path, reviews: Iterable[_Review]) -> tuple[Texts, Texts]:
    ordered = sorted(reviews)
    held = {(review.half, review.label) for review in ordered}
    for half, label in FOLDERS:
        if (half, label) not in held:
            raise DataError(f"{path}: no texts in it as {half}/{label}/*.txt.")
    train, test = (_texts([review for review in ordered if review.half == half]) for half in HALVES)
    return train, test


def _texts(reviews: list[_Review]) -> Texts:
    y = np.array([CLASS_NAMES.index(review.label) for review in reviews], np.int64)
    return Texts([review.text for review in reviews], y)
