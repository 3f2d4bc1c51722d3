"""TFLite Micro's interpreter, of the package tflite-micro, with the verbs of LiteRT's."""

import importlib.metadata
import importlib.util
import re
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from pruneflow.runtime import backend

LIBRARY = "tflite-micro"
INSTALL = (
    'pip install "pruneflow[micro]" (pip install -e ".[micro]" in a checkout); '
    "there are wheels for Linux on x86-64."
)
# Only a file that needs more fails; one that needs less takes what it needs. Too small an arena can end the
# process with a signal (tflite-micro 0.dev20261023182759), so sizes are not tried from below.
ARENA_BYTES = 2**26
_ARENA = re.compile(rb"Arena allocation total (\d+) bytes")
_NOTHING = re.compile(r"^(Failed to allocate tensors|TFLM failed to .*)?$")


def lacking() -> str:
    """Name what is missing here to run files in TFLite Micro, and what installs it; empty for nothing."""
    if not _is_there("tflite_micro"):
        return f"{LIBRARY}, which runs files for TFLite Micro here, is not installed. {INSTALL}"
    if not _is_there("tflite_micro.tensorflow.lite.micro.compression.decode"):
        version = importlib.metadata.version(LIBRARY)
        return (
            f"{LIBRARY} {version} has no operation DECODE, which reads pruned weights. "
            f"pip install --upgrade --pre {LIBRARY}"
        )
    return ""


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package that it would be in
        return False


class MicroInterpreter:
    """One interpreter, ready to run.

    Raises:
        RuntimeError: if the file does not load, in the words of TFLite Micro.
    """

    def __init__(self, content: bytes) -> None:
        self._interpreter = _loaded(content)

    def get_input_details(self) -> list[dict[str, Any]]:
        """Shape, dtype and scale of the one input, as LiteRT's interpreter gives them."""
        return [_details(self._interpreter.get_input_details(0))]

    def get_output_details(self) -> list[dict[str, Any]]:
        """The same of the one output."""
        return [_details(self._interpreter.get_output_details(0))]

    def allocate_tensors(self) -> None:
        """Do nothing: that was done when the file was loaded."""

    def reset_all_variables(self) -> None:
        """Forget the state that is kept between invocations."""
        self._interpreter.reset()

    def set_tensor(self, index: int, values: npt.NDArray[Any]) -> None:
        """Give an input its values."""
        self._interpreter.set_input(values, index)

    def invoke(self) -> None:
        """Run the file."""
        self._interpreter.invoke()

    def get_tensor(self, index: int) -> npt.NDArray[Any]:
        """Take a copy of an output."""
        return np.array(self._interpreter.get_output(index))

    def arena_bytes(self) -> int:
        """Return the memory that the file takes of its arena, in bytes."""
        with backend.quiet() as log:
            self._interpreter.print_allocations()
            log.seek(0)
            found = _ARENA.search(log.read())
        return int(found[1]) if found else 0


def _loaded(content: bytes) -> Any:
    runtime = import_module("tflite_micro").runtime
    with backend.quiet() as log:
        try:
            return runtime.Interpreter.from_bytes(content, arena_size=ARENA_BYTES)
        except RuntimeError as error:
            log.seek(0)
            problem = _said(log.read().decode(errors="replace")) or str(error)
    raise RuntimeError(problem)


def _details(found: dict[str, Any]) -> dict[str, Any]:
    how = found["quantization_parameters"]
    scale, zero = (next(iter(how[key]), 0) for key in ("scales", "zero_points"))
    return {"index": 0, "shape": found["shape"], "dtype": found["dtype"], "quantization": (scale, zero)}


def _said(log: str) -> str:
    lines = (line.strip() for line in log.splitlines())
    return next((line for line in lines if not _NOTHING.match(line)), "").rstrip(".")
