"""Manifests: what a finished stage is, with the SHA-256 of every file, so that a broken one is noticed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pruneflow.files import write_file

__all__ = ["LAYOUT", "MANIFEST", "SCRATCH", "digest_of", "problem", "write_manifest"]

LAYOUT = "v1"  # of the store's folders and manifests; another one lies beside it and is left alone
MANIFEST = "manifest.json"
# A folder in that of a stage which is being made: what helps to make it, such as a checkpoint.
SCRATCH = "scratch"


def digest_of(name: str, inputs: Mapping[str, Any]) -> str:
    """SHA-256 over the name of a stage and its inputs, whatever their order.

    >>> digest_of("dense", {"a": 1, "b": 2}) == digest_of("dense", {"b": 2, "a": 1})
    True
    """
    facts = {"stage": name, "inputs": inputs}
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write the manifest of the stage in ``folder``, over all files but its scratch.

    Args:
        folder: The stage, whole.
        facts: Its name, digest and inputs.
    """
    files = {
        str(file.relative_to(folder)): _sha256(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.relative_to(folder).parts[0] != SCRATCH
    }
    manifest = {"layout": LAYOUT, **facts, "files": files, "finished": time.time()}
    write_file(folder / MANIFEST, (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())


def problem(folder: Path, digest: str) -> str:
    """What is wrong with the stage in ``folder``; empty where every byte of it is as it was written."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        listed = dict(manifest["files"])
        inputs, name = manifest["inputs"], manifest["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{MANIFEST} cannot be read"
    if manifest.get("layout") != LAYOUT or digest_of(name, inputs) != digest:
        return f"{MANIFEST} belongs to another stage"
    for file, expected in listed.items():
        try:
            if _sha256(folder / file) != expected:
                return f"{file} has another SHA-256 than when it was written"
        except FileNotFoundError:
            return f"{file} is missing"
        except OSError as error:
            return f"{file} cannot be read: {error.strerror}"
    return ""


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
