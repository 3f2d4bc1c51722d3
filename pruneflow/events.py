"""TensorBoard event files as one archive: a store must not hold them open, TensorBoard would show them."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

__all__ = ["pack", "unpack"]


def pack(folder: Path) -> bytes:
    """All files below ``folder`` as a zip archive; empty where there is no such folder."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    return content.getvalue()


def unpack(content: bytes, folder: Path) -> None:
    """Put the files of an archive that ``pack`` made into ``folder``, in place of what is there.

    Raises:
        zipfile.BadZipFile: if the archive is broken.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if archive.namelist():
            folder.mkdir(parents=True)
            archive.extractall(folder)
