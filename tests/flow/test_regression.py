"""Numbers to predict, from arrays to TFLite, TensorBoard, report and table."""

import csv
import sys

import numpy as np
import pytest
from conftest import QUICK
from own_fixtures import arrays, own
from test_flow import read_scalars

import pruneflow
from pruneflow import evaluate
from pruneflow.datasets.spec import Data, Part, Spec, Targets
from pruneflow.errors import ConfigError, DataError
from pruneflow.flow import pipeline, results
from pruneflow.report import hparams, outcomes
from pruneflow.report.collect import collect
from pruneflow.report.run_page import write_run_report
from pruneflow.report.sweep_page import write_sweep_report
from pruneflow.runtime import backend

MEAN, SCALE = np.array([300.0, -2.0]), np.array([100.0, 0.5])


def measurements(n=400):
    """Two numbers in units far apart, which are linear in four others but for some noise."""
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (n, 4))
    y = (x - 3) @ rng.normal(size=(4, 2)) / 4 + rng.normal(scale=0.05, size=(n, 2))
    return {"x": x, "y": y * SCALE + MEAN}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("numbers") / "mine.npz"
    np.savez(path, **measurements())
    return path


def settings(file, *more):
    return [
        *[each for each in QUICK if not each.startswith(("model", "dataset"))],
        "dataset=arrays",
        f"dataset.path={file}",
        "dataset.task=regression",
        "model=mlp",
        "trainer.dense_epochs=30",
        "trainer.learning_rate=0.01",
        "schedule.final_sparsity=0.5",
        *more,
    ]


@pytest.fixture(scope="module")
def finished(file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("regression")
    run = folder / "sweep" / "run"
    run.mkdir(parents=True)
    words = settings(file, "export=all", "trainer.metrics=[root_mean_squared_error]", f"stages.dir={folder}")
    config = pruneflow.compose(words)
    ready = pipeline.prepare(config)
    return ready.data, pipeline.run(config, ready, run, command="test"), run


def test_numbers_are_learned_standardised_and_told_in_their_own_units(file):
    raw, data = measurements(), arrays(file, task="regression").load()
    assert (data.spec.kind, data.spec.classes, data.spec.outputs) == ("numbers", 0, 2)
    assert (data.train.y.dtype, data.train.y.shape) == (np.float32, (288, 2))
    np.testing.assert_allclose(data.train.y.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(data.train.y.std(axis=0), 1, atol=1e-5)
    restored = data.spec.targets.restored(data.test.y)
    held_out = {tuple(np.round(row, 3)) for row in raw["y"]}
    assert {tuple(np.round(row, 3)) for row in restored} < held_out
    assert data.standardisation["target_mean"] == list(data.spec.targets.mean)
    plain = arrays(file, task="regression", standardise_targets=False).load()
    assert plain.spec.targets.are_plain
    assert "target_mean" not in plain.standardisation
    np.testing.assert_allclose(plain.test.y, restored, rtol=1e-5)


def test_one_column_needs_no_second_axis(tmp_path):
    held = measurements()
    np.savez(tmp_path / "one.npz", x=held["x"], y=held["y"][:, 0])
    assert arrays(tmp_path / "one.npz", task="regression").load().train.y.shape == (288, 1)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (
            np.full(40, 3.5),
            r"array y: expected numbers to predict that differ in the training part, found th",
        ),
        (np.array(["a"] * 40), r"array y: expected numbers to predict, \(n,\) or \(n, targets\), found <U1"),
        (np.where(np.arange(40) == 7, np.nan, 1.0), r"array y: expected finite numbers; .* nan in row 7"),
    ],
)
def test_what_are_no_numbers_to_predict_is_refused(tmp_path, y, message):
    np.savez(tmp_path / "mine.npz", x=np.ones((40, 2)), y=y)
    with pytest.raises(DataError, match=message):
        arrays(tmp_path / "mine.npz", task="regression").load()


def test_measurements_are_refused_as_classes_with_the_setting_that_takes_them(file):
    with pytest.raises(DataError, match=r"array y: expected .*dataset\.task=regression predicts numbers"):
        arrays(file).load()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset.task=numbers"], r"dataset\.task=numbers: allowed are classification, regression\."),
        (["model.output_activation=softmax"], r"model\.output_activation=softmax: .* numbers to predict"),
        (
            ["trainer.loss=crossentropy"],
            r"trainer\.loss=crossentropy: the data set is a regression, .* auto or",
        ),
        (["trainer.metrics=[f1]"], r"trainer\.metrics=f1: .* Take mean_absolute_error or root_mean"),
    ],
)
def test_settings_that_mean_nothing_for_numbers_are_refused(composed, file, overrides, message):
    with pytest.raises(ConfigError, match=message):
        pipeline.prepare(composed(*settings(file, *overrides)))


