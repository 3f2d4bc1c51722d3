"""``trainer.epochs=0``: runs that prune at once, plainly or with ``pruning.reconstruct``."""

import numpy as np
import pytest
from conftest import QUICK
from test_flow import run
from test_store import changed, digests

from pruneflow.errors import ConfigError
from pruneflow.flow import pipeline
from pruneflow.runtime import backend

AT_ONCE = ["trainer.epochs=0"]
FITTED = [*AT_ONCE, "pruning.reconstruct=true", "pruning.reconstruct_examples=64"]


def kernels(file):
    """Weights of more than one axis, in the order of the network."""
    model = backend.keras().models.load_model(file, compile=False)
    return [weight for weight in model.get_weights() if weight.ndim > 1]


def test_the_plan_says_that_nothing_is_trained(composed):
    plain, fitted = (pipeline.prepare(composed(*QUICK, *words)) for words in (AT_ONCE, FITTED))
    assert plain.lengths[-1] == "pruned at once, without training"
    assert plain.warnings == [] and plain.notes == []
    assert (plain.plan.updates, plain.plan.sparsity_after(1)) == (range(1, 2), 0.8)
    assert fitted.notes == [
        "Kept weights are fitted to the outputs of the dense layers on 64 training examples."
    ]
    every = pipeline.prepare(composed(*QUICK, *AT_ONCE, "pruning.reconstruct=true"))
    assert "on 360 training examples" in every.notes[0]  # there are no more


def test_the_initial_share_counts_only_where_something_is_trained(composed):
    low = ["schedule.final_sparsity=0.3"]
    assert pipeline.prepare(composed(*QUICK, *AT_ONCE, *low)).plan.sparsity_after(1) == 0.3
    with pytest.raises(ConfigError) as refusal:
        composed(*QUICK, *low)
    assert str(refusal.value) == (
        "schedule.initial_sparsity=0.5: it is above schedule.final_sparsity=0.3. Set "
        "schedule.initial_sparsity=0, since sparsity only rises."
    )
    composed(*QUICK, *low, "schedule.initial_sparsity=0")


def test_two_networks_that_are_not_trained_are_refused(composed):
    with pytest.raises(ConfigError) as refusal:
        pipeline.prepare(composed(*QUICK, *AT_ONCE, "trainer.dense_epochs=0"))
    assert str(refusal.value) == (
        "trainer.epochs=0: there is no trained dense network to prune, since trainer.dense_epochs=0 and the "
        "network is untrained. Train one of both: trainer.dense_epochs=1 or more, or trainer.epochs=2."
    )


def test_what_decides_the_weights_is_in_the_digest(composed):
    plain, fitted, more = (
        digests(composed(*QUICK, *words))
        for words in (AT_ONCE, FITTED, [*FITTED, "pruning.reconstruct_examples=65"])
    )
    assert changed(plain, fitted) == changed(fitted, more) == (1, 2, 3)
    without = digests(composed(*QUICK, *AT_ONCE, "schedule.begin_step=3", "tensorboard.masks=true"))
    assert changed(plain, without) == ()  # there are no steps


@pytest.mark.run
def test_pruning_at_once_masks_the_lowest_magnitudes_of_the_dense_network(sharing, tmp_path):
    result = run(sharing, tmp_path, *AT_ONCE)
    assert result.plan.epochs == 0 and result.phases["pruned"].examples_per_second is None
    for dense, pruned in zip(
        *(kernels(tmp_path / f"{name}.h5") for name in ("dense", "pruned")), strict=True
    ):
        lowest = np.sort(np.abs(dense), axis=None)[-np.count_nonzero(pruned)]
        np.testing.assert_array_equal(pruned, np.where(np.abs(dense) >= lowest, dense, 0))
    assert [each.zeros for each in result.pruned.layers] == [86, 16224]


@pytest.mark.run
def test_fitted_networks_are_nearer_to_the_dense_one_and_taken_from_the_store(sharing, tmp_path):
    words = ["schedule.final_sparsity=0.9", "model.filters=[4]"]  # solving takes the cube of the inputs
    plain = run(sharing, tmp_path / "plain", *AT_ONCE, *words)
    fitted = run(sharing, tmp_path / "fitted", *FITTED, *words, "report=true")
    again = run(sharing, tmp_path / "again", *FITTED, *words)
    anew = run(sharing, tmp_path / "anew", *FITTED, *words, "stages.reuse=false")
    assert again.stages["pruned"].reused and not anew.stages["pruned"].reused
    content = {name: (tmp_path / name / "pruned.h5").read_bytes() for name in ("fitted", "again", "anew")}
    assert content["fitted"] == content["again"] == content["anew"]
    assert fitted.pruned.loss - fitted.dense.loss < plain.pruned.loss - plain.dense.loss
    (file,) = fitted.tflite
    assert file.inside.masked == sum(each.masked for each in fitted.pruned.layers)
    assert [each.measured_sparsity for each in fitted.pruned.layers] == [
        each.measured_sparsity for each in plain.pruned.layers
    ]


@pytest.mark.run
def test_a_network_is_cut_at_once_and_zeros_on_top_are_trained_or_not(sharing, tmp_path):
    cut = [*AT_ONCE, "structure=channel", "schedule.final_sparsity=0.5", "then=unstructured"]
    for folder, words in {"zeros": [], "trained": ["then.epochs=1"]}.items():
        result = run(sharing, tmp_path / folder, *cut, *words)
        assert result.cut.channels and result.pruned.measured_sparsity == pytest.approx(0.8, abs=0.01)
        assert (tmp_path / folder / "pruned").exists() == bool(words)
