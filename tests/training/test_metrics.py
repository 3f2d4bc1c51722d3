"""Losses and metrics by name: their values worked out by hand, and who may be named for which data."""

import numpy as np
import pytest
from conftest import QUICK
from results_fixtures import result, typed

from pruneflow.datasets.spec import Spec, Targets
from pruneflow.errors import ConfigError
from pruneflow.flow import objectives, pipeline
from pruneflow.models.tasks import Classification, Regression
from pruneflow.runtime import backend
from pruneflow.training import metrics

TWO, THREE = Classification(1, from_logits=False), Classification(3, from_logits=True)
PRICES = Regression(Targets((100.0, 0.0), (10.0, 1.0)))

# Six examples of three classes: 0 is found twice in three, 1 once in two, 2 always; 1 and 2 get another each.
LABELS = np.array([0, 0, 0, 1, 1, 2])
FOUND = np.array([0, 0, 1, 1, 2, 2])
LOGITS = np.eye(3)[FOUND] * 5
OF_THREE = {
    "precision": (1 + 1 / 2 + 1 / 2) / 3,
    "recall": (2 / 3 + 1 / 2 + 1) / 3,
    "f1": (4 / 5 + 1 / 2 + 2 / 3) / 3,
}
# Four examples of two classes: at 0.5 one of each is right and one wrong; three of the four pairs
# of a 0 and a 1 are in order.
POSITIVE = np.array([[0.1], [0.6], [0.4], [0.9]])
OF_TWO = {"precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2, "auc": 3 / 4}


@pytest.fixture(scope="module")
def keras_metrics():
    from pruneflow.training import keras_metrics

    return keras_metrics


@pytest.mark.parametrize(
    ("task", "outputs", "labels", "expected"),
    [(THREE, LOGITS, LABELS, OF_THREE), (TWO, POSITIVE, np.array([0, 0, 1, 1]), OF_TWO)],
    ids=["three", "two"],
)
def test_metrics_of_classes_are_those_worked_out_by_hand(keras_metrics, task, outputs, labels, expected):
    measured = keras_metrics.measured
    found = {name: measured(task, name, task.outcome(outputs), labels) for name in expected}
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_class_that_is_never_predicted_counts_zero(keras_metrics):
    outcome, labels = np.eye(3)[[0, 0, 0]], np.array([0, 1, 2])
    assert keras_metrics.measured(THREE, "precision", outcome, labels) == pytest.approx(1 / 9)


def test_the_best_few_are_looked_through_for_the_label(keras_metrics):
    task, outcome = Classification(5, from_logits=False), np.array([[0.1, 0.2, 0.3, 0.25, 0.15]] * 5)
    assert keras_metrics.measured(task, "top_3_accuracy", outcome, np.arange(5)) == pytest.approx(3 / 5)


def test_errors_are_in_the_units_of_the_data(keras_metrics):
    learned, given = np.array([[0.0, 2.0], [1.0, 4.0]]), np.array([[0.5, 2.0], [1.0, 5.0]])
    outcome, truth = PRICES.outcome(given), PRICES.truth(learned)
    np.testing.assert_array_equal(truth, [[100, 2], [110, 4]])
    assert PRICES.metrics(outcome, truth)["mean_absolute_error"] == pytest.approx((5 + 0 + 0 + 1) / 4)
    assert PRICES.loss(outcome, truth) == pytest.approx((25 + 1) / 4)
    found = {
        name: keras_metrics.measured(PRICES, name, outcome, truth)
        for name in ("root_mean_squared_error", "mean_absolute_percentage_error")
    }
    percent = 100 * (5 / 100 + 0 + 0 + 1 / 4) / 4
    expected = {"root_mean_squared_error": 6.5**0.5, "mean_absolute_percentage_error": percent}
    assert found == pytest.approx(expected, rel=1e-6)


def test_r2_is_the_mean_over_targets_and_bears_one_that_never_changes():
    truth = np.array([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0]])
    assert PRICES.metrics(truth, truth)["r2"] == 1.0
    half_wrong = truth + np.array([[0, 1], [0, 0], [0, 0]])
    assert PRICES.metrics(half_wrong, truth)["r2"] == 0.5
    of_mean = np.stack([np.full(3, 2.0), truth[:, 1]], axis=1)
    assert PRICES.metrics(of_mean, truth)["r2"] == 0.5