@pytest.mark.run
def test_every_figure_is_that_of_the_predictions(finished):
    data, result, run = finished
    model = backend.keras().models.load_model(run / "pruned.h5", compile=False)
    predicted = data.spec.targets.restored(model.predict(data.test.x, verbose=0))
    truth = data.spec.targets.restored(data.test.y)
    error = predicted - truth
    r2 = (1 - (error**2).sum(axis=0) / ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)).mean()
    assert result.data.metric == "r2"
    assert result.pruned.metrics == pytest.approx(
        {
            "r2": r2,
            "mean_absolute_error": np.abs(error).mean(),
            "root_mean_squared_error": np.sqrt((error**2).mean()),
        },
        rel=1e-4,
    )
    assert r2 > 0.8
    assert result.pruned.loss == pytest.approx((error**2).mean(), rel=1e-4)
    for network in (result.dense, result.pruned, result.pruned.wrapped, *result.tflite):
        assert network.accuracy is None
        assert network.metrics["r2"] == pytest.approx(r2, abs=0.2)
    as_float = result.tflite[0]
    assert as_float.agreement == 1.0
    assert as_float.validation_drop == pytest.approx(0, abs=1e-5)
    assert as_float.max_difference == pytest.approx(0, abs=1e-2)


def test_the_curves_have_r2_and_the_text_card_too(finished):
    _, result, run = finished
    curves = read_scalars(run / "pruned")
    assert {"r2/train", "r2/validation", "r2/pruned", "loss/train"} < set(curves)
    assert not [tag for tag in curves if tag.startswith("accuracy")]
    assert curves["r2/validation"][-1][1] == pytest.approx(result.pruned.validation_metrics["r2"], abs=1e-4)
    hparams.write(run, {})
    final = read_scalars(run / "int8")
    assert final["final/r2"][0][1] == pytest.approx(result.tflite[2].metrics["r2"])
    assert {"final/validation_r2", "final/mean_absolute_error", "final/gzip_bytes"} < set(final)


@pytest.mark.run
def test_the_report_compares_by_r2(finished):
    _, result, run = finished
    page = write_run_report(run).read_text()
    for words in ("R2, TFLite", "mean absolute error", "sparsity, loss, R2, at the end of each epoch"):
        assert words in page, words
    assert "accuracy" not in page.partition("<h2>Config</h2>")[0].replace("max_accuracy_drop", "")
    swept = write_sweep_report(collect([run.parent]), run.parent / "report.html").read_text()
    assert "R2 against size" in swept
    assert f"{result.tflite[0].metrics['r2']:.4f}" in swept


def test_the_table_and_the_csv_name_what_they_compare_by(finished, capsys):
    from pruneflow.report import ending, tables

    _, result, run = finished
    tables.show_result(result)
    cell = outcomes.CellOutcome("run", results.read(run), "")
    tables.show_sweep([cell])
    ending.show_done(cell.result, run)
    shown = capsys.readouterr().out
    assert "compression      R2\n" in shown
    assert "root mean squared error" in shown
    assert f"r2={result.tflite[0].metrics['r2']:.4f} gzip_bytes=" in shown
    outcomes.write_csv(run.parent / "sweep.csv", [cell])
    row = next(csv.DictReader((run.parent / "sweep.csv").read_text().splitlines()))
    assert (row["metric"], row["tflite_accuracy"]) == ("r2", "")
    assert float(row["tflite_r2"]) == result.tflite[0].metrics["r2"]
    assert float(row["pruned_validation_r2"]) == result.pruned.validation_metrics["r2"]


@pytest.mark.run
def test_any_file_is_evaluated_by_r2(finished, file, capsys):
    _, result, run = finished
    words = ["dataset=arrays", f"dataset.path={file}", "dataset.task=regression"]
    assert evaluate.main([str(run / "pruned-int8.tflite"), *words]) == 0
    shown = capsys.readouterr().out
    assert f"{result.tflite[2].metrics['r2']:.4f}" in shown
    assert "R2" in shown
    assert evaluate.main([str(run / "pruned-int8.tflite"), *words[:2], "dataset.task=classification"]) != 0


