"""Pages: one file of HTML that needs nothing else, and its pictures beside it."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pruneflow import __version__
from pruneflow.errors import PruneflowError
from pruneflow.report.charts import Picture, inline, png, svg
from pruneflow.runtime.files import write_file

REPORT = "report.html"
MARK = '<meta name="generator" content="pruneflow'
HEAD_BYTES = 1000


@dataclass(frozen=True)
class Column:
    """A column of a table; figures stand to the right."""

    name: str
    number: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: What it shows.
        value: What it is sorted by, where that is not its text; NaN, last, where there is none.
        link: Where it leads; empty for nowhere.
    """

    text: str
    value: float | None = None
    link: str = ""


@dataclass(frozen=True)
class Row:
    """A row of a table, whether it stands out, and whether its network is much worse than the dense one."""

    cells: Sequence[Cell]
    marked: bool = False
    lost: bool = False


def write_page(file: Path, template: str, pictures: Sequence[Picture], **values: Any) -> None:
    """Write a page, and its pictures as PNG and SVG into a folder of the same name.

    Args:
        file: Where it goes, ``.../<name>.html``; the pictures go to ``.../<name>/``.
        pictures: What is drawn; the template gets them in this order, as elements of the page.

    Raises:
        PruneflowError: if there is a file that is no page of ours, or it cannot be written.
    """
    require_own(file)
    folder = file.with_suffix("")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise PruneflowError(
            f"{folder} cannot be made: {error.strerror}. Free space or permissions there."
        ) from error
    shown, written = [], set()
    for picture in pictures:
        files = {f"{picture.name}.svg": svg(picture), f"{picture.name}.png": png(picture)}
        for name, content in files.items():
            write_file(folder / name, content)
        written |= set(files)
        links = {Path(name).suffix[1:].upper(): link(folder / name, file) for name in files}
        shown.append({"picture": picture, "svg": inline(picture), "files": links})
    page = _environment().get_template(template).render(pictures=shown, version=__version__, **values)
    write_file(file, page.encode(errors="replace"))  # names of files need not be Unicode
    for old in _pictures_in(folder) - written:  # of an earlier page
        (folder / old).unlink(missing_ok=True)


def require_own(file: Path) -> None:
    """Refuse to write over a page that pruneflow did not make, and over its pictures."""
    folder = file.with_suffix("")
    if not file.parent.is_dir():
        raise PruneflowError(
            f"{file.parent}: there is no such folder. Make it, or name another file with --output."
        )
    if (file.exists() or file.is_symlink()) and not _is_own(file):
        raise PruneflowError(
            f"{file} is no report of pruneflow, and is not written over. Name another file with --output."
        )
    if folder.is_symlink() or (folder.exists() and not _holds_pictures_only(folder)):
        raise PruneflowError(
            f"{folder}, where the pictures would go, holds something else. Move that away, or name another "
            "file with --output."
        )


def _holds_pictures_only(folder: Path) -> bool:
    return folder.is_dir() and {file.name for file in folder.iterdir()} == _pictures_in(folder)


def _pictures_in(folder: Path) -> set[str]:
    """Files called as ours are: a page that was cut off leaves such, and temporary ones."""
    return {file.name for file in folder.iterdir() if _PICTURE.fullmatch(file.name) and file.is_file()}


_PICTURE = re.compile(
    r"\.?(sparsity|(sensitivity|training)(-cut)?|confusion|size|latency|masks"
    r"|(accuracy|r2)-(sparsity|size|latency|compression)(-\d+)?)\.(svg|png)(\.[0-9a-f]{8}(\.pruneflow)?)?"
)


def _is_own(file: Path) -> bool:
    if not file.is_file():
        return False
    try:
        with file.open("rb") as content:
            return MARK.encode() in content.read(HEAD_BYTES)
    except OSError:
        return False


def link(target: Path, page: Path) -> str:
    """Return the relative link from a page to a file, quoted for a browser."""
    return quote(os.fsencode(Path(os.path.relpath(target, page.parent)).as_posix()))


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    loader = PackageLoader("pruneflow.report")
    environment = Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    # What the pages hold unescaped: our own style, our own script, and pictures that we have drawn.
    environment.globals["included"] = lambda name: Markup((_FOLDER / name).read_text(encoding="utf-8"))
    environment.globals["zip"] = zip
    environment.filters["drawn"] = Markup
    return environment


_FOLDER = Path(__file__).parent / "templates"
