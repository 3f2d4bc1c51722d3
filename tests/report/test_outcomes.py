import string

import pytest

from pruneflow.command.names import LONGEST_NAME, cell_name
from pruneflow.report.outcomes import CellOutcome, write_csv

SAFE = set(string.ascii_letters + string.digits + "._=,+-")


def test_a_cell_is_named_by_what_differs():
    overrides = ["model=lstm", "schedule.final_sparsity=0.5", "seed=1"]
    assert cell_name(overrides, ["model"]) == "final_sparsity=0.5,seed=1"


def test_keys_with_the_same_last_part_keep_their_whole_name():
    name = cell_name(["model.name=a", "dataset.name=b"], [])
    assert name == "model.name=a,dataset.name=b"


@pytest.mark.parametrize(
    "value", ["/a/b/../c", "[1,2]", "'x y'", "{a: 1}", "ü", "a" * 300, "..", "$(rm)", "x\ny", "a:b|c*?"]
)
def test_names_are_short_and_safe_whatever_the_override(value):
    name = cell_name([f"dataset.path={value}"], [])
    assert set(name) <= SAFE
    assert len(name) <= LONGEST_NAME
    assert not name.startswith(".")


def test_values_that_differ_only_in_unsafe_characters_stay_apart():
    assert cell_name(["dataset.path=/a/b"], []) != cell_name(["dataset.path=/a_b"], [])


def test_a_sweep_over_nothing_is_one_cell():
    assert cell_name(["seed=1"], ["seed"]) == "cell"


def test_the_csv_has_a_row_for_every_cell(tmp_path):
    result = {
        "seed": 3,
        "config": {"model": {"name": "cnn"}, "trainer": {"batch_size": 32}, "schedule": {"name": "constant"}},
        "data": {"name": "mnist"},
        "dense": {"accuracy": None},
        "tflite": [{"kind": "float", "accuracy": 0.5}],
        "pruned": {},
        "phases": {"dense": {"seconds": 1.5}, "pruned": {}},
        "ratios": {},
    }
    cells = [CellOutcome("seed=3", result, ""), CellOutcome("seed=4", None, "disk, full")]
    write_csv(tmp_path / "sweep.csv", cells)
    header, done, failed = (tmp_path / "sweep.csv").read_text().splitlines()
    columns = header.split(",")
    row = dict(zip(columns, done.split(","), strict=True))
    assert (row["cell"], row["status"], row["seed"], row["export"]) == ("seed=3", "done", "3", "float")
    assert (row["tflite_accuracy"], row["dense_accuracy"], row["dense_seconds"]) == ("0.5", "", "1.5")
    assert failed.startswith("seed=4,failed,,") and failed.endswith('"disk, full"')
