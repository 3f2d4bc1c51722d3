"""Shares that cost least, worked out by hand."""

from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruneflow.errors import ConfigError
from pruneflow.sparsity.criteria import Magnitude
from pruneflow.sparsity.distributions import AfterScan, Scanning
from pruneflow.sparsity.masks import MaskPlan, Prunable
from pruneflow.sparsity.schedules import Constant
from pruneflow.sparsity.sensitivity import Scan, Scanned, Sensitivity, curve_of, damage_at, shares
from pruneflow.sparsity.structures import Layout, NOfM, Unstructured


def scanned(name, size, losses, sparsities=(0.5, 0.8, 0.9)):
    return Scanned(name, size, 0.5, tuple(sparsities), tuple(losses), (0.9,) * len(losses))


def scan(*weights, loss=0.1):
    return Scan("accuracy", 100, loss, 0.95, (0.5, 0.8, 0.9), weights)


# Damage as a function of the share


def test_a_loss_that_falls_is_no_damage():
    assert curve_of([0.5, 0.8], [-0.3, 0.6]) == [(0.0, 0.0), (0.5, 0.0), (0.8, 0.6)]


def test_a_measurement_above_a_line_between_two_others_does_not_count():
    # From (0, 0) to (0.9, 0.9) the line is at 0.5 for 0.5, where 0.6 was measured.
    assert curve_of([0.5, 0.9], [0.6, 0.9]) == [(0.0, 0.0), (0.9, 0.9)]
    assert curve_of([0.5, 0.9], [0.4, 0.9]) == [(0.0, 0.0), (0.5, 0.4), (0.9, 0.9)]


def test_levels_that_mask_the_same_share_count_once_and_none_masked_not_at_all():
    assert curve_of([0.0, 0.5, 0.5], [9.0, 0.4, 0.3]) == [(0.0, 0.0), (0.5, 0.3)]
    assert curve_of([0.0], [9.0]) == [(0.0, 0.0)]


def test_weights_are_ranked_by_what_was_measured_and_not_by_how_often():
    """0.1 twice and 0.9 once is 0.5 on the mean, and not 0.367; 0.1, 0.4 and 0.7 is 0.4."""
    often = scanned("often", 2, (0.1, 0.1, 0.9), (0.5, 0.5, 0.9))
    even = scanned("even", 10, (0.1, 0.4, 0.7))
    assert [each.name for each in scan(even, often).ranked()] == ["often", "even"]


def test_damage_lies_on_lines_and_the_last_one_goes_on():
    curve = [(0.0, 0.0), (0.5, 0.2), (0.9, 1.0)]  # slopes 0.4 and 2
    found = [damage_at(curve, share) for share in (0.0, 0.25, 0.5, 0.7, 0.9, 0.95)]
    assert found == pytest.approx([0.0, 0.1, 0.2, 0.6, 1.0, 1.1])
    assert damage_at([(0.0, 0.0)], 0.9) == 0.0


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.floats(-1, 5)), min_size=1, max_size=8))
def test_a_curve_is_convex_rises_and_is_never_above_what_was_measured(measured):
    curve = curve_of(*zip(*measured, strict=True))
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(curve)]
    assert slopes == sorted(slopes) and all(slope >= 0 for slope in slopes)
    assert all(damage_at(curve, share) <= max(0, rise) + 1e-9 for share, rise in measured)


# Shares of least damage


CURVES = {"a": [(0.0, 0.0), (0.5, 0.2), (0.9, 1.0)], "b": [(0.0, 0.0), (0.5, 1.0), (0.9, 9.0)]}


