"""The flow of one run: load, build, train dense, prune, export, evaluate, report."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from pruneflow.errors import ConfigError
from pruneflow.exports.inspection import Inspection, inspect
from pruneflow.flow import as_came, following, results, second_phase
from pruneflow.flow.agreement import rounding_of
from pruneflow.flow.at_once import RECONSTRUCTED_VERSION
from pruneflow.flow.config import Config, plain
from pruneflow.flow.contract import Contract, written_contract
from pruneflow.flow.evaluate import EVALUATE_VERSION, Evaluating, Evaluations, evaluate
from pruneflow.flow.export import EXPORT_VERSION, Artefacts, export
from pruneflow.flow.figures import DataFacts, LatencyResult, PhaseCost, PlanFacts, Result, like_for_like
from pruneflow.flow.judgement import AWARE, KEPT, SHARED, Judgement, judge, judge_after, without_training
from pruneflow.flow.latency import speeds
from pruneflow.flow.mistakes import written_mistakes
from pruneflow.flow.networks import (
    DENSE_VERSION,
    PRUNED_VERSION,
    Network,
    Networks,
    dense_network,
    pruned_network,
)
from pruneflow.flow.prepare import prepare
from pruneflow.flow.prepared import Prepared
from pruneflow.flow.quantization_aware import AWARE_VERSION, aware_network
from pruneflow.flow.sensitivity import SENSITIVITY_VERSION, with_shares
from pruneflow.flow.sharing import SHARED_VERSION, shared_network
from pruneflow.flow.store import Store
from pruneflow.runtime import memory, versions
from pruneflow.runtime.terminal import warn
from pruneflow.sparsity.kernels import weights
from pruneflow.sparsity.then import renamed

__all__ = ["STAGE_VERSIONS", "Prepared", "follow", "prepare", "run"]

STAGE_VERSIONS = (
    DENSE_VERSION,
    SENSITIVITY_VERSION,
    PRUNED_VERSION,
    RECONSTRUCTED_VERSION,
    SHARED_VERSION,
    AWARE_VERSION,
    EXPORT_VERSION,
    EVALUATE_VERSION,
)


def run(config: Config, ready: Prepared, run_dir: Path, *, command: str = "") -> Result:
    """Train, prune, export and evaluate, or take from the store what is there; write all below ``run_dir``.

    Args:
        ready: What ``prepare(config)`` returned.
        run_dir: An existing folder, of this run alone.
        command: The command line that made the config, for the record.

    Returns:
        The result, as written to ``run_dir/result.json``.

    Raises:
        PruneflowError: if a target is missed, forms of the network disagree, or a file cannot be written.
    """
    start = time.perf_counter()
    memory.reset_peak()
    store, data = config.stages.open(), ready.data
    together = following.shared(store)
    dense = dense_network(together, config, ready, run_dir)
    as_came.show(config, ready, dense)
    ready = with_shares(together, config, ready, dense, run_dir)
    pruned = pruned_network(together, config, ready, dense, run_dir)
    ready, trained = _pruned_again(together, config, ready, Networks(dense, pruned, None), run_dir)
    shared = shared_network(store, config, ready, trained.pruned, run_dir)
    networks = replace(trained, pruned=aware_network(store, config, ready, shared, run_dir))
    files = export(store, ready.exports, data, networks, run_dir)
    rounding = rounding_of(ready.device)
    how = Evaluating(tuple(config.trainer.metrics), ready.interpreters, rounding, config.test_part)
    scores = evaluate(store, data, networks, files, how)
    inside = _inspect(files, networks.pruned)
    times = speeds(config.latency, files, vocabulary_size=data.spec.vocabulary_size)
    contents = {each.file.name: inside[each.export.kind] for each in files.shipped}
    contract = written_contract(config.dataset, data, scores.task, contents, run_dir)
    written_mistakes(scores, data, contract.reads, run_dir, shown=config.report_examples)
    found = _Found(networks, files, scores, inside, times, contract)
    result = _result(config, ready, found, start, command)
    results.write(result, run_dir)
    return result


def follow(config: Config, ready: Prepared) -> int:
    """Train with the other workers of a cluster, whose chief runs; nothing is left here.

    Returns:
        The exit code of the chief.

    Raises:
        PruneflowError: if a worker is gone, or this one has other settings than the chief.
    """

    def along(store: Store, run_dir: Path) -> object:
        dense = dense_network(store, config, ready, run_dir)
        as_came.show(config, ready, dense)
        known = with_shares(store, config, ready, dense, run_dir)
        pruned = pruned_network(store, config, known, dense, run_dir)
        return _pruned_again(store, config, known, Networks(dense, pruned, None), run_dir)

    return following.followed(along)


def _pruned_again(
    store: Store, config: Config, ready: Prepared, networks: Networks, run_dir: Path
) -> tuple[Prepared, Networks]:
    """Prune the network a second time where that is asked for; the first one is ``cut`` then."""
    if not ready.then:
        return ready, networks
    cut, own = networks.pruned, second_phase.settings(config)
    known = second_phase.prepared(config, ready.then, cut.model)
    known = with_shares(store, own, known, cut, run_dir)
    return ready, replace(networks, pruned=pruned_network(store, own, known, cut, run_dir), cut=cut)


@dataclass(frozen=True)
class _Found:
    """The findings of the stages of a run; the times by kind of file."""

    networks: Networks
    files: Artefacts
    scores: Evaluations
    inside: dict[str, Inspection]
    times: dict[str, LatencyResult]
    contract: Contract


def _result(config: Config, ready: Prepared, found: _Found, start: float, command: str) -> Result:
    """Everything that a run found out, as it is kept."""
    networks, files, scores = found.networks, found.files, found.scores
    of_dense, of_cut = scores.dense_result(networks.dense, files), scores.cut_result(networks.cut, files)
    of_pruned = scores.pruned_result(networks.pruned, files, of_cut)
    of_files = [
        scores.tflite_result(each, found.inside[each.export.kind], found.times.get(each.export.kind))
        for each in files.shipped
    ]
    return Result(
        config=plain(config),
        command=command,
        versions=versions.versions(),
        device=ready.device,
        seed=config.seed,
        data=DataFacts.of(ready.data),
        plan=_plan_facts(ready),
        dense=of_dense,
        cut=of_cut,
        pruned=of_pruned,
        tflite=of_files,
        ratios=like_for_like(of_dense, of_pruned, of_files[0]),
        phases={"load": PhaseCost(ready.load_seconds), **_costs(found)},
        stages={**{name: each.stage for name, each in networks.made.items()}, **of_files[0].stages},
        seconds=time.perf_counter() - start,
        peak_memory_bytes=memory.peak_bytes(),
        classes=scores.classes(ready.data.class_names),
        judgement=_judged(config, ready, scores),
        left_out=ready.left_out,
        contract=found.contract,
        part=scores.part,
    )


def _judged(config: Config, ready: Prepared, scores: Evaluations) -> Judgement:
    y, metric = ready.data.validation.y, scores.task.headline
    dense, cut, stripped, pruned = (
        each.scores["validation"].headline if each else None
        for each in (scores.dense, scores.cut, scores.stripped, scores.pruned)
    )
    assert stripped is not None and pruned is not None
    limit = config.pruning.max_accuracy_drop
    judged = judge(dense, stripped, y, metric=metric, limit=limit)
    after = AWARE if config.quantization_aware.epochs else SHARED
    judged = judge_after(judged, pruned, y, metric=metric, after=after) if scores.before else judged
    if cut is None or judge(dense, cut, y, metric=metric, limit=limit).verdict != KEPT:
        return replace(judged, message=_as_trained(config, config.trainer.epochs, judged.message))
    epochs = second_phase.settings(config).trainer.epochs
    message = _as_trained(config, epochs, judged.message)
    return replace(judged, message=renamed(message))  # the second phase is at fault


def _as_trained(config: Config, epochs: int | None, message: str) -> str:
    """Return the message with a remedy for a phase of so many epochs; None follows from the data."""
    return message if epochs != 0 else without_training(message, can_fit=_could_fit(config))


def _could_fit(config: Config) -> bool:
    """Return whether ``pruning.reconstruct`` is not set and could be."""
    try:
        replace(config, pruning=replace(config.pruning, reconstruct=True))
    except ConfigError:
        return False
    return not config.pruning.reconstruct


def _costs(found: _Found) -> dict[str, PhaseCost]:
    """Return the time of each phase after loading when it was computed."""
    return {
        **{name: each.cost for name, each in found.networks.made.items()},
        "export": PhaseCost(found.files.seconds),
        "evaluate": PhaseCost(found.scores.seconds),
    }


def _inspect(files: Artefacts, pruned: Network) -> dict[str, Inspection]:
    """Inspect each exported file, by kind; warn of weights that are not found there."""
    of_keras = weights(pruned.model)
    found = {
        each.export.kind: inspect(each.exported.content, each.file.name, of_keras, pruned.masks)
        for each in files.shipped
    }
    for kind, inside in found.items():
        if inside.not_found:
            warn(f"Zeros      not counted in the {kind} file, not found there: {', '.join(inside.not_found)}")
    return found


def _plan_facts(ready: Prepared) -> PlanFacts:
    """Return the plan of the last phase, and below ``cut`` that of the one before it."""
    if ready.then:
        return replace(_plan_facts(ready.then), cut=_plan_facts(replace(ready, then=None)))
    plan, trainer = ready.plan, ready.trainer
    lengths = ("dense_epochs", "epochs", "dense_batch_size", "batch_size")
    return PlanFacts(
        begin_step=plan.begin_step,
        end_step=plan.end_step,
        frequency=plan.frequency,
        updates=len(plan.updates),
        total_steps=plan.total_steps,
        **{key: getattr(trainer, key) for key in lengths},
    )
