"""A run ends well only where the network under masks, the stripped one and its float file say the same."""

import json

import numpy as np
import pytest
from conftest import QUICK
from test_cli import exit_code

from pruneflow.datasets.spec import Targets
from pruneflow.flow import evaluate, networks
from pruneflow.flow.agreement import DisagreementError, require_agreement, rounding_of
from pruneflow.models.tasks import Classification, Regression

CLASSES = Classification(units=2, from_logits=False)
NUMBERS = Regression(Targets.plain(1))
FLOAT32 = rounding_of({"kind": "cpu", "precision": "float32"})


def probabilities(*positive):
    return np.stack([1 - np.array(positive), positive], axis=1)


def test_rounding_passes():
    a = probabilities(0.2, 0.5, 0.9)
    require_agreement("Two", (a, a + 0.009), CLASSES, FLOAT32)


@pytest.mark.parametrize("other", [0.4, 0.22, np.nan])
def test_one_example_of_three_beyond_rounding_is_refused(other):
    a, b = probabilities(0.2, 0.5, 0.9), probabilities(other, 0.5, 0.9)
    with pytest.raises(DisagreementError, match=r"^Two differ by more than rounding: on 1 of 3 examples"):
        require_agreement("Two", (a, b), CLASSES, FLOAT32)


def test_the_message_has_what_was_measured_and_what_is_allowed():
    a, b = probabilities(*[0.2] * 100), probabilities(*[0.2] * 80, *[0.7] * 20)
    with pytest.raises(DisagreementError) as error:
        require_agreement("Two", (a, b), CLASSES, FLOAT32)
    assert str(error.value) == (
        "Two differ by more than rounding: on 20 of 100 examples by more than 0.01 in probability, "
        "at most by 0.5, with other predictions on 20. float32 allows 0.1%. Look for layers of your own that "
        "lose weights or draw random numbers; report it if there are none."
    )
    assert error.value.exit_code == 1


@pytest.mark.parametrize(
    ("difference", "passes"), [(0.0, True), (0.0009, True), (0.1, False), (-0.1, False), (50.0, False)]
)
def test_predicted_numbers_are_measured_by_their_spread(difference, passes):
    a = np.array([[1.0], [-1.0], [1.0], [-1.0]])  # a standard deviation of 1
    b = a + np.array([[0.0], [0.0], [0.0], [difference]])
    if passes:
        require_agreement("Two", (a, b), NUMBERS, FLOAT32)
        require_agreement("Two", (1e6 * a, 1e6 * b), NUMBERS, FLOAT32)
    else:
        with pytest.raises(DisagreementError, match="of a standard deviation"):
            require_agreement("Two", (1e-6 * a, 1e-6 * b), NUMBERS, FLOAT32)


def test_numbers_that_are_nearly_constant_are_measured_by_their_size():
    a = np.array([[100.0], [100.00001]])
    require_agreement("Two", (a, a + 0.01), NUMBERS, FLOAT32)
    require_agreement("Two", (0 * a, 0 * a), NUMBERS, FLOAT32)
    with pytest.raises(DisagreementError):
        require_agreement("Two", (a, a + 1), NUMBERS, FLOAT32)


def test_half_precision_and_a_gpu_round_more():
    order = [
        rounding_of({"kind": kind, "precision": precision})
        for kind, precision in (
            ("cpu", "float32"),
            ("gpu", "float32"),
            ("cpu", "mixed_float16"),
            ("gpu", "mixed_bfloat16"),
        )
    ]
    assert [each.difference for each in order] == [0.01, 0.05, 0.05, 0.2]
    assert [each.share for each in order] == [0.001, 0.01, 0.01, 0.02]


def failure(tmp_path):
    (file,) = (tmp_path / "outputs").glob("2*/*/failure.json")
    assert not (file.parent / "result.json").exists()
    return json.loads(file.read_text())["message"]


@pytest.mark.run
def test_a_run_whose_stripped_copy_has_other_weights_fails(tmp_path, monkeypatch, capsys, trained_before):
    trained_before("dense", "pruned")
    read = networks.Network.model.func

    def altered(network):
        model = read(network)
        if network.masks:  # the pruned one
            model.set_weights([np.roll(weight, 1, axis=-1) for weight in model.get_weights()])
        return model

    monkeypatch.setattr(networks.Network, "model", property(altered))
    assert exit_code(QUICK) == 1
    message = failure(tmp_path)
    assert message.startswith(
        "The pruned network under masks and the stripped one differ by more than rounding"
    )
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.run
def test_a_run_whose_float_file_says_something_else_fails(tmp_path, monkeypatch, trained_before):
    trained_before("dense", "pruned")
    outcome = evaluate.tflite_outcome
    monkeypatch.setattr(evaluate, "tflite_outcome", lambda *given, **words: outcome(*given, **words)[:, ::-1])
    assert exit_code([*QUICK, "export=all", "export.max_accuracy_drop=1"]) == 1
    assert failure(tmp_path).startswith(
        "The stripped network in Keras and pruned-float.tflite differ by more"
    )
