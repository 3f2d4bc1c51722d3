"""Pictures: one look for all, as PNG and SVG files and as SVG in a page that follows its colours."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from pruneflow.errors import PruneflowError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1b1f24", "#59636e", "#d5dae0"
# Okabe and Ito 2008, which people with every kind of colour vision tell apart; yellow darkened, to be seen on
# white, and black replaced by grey.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a7a00", "#6e7781")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")  # groups differ in more than their colour

LONGEST = 64  # letters of a name
MICROSECONDS_BELOW_MS = 0.1
WIDTH_IN, HEIGHT_IN, DPI = 5.6, 3.4, 150
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.facecolor": "none",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "text.parse_math": False,  # a dollar sign in a name is one
    "svg.fonttype": "none",  # text stays text: small, searchable, in the font of the page
}


@dataclass(frozen=True)
class Picture:
    """One drawing.

    Attributes:
        name: Stem of its files.
        title: Heading above it.
        alt: What it shows, for those who cannot see it.
        caption: What to know when reading it; empty for nothing.
        tips: Text shown over a part of it, by the part's ``gid``.
        links: Where a part leads, by its ``gid``.
    """

    name: str
    title: str
    alt: str
    figure: Figure = field(repr=False)
    caption: str = ""
    tips: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def styled() -> Iterator[None]:
    """Draw everything in the block in the style of the reports, whatever the user's own settings are."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it says that it looks for fonts, once
    try:
        import matplotlib
    except ValueError as error:
        raise PruneflowError(
            f"Pictures cannot be drawn: matplotlib cannot read its settings ({error}). Mend or move the file "
            "matplotlibrc, which is looked for in the current folder first; check MPLBACKEND."
        ) from error
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of names in a script that the font lacks
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def figure(
    *,
    rows: int = 1,
    height: float = HEIGHT_IN,
    width: float = WIDTH_IN,
    ratios: list[float] | None = None,
    shared: bool = False,
) -> Any:
    """An empty figure and its axes: one, or a list of several below each other.

    Args:
        height: Inches.
        width: Inches.
        ratios: Heights of the axes, relative to each other.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), layout="constrained")
    axes: Any = drawn.subplots(rows, 1, sharex=shared, squeeze=False, height_ratios=ratios)[:, 0]
    return drawn, axes[0] if rows == 1 else list(axes)


def shortened(name: str) -> str:
    """A name that fits into a picture: what is too long loses its middle."""
    half = LONGEST // 2
    return name if len(name) <= LONGEST else f"{name[:half]} … {name[-half:]}"


def time_unit(most_ms: float) -> tuple[int, str]:
    """Return the unit for times up to ``most_ms``, and the number of them in a millisecond.

    >>> time_unit(0.02), time_unit(3.0)
    ((1000, 'µs'), (1, 'ms'))
    """
    return (1000, "µs") if most_ms < MICROSECONDS_BELOW_MS else (1, "ms")


def logarithmic(axes: Axes) -> None:
    """Make the horizontal axis logarithmic, with plain numbers at 1, 2 and 5."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def bare(axes: Axes, *, grid: str) -> None:
    """Leave grid lines along one axis only."""
    axes.grid(visible=False, axis="y" if grid == "x" else "x")


def png(picture: Picture) -> bytes:
    """The picture as PNG on white."""
    content = io.BytesIO()
    picture.figure.savefig(content, format="png", dpi=DPI, facecolor="white")
    return content.getvalue()


def svg(picture: Picture) -> bytes:
    """The picture as an SVG file on white; the same figures give the same bytes."""
    return _svg(picture, facecolor="white")


def inline(picture: Picture) -> str:
    """The picture as an ``<svg>`` element for a page, with its tips and links, in the colours of the page."""
    text = _svg(picture, facecolor="none").decode()
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    root = ElementTree.fromstring(text)
    for element in root.findall(f"{{{SVG}}}metadata"):
        root.remove(element)
    _annotate(root, picture)
    _prefix(root, picture.name)
    root.set("role", "img")
    root.set("aria-label", picture.alt)
    for size in ("width", "height"):
        del root.attrib[size]  # as wide as the page lets it be
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return ElementTree.tostring(root, encoding="unicode")


_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    **{colour: f"--series-{index}" for index, colour in enumerate(COLOURS, start=1)},
}


def _svg(picture: Picture, *, facecolor: str) -> bytes:
    import matplotlib

    content = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": picture.name}):
        picture.figure.savefig(content, format="svg", facecolor=facecolor, metadata={"Date": None})
    return _NOT_IN_XML.sub(b"?", content.getvalue())


_NOT_IN_XML = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]")  # a name may hold them


def _annotate(root: ElementTree.Element, picture: Picture) -> None:
    named = {element.get("id"): element for element in root.iter(f"{{{SVG}}}g")}
    for gid, target in picture.links.items():
        part = named[gid]
        link = ElementTree.Element(f"{{{SVG}}}a", {"href": target})
        link.extend(list(part))
        for child in list(part):
            part.remove(child)
        part.append(link)
    for gid, tip in picture.tips.items():
        title = ElementTree.Element(f"{{{SVG}}}title")
        title.text = tip
        named[gid].insert(0, title)


def _prefix(root: ElementTree.Element, name: str) -> None:
    """Make names of parts unique in a page with several pictures."""
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key.endswith("href") and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif "url(#" in value:
                element.set(key, re.sub(r"url\(#", f"url(#{name}-", value))
