import functools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruneflow import compose
from pruneflow.errors import ConfigError
from pruneflow.options import choices
from pruneflow.sparsity.criteria import Magnitude, Random, Taylor
from pruneflow.sparsity.distributions import Erk, Global, Matrices, Uniform
from pruneflow.sparsity.masks import MaskPlan, Prunable
from pruneflow.sparsity.schedules import Constant, Polynomial
from pruneflow.sparsity.selection import SAMPLE, keep_largest, kept_count
from pruneflow.sparsity.structures import Block, Layout, NOfM, Structure, Units, Unstructured

UNSTRUCTURED = Unstructured(name="unstructured")
BLOCK_2X1 = Block(name="block", inputs=2, outputs=1, indivisible="pad")
BLOCK_2X2 = Block(name="block", inputs=2, outputs=2, indivisible="pad")
TWO_OF_FOUR = NOfM(name="n_of_m", n=2, m=4, indivisible="pad")
ONE_OF_FOUR = NOfM(name="n_of_m", n=1, m=4, indivisible="pad")
LAST = 40


def schedule(kind=Polynomial, **changes):
    """Updates at 10, 20, 30, 40; a polynomial has 1, 2/3, 1/3 and 0 of its way before it there."""
    power = {"power": 3} if kind is Polynomial else {}
    given = {
        "name": "schedule",
        "initial_sparsity": 0.5,
        "final_sparsity": 0.8,
        "begin_fraction": 0.0,
        "end_fraction": 1.0,
        "begin_step": 10,
        "end_step": LAST,
        "frequency": 10,
    }
    return kind(**{**given, **power, **changes})


def constant(sparsity):
    return schedule(Constant, final_sparsity=sparsity)


def uniform(**layers):
    return Uniform(name="uniform", layers=layers)


def ranked(min_density=0.0, **layers):
    return Global(name="global", layers=layers, min_density=min_density)


def matrices(min_density=0.0, **layers):
    return Matrices(name="matrices", layers=layers, min_density=min_density)


def erk(min_density=0.0, **layers):
    return Erk(name="erk", layers=layers, min_density=min_density)


def prunable(name, shape, layout=None):
    return Prunable(name, shape, layout or Layout.default(len(shape)))


def mask_plan(shapes, when=None, **changes):
    parts = {
        "structure": UNSTRUCTURED,
        "criterion": Magnitude(name="magnitude"),
        "distribution": uniform(),
        "seed": 0,
    }
    weights = tuple(w if isinstance(w, Prunable) else prunable(*w) for w in shapes)
    when = when or schedule()
    return MaskPlan(plan=when.plan(100), prunables=weights, **{**parts, **changes})


TWO = (("a/kernel", (2, 2)), ("b/kernel", (1, 4)))
LARGE_AND_SMALL = {
    "a/kernel": np.array([[4.0, -3.0], [2.0, 1.0]]),
    "b/kernel": np.array([[0.5, -0.4, 0.3, 0.2]]),
}


class Columns(Structure):
    """Whole columns: units whose size follows from the shape."""

    option_name = "columns"

    def unit(self, shape):
        return shape[0]

    def units(self, scores):
        return Units(scores.mean(axis=0), scores.shape[0])

    def expand(self, kept, shape):
        return np.broadcast_to(kept, shape).copy()

    def expected_zeros(self, shape, sparsity):
        return (shape[1] - kept_count(shape[1], sparsity)) * shape[0]


def kept(masks):
    return {name: mask.kept.astype(int).tolist() for name, mask in masks.items()}


def zeros(masks):
    return sum(int(np.count_nonzero(~mask.kept)) for mask in masks.values())


# Masks by hand


def test_uniform_masks_each_weight_by_itself():
    masks = mask_plan(TWO, constant(0.5)).update(10, LARGE_AND_SMALL)
    assert kept(masks) == {"a/kernel": [[1, 1], [0, 0]], "b/kernel": [[1, 1, 0, 0]]}
    assert [mask.threshold for mask in masks.values()] == [3.0, 0.4]


def test_global_ranks_all_weights_together_and_keeps_the_best_of_each():
    plan = mask_plan(TWO, constant(0.5), distribution=ranked())
    masks = plan.update(10, LARGE_AND_SMALL)
    assert kept(masks) == {"a/kernel": [[1, 1], [1, 0]], "b/kernel": [[1, 0, 0, 0]]}
    assert [mask.threshold for mask in masks.values()] == [2.0, 2.0]


