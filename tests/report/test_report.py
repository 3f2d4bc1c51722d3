"""Reports: what they are made of, what they compare, and what they say of runs that have no result."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from results_fixtures import exported, result, typed, untested, write_run
from test_cli import rows_of

from pruneflow.errors import PruneflowError
from pruneflow.flow import results
from pruneflow.report import __main__ as command
from pruneflow.report import automatic, page
from pruneflow.report.charts import COLOURS, Picture, figure, inline, png, styled, svg
from pruneflow.report.collect import Run, collect
from pruneflow.report.curves import Curve, read_curves
from pruneflow.report.points import grid_of, labels, pareto, points_of
from pruneflow.report.run_page import write_run_report
from pruneflow.report.sweep_page import write_sweep_report


class Page(HTMLParser):
    """What a page holds: texts, links, tables, tips."""

    def __init__(self, file):
        super().__init__()
        self.links, self.text, self.rows, self._in_cell = [], [], [], False
        self.feed(Path(file).read_text())
        self.text = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "a":
            self.links.append(found["href"])
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data):
        self.text.append(data)
        if self._in_cell:
            self.rows[-1][-1] += data.strip()


def runs(*found):
    return [Run(f"run-{index}", Path(f"run-{index}"), typed(each)) for index, each in enumerate(found)]


def grid(*found):
    return grid_of(points_of(runs(*found)))


def marks(found):
    return [(mark.label, mark.group, len(mark.points)) for mark in found.marks]


# The part that is shown


def test_runs_are_compared_on_the_validation_part_where_one_left_the_test_part_alone(tmp_path):
    one, other = result(), untested(result(schedule__final_sparsity=0.5))
    assert [mark.quality for mark in grid(one).marks] == [0.97]
    found = grid(one, other)
    assert [mark.quality for mark in found.marks] == [0.96, 0.96]
    assert (found.label, found.examples) == ("validation accuracy", 6_000)
    for name, each in {"one": one, "other": other}.items():
        write_run(tmp_path / name, each)
    page = Page(write_sweep_report(collect([tmp_path]), tmp_path / "report.html"))
    head, *_ = page.rows
    assert head.count("validation accuracy") == 1 and "accuracy" not in head
    assert "In all rows: dense validation accuracy 0.9800" in page.text
    assert "0.9600 on 6,000 validation examples stands for" in page.text
    other["data"] = {**other["data"], "digest": "cd" * 32}
    assert [point.part for point in points_of(runs(one, other))] == ["test", "validation"]


def test_the_page_of_a_run_that_left_the_test_part_alone_shows_the_validation_part(tmp_path):
    page = Page(write_run_report(write_run(tmp_path / "run", untested(result()))))
    assert page.rows[0][-1] == "validation accuracy"
    assert page.rows[-1] and "dense 0.9800 (-0.0200)" in page.text
    assert "TFLite agrees with Keras on 99.90% of 6,000 validation examples" in page.text
    assert "Keras under masks and stripped: 0 of 10,000 test examples differ." in page.text


@pytest.mark.parametrize("part", ["test", "train"])
def test_a_result_without_figures_of_the_part_that_it_shows_is_not_whole(tmp_path, part):
    write_run(tmp_path / "run", {**untested(result()), "part": part})
    with pytest.raises(PruneflowError, match=r"is not whole: (part is none of|pruned has no accuracy on)"):
        results.read(tmp_path / "run")


# What differs


def test_one_run_differs_in_nothing():
    found = grid(result())
    assert (found.keys, marks(found)) == ((), [("", "", 1)])


def test_a_swept_sparsity_makes_one_line():
    found = grid(*(result(schedule__final_sparsity=s) for s in (0.5, 0.9)))
    assert found.keys == ("schedule.final_sparsity",)
    assert found.group_keys == () and found.lined
    assert {mark.label for mark in found.marks} == {"final_sparsity=0.5", "final_sparsity=0.9"}
    assert found.groups == [""]


def test_options_make_groups_and_files_of_one_run_are_told_apart_by_their_kind():
    both = [exported("float"), exported("int8", gzip_bytes=5_000)]
    found = grid(*(result(*both, criterion__name=name) for name in ("magnitude", "random")))
    assert set(found.keys) == {"export", "criterion"}
    assert len(found.groups) == 4 and "criterion=magnitude, export=int8" in found.groups


def test_seeds_of_one_setting_are_one_mark_with_mean_and_extremes():
    found = grid(*(result(exported(accuracy=a), seed=s) for s, a in enumerate((0.90, 0.95, 0.97))))
    (mark,) = found.marks
    assert (mark.quality, mark.qualities) == (pytest.approx(0.94), (0.90, 0.97))
    assert found.keys == () and found.seeds == 3


def test_the_same_run_in_two_sweeps_is_one_measurement():
    lucky, other = result(exported(accuracy=0.99), seed=1), result(exported(accuracy=0.95), seed=2)
    (mark,) = grid(lucky, lucky, lucky, other).marks
    assert (mark.quality, mark.seeds, mark.counted) == (pytest.approx(0.97), 2, "2 seeds")
    (mark,) = grid(lucky, lucky).marks
    assert (mark.quality, mark.counted) == (0.99, "2 runs of one seed")


def test_what_an_option_brings_is_no_difference_of_its_own_but_what_was_set_beside_it_is():
    """A schedule brings its power; sparsity and epochs that go with it by chance are differences."""
    one = result(schedule__name="a", schedule__power=3, schedule__final_sparsity=0.5, trainer__epochs=2)
    two = result(schedule__name="b", schedule__power=1, schedule__final_sparsity=0.8, trainer__epochs=4)
    assert set(grid(one, two).keys) == {"schedule", "schedule.final_sparsity", "trainer.epochs"}


def test_a_line_runs_along_the_sparsity_only():
    powers = [
        result(schedule__power=power, schedule__final_sparsity=sparsity)
        for power in (1, 3)
        for sparsity in (0.5, 0.8)
    ]
    assert grid(*powers).groups == ["power=1", "power=3"]


def test_every_run_has_a_row_though_marks_are_one(tmp_path):
    for threads in (1, 2):
        write_run(tmp_path / f"threads={threads}", result(latency__threads=threads))
    rows = Page(write_sweep_report(collect([tmp_path]), tmp_path / "report.html")).rows
    assert [row[:2] for row in rows if row[0].startswith("threads=")] == [
        ["threads=1", "1"],
        ["threads=2", "2"],
    ]


@pytest.mark.parametrize(
    "apart", [{"stages__dir": "other"}, {"latency__seconds": 0.0}, {"dataset__path": "elsewhere"}]
)
def test_where_things_lie_and_how_long_they_are_timed_is_no_difference(apart):
    assert grid(result(), result(**apart)).keys == ()


def test_more_groups_than_colours_are_merged_and_not_joined():
    found = grid(*(result(trainer__batch_size=size) for size in range(1, 12)))
    assert found.groups == [""] and not found.lined
    eight = grid(*(result(trainer__batch_size=size) for size in range(1, 9)))
    assert len(eight.groups) == len(COLOURS) == 8 and eight.lined


def test_keys_that_end_alike_are_written_out():
    assert labels(["a.x", "b.x", "c.y"]) == {"a.x": "a.x", "b.x": "b.x", "c.y": "y"}


@pytest.mark.parametrize(
    ("figures", "front"),
    [
        ([(10, 0.9)], [0]),
        ([(10, 0.9), (10, 0.9)], [0, 1]),  # neither beats the other
        ([(10, 0.9), (10, 0.8)], [0]),
        ([(10, 0.9), (20, 0.9)], [0]),
        ([(20, 0.95), (10, 0.9)], [0, 1]),
        ([(20, 0.95), (10, 0.96)], [1]),
        ([(1, 0.1), (2, 0.3), (3, 0.2), (4, 0.4), (5, 0.4)], [0, 1, 3]),
        ([], []),
    ],
)
def test_the_pareto_front(figures, front):
    assert pareto(figures) == front


def test_the_front_of_a_grid_is_of_means_over_the_seeds():
    one_lucky = [result(exported(accuracy=a, gzip_bytes=100), seed=s) for s, a in enumerate((0.99, 0.50))]
    steady = [
        result(exported(accuracy=a, gzip_bytes=90), seed=s, schedule__final_sparsity=0.9)
        for s, a in enumerate((0.90, 0.90))
    ]
    assert [mark.label for mark in grid(*one_lucky, *steady).front] == ["final_sparsity=0.9"]


# Curves


@pytest.mark.run
def test_curves_are_read_without_tensorflow_and_up_to_where_a_file_breaks_off(tmp_path):
    from pruneflow.runtime import backend

    tf = backend.tensorflow()
    writer = tf.summary.create_file_writer(str(tmp_path))
    with writer.as_default():
        for step, value in ((1, 0.5), (3, 0.0), (5, 0.75)):
            tf.summary.scalar("sparsity/total", value, step=step)
        tf.summary.text("note", "text", step=1)
        tf.summary.histogram("weights", [1.0, 2.0], step=1)
    writer.close()
    whole = read_curves(tmp_path)
    assert whole == {"sparsity/total": Curve([1, 3, 5], [0.5, 0.0, 0.75])}
    (file,) = tmp_path.glob("*tfevents*")
    content = file.read_bytes()
    for end in range(len(content)):
        file.write_bytes(content[:end])
        steps = read_curves(tmp_path).get("sparsity/total", Curve([], [])).steps
        assert steps == [1, 3, 5][: len(steps)]


def test_there_are_no_curves_where_there_is_no_folder(tmp_path):
    assert read_curves(tmp_path / "pruned") == {}


# Pictures


def picture():
    drawn, axes = figure()
    axes.plot([0, 1], [0, 1], color=COLOURS[0], gid="mark-0")
    return Picture(
        "line", "A line", "It rises.", drawn, tips={"mark-0": "a <tip>"}, links={"mark-0": "a%3D1/x"}
    )


def test_a_picture_in_a_page_follows_its_colours_and_has_tips_links_and_names_of_its_own():
    with styled():
        drawn = inline(picture())
    assert 'role="img" aria-label="It rises."' in drawn
    assert "var(--series-1)" in drawn and COLOURS[0] not in drawn and "#1b1f24" not in drawn
    assert "<title>a &lt;tip&gt;</title>" in drawn and '<a href="a%3D1/x">' in drawn
    assert all(name.startswith("line-") for name in re.findall(r' id="([^"]*)"', drawn))
    references = set(re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', drawn))
    assert references and all((one or two).startswith("line-") for one, two in references)
    assert "xmlns" in drawn and "<?xml" not in drawn and "ns0:" not in drawn


def test_a_picture_as_a_file_keeps_its_colours_and_is_the_same_each_time():
    with styled():
        first, second, raster = svg(picture()), svg(picture()), png(picture())
    assert first == second and COLOURS[0].encode() in first and b"var(" not in first
    assert raster.startswith(b"\x89PNG")


def test_drawing_leaves_the_users_style_as_it_was():
    import matplotlib

    with matplotlib.rc_context({"font.size": 31}):
        with styled():
            assert matplotlib.rcParams["font.size"] == 9
        assert matplotlib.rcParams["font.size"] == 31


# The page of a run


def with_curves(folder):
    from pruneflow.runtime import backend

    tf = backend.tensorflow()
    writer = tf.summary.create_file_writer(str(folder / "pruned"))
    with writer.as_default():
        for step, value in ((1, 0.5), (631, 0.8)):
            for tag in ("sparsity/planned", "sparsity/total", "accuracy/train", "accuracy/validation"):
                tf.summary.scalar(tag, value, step=step)
    writer.close()


@pytest.mark.run
def test_the_page_of_a_run_shows_its_figures_and_leads_to_its_files(tmp_path):
    folder = write_run(
        tmp_path / "a=1,b=[2]", result(exported(), exported("int8", timed=False), note="Half.")
    )
    with_curves(folder)
    np.savez(folder / "masks.npz", **{"dense/kernel": np.eye(20, 5, dtype=bool)})
    made = write_run_report(folder)
    assert made == folder / "report.html"
    shown = Page(made)
    for text in ("20.0 kB", "3.80x smaller", "0.9700", "(-0.0100)", "requested 0.8000", "1.50x", "Half."):
        assert text in shown.text
    assert "FULLY_CONNECTED runs on a sparse kernel" in shown.text
    assert "python -m pruneflow 'dataset.name=<b>'" in shown.text  # escaped in the page
    assert ["flatten", "has no weights"] in shown.rows
    assert ["a<b>/kernel", "20 x 5", "100", "80", "ranked", "0.7500"] in shown.rows
    assert [link for link in shown.links if not (folder / unquote(link)).is_file()] == []
    files = {unquote(link) for link in shown.links}
    assert {"result.json", "masks.npz", "pruned-int8.tflite", ".hydra/config.yaml"} <= files
    names = {"sparsity", "training", "size", "latency", "masks"}
    pictures = {f"report/{name}.{kind}" for name in names for kind in ("svg", "png")}
    assert {file for file in files if file.startswith("report/")} == pictures


def cut_to_half():
    """A result of two layers, of which the first has lost half of its four units."""

    def layer(name, units, multiply_adds, parameters):
        of_layer = [{"name": part, "units": before, "kept": kept} for part, before, kept in units]
        return {"name": name, "units": of_layer, "multiply_adds": multiply_adds, "parameters": parameters}

    found = result()
    found["pruned"]["channels"] = {
        "of": "multiply_adds",
        "requested": 0.5,
        "removed": 0.5,
        "multiply_adds": [4000, 2000],
        "parameters": [530, 270],
        "groups": [{"name": "a<b>", "units": 4, "kept": 2}],
        "layers": [
            layer("a<b>", [("heads", 4, 2), ("values", 8, 8)], [1000, 500], [10, 6]),
            layer("dense", [], [3000, 1500], [500, 250]),
        ],
    }
    return found


def test_a_run_without_curves_masks_latency_and_baseline_has_a_page_all_the_same(tmp_path):
    folder = write_run(tmp_path / "run", result(exported(timed=False), dense_accuracy=None))
    shown = Page(write_run_report(folder))
    assert "no dense network was trained" in shown.text and "not trained" in shown.text
    assert {file.stem for file in (folder / "report").iterdir()} == {"sparsity", "size"}


def test_a_page_needs_nothing_from_the_network_and_says_so(tmp_path):
    text = write_run_report(write_run(tmp_path / "run", result())).read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)


@pytest.mark.run
def test_a_page_is_made_again_and_old_pictures_go(tmp_path):
    folder = write_run(tmp_path / "run", result())
    first = write_run_report(folder).read_bytes()
    (folder / "report" / "accuracy-size-7.svg").write_text("of an earlier page")
    (folder / "report" / ".masks.png.0123abcd.pruneflow").write_text("of a page that was cut off")
    (folder / "report.html").unlink()  # as a page leaves it that was cut off
    assert write_run_report(folder).read_bytes() == first
    names = {"sparsity", "size", "latency"}
    assert {path.name for path in (folder / "report").iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("svg", "png")
    }


@pytest.mark.run
def test_nothing_of_somebody_elses_is_deleted_for_a_page(tmp_path):
    folder = write_run(tmp_path / "run", result())
    write_run_report(folder)
    (folder / "report" / "notes.txt").write_text("mine")
    with pytest.raises(PruneflowError, match="report, where the pictures would go, holds something else"):
        write_run_report(folder)
    assert (folder / "report" / "notes.txt").read_text() == "mine"


def test_runs_are_found_behind_links_and_once(tmp_path):
    write_run(tmp_path / "far" / "one", result())
    (tmp_path / "chosen").mkdir()
    (tmp_path / "chosen" / "best").symlink_to(tmp_path / "far" / "one")
    (tmp_path / "chosen" / "loop").symlink_to(tmp_path / "chosen")
    assert [run.name for run in collect([tmp_path / "chosen"]).runs] == ["best"]
    assert len(collect([tmp_path / "chosen", tmp_path / "far"]).runs) == 1


def test_files_among_folders_as_a_star_gives_them_are_passed_over(tmp_path):
    write_run(tmp_path / "one", result())
    (tmp_path / "report.html").write_text("")
    assert len(collect([tmp_path / "one", tmp_path / "report.html"]).runs) == 1


@pytest.mark.run
def test_one_broken_run_costs_its_own_row_only(tmp_path):
    folder = sweep(tmp_path / "sweep")
    (folder / "final_sparsity=0.5,export=int8" / "result.json").write_text('{"format": 2}')
    (folder / "final_sparsity=0.9,export=int8" / "masks.npz").write_bytes(b"broken")
    assert command.main([str(folder), "--runs"]) == 1
    assert "3 runs" in Page(folder / "report.html").text
    assert len(list(folder.glob("*/report.html"))) == 2
    (notice,) = collect([folder]).notices
    assert "final_sparsity=0.5,export=int8: left out." in notice


@pytest.mark.run
def test_names_with_dollar_signs_and_long_names_are_drawn(tmp_path):
    for index, name in enumerate(("$x$", "$_$", "y" * 300)):
        found = result(criterion__name=name, schedule__final_sparsity=0.1 * index)
        found["pruned"]["layers"][0]["name"] = name
        write_run_report(write_run(tmp_path / f"run-{index}", found))
    shown = Page(write_sweep_report(collect([tmp_path]), tmp_path / "report.html"))
    assert "criterion=$_$" in shown.text and "yyy … yyy" in shown.text


def test_failed_runs_are_counted_in_the_title(tmp_path):
    write_run(tmp_path / "one", result())
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "failure.json").write_text('{"message": "no"}')
    assert (
        "2 runs of cnn on mnist, 1 failed"
        in Page(write_sweep_report(collect([tmp_path]), tmp_path / "r.html")).text
    )


# The page of many runs


def sweep(folder):
    for sparsity, accuracy, size in ((0.5, 0.97, 40_000), (0.9, 0.94, 15_000)):
        for kind, factor in (("float", 1), ("int8", 4)):
            file = exported(kind, accuracy=accuracy, gzip_bytes=size // factor)
            found = result(file, schedule__final_sparsity=sparsity, export__name=kind)
            write_run(folder / f"final_sparsity={sparsity},export={kind}", found)
    return folder


@pytest.mark.run
def test_the_page_of_a_sweep_has_a_row_per_file_and_marks_the_front(tmp_path):
    folder = sweep(tmp_path / "sweep")
    made = write_sweep_report(collect([folder]), folder / "report.html")
    shown, text = Page(made), made.read_text()
    assert "4 runs of cnn on mnist: export, final_sparsity" in shown.text
    (row,) = [row for row in shown.rows if row[0] == "final_sparsity=0.9,export=int8"]
    assert row[1:7] == ["int8", "0.9", "0.9400", "0.9300", "3.8", "20.27x"]
    assert "In all rows: dense accuracy 0.9800; sparsity 0.8000; latency, ms 0.006;" in shown.text
    marked = re.findall(r'<tr class="marked"><td data-column="run"><a href="([^"]*)"', text)
    assert {unquote(link) for link in marked} == {
        "final_sparsity=0.5,export=int8/result.json",  # as accurate as the float one, and smaller
        "final_sparsity=0.9,export=int8/result.json",
    }
    assert [link for link in shown.links if not (folder / unquote(link)).is_file()] == []
    assert text.count("accuracy 0.9400, sparsity 0.8000, 3.8 kB (20.27x), 6 µs") >= 3  # a tip in each
    assert shown.text.index("Take export=int8, final_sparsity=0.5 : it is the") < shown.text.index(
        "Accuracy against"
    )


@pytest.mark.run
def test_rows_lead_to_the_pages_of_runs_that_have_one(tmp_path):
    folder = sweep(tmp_path / "sweep")
    write_run_report(folder / "final_sparsity=0.5,export=float")
    shown = Page(write_sweep_report(collect([folder]), folder / "report.html"))
    assert "final_sparsity%3D0.5%2Cexport%3Dfloat/report.html" in shown.links
    assert "final_sparsity%3D0.9%2Cexport%3Dfloat/result.json" in shown.links


@pytest.mark.run
def test_a_sweep_over_seeds_has_means_with_their_extremes(tmp_path):
    for seed, accuracy in enumerate((0.96, 0.98)):
        write_run(tmp_path / f"seed={seed}", result(exported(accuracy=accuracy), seed=seed))
    shown = Page(write_sweep_report(collect([tmp_path]), tmp_path / "report.html"))
    assert ["2 seeds", "0.9700 (0.9600 to 0.9800)", "20.0", "3.80x"] in shown.rows
    assert "2 runs of cnn on mnist: seed" in shown.text


REASONS = ("is not a result", "has format 9", "under way, or was cut off")


@pytest.mark.run
def test_failed_runs_and_those_without_a_result_are_told_of_and_the_rest_is_shown(tmp_path):
    folder = sweep(tmp_path / "sweep")
    for name in ("failed", "running", "newer", "broken"):
        (folder / name / ".hydra").mkdir(parents=True)
        (folder / name / ".hydra" / "overrides.yaml").write_text("[]")
    (folder / "failed" / "failure.json").write_text(
        json.dumps({"message": "Training diverged: loss is <nan>."})
    )
    (folder / "newer" / "result.json").write_text(json.dumps({"format": 9}))
    (folder / "broken" / "result.json").write_text('{"format": 2, "conf')
    (folder / ".stages" / "x").mkdir(parents=True)
    (folder / ".stages" / "x" / "result.json").write_text("{}")
    found = collect([folder])
    shown = Page(write_sweep_report(found, folder / "report.html"))
    assert ["failed", "Training diverged: loss is <nan>."] in shown.rows
    assert "5 runs of cnn on mnist, 1 failed" in shown.text
    assert [notice.split(":")[0] for notice in found.notices] == ["broken", "newer", "running"]
    for notice, said in zip(found.notices, REASONS, strict=True):
        assert said in notice and notice in shown.text


@pytest.mark.run
def test_several_sweeps_are_compared_by_all_that_differs_and_that_is_said(tmp_path):
    one, two = sweep(tmp_path / "one"), tmp_path / "two"
    for name in ("magnitude", "random"):
        write_run(two / f"criterion={name}", result(criterion__name=name))
    shown = Page(write_sweep_report(collect([one, two]), tmp_path / "c.html"))
    assert f"differ in other settings ({one}: export, final_sparsity; {two}: criterion)" in shown.text
    assert "6 runs of cnn on mnist: criterion, export, final_sparsity" in shown.text
    assert any(row[0] == "two/criterion=random" for row in shown.rows)


@pytest.mark.run
def test_runs_on_other_data_are_shown_apart(tmp_path):
    write_run(tmp_path / "one", result())
    other = result()
    other["data"]["digest"] = "cd" * 32
    write_run(tmp_path / "two", other)
    shown = Page(write_sweep_report(collect([tmp_path]), tmp_path / "report.html"))
    assert "There are runs on 2 sets of data" in shown.text
    assert "mnist (SHA-256 cdcdcdcd)" in shown.text
    assert len(list((tmp_path / "report").glob("accuracy-size-*.svg"))) == 2


@pytest.mark.run
def test_latencies_of_several_machines_are_not_compared_silently(tmp_path):
    write_run(tmp_path / "one", result())
    other = result(schedule__final_sparsity=0.5)
    other["device"]["name"] = "aarch64"
    write_run(tmp_path / "two", other)
    shown = Page(write_sweep_report(collect([tmp_path]), tmp_path / "report.html"))
    assert "aarch64, LiteRT 2.3.0, threads 1; x86_64, LiteRT 2.3.0, threads 1" in shown.text


# The command


@pytest.mark.run
def test_the_command_makes_the_page_of_a_run_of_a_sweep_and_of_several(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = sweep(tmp_path / "sweep")
    run = "sweep/final_sparsity=0.5,export=float"
    assert command.main([run]) == 0
    assert command.main(["sweep"]) == 0
    assert command.main(["sweep", run]) == 0
    assert command.main(["sweep", "--output", "mine.html", "--runs"]) == 0
    pages = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert pages[:3] == [f"{run}/report.html", "sweep/report.html", "comparison.html"]
    assert len(pages) == 8 and pages[-1] == "mine.html"
    assert len(list(folder.glob("*/report.html"))) == 4


@pytest.fixture
def folders():
    """Those that docs/bad_input.md speaks of."""
    for name in ("running", "failed", "broken"):
        (Path(name) / ".hydra").mkdir(parents=True)
        (Path(name) / ".hydra" / "overrides.yaml").write_text("[]")
    Path("failed/failure.json").write_text('{"message": "no memory"}')
    Path("broken/result.json").write_text('{"format": 2, "conf')
    for name in ("empty", "taken"):
        Path(name).mkdir()
    Path("taken/notes.txt").write_text("mine")
    Path("notes.html").write_text("<p>mine</p>")
    write_run(Path("good"), result())
    return sorted(Path().rglob("*"))


@pytest.mark.parametrize(("typed", "answer"), rows_of("Reports"))
def test_what_cannot_be_shown_is_answered_and_leaves_nothing(folders, capsys, typed, answer):
    assert command.main(typed.split()) == 1
    shown = " ".join(capsys.readouterr().err.split())
    assert re.fullmatch(".*".join(re.escape(part.strip()) for part in answer.split("...")), shown)
    assert sorted(Path().rglob("*")) == folders
    assert Path("notes.html").read_text() == "<p>mine</p>"


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("good --output page.txt", "--output=page.txt: the name of a page ends with .html"),
        ("", "the following arguments are required: FOLDER"),
        ("good --outpu x.html", "unrecognized arguments: --outpu"),
    ],
)
def test_options_that_are_wrong_are_refused(folders, capsys, typed, answer):
    with pytest.raises(SystemExit) as stop:
        command.main(typed.split())
    assert stop.value.code == 2 and answer in capsys.readouterr().err
    assert sorted(Path().rglob("*")) == folders


@pytest.mark.run
def test_a_report_that_fails_loses_no_result_and_says_how_to_make_it(tmp_path, monkeypatch, capsys):
    folder = write_run(tmp_path / "my run", result())
    (folder / "report.html").write_text("mine")
    with pytest.raises(PruneflowError, match=r"not made: .*; the same command makes the report"):
        automatic.report_run(folder)
    (folder / "report.html").unlink()
    monkeypatch.setattr(page, "png", lambda picture: 1 / 0)
    with pytest.raises(PruneflowError, match="The report is not made: division by zero"):
        automatic.report_run(folder)
    assert "ZeroDivisionError" in capsys.readouterr().err
    monkeypatch.undo()
    automatic.report_run(folder)
    assert "Report     " in capsys.readouterr().out


def test_a_result_that_is_gone_is_an_error(tmp_path):
    with pytest.raises((PruneflowError, FileNotFoundError)):
        write_run_report(tmp_path)
