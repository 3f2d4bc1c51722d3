"""Run folders that are damaged: each costs itself only, and is named with the reason."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from results_fixtures import exported, result, typed, write_run
from tensorboard.summary.writer.record_writer import RecordWriter

from pruneflow.errors import PruneflowError
from pruneflow.flow import results
from pruneflow.report import __main__ as command
from pruneflow.report import ending, hparams, outcomes, run_page, sweep_page, tables
from pruneflow.report.charts import inline, styled
from pruneflow.report.collect import collect
from pruneflow.report.curves import read_curves
from pruneflow.report.points import points_of
from pruneflow.report.run_charts import run_pictures
from pruneflow.report.sweep_page import write_sweep_report

MARKUP = "[/red] <b>$x$ ${x} \x01 名"
WRONG = {
    "null": None,
    "negative": -1,
    "zero": 0,
    "huge": 1e38,
    "long": 2**62,
    "text": MARKUP,
    "empty": "",
    "object": {},
    "list-of-null": [None],
}


def whole():
    found = result(exported())
    found["config"] = {key: found["config"][key] for key in ("model", "dataset")}
    found["classes"] = [{"name": "a", "examples": 9, "accuracy": {"dense": 1.0, "pruned": 0.9, "float": 0.8}}]
    return found


def places(value, at=()):
    """Where each value lies, by keys and indices."""
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*at, key))


def replaced(found, at, value):
    if not at:
        return value
    inner = found
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return found


def is_refused(folder, found):
    (folder / "result.json").write_text(json.dumps(found))
    try:
        results.read(folder)
    except PruneflowError as error:
        return str(error).startswith(f"{folder / 'result.json'} ")
    return False


@pytest.mark.run
@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_value_anywhere_is_refused_or_can_be_shown(tmp_path, capsys, wrong):
    """All values that are not refused, at once, in tables, TensorBoard's cards and the drawings of pages."""
    folder, kept = write_run(tmp_path / "runs" / "run", whole()), whole()
    for at in reversed(list(places(whole()))):  # what is inside first
        tried = replaced(json.loads(json.dumps(kept)), at, WRONG[wrong])
        if not is_refused(folder, tried) and at[:1] != ("config",):
            kept = tried
    assert not is_refused(folder, kept)
    found = results.read(folder)
    hparams.write(folder, {})
    cells = [outcomes.CellOutcome("cell", found, "")]
    outcomes.write_csv(tmp_path / "sweep.csv", cells)
    tables.show_sweep(cells)
    ending.show_done(found, folder)
    assert all("<svg" in picture for picture in drawings(folder, found))


def drawings(folder, found):
    """Those of both pages; what else the pages show is made, too."""
    collected = collect([folder.parent])
    page, links = folder.parent / "page.html", {run.name: "" for run in collected.runs}
    grids = sweep_page._grids(points_of(collected.runs))
    sweep_page._values(collected, grids, links, page)
    run_page._values(folder, found, folder / "report.html")
    with styled():
        of_sweep = [picture for each in sweep_page._pictures(grids, links) for picture in each]
        return [inline(each) for each in (*of_sweep, *run_pictures(folder, found, None))]


