"""Files are evaluated on data as they learned to read them; what changed since the last run is seen."""

import json
import os
import sys

import numpy as np
import pytest
from conftest import QUICK
from own_fixtures import arrays, numbers, opinions, rows, texts

import pruneflow
from pruneflow import evaluate
from pruneflow.datasets.as_trained import as_trained
from pruneflow.datasets.spec import Data
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.flow import pipeline, prepare, results
from pruneflow.report import summary


def saved(data: Data, folder):
    """What a run leaves beside a file."""
    folder.mkdir(exist_ok=True)
    if data.vocabulary is not None:
        (folder / "vocabulary.json").write_text(json.dumps(data.vocabulary))
    else:
        (folder / "standardisation.json").write_text(json.dumps(data.standardisation or {}))
    return folder / "pruned-float.tflite"


def test_words_get_the_ids_that_they_had_in_training(tmp_path):
    path, later = (rows(tmp_path / f"{name}.csv", opinions(60)) for name in ("mine", "later"))
    whole = {"vocabulary_size": 60, "length": 6}
    trained = texts(path, **whole).load()
    file = saved(trained, tmp_path / "run")
    other = texts(path, validation_fraction=0.4, test_path=str(later), **whole)
    loaded = other.load()
    assert loaded.vocabulary != trained.vocabulary
    again = as_trained(file, other, loaded)
    assert again.vocabulary == trained.vocabulary
    ids, known = (
        {v: k for k, v in trained.vocabulary.items()},
        texts(later, **whole, index_path=str(tmp_path / "run" / "vocabulary.json")).load(),
    )
    assert known.vocabulary == trained.vocabulary
    said = [ids[token] for token in again.test.x[0] if token in ids]
    assert said[:2] == ["a", again.class_names[again.test.y[0]].split("-")[0]]


def test_what_was_read_the_same_way_is_not_read_again(tmp_path):
    option = texts(rows(tmp_path / "mine.csv", opinions(60)))
    data = option.load()
    assert as_trained(saved(data, tmp_path), option, data) is data
    assert as_trained(tmp_path / "elsewhere" / "x.tflite", option, data) is data


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("standardise", [True, False])
def test_numbers_get_the_scales_that_they_had_in_training(tmp_path, task, standardise):
    held = numbers(60)
    y = held["y"] if task == "classification" else held["x"].sum(axis=1) * 100
    np.savez(tmp_path / "mine.npz", x=held["x"], y=y, x_test=held["x"][:10], y_test=y[:10])
    on = {"standardise": standardise, "standardise_targets": standardise}
    trained = arrays(tmp_path / "mine.npz", task=task, **on).load()
    other = arrays(tmp_path / "mine.npz", task=task, validation_fraction=0.4)
    loaded = other.load()
    assert np.abs(loaded.test.x - trained.test.x).max() > 1e-3
    again = as_trained(saved(trained, tmp_path / "run"), other, loaded)
    np.testing.assert_allclose(again.test.x, trained.test.x, atol=1e-5)
    np.testing.assert_allclose(again.test.y, trained.test.y, rtol=1e-5, atol=1e-5)
    assert again.spec.targets == trained.spec.targets


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"mean": [0.0], "scale": [1.0]}', r"does not fit the data: its scales are not those of .*\(3,\)"),
        ('{"mean": [0.0, 0.0, 0.0]}', r"does not fit the data"),
        ('{"mean": [0, 0, 0], "scale": [1, 0, 1]}', r"does not fit the data"),
        ('{"mean": [0, 0, NaN], "scale": [1, 1, 1]}', r"does not fit the data"),
        (f'{{"mean": [0, 0, 1{400 * "0"}], "scale": [1, 1, 1]}}', r"does not fit the data"),
        ('{"mean": "word", "scale": {"a": 1}}', r"does not fit the data"),
        ("[1]", r"standardisation\.json is no JSON object"),
        (100_000 * "[", r"standardisation\.json cannot be read"),
        ("{", r"standardisation\.json cannot be read"),
    ],
)
def test_scales_that_are_of_other_data_are_refused(tmp_path, content, message):
    np.savez(tmp_path / "mine.npz", **numbers())
    option = arrays(tmp_path / "mine.npz")
    data = option.load()
    saved(data, tmp_path)
    (tmp_path / "standardisation.json").write_text(content)
    with pytest.raises(PruneflowError, match=message):
        as_trained(tmp_path / "pruned-float.tflite", option, data)


