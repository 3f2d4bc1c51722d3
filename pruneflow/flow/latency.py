"""Latency of each exported file, beside the baseline exported in the same way, measured here and now."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pruneflow.exports.latency import Latency, Timing, measure
from pruneflow.exports.verdict import facts_of, shares, speedup, verdict
from pruneflow.flow.export import Artefacts, Shipped
from pruneflow.flow.figures import LatencyResult, Parts
from pruneflow.runtime.terminal import bar

SLOW = "int4"  # kind whose arithmetic may take many times as long as float: that is said too


def speeds(settings: Latency, artefacts: Artefacts, *, vocabulary_size: int) -> dict[str, LatencyResult]:
    """Time all files of a run in turn, so that drift of the machine meets all alike.

    Nothing of this is kept for other runs: a latency of another moment or machine says nothing here.

    Args:
        vocabulary_size: Number of token ids that the files read; 0 where they read images.

    Returns:
        Figures by kind; empty where nothing is to be measured.
    """
    if not settings.seconds:
        return {}
    timed = [each for each in artefacts.shipped if each.export.timed]
    if not timed:
        return {}
    files = list(dict.fromkeys(file for each in timed for file in _files(each)))
    with bar("Timing", total=1) as advance:
        timings = measure(files, settings, token_bound=vocabulary_size or 2)
        advance()
    of_file: dict[Path, Timing] = dict(zip(files, timings, strict=True))
    return {each.export.kind: _measured(each, of_file) for each in timed}


def _files(shipped: Shipped) -> list[Path]:
    beside = [shipped.dense_float] if shipped.export.kind == SLOW else []
    return [shipped.dense_file, *([shipped.cut_file] if shipped.cut else []), shipped.file, *beside]


def _measured(shipped: Shipped, timings: Mapping[Path, Timing]) -> LatencyResult:
    dense, pruned = timings[shipped.dense_file], timings[shipped.file]
    ratio = speedup(dense, pruned)
    content, kind = shipped.exported.content, shipped.export.kind
    facts = facts_of(content, shipped.file.name, dense_multiply_adds=shipped.dense_multiply_adds)
    said = verdict(ratio, replace(facts, kind=kind, reference_kind=kind))
    found = LatencyResult(dense, pruned, ratio, said)
    if shipped.cut:
        cut = timings[shipped.cut_file]
        parts = Parts(cut, speedup(dense, cut), speedup(cut, pruned))
        found = replace(found, verdict=f"{said} {shares(parts.cut, parts.zeros)}", parts=parts)
    if kind == SLOW:
        beside = speedup(timings[shipped.dense_float], pruned)
        as_float = verdict(beside, replace(facts, kind=kind, reference_kind="float"))
        said = f"{found.verdict} Beside {shipped.dense_float.name}: {as_float[0].lower()}{as_float[1:]}"
        found = replace(found, verdict=said, against_float=beside)
    return found
