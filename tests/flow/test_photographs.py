"""600 photographs of three things and a network of one's own: too few steps make a wreck, and it is said."""

import csv
import json
import re

import numpy as np
import pytest
from PIL import Image
from test_cli import exit_code

from pruneflow.runtime import backend

SIZE, EACH = 24, 200
SHAPES = ("disc", "square", "stripe")
SHORT = ["trainer.epochs=2", "trainer.batch_size=128"]  # what was taken of 600 photographs before: 8 steps

pytestmark = pytest.mark.long


def photograph(rng, shape):
    """A shape of a colour, a place and a size that are drawn, on another colour, with noise."""
    y, x = np.mgrid[:SIZE, :SIZE]
    y, x, size = y - rng.uniform(8, 16), x - rng.uniform(8, 16), rng.uniform(4, 7)
    inside = {
        "disc": y**2 + x**2 < size**2,
        "square": np.maximum(abs(y), abs(x)) < 0.9 * size,
        "stripe": abs(y - x) < 0.5 * size,
    }[shape]
    pixels = np.where(inside[..., None], rng.uniform(130, 230, 3), rng.uniform(40, 120, 3))
    pixels = pixels + rng.normal(0, 25, (SIZE, SIZE, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "photographs"
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        (folder / shape).mkdir(parents=True)
        for number in range(EACH):
            photograph(rng, shape).save(folder / shape / f"{number:03}.png")
    return folder


@pytest.fixture(scope="module")
def network(photographs):
    """Trained as Keras' own tutorial does: its loader of folders, pixels from 0 to 255."""
    keras = backend.keras()
    keras.utils.set_random_seed(0)
    data = keras.utils.image_dataset_from_directory(photographs, image_size=(SIZE, SIZE), seed=0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(12, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(24, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(3),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.003), loss, metrics=["accuracy"])
    model.fit(data, epochs=25, verbose=0)
    path = photographs.parent / "network.keras"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def words(photographs, network):
    cache = f"dataset.cache_dir={photographs.parent / 'cache'}"
    data = ["dataset=image_folder", f"dataset.path={photographs}", cache]
    return [*data, "model=keras_file", f"model.path={network}", "latency.seconds=0"]


def judgement(folder):
    return json.loads((folder / "result.json").read_text())["judgement"]


def test_the_dense_row_is_what_keras_itself_finds_of_jpeg_files_of_any_size(network, tmp_path):
    rng, keras = np.random.default_rng(1), backend.keras()
    for part in ("train", "test"):
        for shape in SHAPES:
            (tmp_path / "mine" / part / shape).mkdir(parents=True)
            for number in range(30):
                image = photograph(rng, shape).resize((20 + number, 50 - number))
                image.save(tmp_path / "mine" / part / shape / f"{number:03}.jpg")
    data = ["dataset=image_folder", "dataset.path=mine", "dataset.cache_dir=cache", "latency.seconds=0"]
    words = ["model=keras_file", f"model.path={network}", "trainer.epochs=1", "trainer.batch_size=27"]
    quick = ["schedule=constant", "schedule.final_sparsity=0.1", "schedule.frequency=1", "report=false"]
    assert exit_code([*data, *words, *quick, "hydra.run.dir=run"]) == 0
    model = keras.models.load_model(network, compile=False)
    files = keras.utils.image_dataset_from_directory(
        tmp_path / "mine" / "test", image_size=(SIZE, SIZE), shuffle=False
    )
    right = sum(int((model(x).numpy().argmax(axis=1) == y.numpy()).sum()) for x, y in files)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["dense"]["accuracy"] == right / 90 > 0.5


def test_at_a_moderate_sparsity_the_defaults_keep_the_accuracy_and_a_sweep_marks_where_it_breaks(
    words, tmp_path, capsys
):
    sparsities = "schedule.final_sparsity=0.8,0.99"
    assert exit_code([*words, "-m", sparsities, "hydra.sweep.dir=sweep"]) == 0
    with (tmp_path / "sweep" / "sweep.csv").open() as file:
        verdicts = [row["verdict"] for row in csv.DictReader(file)]
    assert verdicts == ["kept", "chance"]
    said = capsys.readouterr().out
    broken = judgement(tmp_path / "sweep" / "final_sparsity-0.99")
    marked = f"marked final_sparsity-0.99: chance. {broken['message']}"
    assert broken["drop"] > 0.05 and marked in " ".join(said.split())
    assert '"notice alarm"' in (tmp_path / "sweep" / "final_sparsity-0.99" / "report.html").read_text()
    said = said.split(" run=")[0]  # until the end of the first cell
    found = judgement(tmp_path / "sweep" / "final_sparsity-0.8")
    assert found["verdict"] == "kept" and found["dense"] > 0.9
    assert found["pruned"] >= found["dense"] - 0.05
    assert "pruned 19 x 27 steps = 513 steps, batches of 16 (epochs by trainer.min_steps=500" in said
    before = re.search(r"As it came accuracy (0\.9|1\.0)\d{3} on 48 validation examples", said)
    assert before and before.start() < said.index("Training, pruned, epoch 1/19")
    assert "Note       The pruning phase" not in said and "guessing" not in said


def test_eight_steps_are_doubted_before_and_the_wreck_fails_after(words, tmp_path, capsys):
    assert exit_code([*words, *SHORT, "schedule.final_sparsity=0.95", "hydra.run.dir=run"]) == 3
    said = capsys.readouterr()
    assert "The pruning phase has 8 steps (fewer than 100)" in said.out
    assert said.err.startswith("Pruning left a network that guesses: accuracy ")
    assert (tmp_path / "run" / "report.html").exists() and (tmp_path / "run" / "pruned-float.tflite").exists()


def test_classes_in_another_order_are_doubted_before_anything_is_pruned(words, capsys):
    other = "dataset.class_names=[stripe,disc,square]"
    assert exit_code([*words, other, *SHORT, "schedule.final_sparsity=0.5", "report=false"]) in (0, 3)
    said = capsys.readouterr().out
    assert re.search(r"As it came accuracy 0\.[01]\d{3} on 48 validation examples", said)
    assert said.index("Likely causes: classes in another order") < said.index("Training, pruned, epoch 1/2")
