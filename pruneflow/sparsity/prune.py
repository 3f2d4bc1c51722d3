"""The one adapter to tfmot: which layers are pruned, wrapping them, masking them, stripping the wrappers."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.errors import ConfigError
from pruneflow.options import require, require_one_of
from pruneflow.runtime import backend
from pruneflow.sparsity.distributions import spelled
from pruneflow.sparsity.kernels import (
    copy_of,
    kernels,
    leaves,
    named_weights,
    opens,
    reason_to_leave,
    trained_variables,
)
from pruneflow.sparsity.masks import MaskPlan, Prunable
from pruneflow.sparsity.measure import Total, WeightSparsity
from pruneflow.sparsity.schedules import Plan

__all__ = [
    "ENGINES",
    "Pruning",
    "Selection",
    "apply",
    "copied",
    "kept",
    "masks",
    "measure",
    "requested_sparsity",
    "strip",
    "thresholds",
    "total",
    "update",
    "weights",
    "wrap",
]

ENGINES = ("pruneflow", "tfmot")
FROZEN = "is frozen (trainable=False)"  # what is not trained cannot make up for what was taken from it


@dataclass(kw_only=True)
class Pruning:
    """Which layers are pruned, by patterns on their names (``*``, ``?``, ``[...]``), and who decides masks.

    Attributes:
        include: Layers to prune.
        skip: Layers to leave dense; wins over ``include``.
        engine: ``"pruneflow"``, or ``"tfmot"``: its own arithmetic, as a control.
    """

    include: list[str]
    skip: list[str]
    engine: str

    def __post_init__(self) -> None:
        """Refuse an empty list of layers to prune, and an unknown engine."""
        require(
            bool(self.include),
            "pruning.include",
            self.include,
            "no layer would be pruned; allowed is a list of one or more layer-name patterns",
            'Write pruning.include=["*"] for all layers.',
        )
        require_one_of("pruning.engine", self.engine, ENGINES)

    def select(self, model: Any) -> Selection:
        """Sort the layers of ``model`` into those to prune and those to leave, with the reason.

        Args:
            model: A built ``tf_keras.Model``; layers of models in it are called ``outer/inner``.

        Raises:
            ConfigError: if a pattern matches no layer, or nothing is left to prune.
        """
        layers = dict(leaves(model)) if opens(model) else {model.name: model}
        self._require_matches(list(layers))
        trained = trained_variables(model)
        reasons = {name: self._reason(name, layer, trained) for name, layer in layers.items()}
        left = {name: reason for name, reason in reasons.items() if reason}
        pruned = tuple(name for name in layers if name not in left)
        if self.engine == "tfmot" and any(getattr(layers[name], "mask_zero", False) for name in pruned):
            raise ConfigError.of(
                "pruning.engine",
                self.engine,
                "its wrapper loses the mask of an embedding with mask_zero=True, which makes another network",
                "Choose pruning.engine=pruneflow, or leave that layer dense with pruning.skip.",
            )
        if not pruned:
            said = "; ".join(f"{name}: {reason}" for name, reason in left.items())
            raise ConfigError.of(
                "pruning.include", self.include, f"no layer is left to prune ({said})", "Widen it."
            )
        prunables = tuple(_prunables(((name, layers[name]) for name in pruned), trained))
        return Selection(pruned, left, prunables)

    def check(self, plan: MaskPlan) -> None:
        """Refuse what tfmot's own arithmetic cannot do.

        Raises:
            ConfigError: naming the setting.
        """
        if self.engine == "pruneflow":
            return
        allowed = {"structure": "unstructured", "criterion": "magnitude", "distribution": "uniform"}
        for key, option in allowed.items():
            chosen = getattr(plan, key)
            remedy = f"Choose {key}={option}, or pruning.engine=pruneflow."
            fits = chosen.option_name == option
            require(fits, key, chosen.name, f"pruning.engine=tfmot can do {option} only", remedy)
        overrides = plan.distribution.layers
        require(
            not overrides,
            "distribution.layers",
            spelled(overrides),
            "pruning.engine=tfmot has one sparsity for all layers",
            "Leave it empty, or choose pruning.engine=pruneflow.",
        )

    def _require_matches(self, names: list[str]) -> None:
        for key in ("include", "skip"):
            for pattern in getattr(self, key):
                require(
                    any(fnmatchcase(name, pattern) for name in names),
                    f"pruning.{key}",
                    pattern,
                    f"it matches no layer; the layers are {', '.join(names)}",
                    "Patterns are file-name patterns, such as dense*.",
                )

    def _reason(self, name: str, layer: Any, trained: Container[int]) -> str:
        reason = reason_to_leave(layer)
        if reason:
            return reason
        if all(kernel.is_frozen(trained) for kernel in kernels(layer)):
            return FROZEN
        for pattern in self.skip:
            if fnmatchcase(name, pattern):
                return f"pruning.skip={pattern}"
        if not any(fnmatchcase(name, pattern) for pattern in self.include):
            return "not in pruning.include"
        return ""


@dataclass(frozen=True)
class Selection:
    """Layers of one model.

    Attributes:
        pruned: Names of the layers to prune.
        left: Name of each other layer, and why it is left as it is.
        prunables: The weights of the layers to prune.
    """

    pruned: tuple[str, ...]
    left: dict[str, str]
    prunables: tuple[Prunable, ...]


def wrap(model: Any, plan: MaskPlan, *, engine: str = "pruneflow") -> Any:
    """Copy ``model`` with the layers of the weights in ``plan`` wrapped.

    Args:
        model: A built functional or sequential ``tf_keras.Model``; it is not changed, its weights are copied
            (but a layer that Keras cannot copy, which is left dense, is shared).
        plan: The weights, and when their masks change.
        engine: ``"pruneflow"``: `update` decides the masks. ``"tfmot"``: its ``PruneLowMagnitude`` does.

    Returns:
        A ``tf_keras.Model`` that needs the callbacks ``UpdatePruningStep`` of tfmot and, with pruneflow's
        engine, `callbacks.MaskUpdates` in ``fit``.
    """
    names = {prunable.name for prunable in plan.prunables}
    wrapper = _stock(plan.plan) if engine == "tfmot" else _masked(plan)

    def pruned_copy(name: str, layer: Any) -> Any:
        chosen = [kernel.name for kernel in kernels(layer) if f"{name}/{kernel.name}" in names]
        copy = copy_of(layer)
        if not chosen or copy is None:
            return layer if copy is None else copy
        copy.get_prunable_weights = lambda: _variables(copy, chosen)
        wrapped = wrapper(copy)
        wrapped.pruned_names = [f"{name}/{weight}" for weight in chosen]
        return wrapped

    wrapped = _clone(model, _once(pruned_copy))
    for (_, layer), (_, copied) in zip(leaves(model), leaves(wrapped), strict=True):
        copied.set_weights(layer.get_weights())
    return wrapped


def copied(model: Any) -> Any:
    """The same layers with weights of their own, which are not those of ``model``.

    Raises:
        ConfigError: naming a layer with weights that cannot be copied, so that both would share them.
    """

    def copy(name: str, layer: Any) -> Any:
        copy = copy_of(layer)
        kind, remedy = type(layer).__name__, "Give it a get_config that its __init__ takes."
        problem = f"layer {name} ({kind}) cannot be copied, so that training would change the model given"
        require(copy is not None or not layer.weights, "model", model.name, problem, remedy)
        return layer if copy is None else copy

    return _clone(model, _once(copy))


def strip(wrapped: Any, into: Any) -> Any:
    """Move the weights of a wrapped model, masks applied, into a plain one.

    Args:
        wrapped: What ``wrap`` returned, trained.
        into: A freshly built model of the same network; its weights are overwritten.

    Returns:
        ``into``, which knows nothing of tfmot. Its zeros have no sign: a negative weight times 0 is -0.0,
        and a random sign in each zero is a bit that compression cannot take out.
    """
    apply(wrapped)
    for (_, layer), (_, plain) in zip(leaves(wrapped), leaves(into), strict=True):
        plain.set_weights([weight + np.zeros((), weight.dtype) for weight in layer.get_weights()])
    return into


def update(wrapped: Any, plan: MaskPlan, step: int) -> None:
    """Decide the masks of the update at ``step``, and begin to observe gradients anew.

    Where tfmot's engine was chosen, its wrappers do so themselves, and nothing is done.

    Args:
        wrapped: What ``wrap`` returned.
        plan: The plan it was given.
        step: One of ``plan.plan.updates``.
    """
    pruned = {each.name: each for each in _pruned(wrapped) if each.ours}
    if not pruned:
        return
    values = _Read({name: each.weight for name, each in pruned.items()})
    observed = _Read({name: each.saliency for name, each in pruned.items() if each.saliency is not None})
    for name, found in plan.update(step, values, observed or None).items():
        each = pruned[name]
        each.mask.assign(found.kept)
        each.threshold.assign(found.threshold)
        if each.saliency is not None:
            each.saliency.assign(np.zeros(each.saliency.shape, np.float32))


def apply(wrapped: Any) -> None:
    """Multiply every pruned weight by its mask, also where a distribution strategy holds several copies."""
    from pruneflow.sparsity import wrappers

    for each in _pruned(wrapped):
        wrappers.apply(each.weight, each.mask)


def measure(wrapped: Any, plan: MaskPlan, step: int) -> list[WeightSparsity]:
    """Count the zeros of every pruned weight, mask applied, without changing the model.

    Args:
        wrapped: What ``wrap`` returned.
        plan: The plan it was given.
        step: Steps that were trained.
    """
    requested = plan.sparsities_after(step)
    measured = []
    for each in _pruned(wrapped):
        kept, values = _kept(each), _values(each.weight)
        masked = kept.size - int(np.count_nonzero(kept))
        left = values != 0
        zeros = kept.size - int(np.count_nonzero(np.logical_and(left, kept, out=left)))
        measured.append(
            WeightSparsity(
                name=each.layer,
                weight=each.name.removeprefix(f"{each.layer}/"),
                shape=tuple(values.shape),
                requested_sparsity=requested[each.name],
                measured_sparsity=zeros / kept.size,
                zeros=zeros,
                masked=masked,
                expected=plan.expected_zeros(each.name, step),
                tolerance=plan.tolerance(each.name),
            )
        )
    return measured


def requested_sparsity(plan: MaskPlan, step: int) -> float:
    """What is asked of all pruned weights together after ``step`` steps, [0, 1)."""
    together = plan.plan.sparsity_after(step)
    found = {
        name: together if sparsity is None else sparsity
        for name, sparsity in plan.sparsities_after(step).items()
    }
    if len(set(found.values())) == 1:
        return next(iter(found.values()))
    return sum(found[p.name] * p.size for p in plan.prunables) / sum(p.size for p in plan.prunables)


def total(plan: MaskPlan) -> Total:
    """What the masks of all weights together should hold at the end."""
    end = plan.plan.total_steps
    return Total(plan.total_expected_zeros(end), plan.total_tolerance(end))


def masks(wrapped: Any) -> dict[str, Any]:
    """Mask of every pruned weight, by ``layer/weight``: boolean arrays of its shape, true = kept."""
    return {each.name: _kept(each).copy() for each in _pruned(wrapped)}


def kept(wrapped: Any) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Name, ``layer/weight``, and values of each pruned weight, (n,), what is masked left out."""
    for each in _pruned(wrapped):
        yield each.name, _values(each.weight)[_kept(each)]


