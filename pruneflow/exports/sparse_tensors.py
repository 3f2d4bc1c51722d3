"""Numbers of a tensor as TFLite stores them: packed, quantized, zeros left out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

WHOLE_BYTES = {
    "float16": "<f2",
    "float32": "<f4",
    "float64": "<f8",
    "int8": "<i1",
    "uint8": "<u1",
    "int16": "<i2",
    "uint16": "<u2",
    "int32": "<i4",
    "uint32": "<u4",
    "int64": "<i8",
    "uint64": "<u8",
}
PACKED_BITS = {"int2": 2, "int4": 4, "uint4": 4}  # several in a byte, the first in its lowest bits
DTYPES = (*WHOLE_BYTES, *PACKED_BITS, "bfloat16")


@dataclass(frozen=True)
class Level:
    """One dimension of a sparse tensor.

    Attributes:
        size: Positions of a dense dimension; None for a compressed one.
        segments: (parents + 1,) where the positions of each parent begin in ``indices``.
        indices: Coordinates that are stored.
    """

    size: int | None
    segments: Array
    indices: Array


@dataclass(frozen=True)
class SparseLayout:
    """The positions of the stored values of a sparse tensor.

    TFLite's format (``SparsityParameters`` in schema.fbs) is that of TACO (Kjolstad et al. 2017, "The Tensor
    Algebra Compiler"): a tree with one level for each dimension. A dense level has all its coordinates below
    each parent; a compressed one (CSR) lists those that are there. The values lie at the leaves, in order. A
    tensor of n dimensions cut into blocks has n levels for the blocks, then one for each dimension inside.

    Where a block does not divide a dimension, the converter of TensorFlow 2.21 cuts off the rest, which then
    is zero: of 38 inputs in blocks of 4 the last 2 are lost.

    Attributes:
        order: The dimension of each level; from n on, dimensions within a block.
        block_map: The dimension 0 .. n - 1 that each dimension within a block divides.
        levels: The tree, from its root.
    """

    order: tuple[int, ...]
    block_map: tuple[int, ...]
    levels: tuple[Level, ...]

    @property
    def block(self) -> tuple[int, ...]:
        """Sizes of a block, as stored; ``()`` for none."""
        rank = len(self.order) - len(self.block_map)
        sizes = {dimension: level.size or 0 for dimension, level in zip(self.order, self.levels, strict=True)}
        return tuple(sizes[rank + index] for index in range(len(self.block_map)))

    @property
    def index_bytes(self) -> int:
        """Bytes of all segments and indices."""
        return sum(level.segments.nbytes + level.indices.nbytes for level in self.levels)


def unpack(content: npt.NDArray[np.uint8], dtype: str, count: int) -> Array:
    """Read numbers from the bytes of a buffer.

    Args:
        content: Little-endian, as in a ``.tflite`` file.
        dtype: TFLite's name, such as ``"int4"``.
        count: Numbers there are.

    Returns:
        (count,), of the smallest dtype of NumPy that holds them.

    Raises:
        ValueError: if there are more or fewer bytes.

    >>> unpack(np.array([0x2F, 0x08], np.uint8), "int4", 3)
    array([-1,  2, -8], dtype=int8)
    """
    bits = PACKED_BITS.get(dtype) or 8 * np.dtype(WHOLE_BYTES.get(dtype, "<u2")).itemsize
    if content.size != -(-count * bits // 8):
        raise ValueError(f"{content.size} bytes are not {count} numbers of {dtype}")
    if dtype == "bfloat16":  # the upper half of a float32
        return (content.view("<u2").astype("<u4") << 16).view("<f4")
    if dtype in WHOLE_BYTES:
        return content.view(WHOLE_BYTES[dtype])
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    numbers = ((content[:, np.newaxis] >> shifts) & (2**bits - 1)).ravel()[:count]
    sign = 0 if dtype.startswith("u") else 2 ** (bits - 1)
    signed: Array = (numbers ^ sign).astype(np.int8) - np.int8(sign)
    return signed if sign else numbers


def dequantize(stored: Array, scale: Array, zero_point: Array, axis: int) -> npt.NDArray[np.float32]:
    """Turn stored numbers into what they stand for: ``scale * (stored - zero_point)``.

    Args:
        stored: Integers, or floats, which stand for themselves.
        scale: (1,), or one for each position along ``axis``; empty where nothing was quantized.
        zero_point: As many, or one, or none for 0.
        axis: Dimension that has scales of its own.

    Raises:
        ValueError: if the scales do not fit the shape.
    """
    if not scale.size or stored.dtype.kind == "f":
        return stored.astype(np.float32, copy=False)
    if not zero_point.size:
        zero_point = np.zeros(1, np.int64)
    for each in (scale, zero_point):
        if each.size != 1 and (not 0 <= axis < stored.ndim or each.size != stored.shape[axis]):
            raise ValueError(f"{each.size} scales for a tensor of shape {stored.shape}")
    across = tuple(-1 if dimension == axis else 1 for dimension in range(stored.ndim))
    scale, zero_point = (each if each.size == 1 else each.reshape(across) for each in (scale, zero_point))
    shifted = stored if not zero_point.any() else stored.astype(np.int64) - zero_point
    return (shifted.astype(np.float32) * scale.astype(np.float32)).reshape(stored.shape)


def positions(shape: Sequence[int], layout: SparseLayout, most: int) -> npt.NDArray[np.int64]:
    """Place of each stored value in the flat dense tensor.

    Args:
        most: Values to allow; a damaged file asks for any number.

    Raises:
        ValueError: if the tree does not fit the shape.
    """
    strides, sizes = _strides_and_sizes(shape, layout)
    places = np.zeros(1, np.int64)
    for dimension, level in zip(layout.order, layout.levels, strict=True):
        if level.size is None:
            places = _compressed(places, level, strides[dimension], sizes[dimension])
        else:
            if level.size != sizes[dimension] or len(places) * level.size > most:
                raise ValueError(f"a sparse dimension of {level.size} where {sizes[dimension]} is due")
            places = (places[:, np.newaxis] + strides[dimension] * np.arange(level.size)).ravel()
    return places


def scatter(values: Array, places: npt.NDArray[np.int64], shape: Sequence[int]) -> Array:
    """Build the dense tensor: ``values`` at ``places``, 0 elsewhere.

    >>> scatter(np.array([5, 7]), np.array([1, 2]), (2, 2))
    array([[0, 5],
           [7, 0]])
    """
    dense = np.zeros(math.prod(shape), values.dtype)
    dense[places] = values
    return dense.reshape(shape)


def _strides_and_sizes(shape: Sequence[int], layout: SparseLayout) -> tuple[list[int], list[int]]:
    """For each dimension, then each within a block: elements from one position to the next, and positions."""
    rank, block = len(shape), layout.block
    if sorted(layout.order[:rank]) != list(range(rank)) or sorted(layout.order) != list(
        range(rank + len(block))
    ):
        raise ValueError(f"traversal order {layout.order} of a tensor of rank {rank}")
    strides = [math.prod(shape[dimension + 1 :]) for dimension in range(rank)]
    sizes = list(shape)
    for dimension, size in zip(layout.block_map, block, strict=True):
        if not 0 <= dimension < rank or size < 1:
            raise ValueError(f"blocks {block} in a tensor of shape {tuple(shape)}")
        strides.append(strides[dimension])
        strides[dimension] *= size
        sizes[dimension] //= size
    return strides, [*sizes, *block]


def _compressed(places: npt.NDArray[np.int64], level: Level, stride: int, size: int) -> npt.NDArray[np.int64]:
    segments, indices = level.segments.astype(np.int64), level.indices.astype(np.int64)
    counts = np.diff(segments)
    if len(counts) != len(places) or (segments[0], segments[-1]) != (0, len(indices)):
        raise ValueError("segments of a sparse dimension do not fit its indices")
    if ((indices < 0) | (indices >= size)).any():
        raise ValueError("an index of a sparse dimension lies outside the tensor")
    return np.repeat(places, counts) + stride * indices
