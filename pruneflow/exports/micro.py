"""The option ``export=micro``: an int8 file for TFLite Micro, and what a microcontroller needs to run it."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import Any

from pruneflow.datasets.spec import Spec
from pruneflow.errors import ConfigError
from pruneflow.exports import tflite
from pruneflow.exports.base import Samples
from pruneflow.exports.c_array import resolver_method
from pruneflow.exports.exporters import Int8
from pruneflow.exports.micro_file import with_decode
from pruneflow.exports.micro_interpreter import LIBRARY, MicroInterpreter, lacking
from pruneflow.exports.runner import Runner
from pruneflow.options import option, require_number, whole_from


@dataclass(frozen=True)
class MicroFacts:
    """Memory and operations that a microcontroller needs to run a file.

    Attributes:
        library: Version of tflite-micro that ran it.
        arena_bytes: Memory that TFLite Micro takes of its arena, on this machine of 64 bits.
        dense_arena_bytes: The same of the baseline, whose weights lie in the file as they are.
        adds: Methods of ``MicroMutableOpResolver``, one for each kind of operation.
    """

    library: str
    arena_bytes: int
    dense_arena_bytes: int
    adds: list[str]

    @classmethod
    def of(cls, content: bytes, dense: bytes) -> MicroFacts:
        """Load a file and the baseline, and see what they take."""
        arena, dense_arena = (MicroInterpreter(each).arena_bytes() for each in (content, dense))
        adds = [resolver_method(name) for name in tflite.parse(content, "the file").op_counts]
        return cls(importlib.metadata.version(LIBRARY), arena, dense_arena, adds)

    def header(self, file: str, size_bytes: int) -> str:
        """Return the lines of C++ that register the operations of a file."""
        lines = [f"  TF_LITE_ENSURE_STATUS(resolver.{add}());" for add in self.adds]
        return "\n".join(
            [
                f"// {file}: {size_bytes:,} bytes. Arena: {self.arena_bytes:,} bytes in tflite-micro "
                f"{self.library} on 64 bits;",
                "// measure it on the chip with MicroInterpreter::arena_used_bytes().",
                "#pragma once",
                '#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"',
                "",
                f"using PrunedOps = tflite::MicroMutableOpResolver<{len(lines)}>;",
                "",
                "inline TfLiteStatus RegisterPrunedOps(PrunedOps& resolver) {",
                *lines,
                "  return kTfLiteOk;",
                "}",
                "",
            ]
        )


@option("export", "micro")
@dataclass(kw_only=True)
class Micro(Int8):
    """int8 for TFLite Micro: zeros are left out of the file, and DECODE puts them back when it runs."""

    kind = "micro"
    interpreter = "TFLite Micro"
    library = LIBRARY
    libraries = (*Int8.libraries, LIBRARY)
    smallest = "raw"
    same_bits = True
    timed = False

    largest_decoded_bytes: int | None

    def __post_init__(self) -> None:
        super().__post_init__()
        key, allowed = "export.largest_decoded_bytes", whole_from(1).said("{}, and null for any weight")
        require_number(key, self.largest_decoded_bytes, allowed, "export.encoding=dense decodes none.")

    @property
    def must_be_tried(self) -> bool:
        """Always: TFLite Micro has fewer operations than LiteRT."""
        return True

    def check_installed(self) -> None:
        """Refuse a Python without tflite-micro, or with one that has no DECODE."""
        if problem := lacking():
            raise ConfigError(f"export=micro: {problem}")

    def runner(self, content: bytes) -> Runner:
        """Make an interpreter of TFLite Micro."""
        return Runner(content, micro=True)

    def convert(self, model: Any, spec: Spec, samples: Samples, *, sparse: bool = False) -> bytes:
        """Convert to int8; ``sparse`` stores weights for DECODE."""
        content = super().convert(model, spec, samples)
        return with_decode(content, largest_bytes=self.largest_decoded_bytes) if sparse else content

    def trial(self, model: Any, spec: Spec, samples: Samples) -> bytes:
        """Convert with DECODE before every operation that may come to need it."""
        content, limit = super().trial(model, spec, samples), self.largest_decoded_bytes
        return content if self.encoding == "dense" else with_decode(content, largest_bytes=limit, always=True)

    def needs(self, content: bytes, dense: bytes) -> MicroFacts:
        """See what a file takes beside the baseline."""
        return MicroFacts.of(content, dense)
