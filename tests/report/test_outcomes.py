import csv
import string

import pytest
from results_fixtures import exported, result, typed, write_run

from pruneflow.command.names import LONGEST_NAME, cell_name
from pruneflow.report import tables
from pruneflow.report.collect import collect
from pruneflow.report.outcomes import CellOutcome, write_csv
from pruneflow.report.sweep_page import write_sweep_report

SAFE = set(string.ascii_letters + string.digits + "._+-")


def test_a_cell_is_named_by_what_differs():
    overrides = ["model=lstm", "schedule.final_sparsity=0.5", "seed=1"]
    assert cell_name(overrides, ["model"]) == "final_sparsity-0.5_seed-1"


def test_keys_with_the_same_last_part_keep_their_whole_name():
    name = cell_name(["model.name=a", "dataset.name=b"], [])
    assert name == "model.name-a_dataset.name-b"


@pytest.mark.parametrize(
    "value", ["/a/b/../c", "[1,2]", "'x y'", "{a: 1}", "ü", "a" * 300, "..", "$(rm)", "x\ny", "a:b|c*?"]
)
def test_names_are_short_and_safe_whatever_the_override(value):
    name = cell_name([f"dataset.path={value}"], [])
    assert set(name) <= SAFE
    assert len(name) <= LONGEST_NAME
    assert not name.startswith(".")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["dataset.path=/a/b"], ["dataset.path=/a_b"]),
        (["model.name=a_then-b", "then=c"], ["model.name=a", "then=b_then-c"]),
        (["model.filters=[8,4]"], ["model.filters=8+4"]),
        (["model.name=A"], ["model.name=a"]),
    ],
)
def test_cells_stay_apart_even_where_the_file_system_ignores_case(one, other):
    assert cell_name(one, []).lower() != cell_name(other, []).lower()


def test_values_that_are_usual_need_no_digest():
    typed = ["model=keras_file", "export=dynamic-range", "trainer.learning_rate=1e-3", "structure=block_4x1"]
    name = "model-keras_file_export-dynamic-range_learning_rate-1e-3_structure-block_4x1"
    assert cell_name(typed, []) == name


def test_a_sweep_over_nothing_is_one_cell():
    assert cell_name(["seed=1"], ["seed"]) == "cell"


def test_the_csv_has_a_row_for_every_cell(tmp_path):
    found = result(exported(accuracy=0.5), seed=3, dense_accuracy=None)
    found["phases"] = {"dense": {"seconds": 1.5}}
    cells = [CellOutcome("seed=3", typed(found), ""), CellOutcome("seed=4", None, "disk, full")]
    write_csv(tmp_path / "sweep.csv", cells)
    header, done, failed = (tmp_path / "sweep.csv").read_text().splitlines()
    columns = header.split(",")
    row = dict(zip(columns, done.split(","), strict=True))
    assert (row["cell"], row["status"], row["seed"], row["export"]) == ("seed=3", "done", "3", "float")
    assert (row["tflite_accuracy"], row["dense_accuracy"], row["dense_seconds"]) == ("0.5", "", "1.5")
    assert failed.startswith("seed=4,failed,,") and failed.endswith('"disk, full"')


def mixed():
    """Results of a cell that was cut and of one with zeros on top, by what came after the cut."""
    cut, zeros = result(), result()
    counted = {"multiply_adds": [500, 100], "parameters": [200, 40], "groups": []}
    cut["pruned"]["channels"] = {"of": "channels", "requested": 0.8, "removed": 0.8, **counted}
    return {"none": cut, "unstructured": zeros}


def mixed_cells():
    return [CellOutcome(f"then={name}", typed(found), "") for name, found in mixed().items()]


def test_the_csv_says_what_sparsity_is_a_share_of(tmp_path):
    write_csv(tmp_path / "sweep.csv", [*mixed_cells(), CellOutcome("seed=4", None, "no room")])
    rows = csv.DictReader((tmp_path / "sweep.csv").read_text().splitlines())
    assert [row["sparsity_of"] for row in rows] == ["cut", "zeros", ""]


def test_a_sweep_that_mixes_shares_says_which_is_which(capsys):
    tables.show_sweep(mixed_cells())
    printed = capsys.readouterr().out
    assert "0.800 cut" in printed and "0.800 zeros" in printed
    tables.show_sweep(mixed_cells()[:1])
    assert "0.800 cut" not in capsys.readouterr().out


def test_the_page_of_such_a_sweep_has_a_column_for_it(tmp_path):
    for name, found in mixed().items():
        write_run(tmp_path / name, {**found, "config": {**found["config"], "then": {"name": name}}})
    write_sweep_report(collect([tmp_path]), tmp_path / "report.html")
    shown = (tmp_path / "report.html").read_text()
    assert all(f">{word}<" in shown for word in ("sparsity of", "cut", "zeros"))
