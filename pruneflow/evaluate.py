"""``python -m pruneflow.evaluate``: score and inspect TFLite and Keras files on a test set."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hydra
import numpy as np
from rich.markup import escape

from pruneflow import accepted, latency
from pruneflow.command import answers
from pruneflow.datasets.as_trained import as_trained
from pruneflow.datasets.image_folder import SHAPE, ImageFolder
from pruneflow.datasets.reading.decoding import MODES
from pruneflow.datasets.spec import Data, Part
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.exports import decode, tflite
from pruneflow.exports.latency import Latency, measure
from pruneflow.exports.micro_interpreter import lacking
from pruneflow.exports.readings import Scored, doubt_of, given_pixels, require_match, task_of_file
from pruneflow.exports.runner import foreign_outputs
from pruneflow.exports.sizes import size_of
from pruneflow.flow.config import option_from_hydra
from pruneflow.models.keras_files import check_file
from pruneflow.models.pixels import UNIT, Span, in_words
from pruneflow.options import require
from pruneflow.runtime import extensions
from pruneflow.runtime.files import config_folder
from pruneflow.runtime.process import run_command
from pruneflow.runtime.terminal import complain, console, print_whole, printing, say, table, warn
from pruneflow.training import scoring
from pruneflow.training.metrics import label_of

USAGE = """\
Score and inspect TFLite files on the test part of a data set: accuracy, sizes, zeros of each weight,
operations, latency. With several files, all are timed in turn and compared with the first.
A file of Keras 2 or 3 (.keras, .h5, a SavedModel folder) is converted to a float TFLite file first.

Usage: python -m pruneflow.evaluate FILE [FILE ...] [dataset=mnist] [key=value ...] [--json]

  dataset=imdb, dataset.limit=1000    which data, as for python -m pruneflow
  latency.seconds=5                   time spent timing; 0 for none
  device.evaluation_threads=2         interpreters that run side by side
  model.pixels=[0,255]                what it reads a pixel as; if not said, as the file says, else [0,1]
  --json                              print one JSON object instead of tables
