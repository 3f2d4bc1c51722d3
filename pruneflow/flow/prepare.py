"""Facts that are known before any training: the data, the plan, the layers to prune, the device."""

import time
from dataclasses import replace
from typing import Any

from pruneflow.datasets.spec import Data
from pruneflow.datasets.weights import weighed
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.exports.rehearsal import try_exports
from pruneflow.flow import at_once, lengths, second_phase
from pruneflow.flow.config import Config, masks_for, plan_for, selected
from pruneflow.flow.prepared import Prepared
from pruneflow.flow.quantization_aware import check_network
from pruneflow.models.narrower import widths_of
from pruneflow.options import require
from pruneflow.runtime import backend, factories
from pruneflow.runtime.memory import ran_out
from pruneflow.runtime.signals import undisturbed
from pruneflow.sparsity import tfmot_engine
from pruneflow.sparsity.schedules import Plan
from pruneflow.sparsity.selected_layers import Selection
from pruneflow.training.trainer import Trainer

__all__ = ["Prepared", "forget", "prepare"]

SHOWN = 200  # characters of what Keras says


def prepare(config: Config, *, share: int | None = None) -> Prepared:
    """Load the data and check everything that can be checked without training.

    Args:
        share: Processors of a cell beside others, for threads that are null; None takes all.
    """
    with config.device.awaited(share):
        data, seconds = _load(config.dataset)
    trainer, plan = plan_for(config, data)
    _require_dense(config, trainer)
    _require_divided(trainer, config.device.check_workers())  # before it waits for workers
    with undisturbed():
        device = config.device.configure(share)
        _require_divided(trainer, device.get("replicas", 1))
        model = _built(config, data)
        check_network(config, data, model)
        selection = _selected(config, model, plan)
        left_out = _left_out(config, data)
        _require_a_file(config, left_out)
        masks = masks_for(config, plan, selection)
        fitted = at_once.notes(config, data, model, selection)
        ready = Prepared(
            data=data,
            trainer=trainer,
            plan=plan,
            selection=selection,
            masks=masks,
            notes=[
                *filter(None, [config.model.note]),
                *masks.check(),
                *_said(config, left_out),
                *fitted,
                *_said_of_narrowing(config, data),
            ],
            lengths=[
                *lengths.said(config.trainer, trainer, len(data.train), phases=second_phase.names(config)),
                *lengths.said_of_sharing(config.sharing, trainer, len(data.train)),
                *lengths.said_of_int8(config.quantization_aware, trainer, len(data.train)),
            ],
            warnings=lengths.doubts(config.trainer, plan),
            device=device,
            interpreters=config.device.interpreters(share),
            load_seconds=seconds,
            exports=[each for each in config.export.exports() if each.kind not in left_out],
            left_out=left_out,
            difference=config.model.difference,
        )
        ready = replace(ready, notes=[*ready.notes, *_said_of_cut(config, ready, model)])
        ready = replace(ready, then=second_phase.rehearsed(config, ready, model))
        backend.keras().backend.clear_session()
    return ready


def _require_a_file(config: Config, left_out: dict[str, str]) -> None:
    """Refuse kinds of which none can be made of the network."""
    kinds = [each.kind for each in config.export.exports()]
    problem = "; ".join(f"{kind}: {reason}" for kind, reason in left_out.items())
    require(set(kinds) != set(left_out), "export.kinds", kinds, problem, "Take other kinds of files.")


def _require_divided(trainer: Trainer, replicas: int) -> None:
    """Refuse batches that replicas do not divide."""
    keys = ("dense_batch_size", "batch_size") if trainer.dense_epochs else ("batch_size",)
    for key in keys:
        size = getattr(trainer, key)
        problem = f"it is the size of a whole batch, and {replicas} replicas do not divide it"
        remedy = f"Take a multiple of {replicas}, such as {max(replicas, size - size % replicas)}."
        require(size % replicas == 0, f"trainer.{key}", size, problem, remedy)