def test_pieces_are_taken_in_the_order_of_damage_per_zero():
    # Of a, 100 elements: 50 zeros at 0.004 each, then 0.02. Of b, 20 elements: 10 at 0.1, then 1.
    # 60 zeros are asked for: 50 of a, then 10 more of a at 0.02, none of b at 0.1.
    assert shares(CURVES, {"a": 100, "b": 20}, 0.5) == pytest.approx({"a": 0.6, "b": 0.0})
    # 105 zeros: a has 100 at most, since its last slope goes on; 5 are left for b.
    assert shares(CURVES, {"a": 100, "b": 20}, 105 / 120) == pytest.approx({"a": 1.0, "b": 0.25})
    # At most 0.9 of each: 90 of a, then 15 of b, of which 10 cost 0.1 and 5 cost 1.
    assert shares(CURVES, {"a": 100, "b": 20}, 105 / 120, most=0.9) == pytest.approx({"a": 0.9, "b": 0.75})


def test_a_small_weight_pays_more_per_zero_for_the_same_curve():
    same = {"small": CURVES["a"], "large": CURVES["a"]}
    assert shares(same, {"small": 10, "large": 90}, 0.45) == pytest.approx({"small": 0.0, "large": 0.5})


def test_pieces_of_one_price_are_taken_in_the_same_part():
    free = {"a": [(0.0, 0.0), (0.5, 0.0), (0.9, 1.0)], "b": [(0.0, 0.0), (0.8, 0.0), (0.9, 1.0)]}
    # 50 of a and 80 of b cost nothing; 65 are asked for, half of them.
    assert shares(free, {"a": 100, "b": 100}, 0.325) == pytest.approx({"a": 0.25, "b": 0.4})


def test_a_weight_that_no_level_masks_costs_nothing():
    assert shares({"a": [(0.0, 0.0)]}, {"a": 4}, 0.5) == {"a": 0.5}
    assert shares({}, {}, 0.5) == {}


CURVE = st.lists(st.tuples(st.sampled_from([0.3, 0.5, 0.8, 0.9]), st.floats(-1, 5)), max_size=4).map(
    lambda points: curve_of(*zip(*points, strict=True)) if points else [(0.0, 0.0)]
)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcde"), st.tuples(CURVE, st.integers(1, 10_000)), min_size=1),
    st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
)
def test_shares_meet_the_total_within_bounds_and_grow_with_it(weights, totals):
    curves = {name: curve for name, (curve, _) in weights.items()}
    sizes = {name: size for name, (_, size) in weights.items()}
    low, high = (shares(curves, sizes, total, most=0.99) for total in sorted(totals))
    for found, total in zip((low, high), sorted(totals), strict=True):
        assert all(0 <= share <= 0.99 for share in found.values())
        zeros = sum(found[name] * size for name, size in sizes.items())
        assert zeros == pytest.approx(total * sum(sizes.values()), rel=1e-9, abs=1e-6)
    assert all(low[name] <= high[name] + 1e-9 for name in sizes)


def test_no_other_shares_cost_less():
    sizes = {"a": 100, "b": 20}
    best = shares(CURVES, sizes, 0.6, most=0.99)
    cost = sum(damage_at(CURVES[name], share) for name, share in best.items())
    for of_b in np.linspace(0, 0.99, 100):
        of_a = (0.6 * 120 - of_b * 20) / 100
        if 0 <= of_a <= 0.99:
            assert cost <= damage_at(CURVES["a"], of_a) + damage_at(CURVES["b"], of_b) + 1e-9


# The distribution


def distribution(min_density=0.01, **layers):
    return Scanning(name="sensitivity", layers=layers, min_density=min_density)


FOUND = scan(scanned("a/kernel", 100, (0.1, 0.1, 0.9)), scanned("b/kernel", 20, (1.1, 1.4, 1.6)), loss=0.1)


