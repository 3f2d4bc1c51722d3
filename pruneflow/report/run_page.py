"""The page of one run."""

import fnmatch
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from pruneflow.flow import results
from pruneflow.flow.figures import Result
from pruneflow.flow.judgement import marked
from pruneflow.flow.mistakes import read_mistakes
from pruneflow.report import summary
from pruneflow.report.advice import advice
from pruneflow.report.charts import styled
from pruneflow.report.contract import contract_lines
from pruneflow.report.layers import layer_rows
from pruneflow.report.page import REPORT, Cell, Column, Row, link, write_page
from pruneflow.report.run_charts import run_pictures
from pruneflow.sparsity.measure import WeightSparsity

# What the files of a run are, by pattern, in the order in which they are listed.
FILES = {
    "pruned-*.tflite": "the exported network, as it was evaluated",
    "pruned-*.tflite.*": "the same, as it is sent",
    "pruned-*-ops.h": "C++ that registers the operations of the file for TFLite Micro",
    "dense-*.tflite": "the baseline, exported in the same way",
    "pruned.h5": "the stripped network, for tf_keras",
    "pruned.keras": "the same for Keras 3, as the network came",
    "shared.h5": "the same with shared values, for tf_keras",
    "quantization_aware.h5": "the same after quantization-aware training, for tf_keras",
    "shared.keras": "the same with shared values, for Keras 3",
    "cut-*.tflite": "the network that was cut, before its zeros, exported in the same way",
    "cut.h5": "the network that was cut, before its zeros, for tf_keras",
    "cut.keras": "the same for Keras 3, as the network came",
    "dense.h5": "the baseline, for tf_keras",
    "masks.npz": "the masks: by layer and weight, true where a weight was kept",
    "sensitivity.json": "the scan of the dense network: loss and accuracy with each weight masked alone",
    "sensitivity-cut.json": "the same of the network that was cut",
    "mistakes.json": "answers of the exported file by class, and examples that pruning made wrong",
    "labels.txt": "names of the classes, in the order of the outputs",
    "use.py": "a script that reads one example from a file and says what the exported network answers",
    "vocabulary.json": "words and their token ids",
    "standardisation.json": "mean and scale of each feature and target: the network reads (x - mean) / scale",
    "result.json": "every figure of this page",
    ".hydra/config.yaml": "the composed config",
    ".hydra/overrides.yaml": "what was typed",
}


def write_run_report(folder: Path) -> Path:
    """Make ``report.html`` of a run that has finished, and its pictures in ``report/``."""
    result, page = results.read(folder), folder / REPORT
    with styled():
        mistakes = read_mistakes(folder)
        pictures = list(run_pictures(folder, result, mistakes))
        write_page(page, "run.html", pictures, **_values(folder, result, page), mistakes=mistakes)
    return page


def _values(folder: Path, result: Result, page: Path) -> dict[str, Any]:
    metrics, classes = summary.metric_rows(result), summary.class_rows(result)
    contract, columns = list(contract_lines(result)), ("network", *summary.columns([result])[2:])
    return {
        "title": f"{result.config['model']['name']} on {result.data.name}, pruned",
        "name": folder.name,
        "notices": [result.data.note] if result.data.note else [],
        "alarms": [judged.message] if (judged := marked(result.judgement)) else [],
        "key_figures": list(_key_figures(result)),
        "result_columns": _columns(columns, numbers=4),
        "result_rows": list(_results(result)),
        "metric_columns": _columns(metrics[0], numbers=len(metrics[0]) - 1) if metrics else [],
        "metric_rows": [_row(cells) for cells in metrics[1:]],
        "class_columns": _columns(classes[0], numbers=len(classes[0]) - 1) if classes else [],
        "class_rows": [_class(cells) for cells in classes[1:]],
        "findings": _findings(line for line in summary.findings(result) if line not in contract),
        "contract": [line.split(maxsplit=1) for line in contract],
        "layers": layer_rows(folder, result),
        "layers_file": result.tflite[0].file,
        "weight_columns": _columns(("weight", "shape", *_WEIGHT_FIGURES), numbers=len(_WEIGHT_FIGURES)),
        "weight_rows": [_weight(layer) for layer in result.pruned.layers],
        "left_columns": _columns(("layer", "reason")),
        "left_rows": [_row(pair) for pair in result.pruned.not_pruned.items()],
        "folder": str(folder),
        "quoted_folder": shlex.quote(str(folder)),
        "file_columns": [Column("file"), Column("size", number=True), Column("what it is")],
        "file_rows": list(_files(folder, page)),
        "command": result.command,
        "advice": advice([result]),
        "version_columns": _columns(("what", "version or kind")),
        "version_rows": [_row(pair) for pair in _made_with(result).items()],
        "config": yaml.safe_dump(result.config, sort_keys=False, allow_unicode=True),
    }