def thresholds(wrapped: Any) -> dict[str, float]:
    """Lowest score that was kept at the last update, by ``layer/weight``; by default a magnitude."""
    return {each.name: float(each.threshold.numpy()) for each in _pruned(wrapped)}


def weights(model: Any) -> dict[str, Any]:
    """Every weight of a plain model, by ``layer/weight``, as arrays; names as ``masks`` gives them."""
    return {
        f"{name}/{weight}": variable.numpy()
        for name, layer in leaves(model)
        for weight, variable in named_weights(layer).items()
    }


def _prunables(layers: Iterator[tuple[str, Any]], trained: Container[int]) -> Iterator[Prunable]:
    for name, layer in layers:
        for kernel in kernels(layer):
            if not kernel.is_frozen(trained):
                shape = tuple(int(size) for size in kernel.variable.shape)
                yield Prunable(f"{name}/{kernel.name}", shape, kernel.layout)


@dataclass(frozen=True)
class _PrunedWeight:
    """A pruned weight with what its wrapper keeps beside it.

    Attributes:
        name: ``layer/weight``.
        layer: The layer.
        weight: Its variable.
        mask: The mask's.
        threshold: The threshold's.
        saliency: The saliency's; None where gradients are not observed.
        ours: Whether the wrapper leaves it to `update` to decide the mask.
    """

    name: str
    layer: str
    weight: Any
    mask: Any
    threshold: Any
    saliency: Any
    ours: bool


