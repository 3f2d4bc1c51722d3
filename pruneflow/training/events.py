"""TensorBoard event files: written without TensorFlow, and packed, since a store must not hold them open."""

import io
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pruneflow.runtime.files import is_folder

FORMAT = "brain.Event:2"  # what TensorBoard expects the first event of a file to say


def event_file(summaries: Iterable[Any], *, step: int, seconds: float) -> bytes:
    """Return the bytes of a whole event file.

    Args:
        summaries: ``Summary`` messages of TensorBoard, with one value each.
        seconds: Wall time of all of them, since the epoch.
    """
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    content = io.BytesIO()
    records = RecordWriter(content)
    records.write(Event(wall_time=seconds, file_version=FORMAT).SerializeToString())
    for summary in summaries:
        records.write(Event(wall_time=seconds, step=step, summary=summary).SerializeToString())
    return content.getvalue()


def pack(folder: Path) -> bytes:
    """All files below ``folder`` as a zip archive; empty where there is no such folder."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    return content.getvalue()


def remove(folder: Path) -> None:
    """Delete the event files in ``folder`` and in those below it, and folders that are empty then."""
    if not is_folder(folder):
        return
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder comes before it
        if "tfevents" in path.name and not is_folder(path):
            path.unlink()
        with suppress(OSError):  # a file, or not empty
            path.rmdir()
    with suppress(OSError):
        folder.rmdir()


def unpack(content: bytes, folder: Path) -> None:
    """Put the files of an archive that ``pack`` made into ``folder``, in place of what is there.

    Raises:
        zipfile.BadZipFile: if the archive is broken.
    """
    remove(folder)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if archive.namelist():
            folder.mkdir(parents=True, exist_ok=True)
            archive.extractall(folder)
