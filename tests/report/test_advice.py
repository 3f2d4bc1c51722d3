"""The sentence of advice: costs worked out by hand, and a setting that fits them."""

import pytest

from pruneflow.report.advice import advice, cost_in_words
from tests.results_fixtures import exported, result, typed


def said(*found):
    return advice([typed(each) for each in found])


def file(validation, kind="float"):
    return {
        **exported(kind),
        "validation_accuracy": validation,
        "validation_metrics": {"accuracy": validation},
    }


def swept(key, costs, **settings):
    """Runs whose dense network reaches 0.98; ``costs`` by value."""
    return [result(file(0.98 - cost), **settings, **{key: value}) for value, cost in costs.items()]


@pytest.mark.parametrize(
    ("validation", "ending"),
    [
        (0.9601, "costs 2.0 points of accuracy: try schedule.final_sparsity=0.7, distribution=sensitivity or "
                 "trainer.epochs=4."),
        (0.98, "costs no accuracy: try schedule.final_sparsity=0.9."),
        (0.99, "gains 1.0 points of accuracy: try schedule.final_sparsity=0.9."),
        (0.976, "costs 0.4 points of accuracy: try export=int8 for a smaller file, or structure=channel for "
                "a faster one."),
    ],
)  # fmt: skip
def test_a_run_is_advised_by_what_its_file_lost_on_the_validation_part(validation, ending):
    assert said(result(file(validation))) == f"On the validation part pruned-float.tflite {ending}"


def test_after_an_int8_file_that_lost_a_little_seeds_are_advised():
    assert said(result(file(0.976, "int8"))).endswith(
        "0.4 points of accuracy: try -m seed=0,1,2 to see how far chance moves that."
    )


def test_settings_that_a_run_has_or_cannot_have_are_not_advised():
    assert "sensitivity" not in said(result(file(0.9), distribution__name="sensitivity"))
    n_of_m = said(result(file(0.9), structure__name="n_of_m"))
    assert n_of_m.endswith("try trainer.epochs=4.")
    assert "structure" not in said(result(file(0.976), structure__name="block"))
    assert "export=dynamic-range" in said(result(file(0.976), model__name="lstm"))


def test_a_network_that_guesses_and_one_without_a_baseline_have_sentences_of_their_own():
    judged = {
        "verdict": "chance",
        "message": "",
        "dense": 0.98,
        "pruned": 0.1,
        "drop": 0.88,
        "chance": 0.1,
        "max_accuracy_drop": None,
    }
    assert said({**result(file(0.1)), "judgement": judged}).startswith("The pruned network only guesses: try")
    assert said(result(file(0.97), dense_accuracy=None)).startswith("Nothing is known of a dense network")
    assert advice([]) == ""


def test_a_sweep_names_the_cost_of_each_sparsity_and_one_between_those_that_hold_and_those_that_do_not():
    found = swept("schedule__final_sparsity", {0.9: 0.021, 0.5: 0.001, 0.8: 0.003})
    assert said(*found) == (
        "On the validation part final_sparsity=0.5 costs 0.1 points, 0.8 costs 0.3 points, 0.9 costs 2.1 "
        "points: try distribution=sensitivity or schedule.final_sparsity=0.85."
    )


def test_a_sweep_in_which_all_or_none_hold_is_advised_beyond_its_range():
    held = swept("schedule__final_sparsity", {0.5: 0.001, 0.8: 0.003})
    assert said(*held).endswith("try schedule.final_sparsity=0.9.")
    lost = swept("schedule__final_sparsity", {0.5: 0.01, 0.8: 0.03})
    assert "try schedule.final_sparsity=0.25, distribution=sensitivity or" in said(*lost)


def test_a_sweep_over_an_option_keeps_the_one_that_costs_least():
    found = swept("criterion__name", {"magnitude": 0.004, "random": 0.03})
    assert said(*found) == (
        "On the validation part criterion=magnitude costs 0.4 points, random costs 3.0 points: keep "
        "criterion=magnitude, and try export=int8 for a smaller file, or structure=channel for a faster one."
    )


def test_the_setting_with_the_largest_difference_is_named():
    found = [
        result(file(0.98 - cost), criterion__name=criterion, schedule__final_sparsity=sparsity)
        for criterion, sparsity, cost in (
            *(("magnitude", 0.5, 0.00), ("magnitude", 0.8, 0.02)),
            *(("random", 0.5, 0.01), ("random", 0.8, 0.03)),
        )
    ]
    assert said(*found).startswith(
        "On the validation part final_sparsity=0.5 costs 0.5 points, 0.8 costs 2.5 points"
    )


def test_files_of_one_run_that_cost_the_same_are_no_reason_to_choose():
    both = [file(0.98), file(0.9799, "int8")]
    assert said(result(*both)).endswith("costs no accuracy: try schedule.final_sparsity=0.9.")
    apart = [file(0.98), file(0.95, "int8")]
    assert "export=float costs 0.0 points, int8 costs 3.0 points: keep export=float" in said(result(*apart))


def test_of_many_values_the_cheapest_and_the_dearest_are_named():
    costs = {0.1 * step: 0.001 * step for step in range(1, 8)}
    assert "final_sparsity=0.1 costs 0.1 points, 0.7000000000000001 costs 0.7 points:" in said(
        *swept("schedule__final_sparsity", costs)
    )


def test_a_cost_is_spelled_in_points():
    one = typed(result(file(0.973)))
    assert cost_in_words(one, one.tflite[0]) == "costs 0.7 points of accuracy"
