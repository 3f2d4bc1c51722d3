"""The formats that the operation DECODE of TFLite Micro reads: weights in fewer bytes.

Each weight lies in two tensors of bytes. The first has the positions. The second, which TFLite Micro calls
ancillary, has a header of 16 bytes and then the values. A weight of int8 is stored in one of two ways:

- pruned: one bit for each element, 1 = not zero; then the elements that are not zero, in order,
- by look-up table: the number of each element in a table of values, in 1 to 7 bits; then the tables, one for
  each scale of the weight.

Bits begin with the highest of a byte. The formats are those of tflite-micro 0.dev20261023182759
(``decode_state_prune.cc``, ``decode_state_lut.cc``), whose own writer for pruned weights is a stub.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

OPERATION = "TFLM_DECODE"  # its name in a file: a custom operation

LOOK_UP, PRUNED = 0, 2  # byte 0 of the header
VERSION = 1  # byte 1, of the header, and byte 4, of what follows in it
HEADER_BYTES = 16
ONE_TABLE = 15  # in place of the axis that has scales of its own
MOST_BITS = 7  # of an index
MOST_VALUES = 128  # of a table

Bytes = npt.NDArray[np.uint8]
Int8 = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Stored:
    """A weight as DECODE reads it.

    Attributes:
        positions: Of the first tensor.
        values: Of the second tensor, header included.
    """

    positions: bytes
    values: bytes

    @property
    def size(self) -> int:
        """Bytes of both."""
        return len(self.positions) + len(self.values)


def smallest(weight: Int8, axis: int | None) -> Stored:
    """Store a weight in the way that takes the fewest bytes.

    Args:
        weight: int8, of which 0 stands for 0.
        axis: The dimension that has scales of its own, the first or the last; None where there is one scale.
    """
    ways = [_pruned(weight), _looked_up(weight, axis)]
    return min((way for way in ways if way), key=lambda way: way.size)


def unpack(positions: Bytes, values: Bytes, shape: Sequence[int]) -> Int8:
    """Read a weight back.

    Raises:
        ValueError: if these bytes are no weight of that shape, or stored in a way that is not read here.

    >>> zeros_and_two = np.array([[0, -3, 0, 0, 5]], np.int8)
    >>> stored = _pruned(zeros_and_two)
    >>> [f"{byte:08b}" for byte in stored.positions], stored.values[16:]
    (['01001000'], b'\\xfd\\x05')
    >>> unpack(*(np.frombuffer(each, np.uint8) for each in (stored.positions, stored.values)), (1, 5))
    array([[ 0, -3,  0,  0,  5]], dtype=int8)
    """
    header, content = values[:HEADER_BYTES].tolist(), values[HEADER_BYTES:].view(np.int8)
    if len(header) < HEADER_BYTES or header[0] not in (LOOK_UP, PRUNED) or header[1:5:3] != [VERSION] * 2:
        raise ValueError(f"a weight is stored for {OPERATION} in a way that is not read here: {header[:5]}")
    count, bits = math.prod(shape), np.unpackbits(positions)
    width = 1 if header[0] == PRUNED else header[5] & MOST_BITS
    if not width or positions.size != math.ceil(count * width / 8):
        raise ValueError(f"{positions.size} bytes are not {count} positions of {width} bits")
    bits = bits[: count * width]
    if header[0] == PRUNED:
        if bits.sum() != content.size:
            raise ValueError(f"{content.size} values for {bits.sum()} positions")
        dense = np.zeros(count, np.int8)
        dense[bits == 1] = content
        return dense.reshape(shape)
    indices = bits.reshape(*shape, width) @ (1 << np.arange(width)[::-1])
    channels: Any = 0
    if (axis := header[5] >> 4) != ONE_TABLE:
        channels = np.arange(shape[axis]).reshape([-1 if each == axis else 1 for each in range(len(shape))])
    weight: Int8 = content[channels * header[6] + indices]
    return weight


def _pruned(weight: Int8) -> Stored:
    flat = weight.reshape(-1)
    return Stored(np.packbits(flat != 0).tobytes(), _header(PRUNED) + flat[flat != 0].tobytes())


def _looked_up(weight: Int8, axis: int | None) -> Stored | None:
    """Store by look-up table; None where there are too many values for one."""
    rows = (
        weight.reshape(1, -1)
        if axis is None
        else np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
    )
    tables = [np.unique(row) for row in rows]
    longest = max(len(table) for table in tables)
    width = max(1, (longest - 1).bit_length())
    if longest > MOST_VALUES:
        return None
    indices = np.stack([np.searchsorted(table, row) for table, row in zip(tables, rows, strict=True)])
    if axis is not None:
        moved = np.moveaxis(weight, axis, 0).shape
        indices = np.moveaxis(indices.reshape(moved), 0, axis)
    bits = np.unpackbits(indices.astype(np.uint8).reshape(-1, 1), axis=1)[:, 8 - width :]
    content = b"".join(np.pad(table, (0, longest - len(table))).tobytes() for table in tables)
    first = ONE_TABLE if axis is None else axis
    return Stored(np.packbits(bits).tobytes(), _header(LOOK_UP, first << 4 | width, longest) + content)


def _header(way: int, *settings: int) -> bytes:
    return bytes([way, VERSION, 0, 0, VERSION, *settings]).ljust(HEADER_BYTES, b"\0")
