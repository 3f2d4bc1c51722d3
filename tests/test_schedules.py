import pytest

from pruneflow.errors import ConfigError
from pruneflow.sparsity.schedules import Constant, Polynomial

GIVEN = {
    "initial_sparsity": 0.5,
    "final_sparsity": 0.8,
    "begin_fraction": 0.0,
    "end_fraction": 1.0,
    "begin_step": None,
    "end_step": None,
    "frequency": "auto",
}


def polynomial(**changes):
    return Polynomial(**{"name": "polynomial", "power": 3, **GIVEN, **changes})


def constant(**changes):
    return Constant(**{"name": "constant", **GIVEN, **changes})


def test_polynomial_follows_the_formula_of_zhu_and_gupta():
    schedule = polynomial(initial_sparsity=0.0, final_sparsity=0.8)
    at = [schedule.sparsity_at(step, begin_step=100, end_step=200) for step in (100, 125, 150, 175, 200)]
    # 0.8 - 0.8 (1, 0.75, 0.5, 0.25, 0)^3
    assert at == pytest.approx([0.0, 0.4625, 0.7, 0.7875, 0.8], abs=1e-12)


def test_polynomial_lands_on_the_final_sparsity_to_the_bit():
    assert polynomial(final_sparsity=0.7).sparsity_at(844, begin_step=1, end_step=844) == 0.7


def test_power_one_is_a_straight_line():
    schedule = polynomial(power=1, initial_sparsity=0.2, final_sparsity=0.6)
    assert schedule.sparsity_at(50, begin_step=0, end_step=100) == pytest.approx(0.4)


def test_constant_is_at_its_final_sparsity_at_once():
    assert constant().sparsity_at(1, begin_step=1, end_step=100) == 0.8


def test_fractions_are_compiled_to_steps_counted_from_one():
    plan = polynomial(begin_fraction=0.25, end_fraction=0.75, frequency=10).plan(400)
    assert (plan.begin_step, plan.end_step) == (100, 300)
    assert polynomial(begin_fraction=0.0, frequency=1).plan(10).begin_step == 1


def test_absolute_steps_win_over_fractions():
    plan = polynomial(begin_fraction=0.9, end_fraction=1.0, begin_step=10, end_step=90, frequency=20).plan(
        100
    )
    assert list(plan.updates) == [10, 30, 50, 70, 90]


def test_a_fraction_that_a_step_replaces_is_not_compared():
    assert (
        polynomial(begin_fraction=0.8, end_fraction=0.75, end_step=100, frequency=10).plan(100).end_step
        == 100
    )


def test_the_last_update_is_moved_to_where_the_target_is_reached():
    plan = polynomial(begin_step=1, end_step=844, frequency=100).plan(844)
    assert plan.updates[-1] == 801
    assert plan.sparsity_of_update(801) == 0.8


def test_step_zero_never_fires_as_in_tfmot():
    plan = polynomial(begin_step=0, end_step=400, frequency=100).plan(400)
    assert list(plan.updates) == [100, 200, 300, 400]
    assert plan.sparsity_of_update(200) == pytest.approx(0.8 - 0.3 * 0.5**3)


def test_auto_frequency_makes_ten_updates_of_a_short_phase_and_at_most_100_steps_between_updates():
    assert polynomial().plan(11).frequency == 1
    short = polynomial().plan(102)
    assert (short.frequency, len(short.updates)) == (10, 11)
    assert polynomial().plan(100_000).frequency <= 100


def test_auto_frequency_divides_an_absolute_span_where_it_can():
    plan = polynomial(begin_step=1000, end_step=5000).plan(5064)
    assert (plan.frequency, plan.end_step) == (100, 5000)
    plan = polynomial(begin_step=0, end_step=1000, frequency="auto").plan(1000)
    assert (plan.frequency, plan.end_step) == (100, 1000)


def test_one_step_is_enough_for_one_update():
    for schedule in (polynomial(), constant()):
        plan = schedule.plan(1)
        assert list(plan.updates) == [1]
        assert plan.sparsity_of_update(1) == 0.8


def test_sparsity_after_a_step_is_that_of_the_last_update():
    plan = polynomial(begin_step=10, end_step=30, frequency=10, initial_sparsity=0.4).plan(40)
    assert [plan.sparsity_after(step) for step in (0, 9, 10, 19)] == [0.0, 0.0, 0.4, 0.4]
    assert plan.sparsity_after(20) == pytest.approx(0.8 - 0.4 / 8)
    assert [plan.sparsity_after(step) for step in (30, 40)] == [0.8, 0.8]


def test_initial_may_equal_final():
    plan = polynomial(initial_sparsity=0.5, final_sparsity=0.5).plan(50)
    assert {plan.sparsity_of_update(step) for step in plan.updates} == {0.5}


@pytest.mark.parametrize(
    ("changes", "steps", "key"),
    [
        ({"frequency": 100}, 80, "schedule.frequency=100: it never fires"),
        (
            {"frequency": 60, "begin_step": 30},
            80,
            "schedule.frequency=60: sparsity 0.8 would never be reached",
        ),
        ({"end_step": 5000}, 844, "schedule.end_step=5000: sparsity 0.8 would never be reached"),
        ({"begin_step": 845}, 844, "schedule.begin_step=845: nothing would ever be pruned"),
        (
            {"end_fraction": 0.0, "begin_step": 5},
            10,
            "schedule.end_fraction=0.0: nothing would ever be pruned",
        ),
        ({"begin_step": 0, "end_step": 0}, 10, "schedule.end_step=0: nothing would ever be pruned"),
        (
            {"begin_step": 5, "end_fraction": 0.2},
            10,
            "schedule.end_fraction=0.2: the schedule would end at step 2",
        ),
        ({"begin_fraction": 0.5, "end_step": 4}, 10, "schedule.end_step=4: the schedule would end at step 4"),
    ],
)
def test_a_schedule_that_cannot_reach_its_target_is_refused(changes, steps, key):
    with pytest.raises(ConfigError) as refusal:
        polynomial(**changes).plan(steps)
    assert str(refusal.value).startswith(key)


@pytest.mark.parametrize(
    "changes",
    [
        {"final_sparsity": 1.0},
        {"final_sparsity": -0.1},
        {"final_sparsity": float("nan")},
        {"initial_sparsity": 0.9},
        {"initial_sparsity": 1.0},
        {"frequency": 0},
        {"frequency": -1},
        {"frequency": "often"},
        {"begin_fraction": 1.1},
        {"end_fraction": -0.1},
        {"begin_fraction": 0.6, "end_fraction": 0.5},
        {"begin_step": 6, "end_step": 5},
        {"begin_step": -1},
        {"power": 0},
    ],
)
def test_a_value_that_is_never_right_is_refused_with_its_key(changes):
    with pytest.raises(ConfigError) as refusal:
        polynomial(**changes)
    assert str(refusal.value).split("=")[0].removeprefix("schedule.") in changes


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 10, 19, 25, 79, 80, 844, 845, 5064])
@pytest.mark.parametrize("begin", [0.0, 0.1, 0.5, 1.0])
def test_every_plan_ends_on_its_target_within_its_steps(steps, begin):
    plan = polynomial(begin_fraction=begin).plan(steps)
    assert 1 <= plan.updates[0] <= plan.updates[-1] <= steps
    assert plan.updates[-1] == plan.end_step
    assert plan.sparsity_of_update(plan.updates[-1]) == 0.8
