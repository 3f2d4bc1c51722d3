from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruneflow.errors import ConfigError
from pruneflow.options import choices
from pruneflow.sparsity.schedules import Constant, Exponential, Linear, Polynomial

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


def linear(**changes):
    return Linear(**{"name": "linear", **GIVEN, **changes})


def exponential(**changes):
    return Exponential(**{"name": "exponential", **GIVEN, **changes})


SCHEDULES = {"constant": constant, "polynomial": polynomial, "linear": linear, "exponential": exponential}
RISING = {name: made for name, made in SCHEDULES.items() if name != "constant"}


def test_polynomial_follows_the_formula_of_zhu_and_gupta():
    schedule = polynomial(initial_sparsity=0.0, final_sparsity=0.8)
    at = [schedule.sparsity_at(step, begin_step=100, end_step=200) for step in (100, 125, 150, 175, 200)]
    # 0.8 - 0.8 (1, 0.75, 0.5, 0.25, 0)^3
    assert at == pytest.approx([0.0, 0.4625, 0.7, 0.7875, 0.8], abs=1e-12)


def test_polynomial_lands_on_the_final_sparsity_to_the_bit():
    assert polynomial(final_sparsity=0.7).sparsity_at(844, begin_step=1, end_step=844) == 0.7


def test_polynomial_keeps_the_bits_that_it_always_had():
    steps = {"begin_step": 1, "end_step": 632}
    assert polynomial(initial_sparsity=0.1).sparsity_at(1, **steps) == 0.8 + (0.1 - 0.8) * 1.0**3
    remaining = 1 - (64 - 1) / (632 - 1)
    assert polynomial().sparsity_at(64, **steps) == 0.8 + (0.5 - 0.8) * remaining**3


def test_power_one_is_a_straight_line():
    straight, schedule = (made(initial_sparsity=0.2, final_sparsity=0.6) for made in (linear, polynomial))
    schedule = replace(schedule, power=1)
    for step in range(10, 101, 9):
        at = straight.sparsity_at(step, begin_step=10, end_step=100)
        assert at == pytest.approx(0.2 + 0.4 * (step - 10) / 90, abs=1e-12)
        assert schedule.sparsity_at(step, begin_step=10, end_step=100) == pytest.approx(at, abs=1e-12)


def test_exponential_keeps_the_same_share_of_what_is_left_at_each_update():
    schedule = exponential(initial_sparsity=0.0, final_sparsity=0.9375)
    at = [schedule.sparsity_at(step, begin_step=100, end_step=300) for step in (100, 150, 200, 250, 300)]
    assert at == pytest.approx([0.0, 0.5, 0.75, 0.875, 0.9375], abs=1e-12)  # half of the weights each time
    later = exponential(initial_sparsity=0.5, final_sparsity=0.875)
    assert later.sparsity_at(1, begin_step=0, end_step=2) == pytest.approx(0.75)
    later = exponential(initial_sparsity=0.2, final_sparsity=0.95)  # kept 0.8, 0.4, 0.2, 0.1, 0.05
    assert later.sparsity_at(3, begin_step=0, end_step=4) == pytest.approx(0.9)


def test_at_one_moment_polynomial_is_above_exponential_above_linear():
    at = [made().sparsity_at(30, begin_step=0, end_step=100) for made in (polynomial, exponential, linear)]
    assert at == sorted(at, reverse=True) and len(set(at)) == 3


