"""The flow of one run: load, build, train dense, prune, export, evaluate, report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruneflow import backend, results
from pruneflow.artefacts import Networks, save
from pruneflow.comparison import compare
from pruneflow.config import Config, plain, plan_for
from pruneflow.data import Data
from pruneflow.results import DataFacts, PhaseCost, Result
from pruneflow.sparsity import measure, prune
from pruneflow.sparsity.schedules import Plan

__all__ = ["Prepared", "prepare", "run"]


@dataclass(frozen=True)
class Prepared:
    """What is known before any training: data, plan, layers to prune; and how long loading took."""

    data: Data
    plan: Plan
    selection: prune.Selection
    device: dict[str, Any]
    load_seconds: float


def prepare(config: Config) -> Prepared:
    """Load the data and check everything that can be checked without training.

    Raises:
        PruneflowError: whatever would stop the run later.
    """
    data, seconds = _load(config.dataset)
    plan = plan_for(config, data)
    device = config.device.configure()
    selection = config.pruning.select(config.model.build(data.spec))
    backend.keras().backend.clear_session()
    return Prepared(data, plan, selection, device, seconds)


def run(config: Config, ready: Prepared, run_dir: Path, *, command: str = "") -> Result:
    """Train, prune, export and evaluate; write everything below ``run_dir``.

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
    results.reset_peak_memory()
    phases = {"load": PhaseCost(ready.load_seconds)}
    dense, phases["dense"] = _train_dense(config, ready, run_dir)
    networks, phases["pruned"] = _train_pruned(config, ready, dense, run_dir)
    with _timed(phases, "export"):
        artefacts = save(config.export, ready.data, networks, run_dir)
    with _timed(phases, "evaluate"):
        figures = compare(networks, ready.data, artefacts, interpreters=config.device.interpreters)
    result = Result(
        config=plain(config),
        command=command,
        versions=results.versions(),
        device=ready.device,
        seed=config.seed,
        data=DataFacts.of(ready.data),
        plan=_plan_facts(ready.plan),
        dense=figures.dense,
        pruned=figures.pruned,
        tflite=[figures.tflite],
        ratios=results.like_for_like(figures.dense, figures.pruned, figures.tflite),
        phases=phases,
        peak_memory_bytes=results.peak_memory_bytes(),
    )
    result.write(run_dir)
    return result


_loaded: dict[str, tuple[Data, float]] = {}


def _load(dataset: Any) -> tuple[Data, float]:
    """Load once per process: the check before a run and the cells of a sweep share the arrays.

    Returns:
        The data, and the seconds that loading took when it was done.
    """
    key = repr(dataset)
    if key not in _loaded:
        start = time.perf_counter()
        data = dataset.load()
        while len(_loaded) >= 2:  # a sweep over many data settings must not keep them all
            del _loaded[next(iter(_loaded))]
        _loaded[key] = data, time.perf_counter() - start
    return _loaded[key]


def _train_dense(config: Config, ready: Prepared, run_dir: Path) -> tuple[Any, PhaseCost]:
    """Train the baseline, or leave it at its initial weights where no dense epochs are asked for."""
    backend.keras().backend.clear_session()
    backend.set_seed(config.seed)
    model = config.model.build(ready.data.spec)
    if not config.trainer.dense_epochs:
        return model, PhaseCost(0.0)
    phase = config.trainer.fit_dense(model, ready.data, folder=run_dir / "dense", seed=config.seed)
    return model, PhaseCost(phase.seconds, phase.examples_per_second)


def _train_pruned(config: Config, ready: Prepared, dense: Any, run_dir: Path) -> tuple[Networks, PhaseCost]:
    """Prune a copy of the dense network; the zeros are counted before anything is made of it."""
    backend.set_seed(config.seed, 1)
    wrapped = prune.wrap(dense, ready.plan, ready.selection.pruned)
    folder = run_dir / "pruned"
    phase = config.trainer.fit_pruned(wrapped, ready.data, ready.plan, folder=folder, seed=config.seed)
    layers = prune.measure(wrapped, config.schedule.final_sparsity)
    measure.require_target(layers)
    with backend.float32():  # exports start from float32, whatever the precision of training
        plain_dense, plain_pruned = (config.model.build(ready.data.spec) for _ in range(2))
    plain_dense.set_weights(dense.get_weights())
    networks = Networks(
        dense=plain_dense,
        pruned=prune.strip(wrapped, into=plain_pruned),
        layers=layers,
        not_pruned=ready.selection.left,
        trained_dense=config.trainer.dense_epochs > 0,
    )
    return networks, PhaseCost(phase.seconds, phase.examples_per_second)


def _plan_facts(plan: Plan) -> dict[str, Any]:
    return {
        "begin_step": plan.begin_step,
        "end_step": plan.end_step,
        "frequency": plan.frequency,
        "updates": len(plan.updates),
        "total_steps": plan.total_steps,
    }


@contextmanager
def _timed(phases: dict[str, PhaseCost], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    phases[name] = PhaseCost(time.perf_counter() - start)
