"""Compare the forms of one network: under masks, stripped, and as a float file."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pruneflow.errors import PruneflowError
from pruneflow.models.tasks import Task
from pruneflow.training.scoring import FloatArray


class DisagreementError(PruneflowError):
    """Two forms of one network differ by more than rounding."""


@dataclass(frozen=True)
class Rounding:
    """The largest differences that rounding explains.

    Attributes:
        cause: The arithmetic that rounds.
        difference: In probability, or in a predicted number as a share of its standard deviation.
        share: Examples that may differ by more, [0, 1].
    """

    cause: str
    difference: float
    share: float


# Measured with two MLPs, CNN, MobileNet, LSTM and GRU on 2,000 test examples each, the largest difference in
# probability: float32 5e-6, mixed_float16 0.010, mixed_bfloat16 0.081.
FLOAT32 = Rounding("float32", 0.01, 0.001)
OF_CUT = Rounding("float32", 1e-4, 0.0)  # measured: 5e-7, since only sums are taken in another order
OF_CUT_ON_GPU = Rounding("float32 on a GPU, which takes sums in other orders", 1e-3, 0.0)  # not measured
OF_10_BITS = Rounding("mixed_float16 or a GPU", 0.05, 0.01)  # a GPU multiplies float32 as TF32
OF_7_BITS = Rounding("mixed_bfloat16", 0.2, 0.02)

TINY = 1e-30  # in place of 0 where all numbers are 0
REMEDY = "Look for layers of your own that lose weights or draw random numbers; report it if there are none."
LEAST_SPREAD = 0.1  # of the largest number that is predicted: what is nearly constant is measured by that


def rounding_of(device: dict[str, Any]) -> Rounding:
    """Return the rounding of the device where Keras runs."""
    if device["precision"] == "mixed_bfloat16":
        return OF_7_BITS
    ten_bits = device["precision"] == "mixed_float16" or device["kind"] == "gpu"
    return OF_10_BITS if ten_bits else FLOAT32


def rounding_of_cut(device: dict[str, Any]) -> Rounding:
    """Return the rounding between a network under masks and the one that was cut, in float32 without TF32."""
    return OF_CUT_ON_GPU if device["kind"] == "gpu" else OF_CUT


def require_agreement(
    what: str, outcomes: tuple[FloatArray, FloatArray], task: Task, allowed: Rounding
) -> None:
    """Refuse a network whose two forms differ on the same examples.

    Args:
        what: The two forms, such as ``"the network under masks and the stripped one"``.
        outcomes: What each says, as `Task.outcome` gives it.
        allowed: What rounding may make.

    Raises:
        DisagreementError: if more examples differ by more than that.
    """
    a, b = outcomes
    apart = np.abs(a - b)
    if task.headline != "accuracy":
        apart = apart / np.maximum(a.std(axis=0), LEAST_SPREAD * np.abs(a).max(axis=0) + TINY)
    other = ~(apart.max(axis=1) <= allowed.difference)
    if other.mean() > allowed.share:
        unit = "in probability" if task.headline == "accuracy" else "of a standard deviation"
        raise DisagreementError(
            f"{what} differ by more than rounding: on {int(other.sum())} of {len(other)} examples by "
            f"more than {allowed.difference:g} {unit}, at most by {apart.max():.3g}, with other predictions "
            f"on {int(task.differ(a, b).sum())}. {allowed.cause} allows {allowed.share:.1%}. {REMEDY}"
        )
