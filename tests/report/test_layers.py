"""Layers inside the files of a run, before and after, with figures worked out by hand."""

import zlib

import numpy as np
import pytest
from results_fixtures import exported, result, typed, write_run
from test_report import Page, cut_to_half
from tflite_fixtures import dense_layers

from pruneflow.errors import PruneflowError
from pruneflow.report.layers import Bar, layer_rows
from pruneflow.report.run_page import write_run_report

FULL = {"a<b>": np.arange(1, 41).reshape(10, 4), "dense": np.arange(1, 21).reshape(2, 10)}


def written(folder, found, before=FULL, after=FULL):
    write_run(folder, found)
    (folder / "dense-float.tflite").write_bytes(dense_layers(**before))
    (folder / "pruned-float.tflite").write_bytes(dense_layers(**after))
    return folder


def packed(values):
    return len(zlib.compress(values.astype(np.float32).tobytes()))


def test_zeros_leave_the_bytes_and_take_multiply_adds_and_bytes_after_gzip(tmp_path):
    after = {**FULL, "a<b>": np.where(np.arange(40).reshape(10, 4) < 30, 0, 7)}
    folder = written(tmp_path / "run", result(), after=after)
    first, second, whole = layer_rows(folder, typed(result()))
    assert [row.name for row in (first, second, whole)] == ["a<b>", "dense", "whole network"]
    assert list(first.cells) == ["multiply-adds", "bytes", "bytes after gzip"]
    assert first.cells["multiply-adds"] == [Bar("40 to 10", 100, 25)]
    assert first.cells["bytes"] == [Bar("160", 100, 100)]
    dense, pruned = packed(FULL["a<b>"]), packed(after["a<b>"])
    assert first.cells["bytes after gzip"][0].text == f"{dense} to {pruned}" and pruned < dense
    assert second.cells["multiply-adds"] == [Bar("20", 50, 100)]
    assert whole.cells["multiply-adds"] == [Bar("60 to 30")]
    assert whole.cells["bytes"] == [Bar("240")]


def test_a_layer_that_was_cut_has_its_units_and_fewer_bytes(tmp_path):
    after = {"a<b>": FULL["a<b>"][:5], "dense": FULL["dense"][:, :5]}
    found = cut_to_half()
    folder = written(tmp_path / "run", found, after=after)
    first, second, whole = layer_rows(folder, typed(found))
    assert first.cells["units"] == [Bar("heads 4 to 2", 50, 50), Bar("values 8", 100, 100)]
    assert first.cells["bytes"] == [Bar("160 to 80", 100, 50)]
    assert (second.cells["units"], whole.cells["units"]) == ([], [])
    assert whole.cells["multiply-adds"] == [Bar("60 to 30")]
    made = write_run_report(folder)
    shown = Page(made)
    assert ["layer", "units", "multiply-adds", "bytes", "bytes after gzip"] in shown.rows
    assert ["a<b>", "heads 4 to 2values 8", "40 to 20", "160 to 80"] in [row[:4] for row in shown.rows]
    assert '<div class="bar" style="width: 50.0%"><div style="width: 50.0%">' in made.read_text()


def test_a_weight_that_was_traced_is_named_after_its_layer_whatever_its_tensor_is_called(tmp_path):
    file = exported()
    traced = {"dtype": "float32", "encoding": "dense", "size": 40, "masked": 0, "zeros": 0, "added": 0}
    file["inside"]["weights"] = [
        {"name": "first/conv/kernel", "tensors": ["net/x/MatMul"], "violated": 0, **traced}
    ]
    same = {"x": FULL["a<b>"], "dense": FULL["dense"]}
    folder = written(tmp_path / "run", result(file), same, same)
    assert [row.name for row in layer_rows(folder, typed(result(file)))][:2] == ["first/conv", "dense"]


def test_files_that_are_gone_or_of_another_network_have_no_rows(tmp_path):
    folder = written(tmp_path / "run", result(), after={"dense": FULL["dense"]})
    assert layer_rows(folder, typed(result())) == []
    (folder / "dense-float.tflite").unlink()
    assert layer_rows(folder, typed(result())) == []
    assert "Layers before and after" not in Page(write_run_report(folder)).text


def test_a_damaged_file_is_named(tmp_path):
    folder = written(tmp_path / "run", result())
    content = (folder / "dense-float.tflite").read_bytes()
    (folder / "dense-float.tflite").write_bytes(content[: len(content) // 2])
    with pytest.raises(PruneflowError, match=r"run/dense-float\.tflite is cut short or damaged"):
        write_run_report(folder)
