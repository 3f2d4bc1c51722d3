"""``use.py``: a stranger's script reads a file as the run read it."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pruneflow.datasets.preparation import Preparation
from pruneflow.datasets.reading.decoding import RESIZES, Decoding
from pruneflow.datasets.reading.pixels import Reading, checked_pixels
from pruneflow.datasets.reading.text import characters, encode_text, words
from pruneflow.datasets.spec import Data, Part, Spec, Targets
from pruneflow.exports.inspection import FilePort, Inspection
from pruneflow.exports.use_script import script
from pruneflow.models.tasks import Classification, Regression, Task

FACTS: dict[str, Any] = {
    "ops": {},
    "weights": [],
    "sparsity": 0.0,
    "sparse_kernels": [],
    "densified": [],
    "multiply_adds": 0,
    "nonzero_multiply_adds": 0,
    "masked": 0,
    "added": 0,
    "not_found": [],
}


def inside(*, scale: float | None = None, stateful: bool = False) -> Inspection:
    """A file that reads and gives integers where there is a scale."""
    port = FilePort("x", (1, 1), "int8" if scale else "float32", scale, -3 if scale else None)
    return Inspection(stateful=stateful, inputs=[port], outputs=[port], **FACTS)


def lines_of(reads: Preparation, task: Task, *, named: bool = True, **facts: Any) -> list[str]:
    return script(reads, task, {"pruned-float.tflite": inside(**facts)}, named=named).splitlines()


def image(resize: str, channels: int, white: float | None = None) -> Preparation:
    return Preparation("image", "image", (4, 7, channels), (0.0, 1.0), resize, white)


def read_by(reads: Preparation, file: Path) -> np.ndarray:
    """The input ``x`` of the network, as the first lines of the script make it of a file."""
    lines = lines_of(reads, Classification(2, from_logits=False))
    (end,) = [number for number, line in enumerate(lines) if line.startswith("network =")]
    names = {"__file__": str(file.parent / "use.py")}
    code = [line for line in lines[:end] if not line.startswith("from ai_edge_litert")]
    exec("\n".join(code).replace("sys.argv[1]", repr(str(file))), names)
    x: np.ndarray = np.asarray(names["x"])
    return x


def saved(folder: Path, mode: str, suffix: str) -> Path:
    pixels = np.random.default_rng(3).integers(0, 256, (9, 5, 4)).astype(np.uint8)
    if mode == "I;16":
        deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
        deep.save(folder / f"deep.{suffix}")
        return folder / f"deep.{suffix}"
    Image.fromarray(pixels).convert("RGB").convert(mode).save(folder / f"{mode}.{suffix}")
    return folder / f"{mode}.{suffix}"


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("resize", RESIZES)
def test_images_are_read_as_the_data_set_reads_them(tmp_path: Path, resize: str, channels: int) -> None:
    spec = Spec("image", (4, 7, channels), 2)
    for mode, white in itertools.product(("RGB", "L", "P", "LA", "I;16"), (None, 200.0)):
        file = saved(tmp_path, mode, "png")
        pixels = Decoding((4, 7), channels, resize, white).decode(file)
        expected = spec.model_input(pixels[np.newaxis])[0]
        found = read_by(image(resize, channels, white), file).reshape(expected.shape)
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=f"{mode} {white}")


def test_photographs_are_turned_and_shrunk_as_the_data_set_turns_them(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # held upright
    rows, columns = np.indices((300, 200))
    pixels = np.stack([rows / 2, columns, rows / 4 + columns / 2], axis=-1)
    file = tmp_path / "photograph.jpg"
    Image.fromarray(pixels.astype(np.uint8)).save(file, exif=exif, quality=95)
    for resize, apart in (("bilinear", 1e-6), ("keras", 4 / 255)):  # TensorFlow's JPEG pixels are its own
        expected = Decoding((4, 7), 3, resize).decode(file).astype(np.float32) / 255
        np.testing.assert_allclose(read_by(image(resize, 3), file), expected, atol=apart)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(("dtype", "white"), [("uint8", None), ("uint16", 4095.0), ("float64", 1.0)])
def test_images_in_arrays_are_read_as_the_data_set_reads_them(
    tmp_path: Path, dtype: str, white: float | None, first: bool
) -> None:
    drawn = np.random.default_rng(2).uniform(0, white or 255, (2, 3, 4, 7) if first else (2, 4, 7, 3))
    x = drawn.astype(dtype)
    (pixels,), _ = checked_pixels("here", [("x", x)], Reading(white, first))
    expected = Spec("image", (4, 7, 3), 2, pixels=(-1.0, 1.0)).model_input(pixels)[0]
    np.save(tmp_path / "one.npy", x[0])
    reads = Preparation("array", "image", (4, 7, 3), (-1.0, 1.0), white=white, channels_first=first)
    np.testing.assert_allclose(read_by(reads, tmp_path / "one.npy"), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ([], "/run/pruned-float.tflite"),  # whatever lies where it is started
        (["beside.tflite"], "/run/beside.tflite"),
        (["here.tflite"], "here.tflite"),
        (["run/there.tflite"], "run/there.tflite"),
        (["folder.tflite"], "/run/folder.tflite"),
    ],
)
def test_a_file_that_is_named_is_the_one_that_was_typed_or_lies_beside_the_script(
    tmp_path: Path, typed: list[str], found: str
) -> None:
    for name in ("here.tflite", "pruned-float.tflite", "run/there.tflite", "folder.tflite/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    starts = ("HERE, ", "network = ")
    lines = [line for line in lines_of(image("", 1), TASKS[0]) if line.startswith(starts)]
    made = {"Interpreter": lambda path: path, "Path": Path, "__file__": "/run/use.py"}
    made["sys"] = SimpleNamespace(argv=["use.py", "x.npy", *typed])
    exec("\n".join(lines), made)
    assert made["network"] == found


def test_an_image_of_another_size_is_refused_where_none_was_resized(tmp_path: Path) -> None:
    file = tmp_path / "large.png"
    Image.new("L", (9, 4)).save(file)
    with pytest.raises(SystemExit, match=r"It must be 7 pixels wide and 4 high\."):
        read_by(image("", 1), file)
    Image.new("L", (7, 4), 51).save(file)
    np.testing.assert_allclose(read_by(image("", 1), file), np.full((4, 7), 0.2), atol=1e-7)


@pytest.mark.parametrize(("cut", "split"), [("blanks", words), ("characters", characters)])
def test_texts_become_the_ids_of_the_data_set(tmp_path: Path, cut: str, split: Any) -> None:
    known = {"a": 4, "film": 5, "isn't": 6, "é": 7}
    (tmp_path / "vocabulary.json").write_text('{"a": 4, "film": 5, "isn\'t": 6, "é": 7}', encoding="utf-8")
    reads = Preparation("text", "tokens", (6,), words=cut, vocabulary_size=8)
    for text in ("", "A film,\n it isn't!<br />É", "a a a a a a a film"):
        (tmp_path / "text.txt").write_text(text, encoding="utf-8")
        expected = encode_text(text, known, length=6, split=split)
        np.testing.assert_array_equal(read_by(reads, tmp_path / "text.txt"), expected)


def test_measurements_are_standardised_by_what_lies_beside(tmp_path: Path) -> None:
    """(5 - 1) / 2 = 2 and (9 - 3) / 4 = 1.5; without scales they stay."""
    (tmp_path / "standardisation.json").write_text('{"mean": [1.0, 3.0], "scale": [2.0, 4.0]}')
    np.save(tmp_path / "one.npy", np.array([[5, 9], [1, 3]]))
    reads = Preparation("array", "signal", (2, 2), mean=(1.0, 3.0), scale=(2.0, 4.0))
    assert read_by(reads, tmp_path / "one.npy").tolist() == [[2.0, 1.5], [0.0, 0.0]]
    plain = Preparation("array", "signal", (2, 2))
    assert read_by(plain, tmp_path / "one.npy").tolist() == [[5.0, 9.0], [1.0, 3.0]]
    ids = Preparation("array", "tokens", (4,), vocabulary_size=10)
    assert read_by(ids, tmp_path / "one.npy").tolist() == [5, 9, 1, 3]


ALL = [
    *(
        image(resize, channels, white)
        for resize in ("", *RESIZES)
        for channels in (1, 3)
        for white in (None, 9.0)
    ),
    Preparation("array", "image", (4, 7, 2), (-1.0, 1.0)),
    Preparation("array", "image", (4, 7, 3), (-1.0, 1.0), white=4095.0, channels_first=True),
    Preparation("text", "tokens", (250,), words="characters", vocabulary_size=8),
    Preparation("array", "signal", (2, 2), mean=(1.0, 3.0), scale=(2.0, 4.0)),
]
TASKS = [
    Classification(1, from_logits=True),
    Classification(3, from_logits=True),
    Regression(Targets((1.0, 2.0), (3.0, 4.0))),
]


@pytest.mark.parametrize("reads", ALL, ids=lambda reads: f"{reads.file}-{reads.resize}-{reads.shape[-1]}")
def test_a_script_has_thirty_lines_at_most_whatever_it_needs(reads: Preparation) -> None:
    for task in TASKS:
        lines = lines_of(reads, task, scale=0.1, stateful=True)
        compile("\n".join(lines), "use.py", "exec")
        assert len(lines) <= 30
        assert max(map(len, lines)) <= 120


def test_a_script_has_nothing_that_its_files_do_not_need() -> None:
    plain = "\n".join(lines_of(image("", 1), Classification(3, from_logits=False), named=False))
    for word in ("reset_all_variables", "scale", "labels.txt", "np.exp", "json"):
        assert word not in plain
    assert "class {best}" in plain


def test_what_data_of_ones_own_say_in_numbers_of_numpy_is_written_as_json() -> None:
    part = Part(np.zeros((1, 2), np.float32), np.zeros(1, np.int64))
    facts = {"mean": [np.float64(1.0), 2], "scale": [3.0, 4.0]}
    spec = Spec("numbers", (np.int64(2),), 2)  # type: ignore[arg-type]
    found = Preparation.of(Data("mine", spec, part, part, part, standardisation=facts))
    assert json.loads(json.dumps(asdict(found)))["mean"] == [1.0, 2.0]
    assert (found.file, found.shape, found.scale) == ("array", (2,), (3.0, 4.0))


def test_the_numbers_of_a_regression_come_back_in_the_units_of_the_data() -> None:
    """0.5 of a scale of 10 above a mean of 100 is 105."""
    last = lines_of(Preparation("array", "numbers", (2,)), Regression(Targets((100.0,), (10.0,))))[-1]
    assert eval(last.removeprefix("print(*").removesuffix(")"), {"np": np, "y": np.array([0.5])}) == [105.0]
