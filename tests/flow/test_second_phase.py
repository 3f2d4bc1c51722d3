"""The group ``then`` in whole runs: zeros in the network that was cut, stages, kills and refusals."""

import json
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import QUICK
from test_resume import cut_off, differing
from test_store import digests

from pruneflow.errors import ConfigError
from pruneflow.flow import objectives, pipeline, results, second_phase
from pruneflow.flow.networks import pruned_inputs
from pruneflow.report import summary
from pruneflow.report.run_page import write_run_report
from pruneflow.runtime import backend
from pruneflow.sparsity.then import Nothing

CUT = ["structure=channel", "schedule.final_sparsity=0.6", "model.dense_units=[8]", "structure.multiple=1"]
THEN = [*CUT, "then=unstructured", "then.final_sparsity=0.75"]


def run(composed, folder, *overrides):
    """A whole run in a folder of its own; all runs of a test share the store beside it."""
    folder.mkdir()
    config = composed(*QUICK, *overrides, f"stages.dir={folder.parent / 'store'}")
    return pipeline.run(config, pipeline.prepare(config), folder, command="test")


def kernels_of(file):
    model = backend.keras().models.load_model(file, compile=False)
    return {layer.name: layer.kernel.numpy() for layer in model.layers if layer.weights}


@pytest.mark.run
@pytest.mark.usefixtures("timed_here")
def test_zeros_lie_in_the_network_that_was_cut_which_phases_that_are_swept_share(composed, tmp_path):
    alone = run(composed, tmp_path / "alone", *CUT)
    both = run(
        composed, tmp_path / "both", *THEN, "export=all", "latency.seconds=0.05", "export.max_accuracy_drop=1"
    )
    assert alone.cut is None and both.pruned.channels is None
    assert both.cut.channels == alone.pruned.channels
    assert both.cut.accuracy == alone.pruned.accuracy
    assert both.stages["cut"].digest == alone.stages["pruned"].digest and both.stages["cut"].reused
    assert both.dense == alone.dense
    small = kernels_of(tmp_path / "both" / "cut.h5")
    assert (tmp_path / "both" / "cut.h5").read_bytes() == (tmp_path / "alone" / "pruned.h5").read_bytes()
    pruned = kernels_of(tmp_path / "both" / "pruned.h5")
    assert {name: kernel.shape for name, kernel in pruned.items()} == {
        name: kernel.shape for name, kernel in small.items()
    }
    kept = {name: round(kernel.size * 0.25) for name, kernel in pruned.items()}
    assert {name: np.count_nonzero(kernel) for name, kernel in pruned.items()} == kept
    assert both.pruned.requested_sparsity == 0.75
    before = sum(
        layer.size for layer in both.cut.layers
    )  # every kernel is in it, with its size before the cut
    assert both.pruned.compression_ratio == pytest.approx(before / sum(kept.values()))
    for file in both.tflite:
        assert file.inside.masked == sum(layer.masked for layer in both.pruned.layers)
        assert file.inside.multiply_adds == both.cut.channels.multiply_adds[1]
        of_both = both.cut.channels.multiply_adds[0] / file.inside.nonzero_multiply_adds
        assert file.theoretical_speedup == pytest.approx(of_both)
        parts = file.latency.parts
        assert parts.cut.ratio > 0 and parts.zeros.ratio > 0
        assert (tmp_path / "both" / f"cut-{file.kind}.tflite").stat().st_size > 1000
    assert (both.plan.cut, alone.plan.cut) == (alone.plan, None)
    assert {"cut", "pruned"} <= set(both.phases)
    found = results.read(tmp_path / "both")
    rows = {row[1]: row[2] for row in summary.run_rows(found)}
    assert list(rows)[:3] == ["cnn, dense", "cnn, cut", "cnn, pruned"]
    assert rows["cnn, cut"] == f"{both.cut.measured_sparsity:.3f}"
    lines = list(summary.findings(found))
    assert f"Then     0.7500 of the weights that are left were to be zero, {reached(both)} are." in lines
    assert sum(line.startswith("  Parts    ") for line in lines) == 2  # of the two kinds beside float
    for _ in range(2):  # the second page takes the place of the first
        write_run_report(tmp_path / "both")
    page = (tmp_path / "both" / "report.html").read_text()
    assert "multiply-adds cut" in page and "Lines over the epochs of dense, cut, pruned" in page
    blocks = run(composed, tmp_path / "blocks", *CUT, "then=block_4x1", "then.epochs=1")
    assert blocks.stages["cut"].reused and not blocks.stages["pruned"].reused
    assert (both.plan.total_steps, blocks.plan.total_steps) == (18, 9)
    dense = kernels_of(tmp_path / "blocks" / "pruned.h5")["dense"]
    whole = dense[: len(dense) // 4 * 4].reshape(-1, 4, dense.shape[1])
    assert set(np.unique(np.count_nonzero(whole, axis=1))) == {0, 4}
    again = run(composed, tmp_path / "again", *THEN, "then.structure.name=other")
    assert again.stages["pruned"].reused
    assert json.loads(json.dumps(asdict(again.pruned))) == json.loads(json.dumps(asdict(both.pruned)))


def reached(result):
    return f"{result.pruned.measured_sparsity:.4f}"


def trained(composed, folder, *overrides):
    """All phases that train, without export and evaluation."""
    (folder / "run").mkdir(parents=True, exist_ok=True)
    words = [*QUICK, "stages.checkpoint_seconds=0", *overrides, f"stages.dir={folder / 'store'}"]
    config = composed(*words)
    ready, store = pipeline.prepare(config), config.stages.open()
    dense = pipeline.dense_network(store, config, ready, folder / "run")
    cut = pipeline.pruned_network(store, config, ready, dense, folder / "run")
    known = second_phase.prepared(config, ready.then, cut.model)
    pipeline.pruned_network(store, second_phase.settings(config), known, cut, folder / "run")


@pytest.mark.run
def test_a_run_that_was_cut_off_in_either_phase_ends_with_the_same_bits(
    composed, monkeypatch, tmp_path, capsys
):
    """Nine steps of the dense phase, eighteen of each other; the store has one file of masks for each."""
    monkeypatch.setattr("test_resume.everything", bits)
    trained(composed, tmp_path / "whole", *THEN)
    for phase, step in (("cut", 9 + 12), ("pruned", 9 + 18 + 12)):
        cut_off(composed, tmp_path / phase, *THEN, step=step, work=trained)
        trained(composed, tmp_path / phase, *THEN)
        assert f"Resumes    {phase} training at epoch 2/2, step 3" in capsys.readouterr().out
        assert differing(tmp_path / "whole", tmp_path / phase) == []


def bits(folder):
    """Bytes of networks and masks of a run, by name."""
    found = {file.name: file.read_bytes() for file in (folder / "run").glob("*.h5")}
    with np.load(folder / "run" / "masks.npz") as arrays:
        return {**found, **{name: arrays[name].tobytes() for name in arrays}}


@pytest.mark.run
@pytest.mark.filterwarnings("ignore:__array__ implementation", "ignore:.*np.object.*")
def test_a_network_of_keras_3_comes_back_with_zeros(composed, tmp_path):
    keras = backend.keras3()
    layers = keras.layers
    network = keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(6, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    network.save(tmp_path / "mine.keras")
    mine = ["model=keras_file", f"model.path={tmp_path / 'mine.keras'}"]
    run(composed, tmp_path / "run", *mine, *CUT[:2], CUT[3], "then=unstructured", "then.final_sparsity=0.5")
    cut, pruned = (keras.models.load_model(tmp_path / "run" / f"{name}.keras") for name in ("cut", "pruned"))
    shapes = [weight.shape for weight in cut.weights]
    assert [weight.shape for weight in pruned.weights] == shapes and shapes[0][-1] < 6
    kernel = np.asarray(pruned.layers[-1].kernel)
    assert np.count_nonzero(kernel) == kernel.size // 2


def test_a_second_phase_leaves_the_digests_of_the_stages_before_it(composed):
    alone, both = (digests(composed(*QUICK, *words)) for words in (CUT, THEN))
    assert alone == both


def test_the_second_phase_has_seeds_and_settings_of_its_own(composed):
    config = composed(
        *QUICK, *THEN, "then.epochs=3", "distribution.layers={conv2d:0.4}", "schedule.final_sparsity=0.5"
    )
    ready = pipeline.prepare(config)
    own = second_phase.settings(config)
    assert isinstance(own.then, Nothing) and own.distribution.layers == {}
    first = pruned_inputs(config, ready, dense="")
    second = pruned_inputs(own, ready.then, dense="", phase=2)
    assert (first["fit"]["seed"], second["fit"]["seed"]) == ([0, 1], [0, 2])
    assert (first["steps"], second["steps"]) == (18, 27)
    assert [each["name"] for each in second["masks"]["weights"]] == [
        "conv2d/kernel",
        "dense/kernel",
        "dense_1/kernel",
    ]
    assert ready.lengths[1].startswith("cut 2 x 9") and ready.then.lengths[0].startswith("pruned 3 x 9")


@pytest.mark.parametrize("distribution", ["uniform", "global", "sensitivity"])
def test_a_pattern_after_the_cut_is_the_same_in_every_weight(composed, distribution):
    chosen = f"distribution={distribution}"
    ready = pipeline.prepare(composed(*QUICK, *CUT, "then=n_of_m", chosen))
    assert {*ready.then.masks.sparsities_after(ready.then.plan.total_steps).values()} == {0.5}
    own = second_phase.settings(composed(*QUICK, *THEN, chosen))
    assert own.distribution.option_name == distribution  # where zeros can be shared


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["then=n_of_m", "then.final_sparsity=0.3"], r"^then\.final_sparsity=0\.3: then=n_of_m 2:4 keeps"),
        (
            ["then=block", "then.structure.inputs=3000"],
            r"^then\.structure\.inputs=3000: it is more than conv",
        ),
        (["then=unstructured", "then.epochs=1", "schedule.end_step=18"], r"train longer \(then\.epochs\)"),
    ],
)
def test_what_the_second_phase_cannot_do_is_refused_before_training(composed, more, message):
    config = composed(*QUICK, *CUT, *more)
    with pytest.raises(ConfigError, match=message):
        pipeline.prepare(config)


