"""``use.py``: a script of a run that reads one example from a file, and says what an exported file answers.

It needs ai-edge-litert and NumPy, and Pillow for an image, so that it can be copied into an app.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pruneflow.datasets.preparation import Preparation
from pruneflow.datasets.reading.decoding import GREY_WEIGHTS, MODES
from pruneflow.datasets.reading.text import FILTERS, PAD, START, UNKNOWN
from pruneflow.datasets.spec import WHITE
from pruneflow.exports.inspection import Inspection
from pruneflow.models.pixels import UNIT
from pruneflow.models.tasks import Classification, Regression, Task

SCRIPT = "use.py"
ARGUMENTS = {"image": "IMAGE", "text": "TEXT.txt", "array": "EXAMPLE.npy"}  # by what the file is

MOST_LINES = 30  # of the script; where it has more, it goes without blank ones

Lines = list[str]


@dataclass(frozen=True)
class _Files:
    """Facts about the files that the script can run.

    Attributes:
        first: Name of the one that it runs if no other is named.
        reads_integers: Whether one of them reads integers that stand for other numbers.
        gives_integers: Whether one of them gives such.
        stateful: Whether one of them keeps a state from one invocation to the next.
    """

    first: str
    reads_integers: bool
    gives_integers: bool
    stateful: bool

    @classmethod
    def of(cls, files: Mapping[str, Inspection]) -> _Files:
        inside = files.values()
        return cls(
            first=next(iter(files)),
            reads_integers=any(each.inputs[0].scale for each in inside),
            gives_integers=any(each.outputs[0].scale for each in inside),
            stateful=any(each.stateful for each in inside),
        )


def script(reads: Preparation, task: Task, files: Mapping[str, Inspection], *, named: bool) -> str:
    """Write the script.

    Args:
        files: What is in each file of the run, by its name; the first is run if no other is named.
        named: Whether ``labels.txt`` has names of the classes.

    Returns:
        Python.
    """
    body = [*_read(reads), *_run(_Files.of(files)), *_answer(task, named=named)]
    lines = [*_head(reads, task, body), *body]
    return "\n".join(lines if len(lines) <= MOST_LINES else filter(None, lines)) + "\n"


def _head(reads: Preparation, task: Task, body: Lines) -> Lines:
    """Docstring and imports, of what the body uses."""
    what = "Predict numbers for one example" if isinstance(task, Regression) else "Classify one example"
    needs = "ai-edge-litert, numpy" + (", pillow" if reads.file == "image" else "")
    uses = "\n".join(body)
    modules = {"ImageOps": "from PIL import Image, ImageOps", "Image": "from PIL import Image"}
    return [
        f'"""{what}: python {SCRIPT} {ARGUMENTS[reads.file]} [MODEL.tflite]. Needs {needs}."""',
        *(["import json"] if "json." in uses else []),
        "import sys",
        "from pathlib import Path",
        "",
        "import numpy as np",
        "from ai_edge_litert.interpreter import Interpreter",
        *[line for name, line in modules.items() if f"{name}." in uses][:1],
        "",
        "HERE, file, typed = Path(__file__).parent, sys.argv[1], sys.argv[2:3]",
    ]


def _read(reads: Preparation) -> Lines:
    """The file becomes ``x``, the input of the network."""
    if reads.file == "text":
        return _text(reads)
    return _image(reads) if reads.file == "image" else _array(reads)


def _unit(reads: Preparation) -> str:
    """Pixels from 0 to 255 become what the network reads."""
    low, high = reads.pixels or UNIT
    moved = "" if (low, high) == UNIT else f" * {high - low!r} + {low!r}"
    return f" / {WHITE:g}{moved}  # black is {low:g}, white {high:g}"


def _text(reads: Preparation) -> Lines:
    (length,) = reads.shape
    word = 'for word in text.split(" ") if word'
    parts = "for word in text if not word.isspace()" if reads.words == "characters" else word
    return [
        f"signs, length = {FILTERS!r}, {length}",
        'ids = json.loads((HERE / "vocabulary.json").read_text("utf-8"))',
        'text = Path(file).read_text("utf-8-sig").lower().translate(str.maketrans(signs, " " * len(signs)))',
        f"x = [{START}, *(ids.get(word, {UNKNOWN}) {parts})][-length:]  # {START}: start, {UNKNOWN}: unknown",
        f"x = np.array([{PAD}] * (length - len(x)) + x)",
    ]


def _array(reads: Preparation) -> Lines:
    loaded = f"x = np.load(file).reshape({', '.join(map(str, reads.shape))})"
    if reads.kind == "tokens":
        return [f"{loaded}  # token ids below {reads.vocabulary_size}"]
    if reads.kind == "image":
        return _pixels(reads)
    if not reads.mean:
        return [f"{loaded}.astype(np.float32)  # as they were learned"]
    return [
        f"{loaded}  # in the units of the data",
        'scales = json.loads((HERE / "standardisation.json").read_text("utf-8"))',
        'x = ((x - np.array(scales["mean"])) / np.array(scales["scale"])).astype(np.float32)',
    ]


def _pixels(reads: Preparation) -> Lines:
    """Pixels in an array become what the data set made of those that came."""
    height, width, channels = reads.shape
    moved = f"{channels}, {height}, {width}).transpose(1, 2, 0)  # channels came first"
    loaded = (
        f"x = np.load(file).reshape({moved if reads.channels_first else f'{height}, {width}, {channels})'}"
    )
    levels = f"x = np.rint(x * (255 / {reads.white!r})).clip(0, 255)  # {reads.white or 0:g} is white"
    unit = f"x = x.astype(np.float32){_unit(reads)}"
    return [loaded, *([] if reads.white is None else [levels]), unit]


def _image(reads: Preparation) -> Lines:
    height, width, channels = reads.shape
    mode, method = MODES[channels], reads.resize.upper()
    lines = [*_opened(reads.resize), *_eight_bits(reads.white)]
    if reads.resize == "keras":
        return [*lines, *_as_keras(reads)]
    lines.append(f'image = image.convert("{mode}")')
    if reads.resize:
        lines.append(f"image = image.resize(({width}, {height}), Image.{method})")
    else:
        lines += [
            f"if image.size != ({width}, {height}):",
            f'    sys.exit("It must be {width} pixels wide and {height} high.")',
        ]
    return [*lines, f"x = np.asarray(image, np.float32){_unit(reads)}"]


def _opened(resize: str) -> Lines:
    if resize == "keras":
        return ["image = Image.open(file)  # JPEG: a few levels off those of TensorFlow"]
    if resize:
        return ["image = ImageOps.exif_transpose(Image.open(file))  # turned as the camera was held"]
    return ["image = Image.open(file)"]


def _eight_bits(white: float | None) -> Lines:
    if white is None:
        return [
            'if image.mode.startswith("I"):  # 16 bits',
            "    image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))",
        ]
    levels = f"np.rint(np.asarray(image) * (255 / {white!r})).clip(0, 255)"
    return [
        'image = image.convert("RGB") if image.mode in ("P", "1", "CMYK", "YCbCr") else image',
        f"image = Image.fromarray({levels}.astype(np.uint8))",
    ]


def _as_keras(reads: Preparation) -> Lines:
    """Resize as TensorFlow does, which has a grey of its own too.

    Pillow's ``resize`` smooths; its ``transform`` takes the four pixels that TensorFlow takes.
    """
    height, width, channels = reads.shape
    red, green, blue = GREY_WEIGHTS.tolist()
    grey = f'np.asarray(image.convert("RGB"), np.int32) @ np.int32([{red}, {green}, {blue}]) >> 15'
    bands = f"[Image.fromarray({grey})]" if channels == 1 else f'image.convert("{MODES[channels]}").split()'
    steps = f"(image.width / {width}, 0, 0, 0, image.height / {height}, 0)"
    return [
        f"bands = {bands}",
        f"how = ({width}, {height}), Image.AFFINE, {steps}, Image.BILINEAR",
        'bands = [band.convert("F").transform(*how) for band in bands]  # as tf.image.resize',
        f"x = np.stack(bands, axis=-1){_unit(reads)}",
    ]


def _run(files: _Files) -> Lines:
    """The input ``x`` becomes the numbers ``y`` that the network gives."""
    integers = [
        'scale, zero = into["quantization"]',
        "if scale:  # it reads integers",
        '    limits = np.iinfo(into["dtype"])',
        "    x = np.clip(np.round(x / scale) + zero, limits.min, limits.max)",
    ]
    reset = "network.reset_all_variables()  # before each example, or it goes on where the last one ended"
    scaled = [
        'scale, zero = out["quantization"]  # 0 and 0 where it gives no integers',
        "y = (y - zero) * (scale or 1)",
    ]
    beside = f'HERE / [*typed, "{files.first}"][0]'
    return [
        f"network = Interpreter(str(Path(*typed) if Path(*typed).is_file() else {beside}))",
        "network.allocate_tensors()",
        "(into,), (out,) = network.get_input_details(), network.get_output_details()",
        *(integers if files.reads_integers else []),
        *([reset] if files.stateful else []),
        'network.set_tensor(into["index"], x.astype(into["dtype"]).reshape(into["shape"]))',
        "network.invoke()",
        'y = network.get_tensor(out["index"]).reshape(-1).astype(float)',
        *(scaled if files.gives_integers else []),
    ]


def _answer(task: Task, *, named: bool) -> Lines:
    if isinstance(task, Regression):
        return [f"print(*{_restored(task)})"]
    assert isinstance(task, Classification)
    name = "{names[best]}" if named else "class {best}"
    return [
        f"p = {_probabilities(task)}",
        *(['names = (HERE / "labels.txt").read_text("utf-8").splitlines()'] if named else []),
        f'print(*(f"{{p[best]:.4f}} {name}" for best in np.argsort(-p, kind="stable")[:3]), sep="\\n")',
    ]


def _probabilities(task: Classification) -> str:
    if task.units == 1:  # that of class 1, or its logit
        return (
            "np.append(1 / (1 + np.exp(y)), 1 / (1 + np.exp(-y)))"
            if task.from_logits
            else "np.append(1 - y, y)"
        )
    return "np.exp(y - y.max()) / np.exp(y - y.max()).sum()" if task.from_logits else "y"


def _restored(task: Regression) -> str:
    mean, scale = (list(map(float, each)) for each in (task.targets.mean, task.targets.scale))
    return "y" if task.targets.are_plain else f"(y * np.array({scale}) + np.array({mean}))"