@pytest.mark.run
def test_images_and_texts_can_have_numbers_too(composed, tmp_path):
    rng = np.random.default_rng(0)
    level = rng.integers(0, 200, 120)
    images = np.clip(level[:, None, None] + rng.integers(0, 20, (120, 8, 8)), 0, 255).astype(np.uint8)
    np.savez(tmp_path / "mine.npz", x=images, y=level / 200)
    config = composed(
        *settings(tmp_path / "mine.npz", "model=cnn", "model.filters=[4]", "trainer.dense_epochs=20"),
        f"stages.dir={tmp_path}",
    )
    (tmp_path / "run").mkdir()
    ready = pipeline.prepare(config)
    assert ready.data.spec.kind == "image"
    assert pipeline.run(config, ready, tmp_path / "run").dense.metrics["r2"] > 0.5


FACTORY = """
import numpy as np
from pruneflow.datasets.spec import Data, Part, Spec, Targets

def texts():
    rng = np.random.default_rng(0)
    spec = Spec("tokens", (6,), 0, vocabulary_size=30, targets=Targets.plain(1))
    parts = []
    for n in (200, 40, 40):
        x = rng.integers(4, 30, (n, 6)).astype(np.int32)
        parts.append(Part(x, (x == 7).sum(axis=1, keepdims=True).astype(np.float32)))
    return Data("mine", spec, *parts)

def broken():
    data = texts()
    return Data("mine", data.spec, Part(data.train.x, data.train.y[:, 0]), data.validation, data.test)

def pairs():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    return x, x.sum(axis=1)

def net(spec, units=None):
    import tf_keras as keras
    inputs = keras.Input(spec.shape)
    outputs = keras.layers.Dense(units or spec.outputs, name="answers")(inputs)
    return keras.Model(inputs, outputs)

def soft(spec):
    import tf_keras as keras
    inputs = keras.Input(spec.shape)
    return keras.Model(inputs, keras.layers.Dense(spec.outputs, "softmax", name="answers")(inputs))
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "my_numbers.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "my_numbers"
    sys.modules.pop("my_numbers", None)


def test_a_function_may_return_numbers_to_predict(mine):
    data = own("custom", factory=f"{mine}:texts", task="regression").load()
    assert (data.spec.kind, data.spec.targets) == ("tokens", Targets.plain(1))
    pairs = own("custom", factory=f"{mine}:pairs", task="regression").load()
    assert pairs.spec.outputs == 1
    with pytest.raises(ConfigError, match=r"dataset\.task=classification: the Data that .* is for a regress"):
        own("custom", factory=f"{mine}:texts").load()
    with pytest.raises(DataError, match=r"train\.y: expected float32 \(200, 1\), numbers to predict, found"):
        own("custom", factory=f"{mine}:broken", task="regression").load()


def test_a_recurrent_network_predicts_numbers_as_they_are(mine):
    spec = own("custom", factory=f"{mine}:texts", task="regression").load().spec
    from pruneflow.models.recurrent import Gru

    model = Gru(
        name="gru", embedding_dim=4, units=3, bidirectional=False, embedding_dropout=0.0, dropout=0.0
    ).build(spec)
    assert (model.output_shape, model.layers[-1].activation.__name__) == ((None, 1), "linear")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["net"], None),
        (
            ["net", "model.arguments={units:2}"],
            r"it gives \(2\) for an example, and .* has 1 numbers to predict",
        ),
        (["soft"], r"it ends with a softmax, which gives probabilities, and the data set has numbers"),
        (["net", "model.output=logits"], r"model\.output=logits: the data set has numbers to predict"),
    ],
)
def test_a_network_of_ones_own_must_fit_the_numbers(composed, mine, overrides, message):
    name, *more = overrides
    words = [
        *[each for each in QUICK if not each.startswith(("model", "dataset"))],
        *("dataset=custom", f"dataset.factory={mine}:pairs", "dataset.task=regression"),
        *("model=custom", f"model.factory={mine}:{name}", *more),
        *("trainer.batch_size=16", "trainer.dense_batch_size=16", "export=float"),
    ]
    if message is None:
        assert pipeline.prepare(composed(*words)).data.spec.outputs == 1
    else:
        with pytest.raises(ConfigError, match=message):
            pipeline.prepare(composed(*words))


def test_a_part_of_numbers_is_drawn_without_regard_to_them():
    from pruneflow.datasets.split import draw

    y = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    chosen = draw(y, 30, np.random.default_rng(3))
    assert len(set(chosen.tolist())) == 30
    assert chosen.tolist() == draw(y[::-1], 30, np.random.default_rng(3)).tolist()


def test_a_data_object_of_numbers_says_how_many():
    spec = Spec("numbers", (2,), 0, targets=Targets.plain(3))
    assert (spec.outputs, Spec("numbers", (2,), 5).outputs) == (3, 5)
    assert (
        Data("x", spec, *[Part(np.zeros((1, 2), np.float32), np.zeros((1, 3), np.float32))] * 3).spec is spec
    )