def _pruned(wrapped: Any) -> Iterator[_PrunedWeight]:
    for name, layer in _named_wrappers(wrapped):
        ours = hasattr(layer, "saliencies")
        saliencies = (ours and layer.saliencies) or [None] * len(layer.pruning_vars)
        for full, (weight, mask, threshold), saliency in zip(
            layer.pruned_names, layer.pruning_vars, saliencies, strict=True
        ):
            yield _PrunedWeight(full, name, weight, mask, threshold, saliency, ours)


def _named_wrappers(wrapped: Any) -> Iterator[tuple[str, Any]]:
    for name, layer in leaves(wrapped):
        if hasattr(layer, "pruned_names"):
            outer = name.removesuffix(layer.name)
            yield outer + layer.layer.name, layer


class _Read(Mapping[str, npt.NDArray[Any]]):
    """Values of variables by name, read one at a time: copies of all would double the memory of training."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self._variables = variables

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return _values(self._variables[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


def _kept(each: _PrunedWeight) -> npt.NDArray[np.bool_]:
    """The mask, not to be written to; that of tfmot's engine is made of numbers."""
    mask: npt.NDArray[np.bool_] = _values(each.mask).astype(bool, copy=False)
    return mask


def _values(variable: Any) -> npt.NDArray[Any]:
    """The values of a variable, not copied where they lie in memory already; not to be written to."""
    return np.asarray(memoryview(variable.value()))