@pytest.mark.parametrize(
    ("cut", "remedy"),
    [
        (0.9, "Lower then.final_sparsity, or train longer (trainer.min_steps or then.epochs)"),
        (0.5, "Lower schedule.final_sparsity, or train longer (trainer.min_steps or trainer.epochs)"),
        (None, "Lower schedule.final_sparsity, or train longer (trainer.min_steps or trainer.epochs)"),
    ],
)
def test_the_remedy_names_the_phase_that_cost_too_much(composed, cut, remedy):
    """Where the cut alone keeps what dense knows, the zeros after it are at fault."""
    judged = _judged(composed(*QUICK, *THEN), cut)
    assert judged.verdict == "over_limit" and remedy in judged.message


@pytest.mark.parametrize(
    ("words", "cut", "remedy"),
    [
        (
            [],
            None,
            "Set pruning.reconstruct=true, lower schedule.final_sparsity, or train (trainer.epochs=2)",
        ),
        (["pruning.reconstruct=true"], None, "Lower schedule.final_sparsity, or train (trainer.epochs=2)"),
        (["criterion=random"], None, "Lower schedule.final_sparsity, or train (trainer.epochs=2)"),
        (THEN, 0.5, "Lower schedule.final_sparsity, or train (trainer.epochs=2)"),
        (THEN, 0.9, "Lower then.final_sparsity, or train (then.epochs=2)"),
        ([*THEN, "then.epochs=1"], 0.9, "Lower then.final_sparsity, or train longer (trainer.min_steps or"),
    ],
)
def test_the_remedy_after_a_phase_without_training_is_one_that_can_be_set(composed, words, cut, remedy):
    judged = _judged(composed(*QUICK, *words, "trainer.epochs=0"), cut)
    assert f"validation examples. {remedy}" in judged.message


