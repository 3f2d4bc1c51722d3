"""A finished run for TensorBoard: its settings and final figures for HParams, its table as a text card.

Each exported file has a run of its own, ``<run_dir>/<kind>``. An experiment, which HParams also knows, is not
written: TensorBoard takes the first that it finds for all runs it sees, and would hide what other sweeps
compared; without one it compares what there is.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pruneflow.flow import results
from pruneflow.flow.config import Config, plain
from pruneflow.flow.figures import Result, TfliteResult
from pruneflow.flow.judgement import fails, marked
from pruneflow.report import summary
from pruneflow.runtime.files import write_file
from pruneflow.runtime.records import pick
from pruneflow.training.events import event_file
from pruneflow.training.metrics import label_of, meaning_of

Differing = Mapping[str, str | float | bool]

SPARSITY = "final_sparsity"  # the setting that is compared most, of a run with the usual one too
FILE = "events.out.tfevents.final"

METRICS = {
    "final/sparsity": ("", "Share of zeros over all pruned weights together, counted."),
    "final/gzip_bytes": ("size.gzip_bytes", "Size of the TFLite file after gzip, bytes."),
    "final/compression": ("", "Size of the dense float file over that of this one, both after gzip."),
    "final/latency_ms": ("latency.pruned.median_ms", "Median time of one invocation of the file, ms."),
    "final/speedup": (
        "latency.speedup.ratio",
        "Latency of the dense file of this kind over that of this one.",
    ),
}
"""Tag of each final figure but the metrics: where the result has it, or nothing where it is worked out; its
meaning."""


DROP = "{} of the dense network less that of the pruned one, on the validation part."


def write(run_dir: Path, differing: Differing) -> None:
    """Write what a finished run gives to TensorBoard, unless that is there already.

    Args:
        run_dir: Folder of the run, with ``result.json``.
        differing: The settings, by short name, in which the run differs from others.
    """
    result = results.read(run_dir)
    end = (run_dir / "result.json").stat().st_mtime
    step = result.plan.total_steps
    for file in result.tflite:
        place = run_dir / file.kind / FILE
        if place.exists():
            continue
        settings = _settings(result.config, file.kind, differing)
        summaries = [
            _start(run_dir, file.kind, settings, end - result.seconds),
            *_figures(result, file),
            _card(result, file),
            _end(end, failed=fails(result.judgement)),
        ]
        _write(place, event_file(summaries, step=step, seconds=end))


def write_failed(run_dir: Path, config: Config, differing: Differing) -> None:
    """Write that a run failed, for each file that it would have exported."""
    now = time.time()
    for export in config.export.exports():
        settings = _settings(plain(config), export.kind, differing)
        summaries = [_start(run_dir, export.kind, settings, now), _end(now, failed=True)]
        _write(run_dir / export.kind / FILE, event_file(summaries, step=0, seconds=now))


def forget(run_dir: Path, config: Config) -> None:
    """Delete what an earlier attempt, which failed, gave to TensorBoard."""
    for export in config.export.exports():
        (run_dir / export.kind / FILE).unlink(missing_ok=True)


def _write(place: Path, content: bytes) -> None:
    place.parent.mkdir(exist_ok=True)
    write_file(place, content)


def _settings(config: Mapping[str, Any], kind: str, differing: Differing) -> dict[str, str | float | bool]:
    """Return the settings that every run shows, and those in which this one differs."""
    own = {"model": config["model"]["name"], "dataset": config["dataset"]["name"], "export": kind}
    typed = any(key.endswith(SPARSITY) for key in differing)
    usual = None if typed else pick(config, f"schedule.{SPARSITY}")
    known = {SPARSITY: float(usual)} if isinstance(usual, (int, float)) else {}  # results of any origin
    return {**differing, **known, **own}


def _figures(result: Result, file: TfliteResult) -> Iterator[Any]:
    """The final figures, metrics first; latency is missing where it was not measured."""
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    worked_out = {
        "final/sparsity": result.pruned.measured_sparsity,
        "final/compression": result.dense.tflite.gzip_bytes / file.size.gzip_bytes,
    }
    for prefix, where, metrics in (
        ("", "test", file.metrics),
        ("validation_", "validation", file.validation_metrics),
    ):
        for name, value in (metrics or {}).items():
            meaning = f"Of the TFLite file on the {where} part. {meaning_of(name)}".rstrip()
            yield scalar_pb(f"final/{prefix}{name}", value, description=meaning)
    if result.judgement and result.judgement.drop is not None:
        label = label_of(result.data.metric)
        yield scalar_pb(
            "final/validation_drop",
            result.judgement.drop,
            description=DROP.format(label[0].upper() + label[1:]),
        )
    for tag, (path, meaning) in METRICS.items():
        figure = pick(file, path) if path else worked_out[tag]
        if figure is not None:
            yield scalar_pb(tag, figure, description=meaning)


def _card(result: Result, file: TfliteResult) -> Any:
    """The final table of the terminal, dense, pruned and this file, with the verdict and the command."""
    from tensorboard.plugins.text.summary_v2 import text_pb

    rows = [summary.columns([result]), *summary.run_rows(replace(result, tflite=[file]))]
    head, *body = ["| " + " | ".join(map(_escaped, row)) + " |" for row in rows]
    table = "\n".join([head, "|---|---|--:|--:|--:|--:|", *body])
    timed = file.latency
    said = summary.latency_line(timed, summary.theory_of(result, file)) if timed else "not measured."
    judged = marked(result.judgement)
    alarm = f"**Marked: {judged.verdict}. {judged.message}**\n\n" if judged else ""
    text = f"{alarm}{table}\n\n**Latency** {said}\n\n    {result.command}\n"
    return text_pb(
        "result", _as_protobuf(text), description="The final table of the run, as on the terminal."
    )


def _escaped(text: str) -> str:
    """Text in a cell of a Markdown table."""
    return text.replace("\\", "\\\\").replace("|", "\\|")


def _start(run_dir: Path, kind: str, settings: Mapping[str, Any], seconds: float) -> Any:
    """The settings; a name of its own keeps TensorBoard from averaging this run with others like it."""
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    *_, folder, run = run_dir.absolute().parts
    name = f"{run}/{kind} in {folder}"
    shown = {key: _as_protobuf(value) if isinstance(value, str) else value for key, value in settings.items()}
    return hparams_pb(shown, trial_id=_as_protobuf(name), start_time_secs=seconds)


def _as_protobuf(text: str) -> str:
    """Escape what a name that is no Unicode has, which no protobuf takes."""
    return text.encode(errors="backslashreplace").decode()


def _end(seconds: float, *, failed: bool) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
    info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=seconds)
    data = plugin_data_pb2.HParamsPluginData(session_end_info=info)
    summary_of_end = Summary()
    summary_of_end.value.add(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(data),
        tensor=metadata.NULL_TENSOR,
    )
    return summary_of_end