def test_the_floor_of_global_is_protected_first():
    plan = mask_plan(TWO, constant(0.5), distribution=ranked(0.5))
    masks = plan.update(10, LARGE_AND_SMALL)
    assert kept(masks) == {"a/kernel": [[1, 1], [0, 0]], "b/kernel": [[1, 1, 0, 0]]}
    assert [mask.threshold for mask in masks.values()] == [0.4, 0.4]


def test_global_ties_are_decided_by_the_order_of_weights_and_elements():
    masks = mask_plan(TWO, constant(0.5), distribution=ranked()).update(
        10, {"a/kernel": np.ones((2, 2)), "b/kernel": np.ones((1, 4))}
    )
    assert kept(masks) == {"a/kernel": [[1, 1], [1, 0]], "b/kernel": [[1, 0, 0, 0]]}


def test_global_ranks_blocks_by_their_means_and_counts_elements():
    shapes = (("a/kernel", (3, 3)), ("b/kernel", (2, 2)))
    weights = {
        "a/kernel": np.array([[5.0, 5.0, 8.0], [5.0, 5.0, 8.0], [1.0, 2.0, 9.0]]),  # means 5, 8 | 1.5, 9
        "b/kernel": np.array([[4.0, 4.0], [4.0, 4.0]]),  # the only one of its weight stays
    }
    plan = mask_plan(shapes, constant(0.5), structure=BLOCK_2X2, distribution=ranked())
    masks = plan.update(10, weights)
    # 7 of 13 elements are asked for: 2 of mean 1.5 and 4 of mean 5 make 6; with the next block it would be 8.
    assert kept(masks) == {"a/kernel": [[0, 0, 1], [0, 0, 1], [0, 0, 1]], "b/kernel": [[1, 1], [1, 1]]}
    assert {mask.threshold for mask in masks.values()} == {8.0}
    assert plan.total_expected_zeros(10) == 13 - kept_count(13, 0.5) == 7
    assert plan.total_tolerance(10) == 4


def test_erk_is_decided_by_the_shapes():
    plan = mask_plan((("a/k", (2, 2)), ("b/k", (10, 10))), constant(0.5), distribution=erk())
    assert plan.sparsities(10) == {"a/k": 0.0, "b/k": pytest.approx(0.52, abs=1e-12)}
    assert (plan.expected_zeros("a/k", 10), plan.expected_zeros("b/k", 10)) == (0, 52)


def test_a_convolution_kernel_is_masked_in_blocks_over_its_positions():
    kernel = np.arange(1.0, 9.0).reshape(2, 2, 1, 2)
    kernel[0, 1, 0, 0] = -60  # columns: 1, 60 | 5, 7 and 2, 4 | 6, 8
    plan = mask_plan((("c/kernel", kernel.shape),), constant(0.5), structure=BLOCK_2X1)
    masks = plan.update(10, {"c/kernel": kernel})
    assert kept(masks) == {"c/kernel": [[[[1, 0]], [[1, 0]]], [[[0, 1]], [[0, 1]]]]}


def test_the_layout_says_which_elements_are_neighbours():
    weight = np.array([[1.0, 2.0, 9.0, 3.0]])  # outputs x inputs
    transposed = prunable("c/kernel", (1, 4), Layout(axes=(1, 0), inputs=1))
    plan = mask_plan((transposed,), constant(0.5), structure=BLOCK_2X1)
    assert kept(plan.update(10, {"c/kernel": weight})) == {"c/kernel": [[0, 0, 1, 1]]}
    both = mask_plan((transposed,), constant(0.5), structure=BLOCK_2X1, distribution=ranked())
    assert kept(both.update(10, {"c/kernel": weight})) == {"c/kernel": [[0, 0, 1, 1]]}


@pytest.mark.parametrize("distribution", [uniform(), ranked()])
def test_a_mask_has_the_axes_of_its_weight(distribution):
    weight = np.array([[1.0, 2.0, 9.0, 3.0], [8.0, 7.0, 0.0, 1.0]])  # outputs x inputs
    turned = prunable("c/kernel", (2, 4), Layout(axes=(1, 0), inputs=1))
    plan = mask_plan((turned,), constant(0.5), structure=BLOCK_2X1, distribution=distribution)
    assert kept(plan.update(10, {"c/kernel": weight})) == {"c/kernel": [[0, 0, 1, 1], [1, 1, 0, 0]]}


