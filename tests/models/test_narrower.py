"""Narrower networks: how many parameters they have, and where they take the place of a pruned one."""

import numpy as np
import pytest
from conftest import QUICK
from test_options import SPECS

import pruneflow
from pruneflow.datasets.spec import Spec
from pruneflow.errors import ConfigError
from pruneflow.flow import pipeline
from pruneflow.models.narrower import narrower, widths_of
from pruneflow.models.options import Mlp
from pruneflow.options import choices

WITH_WIDTHS = sorted(name for name, option in choices("model").items() if option.widths)


def mlp(*units):
    settings = {"activation": "relu", "batch_normalization": False, "dropout": 0.0}
    return Mlp(name="mlp", hidden_units=list(units), output_activation="linear", **settings)


@pytest.mark.parametrize(("share", "units"), [(1, 8), (0.5, 4), (0.45, 3), (0.4, 3), (0.001, 1)])
def test_a_narrower_network_has_the_nearest_number_of_parameters(share, units):
    """Of 6 numbers and 3 classes, h units have 10 h + 3 parameters: 83, 43 at 4 and 33 at 3."""
    small = narrower(mlp(8), Spec("numbers", (6,), 3), share)
    assert small.hidden_units == [units]
    assert widths_of(small) == f"hidden_units=[{units}]"


def test_all_widths_shrink_by_one_factor():
    """A quarter of 43,203 parameters is 10,800.75. 193 and 48 units have 10,810; 192 and 48 have 10,755."""
    assert narrower(mlp(400, 100), Spec("numbers", (6,), 3), 0.25).hidden_units == [193, 48]


@pytest.mark.parametrize("name", WITH_WIDTHS)
def test_every_network_with_widths_counts_fewer_parameters(name):
    model = pruneflow.compose([f"model={name}", *(["dataset=imdb"] if name in ("lstm", "gru") else [])]).model
    spec = SPECS[model.reads if isinstance(model.reads, str) else model.reads[0]]
    small = narrower(model, spec, 0.25)
    assert small.build(spec).count_params() == small.parameters(spec)
    assert small.parameters(spec) == pytest.approx(model.parameters(spec) / 4, rel=0.15)


def test_small_dense_is_a_narrower_network_without_masks_trained_for_as_long(composed):
    config = composed("criterion=small_dense", "schedule.final_sparsity=0.5", "model.filters=[8]")
    spec = SPECS["image"]
    assert config.network(spec).filters == [4] and config.model.filters == [8]
    assert (config.rise.initial_sparsity, config.rise.final_sparsity) == (0.0, 0.0)
    usual = composed("schedule.final_sparsity=0.5")
    assert usual.network(spec) is usual.model and usual.rise is usual.schedule


def test_small_dense_needs_a_network_that_can_be_narrower(composed):
    with pytest.raises(ConfigError, match=r"^criterion=small_dense: nobody .* Take model=cnn, .* or \w+\.$"):
        composed("criterion=small_dense", "model=mobilenet")


@pytest.mark.run
def test_a_run_of_small_dense_has_no_zeros_and_about_the_parameters_that_pruning_keeps(sharing, tmp_path):
    config = sharing(*QUICK, "criterion=small_dense", "schedule.final_sparsity=0.75", "model.filters=[16]")
    result = pipeline.run(config, ready := pipeline.prepare(config), tmp_path, command="test")
    wide = config.model.parameters(ready.data.spec)
    assert result.pruned.measured_sparsity == 0
    assert result.nonzero_parameters == result.dense.parameters == pytest.approx(wide / 4, rel=0.05)
    assert result.positions == 0
    assert result.config["model"]["filters"] == [16]
    said = f"criterion=small_dense trains filters=[4]: {result.dense.parameters:,} of {wide:,} parameters."
    assert said in ready.notes
    masks = np.load(tmp_path / "masks.npz")
    assert all(masks[name].all() for name in masks.files)


def test_prune_has_no_network_in_place_of_yours():
    keras = pytest.importorskip("tf_keras")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(ConfigError, match=r"^criterion=small_dense: it is another network than yours"):
        pruneflow.prune(model, steps=10, criterion="small_dense")
