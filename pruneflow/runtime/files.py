"""Files that are written whole or not at all, and what is no file."""

import os
import re
import secrets
import shutil
import stat
from pathlib import Path

from pruneflow.errors import DataError, PruneflowError

MARK = ".pruneflow"  # ends what is ours alone while it is written
TRASH = r"[0-9a-f]{12}\.[0-9a-f]{8}\.trash"  # a folder named by a digest whose deletion was cut off

_SPECIAL = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def config_folder() -> Path:
    """The folder of YAML files: beside the package in a checkout, inside it in a wheel.

    Raises:
        PruneflowError: if neither is there.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise PruneflowError(f"conf/config.yaml is neither in {package} nor beside it. Install pruneflow again.")


def require_regular(path: Path) -> None:
    """Refuse what is there and is neither a file nor a folder: to read it may never end."""
    try:
        kind = _SPECIAL.get(stat.S_IFMT(path.stat().st_mode))
    except (OSError, ValueError):  # whoever reads it says why that fails
        return
    if kind:
        raise DataError(f"{path}: {kind} is no file. Copy what it holds into a file, and name that.")


def write_file(path: Path, content: bytes) -> None:
    """Write ``content`` to a temporary name beside ``path``, then rename: whole or not at all.

    Raises:
        PruneflowError: if the folder cannot be written or the disk is full; nothing half-written stays.
    """
    # The name is known before the file is there, so that a signal between the two leaves nothing behind.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{MARK}")
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


def is_folder(path: Path) -> bool:
    """Return whether there is a folder, and not a link to one."""
    return path.is_dir() and not path.is_symlink()


def remove_folder(folder: Path) -> None:
    """Take a folder out of sight at once, then delete it; nothing is done where there is none.

    Of a link, the link alone is deleted; a file in the place of the folder is deleted too.
    """
    if is_folder(folder):
        away = folder.with_name(f"{folder.name[:12]}.{secrets.token_hex(4)}.trash")
        folder.rename(away)
        shutil.rmtree(away, ignore_errors=True)
    else:
        folder.unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Delete what processes that were killed while they wrote left in ``folder``; nobody may write there."""
    for file in folder.glob(f".*{MARK}"):
        if _TEMPORARY.fullmatch(file.name) and not is_folder(file):
            file.unlink(missing_ok=True)


_TEMPORARY = re.compile(rf"\..+\.[0-9a-f]{{8}}{re.escape(MARK)}")
