"""Hooks of mkdocs: pages at the root of the repository are pages of the site, other links are plain text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
# Files of the root that are pages of the site, under these names.
PAGES = {
    "README.md": "index.md",
    **{name: name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")},
}
LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:|#)([^)#\s]*)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie at the root."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Lead links of a page to where their targets lie on the site; what is not on the site is named only."""
    named = {page: name for name, page in PAGES.items()}
    folder = ROOT if page.file.src_uri in named else ROOT / "docs"
    return LINK.sub(lambda link: _linked(link, folder), markdown)


def _linked(link: re.Match[str], folder: Path) -> str:
    """Return one Markdown link as the site needs it."""
    text, target, anchor = link.group(1), link.group(2), link.group(3) or ""
    path = (folder / target).resolve().relative_to(ROOT).as_posix()
    if path.startswith("docs/"):
        return f"[{text}]({path.removeprefix('docs/')}{anchor})"
    return f"[{text}]({PAGES[path]}{anchor})" if path in PAGES else text
