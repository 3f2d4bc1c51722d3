"""Results of each format: read as one type, and shown."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from results_fixtures import exported, result, typed, untested, write_run
from test_damage import WRONG, is_refused, places, replaced
from test_report import Page

from pruneflow.errors import PruneflowError
from pruneflow.exports.sizes import Size
from pruneflow.flow import results
from pruneflow.flow.figures import FORMAT
from pruneflow.report import ending, tables
from pruneflow.report.collect import collect
from pruneflow.report.run_page import write_run_report
from pruneflow.report.sweep_page import write_sweep_report

STORED = Path(__file__).with_name("results")  # of the command smoke, as versions of those formats wrote them
NAMES = ("format-1", "format-2-first", "format-2-last")


def stored(folder, name):
    """A folder of a run that holds a stored result."""
    (folder / name / ".hydra").mkdir(parents=True)
    (folder / name / ".hydra" / "overrides.yaml").write_text("[]")
    shutil.copy(STORED / f"{name}.json", folder / name / "result.json")
    return folder / name


@pytest.mark.parametrize("name", NAMES)
def test_figures_of_older_formats_are_where_they_are_today(tmp_path, name):
    found = results.read(stored(tmp_path, name))
    assert (found.data.metric, found.quality(found.dense), found.quality(found.dense, "validation")) == (
        *("accuracy", 0.819, 0.77),
    )
    assert found.dense.tflite.gzip_bytes == 76_730 and found.dense.h5.bytes == 98_968
    assert found.pruned.layers[1].shape == (2028, 10) and found.plan.total_steps == 57
    assert found.tflite[0].size.bytes == 83_604


def test_what_format_1_does_not_say_is_not_made_up(tmp_path):
    found = results.read(stored(tmp_path, "format-1"))
    (file,) = found.tflite
    assert file.size == Size(83_604, 23_115, 24_367, None)
    assert (file.sent, file.disagreements, file.stages) == ("pruned-float.tflite", 0, {})
    unknown = (file.inside, file.latency, file.dense_size, file.theoretical_speedup, file.validation_metrics)
    assert unknown == (None,) * 5
    assert (found.pruned.wrapped, found.judgement, found.pruned.layers[0].expected) == (None, None, None)


def test_networks_before_a_later_stage_have_nested_sizes_too(tmp_path):
    found = results.read(stored(tmp_path, "format-2-last"))
    before, int8 = found.pruned.sharing.before, found.tflite[1]
    assert (before.tflite.gzip_bytes, before.metrics) == (20_613, {"accuracy": 0.853})
    assert (int8.size.gzip_bytes, int8.dense_size.gzip_bytes) == (5_591, 21_042)
    assert int8.size_ratios["gzip"] == pytest.approx(21_042 / 5_591)


@pytest.mark.parametrize("name", ["format-1", "format-2-last"])
def test_older_results_have_pages_and_lines_as_those_of_today(tmp_path, capsys, name):
    folder = stored(tmp_path, name)
    text = Page(write_run_report(folder)).text
    assert "76.7 kB" in text and "0.8190" in text
    assert ("Keras under masks" in text) == ("TFLite agrees" in text and name != "format-1")
    tables.show_result(found := results.read(folder))
    ending.show_done(found, folder)
    assert "done dataset=mnist model=cnn export=float" in capsys.readouterr().out


def test_runs_of_all_formats_are_compared_on_one_page(tmp_path):
    for name in NAMES:
        stored(tmp_path, name)
    write_run(tmp_path / "today", result())
    found = collect([tmp_path])
    assert (len(found.runs), found.left_out) == (4, [])
    rows = {row[0] for row in Page(write_sweep_report(found, tmp_path / "page.html")).rows if row}
    assert {*NAMES, "today"} <= rows


def test_a_run_without_figures_on_the_part_that_others_are_compared_on_is_left_out_and_named(tmp_path):
    digest = results.read(stored(tmp_path, "format-1")).data.digest
    other = untested(result())
    write_run(tmp_path / "today", {**other, "data": {**other["data"], "digest": digest}})
    page = Page(write_sweep_report(collect([tmp_path]), tmp_path / "page.html"))
    rows = {row[0] for row in page.rows if row}
    assert "today" in rows and "format-1" not in rows
    assert "format-1: left out. It has no figures on the validation part" in page.text


@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_is_written_and_read_as_the_same(tmp_path, name):
    found = replace(results.read(stored(tmp_path, name)), format=FORMAT)
    for file in found.tflite:
        if file.validation_metrics is None:  # of format 1: a result of today has them
            file = replace(file, validation_metrics={"accuracy": 0.8})
            found = replace(found, tflite=[file])
    results.write(found, tmp_path)
    assert results.read(tmp_path) == found
    assert typed(json.loads(json.dumps(asdict(found)))) == found


@pytest.mark.parametrize("wrong", ["null", "text", "object", "list-of-null"])
@pytest.mark.parametrize("name", NAMES[:2])
def test_a_damaged_result_of_an_older_format_is_refused_or_can_be_read(tmp_path, name, wrong):
    whole = json.loads((STORED / f"{name}.json").read_text())
    refused = 0
    for at in places(whole):
        if at[:1] != ("config",):
            refused += is_refused(tmp_path, replaced(json.loads(json.dumps(whole)), at, WRONG[wrong]))
    assert refused > 100


@pytest.mark.parametrize("number", [0, 4, -1])
def test_a_format_of_another_time_is_refused(tmp_path, number):
    write_run(tmp_path / "run", {**result(exported()), "format": number})
    with pytest.raises(PruneflowError, match=rf"has format {number}, and pruneflow \S+ reads formats 1 to 3"):
        results.read(tmp_path / "run")
