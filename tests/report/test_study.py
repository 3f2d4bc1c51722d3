"""Large and sparse against small and dense: networks of equal size, and the verdict on them."""

import pytest
from results_fixtures import exported, result, typed, write_run
from test_report import Page, runs

from pruneflow.report.checklist import checklist
from pruneflow.report.collect import collect
from pruneflow.report.points import grid_of, points_of
from pruneflow.report.study import study_of
from pruneflow.report.sweep_page import write_sweep_report


def found(criterion, sparsity, accuracy, *, parameters=10_000, gzip_bytes=20_000, **settings):
    """A result of a network with one weight that has all parameters."""
    file = exported(accuracy=accuracy, gzip_bytes=gzip_bytes)
    settings |= {"criterion__name": criterion, "schedule__final_sparsity": sparsity}
    each = result(file, **settings)
    zeros = 0 if criterion == "small_dense" else round(parameters * sparsity)
    each["dense"]["parameters"] = parameters
    pruned = each["pruned"]
    for key in ("metrics", "validation_metrics"):
        pruned[key] = {"accuracy": accuracy}
    pruned["measured_sparsity"] = zeros / parameters
    pruned["layers"] = [{**pruned["layers"][0], "shape": [parameters], "zeros": zeros, "masked": zeros}]
    return each


def sparse(sparsity, accuracy, **more):
    return found("magnitude", sparsity, accuracy, **more)


def dense(sparsity, accuracy, **more):
    return found("small_dense", sparsity, accuracy, parameters=round(10_000 * (1 - sparsity)), **more)


def grid(*each):
    return grid_of(points_of(runs(*each)))


def verdicts(*each):
    study = study_of(grid(*each))
    return {(one.measure, one.criterion): one for one in study.verdicts}


SIZES = [dense(0.5, 0.90), dense(0.9, 0.80)]


def test_large_and_sparse_is_compared_with_the_dense_network_of_as_many_parameters():
    said = verdicts(*SIZES, sparse(0.5, 0.93), sparse(0.9, 0.79))
    one = said["non-zero parameters", "magnitude"]
    assert (one.won, one.points) == (1, 2)
    assert one.difference == pytest.approx((0.03 - 0.01) / 2)
    assert one.sentence == (
        "Large and sparse (criterion=magnitude) wins at 1 of 2 points against small and dense with as many "
        "non-zero parameters. Its accuracy differs by +0.0100 on average (+0.0100 to +0.0100 over the seeds)."
    )


def test_between_two_dense_networks_the_logarithm_of_the_size_interpolates():
    """5,000 and 1,000 parameters; sqrt(5) * 1,000 is half the way."""
    one = verdicts(*SIZES, sparse(1 - 5**0.5 / 10, 0.86))["non-zero parameters", "magnitude"]
    assert one.difference == pytest.approx(0.86 - 0.85, abs=1e-5)


def test_positions_count_as_a_bitmap_and_a_size_that_no_dense_network_has_is_no_point():
    """5,000 values and 10,000 bits are 5,312.5 parameters: 6 % more than the largest dense network."""
    said = verdicts(*SIZES, sparse(0.5, 0.93), sparse(0.9, 0.79))
    one = said["parameters and positions", "magnitude"]
    assert (one.won, one.points) == (0, 1)
    control = 0.80 + (0.90 - 0.80) * 0.168953  # ln(1.3125) / ln(5)
    assert one.difference == pytest.approx(0.79 - control, abs=1e-6)


def test_bytes_are_compared_for_each_kind_of_file():
    small = [dense(0.5, 0.90, gzip_bytes=20_000), dense(0.9, 0.80, gzip_bytes=5_000)]
    one = verdicts(*small, sparse(0.9, 0.88, gzip_bytes=10_000))["bytes (float, gzip)", "magnitude"]
    assert one.difference == pytest.approx(0.88 - 0.85)  # 10,000 is half the way from 5,000 to 20,000


