"""``structure=channel`` in whole runs: the small network in every file, its proof, stages and reports."""

import numpy as np
import pytest
from conftest import QUICK, QUICK_LSTM
from test_flow import run

from pruneflow.errors import ConfigError
from pruneflow.flow import pipeline
from pruneflow.flow.agreement import DisagreementError
from pruneflow.report import summary
from pruneflow.report.curves import read_curves
from pruneflow.runtime import backend
from pruneflow.sparsity.channels import groups

CNN = ["structure=channel", "schedule.final_sparsity=0.6", "model.dense_units=[8]", "structure.multiple=1"]


@pytest.mark.run
def test_what_is_delivered_is_the_small_network(sharing, tmp_path):
    result = run(sharing, tmp_path / "run", *CNN, "export=all")
    cut = result.pruned.channels
    conv2d, dense = (each.kept for each in cut.groups)
    # 26x26 positions of 3*3*1, then 13*13 of each filter times dense, then ten classes
    of = {(a, b): 676 * 9 * a + 169 * a * b + 10 * b for a, b in ((12, 8), (conv2d, dense))}
    assert cut.multiply_adds == tuple(of.values())
    assert cut.removed == pytest.approx(1 - cut.multiply_adds[1] / cut.multiply_adds[0])
    assert abs(cut.removed - 0.6) < 0.05
    assert (result.pruned.requested_sparsity, result.pruned.measured_sparsity) == (0.6, cut.removed)
    model = backend.keras().models.load_model(tmp_path / "run" / "pruned.h5", compile=False)
    assert (model.get_layer("conv2d").filters, model.get_layer("dense").units) == (conv2d, dense)
    assert all(type(layer).__module__.startswith("tf_keras.") for layer in model.layers)  # no class of ours
    for file in result.tflite:
        assert file.inside.multiply_adds == cut.multiply_adds[1]
        assert file.theoretical_speedup >= cut.multiply_adds[0] / cut.multiply_adds[1]
        assert not file.inside.not_found
    with np.load(tmp_path / "run" / "masks.npz") as masks:
        assert masks["dense/kernel"].shape == (2028, 8)
    again = run(sharing, tmp_path / "again", *CNN, "export=all")
    assert again.stages["pruned"].reused
    assert again.pruned.channels == cut
    assert (tmp_path / "again" / "pruned.h5").read_bytes() == (tmp_path / "run" / "pruned.h5").read_bytes()
    curves = read_curves(tmp_path / "run" / "pruned")
    assert curves["units/conv2d"].values[-1] == conv2d < curves["units/conv2d"].values[0]
    assert curves["units/dense"].values[-1] == dense
    of_layers = {each.name: each.multiply_adds for each in cut.layers}
    assert of_layers == {
        "conv2d": (676 * 9 * 12, 676 * 9 * conv2d),
        "dense": (169 * 12 * 8, 169 * conv2d * dense),
        "dense_1": (80, 10 * dense),
    }
    assert curves["sparsity/total"].values[-1] == pytest.approx(cut.removed)
    lines = list(summary.findings(result))
    assert f"Cut      0.6000 of the multiply-adds were asked for, {cut.removed:.4f} are gone." in lines
    small = [f"model.path={tmp_path / 'run' / 'pruned.h5'}", "model=keras_file", *CNN[:2], CNN[3]]
    smaller = run(sharing, tmp_path / "smaller", *small).pruned.channels
    assert smaller.multiply_adds[0] == cut.multiply_adds[1] > smaller.multiply_adds[1]


@pytest.mark.run
@pytest.mark.parametrize("more", [["distribution=global", "criterion=taylor"], ["model.bidirectional=true"]])
def test_units_of_an_lstm_are_removed_with_all_their_gates(sharing, tmp_path, more):
    overrides = ["model=lstm", "dataset=imdb", *QUICK_LSTM, "structure=channel", "export=dynamic-range"]
    result = run(sharing, tmp_path, *overrides, "schedule.final_sparsity=0.7", *more)
    kept = {each.name: each.kept for each in result.pruned.channels.groups}
    model = backend.keras().models.load_model(tmp_path / "pruned.h5", compile=False)
    assert model.get_layer("embedding").output_dim == kept["embedding"] < 8
    if "model.bidirectional=true" in more:
        both = model.get_layer("bidirectional")
        halves = both.forward_layer.units, both.backward_layer.units
        assert halves == (kept["bidirectional/forward"],) * 2
    else:
        assert model.get_layer("lstm").units == kept["lstm"] < 8
    assert result.tflite[0].agreement >= 0.95


@pytest.mark.run
def test_a_cut_that_changes_the_network_fails_the_run(composed, monkeypatch, tmp_path):
    config = composed(*QUICK, *CNN)
    ready = pipeline.prepare(config)
    right = groups.Channels.cut

    def rolled(self, name, array, kept):
        found = right(self, name, array, kept)
        return np.roll(found, 1, 0) if name == "dense_1/kernel" else found

    monkeypatch.setattr(groups.Channels, "cut", rolled)
    with pytest.raises(DisagreementError, match="masks and the one that it was cut to differ by more than"):
        pipeline.run(config, ready, tmp_path, command="test")
    with pytest.raises(ConfigError, match="without half of the units of"):
        pipeline.prepare(config)
