"""The pictures of one run."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pruneflow.errors import PruneflowError
from pruneflow.exports.sizes import FORMS
from pruneflow.flow.figures import Result
from pruneflow.flow.mistakes import Mistakes
from pruneflow.flow.sensitivity import OF_CUT
from pruneflow.report import sensitivity, summary
from pruneflow.report.charts import COLOURS, INK, MUTED, Picture, bare, figure, time_unit
from pruneflow.report.curves import Curve, read_curves
from pruneflow.sparsity.sensitivity import SCAN_FILE
from pruneflow.training.metrics import label_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MASKS_SHOWN = 4
MASK_WINDOW = (64, 160)  # outputs x inputs; more could not be told apart on a screen
MOST_DRAWN, MOST_NAMED, MOST_NUMBERED = 100, 30, 15  # classes of a confusion matrix
BY_EPOCH = ("/train", "/validation")  # ends of the tags of figures at the end of each epoch
PHASES = ("dense", "cut", "pruned", "shared", "quantization_aware")  # folders of their curves, in turn
LONGEST_ROW = 34  # letters
ROW_IN = 0.34  # height of a row of bars

_Mask = npt.NDArray[np.bool_]

REQUESTED, MEASURED = COLOURS[0], COLOURS[4]
DENSE, CUT, PRUNED = COLOURS[7], COLOURS[5], COLOURS[1]


def run_pictures(folder: Path, result: Result, mistakes: Mistakes | None) -> Iterator[Picture]:
    """Draw all that there is to draw of a run; what its files do not have is left out.

    Args:
        mistakes: The answers of its exported file; None where they are not known.
    """
    yield _sparsities(result)
    for name, cut in ((SCAN_FILE, False), (OF_CUT, True)):
        if (folder / name).exists():
            yield sensitivity.picture(sensitivity.read(folder / name), cut=cut)
    if phases := _phases(folder):
        yield _training(phases, result)
    if mistakes and len(mistakes.confusion) in range(2, MOST_DRAWN + 1):
        yield _confusion(mistakes)
    yield _sizes(result)
    if any(file.latency for file in result.tflite):
        yield _latencies(result)
    if (folder / "masks.npz").exists():
        shapes = {f"{each.name}/{each.weight}": each.shape for each in result.pruned.layers}
        yield _masks(*_read_masks(folder / "masks.npz", shapes))


def _read_masks(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, _Mask], int]:
    """The first masks of a file by weight, and how many there are."""
    try:
        if not (file.is_file() and zipfile.is_zipfile(file)):
            raise ValueError("it is no archive of arrays")
        with np.load(file, allow_pickle=False) as masks:
            found = {name: masks[name] for name in masks.files[:MASKS_SHOWN]}
            count = len(masks.files)
        for name, mask in found.items():
            if mask.dtype != bool or mask.shape != shapes[name]:
                raise ValueError(f"{name} is {mask.dtype} of {mask.shape}")
        if not found:
            raise ValueError("there are none")
    except Exception as error:  # of any kind: NumPy and zipfile find many in a damaged file
        raise PruneflowError(
            f"{file} does not hold the masks of this run: {type(error).__name__}: {error}. Run it again."
        ) from error
    return found, count


def _sparsities(result: Result) -> Picture:
    """Measured sparsity of each weight as a bar, with a mark at the requested one where it differs."""
    layers = result.pruned.layers
    names = [f"{layer.name}/{layer.weight}" for layer in layers]
    drawn, axes = figure(height=max(1.4, 0.9 + ROW_IN * len(names)))
    apart = []
    for row, layer in enumerate(layers):
        measured, requested = layer.measured_sparsity, layer.requested_sparsity
        differs = requested is not None and f"{requested:.4f}" != f"{measured:.4f}"
        axes.barh([row], [measured], 0.6, color=MEASURED)
        said = f"{measured:.4f}" + (f", requested {requested:.4f}" if differs else "")
        _beside(axes, max(measured, requested or 0.0), row, said)
        if differs:
            apart.append((requested, row))
    look = {"label": "requested", "markersize": 15, "markeredgewidth": 2, "color": REQUESTED}
    axes.plot(*zip(*apart, strict=True), "|", **look) if apart else None
    _rows(axes, names)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_xlim(0, 1.5)
    axes.set_xlabel("sparsity (zeros / size of the weight)")
    if apart:
        _legend_above(axes)
    shown = "; ".join(
        f"{name} {each.measured_sparsity:.4f}" for name, each in zip(names, layers, strict=True)
    )
    ranked = any(each.requested_sparsity is None for each in layers)
    free = " Weights without a request are ranked with the others." if ranked else ""
    mark = (
        " The mark is the requested sparsity, where it differs by 0.0001 or more."
        if apart
        else (" Each is as requested." if not ranked else "")
    )
    return Picture(
        "sparsity",
        "Sparsity of each weight",
        f"Bars: measured sparsity of each pruned weight, marks: the requested one. Measured: {shown}.",
        drawn,
        f"Bars: zeros counted in the trained weights.{mark}{free}",
    )


@dataclass(frozen=True)
class _Phase:
    """A phase of training, with its curves over epochs that are counted from the first phase on."""

    name: str
    curves: Mapping[str, Curve]
    start: float
    steps: float

    def epochs(self, steps: Sequence[int]) -> list[float]:
        return [self.start + step / self.steps for step in steps]


def _phases(folder: Path) -> list[_Phase]:
    """Read the curves of each phase that was trained, in turn."""
    found: list[_Phase] = []
    start = 0.0
    for name in PHASES:
        curves = read_curves(folder / name)
        by_epoch = next((curve for tag, curve in curves.items() if tag.endswith(BY_EPOCH)), None)
        if not by_epoch:
            continue
        steps = max(1.0, by_epoch.steps[-1] / len(by_epoch.steps))
        found.append(_Phase(name.replace("_", "-"), curves, start, steps))
        start = found[-1].epochs(by_epoch.steps[-1:])[0]
    return found


def _training(phases: Sequence[_Phase], result: Result) -> Picture:
    """Sparsity, loss and accuracy over the epochs of all phases, the dense one first."""
    name = result.data.metric
    reached = label_of(name)
    pruned = any("sparsity/total" in phase.curves for phase in phases)
    panels = [*(["sparsity"] if pruned else []), "loss", reached]
    drawn, places = figure(rows=len(panels), height=1.35 * len(panels) + 0.7, shared=True)
    for axes, label in zip(places, panels, strict=True):
        axes.set_ylabel(label)
        for phase in phases[1:]:
            axes.axvline(phase.start, color=MUTED, linewidth=0.8)
    if pruned:
        _lines(places[0], phases, {"planned": "sparsity/planned", "measured": "sparsity/total"}, steps=True)
        places[0].set_ylim(bottom=0)
    _lines(places[-2], phases, {"training": "loss/train", "validation": "loss/validation"})
    _lines(places[-1], phases, {"training": f"{name}/train", "validation": f"{name}/validation"})
    for phase in phases:
        place = (phase.start, 1.0), (3, 3)
        transform: Any = places[0].get_xaxis_transform()
        look: Any = {"textcoords": "offset points", "fontsize": 8, "color": INK}
        places[0].annotate(f"{phase.name}", *place, xycoords=transform, **look)
    places[-1].set_xlabel("epoch")
    named = [axes for axes in places if axes.get_legend_handles_labels()[0]]
    for axes in named[: 1 + pruned]:  # loss and accuracy have the same colours
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    places[-1].set_xlim(left=0)
    plan = result.plan
    last = "last phase of pruning" if plan.cut else "pruning phase"
    return Picture(
        "training",
        "Training",
        f"Lines over the epochs of {', '.join(phase.name for phase in phases)}: "
        f"{', '.join(panels)}, at the end of each epoch.",
        drawn,
        f"{plan.updates} mask updates, steps {plan.begin_step} to {plan.end_step} of {plan.total_steps} of "
        f"the {last}. Loss and {reached}: at the end of each epoch.",
    )


def _lines(axes: Axes, phases: Sequence[_Phase], tags: Mapping[str, str], *, steps: bool = False) -> None:
    """Draw curves of all phases, each in one look."""
    for index, (label, tag) in enumerate(tags.items()):
        colour = (REQUESTED, PRUNED)[index] if steps else (COLOURS[5], PRUNED)[index]
        named: str | None = label
        for phase in phases:
            if tag not in phase.curves:
                continue
            curve = phase.curves[tag]
            look: Any = {"color": colour, "label": named}
            x = phase.epochs(curve.steps)
            if steps:
                style = {"linewidth": 3.4} if not index else {"linewidth": 1.4, "linestyle": "--"}
                axes.step([phase.start, *x], [0.0, *curve.values], where="post", **look, **style)
            else:
                axes.plot(x, curve.values, marker="os"[1 - index], markersize=3.5, **look)
            named = None


def _confusion(found: Mistakes) -> Picture:
    """The confusion matrix of the exported file: right answers blue, wrong ones orange."""
    from matplotlib.colors import to_rgb

    counts, classes = np.array(found.confusion), len(found.confusion)
    wrong = counts * (1 - np.eye(classes, dtype=int))
    image = np.zeros((classes, classes, 4))
    image[..., :3] = to_rgb(COLOURS[4])
    image[..., 3] = 0.75 * wrong / max(1, wrong.max()) + 0.1 * (wrong > 0)
    right = counts.diagonal() / np.maximum(1, counts.sum(axis=1))
    image[range(classes), range(classes)] = [(*to_rgb(COLOURS[5]), 0.6 * share) for share in right]
    drawn, axes = figure(height=min(5.0, 1.6 + 0.27 * classes))
    axes.imshow(image, aspect="auto", interpolation="nearest")
    axes.grid(visible=False)
    if classes <= MOST_NUMBERED:
        for (label, answer), count in np.ndenumerate(counts):
            if count:
                axes.text(answer, label, f"{count}", ha="center", va="center", fontsize=7.5, color=INK)
    if classes <= MOST_NAMED:
        names = [_end(name) for name in found.classes]
        turned = 0 if max(map(len, names)) <= 3 else 60
        axes.set_xticks(range(classes), names, rotation=turned, ha="right" if turned else "center")
        axes.set_yticks(range(classes), names)
    axes.set_xlabel(f"answer of the {found.kind} file")
    axes.set_ylabel("label")
    pairs = sorted(((int(n), at) for at, n in np.ndenumerate(wrong) if n), reverse=True)[:3]
    most = "; ".join(
        f"{found.classes[label]} as {found.classes[answer]}: {count}" for count, (label, answer) in pairs
    )
    said = f"Most frequent mistakes (label as answer): {most}." if most else "There is no mistake."
    return Picture(
        "confusion",
        "Confusion matrix",
        f"Matrix of {classes} classes: label against answer. {said}",
        drawn,
        f"{counts.sum():,} {found.part} examples. {said}",
    )


def _sizes(result: Result) -> Picture:
    """Size of each file in each compression, as bars."""
    rows = summary.size_rows(result)
    drawn, axes = figure(height=0.9 + 0.75 * len(rows))
    for index, form in enumerate(FORMS):
        places = np.arange(len(rows)) + (index - 1.5) * 0.2
        sizes = [(size.forms[form] or 0) / 1000 for size in rows.values()]
        ratios = [rows["dense-float"].over(size).get(form) for size in rows.values()]
        axes.barh(places, sizes, 0.19, label=form, color=COLOURS[(7, 0, 5, 2)[index]])
        for place, size, ratio in zip(places, sizes, ratios, strict=True):
            smaller = f" ({ratio:.2f}x)" if ratio and ratio != 1 else ""
            _beside(axes, size, place, f"{size:,.1f}{smaller}" if size else "", fontsize=7)
    _rows(axes, [name.replace(", ", ",\n") for name in rows])
    axes.set_xlabel("size (kB = 1,000 bytes)")
    axes.margins(x=0.2)
    _legend_above(axes)
    shown = "; ".join(f"{name}: {size.gzip_bytes / 1000:,.1f} kB after gzip" for name, size in rows.items())
    caption = (
        "raw: the .tflite file as it is; the others: compressed, as it travels. "
        "In brackets: the size of the dense float file over this one."
    )
    return Picture("size", "Size by encoding and compression", f"Bars: {shown}.", drawn, caption)


def _latencies(result: Result) -> Picture:
    """Median and spread of the latency of each file and of the baseline of its kind."""
    timed = [(file.kind, file.latency) for file in result.tflite if file.latency]
    rows = [
        (f"{kind}, {what}", timing, colour)
        for kind, latency in timed
        for what, timing, colour in (
            ("dense", latency.dense, DENSE),
            *([("cut", latency.parts.timing, CUT)] if latency.parts else []),
            ("pruned", latency.pruned, PRUNED),
        )
    ]
    factor, unit = time_unit(max(timing.p90_ms for _, timing, _ in rows))
    drawn, axes = figure(height=0.9 + ROW_IN * len(rows))
    for row, (_, timing, colour) in enumerate(rows):
        low, median, high = (each * factor for each in (timing.p10_ms, timing.median_ms, timing.p90_ms))
        axes.plot([low, high], [row, row], color=colour, linewidth=4, alpha=0.45, solid_capstyle="butt")
        axes.plot([median], [row], "o", color=colour, markersize=7)
        _beside(axes, high, row, f"{median:.3g} ({low:.3g} to {high:.3g})")
    _rows(axes, [name for name, _, _ in rows])
    axes.set_xlim(left=0)
    axes.margins(x=0.3)
    axes.set_xlabel(f"time of one invocation, batch of 1 ({unit}); dot: median, bar: p10 to p90")
    first = timed[0][1].pruned
    shown = "; ".join(f"{name} {timing.median_ms * factor:.3g} {unit}" for name, timing, _ in rows)
    return Picture(
        "latency",
        "Latency",
        f"Median time of one invocation: {shown}.",
        drawn,
        f"{first.n:,} invocations in turn, threads {first.threads}. The verdict is under What was found.",
    )


def _masks(masks: Mapping[str, _Mask], count: int) -> Picture:
    """Masks of the first weights, outputs x inputs, as TFLite multiplies them."""
    from matplotlib.colors import to_rgb

    drawn, axes = figure(rows=len(masks), height=0.5 + 1.15 * len(masks))
    for place, (name, mask) in zip(axes if len(masks) > 1 else [axes], masks.items(), strict=True):
        matrix = mask.reshape(-1, mask.shape[-1]).T if mask.ndim > 1 else mask.reshape(1, -1)
        part = matrix[: MASK_WINDOW[0], : MASK_WINDOW[1]]
        image = np.zeros((*part.shape, 4))  # what is masked lets the page through, light or dark
        image[part] = (*to_rgb(REQUESTED), 1.0)
        extent = (0, part.shape[1], part.shape[0], 0)
        place.imshow(image, aspect="auto", interpolation="nearest", extent=extent)
        shown = "" if part.shape == matrix.shape else f", the first {part.shape[0]} x {part.shape[1]}"
        place.set_title(f"{name}: {matrix.shape[0]} outputs x {matrix.shape[1]} inputs{shown}")
        place.set_ylabel("output")
        place.grid(visible=False)
    (axes[-1] if len(masks) > 1 else axes).set_xlabel("input")
    first = (
        f"the first {len(masks)} of {count} pruned weights" if count > len(masks) else "all pruned weights"
    )
    return Picture(
        "masks",
        "Masks",
        f"Images of the masks of {', '.join(masks)}: coloured where a weight was kept.",
        drawn,
        f"Coloured: kept. Empty: masked. Of {first}.",
    )


def _beside(axes: Axes, x: float, y: float, text: str, *, fontsize: float = 8) -> None:
    """Write a figure beside the end of its bar."""
    axes.annotate(text, (x, y), (4, 0), textcoords="offset points", va="center", fontsize=fontsize, color=INK)


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_end(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0, colors=MUTED, labelcolor=INK)
    bare(axes, grid="x")


def _end(name: str) -> str:
    """The end of a long name, which tells it from others in one network."""
    return name if len(name) <= LONGEST_ROW else f"…{name[-LONGEST_ROW:]}"


def _legend_above(axes: Axes) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2)