@pytest.mark.parametrize("value", [1e9, float("inf"), float("nan")])
def test_no_score_is_high_enough_to_break_the_floor_of_another_weight(value):
    plan = mask_plan((("a/k", (1, 4)), ("b/k", (1, 4))), constant(0.5), distribution=ranked())
    masks = plan.update(10, {"a/k": np.full((1, 4), value), "b/k": np.array([[0.1, 0.2, 0.4, 0.3]])})
    assert kept(masks) == {"a/k": [[1, 1, 1, 0]], "b/k": [[0, 0, 1, 0]]}


def test_taylor_ranks_by_what_was_accumulated():
    plan = mask_plan(TWO, constant(0.5), criterion=Taylor(name="taylor"))
    accumulated = {
        "a/kernel": np.array([[0.0, 1.0], [2.0, 3.0]]),
        "b/kernel": np.array([[0.0, 1.0, 0.0, 2.0]]),
    }
    masks = plan.update(10, LARGE_AND_SMALL, accumulated)
    assert kept(masks) == {"a/kernel": [[0, 0], [1, 1]], "b/kernel": [[0, 1, 0, 1]]}


def test_random_follows_seed_and_name():
    plans = [
        mask_plan((("a/k", (9, 9)), ("b/k", (9, 9))), criterion=Random(name="r"), seed=s) for s in (0, 1)
    ]
    zero, one = (plan.update(10, dict.fromkeys(("a/k", "b/k"), np.ones((9, 9)))) for plan in plans)
    assert kept(zero)["a/k"] != kept(zero)["b/k"]
    assert kept(zero)["a/k"] != kept(one)["a/k"]


def test_weights_are_left_as_they_are():
    weights = {name: weight.copy() for name, weight in LARGE_AND_SMALL.items()}
    for distribution in (uniform(), ranked(0.25)):
        mask_plan(TWO, distribution=distribution).update(10, weights)
    assert all((weights[name] == LARGE_AND_SMALL[name]).all() for name in weights)


@pytest.mark.parametrize("distribution", [uniform(), ranked(), erk(), matrices()])
def test_a_layer_of_zeros_loses_exactly_what_is_asked(distribution):
    plan = mask_plan((("a/k", (10, 10)),), constant(0.8), distribution=distribution)
    masks = plan.update(10, {"a/k": np.zeros((10, 10), np.float32)})
    assert np.flatnonzero(masks["a/k"].kept).tolist() == list(range(20))
    assert masks["a/k"].threshold == 0.0


@pytest.mark.parametrize("distribution", [uniform(), ranked(), erk(), matrices()])
def test_a_single_element_is_kept(distribution):
    plan = mask_plan((("a/k", (1, 1)),), constant(0.9), distribution=distribution)
    assert kept(plan.update(10, {"a/k": np.zeros((1, 1))})) == {"a/k": [[1]]}
    assert plan.total_expected_zeros(LAST) == 0


# Sparsity over the steps


def test_a_weight_follows_the_schedule():
    plan = mask_plan(TWO)
    wanted = [plan.sparsities(step)["a/kernel"] for step in (10, 20, 30, 40)]
    assert wanted == pytest.approx([0.5, 0.8 - 0.3 * 8 / 27, 0.8 - 0.3 / 27, 0.8], abs=1e-12)
    assert wanted[-1] == 0.8


def test_a_sparsity_of_its_own_follows_the_same_curve():
    plan = mask_plan((("a/k", (4, 4)), ("b/k", (4, 4)), ("c/k", (4, 4))), distribution=uniform(a=0.95, b=0.3))
    rows = [plan.sparsities(step) for step in (10, 20, 40)]
    assert [row["a/k"] for row in rows] == pytest.approx([0.5, 0.95 - 0.45 * 8 / 27, 0.95], abs=1e-12)
    assert [row["b/k"] for row in rows] == pytest.approx([0.3, 0.3, 0.3], abs=1e-12)
    assert [row["c/k"] for row in rows] == pytest.approx([0.5, 0.8 - 0.3 * 8 / 27, 0.8], abs=1e-12)
    assert mask_plan(TWO, constant(0.8), distribution=uniform(a=0.3)).sparsities(10)["a/kernel"] == 0.3