FACTORY = """
import numpy as np
import tf_keras as keras

SCALE = 1.0

def scaled(x):
    return x * SCALE

class Base(keras.layers.Layer):
    def call(self, x):
        return x * 1.0

class Mine(Base):
    pass

def data():
    x = np.random.default_rng(0).normal(5, 2, (80, 3))
    return {"x_train": x, "y_train": x[:, 0] > 5, "class_names": ["ONE", "two"]}

def network(spec):
    inputs = keras.Input(spec.shape, name="input")
    x = keras.layers.Dense(4, activation=scaled, name="hidden")(Mine(name="mine")(inputs))
    return keras.Model(inputs, keras.layers.Dense(spec.outputs, name="answers")(x))
"""


class StoppedError(Exception):
    pass


@pytest.fixture
def prepared(monkeypatch):
    """Runs of the library that end once the data are there."""
    found = []

    def run(config, ready, *_, **__):
        found.append(ready)
        raise StoppedError

    monkeypatch.setattr(pipeline, "run", run)

    def go(folder, *words):
        with pytest.raises(StoppedError):
            pruneflow.run([*words, "trainer.batch_size=16", "trainer.dense_batch_size=16"], folder=folder)
        return found[-1]

    return go


@pytest.mark.run
def test_a_file_that_changed_between_two_runs_is_read_again(prepared, tmp_path):
    held = numbers(60)
    words = ["dataset=arrays", f"dataset.path={tmp_path / 'mine.npz'}", "model=mlp"]
    digests = []
    for index, x in enumerate((held["x"], held["x"], held["x"] * 2 + 1)):
        np.savez(tmp_path / "mine.npz", x=x, y=held["y"][:: -1 if index == 2 else 1])
        digests.append(prepared(tmp_path / str(index), *words).data.digest)
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.run
def test_functions_that_changed_or_are_of_another_folder_are_imported_again(prepared, tmp_path, monkeypatch):
    words = ["dataset=custom", "dataset.factory=my_own:data", "model=mlp"]
    names = []
    for index, (folder, name) in enumerate([("a", "ONE"), ("a", "other"), ("b", "third")]):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "my_own.py").write_text(FACTORY.replace("ONE", name))
        monkeypatch.chdir(tmp_path / folder)
        names.append(prepared(tmp_path / str(index), *words).data.class_names[0])
    assert names == ["ONE", "other", "third"]
    prepare.forget()
    sys.modules.pop("my_own", None)


