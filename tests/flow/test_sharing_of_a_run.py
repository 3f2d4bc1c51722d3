"""``sharing.values`` in whole runs: its stage, its files, what it costs, and a run that was cut off."""

import numpy as np
import pytest
from conftest import QUICK_LSTM
from test_flow import run
from test_judgement import THREE
from test_resume import SHORT, cut_off, differing, with_stages_of

from pruneflow.flow import pipeline, results
from pruneflow.flow.judgement import SHARED as AFTER
from pruneflow.flow.judgement import judge, judge_after
from pruneflow.report import summary
from pruneflow.runtime import backend

SHARED = ["sharing.values=4", "export=all"]


def kernels(file):
    """Weights of more than one axis, by layer and place."""
    model = backend.keras().models.load_model(file, compile=False)
    found = {f"{each.name}/{i}": w for each in model.layers for i, w in enumerate(each.get_weights())}
    return {name: weight for name, weight in found.items() if weight.ndim > 1}


def test_the_plan_of_a_run_says_what_will_be_shared(composed):
    config = composed("sharing.values=3", "sharing.epochs=2", "trainer.batch_size=40")
    assert pipeline.prepare(config).lengths[-1] == (
        "shared 2 x 9 steps = 18 steps, 3 values or fewer in each pruned weight"
    )
    assert not any(line.startswith("shared") for line in pipeline.prepare(composed()).lengths)


@pytest.mark.run
def test_values_are_shared_after_pruning_in_a_stage_of_its_own(composed, tmp_path, trained_before):
    trained_before("dense", "pruned")
    alone = run(composed, tmp_path / "alone", "export=all")
    both = run(composed, tmp_path / "both", *SHARED)
    assert "shared" not in alone.stages and alone.pruned.sharing is None
    assert both.stages["pruned"].reused and not both.stages["shared"].reused
    before, after = (kernels(tmp_path / "both" / name) for name in ("pruned.h5", "shared.h5"))
    counts = {each.name: (each.kept, each.values) for each in both.pruned.sharing.weights}
    assert counts == {"conv2d/kernel": (22, 4), "dense/kernel": (4056, 4)}
    for name, weight in after.items():
        assert np.unique(weight[weight != 0]).size == 4
        np.testing.assert_array_equal(weight == 0, before[name] == 0)
    of_before = both.pruned.sharing.before
    assert (of_before.metrics, of_before.tflite.gzip_bytes) == (
        alone.pruned.metrics,
        alone.pruned.tflite.gzip_bytes,
    )
    for with_values, without in zip(both.tflite, alone.tflite, strict=True):
        assert with_values.size.gzip_bytes < 0.9 * without.size.gzip_bytes, with_values.kind
        assert with_values.inside.masked == without.inside.masked and not with_values.inside.not_found
    assert both.tflite[0].max_difference < 1e-5  # from the shared network in Keras
    assert both.judgement.pruned == both.pruned.validation_accuracy
    again = run(composed, tmp_path / "again", *SHARED)
    assert again.stages["shared"].reused
    assert (tmp_path / "again" / "shared.h5").read_bytes() == (tmp_path / "both" / "shared.h5").read_bytes()
    found = results.read(tmp_path / "again")
    rows = [row[1] for row in summary.run_rows(found)]
    assert rows[:3] == ["cnn, dense", "cnn, pruned", "cnn, shared"]
    said = list(summary.findings(found))
    assert "         Weights in values: conv2d/kernel 22 in 4, dense/kernel 4,056 in 4." in said


@pytest.mark.run
def test_a_network_that_was_cut_shares_values_too(sharing, tmp_path):
    channel = ["structure=channel", "schedule.final_sparsity=0.6", "model.dense_units=[8]"]
    result = run(sharing, tmp_path, *channel, "structure.multiple=1", "sharing.values=5")
    counted = [each.values for each in result.pruned.sharing.weights]
    assert counted == [5, 5, 5]
    assert all(np.unique(w[w != 0]).size <= 5 for w in kernels(tmp_path / "shared.h5").values())
    assert result.pruned.channels.removed > 0.5


@pytest.mark.run
def test_trained_values_of_an_lstm_stay_shared(sharing, tmp_path):
    words = ["model=lstm", "dataset=imdb", *QUICK_LSTM, "export=dynamic-range"]
    result = run(sharing, tmp_path, *words, "sharing.values=3", "sharing.epochs=1")
    counts = {each.name: each.values for each in result.pruned.sharing.weights}
    assert counts.pop("dense/kernel") == 2  # all that pruning left of 8
    assert {*counts.values()} == {3}
    before, after = (kernels(tmp_path / name) for name in ("pruned.h5", "shared.h5"))
    moved = [w for name, w in after.items() if not np.array_equal(w, before[name])]
    assert len(moved) == len(after)
    assert result.phases["shared"].seconds > 0 and result.tflite[0].agreement >= 0.95
    assert (tmp_path / "shared").is_dir()  # its curves


def trained(composed, folder, *overrides):
    """The stages that train, without export and evaluation."""
    (folder / "run").mkdir(parents=True, exist_ok=True)
    config = composed(*SHORT, *overrides, f"stages.dir={folder / 'store'}")
    ready, store = pipeline.prepare(config), config.stages.open()
    dense = pipeline.dense_network(store, config, ready, folder / "run")
    pruned = pipeline.pruned_network(store, config, ready, dense, folder / "run")
    pipeline.shared_network(store, config, ready, pruned, folder / "run")


@pytest.mark.run
def test_a_run_that_was_cut_off_while_values_are_trained_ends_with_the_same_bits(composed, tmp_path, capsys):
    words = ["model=cnn", "model.dropout=0.3", "sharing.values=4", "sharing.epochs=2"]
    trained(composed, tmp_path / "whole", *words)
    capsys.readouterr()
    cut = with_stages_of(tmp_path / "whole", tmp_path / "cut", "dense", "pruned")
    cut_off(composed, cut, *words, step=12, work=trained)
    trained(composed, cut, *words)
    assert "Resumes    shared training at epoch 2/2, step 3" in capsys.readouterr().out
    assert differing(tmp_path / "whole", tmp_path / "cut") == []
    assert (tmp_path / "cut" / "run" / "shared.h5").is_file()


def test_a_network_that_sharing_ruins_is_marked_and_the_message_says_so():
    of_pruned = judge(0.95, 0.94, THREE, metric="accuracy", limit=None)
    said = judge_after(of_pruned, 0.85, THREE, metric="accuracy", after=AFTER)
    assert (said.verdict, said.pruned, said.drop) == ("dropped", 0.85, pytest.approx(0.1))
    assert said.message == (
        "Pruning with shared values cost 0.1000: accuracy 0.9500 dense, 0.9400 pruned, 0.8500 with shared "
        "values, on 300 validation examples. Raise sharing.values, or train them (sharing.epochs). "
        "pruning.max_accuracy_drop sets what is allowed."
    )
    lost = judge(0.95, 0.80, THREE, metric="accuracy", limit=0.02)
    said = judge_after(lost, 0.79, THREE, metric="accuracy", after=AFTER)
    assert said.verdict == "over_limit"
    assert "Lower schedule.final_sparsity" in said.message and "sharing.values" not in said.message
    assert judge_after(of_pruned, 0.94, THREE, metric="accuracy", after=AFTER).message == ""