def test_predictions_differ_from_a_share_of_their_spread_on():
    a = np.array([[100.0, 0.0], [110.0, 2.0]])  # standard deviations 5 and 1
    assert PRICES.differ(a, a + np.array([[0.4, 0.0], [0.6, 0.0]])).tolist() == [False, True]
    assert PRICES.differ(a, a + np.array([[0.0, 0.2], [0.0, 0.08]])).tolist() == [True, False]


@pytest.mark.run
@pytest.mark.parametrize("task", [TWO, THREE, PRICES], ids=["two", "three", "numbers"])
def test_what_keras_watches_on_outputs_is_what_is_measured_in_the_end(keras_metrics, task):
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(50, task.units)).astype(np.float32)
    y = rng.normal(size=(50, task.units)).astype(np.float32)
    kind = "numbers"
    if isinstance(task, Classification):
        outputs = outputs if task.from_logits else 1 / (1 + np.exp(-outputs))
        y, kind = rng.integers(0, task.classes, 50), "classes"
    names = [name for name, each in metrics.METRICS.items() if each.task == kind and "top" not in name]
    headline, *watched = keras_metrics.metrics(task, names)
    for metric in (headline, *watched):
        metric.update_state(y[:20], outputs[:20])
        metric.reset_state()
        for start in (0, 30):
            part = slice(start, start + 30)
            metric.update_state(
                y[part, None] if y.ndim == 1 and metric is headline else y[part], outputs[part]
            )
    outcome, truth = task.outcome(outputs), task.truth(y)
    usual = task.metrics(outcome, truth)
    assert float(headline.result()) == pytest.approx(usual[task.headline], abs=1e-5)
    for name, metric in zip(names, watched, strict=True):
        expected = keras_metrics.measured(task, name, outcome, truth)
        assert float(metric.result()) == pytest.approx(expected, rel=1e-5), name
        assert usual.get(name, expected) == pytest.approx(expected, rel=1e-5)


def test_losses_of_classes_on_logits_are_those_of_their_probabilities(keras_metrics):
    """Focal loss (Lin et al. 2017): -(1 - p)^2 log p, for several classes times 0.25; Brier's score."""
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    right = p[np.arange(6), LABELS]
    expected = {
        "auto": -np.log(right).mean(),
        "crossentropy": -np.log(right).mean(),
        "focal_crossentropy": (-0.25 * (1 - right) ** 2 * np.log(right)).mean(),
        "mean_squared_error": ((p - np.eye(3)[LABELS]) ** 2).mean(),
    }
    of_one = np.where([0, 0, 1, 1], POSITIVE[:, 0], 1 - POSITIVE[:, 0])
    of_two = {
        "auto": -np.log(of_one).mean(),
        "focal_crossentropy": (-((1 - of_one) ** 2) * np.log(of_one)).mean(),
        "mean_squared_error": ((1 - of_one) ** 2).mean(),
    }
    for name, value in expected.items():
        loss = keras_metrics.loss(THREE, name)
        assert float(loss(LABELS[:, None], LOGITS.astype(np.float32))) == pytest.approx(value, rel=1e-4), name
    for name, value in of_two.items():
        loss = keras_metrics.loss(TWO, name)
        found = float(loss(np.array([[0], [0], [1], [1]]), POSITIVE.astype(np.float32)))
        assert found == pytest.approx(value, rel=1e-4), name


