"""Runs and sweeps that were cut off: the same command goes on in the folder where it stopped."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruneflow.flow.store import LOCKS, RUNS, Store
from pruneflow.runtime.files import write_file
from pruneflow.runtime.locks import attempted
from pruneflow.runtime.records import read_json


def identity_of(facts: Any, versions: dict[str, str]) -> str:
    """SHA-256 over what a command does, as JSON takes it, and the versions that carry it out."""
    text = json.dumps({"facts": facts, "versions": versions}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class Claim:
    """A command that is being carried out.

    Attributes:
        left: Folder that the same command left unfinished, or None.
        record: Where the folder is noted down; None where the same command runs in another process.
    """

    left: Path | None
    record: Path | None

    def begin(self, folder: Path) -> None:
        """Note down that the command works in ``folder``."""
        if self.record:
            write_file(self.record, json.dumps({"folder": str(folder.absolute())}).encode())

    def finish(self) -> None:
        """Note down that nothing of it is left to do."""
        if self.record:
            self.record.unlink(missing_ok=True)


@contextmanager
def claimed(store: Store, identity: str) -> Iterator[Claim]:
    """Claim a command for this process; the claim ends with the process, however it ends.

    Args:
        store: Its settings say whether unfinished runs are taken up.
    """
    record = _record(store, identity)
    record.parent.mkdir(parents=True, exist_ok=True)
    with attempted(store.folder / LOCKS / f"run-{identity}") as got:
        yield Claim(left(store, identity), record) if got else Claim(None, None)


def left(store: Store, identity: str) -> Path | None:
    """The folder in which the command was cut off; None where there is none to take up."""
    if not store.reuse:
        return None
    try:
        folder = Path(read_json(_record(store, identity))["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder if folder.is_absolute() and folder.is_dir() else None


def _record(store: Store, identity: str) -> Path:
    return store.folder / RUNS / f"{identity}.json"
