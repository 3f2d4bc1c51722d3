"""NumPy files of the user's own: a .npz with examples and labels, or a .npy of each."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from pruneflow.datasets.reading.checks import Array, expect
from pruneflow.datasets.reading.files import (
    LARGEST_BYTES,
    SUFFIX,
    array_names,
    read_arrays,
    reading,
    refuse_kind,
)
from pruneflow.datasets.reading.given import Given, Labelled
from pruneflow.datasets.reading.names import listed
from pruneflow.options import require

FORMATS = "a .npz file with examples and labels, or a .npy file beside dataset.labels_path"
OTHERS = "Folders of images need dataset=image_folder, texts dataset=csv_text."
WHOLE_NPY = "a whole .npy file without pickles"

# What a key may be called in a file where no setting names it; the first that is there counts.
USUAL = {
    "x": ("x_train", "X_train", "x", "X", "train_images"),
    "y": ("y_train", "Y_train", "y", "Y", "train_labels"),
    "x_test": ("x_test", "X_test", "test_images"),
    "y_test": ("y_test", "Y_test", "test_labels"),
    "x_validation": ("x_validation", "X_validation", "x_val", "X_val", "x_valid", "X_valid", "val_images"),
    "y_validation": ("y_validation", "Y_validation", "y_val", "Y_val", "y_valid", "Y_valid", "val_labels"),
}


@dataclass(frozen=True)
class Keys:
    """Names of the arrays in a .npz file; None takes a usual one.

    Attributes:
        groups: Groups of the examples for training; those of other parts end with ``_test`` or
            ``_validation``. None where there are none.
        sample_weights: Weights of the examples for training; None where there are none.
    """

    x: str | None = None
    y: str | None = None
    x_test: str | None = None
    y_test: str | None = None
    x_validation: str | None = None
    y_validation: str | None = None
    groups: str | None = None
    sample_weights: str | None = None

    def named(self) -> dict[str, str]:
        """Return the arrays that a setting names."""
        return {key: name for key, name in vars(self).items() if name is not None}


def read_npz(path: Path, keys: Keys) -> Given:
    """Read the arrays that the settings name, or those that are usual.

    Raises:
        ConfigError: if the file has no array of a name that a setting gives.
        DataError: if it is missing, cut short or not a .npz file, if there are no examples or no labels, if
            one of the two is missing for a part, or if an array holds Python objects: no pickle is read.
    """
    refuse_kind(path, allowed=(".npz", SUFFIX), holds="a .npz nor a .npy file", others=OTHERS)
    held = array_names(path)
    names = _chosen(held, keys)
    for key in ("x", "y"):
        expected = f"to be there, or another name in dataset.{key}_key"
        expect(key in names, path, USUAL[key][0], expected, "only " + (", ".join(held) or "an empty archive"))
    _check_headers(path, list(names.values()))
    arrays = read_arrays(path, list(names.values()))
    parts = {part: _part(path, names, arrays, part) for part in ("", "_test", "_validation")}
    train = parts[""]
    assert train is not None
    unused = sorted(set(held) - set(names.values()))
    note = f"Arrays of {path.name} that were not used: {listed(unused)}." if unused else ""
    return Given(path, train, parts["_test"], parts["_validation"], note=note)


def read_test(path: Path, groups: str | None = None) -> Labelled:
    """Read a test part of its own: x_test and y_test of a .npz file, else x and y or other usual names.

    Args:
        groups: What the array of its groups is called, with ``_test`` at its end beside x_test; None where
            there are none. It may lack one.
    """
    refuse_kind(path, allowed=(".npz",), holds="a .npz file", others=OTHERS)
    held = array_names(path)
    names = {}
    for letter in "xy":
        usual = (*USUAL[f"{letter}_test"], *USUAL[letter])
        found = [name for name in usual if name in held]
        expect(bool(found), path, usual[0], "to be there", "only " + (", ".join(held) or "an empty archive"))
        names[letter] = found[0]
    called = f"{groups}_test" if names["x"] in USUAL["x_test"] else str(groups)
    wanted = [*names.values(), *([called] if groups and called in held else [])]
    _check_headers(path, wanted)
    arrays = read_arrays(path, wanted)
    x, y = names["x"], names["y"]
    return Labelled(arrays[x], arrays[y], (x, y), arrays.get(called) if groups else None)


def read_one(path: Path) -> Array:
    """Read the one array of a .npy file, or of a .npz file that holds a single one."""
    if path.suffix.lower() != ".npz":
        return read_npy(path)
    held = array_names(path)
    expected = "to be the only one, as dataset.labels_path names a file for the labels"
    expect(len(held) == 1, path, held[0] if held else "of examples", expected, ", ".join(held) or "none")
    _check_headers(path, held)
    return read_arrays(path, held)[held[0]]


def read_npy(path: Path) -> Array:
    """Read the one array of a .npy file.

    Raises:
        DataError: if the file is missing, cut short or not a .npy file, or holds Python objects: no pickle is
            read.
    """
    refuse_kind(path, allowed=(SUFFIX,), holds="a .npz nor a .npy file", others=OTHERS)
    with reading(path, WHOLE_NPY), path.open("rb") as stream:
        shape, dtype = _header(stream)
        _refuse_object(path, path.stem, dtype)
        declared = _declared(shape, dtype)
        expect(declared <= LARGEST_BYTES, path, path.stem, f"at most {LARGEST_BYTES} bytes", declared)
        _refuse_more(path.stem, path.stat().st_size - stream.tell() - declared)
    with reading(path, WHOLE_NPY):
        loaded: Array = np.load(path, allow_pickle=False)
        return loaded


def _chosen(held: Sequence[str], keys: Keys) -> dict[str, str]:
    chosen = {}
    for key, usual in USUAL.items():
        if name := keys.named().get(key):
            _require_array(f"dataset.{key}_key", name, held)
            chosen[key] = name
        elif found := [name for name in usual if name in held]:
            chosen[key] = found[0]
    for key in ("groups", "sample_weights"):
        if name := keys.named().get(key):
            _require_array(f"dataset.{key}", name, held)
            chosen[key] = name
    for part in ("_test", "_validation"):
        if keys.groups and f"x{part}" in chosen and f"{keys.groups}{part}" in held:
            chosen[f"groups{part}"] = f"{keys.groups}{part}"
    return chosen


def _require_array(key: str, name: str, held: Sequence[str]) -> None:
    problem = f"the file has no array of this name; it has {', '.join(held)}"
    require(name in held, key, name, problem, "Name one of them.")


def _part(path: Path, names: dict[str, str], arrays: dict[str, Array], part: str) -> Labelled | None:
    x, y = (names.get(f"{letter}{part}") for letter in "xy")
    if x is None and y is None:
        return None
    there, missing = (x, f"y{part}") if y is None else (y, f"x{part}")
    expected = f"to be there beside {there}, or another name in dataset.{missing}_key"
    expect(x is not None and y is not None, path, USUAL[missing][0], expected, "none")
    assert x is not None and y is not None
    groups, weights = (arrays.get(names.get(f"{key}{part}", "")) for key in ("groups", "sample_weights"))
    return Labelled(arrays[x], arrays[y], (x, y), groups, weights)


def _check_headers(path: Path, names: Sequence[str]) -> None:
    """Refuse arrays that only a pickle can hold, or behind which there is more, by what their headers say."""
    with reading(path), zipfile.ZipFile(path) as archive:
        for name in names:
            with archive.open(name + SUFFIX) as stream:
                shape, dtype = _header(stream)
                _refuse_object(path, name, dtype)
                size = archive.getinfo(name + SUFFIX).file_size
                _refuse_more(name, size - stream.tell() - _declared(shape, dtype))


def _declared(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return int(np.prod(shape, dtype=object)) * dtype.itemsize


def _refuse_more(name: str, more: int) -> None:
    """Refuse bytes behind the end of an array, which nobody reads; those that lack are noticed later."""
    if more > 0:
        raise ValueError(f"{more:,} bytes behind the end of array {name}")


def _header(stream: object) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(stream)  # type: ignore[arg-type]
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(stream)  # type: ignore[arg-type]
    return shape, dtype


def _refuse_object(path: Path, name: str, dtype: np.dtype[Any]) -> None:
    advice = "numbers or texts; save x.astype('float32'), or for labels that are words y.astype(str)"
    expect(not dtype.hasobject, path, name, advice, "Python objects, whose pickle is not read")
