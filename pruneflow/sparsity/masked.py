"""The weights of a network under their masks: where it stands, without a copy or a wrapper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.runtime import backend, replicas
from pruneflow.sparsity.kernels import keras_of, kernels, leaves, plain
from pruneflow.sparsity.masks import MaskPlan
from pruneflow.sparsity.measure import Total, WeightSparsity, require_target


@dataclass(frozen=True)
class MaskedWeight:
    """A weight and the variables beside it.

    Attributes:
        name: ``layer/weight``.
        weight: The variable that is pruned.
        mask: Of its shape; 1 = kept. Boolean, one byte per element; tfmot's is of numbers.
        threshold: The lowest score that was kept at the last update; by default a magnitude.
        saliency: Sum of |gradient x weight| since then; None where the criterion does not use gradients.
    """

    layer: str
    name: str
    weight: Any
    mask: Any
    threshold: Any
    saliency: Any = None


class Masked:
    """A network and the masks of its weights.

    Attributes:
        model: The network, of Keras 2 or 3.
        plan: When masks change, and what of.
        step: Steps that have begun, counted from 1.
    """

    def __init__(self, model: Any, plan: MaskPlan, weights: tuple[MaskedWeight, ...]) -> None:
        self.model, self.plan, self.weights = model, plan, weights
        self.step = 0
        self._own_step: Any = None  # the training step of the model while it is under masks
        self._observed: tuple[Any, str] | None = None  # the optimizer that is observed, and by which method

    @property
    def keras(self) -> Any:
        """The Keras of the network: the module ``tf_keras``, or ``keras`` of Keras 3."""
        return keras_of(self.model)

    @property
    def state(self) -> list[npt.NDArray[Any]]:
        """The values of masks, thresholds and saliencies, in a fixed order; setting it restores them."""
        return [replicas.values_of(each) if self._is_own(each) else each.numpy() for each in self._beside()]

    @state.setter
    def state(self, values: list[npt.NDArray[Any]] | None) -> None:
        for variable, value in zip(self._beside(), values or [], strict=True):
            if self._is_own(variable):
                replicas.assign(variable, value)
            else:
                variable.assign(value)

    def _is_own(self, variable: Any) -> bool:
        """Return whether each replica has its own values of a variable: it has seen its own examples."""
        return any(variable is each.saliency for each in self.weights)

    def _beside(self) -> list[Any]:
        """Return the variables that the model does not know."""
        found = [[each.mask, each.threshold, each.saliency] for each in self.weights]
        return [variable for three in found for variable in three if variable is not None]

    def take(self, trained: Masked) -> None:
        """Take the masks over from the same network that was trained on replicas, and its steps."""
        self.step = trained.step
        for mine, other in zip(self.weights, trained.weights, strict=True):
            mine.mask.assign(other.mask.numpy())
            mine.threshold.assign(other.threshold.numpy())

    def attach(self) -> None:
        """Have each training step of ``fit`` and ``train_on_batch`` begin with `apply`.

        The step of an instance goes before that of its class in Keras 2 and 3; a ``train_step`` of the
        user's own is called as it is. Masks of an earlier call are taken off.
        """
        if self.is_attached:
            return
        if earlier := getattr(self.model.__dict__.get("train_step"), "masked", None):
            earlier.detach()
        self._own_step = self.model.train_step

        def train_step(*args: Any, **kwargs: Any) -> Any:
            self.apply()
            return self._own_step(*args, **kwargs)

        train_step.masked = self  # type: ignore[attr-defined]
        self.model.train_step = train_step
        self.model.train_function = None  # Keras may have traced the step without masks

    @property
    def is_attached(self) -> bool:
        """True while the training step of the model applies these masks."""
        return getattr(self.model.__dict__.get("train_step"), "masked", None) is self

    def detach(self) -> None:
        """Give the model and its optimizer their own methods back."""
        if self._observed:
            delattr(*self._observed)
            self._observed = None
        if not self.is_attached:
            return
        del self.model.train_step
        if getattr(self._own_step, "__func__", None) is not type(self.model).train_step:
            self.model.train_step = self._own_step  # the user had set one on the instance
        self.model.train_function = None

    def begin_step(self) -> None:
        """Count a step, and change the masks where it is one of the plan's updates."""
        self.step += 1
        if self.step in self.plan.plan.updates:
            self.update(self.step)

    def update(self, step: int) -> None:
        """Decide the masks of the update at ``step``, and begin to observe gradients anew."""
        values = _Read({each.name: each.weight for each in self.weights})
        saliencies = {each.name: each.saliency for each in self.weights if each.saliency is not None}
        observed = _Read(saliencies, of_replicas=True)
        decided = self.plan.update(step, values, observed or None)
        for name, found in decided.items():
            each = next(each for each in self.weights if each.name == name)
            each.mask.assign(found.kept)
            each.threshold.assign(found.threshold)
            if each.saliency is not None:
                each.saliency.assign(np.zeros(each.saliency.shape, np.float32))

    def apply(self) -> None:
        """Multiply every pruned weight by its mask, in each copy that a distribution strategy holds."""
        for each in self.weights:
            apply(each.weight, each.mask)

    def observe_gradients(self) -> None:
        """Add |gradient x weight| to the saliencies wherever the optimizer of the model applies gradients."""
        observed = {id(each.weight): each for each in self.weights if each.saliency is not None}
        optimizer = self.model.optimizer
        # With mixed precision Keras 3 takes the scale of the loss off between the two.
        optimizer = getattr(optimizer, "inner_optimizer", optimizer) if self._of_keras3 else optimizer
        name = "apply" if self._of_keras3 else "apply_gradients"
        change = getattr(optimizer, name)
        if not observed or (self._observed and self._observed[0] is optimizer):
            return

        def observe(pairs: Any) -> None:
            for gradient, variable in pairs:
                found = observed.get(id(plain(variable)))
                if found and gradient is not None:
                    _observe(found, gradient)

        def apply_gradients(pairs: Any, *args: Any, **kwargs: Any) -> Any:
            pairs = list(pairs)
            observe(pairs)
            return change(pairs, *args, **kwargs)

        def apply_to(grads: Any, trainable_variables: Any = None) -> Any:
            if trainable_variables is None:
                trainable_variables = self.model.trainable_variables
            observe(zip(grads, trainable_variables, strict=True))
            return change(grads, trainable_variables)

        self._observed = optimizer, name
        setattr(optimizer, name, apply_to if self._of_keras3 else apply_gradients)

    @property
    def _of_keras3(self) -> bool:
        return self.keras is not backend.keras()

    def strip(self) -> Any:
        """Take the masks off.

        Returns:
            The network, masks applied, with its own training step. Its zeros have no sign: a negative weight
            times 0 is -0.0, and a random sign in each zero is a bit that compression cannot take out.
        """
        self.detach()
        self.apply()
        for each in self.weights:
            each.weight.assign(each.weight + np.zeros((), each.weight.dtype.as_numpy_dtype))
        return self.model

    def require_target(self, *, slack: bool = False) -> list[WeightSparsity]:
        """Count the zeros that training left.

        Raises:
            SparsityNotReachedError: if they miss what the plan asks for.
        """
        end = self.plan.plan.total_steps
        found = self.measure(end)
        total = Total(self.plan.total_expected_zeros(end), self.plan.total_tolerance(end))
        require_target(found, total, slack=slack)
        return found

    def measure(self, step: int) -> list[WeightSparsity]:
        """Count the zeros of every pruned weight, mask applied, without changing the network."""
        requested = self.plan.sparsities_after(step)
        return [self._measured(each, step, requested[each.name]) for each in self.weights]

    def described(self) -> dict[str, Any] | None:
        """Return what masks remove of the network, as `MaskPlan.described`; None where zeros say it."""
        return self.plan.described(self.masks()) if self.plan.structure.cuts else None

    def _measured(self, each: MaskedWeight, step: int, requested: float | None) -> WeightSparsity:
        kept, values = _kept(each), _values(each.weight)
        left = values != 0
        zeros = kept.size - int(np.count_nonzero(np.logical_and(left, kept, out=left)))
        return WeightSparsity(
            name=each.layer,
            weight=each.name.removeprefix(f"{each.layer}/"),
            shape=tuple(values.shape),
            requested_sparsity=requested,
            measured_sparsity=zeros / kept.size,
            zeros=zeros,
            masked=kept.size - int(np.count_nonzero(kept)),
            expected=self.plan.expected_zeros(each.name, step),
            tolerance=self.plan.tolerance(each.name),
        )

    def masks(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Mask of every pruned weight, by ``layer/weight``: boolean arrays of its shape, true = kept."""
        return {each.name: _kept(each).copy() for each in self.weights}

    def kept(self) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """Name, ``layer/weight``, and values of each pruned weight, (n,), what is masked left out."""
        for each in self.weights:
            yield each.name, _values(each.weight)[_kept(each)]

    def thresholds(self) -> dict[str, float]:
        """Lowest score that was kept at the last update, by ``layer/weight``; by default a magnitude."""
        return {each.name: float(each.threshold.numpy()) for each in self.weights}


def mask_in_place(model: Any, plan: MaskPlan) -> Masked:
    """Put the weights of ``model`` under the masks of ``plan``; all are kept until its first update.

    Args:
        model: A built model of Keras 2 or 3. It stays the same object, with the same layers and variables;
            its training step alone is replaced until `Masked.strip`.
        plan: The weights, and when their masks change.
    """
    found = {
        f"{name}/{kernel.name}": (name, kernel.variable)
        for name, layer in leaves(model)
        for kernel in kernels(layer)
    }
    observed = plan.criterion.uses_gradients
    weights = tuple(_with_mask(p.name, *found[p.name], observed=observed) for p in plan.prunables)
    masked = Masked(model, plan, weights)
    masked.attach()
    return masked


def _with_mask(name: str, layer: str, weight: Any, *, observed: bool) -> MaskedWeight:
    """Make the variables beside a weight, on all replicas of it alike."""
    tf = backend.tensorflow()
    strategy = getattr(weight, "distribute_strategy", None)
    how = {"trainable": False, "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}
    with strategy.scope() if strategy else nullcontext():
        mask = tf.Variable(tf.ones(weight.shape, tf.bool), name=f"{name}/mask", **how)
        threshold = tf.Variable(tf.zeros([], weight.dtype), name=f"{name}/threshold", **how)
        zeros = tf.zeros(weight.shape, tf.float32) if observed else None
        saliency = tf.Variable(zeros, name=f"{name}/saliency", trainable=False) if observed else None
    return MaskedWeight(layer, name, weight, mask, threshold, saliency)


def apply(weight: Any, kept: Any) -> None:
    """Multiply a variable by its mask, boolean or of numbers."""
    from pruneflow.runtime import fused

    if kept.dtype == backend.tensorflow().bool and fused.suits(weight):
        fused.mask(weight, kept)
    else:
        weight.assign(weight * backend.tensorflow().cast(kept, weight.dtype))


def _observe(each: MaskedWeight, gradient: Any) -> None:
    tf = backend.tensorflow()
    product = tf.abs(tf.convert_to_tensor(gradient) * each.weight)
    # with mixed precision a step of too large a loss scale is skipped, and so it is here
    finite = tf.where(tf.math.is_finite(product), product, tf.zeros_like(product))
    each.saliency.assign_add(tf.cast(finite, each.saliency.dtype))


class _Read(Mapping[str, npt.NDArray[Any]]):
    """Values of variables by name, read one at a time: copies of all would double the memory of training."""

    def __init__(self, variables: Mapping[str, Any], *, of_replicas: bool = False) -> None:
        self._variables, self._of_replicas = variables, of_replicas

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        variable = self._variables[name]
        if self._of_replicas and hasattr(variable, "distribute_strategy"):  # each has seen its own examples
            copies = variable.distribute_strategy.experimental_local_results(variable)
            return replicas.summed([_values(each) for each in copies])
        return _values(variable)

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


def _kept(each: MaskedWeight) -> npt.NDArray[np.bool_]:
    """The mask, not to be written to; that of tfmot's engine is made of numbers."""
    mask: npt.NDArray[np.bool_] = _values(each.mask).astype(bool, copy=False)
    return mask


def _values(variable: Any) -> npt.NDArray[Any]:
    """The values of a variable, not copied where they lie in memory already; not to be written to."""
    if variable.dtype == backend.tensorflow().bfloat16:  # which NumPy does not have
        return np.asarray(backend.tensorflow().cast(variable, "float32"))
    return np.asarray(memoryview(variable.value()))
