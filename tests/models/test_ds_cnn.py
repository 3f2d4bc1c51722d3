"""The network for spectrograms: what it is made of, what it reads, what becomes of it."""

from typing import Any

import numpy as np
import pytest

from pruneflow.datasets.spec import Spec
from pruneflow.errors import ConfigError
from pruneflow.models.ds_cnn import DsCnn


def ds_cnn(**changes: Any) -> DsCnn:
    settings = {"filters": 64, "blocks": 4, "kernel_size": [10, 4], "strides": [2, 2], "dropout": 0.4}
    return DsCnn(name="ds_cnn", **{**settings, "output_activation": "linear", **changes})


SPEECH = Spec("signal", (49, 10), 12)


@pytest.mark.run
def test_as_it_stands_it_has_the_layers_of_the_network_of_mlperf_tiny() -> None:
    """10 x 4, then four times 3 x 3 depthwise and 1 x 1, of 64 filters, over 49 frames x 10 coefficients."""
    model = ds_cnn().build(SPEECH)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert (kinds.count("Conv2D"), kinds.count("DepthwiseConv2D"), kinds.count("BatchNormalization")) == (
        5,
        4,
        9,
    )
    assert model.get_layer("conv2d").output_shape == (None, 25, 5, 64)
    assert model.get_layer("conv2d_4").output_shape == (None, 25, 5, 64)
    assert model.output_shape == (None, 12)
    # 10*4*64+64, four of 9*64+64 and 64*64+64, nine normalizations of 4*64, and 64*12+12
    assert model.count_params() == 2624 + 4 * (640 + 4160) + 9 * 256 + 780 == 24_908


@pytest.mark.run
@pytest.mark.parametrize("shape", [(49, 10), (49, 10, 1), (30, 20, 3), (12, 3)])
def test_weights_are_counted_without_building_it(shape: tuple[int, ...]) -> None:
    for kind in ("signal", "image")[: len(shape) - 1]:
        spec, model = Spec(kind, shape, 5), ds_cnn(filters=6, blocks=2, kernel_size=[3, 2])
        assert model.parameters(spec) == model.build(spec).count_params()


@pytest.mark.run
def test_a_signal_is_read_as_a_picture_of_one_channel() -> None:
    flat = ds_cnn(filters=4, blocks=1).build(SPEECH)
    deep = ds_cnn(filters=4, blocks=1).build(Spec("signal", (49, 10, 1), 12))
    deep.set_weights(flat.get_weights())
    x = np.random.default_rng(0).normal(size=(3, 49, 10)).astype(np.float32)
    np.testing.assert_allclose(flat(x), deep(x[..., None]), rtol=1e-5)


@pytest.mark.run
def test_dropout_is_left_out_where_there_is_none() -> None:
    names = [[layer.name for layer in ds_cnn(blocks=1, dropout=d).build(SPEECH).layers] for d in (0.0, 0.5)]
    assert [("dropout" in each) for each in names] == [False, True]


def test_what_it_cannot_read_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"model=ds_cnn: .* those of the data set are \(n, 4, 8, 8, 3\)\. Take"
    ):
        ds_cnn().check(Spec("signal", (4, 8, 8, 3), 2))
    with pytest.raises(ConfigError, match="it reads images or signals, and the data set has rows of numbers"):
        ds_cnn().check(Spec("numbers", (4,), 2))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"filters": 0}, r"model\.filters=0: allowed are whole numbers from 1"),
        ({"blocks": 0}, r"model\.blocks=0: allowed are whole numbers from 1"),
        ({"kernel_size": [3]}, r"model\.kernel_size=\[3\]: allowed are two whole numbers from 1"),
        ({"strides": [2, 0]}, r"model\.strides=\[2,0\]: allowed is a list of"),
        ({"dropout": 1.0}, r"model\.dropout=1\.0"),
        ({"output_activation": "relu"}, r"model\.output_activation=relu: allowed are linear, softmax"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        ds_cnn(**changes)