def _key_figures(result: Result) -> Iterator[dict[str, str]]:
    """The figures that somebody looks for first, of the first exported file."""
    file, dense, pruned = result.tflite[0], result.dense, result.pruned
    ratio = dense.tflite.gzip_bytes / file.size.gzip_bytes
    size = f"{file.size.gzip_bytes / 1000:,.1f} kB"
    yield _figure("size after gzip", size, f"{ratio:.2f}x smaller than dense float")
    name = f"{summary.quality_label(result)}, TFLite"
    reached, of_dense = result.quality(file), result.quality(dense)
    if reached is None or of_dense is None:
        yield _figure(name, f"{reached:.4f}", "no dense network was trained")
    else:
        yield _figure(name, f"{reached:.4f}", f"dense {of_dense:.4f} ({reached - of_dense:+.4f})")
    if result.cut and (cut := result.cut.channels):
        asked = f"requested {cut.requested:.4f}"
        yield _figure(f"{cut.of.replace('_', '-')} cut", f"{cut.removed:.4f}", asked)
    yield _figure("sparsity", f"{pruned.measured_sparsity:.4f}", f"requested {pruned.requested_sparsity:.4f}")
    total, left = _parameters(result)
    yield _figure("parameters that are not zero", f"{left:,}", f"of {total:,}")
    if file.latency:
        speedup = file.latency.speedup
        spread = f"{speedup.low:.2f} to {speedup.high:.2f}"
        if not pruned.channels:
            spread += f"; in theory {file.theoretical_speedup:.1f}x"
        yield _figure("times as fast as dense", f"{speedup.ratio:.2f}x", spread)
    yield _figure("agreement with Keras", f"{file.agreement:.2%}", f"{file.disagreements:,} differ")


def _parameters(result: Result) -> tuple[int, int]:
    """Return the parameters of the dense network, and those of the pruned one that are not zero."""
    total, cut = result.dense.parameters, result.channels
    kept = cut.parameters[1] if cut else total
    zeros = 0 if result.pruned.channels else sum(layer.zeros for layer in result.pruned.layers)
    return total, kept - zeros


def _figure(name: str, value: str, beside: str) -> dict[str, str]:
    return {"name": name, "value": value, "beside": beside}


def _results(result: Result) -> Iterator[Row]:
    """The dense network, and in red the others where pruning made them much worse."""
    lost = marked(result.judgement) is not None
    for index, cells in enumerate(summary.run_rows(result)):
        name = cells[1].partition(", ")[2]  # the title has the data set and the model
        yield Row([Cell(cell) for cell in (name, *cells[2:])], lost=lost and index > 0)


def _findings(lines: Iterable[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for line in lines:
        if line.startswith("  "):
            found[-1]["lines"].append(line.strip())
        else:
            found.append({"title": line, "lines": []})
    return found


_WEIGHT_FIGURES = ("size", "zeros", "requested sparsity", "measured sparsity")


def _weight(layer: WeightSparsity) -> Row:
    requested = layer.requested_sparsity
    return Row(
        [
            Cell(f"{layer.name}/{layer.weight}"),
            Cell(" x ".join(map(str, layer.shape))),
            Cell(f"{layer.size:,}", layer.size),
            Cell(f"{layer.zeros:,}", layer.zeros),
            Cell("ranked", float("nan")) if requested is None else Cell(f"{requested:.4f}", requested),
            Cell(f"{layer.measured_sparsity:.4f}", layer.measured_sparsity),
        ]
    )


def _class(cells: Sequence[str]) -> Row:
    name, examples, *shares = cells
    number = float(examples.replace(",", ""))
    return Row([Cell(name), Cell(examples, number), *(Cell(share, float(share)) for share in shares)])


def _files(folder: Path, page: Path) -> Iterator[Row]:
    """Every file of the run with what it is, but TensorBoard's and the pictures of the page."""
    names = {
        file.relative_to(folder).as_posix(): file.stat().st_size
        for file in [*folder.glob("*"), *folder.glob(".hydra/*.yaml")]
        if file.is_file() and file != page and not file.name.startswith(".")
    }
    order = list(FILES)
    known = {name: next((p for p in order if fnmatch.fnmatchcase(name, p)), "") for name in names}
    for name in sorted(names, key=lambda name: (order.index(known[name]) if known[name] else 99, name)):
        size, what = f"{names[name] / 1000:,.1f} kB", FILES.get(known[name], "")
        yield Row([Cell(name, link=link(folder / name, page)), Cell(size), Cell(what)])


def _made_with(result: Result) -> dict[str, str]:
    device, data = result.device, result.data
    words = summary.device_in_words({**device, "kind": f"{device['kind']} ({device['name']})"})
    parts = f"{data.train:,} training, {data.validation:,} validation, {data.test:,} test examples"
    return {
        "data": f"{data.name}: {parts}; SHA-256 {data.digest}",
        "device": words,
        "seconds, this run": f"{result.seconds:.1f}",
        "peak memory": f"{result.peak_memory_bytes / 1e6:,.0f} MB",
        **result.versions,
    }


def _columns(names: Iterable[str], *, numbers: int = 0) -> list[Column]:
    """Columns of a table, the last ``numbers`` of them with figures."""
    names = list(names)
    return [Column(name, number=index >= len(names) - numbers) for index, name in enumerate(names)]


def _row(cells: Iterable[str]) -> Row:
    return Row([Cell(str(cell)) for cell in cells])