def test_before_the_scan_all_have_the_same_and_after_it_least_damage():
    assert distribution().scans and not distribution().after(FOUND).scans
    shapes = {"a/kernel": (10, 10), "b/kernel": (4, 5)}
    assert distribution().share(shapes, 0.5) == {"a/kernel": 0.5, "b/kernel": 0.5}
    # 80 zeros of a cost nothing; then its price is 0.8 / 0.1 / 100 = 0.08, that of b 1.3 / 0.8 / 20 = 0.081.
    after = distribution().after(FOUND)
    assert after.share(shapes, 0.5) == pytest.approx({"a/kernel": 0.6, "b/kernel": 0.0})
    assert after.share(shapes, 0.9) == pytest.approx({"a/kernel": 0.99, "b/kernel": 0.45})
    assert after.option_name == "sensitivity" and after.layers == {}


def test_a_scan_is_read_back_as_it_was_written():
    import json

    assert Scan.of(json.loads(json.dumps(asdict(FOUND)))) == FOUND


def test_the_most_sensitive_weight_is_first():
    assert [each.name for each in FOUND.ranked()] == ["b/kernel", "a/kernel"]


@pytest.mark.parametrize("levels", [[], [0.0], [1.0], [0.5, 0.5], [0.8, 0.5], [float("nan")]])
def test_levels_that_are_no_ascending_shares_are_refused(levels):
    with pytest.raises(ConfigError, match=r"^sensitivity.levels=.* allowed are one or more ascending"):
        Sensitivity(levels=levels, examples=10)


def test_a_scan_of_no_examples_is_refused():
    with pytest.raises(ConfigError, match=r"^sensitivity.examples=0: allowed are whole numbers from 1"):
        Sensitivity(levels=[0.5], examples=0)


# What is masked alone


def mask_plan(structure, *named, how=None):
    when = Constant(
        name="constant",
        initial_sparsity=0.0,
        final_sparsity=0.5,
        begin_fraction=0.0,
        end_fraction=1.0,
        begin_step=None,
        end_step=None,
        frequency=1,
    )
    prunables = tuple(Prunable(name, shape, Layout.default(len(shape))) for name, shape in named)
    magnitude = Magnitude(name="magnitude")
    return MaskPlan(when.plan(10), structure, magnitude, how or distribution(), prunables, 0)


def test_each_weight_is_masked_alone_by_the_criterion():
    plan = mask_plan(Unstructured(name="unstructured"), ("a/k", (2, 2)), ("b/k", (3, 4)))
    weights = {"a/k": np.array([[1.0, -4.0], [3.0, -2.0]]), "b/k": np.ones((3, 4))}
    first, second = plan.alone(weights)
    assert [(each.name, each.size, each.share) for each in (first, second)] == [
        ("a/k", 4, 0.25),
        ("b/k", 12, 0.75),
    ]
    share, masks = first.masks(0.5)
    assert share == 0.5 and list(masks) == ["a/k"]
    np.testing.assert_array_equal(masks["a/k"], [[False, True], [True, False]])


def test_a_pattern_is_masked_no_further_than_it_goes():
    plan = mask_plan(NOfM(name="n_of_m", n=2, m=4, indivisible="pad"), ("a/k", (4, 1)))
    (only,) = plan.alone({"a/k": np.array([[1.0], [4.0], [3.0], [2.0]])})
    assert only.masks(0.95)[0] == 0.5


def test_shares_of_the_scan_are_those_of_the_plan_and_of_its_inputs():
    named = ("a/kernel", (10, 10)), ("b/kernel", (4, 5))
    before = mask_plan(Unstructured(name="unstructured"), *named)
    after = mask_plan(Unstructured(name="unstructured"), *named, how=distribution().after(FOUND))
    assert isinstance(after.distribution, AfterScan)
    assert after.sparsities_after(10) == pytest.approx({"a/kernel": 0.6, "b/kernel": 0.0})
    assert before.inputs() != after.inputs()
    assert after.total_expected_zeros(10) == 60


def test_the_option_composes(composed):
    assert composed("distribution=sensitivity").distribution == distribution(0.001)
    given = composed("sensitivity.levels=[0.5]", "sensitivity.examples=7").sensitivity
    assert given == Sensitivity(levels=[0.5], examples=7)
