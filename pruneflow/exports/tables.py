"""Tables of a TFLite file, read with limits to what a damaged one may ask for."""

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.datasets.reading.names import printable

Array = npt.NDArray[Any]

MOST_ENTRIES = 2**22  # of tables, shapes and operands together: a damaged file has them share one vector
MOST_ELEMENTS = 2**28  # of a sparse tensor made dense: a damaged file asks for any number
ELEMENTS_PER_BYTE = 1000  # of the file; fewer than one weight in a thousand is no network
ALWAYS_ELEMENTS = 2**20
ELEMENTS_PER_DENSE_BYTE = 16  # four of 2 bits in a byte, and tensors that share a buffer
BYTES_OF_TEXT = 64  # that count as one entry


@cache
def schema() -> Any:
    """Import the generated classes late: it takes 0.2 s."""
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


@cache
def names(enumeration: str) -> dict[int, str]:
    """Names of an enumeration of TFLite's schema, by number."""
    members = vars(getattr(schema(), enumeration)).items()
    return {number: name for name, number in members if not name.startswith("_")}


def operation(number: int) -> str:
    """TFLite's name of a builtin operation, such as ``"FULLY_CONNECTED"``."""
    return names("BuiltinOperator").get(number, f"OPERATOR_{number}")


class File:
    """The tables that all subgraphs share."""

    def __init__(self, content: bytes, name: str) -> None:
        self.content, self.name = content, name
        self.entries_left = MOST_ENTRIES
        self.most_elements = min(MOST_ELEMENTS, ALWAYS_ELEMENTS + ELEMENTS_PER_BYTE * len(content))
        dense = ALWAYS_ELEMENTS + ELEMENTS_PER_DENSE_BYTE * len(content)
        self.elements_left = {"sparse": self.most_elements, "dense": dense}
        self.model = schema().Model.GetRootAs(content, 0)
        self.operations = [self._operation(code) for code in self.tables(self.model, "OperatorCodes")]
        self.buffers = self.tables(self.model, "Buffers")

    def _operation(self, code: Any) -> str:
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # only the first goes beyond 127
        name = operation(number)
        return self.text(code.CustomCode()) if name == "CUSTOM" else name

    def tables(self, parent: Any, field: str) -> list[Any]:
        """All entries of a vector of tables."""
        length = getattr(parent, f"{field}Length")()
        self._spend(length, field)
        return [getattr(parent, field)(index) for index in range(length)]

    def numbers(self, parent: Any, field: str) -> tuple[int, ...]:
        """All entries of a vector of whole numbers."""
        self._spend(getattr(parent, f"{field}Length")(), field)
        return tuple(array_of(getattr(parent, f"{field}AsNumpy")()).tolist())

    def text(self, raw: bytes | None) -> str:
        """Text that can be printed; empty where there is none."""
        self._spend(len(raw or b"") // BYTES_OF_TEXT, "characters")
        return printable((raw or b"").decode(errors="replace"))

    def spend_elements(self, encoding: str, count: int) -> None:
        """Refuse weights that are together larger than those of any network in a file of this size."""
        self.elements_left[encoding] -= count
        if self.elements_left[encoding] < 0:
            raise ValueError("its weights would be far larger than it is")

    def _spend(self, count: int, what: str) -> None:
        self.entries_left -= count
        if self.entries_left < 0:
            raise ValueError(f"it claims {count} {what}")

    def bytes_of(self, tensor: Any) -> npt.NDArray[np.uint8]:
        """The buffer of a tensor, which files beyond 2 GB keep behind the tables; empty for no constant."""
        buffer = self.buffers[tensor.Buffer()]
        start, size = buffer.Offset(), buffer.Size()
        if start <= 1:  # that far into a file is never data, says schema.fbs
            return array_of(buffer.DataAsNumpy()).astype(np.uint8, copy=False)
        if start + size > len(self.content):
            raise ValueError(f"a buffer ends at byte {start + size} of {len(self.content)}")
        return np.frombuffer(self.content, np.uint8, size, start)


def array_of(numbers: Any) -> Array:
    """Numbers as flatbuffers gives them, which is 0 for a vector that is not there."""
    return numbers if isinstance(numbers, np.ndarray) else np.zeros(0, np.int32)
