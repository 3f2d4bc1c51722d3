"""Pruning without training: layer by layer, what is kept is fitted to the outputs of the dense network."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain, islice, zip_longest
from typing import Any

import numpy as np

from pruneflow.runtime.signals import let_through
from pruneflow.runtime.terminal import bar
from pruneflow.sparsity.layer_inputs import Multiplied, calls_of, eagerly, multiplied, watched
from pruneflow.sparsity.least_squares import Moments, reconstructed
from pruneflow.sparsity.masked import Masked, MaskedWeight
from pruneflow.sparsity.masks import Arrays, Prunable

MOST_INPUTS = 4096  # of a matrix; four of inputs x inputs in float64 are half a gigabyte
NO_ROWS = np.zeros((0, 0), np.float32)


def notes(model: Any, prunables: Iterable[Prunable]) -> list[str]:
    """Return a sentence on the weights that are masked by magnitude and fitted to nothing; none if all are.

    Args:
        model: A built model of Keras 2 or 3.
    """
    known, left = multiplied(model), list(prunables)
    wide = [each.name for each in left if each.name in known and _is_wide(each)]
    other = [each.name for each in left if each.name not in known]
    return _said({f"more than {MOST_INPUTS:,} inputs": wide, "no rule for its kind of layer": other})


def _said(reasons: dict[str, list[str]]) -> list[str]:
    return [
        f"pruning.reconstruct masks {', '.join(names)} by magnitude alone: {reason}."
        for reason, names in reasons.items()
        if names
    ]


def reconstruct(masked: Masked, batches: Iterable[Any]) -> list[str]:
    """Make the one update of the plan, and fit each weight that is kept on examples, in the order of calls.

    The inputs of a layer are those of the network whose earlier layers are pruned, its targets those of the
    dense network. The error of the outputs before an activation is the least squares of SparseGPT, Frantar
    and Alistarh 2023, arXiv 2301.00774.

    Args:
        masked: The network under masks of a plan with one update, of which no step was made.
        batches: Examples as the model is called with them; they are read again and again.

    Returns:
        A sentence on the weights that the examples could not fit, and that magnitude alone has masked.
    """
    known, dense = multiplied(masked.model), {each.name: each.weight.numpy() for each in masked.weights}
    masked.begin_step()
    plain = masked.masks()
    sparsities = masked.plan.sparsities(masked.step)
    prunables = {each.name: each for each in masked.plan.prunables}
    fitted = [each for each in prunables.values() if each.name in known and not _is_wide(each)]
    fitted = [each for each in fitted if sparsities[each.name]]
    names = _in_order(masked.model, [known[each.name] for each in fitted], batches)
    now = {name: dense[name] if name in names else dense[name] * plain[name] for name in dense}
    unlike = []
    with bar("Reconstructing", total=len(names)) as advance:
        for name in names:
            moments = _moments(masked, known[name], batches, (now, dense))
            if moments:
                now[name], kept = _fitted(masked, prunables[name], moments, (dense[name], plain[name]))
                _weight(masked, name).mask.assign(kept)
            else:
                now[name] = dense[name] * plain[name]
                unlike.append(name)
            advance(1)
    _assign(masked, now)
    masked.apply()
    missed = [each.name for each in fitted if each.name not in names]
    return _said({"no call of its layer was seen": missed, "pruned layers before it change the mask": unlike})


def _fitted(masked: Masked, prunable: Prunable, moments: Moments, dense: tuple[Any, Any]) -> tuple[Any, Any]:
    """Values and mask of one weight, from its dense values and the mask that they have by magnitude."""
    structure, layout = masked.plan.structure, prunable.layout
    sparsity = masked.plan.sparsities(masked.step)[prunable.name]
    assert sparsity is not None, "weights that are ranked together are refused"
    values, plain = (layout.matrix(each) for each in dense)
    found, kept = reconstructed(
        values.astype(np.float64),
        moments,
        lambda scores, share: structure.select(scores, share)[0],
        sparsity,
        plain,
    )
    rounded = found.astype(values.dtype)
    return layout.restore(rounded, prunable.shape), layout.restore(kept, prunable.shape)


def _moments(
    masked: Masked, each: Multiplied, batches: Iterable[Any], networks: tuple[Arrays, Arrays]
) -> Moments | None:
    """Sums over all examples; each batch runs through both networks: the pruned and the dense one.

    None where they give other rows, as behind a ``Masking`` layer that reads the outputs of a pruned one.
    """
    found = Moments.none(_inputs(masked, each.name))
    for x in batches:
        let_through()
        taken = []
        for values in networks:
            _assign(masked, values)
            with eagerly():
                taken.append(chain.from_iterable(calls_of(each, masked.model, x)))
        for pruned, dense in zip_longest(*taken, fillvalue=NO_ROWS):
            if pruned.shape != dense.shape:
                return None
            found.add(pruned, dense)
    return found


def _in_order(model: Any, known: Sequence[Multiplied], batches: Iterable[Any]) -> list[str]:
    """Names in the order in which layers are called; what is never called is left out."""
    called: list[str] = []
    with ExitStack() as watching:
        for each in known:
            watching.enter_context(watched(each, partial(_note_down, called, each.name)))
        watching.enter_context(eagerly())
        for x in islice(iter(batches), 1):
            model(x, training=False)
    return list(dict.fromkeys(called))


def _note_down(called: list[str], name: str, rows: Any) -> None:
    called.append(name)


def _assign(masked: Masked, values: Arrays) -> None:
    for each in masked.weights:
        each.weight.assign(values[each.name])


def _weight(masked: Masked, name: str) -> MaskedWeight:
    return next(each for each in masked.weights if each.name == name)


def _inputs(masked: Masked, name: str) -> int:
    return next(each.matrix_shape[0] for each in masked.plan.prunables if each.name == name)


def _is_wide(each: Prunable) -> bool:
    return each.matrix_shape[0] > MOST_INPUTS