NESTED = '{"format": 2, "config": ' + '{"a": ' * 100_000 + "1" + "}" * 100_000 + "}"
BROKEN = {
    "nothing": b"",
    "other bytes": bytes(range(256)),
    "half": json.dumps(whole()).encode()[:2000],
    "nested": NESTED.encode(),
    "lists": b"[" * 100_000 + b"]" * 100_000,
    "sixty levels": json.dumps(whole())
    .replace('"command"', f'"more": {"[" * 60}{"]" * 60}, "command"')
    .encode(),
    "NaN": json.dumps(replaced(whole(), ("config", "seed"), float("nan"))).encode(),
    "1e999": json.dumps(whole()).replace("20.0", "1e999").encode(),
    "thousands of digits": json.dumps(whole()).replace("20.0", "9" * 9000).encode(),
    "half a character": json.dumps(whole()).replace("x86_64", "\\ud800").encode(),
    "no file": json.dumps(replaced(whole(), ("tflite",), [])).encode(),
    "a file elsewhere": json.dumps(replaced(whole(), ("tflite", 0, "kind"), "../../x")).encode(),
    "no metric": json.dumps(replaced(whole(), ("data", "metric"), "r2")).encode(),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_result_is_refused_with_the_reason(tmp_path, broken):
    (tmp_path / "result.json").write_bytes(BROKEN[broken])
    with pytest.raises(PruneflowError, match=r"result\.json is not .+: .+\. Delete it, or run again\.$"):
        results.read(tmp_path)


def pipe(file):
    os.mkfifo(file)


def loop(file):
    file.symlink_to(file)


@pytest.mark.parametrize("make", [pipe, loop, Path.mkdir])
@pytest.mark.parametrize("name", ["result.json", "failure.json"])
def test_what_is_no_file_is_not_waited_for(tmp_path, capsys, make, name):
    write_run(tmp_path / "sweep" / "good", whole())
    (tmp_path / "sweep" / "odd" / ".hydra").mkdir(parents=True)
    (tmp_path / "sweep" / "odd" / ".hydra" / "overrides.yaml").write_text("- seed=1")
    make(tmp_path / "sweep" / "odd" / name)
    found = collect([tmp_path / "sweep"])
    said = [*found.notices, *(f"{run.name}: {run.message}" for run in found.failed)]
    assert [run.name for run in found.runs] == ["good"] and len(said) == 1 and said[0].startswith("odd: ")
    (cell,) = outcomes.outcomes(tmp_path / "sweep", {"odd": ["seed=1"]})
    assert cell.result is None and cell.failure


@pytest.mark.run
def test_the_others_are_shown_and_the_exit_code_says_that_one_was_left_out(tmp_path, capsys):
    for name in ("one", "two"):
        write_run(tmp_path / "sweep" / name, whole())
    assert command.main([str(tmp_path / "sweep")]) == 0
    (tmp_path / "sweep" / "two" / "result.json").write_bytes(BROKEN["no file"])
    assert command.main([str(tmp_path / "sweep")]) == 1
    shown = capsys.readouterr().out
    assert "two: left out. " in shown and "is not whole: tflite is empty" in shown
    assert "two: left out." in (tmp_path / "sweep" / "report.html").read_text()
    (tmp_path / "sweep" / "one" / "result.json").write_bytes(BROKEN["nested"])
    assert command.main([str(tmp_path / "sweep")]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("No run has finished") == 1
    assert "one: left out. " in printed.err and "two: left out. " in printed.err


def npz(**arrays):
    return lambda file: np.savez(file, **arrays)


MASKS = {
    "numbers": npz(**{"dense/kernel": np.ones((20, 5))}),
    "objects": npz(**{"dense/kernel": np.full((20, 5), None)}),
    "another shape": npz(**{"dense/kernel": np.ones((5, 20), bool)}),
    "no shape": npz(**{"dense/kernel": np.array(True)}),
    "another weight": npz(**{"other/kernel": np.ones((20, 5), bool)}),
    "none": npz(),
    "no archive": lambda file: file.write_bytes(b"broken"),
    "an array": lambda file: file.write_bytes(npy(np.ones((20, 5), bool))),
    "pipe": pipe,
    "folder": Path.mkdir,
}


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@pytest.mark.parametrize("masks", MASKS)
def test_masks_that_are_none_are_named(tmp_path, masks):
    MASKS[masks](tmp_path / "masks.npz")
    with pytest.raises(PruneflowError, match=r"masks\.npz does not hold the masks of this run: \w+: "):
        list(run_pictures(tmp_path, typed(whole()), None))


@pytest.mark.parametrize("kind", ["foreign", "bytes", "pipe", "folder"])
def test_files_that_are_not_of_tensorboard_are_named(tmp_path, kind):
    file = tmp_path / "events.out.tfevents.1"
    {"foreign": foreign_events, "bytes": other_bytes, "pipe": pipe, "folder": Path.mkdir}[kind](file)
    with pytest.raises(PruneflowError, match=r"tfevents\.1 cannot be read as a file of TensorBoard: "):
        read_curves(tmp_path)


def other_bytes(file):
    file.write_bytes(bytes(range(256)) * 9)


def foreign_events(file):
    """A record with a right checksum, and something else in it."""
    content = io.BytesIO()
    RecordWriter(content).write(b"\xff" * 9)
    file.write_bytes(content.getvalue())


@pytest.mark.parametrize("text", ["", "[", "{}", "5", "[1, 2]", "a: ${b", "\0", "- 'seed=1"])
def test_a_cell_whose_words_cannot_be_read_has_not_finished(tmp_path, text):
    write_run(tmp_path / "cell", whole())
    (tmp_path / "cell" / ".hydra" / "overrides.yaml").write_text(text)
    (cell,) = outcomes.outcomes(tmp_path, {"cell": ["seed=1"]})
    assert cell.failure == "did not finish"


def test_names_that_are_not_unicode_or_hold_markup_are_shown(tmp_path):
    folder = write_run(tmp_path / os.fsdecode(b"\xff<b>[/red]"), replaced(whole(), ("data", "name"), MARKUP))
    hparams.write(folder, {"[/]": "[/]"})
    page = write_sweep_report(collect([tmp_path]), tmp_path / "page.html").read_text()
    assert "?&lt;b&gt;[/red]" in page and "%FF%3Cb%3E%5B/red%5D/result.json" in page
    tables.show_config({"[/red]": {"[/]": None}, "[/x]": 1}, "title")