@pytest.mark.parametrize("make", [uniform, ranked, erk, matrices])
def test_a_sparsity_of_zero_leaves_a_weight_dense_and_takes_no_part_in_the_sharing(make):
    plan = mask_plan((("a/k", (2, 2)), ("b/k", (4, 4))), constant(0.5), distribution=make(**{"a/*": 0.0}))
    masks = plan.update(10, {"a/k": np.zeros((2, 2)), "b/k": np.arange(16.0).reshape(4, 4)})
    assert masks["a/k"].kept.all()
    assert np.flatnonzero(masks["b/k"].kept).tolist() == list(range(8, 16))
    assert masks["a/k"].kept.dtype == masks["b/k"].kept.dtype == bool


def test_weights_that_are_ranked_together_have_no_sparsity_of_their_own():
    plan = mask_plan(TWO, distribution=ranked(b=0.75))
    assert plan.sparsities(LAST) == {"a/kernel": None, "b/kernel": 0.75}
    assert plan.expected_zeros("a/kernel", LAST) is None
    assert plan.expected_zeros("b/kernel", LAST) == 3
    assert plan.total_expected_zeros(LAST) == 3 + 3  # of a 1 of 4 is kept


def test_the_pattern_of_n_of_m_is_the_end_of_the_curve():
    plan = mask_plan((("a/k", (8, 3)),), structure=ONE_OF_FOUR)
    wanted = [plan.sparsities(step)["a/k"] for step in (10, 20, 40)]
    assert wanted == pytest.approx([0.5, 0.75 - 0.25 * 8 / 27, 0.75], abs=1e-12)
    masks = plan.update(40, {"a/k": np.random.default_rng(0).standard_normal((8, 3))})
    assert (masks["a/k"].kept.reshape(2, 4, 3).sum(axis=1) == 1).all()
    assert [plan.expected_zeros("a/k", step) for step in (9, 10, 40)] == [0, 12, 18]


@pytest.mark.parametrize("typed", [0.833333, 0.83333, 0.833334, 5 / 6])
def test_five_sixths_may_be_written_as_a_decimal(typed):
    one_of_six = NOfM(name="n_of_m", n=1, m=6, indivisible="pad")
    plan = mask_plan((("a/k", (6, 1)),), schedule(final_sparsity=typed), structure=one_of_six)
    assert plan.check() == []
    assert plan.sparsities(LAST) == {"a/k": 5 / 6}


def test_a_structure_without_a_limit_changes_no_sparsity():
    assert mask_plan(TWO, constant(0.999999)).sparsities(LAST)["a/kernel"] == 0.999999


def test_between_updates_the_last_one_is_in_force():
    plan = mask_plan(TWO)
    assert plan.sparsities_after(0) == plan.sparsities_after(9) == {"a/kernel": 0.0, "b/kernel": 0.0}
    for step, update in ((10, 10), (19, 10), (20, 20), (39, 30), (40, 40), (100, 40)):
        assert plan.sparsities_after(step) == plan.sparsities(update)
    together = mask_plan(TWO, distribution=ranked())
    assert together.sparsities_after(9) == {"a/kernel": 0.0, "b/kernel": 0.0}
    assert together.sparsities_after(10) == {"a/kernel": None, "b/kernel": None}
    assert [together.total_expected_zeros(step) for step in (9, 10, 40)] == [0, 4, 6]
    assert together.expected_zeros("a/kernel", 9) == 0


# Zeros that a count must find


def test_expected_zeros_of_a_floor_that_leaves_no_more():
    # 2 of 20 are asked for, and each of two weights of 10 keeps 2, which is 0.11 of it rounded up.
    plan = mask_plan((("a/k", (10, 1)), ("b/k", (1, 10))), constant(0.9), distribution=erk(0.0))
    assert plan.total_expected_zeros(LAST) == 18
    floored = mask_plan((("a/k", (10, 1)), ("b/k", (1, 10))), constant(0.85), distribution=ranked(0.11))
    assert floored.total_expected_zeros(LAST) == 16
    weights = {"a/k": np.arange(10.0).reshape(10, 1), "b/k": np.arange(10.0).reshape(1, 10)}
    masks = floored.update(LAST, weights)
    assert [int(mask.kept.sum()) for mask in masks.values()] == [2, 2]