def test_every_loss_of_numbers_is_what_it_is_called(keras_metrics):
    error = np.array([[0.5], [3.0]], np.float32)
    expected = {
        "auto": 9.25 / 2,
        "mean_squared_error": 9.25 / 2,
        "mean_absolute_error": 3.5 / 2,
        "huber": (0.125 + 2.5) / 2,
        "log_cosh": np.log(np.cosh([0.5, 3.0])).mean(),
    }
    assert {name for name, task in metrics.LOSSES.items() if task in ("", "numbers")} == set(expected)
    for name, value in expected.items():
        assert float(keras_metrics.loss(PRICES, name)(np.zeros_like(error), error)) == pytest.approx(value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.loss=mse", r"trainer\.loss=mse: allowed are auto, crossentropy, .*, log_cosh\."),
        ("trainer.metrics=[f2]", r"trainer\.metrics=\[f2\]: allowed are precision, .*, each once"),
        ("trainer.metrics=[f1,f1]", r"trainer\.metrics=\[f1,f1\]: allowed are"),
        (
            "trainer.early_stopping.monitor=f1",
            r"early_stopping\.monitor=f1: allowed are loss, accuracy, r2\.",
        ),
    ],
)
def test_names_that_there_are_not_are_refused(composed, override, message):
    with pytest.raises(ConfigError, match=message):
        composed(override)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["trainer.loss=huber"],
            r"trainer\.loss=huber: the data set is a classification, .* Take auto or cr",
        ),
        (
            ["trainer.metrics=[f1,mean_absolute_error]"],
            r"trainer\.metrics=mean_absolute_error: the data set is a classification, .* Take precision or",
        ),
        (
            ["trainer.early_stopping.monitor=r2", "trainer.early_stopping.patience=1"],
            r"trainer\.early_stopping\.monitor=r2: the data set is a classification, .* loss or accuracy",
        ),
    ],
)
def test_names_of_another_task_are_refused_before_training(composed, overrides, message):
    with pytest.raises(ConfigError, match=message):
        pipeline.prepare(composed(*QUICK, *overrides))


def test_a_few_of_too_few_classes_are_refused():
    with pytest.raises(ConfigError, match=r"trainer\.metrics=top_3_accuracy: the data set has 3 classes"):
        metrics.check_task(Spec("numbers", (2,), 3), "auto", ["top_3_accuracy"], None)


def test_a_search_looks_at_what_the_data_have():
    numbers = Spec("numbers", (2,), 0, targets=Targets.plain(1))
    objectives.check_task(["validation_r2", "gzip_bytes"], numbers)
    with pytest.raises(ConfigError, match=r"objective=\[validation_accuracy\]: .*\. Take validation_r2\."):
        objectives.check_task(["validation_accuracy"], numbers)
    of_numbers = result()
    of_numbers["pruned"] |= {"validation_accuracy": None, "validation_metrics": {"r2": 0.5}}
    of_numbers = typed(of_numbers)
    assert objectives.values(of_numbers, ["validation_r2"]) == [0.5]
    assert objectives.values(of_numbers, ["validation_accuracy"]) is None


@pytest.mark.run
def test_named_metrics_reach_the_result_and_the_curves(composed, tmp_path):
    from test_flow import read_scalars

    config = composed(
        *QUICK,
        "trainer.metrics=[f1,top_3_accuracy]",
        "trainer.loss=focal_crossentropy",
        "trainer.early_stopping.monitor=f1",
        "trainer.early_stopping.patience=1",
        f"stages.dir={tmp_path / 'store'}",
    )
    (tmp_path / "run").mkdir()
    ready = pipeline.prepare(config)
    result = pipeline.run(config, ready, tmp_path / "run")
    for network in (result.dense, result.pruned, result.pruned.wrapped, *result.tflite):
        assert list(network.metrics) == ["accuracy", "f1", "top_3_accuracy"]
        assert network.metrics["accuracy"] == network.accuracy
    pruned = backend.keras().models.load_model(tmp_path / "run" / "pruned.h5", compile=False)
    found = pruned.predict(ready.data.test.x / np.float32(255), verbose=0).argsort(axis=1)[:, -3:]
    hits = (found == ready.data.test.y[:, None]).any(axis=1).mean()
    assert result.pruned.metrics["top_3_accuracy"] == pytest.approx(hits)
    curves = read_scalars(tmp_path / "run" / "pruned")
    assert curves["f1/validation"][-1][1] == pytest.approx(result.pruned.validation_metrics["f1"], abs=1e-6)
    assert {"f1/train", "top_3_accuracy/train", "loss/validation", "accuracy/pruned"} < set(curves)
