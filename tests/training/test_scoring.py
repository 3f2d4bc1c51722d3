import math

import numpy as np
import pytest

from pruneflow.datasets.spec import Part, Spec, Targets
from pruneflow.exports import runner
from pruneflow.exports.exporters import Float
from pruneflow.exports.sizes import size_of
from pruneflow.models.tasks import Classification, Regression, task_of
from pruneflow.runtime import backend
from pruneflow.training import scoring

TWO = Classification(2, from_logits=False)


def test_accuracy_counts_the_most_probable_class():
    probabilities = np.array([[0.7, 0.3], [0.4, 0.6], [0.2, 0.8], [0.9, 0.1]])
    assert scoring.score(TWO, probabilities, np.array([0, 1, 0, 0])).metrics == {"accuracy": 0.75}


def test_loss_is_mean_cross_entropy_and_never_infinite():
    probabilities = np.array([[1.0, 0.0], [0.25, 0.75]])
    loss = scoring.score(TWO, probabilities, np.array([0, 1])).loss
    assert loss == pytest.approx(-np.log(0.75) / 2)
    assert np.isfinite(scoring.score(TWO, probabilities, np.array([1, 1])).loss)


def test_parity_counts_other_predictions_and_the_largest_difference():
    a = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    b = np.array([[0.8, 0.2], [0.45, 0.55], [0.2, 0.8]])
    found = scoring.parity(TWO, a, b)
    assert found.disagreements == 1
    assert (found.agreement, found.max_difference) == pytest.approx((2 / 3, 0.15))


def test_one_output_stands_for_two_classes():
    outputs = np.array([[0.0], [np.log(3)]])
    found = Classification(1, from_logits=True).outcome(outputs)
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.25, 0.75]])


def test_softmax_does_not_overflow():
    outputs = np.array([[1000.0, 1000.0, 0.0]])
    found = Classification(3, from_logits=True).outcome(outputs)
    np.testing.assert_allclose(found, [[0.5, 0.5, 0.0]])


@pytest.mark.parametrize(
    ("units", "activation", "task"),
    [
        (10, "linear", Classification(10, True)),
        (10, "softmax", Classification(10, False)),
        (1, "sigmoid", Classification(1, False)),
    ],
)
def test_the_task_is_read_off_the_last_layer(units, activation, task):
    keras = backend.keras()
    inputs = keras.Input((4,))
    outputs = keras.layers.Dense(units, activation=activation)(inputs)
    assert task_of(keras.Model(inputs, outputs), Spec("numbers", (4,), max(2, units))) == task


def lstm_file(folder):
    """A TFLite file with a fused LSTM whose weights make its state matter."""
    keras = backend.keras()
    backend.set_seed(5)
    inputs = keras.Input((6,), dtype="int32", name="input")
    x = keras.layers.Embedding(20, 8, embeddings_initializer="normal", name="embedding")(inputs)
    x = keras.layers.LSTM(8, kernel_initializer="normal", unit_forget_bias=True, name="lstm")(x * 50.0)
    model = keras.Model(
        inputs, keras.layers.Dense(1, activation="sigmoid", name="dense")(x * 20.0), name="lstm"
    )
    spec = Spec(kind="tokens", shape=(6,), classes=2, vocabulary_size=20)
    x = np.random.default_rng(0).integers(0, 20, (250, 6)).astype(np.int32)
    part = Part(x, np.zeros(250, np.int64))

    (folder / "lstm.tflite").write_bytes(Float(name="float").convert(model, spec, np.empty(0)))
    return folder / "lstm.tflite", model, part, spec


@pytest.mark.run
@pytest.mark.parametrize("threads", [1, 3])
def test_the_state_of_a_fused_lstm_is_reset_before_every_sample(tmp_path, threads):
    file, model, part, spec = lstm_file(tmp_path)
    of_tflite = runner.tflite_outcome(file, part, spec, task=task_of(model, spec), threads=threads)
    of_keras = scoring.keras_outcome(model, part, spec, description="x")
    assert np.abs(of_tflite - of_keras).max() < 1e-4


@pytest.mark.run
def test_without_the_reset_the_same_file_gives_other_answers(tmp_path, monkeypatch):
    from ai_edge_litert.interpreter import Interpreter

    file, model, part, spec = lstm_file(tmp_path)
    monkeypatch.setattr(Interpreter, "reset_all_variables", lambda self: None)
    of_tflite = runner.tflite_outcome(file, part, spec, task=task_of(model, spec), threads=1)
    of_keras = scoring.keras_outcome(model, part, spec, description="x")
    assert np.abs(of_tflite - of_keras).max() > 0.01


def test_quantized_values_round_to_the_nearest_level_and_saturate():
    tensor = {"quantization": (0.5, -10), "dtype": np.int8}
    values = np.array([0.0, 0.24, 0.26, 1000.0, -1000.0], np.float32)
    np.testing.assert_array_equal(runner.quantized(values, tensor), [-10, -10, -9, 127, -128])
    np.testing.assert_array_equal(runner.dequantized(np.array([-10, -9], np.int8), tensor), [0.0, 0.5])


def test_token_ids_are_not_scaled():
    tensor = {"quantization": (0.0, 0), "dtype": np.int32}
    np.testing.assert_array_equal(runner.quantized(np.array([7], np.int32), tensor), [7])


def test_zeros_compress_and_sizes_are_the_same_each_time():
    size = size_of(bytes(10_000))
    assert (size.bytes, size) == (10_000, size_of(bytes(10_000)))
    assert size.gzip_bytes < 100 and size.zip_bytes < 200
    noise = np.random.default_rng(0).bytes(10_000)
    assert size_of(noise).gzip_bytes > 9_900


def test_a_paired_drop_counts_changes_in_both_directions():
    before, after = np.zeros(100), np.zeros(100)
    before[0], after[1:4] = 1, 1  # one for the better, three for the worse
    found = scoring.paired_drop(before, after, counted=True)
    moved, size = 2 / 102, 102
    assert (found.drop, found.examples) == (0.02, 100)
    assert found.standard_error == pytest.approx(math.sqrt((5 / size - moved**2) / size))
    assert found.at_most(0.5) == 0.02
    assert found.at_most(0.9) == pytest.approx(0.02 + 1.2815515655446 * found.standard_error)


def test_no_change_in_few_examples_is_no_proof_of_none():
    few, many = (scoring.paired_drop(np.zeros(n), np.zeros(n), counted=True) for n in (10, 1000))
    assert few.drop == many.drop == 0
    assert few.standard_error == pytest.approx(1 / 12)  # a half and a half, of 12
    assert many.standard_error == pytest.approx(1 / 1002)


def test_costs_that_are_no_counts_have_the_standard_error_of_their_mean():
    found = scoring.paired_drop(np.zeros(4), np.array([0.0, 0.2, 0.0, 0.2]), counted=False)
    assert (found.drop, found.standard_error) == (pytest.approx(0.1), pytest.approx(0.05))


def test_the_mean_cost_of_a_regression_is_one_minus_r2():
    task = Regression(Targets.plain(2))
    outcome, truth = (
        np.array([[1.0, 5.0], [2.0, 5.0], [1.5, 6.0]]),
        np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]]),
    )
    costs = task.costs(outcome, truth)
    assert costs.shape == (3,)
    assert 1 - costs.mean() == pytest.approx(task.metrics(outcome, truth)["r2"])
    assert costs.mean() == pytest.approx((1.125 + 1) / 2)  # the second target never varies, and is not met
