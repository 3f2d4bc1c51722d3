"""The option ``export=int4``: weights of four bits by litert-quantizer, int8 where they have no kernel."""

import importlib.util
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pruneflow.datasets.spec import Spec
from pruneflow.exports import tflite
from pruneflow.exports.base import Chosen, Samples
from pruneflow.exports.flatbuffer import packed, unpacked
from pruneflow.exports.mixed import Place, is_chosen, left_out, outputs_of, restored
from pruneflow.options import option, require, require_one_of
from pruneflow.runtime import backend
from pruneflow.runtime.terminal import warn
from pruneflow.sparsity.kernels import keras_of, leaves

KERNELS = ("FULLY_CONNECTED", "CONV_2D")  # that LiteRT has for int4
BLOCKS = (32, 64, 128, 256)
# Scales of blocks are float16. That of a block of zeros comes out as 0, which LiteRT refuses; this is small.
LEAST_SCALE = np.float16(2.0**-14)


@option("export", "int4")
@dataclass(kw_only=True)
class Int4(Chosen):
    """int4 weights, float32 in and out; other weights are int8, as those of ``export=dynamic-range`` are."""

    kind = "int4"
    encodings = ("dense",)
    libraries = (*Chosen.libraries, "litert-quantizer")
    must_be_tried = True

    weights_only: bool = False
    block_size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block_size is not None:
            allowed = [str(size) for size in BLOCKS]
            require_one_of("export.block_size", str(self.block_size), [*allowed, "null"])
            problem = "weights that are made float32 before they are used have no blocks"
            remedy = "Leave export.block_size out, or take export.weights_only=false."
            require(not self.weights_only, "export.block_size", self.block_size, problem, remedy)

    def check_installed(self) -> None:
        """Refuse to begin without litert-quantizer."""
        problem = "litert-quantizer is not installed"
        remedy = 'Install it with pip install "pruneflow[int4]" (pip install -e ".[int4]" in a checkout).'
        require(importlib.util.find_spec("litert_quantizer") is not None, "export", "int4", problem, remedy)

    @property
    def depends_on_sizes(self) -> bool:
        """Return whether weights have blocks, which must divide the inputs of a layer."""
        return self.block_size is not None

    def said_of_cut(self, model: Any) -> str:
        """Say that blocks divide no layer of a cut network: its file has one scale for each output."""
        dense = [layer for name, layer in leaves(model) if _is_dense(layer) and is_chosen(name, self.layers)]
        inputs = [int(layer.kernel.shape[0]) for layer in dense]
        size = self.block_size
        if size is None or self._fitting(inputs):
            return ""
        return (
            f"export.block_size={size}: it divides the inputs of no fully connected layer once the network "
            f"is cut; they have about {_counted(inputs)} inputs. Each output then has one scale. "
            f"structure.multiple={size} leaves counts that it divides."
        )

    def trial(self, model: Any, spec: Spec, samples: Samples) -> bytes:
        """Convert, and refuse blocks that divide no layer, before the network is trained."""
        content = super().trial(model, spec, samples)
        if self.block_size is not None:
            self._require_blocks(_int4_inputs(tflite.parse(content, "the file")))
        return content

    def _require_blocks(self, inputs: Sequence[int]) -> None:
        problem = f"it divides the inputs of no fully connected layer; they have {_counted(inputs)} inputs"
        remedy = "Take null: one scale for each output."
        require(bool(self._fitting(inputs)), "export.block_size", self.block_size, problem, remedy)

    def _fitting(self, inputs: Iterable[int]) -> list[int]:
        """Return the counts of inputs that the size of blocks divides; the kernel takes no others."""
        return [count for count in inputs if self.block_size and count % self.block_size == 0]

    def _configure(self, converter: Any, spec: Spec, samples: Samples | Mapping[str, Samples]) -> None:
        converter.optimizations = [backend.tensorflow().lite.Optimize.DEFAULT]

    def _made(self, converter: Any, untouched: Any, model: Any) -> bytes:
        original = bytes(untouched.convert())
        kernels = _kernels(tflite.parse(original, "the float file"))
        out = set() if self.takes_all else left_out(original, model, self.layers)
        asked = {place: kernel for place, kernel in kernels.items() if place not in out}
        chosen = {place for place, kernel in asked.items() if kernel in KERNELS}
        self._require_any(chosen, asked.values())
        base = original
        if chosen != set(kernels):  # the others become int8
            base = restored(super()._made(converter, untouched, model), original, chosen)
        return self._quantized(base, outputs_of(base, original, chosen))

    def _require_any(self, chosen: set[Place], kernels: Iterable[str]) -> None:
        """Refuse a network, or layers, without a weight that can be int4."""
        key, value = ("export", "int4") if self.takes_all else ("export.layers", self.layers)
        found = ", ".join(dict.fromkeys(kernels)) or "no operation with weights"
        problem = f"there are int4 kernels of {' and '.join(KERNELS)}, and this is {found}"
        remedy = "Take export=dynamic-range, which has int8 weights."
        require(bool(chosen), key, value, problem, remedy)

    def _quantized(self, content: bytes, operations: Mapping[str, tuple[str, int]]) -> bytes:
        """Make the weights of some operations int4.

        Args:
            content: A file in which they are float32.
            operations: By the names of their outputs, as `outputs_of` gives them.
        """
        from litert_quantizer import Quantizer
        from litert_quantizer.qtyping import QuantGranularity, TFLOperationName

        quantizer = Quantizer(content)
        add = quantizer.add_weight_only_config if self.weights_only else quantizer.add_dynamic_config
        in_blocks = self._in_blocks(operations)
        for outputs, (name, _) in operations.items():
            granularity = f"BLOCKWISE_{self.block_size}" if outputs in in_blocks else "CHANNELWISE"
            only = f"^{re.escape(outputs)};$"
            add(only, TFLOperationName(name), num_bits=4, granularity=QuantGranularity(granularity))
        with np.errstate(all="ignore"):  # of blocks of zeros
            made = quantizer.quantize(enable_progress_bar=False, enable_progress_report=False)
        return _whole(bytes(made.quantized_model))

    def _in_blocks(self, operations: Mapping[str, tuple[str, int]]) -> Sequence[str]:
        """Fully connected operations that get blocks: none in a network that was cut to other sizes."""
        dense = {
            outputs: inputs for outputs, (name, inputs) in operations.items() if name == "FULLY_CONNECTED"
        }
        found = [outputs for outputs, inputs in dense.items() if self._fitting([inputs])]
        if self.block_size is not None and not found:
            warn(
                f"Note       export.block_size={self.block_size} divides the inputs of no fully connected "
                f"layer; they have {_counted(dense.values())} inputs. The file has one scale for each output."
            )
        return found


