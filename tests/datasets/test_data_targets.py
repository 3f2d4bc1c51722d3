"""Numbers to predict, and last layers that cannot give them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import QUICK
from own_fixtures import arrays

import pruneflow
from pruneflow.datasets.spec import Spec, Targets
from pruneflow.errors import ConfigError
from pruneflow.models.brought import Origin
from pruneflow.models.tasks import ending_of, span_of_ending
from pruneflow.runtime import backend

PLAIN, STANDARDISED = Targets.plain(2), Targets((0.5, 0.5), (0.1, 0.1))


def spec(targets: Targets, span: tuple[float, ...] = (0.1, 0.9)) -> Spec:
    targets = Targets(targets.mean, targets.scale, span)
    return Spec("numbers", (3,), 0, targets=targets)


def network(*endings: Any) -> Any:
    """A network of two outputs that ends with these layers or functions."""
    keras = backend.keras()
    x = inputs = keras.Input((3,))
    x = keras.layers.Dense(2)(x)
    for each in endings:
        x = keras.layers.Activation(each)(x) if isinstance(each, str) else each(x)
    return keras.Model(inputs, x)


def fitted(model: Any, of: Spec) -> Any:
    return Origin("model.factory", "mine:network").fitted(model, of, output="auto")


@pytest.mark.parametrize("ending", ["sigmoid", "tanh", "relu", "softplus", "hard_sigmoid", "elu"])
def test_targets_of_mean_0_are_refused_where_the_last_layer_cannot_give_them(ending: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"ends with {ending}, which gives numbers from .* mean 0 and"
    ) as told:
        fitted(network(ending), spec(STANDARDISED))
    assert "or set dataset.standardise_targets=false" in str(told.value)
    assert fitted(network(ending), spec(PLAIN))


def test_no_setting_is_proposed_that_would_not_help() -> None:
    with pytest.raises(ConfigError, match=r"Let its last layer be linear\.$"):
        fitted(network("sigmoid"), spec(STANDARDISED, (0.0, 100.0)))


def test_plain_targets_beyond_the_last_layer_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"from 0 to 1, and the numbers to predict go from -3 to 1\."):
        fitted(network("sigmoid"), spec(PLAIN, (-3.0, 1.0)))
    assert fitted(network("relu"), spec(PLAIN, (0.0, 1e6)))
    assert fitted(network("tanh"), spec(PLAIN, (-1.0, 1.0)))
    assert fitted(network("sigmoid"), spec(PLAIN, ()))  # a Data of somebody's own, which does not say


def test_a_linear_last_layer_takes_all_targets() -> None:
    assert fitted(network(), spec(STANDARDISED, (-1e9, 1e9)))
    assert fitted(network("relu", backend.keras().layers.Dense(2)), spec(STANDARDISED))


def test_a_layer_of_its_own_is_looked_at_as_well_as_an_activation() -> None:
    layers = backend.keras().layers
    assert span_of_ending(ending_of(network(layers.ReLU()))) == (0.0, np.inf)
    assert span_of_ending(ending_of(network(layers.ReLU(max_value=6.0)))) == (0.0, 6.0)
    assert span_of_ending(ending_of(network(layers.ReLU(negative_slope=0.1)))) == (-np.inf, np.inf)
    assert span_of_ending(ending_of(network("tanh", layers.Flatten()))) == (-1.0, 1.0)


def test_the_span_of_targets_is_that_of_the_training_part_in_their_own_units(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    y_test = np.array([-50.0, 50.0])
    np.savez(tmp_path / "mine.npz", x=x, y=np.linspace(2, 7, 40), x_test=x[:2], y_test=y_test)
    data = arrays(tmp_path / "mine.npz", task="regression", validation_fraction=0.05, split_seed=1).load()
    assert data.spec.targets is not None
    low, high = data.spec.targets.span
    assert 2 <= low < 3 and 6 < high <= 7


CODE = """
import numpy as np, tf_keras as keras
def data():
    x = np.random.default_rng(0).uniform(0.1, 0.9, (400, 2)).astype("float32")
    return {"x_train": x, "y_train": x[:, ::-1].copy()}
def network(spec):
    i = keras.Input(spec.shape)
    x = keras.layers.Dense(32, activation="relu")(i)
    return keras.Model(i, keras.layers.Dense(2, activation="sigmoid")(x))
"""


@pytest.mark.run
def test_the_setting_that_is_proposed_for_a_sigmoid_lets_it_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "of_places.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    typed = [
        *(*QUICK, "model=custom", "model.factory=of_places:network", "dataset=custom"),
        *("dataset.factory=of_places:data", "dataset.task=regression", "dataset.standardise_targets=false"),
        *(
            "trainer.dense_epochs=30",
            "trainer.learning_rate=0.01",
            "schedule=constant",
            "schedule.final_sparsity=0.3",
        ),
    ]
    result = pruneflow.run(typed, folder=tmp_path / "run")
    assert result.dense.metrics["r2"] > 0.9
