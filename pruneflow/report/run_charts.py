"""The pictures of one run."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pruneflow.errors import PruneflowError
from pruneflow.exports.sizes import FORMS
from pruneflow.flow.figures import LatencyResult, PlanFacts, Result
from pruneflow.flow.sensitivity import OF_CUT
from pruneflow.report import sensitivity, summary
from pruneflow.report.charts import COLOURS, HEIGHT_IN, INK, MUTED, Picture, bare, figure
from pruneflow.report.curves import Curve, read_curves
from pruneflow.sparsity.sensitivity import SCAN_FILE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["MASKS_SHOWN", "MASK_WINDOW", "run_pictures"]

MASKS_SHOWN = 4
MASK_WINDOW = (64, 160)  # outputs x inputs; more could not be told apart on a screen
FEW = 12  # weights whose bars have room for both figures
LONGEST_ROW = 34  # letters
ROW_IN = 0.34  # height of a row of bars
MICROSECONDS_BELOW_MS = 0.1

_Mask = npt.NDArray[np.bool_]

REQUESTED, MEASURED = COLOURS[0], COLOURS[4]
DENSE, CUT, PRUNED = COLOURS[7], COLOURS[5], COLOURS[1]


def run_pictures(folder: Path, result: Result) -> Iterator[Picture]:
    """Draw all that there is to draw of a run; what its files do not have is left out.

    Args:
        folder: Folder of the run.
        result: Its result.

    Raises:
        PruneflowError: naming a file that holds something else.
    """
    yield _sparsities(result)
    for name, cut in ((SCAN_FILE, False), (OF_CUT, True)):
        if (folder / name).exists():
            yield sensitivity.picture(sensitivity.read(folder / name), cut=cut)
    for name, plan in (("cut", result.plan.cut), ("pruned", result.plan)):
        curves = read_curves(folder / name) if plan else {}
        if plan and {"sparsity/planned", "sparsity/total"} <= set(curves):
            yield _training(curves, result, plan, name)
    yield _sizes(result)
    if any(file.latency for file in result.tflite):
        yield _latencies(result)
    if (folder / "masks.npz").exists():
        shapes = {f"{each.name}/{each.weight}": each.shape for each in result.pruned.layers}
        yield _masks(*_read_masks(folder / "masks.npz", shapes))


def _read_masks(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, _Mask], int]:
    """The first masks of a file by weight, and how many there are.

    Raises:
        PruneflowError: if it holds anything else than masks of these shapes.
    """
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
    """Requested and measured sparsity of each weight, as bars."""
    layers = result.pruned.layers
    names = [f"{layer.name}/{layer.weight}" for layer in layers]
    requested = [layer.requested_sparsity for layer in layers]
    measured = [layer.measured_sparsity for layer in layers]
    rows = list(range(len(names)))
    few = len(names) <= FEW
    height = max(1.7, 0.9 + (1.4 if few else 0.6) * ROW_IN * len(names))
    drawn, axes = figure(height=height)
    asked = [row for row in rows if requested[row] is not None]
    if asked:
        axes.barh(
            [row - 0.2 for row in asked],
            [requested[row] for row in asked],
            0.36,
            label="requested",
            color=REQUESTED,
        )
    axes.barh([row + 0.2 for row in rows], measured, 0.36, label="measured", color=MEASURED)
    for row in rows:
        end, place = (measured[row], row + 0.2) if few else (max(measured[row], requested[row] or 0), row)
        _beside(axes, end, place, f"{measured[row]:.4f}")
        if few and (wanted := requested[row]) is not None:
            _beside(axes, wanted, row - 0.2, f"{wanted:.4f}")
    _rows(axes, names)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_xlim(0, 1.1)
    axes.set_xlabel("sparsity (zeros / size of the weight)")
    _legend_above(axes)
    shown = "; ".join(f"{name} {value:.4f}" for name, value in zip(names, measured, strict=True))
    ranked = "" if len(asked) == len(names) else " Weights without a request are ranked with the others."
    return Picture(
        "sparsity",
        "Sparsity of each weight",
        f"Bars: sparsity of each pruned weight, requested and measured. Measured: {shown}.",
        drawn,
        f"Measured: zeros counted in the trained weights.{ranked}",
    )


def _training(curves: Mapping[str, Curve], result: Result, plan: PlanFacts, name_of_phase: str) -> Picture:
    """Planned against measured sparsity over the steps, and the accuracy below it."""
    drawn, (above, below) = figure(rows=2, height=HEIGHT_IN * 1.3, ratios=[1.2, 1], shared=True)
    last = plan.total_steps
    for tag, label, colour, style, width in (
        ("sparsity/planned", "planned", REQUESTED, "-", 3.4),
        ("sparsity/total", "measured", MEASURED, "--", 1.6),
    ):
        curve = curves[tag]
        steps, values = [0, *curve.steps, last], [0.0, *curve.values, curve.values[-1]]
        above.step(steps, values, style, where="post", label=label, color=colour, linewidth=width)
    above.set_ylabel("sparsity (zeros / size)")
    above.set_ylim(bottom=0)
    _legend_above(above)
    name = result.data.metric
    reached = summary.label_of(name)
    dense = result.quality(result.dense)
    if dense is not None:
        below.axhline(dense, color=DENSE, linestyle=":", label=f"dense network, {result.part}")
    for tag, label, colour, marker in (
        (f"{name}/train", "training", COLOURS[5], "s"),
        (f"{name}/validation", "validation", PRUNED, "o"),
    ):
        if tag in curves:
            curve = curves[tag]
            below.plot(curve.steps, curve.values, marker=marker, markersize=4, label=label, color=colour)
    below.set_ylabel(f"{reached} (share)" if name == "accuracy" else reached)
    below.set_xlabel("step of the pruning phase")
    below.set_xlim(0, last * 1.01)
    _legend_above(below)
    updates = plan.updates
    return Picture(
        "training" if name_of_phase == "pruned" else f"training-{name_of_phase}",
        f"Sparsity and {reached} while it was {name_of_phase}",
        f"Lines over {last} steps: planned and measured sparsity, which rises to "
        f"{curves['sparsity/total'].values[-1]:.4f} in {updates} mask updates; {reached} below.",
        drawn,
        f"{updates} mask updates, steps {plan.begin_step} to {plan.end_step} of "
        f"{last}. {reached[0].upper()}{reached[1:]} at the end of each epoch.",
    )


def _sizes(result: Result) -> Picture:
    """Size of each file in each compression, as bars."""
    rows = summary.size_rows(result)
    drawn, axes = figure(height=0.9 + 0.75 * len(rows))
    for index, form in enumerate(FORMS):
        places = np.arange(len(rows)) + (index - 1.5) * 0.2
        sizes = [(size.forms[form] or 0) / 1000 for size in rows.values()]
        axes.barh(places, sizes, 0.19, label=form, color=COLOURS[(7, 0, 5, 2)[index]])
        for place, size in zip(places, sizes, strict=True):
            _beside(axes, size, place, f"{size:,.1f}" if size else "", fontsize=7)
    _rows(axes, [name.replace(", ", ",\n") for name in rows])
    axes.set_xlabel("size (kB = 1,000 bytes)")
    axes.margins(x=0.12)
    _legend_above(axes)
    shown = "; ".join(f"{name}: {size.gzip_bytes / 1000:,.1f} kB after gzip" for name, size in rows.items())
    caption = "raw: the .tflite file as it is; the others: compressed, as it travels."
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
    small = max(timing.p90_ms for _, timing, _ in rows) < MICROSECONDS_BELOW_MS
    factor, unit = (1000, "µs") if small else (1, "ms")
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
        " ".join([*_verdicts(timed), f"{first.n:,} invocations in turn, threads {first.threads}."]),
    )


def _verdicts(timed: Sequence[tuple[str, LatencyResult]]) -> list[str]:
    return [latency.verdict if len(timed) == 1 else f"{kind}: {latency.verdict}" for kind, latency in timed]


def _masks(masks: Mapping[str, _Mask], count: int) -> Picture:
    """Masks of the first weights, outputs x inputs, as TFLite multiplies them."""
    from matplotlib.colors import to_rgb

    drawn, axes = figure(rows=len(masks), height=0.5 + 1.15 * len(masks))
    for place, (name, mask) in zip(axes if len(masks) > 1 else [axes], masks.items(), strict=True):
        matrix = mask.reshape(-1, mask.shape[-1]).T if mask.ndim > 1 else mask.reshape(1, -1)
        part = matrix[: MASK_WINDOW[0], : MASK_WINDOW[1]]
        image = np.zeros((*part.shape, 4))  # what is masked lets the page through, light or dark
        image[part] = (*to_rgb(REQUESTED), 1.0)
        place.imshow(image, aspect="auto", interpolation="nearest", extent=_extent(part.shape))
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


def _extent(shape: Sequence[int]) -> tuple[float, float, float, float]:
    return (0, shape[1], shape[0], 0)


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
