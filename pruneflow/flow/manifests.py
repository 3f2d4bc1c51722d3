"""Manifests: what a finished stage is, with the SHA-256 of every file, so that a broken one is noticed."""

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pruneflow.datasets.reading.names import printable
from pruneflow.runtime.files import write_file

LAYOUT = "v1"  # of the store's folders and manifests; another one lies beside it and is left alone
MANIFEST = "manifest.json"
# A folder in that of a stage which is being made: what helps to make it, such as a checkpoint.
SCRATCH = "scratch"
MOST_BYTES = 2**24  # of a manifest; those that pruneflow writes have a few thousand


def digest_of(name: str, inputs: Mapping[str, Any]) -> str:
    """SHA-256 over the name of a stage and its inputs, whatever their order.

    >>> digest_of("dense", {"a": 1, "b": 2}) == digest_of("dense", {"b": 2, "a": 1})
    True
    """
    facts = {"stage": name, "inputs": inputs}
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write the manifest of the stage in ``folder``, over all files but its scratch."""
    files = {name: _sha256(file) for name, file in _files(folder).items()}
    manifest = {"layout": LAYOUT, **facts, "files": files, "finished": time.time()}
    write_file(folder / MANIFEST, (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())


def problem(folder: Path, digest: str) -> str:
    """Return the fault of the stage in ``folder``; empty where every byte is as it was written."""
    manifest = _read(folder)
    if not manifest:
        return f"{MANIFEST} cannot be read"
    if (manifest["layout"], manifest["computed"]) != (LAYOUT, digest):
        return f"{MANIFEST} belongs to another stage"
    if not manifest["files"]:
        return f"{MANIFEST} lists no files"
    if others := strangers(folder):
        return f"{printable(others[0])} is none of its files"
    found = _files(folder)  # never a path that leads out of it
    problems = (_problem(name, found.get(name), expected) for name, expected in manifest["files"].items())
    return next(filter(None, problems), "")


def _problem(name: str, file: Path | None, expected: object) -> str:
    if file is None or not file.is_file():  # a pipe would be waited for
        return f"{printable(name)} is missing"
    try:
        same = _sha256(file) == expected
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"
    return "" if same else f"{name} has another SHA-256 than when it was written"


def is_stated(place: Path) -> bool:
    """Return whether the manifest in ``<layout>/<kind>/<digest>`` says that the folder is this very stage."""
    said = [_read(place).get(key) for key in ("layout", "name", "digest")]
    return said == [place.parent.parent.name, place.parent.name, place.name]


def strangers(place: Path) -> list[str]:
    """Names of what lies in a stage and is not in its manifest; none where that cannot be read.

    What is hidden does not count: systems leave such files where somebody looks into a folder.
    """
    listed = _read(place).get("files")
    return [name for name in _files(place) if listed and name not in listed and "/." not in f"/{name}"]


def _read(folder: Path) -> dict[str, Any]:
    """The manifest of a stage, and the digest that is computed from it; empty where it is damaged."""
    file = folder / MANIFEST
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        if file.is_file() and file.stat().st_size <= MOST_BYTES:  # a pipe would be waited for
            found = json.loads(file.read_bytes())
            computed = digest_of(found["name"], found["inputs"])
            return {"layout": found["layout"], **found, "files": {**found["files"]}, "computed": computed}
    return {}


def _files(folder: Path) -> dict[str, Path]:
    """Whatever is no folder in a stage, by its name, but for the manifest and the scratch."""
    found = [file for file in sorted(folder.rglob("*")) if file.is_symlink() or not file.is_dir()]
    named = {file.relative_to(folder).as_posix(): file for file in found}
    return {name: file for name, file in named.items() if name.split("/")[0] not in (MANIFEST, SCRATCH)}


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