@pytest.mark.run
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SCALE = 1.0", "SCALE = 2.0"),
        ("return x * SCALE", "return x + SCALE"),
        ("return x * 1.0", "return x * 3.0"),
        ("class Mine(Base):", "class Mine(keras.layers.Layer):"),
        ("Dense(4,", "Dense(4, kernel_initializer='zeros',"),
        ("import numpy as np", "import numpy as np  # a remark"),
    ],
)
def test_a_network_is_another_one_when_any_code_behind_it_is(composed, tmp_path, monkeypatch, old, new):
    monkeypatch.chdir(tmp_path)
    identities = []
    for text in (FACTORY, FACTORY, FACTORY.replace(old, new)):
        (tmp_path / "my_net.py").write_text(text)
        os.utime(tmp_path / "my_net.py", (1e9, 1e9))  # written within one second
        prepare.forget()
        config = composed(
            "dataset=custom", "dataset.factory=my_net:data", "model=custom", "model.factory=my_net:network"
        )
        identities.append(config.model.identity(config.dataset.load().spec))
    assert identities[0] == identities[1]
    assert (identities[0] == identities[2]) == ("remark" in new)
    prepare.forget()
    sys.modules.pop("my_net", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "import numpy as np\ndef load():\n    return np.load('gone.npy')\n",
            r"\.npy'? .*mine_too\.py, line 3\)\. Mend",
        ),
        (
            "def load():\n    raise SystemExit(3)\n",
            r"load\(\) raised SystemExit: 3 \(.*mine_too\.py, line 2\)",
        ),
        ("raise SystemExit(3)\n", r"importing mine_too raised SystemExit: 3 \(.*mine_too\.py, line 1\)"),
    ],
)
def test_an_error_is_told_where_it_is_in_the_users_own_file(tmp_path, monkeypatch, text, message):
    from own_fixtures import own

    (tmp_path / "mine_too.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PruneflowError, match=message):
        own("custom", factory="mine_too:load").load()
    sys.modules.pop("mine_too", None)


def test_a_file_that_is_called_as_a_module_of_python_is_refused(tmp_path, monkeypatch):
    from own_fixtures import own

    (tmp_path / "code.py").write_text("def load(): pass\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"dataset\.factory=code:load: code is a module of Python too, .*"):
        own("custom", factory="code:load").load()


@pytest.mark.run
def test_each_class_is_told_how_it_fares(composed, tmp_path, monkeypatch):
    np.savez(tmp_path / "mine.npz", **{**numbers(200), "y": np.where(numbers(200)["y"], "left", "right")})
    monkeypatch.chdir(tmp_path)
    words = [
        "dataset=arrays",
        "dataset.path=mine.npz",
        "model=mlp",
        "export=float",
        *QUICK,
        "trainer.dense_epochs=9",
    ]
    result = pruneflow.run([*words, "schedule.final_sparsity=0.6"], folder=tmp_path / "run")
    assert [each.name for each in result.classes] == ["left", "right"]
    assert sum(each.examples for each in result.classes) == result.data.test
    for network, found in (("dense", result.dense), ("pruned", result.pruned), ("float", result.tflite[0])):
        right = sum(each.accuracy[network] * each.examples for each in result.classes)
        assert right / result.data.test == pytest.approx(found.accuracy)
    assert (tmp_path / "run" / "labels.txt").read_text() == "left\nright\n"
    kept = results.read(tmp_path / "run")
    for index, figures in enumerate(({"dense": 0.8, "float": 0.4}, {"dense": 0.9, "float": 0.2})):
        kept.classes[index].accuracy.update(figures)
    (line,) = [line for line in summary.findings(kept) if line.startswith("Class ")]
    assert "right loses most: accuracy 0.9000 before pruning, 0.2000 in pruned-float.tflite, of " in line
    from pruneflow.report.run_page import write_run_report

    page = write_run_report(tmp_path / "run").read_text()
    assert "Accuracy of each class" in page and "labels.txt" in page and ">left<" in page


@pytest.mark.run
def test_evaluation_says_that_it_took_the_scales_of_the_run(tmp_path, monkeypatch, capsys):
    np.savez(tmp_path / "mine.npz", **numbers(200))
    monkeypatch.chdir(tmp_path)
    words = ["dataset=arrays", "dataset.path=mine.npz"]
    result = pruneflow.run([*words, "model=mlp", "export=float", *QUICK], folder=tmp_path / "run")
    capsys.readouterr()
    file = str(tmp_path / "run" / "pruned-float.tflite")
    assert evaluate.main([file, *words, "dataset.validation_fraction=0.5", "latency.seconds=0"]) == 0
    shown = capsys.readouterr().out
    assert "standardisation.json: numbers as in training" in shown
    assert f"{result.tflite[0].accuracy:.4f}" in shown
