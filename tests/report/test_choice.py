"""The run to take: by the validation part alone, the smallest within 0.01 of the best."""

import pytest
from results_fixtures import exported, result
from test_report import grid

from pruneflow.report.choice import chosen


def run(validation, kilobytes, sparsity, *, test=0.9, **settings):
    file = exported(accuracy=test, gzip_bytes=int(1000 * kilobytes))
    file |= {"validation_accuracy": validation, "validation_metrics": {"accuracy": validation}}
    return result(file, schedule__final_sparsity=sparsity, **settings)


@pytest.mark.parametrize(
    ("runs", "setting", "reason"),
    [
        ([(0.98, 40, 0.5), (0.97, 20, 0.8)], "0.8", "it is the smallest within 0.01 of the best validation "
         "accuracy: 0.9700, best 0.9800; 20.0 kB after gzip."),
        ([(0.98, 40, 0.5), (0.969, 20, 0.8)], "0.5", "it is the most accurate: validation accuracy 0.9800, "
         "40.0 kB after gzip, and no smaller file comes within 0.01 of it."),
        ([(0.97, 40, 0.5), (0.98, 20, 0.8)], "0.8", "it is the most accurate and the smallest: validation "
         "accuracy 0.9800, 20.0 kB after gzip."),
    ],
)  # fmt: skip
def test_the_smallest_file_near_the_best_is_taken(runs, setting, reason):
    found = chosen(grid(*(run(*each) for each in runs)))
    assert (found.setting, found.reason) == (f"final_sparsity={setting}", reason)


def test_the_test_part_is_said_and_decides_nothing():
    found = chosen(grid(run(0.98, 40, 0.5, test=0.5), run(0.90, 20, 0.8, test=0.99)))
    assert found.setting == "final_sparsity=0.5"
    assert found.tested == (
        "On the test part, by which nothing was chosen, it reaches 0.5000, its dense network 0.9800."
    )


def test_means_over_seeds_are_chosen_and_the_best_seed_is_named():
    lucky = [run(v, 40, 0.5, seed=seed) for seed, v in enumerate((0.99, 0.91))]
    steady = [run(v, 50, 0.8, seed=seed) for seed, v in enumerate((0.970, 0.974))]
    found = chosen(grid(*lucky, *steady))
    assert (found.setting, found.point.run.name) == ("final_sparsity=0.8", "run-3")


def test_a_wreck_is_not_taken_and_one_run_is_no_choice():
    judged = {"message": "", "dense": 0.98, "pruned": 0.98, "drop": 0.0, "chance": 0.1}
    judged |= {"verdict": "over_limit", "max_accuracy_drop": 0.001}
    wreck = {**run(0.98, 10, 0.9), "judgement": judged}
    assert chosen(grid(wreck, run(0.975, 40, 0.5))).setting == "final_sparsity=0.5"
    assert chosen(grid(run(0.98, 10, 0.9))) is None
