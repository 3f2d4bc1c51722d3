"""The inside of an exported file: its operations, its weights, its zeros, proved against the masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from pruneflow.exports import tflite
from pruneflow.exports.zeros import TracedWeight, require_masked, trace


@dataclass(frozen=True)
class FilePort:
    """An input or output of a file.

    Attributes:
        shape: With the batch of 1.
        dtype: Such as ``"int8"``.
        scale: Its integers mean (integer - zero_point) * scale; None where it has none.
        zero_point: The integer that stands for 0.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None

    @classmethod
    def of(cls, tensor: tflite.Tensor) -> FilePort:
        """Read it off a tensor."""
        return cls(tensor.name, tensor.shape, tensor.dtype, tensor.scale, tensor.zero_point)


@dataclass(frozen=True)
class Inspection:
    """One TFLite file from inside.

    Attributes:
        ops: How often each operation is in the file.
        stateful: Whether it keeps a state between invocations, which must be reset before each sample.
        weights: Each pruned weight as it was found in the file.
        sparsity: Share of zeros among all weights of the file, biases not counted.
        sparse_kernels: Operations that read a sparse tensor directly.
        densified: Sparse tensors that are made dense when the file is loaded.
        multiply_adds: Of one invocation, zeros included.
        nonzero_multiply_adds: Of one invocation, those with weights other than zero.
        masked: Positions that masks hold at zero; each of them is zero in the file.
        added: Zeros that quantization added.
        not_found: Pruned weights that could not be found in the file.
        dtypes: How each weight of rank 2 or more is stored that was found, such as ``"int4"``.
        inputs: What it reads; empty in results of before.
        outputs: What it gives; empty in results of before.
    """

    ops: dict[str, int]
    stateful: bool
    weights: list[TracedWeight]
    sparsity: float
    sparse_kernels: list[str]
    densified: list[str]
    multiply_adds: int
    nonzero_multiply_adds: int
    masked: int
    added: int
    not_found: list[str]
    dtypes: dict[str, str] = field(default_factory=dict)
    inputs: list[FilePort] = field(default_factory=list)
    outputs: list[FilePort] = field(default_factory=list)


def inspect(
    content: bytes, name: str, weights: Mapping[str, npt.NDArray[Any]], masks: Mapping[str, npt.NDArray[Any]]
) -> Inspection:
    """Read a file back and compare its weights with the masks of the network that it was made of.

    Args:
        weights: The stripped network's, by ``layer/weight``, as Keras lays them out.
        masks: Those of the pruned ones among them; 1 = kept.

    Raises:
        PruneflowError: if a masked position is not zero in the file.
    """
    graph = tflite.parse(content, name)
    everything = trace(graph, weights, masks, pruned_only=False)
    traced = [weight for weight in everything if weight.name in masks]
    require_masked(traced, name)
    found = [weight for weight in traced if weight.tensors]
    size = sum(weight.size for weight in graph.weights)
    zeros = sum(weight.zeros for weight in graph.weights)
    return Inspection(
        ops=dict(graph.op_counts),
        stateful=graph.stateful,
        weights=traced,
        sparsity=zeros / size if size else 0.0,
        sparse_kernels=list(graph.sparse_kernel_ops),
        densified=list(graph.densified),
        multiply_adds=graph.multiply_adds,
        nonzero_multiply_adds=graph.nonzero_multiply_adds,
        masked=sum(weight.masked for weight in found),
        added=sum(weight.added for weight in found),
        not_found=[weight.name for weight in traced if not weight.tensors],
        dtypes={weight.name: weight.dtype for weight in everything if weight.tensors},
        inputs=[FilePort.of(tensor) for tensor in graph.inputs],
        outputs=[FilePort.of(tensor) for tensor in graph.outputs],
    )
