"""The proof that a network without some units says what it says under their masks."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.runtime import backend
from pruneflow.sparsity.channels.cut import CutError, cut, settle
from pruneflow.sparsity.channels.groups import Channels, Group, Kept
from pruneflow.sparsity.kernels import variables

EXAMPLES = 3
FREE = ((64, 6), (128, 64), (256, 1024))  # pixels and steps of an input that takes any number of them
MOST_ID = 50  # token ids that are drawn
TOLERANCE = 1e-5  # of the largest output, at least 1
OF_HALVES = 0.05  # where layers compute with numbers of 16 bits

Said = tuple[list[Any], list[npt.NDArray[Any]]]


def difference(model: Any, channels: Channels, kept: Kept, *, seed: int = 0) -> float:
    """Draw weights and examples at random, and compare the network under masks with the cut one.

    Args:
        model: The network; its weights are put back.
        kept: The units that stay, by id.
        seed: For what is drawn: weights, statistics of batch normalization, examples.

    Returns:
        Largest difference of two outputs, as a share of the largest output, at least 1.
    """
    rng, before = np.random.default_rng(seed), model.get_weights()
    try:
        model.set_weights([_drawn(variable, rng) for variable in model.weights])
        settle(model)
        small = cut(model, channels, kept)
        mask(model, channels, kept)
        return apart(model, small, rng)
    finally:
        model.set_weights(before)
        settle(model)


def draws(model: Any) -> float:
    """Return how far two answers to the same examples are apart: 0 where nothing is drawn at inference."""
    return apart(model, model, np.random.default_rng(0))


def apart(model: Any, other: Any, rng: np.random.Generator) -> float:
    """Return how far the outputs of two networks are apart on random examples, as `difference` does."""
    with backend.whole_float32():
        answers = (_answered(model, rng, free) for free in FREE)
        given, said = next(filter(None, answers), None) or _said(model, rng, FREE[-1])
        return max(_apart(*pair) for pair in zip(said, _outputs(other, given), strict=True))


def _answered(model: Any, rng: np.random.Generator, free: tuple[int, int]) -> Said | None:
    """Return random examples and outputs; None where layers want more pixels or steps."""
    given = list(_examples(model, rng, *free))
    try:
        return None if _is_emptied(model, given) else (given, _outputs(model, given))
    except Exception:  # of any kind
        return None


def _said(model: Any, rng: np.random.Generator, free: tuple[int, int]) -> Said:
    given = list(_examples(model, rng, *free))
    return given, _outputs(model, given)


def _is_emptied(model: Any, given: list[Any]) -> bool:
    """Return whether a layer leaves no step or pixel: a maximum over none is whatever memory holds."""
    if all(None not in tensor.shape[1:] for tensor in model.inputs):
        return False
    tf = backend.tensorflow()
    called = tf.function(lambda *each: model(tf.nest.pack_sequence_as(model.input, each), training=False))
    made = [out for op in called.get_concrete_function(*given).graph.get_operations() for out in op.outputs]
    return any(
        out.dtype.is_floating and len(out.shape) > 1 and 0 in out.shape for out in made if out.shape.rank
    )


def require_same(model: Any, small: Any) -> None:
    """Refuse a cut network that does not say what the one under masks says on random examples."""
    found = apart(model, small, np.random.default_rng(0))
    if not found <= tolerance(model):
        raise CutError(
            f"The network under masks and the one it was cut to differ by {found:.2g} on random examples. "
            "Leave layers whole with skip, and report it."
        )


def tolerance(model: Any) -> float:
    """Return how far rounding may bring the outputs of two forms of a network apart, as `apart` measures."""
    halves = any(str(layer.compute_dtype) != "float32" for layer in model._flatten_layers() if layer.weights)
    return OF_HALVES if halves else TOLERANCE


def mask(model: Any, channels: Channels, kept: Kept) -> None:
    """Set to zero what masks hold at zero where some units go."""
    for name, variable in variables(model).items():
        if name in channels.masked:
            variable.assign(variable.numpy() * channels.mask(name, kept))


def halved(channels: Channels, *, seed: int = 0, only: Group | None = None) -> Kept:
    """Return a random choice of units: half of each group goes, or of one group."""
    rng, kept = np.random.default_rng(seed), channels.all()
    for group in channels.groups:
        gone = rng.choice(group.units, group.size // 2, replace=False)
        if only is None or only is group:
            kept[gone] = False
    return kept


def guilty(model: Any, channels: Channels) -> dict[str, float]:
    """Return the groups that cannot be cut by themselves, and how far outputs are apart then."""
    found = {
        group.name: difference(model, channels, halved(channels, only=group)) for group in channels.groups
    }
    return {name: apart for name, apart in found.items() if not apart <= tolerance(model)}


def _drawn(variable: Any, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Draw a weight: a kernel so that numbers neither grow nor vanish, a variance above 0."""
    shape = tuple(int(size) for size in variable.shape)
    if "variance" in variable.name or "gamma" in variable.name:
        return rng.uniform(0.5, 1.5, shape)
    inputs = shape[:-2] if "depthwise" in variable.name else shape[:-1]
    scale = (2 / max(1, int(np.prod(inputs)))) ** 0.5 if len(shape) > 1 else 0.3
    return rng.normal(size=shape) * scale


def _examples(model: Any, rng: np.random.Generator, pixels: int, steps: int) -> Any:
    """Draw an example batch for each input: whole numbers where there is an embedding."""
    rows = [
        getattr(each, size)
        for each in model._flatten_layers()
        for size in ("input_dim", "num_tokens")  # of Embedding and CategoryEncoding
        if isinstance(getattr(each, size, None), int)
    ]
    for tensor in model.inputs:
        batch, *sizes = tensor.shape
        free = pixels if len(sizes) == 3 else steps
        shape = [batch or EXAMPLES, *(free if size is None else size for size in sizes)]
        whole = rows or not tensor.dtype.is_floating
        drawn = rng.integers(0, min([MOST_ID, *rows]), shape) if whole else rng.normal(size=shape)
        if tensor.dtype.is_bool:
            drawn = drawn % 2  # of a mask, which may be of any steps
        yield backend.tensorflow().cast(drawn, tensor.dtype)


def _outputs(model: Any, given: list[Any]) -> list[npt.NDArray[Any]]:
    tf = backend.tensorflow()
    model.reset_states()  # of stateful layers, so that both networks begin alike
    outputs = model(tf.nest.pack_sequence_as(model.input, given), training=False)
    model.reset_states()
    return [np.asarray(each, np.float64) for each in tf.nest.flatten(outputs)]


def _apart(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    """Return the largest difference; infinity where it is no number."""
    found = float(np.abs(one - other).max(initial=0.0)) / max(1.0, float(np.abs(one).max(initial=0.0)))
    return found if np.isfinite(found) else float("inf")
