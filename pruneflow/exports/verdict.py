"""The verdict on the speed of a file beside another: the ratio with its interval, and the kernels it has."""

import math
from dataclasses import dataclass

import numpy as np

from pruneflow.exports import tflite
from pruneflow.exports.latency import LEAST_ROUNDS, Timing
from pruneflow.exports.tflite import Graph

LEAST_DIFFERENCE = 0.03
UNDECIDED = 0.1  # how far from 1 an interval may reach that is called no difference
NOISY = 1.4  # 90th over 10th percentile of the ratios of single rounds
CONFIDENCE = 0.95
FEW_ZEROS = 0.01  # of all weights


@dataclass(frozen=True)
class Speedup:
    """The measured speedup of one file over another, timed in turn.

    Attributes:
        ratio: Time of the dense file over that of the pruned one, median over the rounds; above 1 the pruned
            one is faster.
        low: Lower end of the interval that covers this median with a probability of at least 95 %.
        high: Its upper end.
        spread: 90th over 10th percentile of the ratios.
    """

    ratio: float
    low: float
    high: float
    rounds: int
    spread: float


def speedup(dense: Timing, pruned: Timing) -> Speedup:
    """Compare two files of one measurement, round by round.

    The interval lies between two of the sorted ratios, and supposes nothing about how they are distributed.

    Raises:
        ValueError: if the rounds do not belong together, or are fewer than six.
    """
    pairs = zip(dense.round_medians_ms, pruned.round_medians_ms, strict=True)
    ratios = sorted(before / after for before, after in pairs)
    if len(ratios) < LEAST_ROUNDS:
        raise ValueError(f"{len(ratios)} rounds have no interval; there must be {LEAST_ROUNDS}")
    p10, ratio, p90 = (float(value) for value in np.percentile(ratios, [10, 50, 90]))
    left_out = _left_out(len(ratios))
    return Speedup(ratio, ratios[left_out], ratios[-1 - left_out], len(ratios), p90 / p10)


def _left_out(count: int) -> int:
    """Return the number of values on each side outside of an interval for the median.

    The number of values below the median has the binomial distribution of ``count`` fair coins.

    >>> _left_out(6), _left_out(9), _left_out(40)
    (0, 1, 13)
    """
    most = (1 - CONFIDENCE) / 2 * 2**count
    left_out, outside = 0, 1
    while outside + math.comb(count, left_out + 1) <= most:
        left_out += 1
        outside += math.comb(count, left_out)
    return left_out


@dataclass(frozen=True)
class KernelFacts:
    """The facts of a file that decide its speed.

    Attributes:
        kind: Such as ``"float"`` or ``"int8"``.
        sparsity: Share of zeros among all its weights, [0, 1].
        sparse_kernels: Operations that read a sparse tensor directly, such as ``("FULLY_CONNECTED",)``.
        densified: Weights that are made dense when the file is loaded.
        theoretical: Multiply-adds of the reference over those of this file with weights other than zero.
        reference_kind: Kind of the file that it is compared with.
        shrunk: Multiply-adds of the reference over those of this file, zeros included.
    """

    kind: str
    sparsity: float
    sparse_kernels: tuple[str, ...]
    densified: int
    theoretical: float
    reference_kind: str = "float"
    shrunk: float = 1.0

    @property
    def is_smaller(self) -> bool:
        """Return whether the network has fewer multiply-adds, zeros not looked at."""
        return self.shrunk - 1 >= LEAST_DIFFERENCE


def verdict(speedup: Speedup, facts: KernelFacts) -> str:
    """Say in one sentence whether the file is faster, and why.

    >>> facts = KernelFacts("float", 0.9, ("FULLY_CONNECTED",), 0, 9.8)
    >>> verdict(Speedup(1.6, 1.5, 1.7, 40, 1.1), facts)
    '1.60x faster (1.50 to 1.70): FULLY_CONNECTED runs on a sparse kernel; multiply-adds fell 9.8x.'
    """
    ratio, low, high = speedup.ratio, speedup.low, speedup.high
    noisy = speedup.spread >= NOISY
    if low > 1 and ratio - 1 >= LEAST_DIFFERENCE:
        said, why = f"{ratio:.2f}x faster ({low:.2f} to {high:.2f})", _why_faster(facts)
    elif high < 1 and 1 - ratio >= LEAST_DIFFERENCE:
        said, why = f"{1 / ratio:.2f}x slower ({1 / high:.2f} to {1 / low:.2f})", _why_slower(facts)
    else:
        decided = low > 1 - UNDECIDED and high < 1 + UNDECIDED
        said = "Not faster" if decided else "No difference can be told"
        said, why = f"{said} ({ratio:.2f}x, {low:.2f} to {high:.2f})", _why_not_faster(facts)
    if not noisy:
        return f"{said}: {why}."
    spread = (
        f"the ratio varies {speedup.spread:.1f}-fold between rounds, so measure longer on an idle machine"
    )
    return f"Noisy: {said[0].lower()}{said[1:]}: {why}; {spread}."