def _require_dense(config: Config, trainer: Trainer) -> None:
    """Refuse what needs a trained dense network where there is none."""
    has_dense = bool(trainer.dense_epochs) or config.model.starts_trained
    why = "since trainer.dense_epochs=0 and the network is untrained"
    limit, problem = config.pruning.max_accuracy_drop, f"there is no dense network to compare with, {why}"
    remedy = "Train one, or leave it out."
    require(limit is None or has_dense, "pruning.max_accuracy_drop", limit, problem, remedy)
    distribution, problem = config.distribution, f"there is no trained network to scan, {why}"
    remedy = "Train one with trainer.dense_epochs=1 or more, or take distribution=erk."
    require(has_dense or not distribution.scans, "distribution", distribution.option_name, problem, remedy)
    problem = f"there is no trained dense network to prune, {why}"
    remedy = "Train one of both: trainer.dense_epochs=1 or more, or trainer.epochs=2."
    require(has_dense or trainer.epochs != 0, "trainer.epochs", 0, problem, remedy)


def forget() -> None:
    """Load data, and code of the user's own, anew: for another run in a process that goes on."""
    _loaded.clear()
    _tried.clear()
    factories.forget()


def _selected(config: Config, model: Any, plan: Plan) -> Selection:
    """The layers to prune; where tfmot is to wrap them it tries, which may fail."""
    selection = selected(config, model)
    if config.pruning.engine == "tfmot":
        tfmot_engine.wrap(model, masks_for(config, plan, selection))
    return selection


def _built(config: Config, data: Data) -> Any:
    """Build the network; Keras refuses sizes in many ways."""
    try:
        return config.network(data.spec).build(data.spec)
    except PruneflowError:
        raise
    except Exception as error:
        if ran_out(error):
            raise
        said = " ".join(str(error).split())[:SHOWN].rstrip(".")
        problem = f"the network cannot be built: {said}"
        raise ConfigError.of("model", config.model.option_name, problem, "Change its sizes.") from error


def _left_out(config: Config, data: Data) -> dict[str, str]:
    """Try exports once per process: the check before a run, and cells of a sweep, ask for the same."""
    if not (config.model.brought or config.export.must_be_tried):
        return {}
    settings = [each.identity() for each in config.export.exports()]
    model = config.network(data.spec)
    key = repr((model.identity(data.spec), data.spec, config.export.option_name, settings))
    if key not in _tried:
        with backend.float32():
            _tried[key] = try_exports(config.export, model, data)
    return _tried[key]


def _said(config: Config, left_out: dict[str, str]) -> list[str]:
    option = config.export.option_name
    return [f"export={option} makes no {kind} file: {why}." for kind, why in left_out.items()]


def _said_of_narrowing(config: Config, data: Data) -> list[str]:
    """Return the widths of the network that takes the place of the pruned one."""
    if not config.criterion.narrows:
        return []
    small = config.network(data.spec)
    there, wide = (each.parameters(data.spec) for each in (small, config.model))
    return [f"criterion=small_dense trains {widths_of(small)}: {there:,} of {wide:,} parameters."]


def _said_of_cut(config: Config, ready: Prepared, model: Any) -> list[str]:
    """Return what exports cannot keep once the network is cut, a sentence each."""
    asking = [each for each in ready.exports if each.depends_on_sizes]
    if not (config.structure.cuts and asking):
        return []
    small = second_phase.cut_untrained(ready, model)
    return [said for each in asking if (said := each.said_of_cut(small))]


_tried: dict[str, dict[str, str]] = {}
_loaded: dict[str, tuple[Data, float]] = {}


def _load(dataset: Any) -> tuple[Data, float]:
    """Load once per process: the check before a run and the cells of a sweep share the arrays.

    Returns:
        The data, and the seconds that loading took when it was done.
    """
    key = repr(dataset)
    found = _loaded.get(key)
    if not found:
        start = time.perf_counter()
        data = weighed(dataset.load(), dataset.class_weights)
        while len(_loaded) >= 2:  # a sweep over many data settings must not keep them all
            del _loaded[next(iter(_loaded))]
        found = _loaded[key] = data, time.perf_counter() - start
    return found
