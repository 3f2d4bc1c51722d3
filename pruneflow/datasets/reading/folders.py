"""A folder with a folder of images for each class: which images there are, before any is opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.reading.files import reading
from pruneflow.datasets.reading.names import alike, differing, in_order, listed, printable
from pruneflow.errors import DataError

HALVES = ("train", "validation", "test")
SPELLINGS = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation"}
SPELLINGS["test"] = "test"
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
LARGEST = (1 << 63) - 1  # that int64 holds; file systems number their files beyond it
LITTER = ("thumbs.db", "desktop.ini")  # what file managers leave
# What archives of a Mac, disk stations and other systems leave beside everybody's folders.
LITTER_FOLDERS = ("__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found")

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Listing:
    """Images by part, class and name.

    Attributes:
        names: n paths below it, with slashes.
        stamps: (n, 4) int64, by which a file is told from another in its place: bytes, times of the last
            change of content and of anything in nanoseconds, number in the file system.
        y: (n,) int64 number of the class.
        part: (n,) int64 place in `HALVES`.
        classes: What the classes are called.
    """

    root: Path
    names: list[str]
    stamps: Numbers
    y: Numbers
    part: Numbers
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def at(self, places: Numbers) -> Listing:
        """The images at ``places`` (k,)."""
        names = [self.names[i] for i in places]
        return Listing(self.root, names, self.stamps[places], self.y[places], self.part[places], self.classes)

    def of(self, part: str) -> Numbers:
        """Places of the images of one part."""
        return np.flatnonzero(self.part == HALVES.index(part))


def listed_images(root: Path, order: Sequence[str] = ()) -> Listing:
    """List the images of a folder with class folders, or with ``train``, ``validation`` and ``test`` of them.

    Hidden files and folders do not count, nor what other systems leave; every other file in a class folder
    is an image.

    Args:
        order: The setting ``dataset.class_names``; empty takes the order of Keras'
            ``image_dataset_from_directory``, by the characters of the names.

    Raises:
        DataError: if there are no class folders or only one, if one is empty or holds folders, if images lie
            beside class folders, or if a part has a class that training lacks.
        ConfigError: if the order does not name every class once.
    """
    if root.exists() and not root.is_dir():
        raise DataError(f"{root}: a file, expected a folder with a folder of images for each class.")
    with reading(root, "a folder"):
        parts = _parts(root)
    classes = tuple(sorted(parts["train"]))
    if len(parts["train"]) < 2:
        raise DataError(f"{root}: {listed(classes)} is the only class folder, expected two or more.")
    _check_classes(parts, classes)
    classes = in_order(classes, order)
    numbers = {alike(name): number for number, name in enumerate(classes)}
    names, stamps, labels = [], [], []
    for half, folders in parts.items():
        for name in sorted(folders):
            found = _images(folders[name])
            names += [f"{folders[name].relative_to(root).as_posix()}/{file}" for file, *_ in found]
            stamps += [stamp for _, *stamp in found]
            labels += [(numbers[alike(name)], HALVES.index(half))] * len(found)
    y, part = np.array(labels, np.int64).T
    return Listing(root, names, np.array(stamps, np.int64), y, part, classes)


def _parts(root: Path) -> dict[str, dict[str, Path]]:
    """Class folders of each part by name; all are of training where no folder ``train`` has folders."""
    inside = _folders(root)
    halves = {
        SPELLINGS[name.casefold()]: path for name, path in inside.items() if name.casefold() in SPELLINGS
    }
    if "train" not in halves or not _folders(halves["train"]):
        _refuse_images_beside(root, inside)
        return {"train": inside}
    others = [name for name in inside if name.casefold() not in SPELLINGS]
    if others or len(halves) != len(inside):
        raise DataError(
            f"{root}: {listed(sorted(others or inside))} beside train; only one validation and one test are "
            "read there. Move the others away."
        )
    parts = {half: _folders(halves[half]) for half in HALVES if half in halves}
    for half, folders in parts.items():
        _refuse_images_beside(halves[half], folders)
    return parts


def _folders(root: Path) -> dict[str, Path]:
    names = [entry.name for entry in os.scandir(root) if entry.is_dir() and not _is_litter(entry.name)]
    return {_as_utf8(name): root / name for name in names}


def _is_litter(name: str) -> bool:
    return name[0] == "." or name.casefold() in (*LITTER, *LITTER_FOLDERS)


def _as_utf8(name: str) -> str:
    """Return a file name as it reads in UTF-8, whatever encoding the locale has."""
    return os.fsencode(name).decode("utf-8", "surrogateescape")


def _refuse_images_beside(root: Path, folders: dict[str, Path]) -> None:
    names = [entry.name for entry in os.scandir(root) if not _is_litter(entry.name)]
    images = sorted(name for name in names if Path(name).suffix.lower() in SUFFIXES)
    if images:
        raise DataError(
            f"{root}: {listed(images, most=2)}: images that lie in no class folder, {len(images):,} in all. "
            "Move each into a folder that is called as its class."
        )
    if not folders:
        raise DataError(f"{root}: no class folders in it. Make one for each class, with its images.")


def _check_classes(parts: dict[str, dict[str, Path]], classes: Sequence[str]) -> None:
    known = {alike(name) for name in classes}
    for folders in parts.values():
        first: dict[str, str] = {}
        for name, folder in sorted(folders.items()):
            if name.encode(errors="ignore").decode() != name:
                raise DataError(
                    f"{folder.parent}: the name of the class folder {printable(name)} is no UTF-8. Rename it."
                )
            if (other := first.setdefault(alike(name), name)) != name:
                raise DataError(f"{folder}: the class folder {differing(other, name)} alone. Join the two.")
            if alike(name) not in known:
                raise DataError(f"{folder}: train has no such class; it has {listed(classes)}.")


def _images(folder: Path) -> list[tuple[str, int, int, int, int]]:
    """Name and stamps of each, by name."""
    with reading(folder, "a folder"), os.scandir(folder) as entries:
        kept = [each for each in entries if not _is_litter(each.name)]
        if inner := sorted(each.name for each in kept if each.is_dir()):
            raise DataError(
                f"{folder}: holds the folder {printable(inner[0])}, and a class folder holds images only."
            )
        if odd := sorted(each.name for each in kept if not each.is_file()):
            raise DataError(f"{folder}/{printable(odd[0])}: no file, or a link to nothing. Remove it.")
        found = sorted((each.name, *_stamps(each.stat())) for each in kept)
    if not found:
        raise DataError(f"{folder}: the class folder is empty. Put images there, or remove it.")
    return found


def _stamps(of: os.stat_result) -> tuple[int, int, int, int]:
    return of.st_size, of.st_mtime_ns, of.st_ctime_ns, of.st_ino & LARGEST
