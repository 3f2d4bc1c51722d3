"""Networks that round as int8 does: zeros stay, weights keep their names, and tfmot trains the same."""

import numpy as np
import pytest

from pruneflow.errors import ConfigError
from pruneflow.models.tasks import ending_of
from pruneflow.runtime import backend
from pruneflow.training.quantization_aware import (
    QuantizationAware,
    fake_quantized,
    inner_weights,
    keep_zeros,
    not_taken,
)

KERNELS = ["first/kernel", "last/kernel"]


def network(ending="softmax"):
    """Two matrices, half of them zeros."""
    layers, draw = backend.keras().layers, np.random.default_rng(0)
    first, last = (
        layers.Dense(6, activation="relu", name="first"),
        layers.Dense(3, activation=ending, name="last"),
    )
    model = backend.keras().Sequential([layers.InputLayer((4,)), first, last])
    weights = [draw.normal(size=each.shape).astype(np.float32) for each in model.get_weights()]
    model.set_weights([each * (draw.random(each.shape) < 0.5) for each in weights])
    return model


def trained(wrapped):
    draw = np.random.default_rng(1)
    x, y = draw.normal(size=(40, 4)), draw.integers(0, 3, 40)
    wrapped.compile(backend.keras().optimizers.Adam(0.01), loss="sparse_categorical_crossentropy")
    wrapped.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    return wrapped


@pytest.mark.run
def test_zeros_stay_and_the_other_weights_are_those_of_tfmot_which_masks_in_the_forward_pass():
    tfmot, model = backend.tfmot(), network()
    ours = fake_quantized(model)
    keep_zeros(ours, [inner_weights(model, ours)[name] for name in KERNELS])
    scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme()
    annotated = tfmot.quantization.keras.quantize_annotate_model(model)
    theirs = trained(tfmot.quantization.keras.quantize_apply(annotated, scheme))
    found, expected = (inner_weights(model, each) for each in (trained(ours), theirs))
    before = inner_weights(model, model)
    for name in KERNELS:
        zeros = before[name].numpy() == 0
        assert zeros.any() and not found[name].numpy()[zeros].any()
        assert not np.signbit(found[name].numpy()[zeros]).any()  # which files would be larger by
        assert np.mean(found[name].numpy()[~zeros] != before[name].numpy()[~zeros]) > 0.5
    for name, variable in found.items():
        np.testing.assert_allclose(variable.numpy(), expected[name].numpy(), atol=1e-6, err_msg=name)


def test_a_wrapped_network_begins_with_the_weights_and_ends_with_the_function_of_the_network():
    for ending in ("softmax", "linear"):
        model = network(ending)
        wrapped = fake_quantized(model)
        for name, variable in inner_weights(model, wrapped).items():
            np.testing.assert_array_equal(variable.numpy(), inner_weights(model, model)[name].numpy())
        assert ending_of(wrapped) == ending_of(model) == ending


def test_a_model_in_the_model_is_not_taken():
    layers = backend.keras().layers
    outer = backend.keras().Sequential([layers.InputLayer((4,)), network(), layers.Dense(2)])
    assert not_taken(network()) == []
    assert [each.split(" ")[1] for each in not_taken(outer)] == ["(Sequential)"]


def test_negative_epochs_are_refused():
    with pytest.raises(ConfigError, match="epochs=-1: allowed are whole numbers from 0"):
        QuantizationAware(epochs=-1)