"""

NO_NETWORK = "."  # that model.path says before a file is looked at
KERAS_FILES = (".keras", ".h5", ".hdf5")
KEYS = ("dataset", "latency", "device.evaluation_threads", "model.pixels", "model.output")


@dataclass(frozen=True)
class _Chosen:
    files: list[Path]
    overrides: list[str]
    as_json: bool


@dataclass(frozen=True)
class _Settings:
    dataset: Any
    latency: Latency
    device: Any
    network: Any  # how files are read: the option keras_file, whose path is that of each


@dataclass(frozen=True)
class _File:
    """A TFLite file that is scored.

    Attributes:
        original: The file that was named; of Keras, where ``path`` was made of it.
        graph: What it holds.
        rescales: What it makes of pixels from 0 to 1 before its network reads them.
    """

    path: Path
    original: Path
    graph: tflite.Graph
    rescales: Span = UNIT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: 0 done, 1 a file cannot be used, 2 a setting cannot."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if not words or {"-h", "--help"} & set(words):
            with printing():
                print(USAGE, end="")
            return 0 if words else ConfigError.exit_code
        _carry_out(_chosen(words))
    except PruneflowError as error:
        return _say(str(error), error.exit_code)
    except answers.REFUSED as error:
        return _say(answers.in_words(error), ConfigError.exit_code)
    return 0


def evaluated(files: Sequence[Path], settings: Any) -> list[dict[str, Any]]:
    """Score and inspect each file.

    Args:
        files: ``.tflite`` files, and files of Keras.
        settings: ``dataset``, ``latency``, ``device`` and ``network``.

    Returns:
        What ``--json`` prints of each.
    """
    for file in files:
        check_file(file) if _is_of_keras(file) else _graph(file)
    settings = replace(settings, dataset=_sized(settings.dataset, files[0]))
    with settings.device.awaited():
        data: Data = settings.dataset.load()
    with TemporaryDirectory() as folder:
        places = [Path(folder, f"{number}.tflite") for number in range(len(files))]
        made = [
            _as_tflite(file, place, data, settings) if _is_of_keras(file) else _File(file, file, _graph(file))
            for file, place in zip(files, places, strict=True)
        ]
        return _of_files(made, data, settings)


def _graph(file: Path) -> tflite.Graph:
    graph = tflite.parse(tflite.read(file), str(file))
    if decode.OPERATION in graph.op_counts and (problem := lacking()):
        raise PruneflowError(f"{file} is made for TFLite Micro: {problem}")
    return graph


def _sized(dataset: Any, file: Path) -> Any:
    """Have an image folder give images of the size that a file reads, where no setting names another."""
    if not isinstance(dataset, ImageFolder) or dataset.network != NO_NETWORK:
        return dataset
    if _is_of_keras(file):
        return replace(dataset, network=str(file))
    dataset, inputs = replace(dataset, network=None), _graph(file).inputs
    shape = inputs[0].shape_signature[1:] if inputs else ()
    if dataset.height or len(shape) != len(SHAPE) or shape[2] not in MODES or -1 in shape:
        return dataset
    return replace(dataset, height=shape[0], width=shape[1], channels=dataset.channels or shape[2])


def _is_of_keras(file: Path) -> bool:
    return file.suffix in KERAS_FILES or (file / "saved_model.pb").is_file()


def _as_tflite(file: Path, place: Path, data: Data, settings: Any) -> _File:
    """Convert a file of Keras, of whichever version, to a float TFLite file that is compared with it."""
    from pruneflow.exports import library
    from pruneflow.exports.signatures import signature_of

    own = as_trained(file, settings.dataset, data)
    how = replace(settings.network, path=str(file))
    model = how.build(own.spec)
    signature = signature_of(model)
    examples = own.spec.model_input(own.test.x[: library.MOST_JUDGED])
    given = accepted.examples_of(signature, examples)
    place.write_bytes(library.exported(model, signature, given, library.Wanted("float", "dense", 0.0)))
    return _File(place, file, _graph(place), how.span or UNIT)


def _of_files(files: Sequence[_File], data: Data, settings: Any) -> list[dict[str, Any]]:
    """Score TFLite files; rows bear the names of the originals, beside which facts of the data lie."""
    read = []
    for file in files:
        own = as_trained(file.original, settings.dataset, data)
        require_match(file.graph, str(file.original), own.spec, settings.dataset.option_name)
        if file.path == file.original:
            own = replace(own, spec=given_pixels(file.graph, own.spec, _asked(settings)))
        if len(files) > 1:  # one that does not run is refused at once
            first = replace(own, test=Part(own.test.x[:1], own.test.y[:1]))
            foreign_outputs(file.path, first, units=task_of_file(file.graph, own.spec).units, threads=1)
        read.append(own)
    interpreters = settings.device.interpreters()
    rows = [_scored(file, own, interpreters=interpreters) for file, own in zip(files, read, strict=True)]
    of_micro = [str(file.original) for file in files if decode.OPERATION in file.graph.op_counts]
    if of_micro and settings.latency.seconds:
        warn(f"Latency    not measured: {of_micro[0]} is made for microcontrollers. Time it on the chip.")
    if of_micro or not settings.latency.seconds:
        return rows
    timings = measure(
        [file.path for file in files], settings.latency, token_bound=data.spec.vocabulary_size or 2
    )
    timed = latency.compared([file.path for file in files], timings)
    return [{**row, "latency": {**time}} for row, time in zip(rows, timed, strict=True)]


def _chosen(words: Sequence[str]) -> _Chosen:
    files, overrides, as_json = [], [], False
    for word in words:
        key, equals, _ = word.partition("=")
        if word == "--json":
            as_json = True
        elif word.startswith("-"):
            raise ConfigError(
                f"{word}: there is no such option. python -m pruneflow.evaluate --help shows all."
            )
        elif equals and not Path(word).is_file():
            _require_key(key, word)
            overrides.append(word)
        else:
            files.append(Path(word))
    if not files:
        raise ConfigError("No file is named. Write for instance: python -m pruneflow.evaluate model.tflite")
    return _Chosen(files, overrides, as_json)


def _require_key(key: str, word: str) -> None:
    if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in KEYS):
        raise ConfigError(
            f"{word}: evaluation takes dataset, dataset.*, latency.*, device.evaluation_threads, "
            "model.pixels and, of a file of Keras, model.output; the rest is in the file."
        )


def _carry_out(chosen: _Chosen) -> None:
    settings = _settings(chosen.overrides)
    refused = None if any(map(_is_of_keras, chosen.files)) else settings.network.output
    problem = "a TFLite file says by its last operation what its outputs are"
    require(refused in (None, "auto"), "model.output", refused, problem, "Leave it out.")
    if not chosen.as_json:
        _show(evaluated(chosen.files, settings))
        return
    with redirect_stdout(sys.stderr):  # what says how far it is
        rows = evaluated(chosen.files, settings)
    with printing():
        print(json.dumps({"files": rows}, indent=2))


def _settings(overrides: Sequence[str]) -> _Settings:
    extensions.load()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        how = ["model=keras_file", f"model.path={NO_NETWORK}"]
        composed = answers.composed("config", [*overrides, *how])
    keys = ("dataset", "latency", "device", "model")
    dataset, timed, device, network = (option_from_hydra(composed, key) for key in keys)
    return _Settings(dataset, timed, device, network)


def _asked(settings: Any) -> Span | None:
    low, high = settings.network.pixels or (0.0, 0.0)
    return None if low == high else (low, high)


def _scored(file: _File, data: Data, *, interpreters: int) -> dict[str, Any]:
    graph, name = file.graph, str(file.original)
    task = task_of_file(graph, data.spec)
    said = f"Evaluating {file.original.name}"
    outputs = foreign_outputs(file.path, data, units=task.units, threads=interpreters, description=said)
    with np.errstate(all="ignore"):
        outcome = task.outcome(outputs)
    if odd := int((~np.isfinite(outcome)).any(axis=1).sum()):
        raise PruneflowError(
            f"{name} answers {odd:,} of {len(outcome):,} examples with NaN or infinity, which have no score. "
            "Look for weights that are no finite numbers, and export it again."
        )
    scores = scoring.score(task, outcome, data.test.y)
    size = sum(weight.size for weight in graph.weights)
    found = Scored(file.path, file.original.name, data, task, file.rescales, interpreters)
    return {
        "file": name,
        "pixels": found.pixels and list(found.pixels),
        "doubt": doubt_of(found, scores.headline),
        "data": {"name": data.name, "digest": data.digest, "note": data.note, "examples": len(data.test)},
        "accuracy": scores.metrics.get("accuracy"),
        "metrics": scores.metrics,
        "loss": scores.loss,
        **asdict(size_of(file.path.read_bytes())),
        "sparsity": sum(weight.zeros for weight in graph.weights) / max(1, size),
        "weights": [_weight(weight) for weight in graph.weights],
        "ops": graph.op_counts,
        "stateful": graph.stateful,
        "sparse_kernels": list(graph.sparse_kernel_ops),
        "densified": list(graph.densified),
        "multiply_adds": graph.multiply_adds,
        "nonzero_multiply_adds": graph.nonzero_multiply_adds,
        "theoretical_speedup": graph.multiply_adds / max(1, graph.nonzero_multiply_adds),
    }


def _weight(weight: tflite.Weight) -> dict[str, Any]:
    return {
        "name": weight.name,
        "shape": list(weight.shape),
        "dtype": weight.dtype,
        "encoding": weight.encoding,
        "densified": weight.densified,
        "size": weight.size,
        "zeros": weight.zeros,
        "sparsity": weight.zeros / max(1, weight.size),
        "stored_bytes": weight.stored_bytes,
    }


def _show(rows: Sequence[Mapping[str, Any]]) -> None:
    names = list(rows[0]["metrics"])
    labels = [label_of(name) for name in names]
    made = table(["file"], [*labels, "loss", "sparsity", "raw", "gzip", "zip", "zstd"])
    for row in rows:
        sizes = [f"{row[key] / 1000:,.1f} kB" for key in ("bytes", "gzip_bytes", "zip_bytes", "zstd_bytes")]
        reached = [f"{row['metrics'][name]:.4f}" for name in names]
        figures = f"{row['loss']:.4f}", f"{row['sparsity']:.3f}"
        made.add_row(escape(row["file"]), *reached, *figures, *sizes)
    print_whole(made)
    data = rows[0]["data"]
    say(f"on {data['examples']:,} test examples of {data['name']}")
    if data["note"]:
        warn(data["note"])
    for row in rows:
        if row["pixels"]:
            say(f"{Path(row['file']).name} reads pixels {in_words(row['pixels'])}")
        if row["doubt"]:
            warn(row["doubt"])
    for row in rows:
        _show_inside(row)
    if "latency" in rows[0]:
        latency.show([row["latency"] for row in rows])


def _show_inside(row: Mapping[str, Any]) -> None:
    console.print()
    heads = ("shape", "type", "encoding", "zeros", "sparsity", "stored")
    made = table([Path(row["file"]).name], heads)
    for weight in row["weights"]:
        shape = "x".join(map(str, weight["shape"]))
        encoding = f"{weight['encoding']}, densified" if weight["densified"] else weight["encoding"]
        share, stored = f"{weight['sparsity']:.3f}", f"{weight['stored_bytes'] / 1000:,.1f} kB"
        made.add_row(
            escape(weight["name"]), shape, weight["dtype"], encoding, f"{weight['zeros']:,}", share, stored
        )
    print_whole(made)
    ops = ", ".join(f"{count} {name}" for name, count in row["ops"].items())
    say(f"Operations: {ops}")
    say(
        f"Multiply-adds: {row['multiply_adds']:,}, with weights other than zero "
        f"{row['nonzero_multiply_adds']:,} (theoretical speedup {row['theoretical_speedup']:.1f}x)"
    )
    if row["stateful"]:
        say("It keeps a state between invocations: call reset_all_variables() before each sample.")


def _say(message: str, code: int) -> int:
    complain(message)
    return code


if __name__ == "__main__":
    run_command(main)
