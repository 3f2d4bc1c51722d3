"""Words and figures of a result that the terminal, the report and TensorBoard share."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from pruneflow.exports.inspection import Inspection
from pruneflow.exports.sizes import Size
from pruneflow.flow.figures import (
    ChannelsResult,
    LatencyResult,
    PrunedResult,
    Result,
    Scored,
    TfliteResult,
    WrappedResult,
)
from pruneflow.report.contract import contract_lines, port_line
from pruneflow.training.metrics import label_of

COLUMNS = ("dataset", "model", "sparsity", "size", "compression")


def quality_label(result: Result) -> str:
    """Return the metric that a result is compared by, with the part unless that is the test part."""
    label = label_of(result.data.metric)
    return label if result.part == "test" else f"{result.part} {label}"


def columns(results: Iterable[Result]) -> tuple[str, ...]:
    """`COLUMNS`, and the metric that the results are compared by; of several, all."""
    names = dict.fromkeys(map(quality_label, results))
    return (*COLUMNS, " or ".join(names) or "accuracy")


def metric_rows(result: Result) -> list[list[str]]:
    """All metrics, a head and a row each, where there are more than the one of the table."""
    networks: dict[str, Scored] = {"dense": result.dense, **_in_keras(result)}
    networks |= {f"TFLite {file.kind}": file for file in result.tflite}
    metrics = {name: result.metrics(network) for name, network in networks.items()}
    names = list(metrics["pruned"])
    if len(names) < 2:
        return []
    rows = [[label_of(name), *(_figure(each.get(name)) for each in metrics.values())] for name in names]
    head = "metric" if result.part == "test" else f"{result.part} metric"
    return [[head, *networks], *rows]


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if abs(value) >= 10 else f"{value:.4f}"


def run_rows(result: Result) -> list[list[str]]:
    """The table of a run, a cell for each of `columns`: the dense network, the pruned one, each file.

    Where zeros came on top of a cut, the network that was cut has a row before the pruned one.
    """
    exported = [export_row(result, file) for file in result.tflite]
    rows = [
        _row(result, name, each.measured_sparsity, each.tflite, result.quality(each))
        for name, each in _in_keras(result).items()
    ]
    return [dense_row(result), *rows, *exported]


def _in_keras(result: Result) -> dict[str, PrunedResult]:
    """The pruned network, after the one that was cut and before what later stages made of it, if any."""
    pruned = result.pruned
    cut = {"cut": result.cut} if result.cut else {}
    last = pruned.quantization_aware or pruned.sharing
    if not last:
        return {**cut, "pruned": pruned}
    name = "quantization-aware" if pruned.quantization_aware else "shared"
    return {**cut, "pruned": replace(pruned, **vars(last.before)), name: pruned}


def dense_row(result: Result) -> list[str]:
    """The row of the dense baseline."""
    return _row(result, "dense", 0.0, result.dense.tflite, result.quality(result.dense))


def export_row(result: Result, file: TfliteResult, *, share_named: bool = False) -> list[str]:
    """The row of one of the exported files.

    Args:
        file: The file among its ``tflite``.
        share_named: Whether the sparsity says what it is a share of, beside rows of the other kind.
    """
    sparsity = result.pruned.measured_sparsity
    row = _row(result, f"TFLite {file.kind}", sparsity, file.size, result.quality(file))
    if share_named:
        row[COLUMNS.index("sparsity")] += f" {result.sparsity_of}"
    return row


def _row(result: Result, what: str, sparsity: float, size: Size, reached: float | None) -> list[str]:
    ratio = result.dense.tflite.gzip_bytes / size.gzip_bytes
    return [
        result.data.name,
        f"{result.config['model']['name']}, {what}",
        f"{sparsity:.3f}",
        f"{size.gzip_bytes / 1000:,.1f} kB",
        f"{ratio:.2f}x",
        "not trained" if reached is None else f"{reached:.4f}",
    ]


def size_rows(result: Result) -> dict[str, Size]:
    """Sizes of the float file of each network and of what is exported."""
    rows = {"dense-float": result.dense.tflite}
    for name, network in _in_keras(result).items():
        rows[f"{name}-float{', dense-encoded' if name != 'cut' else ''}"] = network.tflite
    for file in result.tflite:
        if (file.kind, file.encoding) != ("float", "dense"):
            rows[f"{Path(file.file).stem}, {file.encoding}-encoded"] = file.size
    return rows


def findings(result: Result) -> Iterator[str]:
    """Yield findings beside the tables, a line each; lines about one file are indented."""
    pruned, files = result.pruned, result.tflite
    yield (
        "Size and compression: .tflite after gzip, like for like. As the guide measures, zipped dense .h5 "
        f"to zipped {files[0].file}: {result.ratios['guide']:.1f}x smaller."
    )
    yield from _channel_lines(result.channels)
    if result.cut:
        asked, reached = f"{pruned.requested_sparsity:.4f}", f"{pruned.measured_sparsity:.4f}"
        yield f"Then     {asked} of the weights that are left were to be zero, {reached} are."
    if not pruned.channels and any(file.encoding == "dense" for file in files):
        yield (
            "Zeros do not make a raw dense-encoded file smaller: they take as many bytes as other numbers. "
            "Compression removes them for the download; export.encoding=auto removes them from the file, "
            "if that runs here."
        )
    for network in (each for name, each in _in_keras(result).items() if name in ("cut", "pruned")):
        if network.wrapped:
            yield _masks_line(result, network, network.wrapped)
    yield from _sharing_lines(result)
    yield from _aware_line(result)
    yield from _class_line(result)
    for kind, why in result.left_out.items():
        yield f"Left out {kind}: {why}."
    yield from contract_lines(result)
    for file in files:
        size = f" ({file.sent_bytes:,} bytes)" if file.sent_bytes else ""
        yield f"{file.file}, sent as {file.sent}{size}"
        yield from (f"  {line}" for line in _findings_of_file(result, file))


def _masks_line(result: Result, network: PrunedResult, wrapped: WrappedResult) -> str:
    """Compare a network under masks with the one that was made of it, on the test part."""
    made, reached = "cut" if network.channels else "stripped", (wrapped.metrics or {}).get(result.data.metric)
    shown = (
        f"under masks and {made}"
        if reached is None
        else f"under masks {reached:.4f}, {made} {result.quality(network):.4f}"
    )
    return f"Keras    {shown}: {wrapped.disagreements} of {result.data.test:,} test examples differ."


def _channel_lines(cut: ChannelsResult | None) -> Iterator[str]:
    """Yield the share that was cut out, asked for and reached; nothing for other structures."""
    if cut is None:
        return
    of = cut.of.replace("_", "-")
    yield f"Cut      {cut.requested:.4f} of the {of} were asked for, {cut.removed:.4f} are gone."
    counted = {"multiply-adds": cut.multiply_adds, "parameters": cut.parameters}
    for name, (before, after) in counted.items():
        yield f"         {before:,} {name} before, {after:,} after: {before / max(1, after):.1f}x fewer."
    kept = ", ".join(f"{each.name} {each.units} to {each.kept}" for each in cut.groups)
    yield f"         Units: {kept}."


def _sharing_lines(result: Result) -> Iterator[str]:
    """Yield what sharing values cost, and the values of each weight; nothing where none are shared."""
    sharing = result.pruned.sharing
    if not sharing:
        return
    before, after = (result.quality(each) for each in (sharing.before, result.pruned))
    epochs = sharing.epochs
    trained = f", trained for {epochs} epoch{'s' if epochs > 1 else ''}" if epochs else ""
    yield (
        f"Shared   {sharing.values} values or fewer in each pruned weight{trained}: {before:.4f} before, "
        f"{after:.4f} after."
    )
    counts = ", ".join(f"{each.name} {each.kept:,} in {each.values}" for each in sharing.weights)
    yield f"         Weights in values: {counts}."


def _aware_line(result: Result) -> Iterator[str]:
    """Yield what quantization-aware training changed; nothing where there was none."""
    if aware := result.pruned.quantization_aware:
        before, after = (result.quality(each) for each in (aware.before, result.pruned))
        epochs = f"{aware.epochs} epoch{'s' if aware.epochs > 1 else ''}"
        yield f"Aware    {epochs} of quantization-aware training: {before:.4f} before, {after:.4f} after."


def _class_line(result: Result) -> Iterator[str]:
    """The class that pays most for pruning, which the average hides."""
    file = result.tflite[0]
    lost = [
        (each.accuracy["dense"] - each.accuracy[file.kind], index)
        for index, each in enumerate(result.classes)
        if "dense" in each.accuracy
    ]
    most, index = max(lost, default=(0.0, -1))
    if most > 0:
        found = result.classes[index]
        before, after = (f"{found.accuracy[name]:.4f}" for name in ("dense", file.kind))
        yield (
            f"Class    {found.name} loses most: accuracy {before} before pruning, {after} in {file.file}, "
            f"of {found.examples:,} test examples."
        )


def class_rows(result: Result) -> list[list[str]]:
    """Return a table of accuracy by class: a head, and a row for each class; empty for a regression."""
    if not result.classes:
        return []
    networks = list(result.classes[0].accuracy)
    named = [name if name in ("dense", "pruned") else f"TFLite {name}" for name in networks]
    head = ["class", "test examples", *named]
    rows = [
        [each.name, f"{each.examples:,}", *(f"{each.accuracy[name]:.4f}" for name in networks)]
        for each in result.classes
    ]
    return [head, *rows]


def _findings_of_file(result: Result, file: TfliteResult) -> Iterator[str]:
    what = "in probability" if result.data.metric == "accuracy" else "between two predictions"
    yield (
        f"TFLite agrees with Keras on {file.agreement:.2%} of {result.examples} "
        f"({file.disagreements:,} differ); largest difference {what} {file.max_difference:.2g}."
    )
    if file.inside:
        yield from _inside_lines(result, file, file.inside)
    for tried in file.encodings:
        if not tried.kept:
            reason = tried.reason.rstrip(".")
            yield f"Encoding {file.encoding}; {tried.encoding} was tried and left: {reason}."
    yield from _micro_lines(file)
    if file.latency:
        yield f"Latency  {latency_line(file.latency, theory_of(result, file))}"
        yield from _parts_line(result, file, file.latency)


def _inside_lines(result: Result, file: TfliteResult, inside: Inspection) -> Iterator[str]:
    yield from _types_line(result, file, inside)
    if tensors := port_line(inside):
        yield tensors
    if inside.stateful:
        yield "State    kept between invocations: reset_all_variables() belongs before each sample."
    masked = f"all {inside.masked:,} masked weights are zero in the file; " if inside.masked else ""
    yield f"Zeros    {masked}quantization added {inside.added:,}."


def _parts_line(result: Result, file: TfliteResult, latency: LatencyResult) -> Iterator[str]:
    """Yield what arithmetic, cut and zeros each gave against the dense float file, where that was timed."""
    timed = {each.kind: each.latency for each in result.tflite if each.latency}
    if file.kind == "float" or "float" not in timed or not result.channels:
        return
    parts = latency.parts
    steps = {
        f"{file.kind} arithmetic": latency.dense,
        "the cut": parts.timing if parts else latency.pruned,
        **({"the zeros": latency.pruned} if parts else {}),
    }
    medians = [each.median_ms for each in (timed["float"].dense, *steps.values())]
    gains = zip(steps, pairwise(medians), strict=True)
    said = ", ".join(f"{what} {before / after:.2f}x" for what, (before, after) in gains)
    yield f"Parts    {medians[0] / medians[-1]:.2f}x against dense-float.tflite, by medians: {said}."


def _types_line(result: Result, file: TfliteResult, inside: Inspection) -> Iterator[str]:
    """Yield the types of the weights, where some differ from the kind of the file."""
    chosen = (result.config.get("export") or {}).get("layers", ["*"]) != ["*"]
    if file.kind == "int4" or chosen:
        of_dtype: dict[str, list[str]] = {}
        for name, dtype in inside.dtypes.items():
            of_dtype.setdefault(dtype, []).append(name)
        yield f"Weights  {'; '.join(f'{dtype}: ' + ', '.join(names) for dtype, names in of_dtype.items())}."


def _micro_lines(file: TfliteResult) -> Iterator[str]:
    """Yield the memory and operations that a file for a microcontroller needs."""
    needs, inside, dense = file.micro, file.inside, file.dense_size
    if not (needs and inside and dense):
        return
    yield (
        f"Micro    {file.size.bytes:,} bytes before compression, dense {dense.bytes:,}; arena "
        f"{needs.arena_bytes:,} bytes, dense {needs.dense_arena_bytes:,}."
    )
    if needs.arena_bytes > needs.dense_arena_bytes:
        yield "         A weight that is decoded lies in the arena while it is used."
    left = [weight.name for weight in inside.weights if weight.encoding == "dense"]
    if left and file.encoding == "sparse":
        why = "smaller so, or above export.largest_decoded_bytes"
        yield f"         Not decoded: {', '.join(left)}: {why}."
    header = f"{Path(file.file).stem}-ops.h"
    yield f"         {header} registers its {len(needs.adds)} kinds of operations."
    yield f"         All of this by tflite-micro {needs.library} here; time the file on the chip."


def theory_of(result: Result, file: TfliteResult) -> str:
    """Return the speedup if zeros cost nothing, in words; empty for a network that was only cut."""
    if result.pruned.channels or file.theoretical_speedup is None:
        return ""
    return f" In theory {file.theoretical_speedup:.1f}x, if every zero were skipped at no cost."


def latency_line(latency: LatencyResult, theory: str) -> str:
    """The latency of a file beside the baseline's, with its spread, and the verdict with its reason."""
    dense, pruned = latency.dense, latency.pruned
    memory = pruned.peak_memory_bytes
    peak = "" if memory is None else f", peak memory {memory / 1e6:.1f} MB"
    return (
        f"{pruned.median_ms:.3g} ms (p10 to p90 {pruned.p10_ms:.3g} to {pruned.p90_ms:.3g}, "
        f"n {pruned.n:,}), dense {dense.median_ms:.3g} ms, threads {pruned.threads}{peak}. "
        f"{latency.verdict}{theory}"
    )


def device_in_words(device: Mapping[str, Any]) -> str:
    """Return processor, threads, precision and replicas in one line."""
    words = f"{device['kind']}, {device['threads']} threads, {device['precision']}"
    return (
        f"{words}, {device['strategy']} on {device['replicas']} replicas" if "strategy" in device else words
    )
