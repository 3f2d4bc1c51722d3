"""Compare a TFLite file with its Keras model on examples, and judge the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pruneflow.errors import PruneflowError
from pruneflow.exports.runner import FloatArray
from pruneflow.exports.signatures import Array, Arrays, Port

# Largest difference of a float file, relative to the largest output, or to SMALL where that is less.
ROUNDING, SMALL = 1e-3, 0.1
# A quantized answer is wrong where it is off by more than FAR of the output's range, or where another unit
# leads, though the right one leads by more than LEADS of the range in Keras: less is within two of 256 steps
# and the rounding of layers before.
FAR, LEADS = 0.1, 0.02
LEAST = 1e-6  # range of an output: deep networks that were not trained give less, which int8 cannot hold
TOLERANCE = 0.05  # share of wrong answers that is allowed where nothing else is said
PROBABILITIES = ("Softmax", "Sigmoid")
STEPS = 255  # of an int8 input
FEW = 4  # steps within which a feature lies that int8 loses


class Exported(bytes):
    """The bytes of a ``.tflite`` file, with what was measured of it.

    Attributes:
        max_difference: Largest difference between an output of the file and of Keras, absolute.
        agreement: Share of answers that name the same unit as Keras, or the same side of the middle for one
            sigmoid unit, [0, 1]; of several outputs the lowest. None where there is nothing to decide.
    """

    max_difference: float
    agreement: float | None

    def __new__(cls, content: bytes, *, max_difference: float, agreement: float | None) -> Exported:
        """Keep what was measured beside the bytes."""
        made = super().__new__(cls, content)
        made.max_difference, made.agreement = max_difference, agreement
        return made

    def __getnewargs_ex__(self) -> tuple[tuple[bytes], dict[str, Any]]:
        """Let it be copied and pickled."""
        return (bytes(self),), {"max_difference": self.max_difference, "agreement": self.agreement}


@dataclass(frozen=True)
class Comparison:
    """One output of a file beside that of Keras; an answer is one example, or one position of it.

    Attributes:
        max_difference: Largest difference, absolute.
        largest: Largest absolute number that Keras gives.
        agreement: Share of answers with the same decision; None where there is nothing to decide.
        wrong: Share of answers that are wrong beyond what quantization makes.
    """

    name: str
    max_difference: float
    largest: float
    agreement: float | None
    wrong: float


def compared(name: str, keras: Array, file: FloatArray, ending: str) -> Comparison:
    """Compare an output with that of Keras.

    Args:
        keras: (n, ..., units), or (n,).
        file: The same of the file.
        ending: Operation that the output ends with, such as ``"Softmax"``.

    >>> keras, file = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.8, 0.2], [0.7, 0.3]])
    >>> found = compared("scores", keras, file, "Softmax")
    >>> round(found.max_difference, 3), found.agreement, found.wrong
    (0.5, 0.5, 0.5)
    """
    a, b = (_answers(values) for values in (keras, file))
    if a.shape != b.shape:
        return Comparison(name, np.inf, np.inf, None, 1.0)
    with np.errstate(invalid="ignore"):
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    apart = np.where(np.isnan(apart), np.inf, apart)
    real = a[np.isfinite(a)]
    span = max(LEAST, real.max(initial=0.0) - real.min(initial=0.0))
    span = 1.0 if ending in PROBABILITIES else span
    wrong = np.sqrt(np.square(apart).mean(axis=1)) > FAR * span
    decided = _decided(a, b, ending)
    if decided is not None:
        other, lead = decided
        wrong |= other & (lead > LEADS * span)
    agreement = None if decided is None else float(1 - decided[0].mean())
    largest = float(np.abs(real).max(initial=0.0))
    return Comparison(name, float(apart.max(initial=0.0)), largest, agreement, float(wrong.mean()))


def _answers(values: Array) -> FloatArray:
    """One answer a row: the last axis holds the units."""
    return values.astype(np.float64).reshape(-1, values.shape[-1] if values.ndim > 1 else 1)


def _decided(a: FloatArray, b: FloatArray, ending: str) -> tuple[Array, FloatArray] | None:
    """Return the answers that name another unit, and the lead of the right one there in Keras."""
    if a.shape[1] == 1:
        if ending != "Sigmoid":
            return None
        return (a[:, 0] > 0.5) != (b[:, 0] > 0.5), 2 * np.abs(a[:, 0] - 0.5)
    rows, right, named = np.arange(len(a)), a.argmax(axis=1), b.argmax(axis=1)
    return right != named, a[rows, right] - a[rows, named]


def require_faithful(
    kind: str, found: Sequence[Comparison], tolerance: float, causes: Sequence[str], *, drawn: bool
) -> None:
    """Refuse a float file that differs beyond rounding, and a quantized one that lost too much.

    Args:
        kind: Of the file, such as ``"int8"``.
        tolerance: Share of answers that a quantized file may get wrong.
        causes: What is known to lose information, sentences that say what to do.
        drawn: Whether the examples were drawn at random.
    """
    for each in found:
        allowed = ROUNDING * max(SMALL, each.largest)
        if kind == "float" and not each.max_difference <= allowed:
            raise PruneflowError(
                f"kind=float: output {each.name} of the file differs from Keras by up to "
                f"{each.max_difference:.3g}; rounding may make {allowed:.3g}. "
                "Replace layers that draw random numbers, or remember what they saw."
            )
        if kind != "float" and each.wrong > tolerance:
            agree = "" if each.agreement is None else f", with {each.agreement:.1%} of equal decisions"
            where = "drawn inputs" if drawn else "the examples"
            raise PruneflowError(
                f"kind={kind}: output {each.name} of the file is wrong for {each.wrong:.1%} of {where}, by up"
                f" to {each.max_difference:.3g}{agree}; tolerance={tolerance:g} allows {tolerance:.1%}. "
                f"{' '.join(causes) or _otherwise(kind, drawn=drawn)}"
            )


def _otherwise(kind: str, *, drawn: bool) -> str:
    more = "Give examples. Otherwise take" if drawn else "Take"
    finer = kind in ("int8", "int16x8", "int4")
    kinds = '"dynamic-range" or "float"' if finer else '"float"'
    return f"{more} kind={kinds}, or allow more."


def causes_of_loss(inputs: Sequence[Port], examples: Arrays) -> list[str]:
    """Name what is known to lose information when float inputs become int8, and what to do.

    Args:
        examples: (n, *shape) by the names of inputs.
    """
    found = []
    for port in inputs:
        values = examples[port.name]
        if port.dtype != "float32":
            continue
        if port.vocabulary:
            found.append(
                f"Input {port.name} holds token ids as float32, and int8 has {STEPS + 1} steps for them: "
                'declare it as whole numbers, such as keras.Input(shape, dtype="int32").'
            )
        elif lost := _finer_than_a_step(values):
            found.append(
                f"Input {port.name} has features of very different scale: the spread of {_listed(lost)} is "
                f"below four of the {STEPS + 1} steps of int8, {_step(values):.3g} each. Scale the features "
                'before the network, and leave Normalization out of it, or take kind="dynamic-range".'
            )
    return found


def _step(values: Array) -> float:
    return float(max(0.0, values.max()) - min(0.0, values.min())) / STEPS


def _finer_than_a_step(values: Array) -> list[int]:
    """Features of the last axis that vary, by a standard deviation of less than `FEW` steps."""
    spread = _answers(values).std(axis=0)
    return [int(each) for each in np.flatnonzero((spread > 0) & (spread < FEW * _step(values)))]


def _listed(features: Sequence[int]) -> str:
    shown = ", ".join(map(str, features[:5])) + (" and others" if len(features) > 5 else "")
    return f"feature {shown}" if len(features) == 1 else f"features {shown}"
