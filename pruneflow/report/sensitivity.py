"""The scan of a trained network, shown: a table, a sentence, a picture, a page, JSON and CSV."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pruneflow.errors import PruneflowError
from pruneflow.report.charts import COLOURS, HEIGHT_IN, MARKERS, MUTED, Picture, figure, shortened, styled
from pruneflow.report.page import Cell, Column, Row, write_page
from pruneflow.runtime.files import write_file
from pruneflow.runtime.terminal import console, print_whole, say, table
from pruneflow.sparsity.sensitivity import SCAN_FILE, Scan, Scanned
from pruneflow.training.metrics import label_of

PAGE = "sensitivity.html"
NEAR = 0.005  # by which the share may differ from the level that heads its column
COLUMNS = ("weight", "size", "share", "asked", "sparsity", "loss", "accuracy", "loss_rise", "drop")


def read(file: Path) -> Scan:
    """Read a scan back."""
    try:
        return Scan.of(json.loads(file.read_bytes()))
    except ValueError as error:
        raise PruneflowError(f"{file} does not hold a scan: {error}. Make it again.") from error


def in_words(scan: Scan) -> str:
    """Say which weights are the most and the least sensitive, in a sentence."""
    first, *others = scan.ranked()
    most, label = _spelled(first.sparsities[-1]), label_of(scan.metric)
    start = f"{label} falls from {scan.accuracy:.4f} to {first.accuracies[-1]:.4f}"
    said = f"Most sensitive is {first.name}: where {most} of it alone is masked, {start}"
    least = ""
    if others:
        last = others[-1]
        share = _spelled(last.sparsities[-1])
        where = "" if share == most else f", where {share} is masked"
        least = f"; least is {last.name}: to {last.accuracies[-1]:.4f}{where}"
    return f"{said}{least} ({scan.n:,} validation examples, no training)."


def show(scan: Scan) -> None:
    """Print the table and the sentence."""
    head, *rows = _cells(scan)
    console.print()
    print_whole(table(head[:1], head[1:], rows))
    say(in_words(scan))


def _cells(scan: Scan) -> Iterator[list[str]]:
    """Yield the head of the table, the whole network, and each weight."""
    levels = [f"at {level:g}" for level in scan.levels]
    label = label_of(scan.metric)
    yield ["weight", "size", "share", *levels, "loses at most", "loss rises by"]
    yield [f"nothing masked: {label} {scan.accuracy:.4f}", "", "", *[""] * len(levels), "", ""]
    for each in scan.weights:
        most = scan.accuracy - min(each.accuracies)
        figures = f"{most:.4f}", f"{each.mean_loss - scan.loss:.4f}"  # weights are ranked by the latter
        yield [each.name, f"{each.size:,}", f"{each.share:.4f}", *_reached(scan, each), *figures]


def _reached(scan: Scan, each: Scanned) -> Iterator[str]:
    """Yield a cell for each level: the accuracy, with the share where it is another; empty for one twice."""
    seen = None
    for level, share, accuracy in zip(scan.levels, each.sparsities, each.accuracies, strict=True):
        where = "" if abs(share - level) <= NEAR else f" at {_spelled(share)}"
        yield "" if share == seen else f"{accuracy:.4f}{where}"
        seen = share


def _spelled(share: float) -> str:
    return f"{share:.3g}"


def write(scan: Scan, folder: Path) -> Path:
    """Write ``sensitivity.json``, ``sensitivity.csv`` and the page with its pictures."""
    write_file(folder / SCAN_FILE, json.dumps(asdict(scan), indent=2).encode())
    write_file(folder / "sensitivity.csv", _csv(scan).encode(errors="replace"))
    head, *rows = _cells(scan)
    columns = [Column(name, number=index > 0) for index, name in enumerate(head)]
    shown = [Row([Cell(text) for text in row]) for row in rows]
    with styled():
        values = {"sentence": in_words(scan), "columns": columns, "rows": shown}
        write_page(folder / PAGE, "sensitivity.html", [picture(scan)], **values)
    return folder / PAGE


def _csv(scan: Scan) -> str:
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(COLUMNS)
    for each in scan.weights:
        measured = zip(scan.levels, each.sparsities, each.losses, each.accuracies, strict=True)
        for asked, sparsity, loss, accuracy in measured:
            against = loss - scan.loss, scan.accuracy - accuracy
            lines.writerow([each.name, each.size, each.share, asked, sparsity, loss, accuracy, *against])
    return text.getvalue()


def picture(scan: Scan, *, cut: bool = False) -> Picture:
    """Draw accuracy, and the increase of the loss, over the share of each weight that is masked.

    Args:
        cut: Whether it is of the network that was cut, beside that of the dense one.
    """
    drawn, (above, below) = figure(rows=2, height=HEIGHT_IN * 1.5, ratios=[1, 1], shared=True)
    ranked, label = scan.ranked(), label_of(scan.metric)
    for index, each in reversed(list(enumerate(ranked))):
        named = index < len(COLOURS)
        look: dict[str, Any] = {"markersize": 4, "linewidth": 1.6 if named else 0.8}
        look |= {"color": COLOURS[index], "marker": MARKERS[index]} if named else {"color": MUTED}
        name = shortened(each.name) if named else None
        shares = [0.0, *each.sparsities]
        above.plot(shares, [scan.accuracy, *each.accuracies], label=name, **look)
        below.plot(shares, [0.0, *(loss - scan.loss for loss in each.losses)], **look)
    above.set_ylabel(label)
    below.set_ylabel("increase of the loss")
    below.set_yscale("symlog", linthresh=0.01)
    below.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    below.set_xlabel("share that is masked, of one weight alone")
    handles, names = above.get_legend_handles_labels()
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 2, "borderaxespad": 0.2}
    above.legend(handles[::-1], names[::-1], **place)
    others = len(ranked) - len(COLOURS)
    rest = f" Grey: the {others} others." if others > 0 else ""
    return Picture(
        "sensitivity-cut" if cut else "sensitivity",
        "Sensitivity of each weight" + (" after the cut" if cut else ""),
        f"Lines: {label} and increase of the loss over the masked share of each weight. {in_words(scan)}",
        drawn,
        f"Most sensitive first.{rest} {scan.n:,} validation examples, no training.",
    )
