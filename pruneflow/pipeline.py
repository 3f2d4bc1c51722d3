"""The flow of one run: load, build, train dense, prune, export, evaluate, report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pruneflow import results
from pruneflow.artefacts import EXPORT_VERSION, export
from pruneflow.comparison import EVALUATE_VERSION, compare
from pruneflow.config import Config, plain
from pruneflow.networks import DENSE_VERSION, PRUNED_VERSION, dense_network, pruned_network
from pruneflow.preparation import Prepared, prepare
from pruneflow.results import DataFacts, PhaseCost, Result
from pruneflow.sparsity.schedules import Plan

__all__ = ["STAGE_VERSIONS", "Prepared", "prepare", "run"]

STAGE_VERSIONS = (DENSE_VERSION, PRUNED_VERSION, EXPORT_VERSION, EVALUATE_VERSION)


def run(config: Config, ready: Prepared, run_dir: Path, *, command: str = "") -> Result:
    """Train, prune, export and evaluate, or take from the store what is there; write all below ``run_dir``.

    Args:
        config: What to do.
        ready: What ``prepare(config)`` returned.
        run_dir: An existing folder, of this run alone.
        command: The command line that made the config, for the record.

    Returns:
        The result, as written to ``run_dir/result.json``.

    Raises:
        PruneflowError: if a target is missed or a file cannot be written.
    """
    start = time.perf_counter()
    results.reset_peak_memory()
    store, data = config.stages.open(), ready.data
    dense = dense_network(store, config, ready, run_dir)
    pruned = pruned_network(store, config, ready, dense, run_dir)
    files = export(store, config.export, data, (dense, pruned), run_dir)
    figures = compare(store, data, (dense, pruned), files, interpreters=config.device.interpreters)
    result = Result(
        config=plain(config),
        command=command,
        versions=results.versions(),
        device=ready.device,
        seed=config.seed,
        data=DataFacts.of(data),
        plan=_plan_facts(ready.plan),
        dense=figures.dense,
        pruned=figures.pruned,
        tflite=[figures.tflite],
        ratios=results.like_for_like(figures.dense, figures.pruned, figures.tflite),
        phases={
            "load": PhaseCost(ready.load_seconds),
            "dense": dense.cost,
            "pruned": pruned.cost,
            "export": PhaseCost(files.seconds),
            "evaluate": PhaseCost(figures.seconds),
        },
        stages={
            "dense": dense.stage,
            "pruned": pruned.stage,
            "export": files.exported.stage,
            "evaluate": figures.stage,
        },
        seconds=time.perf_counter() - start,
        peak_memory_bytes=results.peak_memory_bytes(),
    )
    result.write(run_dir)
    return result


def _plan_facts(plan: Plan) -> dict[str, Any]:
    return {
        "begin_step": plan.begin_step,
        "end_step": plan.end_step,
        "frequency": plan.frequency,
        "updates": len(plan.updates),
        "total_steps": plan.total_steps,
    }