def _is_dense(layer: Any) -> bool:
    return isinstance(layer, keras_of(layer).layers.Dense)


def _int4_inputs(graph: tflite.Graph) -> list[int]:
    """Inputs of each fully connected layer whose weight is int4."""
    dense = (weight for weight in graph.weights if "FULLY_CONNECTED" in weight.consumers)
    return [weight.shape[-1] for weight in dense if weight.dtype == "int4"]


def _counted(inputs: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(set(inputs)))) or "no"


def _kernels(graph: tflite.Graph) -> dict[Place, str]:
    """The operation that reads each weight; one that several kinds read has the names of all."""
    return {
        (weight.subgraph, weight.tensor): "/".join(dict.fromkeys(weight.consumers))
        for weight in graph.weights
    }


def _whole(content: bytes) -> bytes:
    """Make a file of what litert-quantizer gives, which LiteRT and others read.

    Buffers of larger files lie behind the tables, which not every reader knows. The scale of a block of zeros
    is 0, which LiteRT refuses, and its weights are what NumPy makes of 0 / 0.
    """
    file = unpacked(content)
    for subgraph in file.subgraphs:
        for tensor in subgraph.tensors:
            details = tensor.quantization and tensor.quantization.details
            if hasattr(details, "blockSize"):
                scales = file.buffers[subgraph.tensors[details.scales].buffer]
                numbers = file.buffers[tensor.buffer]
                empty = np.asarray(scales.data).view(np.float16) == 0
                scales.data = _filled(scales.data, np.float16, empty, LEAST_SCALE)
                # Two numbers lie in a byte, and an even number of them in a block.
                numbers.data = _filled(numbers.data, np.uint8, np.repeat(empty, details.blockSize // 2), 0)
    return packed(file, len(content))


def _filled(data: Any, dtype: Any, where: Any, value: Any) -> Any:
    numbers = np.array(data).view(dtype)
    numbers[where] = value
    return numbers.view(np.uint8)
