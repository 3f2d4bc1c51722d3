"""How fast each exported file is, beside the baseline exported in the same way, measured here and now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pruneflow.exports.latency import Latency, Timing, measure
from pruneflow.exports.verdict import facts_of, shares, speedup, verdict
from pruneflow.flow.export import Artefacts, Shipped
from pruneflow.flow.results import LatencyResult, Parts
from pruneflow.runtime.terminal import bar

__all__ = ["speeds"]


def speeds(settings: Latency, artefacts: Artefacts, *, vocabulary_size: int) -> dict[str, LatencyResult]:
    """Time all files of a run in turn, so that drift of the machine meets all alike.

    Nothing of this is kept for other runs: a latency of another moment or machine says nothing here.

    Args:
        settings: For how long.
        artefacts: The files.
        vocabulary_size: Number of token ids that the files read; 0 where they read images.

    Returns:
        Figures by kind; empty where nothing is to be measured.
    """
    if not settings.seconds:
        return {}
    files = [file for each in artefacts.shipped for file in _files(each)]
    with bar("Timing", total=1) as advance:
        timings = measure(files, settings, token_bound=vocabulary_size or 2)
        advance()
    of_file: dict[Path, Timing] = dict(zip(files, timings, strict=True))
    return {each.export.kind: _measured(each, of_file) for each in artefacts.shipped}


def _files(shipped: Shipped) -> list[Path]:
    return [shipped.dense_file, *([shipped.cut_file] if shipped.cut else []), shipped.file]


def _measured(shipped: Shipped, timings: Mapping[Path, Timing]) -> LatencyResult:
    dense, pruned = timings[shipped.dense_file], timings[shipped.file]
    ratio = speedup(dense, pruned)
    content, kind = shipped.exported.content, shipped.export.kind
    facts = facts_of(content, shipped.file.name, dense_multiply_adds=shipped.dense_multiply_adds)
    said = verdict(ratio, replace(facts, kind=kind, reference_kind=kind))
    if not shipped.cut:
        return LatencyResult(dense, pruned, ratio, said)
    cut = timings[shipped.cut_file]
    parts = Parts(cut, speedup(dense, cut), speedup(cut, pruned))
    return LatencyResult(dense, pruned, ratio, f"{said} {shares(parts.cut, parts.zeros)}", parts)