def shares(cut: Speedup, zeros: Speedup) -> str:
    """Say what each of two phases gave of a speedup.

    Args:
        cut: The dense file over that of the cut network.
        zeros: The file of the cut network over the one with zeros on top.

    >>> shares(Speedup(5.9, 5.7, 6.1, 40, 1.1), Speedup(1.02, 0.97, 1.06, 40, 1.1))
    'Measured apart, the cut gave 5.90x (5.70 to 6.10), the zeros 1.02x (0.97 to 1.06).'
    """
    one, other = (f"{each.ratio:.2f}x ({each.low:.2f} to {each.high:.2f})" for each in (cut, zeros))
    return f"Measured apart, the cut gave {one}, the zeros {other}."


def _why_faster(facts: KernelFacts) -> str:
    if facts.is_smaller:
        return _why_faster_if_smaller(facts)
    if facts.sparse_kernels:
        return f"{_on_sparse_kernel(facts)}; multiply-adds fell {facts.theoretical:.1f}x"
    if facts.kind != facts.reference_kind:
        return (
            f"{facts.kind} arithmetic instead of {facts.reference_kind}, not the zeros: {_no_kernel(facts)}"
        )
    return _unexplained(facts)


def _why_faster_if_smaller(facts: KernelFacts) -> str:
    """Give the cut its due, and beside it whatever else may save time."""
    if facts.sparse_kernels:
        return f"{_smaller(facts)}, {facts.theoretical:.1f}x with its zeros; {_on_sparse_kernel(facts)}"
    said = _smaller(facts)
    if facts.kind != facts.reference_kind:
        said += f". The arithmetic is {facts.kind} instead of {facts.reference_kind}, which counts too"
    return said if facts.sparsity < FEW_ZEROS else f"{said}. Its zeros save no time: {_no_kernel(facts)}"


def _why_slower(facts: KernelFacts) -> str:
    if facts.is_smaller and facts.kind == facts.reference_kind and not facts.sparse_kernels:
        return f"{_smaller(facts)}, but this machine is no faster at layers of such sizes"
    if facts.sparse_kernels:
        return f"{_on_sparse_kernel(facts)}, which costs more here than its zeros save"
    if facts.kind != facts.reference_kind:
        return (
            f"{facts.kind} arithmetic takes longer here than {facts.reference_kind}, and {_no_kernel(facts)}"
        )
    return _unexplained(facts)


def _unexplained(facts: KernelFacts) -> str:
    """Such as subnormal numbers, which some processors add slowly, or other programs at work."""
    return f"zeros do not explain it, but noise or arithmetic that depends on the data: {_no_kernel(facts)}"


def _smaller(facts: KernelFacts) -> str:
    return f"the network itself is smaller; multiply-adds fell {facts.shrunk:.1f}x"


def _why_not_faster(facts: KernelFacts) -> str:
    if facts.is_smaller:
        return f"{_smaller(facts)}, but take too little of the time to show"
    if facts.sparse_kernels:
        return f"{_on_sparse_kernel(facts)}, but has too few zeros, or too little of the time, to show"
    return _no_kernel(facts)


def _on_sparse_kernel(facts: KernelFacts) -> str:
    said = f"{' and '.join(facts.sparse_kernels)} runs on a sparse kernel"
    if facts.kind != facts.reference_kind:
        said += f" in {facts.kind} instead of {facts.reference_kind} arithmetic"
    if facts.densified:
        said += f" ({facts.densified:,} other weights are made dense when the file is loaded)"
    return said


def _no_kernel(facts: KernelFacts) -> str:
    """Return the reason why zeros save no time where no sparse kernel runs."""
    if facts.densified:
        return "sparse weights are made dense when the file is loaded (DENSIFY)"
    if facts.sparsity < FEW_ZEROS:
        return "there are hardly any zeros to skip"
    weights, how = "dense", "export.encoding=sparse"
    if facts.kind != "float":
        weights = facts.kind if facts.kind in ("float16", "int4") else "int8"
        how = "export=float export.encoding=sparse"
    return (
        f"LiteRT has no kernel here that skips zeros among {weights} weights; for blocks of 4 inputs "
        f"in fully connected layers, exported with {how}, it has one"
    )


def facts_of(content: bytes, name: str, *, dense_multiply_adds: int) -> KernelFacts:
    """Read off a file what decides its speed.

    Args:
        dense_multiply_adds: Multiply-adds of the file that it is compared with.
    """
    graph = tflite.parse(content, name)
    weights = sum(weight.size for weight in graph.weights)
    return KernelFacts(
        kind=kind_of(graph),
        sparsity=sum(weight.zeros for weight in graph.weights) / max(weights, 1),
        sparse_kernels=tuple(sorted(set(graph.sparse_kernel_ops))),
        densified=sum(weight.size for weight in graph.weights if weight.densified),
        theoretical=dense_multiply_adds / max(graph.nonzero_multiply_adds, 1),
        shrunk=dense_multiply_adds / max(graph.multiply_adds, 1),
    )


def kind_of(graph: Graph) -> str:
    """The kind of a file, such as ``"int8"``, by its weights and by what goes in and out."""
    dtypes = {weight.dtype for weight in graph.weights}
    if "int4" in dtypes:
        return "int4"
    if "int8" not in dtypes:
        return "float16" if "float16" in dtypes else "float"
    ends = {tensor.dtype for tensor in (*graph.inputs, *graph.outputs)}  # token ids stay int32
    whole = {"int8": "int8", "int16": "int16x8"}
    return next((kind for dtype, kind in whole.items() if dtype in ends), "dynamic-range")