def _judged(config, cut):
    """The judgement of a network that falls from 0.9 to 0.5, where 0.1 is allowed."""
    config.pruning.max_accuracy_drop = 0.1
    dense, stripped, cut = (_reached(each) for each in (0.9, 0.5, cut))
    scores = SimpleNamespace(
        dense=dense,
        cut=cut,
        stripped=stripped,
        pruned=stripped,
        before=None,
        task=SimpleNamespace(headline="accuracy"),
    )
    ready = SimpleNamespace(data=SimpleNamespace(validation=SimpleNamespace(y=np.arange(300) % 3)))
    return pipeline._judged(config, ready, scores)


def _reached(headline):
    return headline and SimpleNamespace(scores={"validation": SimpleNamespace(headline=headline)})


@pytest.mark.parametrize(
    ("words", "expected"), [([], False), (CUT, True), (THEN, False)], ids=["zeros", "cut", "both"]
)
def test_a_search_is_told_what_its_sparsity_is_a_share_of(composed, words, expected):
    assert composed(*QUICK, *words).ends_with_cut is expected


def test_shares_of_different_things_are_no_objective():
    objectives.check_shares(["sparsity"], [True, True])
    objectives.check_shares(["compression_ratio"], [True, False])
    with pytest.raises(ConfigError, match=r"^objective=\[sparsity\]: .* Take compression_ratio"):
        objectives.check_shares(["sparsity"], [True, False])