def test_the_tolerance_is_that_of_the_structure():
    plan = mask_plan((("a/k", (4, 2)), ("b/k", (3, 3))), structure=BLOCK_2X2)
    assert (plan.tolerance("a/k"), plan.tolerance("b/k"), plan.total_tolerance(LAST)) == (0, 4, 4)
    assert mask_plan(TWO).total_tolerance(LAST) == 0
    assert mask_plan(TWO, distribution=ranked()).total_tolerance(LAST) == 0
    even = mask_plan((("a/k", (4, 2)), ("b/k", (6, 2))), structure=BLOCK_2X2, distribution=ranked())
    assert even.total_tolerance(LAST) == 0
    assert even.total_expected_zeros(LAST) == 12  # 16 of 20 are asked for, and each keeps a block


def test_the_tolerance_grows_where_floors_of_unequal_blocks_leave_no_more():
    named = [(f"layer_{index}/k", (3, 3)) for index in range(3)]
    plan = mask_plan(named, constant(0.99), structure=BLOCK_2X2, distribution=ranked())
    # Each keeps a block: that of 4 elements where it is the best, that of 1 where that is.
    large = {name: np.array([[9.0, 9.0, 1.0], [9.0, 9.0, 1.0], [1.0, 1.0, 1.0]]) for name, _ in named}
    small = {name: np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 9.0]]) for name, _ in named}
    assert (zeros(plan.update(LAST, large)), zeros(plan.update(LAST, small))) == (15, 24)
    assert (plan.total_expected_zeros(LAST), plan.total_tolerance(LAST)) == (24, 9)


SHAPES = st.lists(st.tuples(st.integers(2, 9), st.integers(2, 7)), min_size=1, max_size=4)


@pytest.mark.run
@given(SHAPES, st.floats(0, 0.999), st.integers(0, 99), st.sampled_from([1, 4, 1000]))
def test_totals_are_exact_for_elements_and_within_one_block_for_blocks(shapes, sparsity, seed, levels):
    generator = np.random.default_rng(seed)
    named = [(f"layer_{index}/kernel", shape) for index, shape in enumerate(shapes)]
    weights = {name: generator.integers(0, levels, shape).astype(np.float32) for name, shape in named}
    for structure in (UNSTRUCTURED, BLOCK_2X1, BLOCK_2X2):
        for distribution in (uniform(), ranked(), ranked(0.001), erk(), matrices()):
            plan = mask_plan(named, constant(sparsity), structure=structure, distribution=distribution)
            masks = plan.update(LAST, weights)
            assert abs(zeros(masks) - plan.total_expected_zeros(LAST)) <= plan.total_tolerance(LAST)
            if structure is UNSTRUCTURED:
                assert plan.total_tolerance(LAST) == 0
            for name, mask in masks.items():
                expected = plan.expected_zeros(name, LAST)
                assert mask.kept.any()
                if expected is not None:
                    assert abs(zeros({name: mask}) - expected) <= plan.tolerance(name)


@given(SHAPES, st.floats(0, 0.9), st.integers(0, 99), st.floats(0, 0.1))
def test_global_keeps_the_largest_above_the_floor_of_each(shapes, sparsity, seed, min_density):
    generator = np.random.default_rng(seed)
    named = [(f"layer_{index}/kernel", shape) for index, shape in enumerate(shapes)]
    weights = {name: generator.standard_normal(shape) for name, shape in named}
    plan = mask_plan(named, constant(sparsity), distribution=ranked(min_density))
    masks = plan.update(LAST, weights)
    best_masked = max([np.abs(weights[n][~mask.kept]).max(initial=0) for n, mask in masks.items()])
    for name, mask in masks.items():
        floor = plan.distribution.floor(mask.kept.size)
        assert np.count_nonzero(mask.kept) >= floor
        stays = np.sort(np.abs(weights[name][mask.kept]))[::-1]
        assert (stays[floor:] > best_masked).all()
        assert np.abs(weights[name][~mask.kept]).max(initial=0) < stays.min()