def _variables(layer: Any, names: list[str]) -> list[Any]:
    found = named_weights(layer)
    return [found[name] for name in names]


def _clone(model: Any, copy: Callable[[str, Any], Any], prefix: str = "") -> Any:
    """Copy a model, its layers by ``copy(name, layer)``, also those of models in it."""

    def clone(layer: Any) -> Any:
        if opens(layer):
            return _clone(layer, copy, f"{prefix}{layer.name}/")
        return copy(f"{prefix}{layer.name}", layer)

    return backend.keras().models.clone_model(model, clone_function=clone)


def _once(copy: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """Copy each layer once: it may be used in several models of the model."""
    copies: dict[int, Any] = {}

    def copied_once(name: str, layer: Any) -> Any:
        if id(layer) not in copies:
            copies[id(layer)] = copy(name, layer)
        return copies[id(layer)]

    return copied_once


def _masked(plan: MaskPlan) -> Callable[[Any], Any]:
    from pruneflow.sparsity.wrappers import Masked

    observed = plan.criterion.uses_gradients
    return lambda layer: Masked(layer, observed=observed, dtype=layer.dtype_policy)


def _stock(plan: Plan) -> Callable[[Any], Any]:
    schedule = _planned_schedule(plan)
    wrap_layer = backend.tfmot().sparsity.keras.prune_low_magnitude

    def wrapped(layer: Any) -> Any:
        stock = wrap_layer(layer, pruning_schedule=schedule, dtype=layer.dtype_policy)
        return _masking_in_full_precision(stock)

    return wrapped


def _masking_in_full_precision(wrapper: Any) -> Any:
    """Give tfmot the variables themselves, not Keras' casting views of them.

    With mixed precision tfmot 0.8.1 multiplies weight and mask after both were cast to half precision, and
    assigns the product: at each step the weights would be rounded to half precision.
    """
    build = wrapper.build

    def build_uncast(input_shape: Any) -> None:
        build(input_shape)
        plain = [tuple(getattr(view, "_variable", view) for view in views) for views in wrapper.pruning_vars]
        wrapper.pruning_vars = wrapper.pruning_obj._pruning_vars = plain

    if wrapper.compute_dtype != wrapper.variable_dtype:
        wrapper.build = build_uncast
    return wrapper


def _planned_schedule(plan: Plan) -> Any:
    """Make tfmot follow ``plan``: a table of its updates, so that every schedule needs one formula only."""
    tf = backend.tensorflow()
    base = backend.tfmot().sparsity.keras.PruningSchedule

    class PlannedSparsity(base):  # type: ignore[misc, valid-type]
        """Sparsity by step, looked up."""

        def __init__(self, first_step: int, frequency: int, sparsities: list[float]) -> None:
            self.first_step, self.frequency, self.sparsities = first_step, frequency, sparsities

        def __call__(self, step: Any) -> tuple[Any, Any]:
            past = tf.cast(step, tf.int64) - self.first_step
            index = past // self.frequency
            count = len(self.sparsities)
            due = (past >= 0) & (index < count) & (past % self.frequency == 0)
            table = tf.constant(np.asarray(self.sparsities, np.float32))
            return due, tf.gather(table, tf.clip_by_value(index, 0, count - 1))

        def get_config(self) -> dict[str, Any]:
            return {
                "class_name": "PlannedSparsity",
                "config": {
                    "first_step": self.first_step,
                    "frequency": self.frequency,
                    "sparsities": self.sparsities,
                },
            }

    updates = plan.updates
    return PlannedSparsity(updates.start, plan.frequency, [plan.sparsity_of_update(s) for s in updates])
