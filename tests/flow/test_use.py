"""``use.py`` of a run answers what the run found, with NumPy, LiteRT and Pillow alone."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import QUICK, QUICK_LSTM
from own_fixtures import class_folders, picture

import pruneflow
from pruneflow.exports.runner import tflite_outcome
from pruneflow.flow.figures import Result
from pruneflow.models.tasks import Classification, Regression, Task
from pruneflow.report import summary

pytestmark = pytest.mark.run

FOREIGN = ("pruneflow", "tensorflow", "tf_keras", "keras", "scipy", "hydra")
RNG = np.random.default_rng(0)


def ran(words: list[str], folder: Path) -> tuple[Result, Any]:
    """A run, and its data."""
    typed = [*QUICK, *words]
    return pruneflow.run(typed, folder=folder / "run"), pruneflow.compose(typed).dataset.load()


def answered(capsys: pytest.CaptureFixture[str], script: Path, *words: object) -> tuple[dict[str, Any], str]:
    """Variables of the script after it ran in this process, and what it printed."""
    capsys.readouterr()
    before, sys.argv = sys.argv, ["use.py", *map(str, words)]
    try:
        return runpy.run_path(str(script)), capsys.readouterr().out
    finally:
        sys.argv = before


def alone(script: Path, *words: object) -> str:
    """What the script prints in a process where nothing but its own packages can be imported."""
    refusing = (
        "import runpy, sys\n"
        f"for name in {FOREIGN}: sys.modules[name] = None\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    line = [sys.executable, "-I", "-c", refusing, str(script), *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


def require_same(
    capsys: pytest.CaptureFixture[str], run: Path, found: tuple[Result, Any], task: Task, files: list[Path]
) -> npt.NDArray[Any]:
    """Answers of the script on the files of test examples, by each exported file, are those of the run.

    Returns:
        Answers by the first file, (n, ...).
    """
    result, data = found
    script, answers = run / "use.py", {}
    for each in result.tflite:
        rows = []
        for file in files:
            said, printed = answered(capsys, script, file, run / each.file)
            rows.append(said["p"] if "p" in said else np.array(printed.split(), float))
        answers[each.kind] = np.stack(rows)
        outcome = tflite_outcome(run / each.file, data.test, data.spec, task=task, threads=1)
        np.testing.assert_allclose(answers[each.kind], outcome[: len(files)], rtol=1e-5, atol=1e-5)
        metrics = task.metrics(answers[each.kind], task.truth(data.test.y)[: len(files)])
        if len(files) == len(data.test):
            assert metrics[task.headline] == pytest.approx(each.metrics[task.headline], abs=1e-6)
    return answers[result.tflite[0].kind]


def lines_of(result: Result) -> list[str]:
    return list(summary.findings(result))


def test_images_of_folders_are_resized_and_classified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class_folders(tmp_path / "train" / "train", count=40)
    class_folders(tmp_path / "train" / "test", count=6)
    data = [
        "dataset=image_folder",
        f"dataset.path={tmp_path / 'train'}",
        "dataset.height=8",
        "dataset.width=7",
    ]
    cache = [f"dataset.cache_dir={tmp_path / 'cache'}", "model.filters=[4]", "export=all"]
    found = ran([*data, *cache], tmp_path)
    files = sorted((tmp_path / "train" / "test").rglob("*.png"))
    run, task = tmp_path / "run", Classification(2, from_logits=True)
    answers = require_same(capsys, run, found, task, files)
    assert alone(run / "use.py", files[0]).splitlines()[0].split() == [
        f"{answers[0].max():.4f}",
        ("cat", "dog")[answers[0].argmax()],
    ]
    lines = lines_of(found[0])
    assert "Input    an image of 8 x 7 x 3, resized as tf.image.resize does, black is 0, white 1." in lines
    assert "Output   logits of 2 classes, cat, dog; softmax makes probabilities of them." in lines
    assert any(
        line.startswith("  Tensors  ") and "(int8, 1 x 8 x 7 x 3, scale 0.00" in line for line in lines
    )


def test_texts_are_cut_and_classified_one_after_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def texts(name: str, count: int) -> Path:
        words = [("a dull film", "a fine film"), ("boring, he said", "lively, she said")]
        rows = [
            f'"{words[i % 2][i // 2 % 2]} number{i}!",{("bad", "good")[i // 2 % 2]}' for i in range(count)
        ]
        (tmp_path / name).write_text("\n".join(["text,label", *rows]) + "\n")
        for i, row in enumerate(rows):
            (tmp_path / f"{name}-{i:03}.txt").write_text(row.split('"')[1])
        return tmp_path / name

    path, test = texts("train.csv", 120), texts("test.csv", 12)
    data = ["model=lstm", "dataset=csv_text", f"dataset.path={path}", f"dataset.test_path={test}"]
    found = ran([*data, *QUICK_LSTM, "export=int8"], tmp_path)
    run, files = tmp_path / "run", sorted(tmp_path.glob("test.csv-*.txt"))
    answers = require_same(capsys, run, found, Classification(1, from_logits=False), files)
    assert len({round(float(row[1]), 4) for row in answers}) > 1
    script = (run / "use.py").read_text()
    assert script.count("reset_all_variables") == 1 and "vocabulary.json" in script
    assert alone(run / "use.py", files[0]).split()[1] == ("bad", "good")[answers[0].argmax()]
    lines = lines_of(found[0])
    assert "Output   the probability of good." in lines
    assert any(
        "a text in lower case, words, cut at blanks, as 12 token ids below 70" in line for line in lines
    )


def test_numbers_are_predicted_in_the_units_of_the_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = RNG.normal(3, 2, (240, 4))
    y = x[:, :2] * [100.0, 0.5] + [300.0, -2.0]
    np.savez(tmp_path / "mine.npz", x=x[:200], y=y[:200], x_test=x[200:], y_test=y[200:])
    data = ["dataset=arrays", f"dataset.path={tmp_path / 'mine.npz'}", "dataset.task=regression", "model=mlp"]
    found = ran([*data, "model.hidden_units=[8]", "trainer.dense_epochs=4", "export=all"], tmp_path)
    files = [tmp_path / f"{number:03}.npy" for number in range(40)]
    for file, row in zip(files, x[200:], strict=True):
        np.save(file, row)
    run, task = tmp_path / "run", Regression(found[1].spec.targets)
    answers = require_same(capsys, run, found, task, files)
    assert np.array(alone(run / "use.py", files[3]).split(), float) == pytest.approx(answers[3])
    (line,) = [line for line in lines_of(found[0]) if line.startswith("Output")]
    scales = json.loads((run / "standardisation.json").read_text())
    assert f"times scale {scales['target_scale'][0]:.4g}, " in line
    (line,) = [line for line in lines_of(found[0]) if line.startswith("Input")]
    assert line.startswith(f"Input    4 numbers, minus mean {scales['mean'][0]:.4g}, ")


def test_signals_are_standardised_by_channel_and_classified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    y = np.arange(220) % 2
    x = RNG.normal(size=(220, 12, 3)) * [1.0, 50.0, 2000.0] + 400 * y[:, None, None]
    np.savez(tmp_path / "mine.npz", x=x[:180], y=y[:180], x_test=x[180:], y_test=y[180:])
    data = ["dataset=arrays", "dataset.examples=signal", f"dataset.path={tmp_path / 'mine.npz'}"]
    found = ran([*data, "model=mlp", "model.hidden_units=[8]"], tmp_path)
    files = [tmp_path / f"{number:03}.npy" for number in range(40)]
    for file, row in zip(files, x[180:], strict=True):
        np.save(file, row)
    run = tmp_path / "run"
    answers = require_same(capsys, run, found, Classification(2, from_logits=True), files)
    first = f"{answers[7].max():.4f} class {answers[7].argmax()}"
    assert alone(run / "use.py", files[7]).splitlines()[0] == first


def test_images_in_arrays_are_scaled_and_turned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    y = np.arange(140) % 2
    x = RNG.integers(0, 2000, (140, 3, 12, 10)) + 2000 * y[:, None, None, None]
    x = x.astype(np.uint16)
    np.savez(tmp_path / "mine.npz", x=x[:120], y=y[:120], x_test=x[120:], y_test=y[120:])
    white = ["dataset.white=4095", "dataset.channels_first=true"]
    data = ["dataset=arrays", f"dataset.path={tmp_path / 'mine.npz'}", *white, "model.filters=[4]"]
    found = ran([*data, "export=all"], tmp_path)
    files = [tmp_path / f"{number:03}.npy" for number in range(20)]
    for file, row in zip(files, x[120:], strict=True):
        np.save(file, row)
    run = tmp_path / "run"
    answers = require_same(capsys, run, found, Classification(2, from_logits=True), files)
    first = alone(run / "use.py", files[3], "pruned-float.tflite").splitlines()[0]
    assert first == f"{answers[3].max():.4f} class {answers[3].argmax()}"
    (line,) = [line for line in lines_of(found[0]) if line.startswith("Input")]
    assert line.startswith("Input    an array of pixels of 3 x 12 x 10, channels first, where 4095 is white")


def test_an_image_of_the_main_job_is_read_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ran(["dataset=mnist", "model.filters=[4]"], tmp_path)
    from PIL import Image

    files = [tmp_path / f"{number:03}.png" for number in range(100)]
    for file, pixels in zip(files, found[1].test.x, strict=True):
        Image.fromarray(pixels[..., 0]).save(file)
    require_same(capsys, tmp_path / "run", found, Classification(10, from_logits=True), files)
    picture(3).save(tmp_path / "other.png")
    with pytest.raises(SystemExit, match="It must be 28 pixels wide and 28 high"):
        answered(capsys, tmp_path / "run" / "use.py", tmp_path / "other.png")