# Checked before anything is trained


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"structure": TWO_OF_FOUR, "when": constant(0.5)},
        {"structure": TWO_OF_FOUR, "when": schedule(final_sparsity=0.500001)},
        {"distribution": ranked(0.2)},
        {"distribution": erk(0.2, a=0.9)},
        {"criterion": Taylor(name="taylor")},
    ],
)
def test_what_fits_has_nothing_to_be_said(changes):
    assert mask_plan((("a/k", (8, 4)), ("b/k", (4, 4))), **changes).check() == []


def test_a_cap_and_padding_are_said():
    plan = mask_plan((("a/k", (9, 2)), ("b/k", (8, 2)), ("c/k", (7, 1))), structure=TWO_OF_FOUR)
    assert plan.check() == [
        "structure=n_of_m 2:4 keeps 2 of every 4 inputs, so it ends at sparsity 0.500; "
        "schedule.final_sparsity=0.8 is taken as that.",
        "Groups of 4 inputs do not divide a/k (9 inputs x 2 outputs): the last 1 of each output keeps 1.",
        "Groups of 4 inputs do not divide c/k (7 inputs x 1 outputs): the last 3 of each output keep 2.",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"structure": TWO_OF_FOUR, "distribution": ranked()},
            "distribution=global: structure=n_of_m 2:4 keeps 2 of every 4 inputs in every weight, so that "
            "there is nothing to share. Use uniform.",
        ),
        ({"structure": TWO_OF_FOUR, "distribution": erk()}, "distribution=erk: structure=n_of_m 2:4 keeps"),
        (
            {"structure": TWO_OF_FOUR, "distribution": uniform(a=0.5)},
            "distribution.layers={a:0.5}: structure=n_of_m 2:4 keeps 2 of every 4 inputs in every weight, so "
            "that there is nothing to share. Leave it out; pruning.skip leaves layers dense.",
        ),
        (
            {"structure": TWO_OF_FOUR, "when": constant(0.4)},
            "schedule.final_sparsity=0.4: structure=n_of_m 2:4 keeps 2 of every 4 inputs, which is sparsity "
            "0.500 and would never be reached. Set schedule.final_sparsity=0.5.",
        ),
        (
            {"criterion": Taylor(name="taylor"), "when": schedule(begin_step=1)},
            "criterion=taylor: the first mask update comes before step 1, when no gradient has been seen. "
            "schedule.begin_step=0 puts the first update before step schedule.frequency.",
        ),
        (
            {"criterion": Taylor(name="mine"), "when": schedule(begin_step=0, frequency=1)},
            "criterion=taylor: the first mask update comes before step 1, when no gradient has been seen. "
            "schedule.begin_step=2 puts it one step later.",
        ),
        ({"distribution": ranked(0.3)}, "distribution.min_density=0.3: every weight would keep more than"),
        (
            {"distribution": erk(0.3, a=0.9)},
            "distribution.min_density=0.3: every weight would keep more than",
        ),
        ({"distribution": uniform(c=0.3)}, "distribution.layers={c:0.3}: c matches nothing that is pruned"),
        (
            {"distribution": erk(a=0.3, b=0.5)},
            "distribution=erk: distribution.layers gives every weight a sparsity of its own, so that",
        ),
        (
            {"structure": Block(name="block", inputs=5, outputs=1, indivisible="pad")},
            "structure.inputs=5: it is more than b/k (4 inputs x 4 outputs) has.",
        ),
        (
            {"structure": Block(name="block", inputs=3, outputs=1, indivisible="refuse")},
            "structure.indivisible=refuse: blocks of 3 x 1 (inputs x outputs) do not divide a/k",
        ),
    ],
)
def test_what_contradicts_is_refused(changes, message):
    with pytest.raises(ConfigError) as refusal:
        mask_plan((("a/k", (8, 4)), ("b/k", (4, 4))), **changes).check()
    assert str(refusal.value).startswith(message)


def test_the_remedy_of_taylor_works():
    for begin, frequency in ((0, 10), (2, 1)):
        when = schedule(begin_step=begin, frequency=frequency)
        assert mask_plan(TWO, when, criterion=Taylor(name="taylor")).check() == []


# What decides the masks


def inputs(*, shapes=TWO, **changes):
    return json.dumps(mask_plan(shapes, **changes).inputs())


