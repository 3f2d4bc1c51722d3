"""The contract of the files of a run, in sentences that the terminal, the report and C headers share."""

from collections.abc import Iterator, Sequence

from pruneflow.datasets.preparation import Preparation
from pruneflow.datasets.reading.names import listed
from pruneflow.datasets.spec import WHITE
from pruneflow.exports.inspection import FilePort, Inspection
from pruneflow.exports.use_script import ARGUMENTS
from pruneflow.flow.contract import Contract
from pruneflow.flow.figures import Result

MOST_SHOWN = 4  # numbers of a list that a line has; the file has all


def contract_lines(result: Result) -> Iterator[str]:
    """Yield what all files of a run read and give, a line each; nothing for results of before."""
    contract = result.contract
    if contract is None:
        return
    yield f"Input    {_input(contract.reads)}."
    yield f"Output   {_output(contract, result)}."
    argument = ARGUMENTS.get(contract.reads.file, "FILE")
    script = f"python {contract.script} {argument}"
    how = script if contract.script else "no script, since only TFLite Micro runs the file"
    yield f"Use      {how}; docs/deploy.md has apps and microcontrollers."


def port_line(inside: Inspection) -> str:
    """Names, shapes and types of one file; empty for results of before."""
    ends = [", ".join(map(_port, each)) for each in (inside.inputs, inside.outputs)]
    return f"Tensors  {ends[0]} to {ends[1]}." if all(ends) else ""


def _port(port: FilePort) -> str:
    integers = f", scale {port.scale:.6g}, zero point {port.zero_point}" if port.scale else ""
    return f"{port.name} ({port.dtype}, {_sizes(port.shape)}{integers})"


def _sizes(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _input(reads: Preparation) -> str:
    sizes = _sizes(reads.shape)
    if reads.kind == "image":
        low, high = reads.pixels or (0.0, 1.0)
        what = _pixels(reads) if reads.file == "array" else f"an image of {sizes}, {_resized(reads)}"
        return f"{what}, black is {low:g}, white {high:g}"
    if reads.kind == "tokens":
        return _tokens(reads)
    if not reads.mean:
        return f"{sizes} numbers as they are"
    return f"{sizes} numbers, {_numbers('minus mean', reads.mean)}, {_numbers('by scale', reads.scale)}"


def _pixels(reads: Preparation) -> str:
    sizes, first = reads.shape, reads.channels_first
    shown = f"{_sizes([sizes[-1], *sizes[:-1]])}, channels first" if first else _sizes(sizes)
    white = reads.white or WHITE
    return f"an array of pixels of {shown}, where {white:g} is white: once prepared"


def _resized(reads: Preparation) -> str:
    method = reads.resize
    if not method:
        return "which must have this size"
    return "resized as tf.image.resize does" if method == "keras" else f"resized by Pillow ({method})"


def _tokens(reads: Preparation) -> str:
    (length,) = reads.shape
    ids = f"{length} token ids below {reads.vocabulary_size:,}"
    if not reads.words:
        return ids
    cut = "single characters" if reads.words == "characters" else "words, cut at blanks"
    return (
        f"a text in lower case, {cut}, as {ids} (vocabulary.json); 0 fills the front, 1 starts, 2 is unknown"
    )


def _output(contract: Contract, result: Result) -> str:
    gives = contract.gives
    if gives == "numbers":
        if not contract.target_scale:
            return "the predicted numbers"
        scale = _numbers("times scale", contract.target_scale)
        return f"predicted numbers, {scale}, {_numbers('plus mean', contract.target_mean)}"
    inside, names = result.tflite[0].inside, result.data.class_names
    units = inside.outputs[0].shape[-1] if inside and inside.outputs else 0
    if units == 1:
        only = names[1] if len(names) == 2 else "class 1"
        how = "; sigmoid makes a probability of it" if gives == "logits" else ""
        return (
            f"the {gives.replace('probabilities', 'probability').replace('logits', 'logit')} of {only}{how}"
        )
    how = "; softmax makes probabilities of them" if gives == "logits" else ""
    return f"{gives} of {units} classes, {listed(names) if names else f'0 to {units - 1}'}{how}"


def _numbers(what: str, values: Sequence[float]) -> str:
    shown = ", ".join(f"{value:.4g}" for value in values[:MOST_SHOWN])
    return f"{what} {shown}{' ... (standardisation.json)' if len(values) > MOST_SHOWN else ''}"
