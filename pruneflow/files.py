"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from pathlib import Path

from pruneflow.errors import PruneflowError

__all__ = ["remove_folder", "remove_temporaries", "write_file"]


def write_file(path: Path, content: bytes) -> None:
    """Write ``content`` to a temporary name beside ``path``, then rename: whole or not at all.

    Raises:
        PruneflowError: if the folder cannot be written or the disk is full; nothing half-written stays.
    """
    # The name is known before the file is there, so that a signal between the two leaves nothing behind.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise PruneflowError(
                f"{path} cannot be written: {error.strerror}. Free space or permissions there."
            ) from error
        raise


def remove_folder(folder: Path) -> None:
    """Take a folder out of sight at once, then delete it; nothing is done where there is none."""
    if folder.exists():
        away = folder.with_name(f"{folder.name[:12]}.{secrets.token_hex(4)}.trash")
        folder.rename(away)
        shutil.rmtree(away, ignore_errors=True)


def remove_temporaries(folder: Path) -> None:
    """Delete what processes that were killed while they wrote left in ``folder``; nobody may write there."""
    for file in folder.glob(".*"):
        if _TEMPORARY.fullmatch(file.name):
            file.unlink(missing_ok=True)


_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}")