def test_each_seed_is_compared_with_the_dense_networks_of_its_own():
    seeds = [
        *(dense(s, a + 0.02 * seed, seed=seed) for s, a in ((0.5, 0.9), (0.9, 0.8)) for seed in (0, 1)),
        sparse(0.9, 0.81, seed=0),
        sparse(0.9, 0.84, seed=1),
    ]
    one = verdicts(*seeds)["non-zero parameters", "magnitude"]
    assert one.difference == pytest.approx(0.015)
    assert one.spread == pytest.approx((0.01, 0.02))


def test_random_zeros_have_a_verdict_and_the_sentence_is_of_the_other_criterion():
    chance = found("random", 0.9, 0.70)
    study = study_of(grid(chance, *SIZES, sparse(0.9, 0.79)))
    won = {one.criterion: one.won for one in study.verdicts if one.measure == "non-zero parameters"}
    assert won == {"random": 0, "magnitude": 0} and "criterion=magnitude" in study.sentence


@pytest.mark.parametrize(
    "others",
    [[], [sparse(0.9, 0.8), sparse(0.9, 0.8, structure__name="block")]],
    ids=["the control alone", "another setting differs"],
)
def test_other_sweeps_are_no_study(others):
    assert study_of(grid(*SIZES, *others)) is None


def test_a_criterion_has_one_place_and_so_one_colour_in_all_panels():
    """The smallest float file is of the sparse network, and the smallest int8 file of the dense one."""
    files = {"dense": (9_000, 1_000), "sparse": (8_000, 2_000)}
    pair = {"dense": dense(0.9, 0.8), "sparse": sparse(0.9, 0.8)}
    for name, each in pair.items():
        kinds = zip(("float", "int8"), files[name], strict=True)
        each["tflite"] = [exported(kind, gzip_bytes=size) for kind, size in kinds]
    study = study_of(grid(*pair.values()))
    assert [list(measure.lines) for measure in study.measures] == [["magnitude", "small_dense"]] * 4


def test_sizes_that_never_meet_have_no_verdict():
    one = verdicts(*SIZES, sparse(0.99, 0.5))["non-zero parameters", "magnitude"]
    assert (one.points, one.difference) == (0, None)
    assert one.sentence == "magnitude: no small dense network has as many non-zero parameters."


def test_the_page_of_a_study_has_its_sentence_its_chart_and_the_checklist(tmp_path):
    seeds = (*SIZES, sparse(0.5, 0.93), sparse(0.9, 0.79))
    for index, each in enumerate(seeds):
        write_run(tmp_path / f"run{index}", each)
    page = Page(write_sweep_report(collect([tmp_path]), tmp_path / "report.html"))
    assert "Large and sparse (criterion=magnitude) wins at 1 of 2 points" in page.text
    assert ["non-zero parameters", "magnitude", "1 of 2", "+0.0100 (+0.0100 to +0.0100)"] in page.rows
    drawn = (tmp_path / "report" / "study.svg").read_text()
    assert ">2,000<" in drawn and "mathdefault" not in drawn
    answers = dict(row for row in page.rows if len(row) == 2)
    assert answers["a range of compression ratios, extreme ones too"].startswith(
        "0.5, 0.9; the largest loss is 0.19"
    )
    assert answers["several runs with separate initial weights and seeds"] == "no: 1 of each"
    assert answers["random pruning, in all and with the same shares of the layers"].startswith("no: sweep")


def test_the_checklist_says_where_accuracy_has_not_fallen():
    answers = dict(checklist(grid(dense(0.5, 0.97), sparse(0.5, 0.97))))
    said = answers["a range of compression ratios, extreme ones too"]
    assert said.endswith("is 0.0100; no: sweep a higher schedule.final_sparsity")


def test_the_csv_has_what_a_study_counts(tmp_path):
    from pruneflow.report.outcomes import CellOutcome, write_csv

    write_csv(tmp_path / "sweep.csv", [CellOutcome("a", typed(sparse(0.9, 0.8)), "")])
    header, row = (line.split(",") for line in (tmp_path / "sweep.csv").read_text().splitlines())
    cells = dict(zip(header, row, strict=True))
    assert [cells[key] for key in ("final_sparsity", "nonzero_parameters", "positions")] == [
        "0.9",
        "1000",
        "10000",
    ]