def test_the_inputs_of_the_default_in_full():
    assert mask_plan((*TWO, ("c/k", (2, 1, 3))), constant(0.8), distribution=uniform(b=0.3)).inputs() == {
        "structure": {"option": "unstructured"},
        "criterion": {"option": "magnitude"},
        "weights": [
            {"name": "a/kernel", "axes": [0, 1], "inputs": 1, "curve": 0},
            {"name": "b/kernel", "axes": [0, 1], "inputs": 1, "curve": 1},
            {"name": "c/k", "axes": [0, 1, 2], "inputs": 2, "curve": 0},
        ],
        "curves": [
            [[10, 0.8], [20, 0.8], [30, 0.8], [40, 0.8]],
            [[10, 0.3], [20, 0.3], [30, 0.3], [40, 0.3]],
        ],
    }


def test_the_inputs_of_global_have_the_total_and_the_floors():
    given = mask_plan(TWO, constant(0.6), distribution=ranked(0.3), structure=BLOCK_2X1).inputs()
    assert given["structure"] == {"option": "block", "inputs": 2, "outputs": 1}
    assert given["curves"] == [[[10, 0.6], [20, 0.6], [30, 0.6], [40, 0.6]]]
    assert [(weight["curve"], weight["floor"]) for weight in given["weights"]] == [(0, 2), (0, 2)]


EVEN = (("a/kernel", (4, 4)), ("b/kernel", (4, 4)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            {"structure": Block(name="block_4x1", inputs=4, outputs=1, indivisible="pad")},
            {"structure": Block(name="mine", inputs=4, outputs=1, indivisible="refuse")},
        ),
        ({"when": constant(0.8)}, {"when": schedule(initial_sparsity=0.8)}),
        ({"when": constant(0.8)}, {"when": schedule(Constant, initial_sparsity=0.1)}),
        ({"distribution": ranked(0.01)}, {"distribution": ranked(0.02)}),  # one element of 16 either way
        ({"distribution": ranked(0.1, **{"*": 0.8})}, {"distribution": uniform()}),
        ({"distribution": uniform(**{"a*": 0.6, "b*": 0.6})}, {"distribution": uniform(**{"*": 0.6})}),
        (
            {"distribution": erk(0.0), "when": constant(0.8)},
            {"distribution": erk(0.1), "when": constant(0.8)},
        ),
        ({"structure": TWO_OF_FOUR}, {"structure": TWO_OF_FOUR, "when": schedule(final_sparsity=0.9)}),
        ({"seed": 0}, {"seed": 1}),
        ({"criterion": Magnitude(name="a")}, {"criterion": Magnitude(name="b")}),
    ],
)
def test_equal_work_has_equal_inputs(one, other):
    assert inputs(shapes=EVEN, **one) == inputs(shapes=EVEN, **other)


def test_different_work_has_different_inputs():
    transposed = [prunable(name, shape, Layout((1, 0), 1)) for name, shape in EVEN]
    plans = [
        {},
        {"structure": BLOCK_2X1},
        {"structure": BLOCK_2X2},
        {"structure": TWO_OF_FOUR},
        {"structure": ONE_OF_FOUR},
        {"criterion": Random(name="magnitude")},
        {"criterion": Taylor(name="magnitude")},
        {"distribution": ranked(0.01)},
        {"distribution": ranked(0.1)},
        {"distribution": uniform(a=0.5)},
        {"distribution": uniform(b=0.5)},
        {"when": schedule(final_sparsity=0.9)},
        {"when": schedule(begin_step=11)},
        {"when": schedule(frequency=15)},
        {"when": schedule(power=1)},
        {"shapes": transposed},
        {"shapes": EVEN[:1]},
    ]
    digests = [inputs(**{"shapes": EVEN, **changes}) for changes in plans]
    assert len(set(digests)) == len(plans)