def test_every_registered_schedule_is_tested_here():
    assert SCHEDULES.keys() == choices("schedule").keys()


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_composes_from_its_yaml_with_the_values_of_polynomial(name, composed):
    schedule = composed(f"schedule={name}").schedule
    assert type(schedule) is choices("schedule")[name] and schedule.name == name
    assert (schedule.final_sparsity, schedule.begin_fraction, schedule.end_fraction) == (0.8, 0.0, 0.75)
    assert (schedule.begin_step, schedule.end_step, schedule.frequency) == (None, None, "auto")
    assert schedule.initial_sparsity == (0.0 if name == "constant" else 0.5)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    name=st.sampled_from(sorted(SCHEDULES)),
    sparsities=st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True)),
    begin=st.floats(0, 1),
    steps=st.integers(1, 1000),
    after_gradients=st.booleans(),
)
def test_every_schedule_rises_within_its_bounds_to_exactly_its_final_sparsity(
    name, sparsities, begin, steps, after_gradients
):
    initial, final = sorted(sparsities)
    schedule = SCHEDULES[name](initial_sparsity=initial, final_sparsity=final, begin_fraction=begin)
    plan = schedule.plan(steps, after_gradients=after_gradients)
    at = [plan.sparsity_of_update(step) for step in plan.updates]
    rounding = 1e-15  # of numbers below 1
    assert 1 <= plan.updates[0] <= plan.updates[-1] <= steps
    assert at[-1] == final
    assert all(initial - rounding <= sparsity <= final + rounding for sparsity in at)
    assert all(before <= after + rounding for before, after in pairwise(at))


@pytest.mark.parametrize("name", SCHEDULES)
def test_sparsities_can_be_replaced(name):
    schedule = replace(SCHEDULES[name](), initial_sparsity=0.6, final_sparsity=0.9)
    assert type(schedule) is choices("schedule")[name]
    plan = schedule.plan(100)
    assert plan.sparsity_of_update(1) == pytest.approx(0.9 if name == "constant" else 0.6)
    assert plan.sparsity_of_update(plan.end_step) == 0.9
    assert replace(schedule, final_sparsity=0.7).plan(100).sparsity_after(100) == 0.7


@pytest.mark.parametrize("name", RISING)
def test_a_schedule_that_would_fall_is_refused(name):
    with pytest.raises(
        ConfigError, match=r"schedule\.initial_sparsity=0\.9: it is above .*=0\.8\. Set .*=0,"
    ):
        RISING[name](initial_sparsity=0.9).plan(100)
    assert RISING[name](initial_sparsity=0.9).at_once().sparsity_after(1) == 0.8


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


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_first_update_that_needs_gradients_comes_after_frequency_steps(name):
    schedule = SCHEDULES[name](frequency=20)
    assert schedule.plan(100).updates[0] == 1
    plan = schedule.plan(100, after_gradients=True)
    assert (plan.begin_step, list(plan.updates)) == (0, [20, 40, 60, 80, 100])
    assert (plan.sparsity_after(19), plan.sparsity_after(100)) == (0.0, 0.8)


@pytest.mark.parametrize(
    ("changes", "begin"),
    [
        ({"begin_step": 1}, 1),  # asked for
        ({"begin_step": 0}, 0),
        ({"begin_step": 7}, 7),
        ({"begin_fraction": 0.02}, 2),
        ({"begin_fraction": 0.25}, 25),
        ({"begin_fraction": 0.014}, 0),  # step 1
        ({"begin_fraction": 0.25, "begin_step": 1}, 1),
    ],
)
def test_gradients_move_only_a_fraction_that_falls_on_the_first_step(changes, begin):
    assert linear(**changes).plan(100, after_gradients=True).begin_step == begin
    assert linear(**changes).plan(100).begin_step == (begin if "begin_step" in changes else max(1, begin))


def test_one_step_with_gradients_is_one_update():
    plan = polynomial().plan(1, after_gradients=True)
    assert (list(plan.updates), plan.sparsity_of_update(1)) == ([1], 0.8)
    assert list(polynomial(frequency=80).plan(80, after_gradients=True).updates) == [80]
    with pytest.raises(ConfigError, match=r"schedule\.frequency=80: sparsity 0\.8 would never be reached"):
        polynomial(frequency=80).plan(80)


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


def test_where_updates_come_at_every_step_the_first_with_gradients_comes_before_the_second():
    assert list(polynomial().plan(10, after_gradients=True).updates) == list(range(2, 11))
    assert list(polynomial().plan(10).updates) == list(range(1, 11))
