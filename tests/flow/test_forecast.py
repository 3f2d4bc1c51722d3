"""``--dry-run``: trainings that the store has, and the time of the others."""

import json

import pytest
from conftest import QUICK
from test_cli import exit_code

from pruneflow.flow import forecast
from pruneflow.flow.forecast import Record, Training
from pruneflow.flow.manifests import digest_of
from pruneflow.flow.store import Store
from pruneflow.report import tables

GRID = [*QUICK, "-m", "schedule.final_sparsity=0.5,0.8"]


def last_line(capsys):
    return capsys.readouterr().out.strip().splitlines()[-1]


@pytest.mark.run
def test_a_dry_run_writes_nothing_and_counts_what_is_to_be_trained(tmp_path, capsys, trained_before):
    assert exit_code([*GRID, "--dry-run"]) == 0
    said = "2 cells: 1 dense and 2 pruned trainings, of which no time is known."
    assert last_line(capsys) == said
    assert not (tmp_path / "outputs").exists()
    trained_before("dense", "pruned")
    before = sorted((tmp_path / "outputs").rglob("*"))
    capsys.readouterr()
    assert exit_code([*GRID, "--dry-run"]) == 0
    assert last_line(capsys).startswith("2 cells: 1 pruned training, about ")
    assert exit_code([*QUICK, "schedule.final_sparsity=0.8", "--dry-run"]) == 0
    assert last_line(capsys) == "1 cell: the store has all trainings."
    assert sorted((tmp_path / "outputs").rglob("*")) == before


def stage(folder, kind, inputs, **facts):
    place = folder / kind / digest_of(kind, inputs)
    place.mkdir(parents=True)
    manifest = {"layout": "v1", "name": kind, "digest": place.name, "inputs": inputs, "files": {"a": ""}}
    (place / "manifest.json").write_text(json.dumps(manifest))
    (place / "facts.json").write_text(json.dumps(facts))
    return place.name


def test_the_time_is_that_of_other_trainings_of_the_same_network(tmp_path):
    store = Store(tmp_path)
    network = {"model": "cnn", "spec": "images", "device": "cpu"}
    dense = stage(store.folder, "dense", {**network, "seed": 0}, examples_per_second=100.0)
    stage(store.folder, "pruned", {"dense": dense, "steps": 10}, examples_per_second=300.0)
    stage(store.folder, "dense", {**network, "model": "lstm"}, examples_per_second=5.0)
    record = Record(store)
    assert record.seconds({**network, "seed": 7}, 4000) == 20.0  # by the median, 200 examples a second
    assert record.seconds({**network, "model": "mlp"}, 4000) is None
    assert record.has("dense", dense)
    assert not record.has("dense", dense[::-1])


def test_training_for_int8_takes_as_long_as_such_training_took(tmp_path):
    store = Store(tmp_path)
    network = {"model": "cnn", "spec": "images", "device": "cpu"}
    dense = stage(store.folder, "dense", {**network, "seed": 0}, examples_per_second=100.0)
    pruned = stage(store.folder, "pruned", {"dense": dense, "steps": 10}, examples_per_second=100.0)
    assert Record(store).seconds(network, 4000, aware=True) is None  # it is slower than the others
    stage(store.folder, "quantization_aware", {"before": pruned, "fit": 1}, examples_per_second=20.0)
    assert Record(store).seconds(network, 4000, aware=True) == 200.0
    assert Record(store).seconds(network, 4000) == 40.0


def test_work_without_epochs_takes_as_long_as_it_took_before(tmp_path):
    store = Store(tmp_path)
    network = {"model": "cnn", "spec": "images", "device": "cpu"}
    dense = stage(store.folder, "dense", {**network, "seed": 0}, examples_per_second=100.0)
    scan = {"network": dense, "levels": [0.5, 0.9], "examples": 100}
    stage(store.folder, "sensitivity", scan, seconds=8.0)
    pruned = stage(store.folder, "pruned", {"dense": dense, "reconstruct": {"examples": 512}}, seconds=4.0)
    stage(store.folder, "shared", {"pruned": pruned, "values": 16}, seconds=3.0)
    record = Record(store)
    assert record.seconds_at_once("sensitivity", network, {**scan, "examples": 300}) == 24.0
    assert record.seconds_at_once("pruned", network, {"reconstruct": {"examples": 256}}) == 2.0
    assert record.seconds_at_once("pruned", network, {}) is None
    assert record.seconds_at_once("shared", network, {"values": 4}) == 3.0
    assert record.seconds_at_once("shared", {**network, "model": "mlp"}, {"values": 4}) is None


def test_what_takes_an_unknown_time_is_said_to(capsys):
    scan = Training("scan", "s", stored=False, seconds=None)
    cells = [[scan, Training("pruned", "p", stored=False, seconds=42.0)]]
    tables.show_forecast(["a"], cells)
    said = capsys.readouterr().out
    assert "to do, time unknown  to do, 42 seconds" in said
    assert said.strip().endswith(
        "1 cell: 1 scan, 1 pruned training, about 42 seconds, and 1 more of unknown time."
    )


def test_a_damaged_record_is_no_record(tmp_path):
    store = Store(tmp_path)
    (store.folder / "dense" / "a").mkdir(parents=True)
    (store.folder / "dense" / "a" / "manifest.json").write_text("[")
    assert Record(store).seconds({}, 10) is None


def test_a_training_that_cells_share_is_counted_once(capsys):
    dense = Training("dense", "d", stored=False, seconds=60.0)
    cells = [[dense, Training("pruned", name, stored=False, seconds=90.0)] for name in "ab"]
    assert len(forecast.distinct(cells)) == 3
    tables.show_forecast(["a", "b"], cells)
    assert last_line(capsys) == "2 cells: 1 dense and 2 pruned trainings, about 4.0 minutes."


@pytest.mark.run
def test_later_stages_are_known_by_their_digests(capsys, trained_before):
    trained_before("dense", "pruned")
    words = [*QUICK, "sharing.values=4", "schedule.final_sparsity=0.8"]
    assert exit_code(words) == 0
    capsys.readouterr()
    assert exit_code([*words, "--dry-run"]) == 0
    assert last_line(capsys) == "1 cell: the store has all trainings."
    assert exit_code([*words, "sharing.values=5", "--dry-run"]) == 0
    assert last_line(capsys).startswith("1 cell: 1 shared training, about ")


@pytest.mark.run
def test_training_for_int8_has_a_time_once_it_was_done(capsys, trained_before):
    words = [*QUICK, "export=int8", "quantization_aware.epochs=1"]
    trained_before("dense", "pruned")
    assert exit_code([*words, "--dry-run"]) == 0
    assert last_line(capsys) == "1 cell: 1 quantization_aware training, of which no time is known."
    assert exit_code(words) == 0
    capsys.readouterr()
    assert exit_code([*words[:-1], "quantization_aware.epochs=2", "--dry-run"]) == 0
    assert last_line(capsys).startswith("1 cell: 1 quantization_aware training, about ")


@pytest.mark.run
def test_shares_of_a_scan_are_known_once_it_is_made(capsys, trained_before):
    words = [*QUICK, "distribution=sensitivity", "sensitivity.levels=[0.5,0.9]"]
    trained_before("dense", "pruned")  # whose shares are those that stand in for the scan's
    assert exit_code([*words, "--dry-run"]) == 0
    assert last_line(capsys).startswith("1 cell: 1 scan, 1 pruned training, about ")
    assert exit_code(words) == 0
    capsys.readouterr()
    assert exit_code([*words, "--dry-run"]) == 0
    assert last_line(capsys) == "1 cell: the store has all trainings."