LARGE = 300_000  # so many that they are looked at through a sample
OF_CHANCE = np.random.default_rng(0).normal(size=LARGE).astype(np.float32)
MANY = {
    "different": np.abs(OF_CHANCE),
    "mostly zero": np.where(np.abs(OF_CHANCE) > 1, np.abs(OF_CHANCE), 0),
    "all equal": np.full(LARGE, 0.5, np.float32),
    "two values": np.where(OF_CHANCE > 0.3, 1.0, 0.25),
    "with infinity": np.where(OF_CHANCE > 2, np.inf, np.abs(OF_CHANCE)),
    "with NaN": np.where(OF_CHANCE > 2, np.nan, np.abs(OF_CHANCE)),
    "sorted": np.sort(np.abs(OF_CHANCE)),
    "in waves": np.tile(np.arange(18, dtype=np.float32), LARGE)[:LARGE],  # the sample sees every second value
}


@pytest.mark.parametrize("kind", MANY)
def test_of_many_scores_the_largest_are_those_that_sorting_finds(kind):
    scores = MANY[kind]
    order = np.lexsort((np.arange(LARGE), -np.nan_to_num(scores, nan=np.inf, posinf=1e30)))
    for count in (1, 2, 1_000, 7_000, 80_000, LARGE // 2, LARGE - 1, LARGE):
        kept, threshold = keep_largest(scores, count)
        assert np.flatnonzero(kept).tolist() == np.sort(order[:count]).tolist()
        np.testing.assert_equal(threshold, float(scores[order[count - 1]]))


def test_of_equal_scores_below_those_that_a_sample_finds_the_first_are_kept():
    scores = np.sort(MANY["mostly zero"])
    above = np.count_nonzero(scores)
    kept, threshold = keep_largest(scores, above + 3)
    assert np.flatnonzero(kept).tolist() == [0, 1, 2, *range(LARGE - above, LARGE)]
    assert threshold == 0


def test_a_sample_that_misleads_is_not_believed():
    step = max(8, LARGE // SAMPLE)
    scores = np.ones(LARGE, np.float32)
    scores[::step] = np.arange(len(scores[::step]))  # what is looked at is unlike all else
    for count in (1, 5_000, 16_000, LARGE // 2):
        kept, _ = keep_largest(scores, count)
        assert kept.sum() == count
        assert scores[kept].min() >= scores[~kept].max()


def test_columns_of_unequal_length_are_ranked_together():
    """Means 1 and 4 of columns of 2, means 2 and 3 of columns of 3: five zeros are the two lowest columns."""
    weights = {"a": np.array([[1.0, 4.0], [1.0, 4.0]]), "b": np.array([[2.0, 3.0]] * 3)}
    plan = mask_plan((("a", (2, 2)), ("b", (3, 2))), constant(0.5), **of_columns(ranked()))
    masks = plan.update(10, weights)
    assert kept(masks) == {"a": [[0, 1], [0, 1]], "b": [[0, 1]] * 3}
    assert (plan.total_expected_zeros(10), plan.total_tolerance(10)) == (5, 3)


# Channels span several weights: test_channel_plan.py.
OF_WEIGHTS = [name for name, option in choices("structure").items() if not option.cuts]


def of_columns(distribution):
    return {"structure": Columns(name="columns"), "distribution": distribution}


@pytest.mark.parametrize("distribution", choices("distribution"))
@pytest.mark.parametrize("structure", [*OF_WEIGHTS, "columns"])
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 0.5, 0.75, 0.9]))
def test_every_structure_meets_its_zeros_with_every_distribution(structure, distribution, seed, sparsity):
    rng = np.random.default_rng(seed)
    shapes = [(f"{i}/kernel", tuple(4 * rng.integers(1, 7, 2))) for i in range(3)]
    plan = mask_plan(shapes, constant(sparsity), **options(structure, distribution))
    try:
        plan.check()
    except ConfigError as refused:
        assert structure == "n_of_m" or "min_density" in str(refused)
        return
    masks = plan.update(10, {name: rng.normal(size=shape) for name, shape in shapes})
    total = 0
    for name, mask in masks.items():
        found = int(np.count_nonzero(~mask.kept))
        total += found
        expected = plan.expected_zeros(name, 10)
        assert expected is None or abs(found - expected) <= plan.tolerance(name)
    assert abs(total - plan.total_expected_zeros(10)) <= plan.total_tolerance(10)


@functools.cache
def options(structure, distribution):
    """The options as conf/ has them."""
    made = compose(
        [f"distribution={distribution}", *([] if structure == "columns" else [f"structure={structure}"])]
    )
    return {
        "structure": Columns(name="columns") if structure == "columns" else made.structure,
        "distribution": made.distribution,
    }
