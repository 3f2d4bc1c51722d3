"""A TFLite file as an array in C, with a header, for firmware that has no files."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pruneflow.errors import PruneflowError
from pruneflow.exports.micro_operations import RELEASE, unknown
from pruneflow.exports.tflite import Graph
from pruneflow.runtime.files import write_file

MARK = "// Made by pruneflow"  # that every file of ours begins with
ROW = 16  # bytes in a line
_SPELLED = {"2D": "2D", "LSTM": "LSTM", "MATMUL": "MatMul", "PADV2": "PadV2", "CUMSUM": "CumSum", "TFLM": ""}


def resolver_method(operation: str) -> str:
    """Return the method of ``MicroMutableOpResolver`` that registers an operation.

    >>> [resolver_method(name) for name in ("DEPTHWISE_CONV_2D", "TFLM_DECODE")]
    ['AddDepthwiseConv2D', 'AddDecode']
    """
    words = (_SPELLED.get(word, word.capitalize()) for word in operation.split("_"))
    return f"Add{''.join(words)}"


def resolver_lines(operations: Sequence[str]) -> list[str]:
    """Return the lines of C++ by which TFLite Micro gets the operations of a file.

    >>> resolver_lines(["CONV_2D", "UNIDIRECTIONAL_SEQUENCE_LSTM"])[1:]
    ['resolver.AddConv2D();', 'resolver.AddUnidirectionalSequenceLSTM();']
    """
    head = f"tflite::MicroMutableOpResolver<{len(operations)}> resolver;"
    return [head, *(f"resolver.{resolver_method(name)}();" for name in operations)]


def lacking_in_micro(graph: Graph) -> Iterator[str]:
    """Yield reasons why TFLite Micro cannot run a file, a sentence each."""
    integers = any(weight.dtype.startswith("int") for weight in graph.weights)
    if integers and any(tensor.dtype == "float32" for tensor in graph.outputs):
        yield "TFLite Micro has no kernels for integer weights beside float numbers: take export=int8."
    if "DENSIFY" in graph.op_counts or graph.sparse_kernel_ops:
        yield "TFLite Micro reads no sparse-encoded weights: take export.encoding=dense."
    if any(weight.dtype == "float16" for weight in graph.weights):
        yield "TFLite Micro reads no float16 weights: take export=float or export=int8."
    lacking = [name for name in unknown(graph.op_counts) if name != "DENSIFY"]
    if lacking:
        yield (
            f"TFLite Micro has no {', '.join(lacking)} (tflite-micro {RELEASE}): replace the layers that "
            "need it, or look whether your release has it."
        )


def write_c_array(file: Path, content: bytes, comments: Iterable[str]) -> tuple[Path, Path]:
    """Write the array and its header beside a file.

    Args:
        file: The ``.tflite`` file; ``pruned-int8.tflite`` becomes ``pruned_int8.c`` and ``pruned_int8.h``.
        comments: What the header says of it, a line each.

    Returns:
        The paths of both.
    """
    name = "".join(letter if letter.isalnum() and letter.isascii() else "_" for letter in file.stem)
    source, header = file.with_name(f"{name}.c"), file.with_name(f"{name}.h")
    head = f"{MARK} of {file.name}: {len(content):,} bytes."
    texts = {source: _source(head, name, content), header: _header(head, name, comments)}
    for path in texts:
        _require_ours(path)
    for path, text in texts.items():
        write_file(path, text.encode())
    return source, header


def _source(head: str, name: str, content: bytes) -> str:
    rows = (content[start : start + ROW] for start in range(0, len(content), ROW))
    return "\n".join(
        [
            head,
            f'#include "{name}.h"',
            "",
            "#if defined(__GNUC__) || defined(__clang__)",
            "__attribute__((aligned(16))) /* TFLite reads numbers in place */",
            "#endif",
            f"const unsigned char {name}[] = {{",
            *(f"    0x{row.hex(',').replace(',', ', 0x')}," for row in rows),
            "};",
            f"const unsigned int {name}_size = {len(content)};",
            "",
        ]
    )


def _header(head: str, name: str, comments: Iterable[str]) -> str:
    guard = f"{name.upper()}_H_"
    return "\n".join(
        [
            head,
            *(f"// {line}" for line in comments),
            f"#ifndef {guard}",
            f"#define {guard}",
            "#ifdef __cplusplus",
            'extern "C" {',
            "#endif",
            f"extern const unsigned char {name}[];",
            f"extern const unsigned int {name}_size;",
            "#ifdef __cplusplus",
            "}",
            "#endif",
            "#endif",
            "",
        ]
    )


def _require_ours(path: Path) -> None:
    """Refuse to write over what somebody else has written."""
    try:
        with path.open("rb") as file:
            ours = file.read(len(MARK)) == MARK.encode()
    except FileNotFoundError:
        return
    except OSError as error:
        raise PruneflowError(f"{path} cannot be read: {error.strerror}. Move it away.") from error
    if not ours:
        raise PruneflowError(f"{path} is not pruneflow's, and is not written over. Move it away.")
