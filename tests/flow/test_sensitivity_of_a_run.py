"""The scan of a trained network: its stage, its figures, the run that reads it, and the command."""

import csv
import json
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import QUICK, QUICK_LSTM
from test_flow import run

from pruneflow import sensitivity as command
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.flow import networks, pipeline, sensitivity
from pruneflow.report import sensitivity as shown
from pruneflow.report.run_page import write_run_report
from pruneflow.sparsity.sensitivity import Scan, Scanned
from pruneflow.sparsity.shared_weights import variables
from pruneflow.training.scoring import keras_outcome, score

SCANNED = ["distribution=sensitivity", "sensitivity.levels=[0.5,0.9]"]


def trained(config, folder):
    ready, store = pipeline.prepare(config), config.stages.open()
    return store, ready, networks.dense_network(store, config, ready, folder)


@pytest.mark.run
def test_weights_are_masked_one_at_a_time_and_are_what_they_were_afterwards(sharing, tmp_path, monkeypatch):
    config = sharing(*QUICK, "sensitivity.levels=[0.5,0.9]", "sensitivity.examples=30", "stages.reuse=true")
    _, ready, dense = trained(config, tmp_path)
    model = dense.read()
    before = [weight.copy() for weight in model.get_weights()]
    monkeypatch.setattr(networks.Network, "read", lambda _: model)
    found = sensitivity._measured(config, ready, dense)
    for one, other in zip(before, model.get_weights(), strict=True):
        assert one.tobytes() == other.tobytes()
    part = ready.data.validation.sampled(30)
    assert (found.n, found.metric, found.levels) == (30, "accuracy", (0.5, 0.9))
    assert [each.name for each in found.weights] == ["conv2d/kernel", "dense/kernel"]
    outcome = keras_outcome(model, part, ready.data.spec, description="x")
    whole = score(sensitivity.Asked(model, part, ready.data.spec).task, outcome, part.y)
    assert (found.loss, found.accuracy) == pytest.approx((whole.loss, whole.headline))
    kernel = variables(model, ["dense/kernel"])["dense/kernel"]
    values = np.abs(kernel.numpy())
    kernel.assign(np.where(values >= np.sort(values.ravel())[values.size // 2], kernel.numpy(), 0))
    outcome = keras_outcome(model, part, ready.data.spec, description="x")
    half = score(sensitivity.Asked(model, part, ready.data.spec).task, outcome, part.y)
    assert found.weights[1].losses[0] == pytest.approx(half.loss, abs=1e-6)


@pytest.mark.run
def test_a_run_takes_its_shares_from_the_scan_and_scans_once(composed, tmp_path, monkeypatch, trained_before):
    trained_before("dense")
    result = run(composed, tmp_path / "one", *SCANNED)
    found = Scan.of(json.loads((tmp_path / "one" / "sensitivity.json").read_bytes()))
    asked = {f"{each.name}/{each.weight}": each.requested_sparsity for each in result.pruned.layers}
    config = composed(*QUICK, *SCANNED)
    shapes = {f"{each.name}/{each.weight}": tuple(each.shape) for each in result.pruned.layers}
    assert asked == pytest.approx(config.distribution.after(found).share(shapes, 0.8))
    assert result.pruned.measured_sparsity == pytest.approx(0.8, abs=1e-3)
    assert asked["conv2d/kernel"] != asked["dense/kernel"]
    monkeypatch.setattr(sensitivity, "_measured", lambda *_: pytest.fail("scanned twice"))
    again = run(composed, tmp_path / "two", *SCANNED, "schedule.final_sparsity=0.9")
    assert again.stages["dense"].reused and not again.stages["pruned"].reused
    drawn = shown.picture(found)
    assert drawn.name == "sensitivity" and "Most sensitive is" in drawn.alt


@pytest.mark.run
def test_groups_of_channels_have_shares_of_the_scan_and_so_have_zeros_after_the_cut(sharing, tmp_path):
    channel = ["structure=channel", "structure.multiple=1", "model.dense_units=[8]", "then=unstructured"]
    result = run(sharing, tmp_path, *SCANNED, *channel, "schedule.final_sparsity=0.6")
    first, second = (
        Scan.of(json.loads((tmp_path / name).read_bytes()))
        for name in ("sensitivity.json", "sensitivity-cut.json")
    )
    assert [(each.name, each.size) for each in first.weights] == [("conv2d", 12), ("dense", 8)]
    assert first.weights[0].sparsities == (0.5, pytest.approx(11 / 12))
    assert [each.name for each in second.weights] == ["conv2d/kernel", "dense/kernel", "dense_1/kernel"]
    assert result.cut.channels.removed == pytest.approx(0.6, abs=0.05)
    assert result.pruned.measured_sparsity == pytest.approx(0.8, abs=0.01)
    page = write_run_report(tmp_path).read_text()
    assert (
        "Sensitivity of each weight</h2>" in page and "Sensitivity of each weight after the cut</h2>" in page
    )
    assert (tmp_path / "report" / "sensitivity-cut.svg").exists()


@pytest.mark.run
@pytest.mark.parametrize(
    "more",
    [
        ["criterion=taylor"],
        ["model=lstm", "dataset=imdb", *QUICK_LSTM, "criterion=taylor"],
        ["structure=block_4x1", "criterion=random"],
    ],
)
def test_a_scan_ranks_as_the_run_does(sharing, tmp_path, more):
    config = sharing(*QUICK, *more, "sensitivity.levels=[0.9]", "sensitivity.examples=20")
    store, ready, dense = trained(config, tmp_path)
    found = sensitivity.scan(store, config, ready, dense)
    names = [p.name for p in ready.masks.prunables]
    assert [each.name for each in found.weights] == names
    assert all(0 < each.sparsities[0] <= 0.95 for each in found.weights)


class Poisoned:
    """A network that answers with NaN from the third time on."""

    task = SimpleNamespace(headline="accuracy")

    def __init__(self, *_):
        self.times = 0

    def outcome(self):
        self.times += 1
        return float("nan") if self.times > 2 else 0.5


@pytest.mark.run
def test_a_weight_without_which_the_network_answers_nan_is_named(sharing, tmp_path, monkeypatch):
    config = sharing(*QUICK, "sensitivity.levels=[0.5,0.9]")
    _, ready, dense = trained(config, tmp_path)
    monkeypatch.setattr(sensitivity, "Asked", Poisoned)
    monkeypatch.setattr(
        sensitivity, "score", lambda _, outcome, y: SimpleNamespace(loss=outcome, headline=0.5)
    )
    with pytest.raises(PruneflowError, match=r"^With 0[.]898 of conv2d/kernel masked, the network answers"):
        sensitivity._measured(config, ready, dense)


def test_a_scan_on_few_examples_says_so(composed, tmp_path, capsys):
    found = Scan("accuracy", 1, 0.1, 1.0, (0.5,), ())
    (tmp_path / "sensitivity.json").write_text(json.dumps(asdict(found)))
    stage = SimpleNamespace(path=str(tmp_path))
    kept = SimpleNamespace(held=lambda *_: nullcontext(SimpleNamespace(missing=False, stage=stage)))
    config = composed(*QUICK, "sensitivity.examples=1")
    network = SimpleNamespace(stage=SimpleNamespace(digest="d"))
    assert sensitivity.scan(kept, config, pipeline.prepare(config), network) == found
    said = " ".join(capsys.readouterr().out.split())
    assert "on 1 example (fewer than 100): chance decides which one is sensitive." in said
    assert said.endswith("Raise sensitivity.examples.")


def test_inputs_of_a_scan_are_what_touches_it(composed):
    def inputs(*more):
        config = composed(*QUICK, *more)
        return sensitivity.scan_inputs(config, pipeline.prepare(config), network="d")

    usual = inputs()
    for same in (["schedule.final_sparsity=0.9"], ["trainer.epochs=3"], ["distribution=erk"], ["seed=1"]):
        assert inputs(*same) == usual
    assert inputs("sensitivity.examples=5000") == usual  # there are 40
    for other in (
        ["sensitivity.levels=[0.5]"],
        ["sensitivity.examples=10"],
        ["structure=block_4x1"],
        ["criterion=random"],
        ["pruning.skip=[dense]"],
    ):
        assert inputs(*other) != usual
    assert inputs("criterion=random") != inputs("criterion=random", "seed=1")


def test_gradients_are_those_of_as_many_examples_as_are_measured(composed, monkeypatch):
    """There are 40 examples of the validation part, and 360 of the training part."""
    monkeypatch.setattr(sensitivity, "saliencies", lambda _, part, *more, **options: len(part))
    for asked, count in ((5000, 40), (30, 30)):
        config = composed(*QUICK, "criterion=taylor", f"sensitivity.examples={asked}")
        assert sensitivity._gradients(config, pipeline.prepare(config), None, {}) == count


MLP = ["model=mlp", "model.hidden_units=[64,48]", "structure=channel", "schedule.initial_sparsity=0"]


def after_scan(composed, monkeypatch, folder, *words):
    """What is known after a scan that finds units of the first layer cheap, and of the second dear."""
    config = composed(*QUICK, *MLP, *SCANNED, *words)
    ready = pipeline.prepare(config)
    weights = [
        Scanned(group.name, group.size, 0.5, (0.5, 0.9), losses, (0.9, 0.9))
        for group, losses in zip(ready.masks.channels.groups, [(0.1, 0.1), (5.0, 9.0)], strict=True)
    ]
    found = Scan("accuracy", 40, 0.1, 0.95, (0.5, 0.9), tuple(weights))
    monkeypatch.setattr(sensitivity, "scan", lambda *_: found)
    network = SimpleNamespace(channels=None)
    return sensitivity.with_shares(None, config, ready, network, folder)


def test_shares_of_a_scan_that_cut_nothing_are_refused(composed, monkeypatch, tmp_path):
    with pytest.raises(ConfigError) as refusal:
        after_scan(composed, monkeypatch, tmp_path, "structure.multiple=16", "schedule.final_sparsity=0.1")
    assert str(refusal.value) == (
        "structure.multiple=16: no choice of units comes nearer to 0.1 of the multiply-adds than none. Lower "
        "it; 1 allows any number."
    )


def test_what_the_shares_of_a_scan_remove_is_said(composed, monkeypatch, tmp_path, capsys):
    after_scan(composed, monkeypatch, tmp_path, "structure.multiple=1", "schedule.final_sparsity=0.5")
    said = "Note       0.5000 of the multiply-adds are asked for, the nearest choice of units removes "
    assert said in capsys.readouterr().out


def test_a_network_that_is_not_trained_is_not_scanned(composed):
    config = composed(*QUICK, *SCANNED, "trainer.dense_epochs=0")
    with pytest.raises(ConfigError) as refusal:
        pipeline.prepare(config)
    assert str(refusal.value) == (
        "distribution=sensitivity: there is no trained network to scan, since trainer.dense_epochs=0 and the "
        "network is untrained. Train one with trainer.dense_epochs=1 or more, or take distribution=erk."
    )


@pytest.mark.run
def test_the_command_scans_and_leaves_table_chart_and_figures(shared_stages, tmp_path, capsys):
    place = tmp_path / "scan"
    words = [*QUICK, "sensitivity.levels=[0.5,0.9]", shared_stages, f"--output={place}"]
    assert command.main(words) == 0
    out = capsys.readouterr().out
    assert "Not scanned input (has no weights); max_pooling2d (has no weights)" in out
    assert "Most sensitive is " in out and "; least is " in out and "40 validation examples" in out
    rows = list(csv.DictReader((place / "sensitivity.csv").read_text().splitlines()))
    assert [(row["weight"], row["asked"]) for row in rows] == [
        (name, level) for name in ("conv2d/kernel", "dense/kernel") for level in ("0.5", "0.9")
    ]
    found = shown.read(place / "sensitivity.json")
    assert float(rows[0]["loss_rise"]) == pytest.approx(found.weights[0].losses[0] - found.loss)
    assert float(rows[0]["drop"]) == pytest.approx(found.accuracy - found.weights[0].accuracies[0])
    assert "<svg" in (place / "sensitivity.html").read_text()
    assert {file.name for file in (place / "sensitivity").iterdir()} == {"sensitivity.svg", "sensitivity.png"}
    assert command.main(words) == 2
    assert f"--output={place}: something is there already" in capsys.readouterr().err


def test_a_scan_is_told_by_the_shares_that_were_masked():
    """2:4 masks half of a weight at most, and a group of two units one of them."""
    large = Scanned("large", 100, 0.9, (0.5, 0.8, 0.954), (0.2, 0.3, 0.4), (0.9, 0.85, 0.8))
    small = Scanned("small", 2, 0.1, (0.5, 0.5, 0.5), (0.9, 0.9, 0.9), (0.6, 0.6, 0.6))
    found = Scan("accuracy", 40, 0.1, 0.95, (0.5, 0.8, 0.95), (large, small))
    assert shown.in_words(found) == (
        "Most sensitive is small: where 0.5 of it alone is masked, accuracy falls from 0.9500 to 0.6000; "
        "least is large: to 0.8000, where 0.954 is masked (40 validation examples, no training)."
    )
    _, _, *rows = shown._cells(found)
    assert [row[3:6] for row in rows] == [["0.9000", "0.8500", "0.8000"], ["0.6000", "", ""]]
    odd = replace(found, weights=(replace(small, sparsities=(0.4, 0.5, 0.5)),))
    assert [*shown._cells(odd)][2][3:6] == ["0.6000 at 0.4", "0.6000 at 0.5", ""]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["typo=1"], "typo: there is no such key."),
        (["sensitivity.levels=[]"], "sensitivity.levels=[]: allowed are one or more ascending numbers"),
        (["trainer.dense_epochs=0"], "trainer.dense_epochs=0: there is no trained network to scan"),
    ],
)
def test_the_command_refuses_what_it_cannot_use(words, answer, capsys):
    assert command.main(words) == 2
    assert capsys.readouterr().err.startswith(answer)
    assert not Path("outputs").exists()


def test_a_file_that_holds_no_scan_is_named(tmp_path):
    (tmp_path / "sensitivity.json").write_text('{"metric": "accuracy"}')
    with pytest.raises(Exception, match="does not hold a scan"):
        shown.read(tmp_path / "sensitivity.json")
