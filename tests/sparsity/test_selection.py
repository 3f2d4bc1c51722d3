import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pruneflow.sparsity import selection
from pruneflow.sparsity.selection import keep_at_least, keep_by_size, keep_largest, kept_count, nearest_units

INF, NAN = float("inf"), float("nan")

# Few different numbers, so that there are ties; -0.0 and 0.0 are one of them.
REPEATING = st.sampled_from([0.0, -0.0, 1.0, 2.0, -1.0, INF, -INF, 1e-40])
ANY_FLOATS = st.one_of(
    hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(width=32, allow_nan=False)),
    hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(allow_nan=False)),
    hnp.arrays(np.float64, st.integers(1, 60), elements=REPEATING),
)


def kept_by_hand(scores, count):
    """The plain way: sort from the highest down, equal ones in their order, and take the first."""
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    first = set(order[:count])
    return [index in first for index in range(len(scores))], scores[order[count - 1]]


@pytest.mark.parametrize(
    ("size", "sparsity", "kept"),
    [
        (20280, 0.8, 4056),
        (10, 0.0, 10),
        (1, 0.9, 1),
        (1, 0.999, 1),
        (4, 0.5, 2),
        (1000, 0.9999, 1),  # round(0.1) is none, and one is kept
        (5, 0.5, 2),  # 2.5, half to even
        (7, 0.5, 4),  # 3.5, half to even
        (10, 0.85, 1),  # in float32 10 (1 - 0.85) = 1.4999998, in float64 1.5000000000000002
        (15, 0.9, 2),  # in float32 15 (1 - 0.9) = 1.5000004, in float64 1.4999999999999996
        (2**24 + 1, 0.0, 2**24 + 1),  # more than float32 can count
        (0, 0.5, 0),
    ],
)
def test_as_many_are_kept_as_tfmot_keeps(size, sparsity, kept):
    assert kept_count(size, sparsity) == kept


def test_the_largest_are_kept_and_the_lowest_of_them_is_the_threshold():
    kept, threshold = keep_largest(np.array([0.5, 3.0, 1.0, 2.0, 0.0], np.float32), 2)
    assert kept.tolist() == [False, True, False, True, False]
    assert threshold == 2.0


def test_of_equal_scores_the_lowest_indices_are_kept():
    kept, threshold = keep_largest(np.array([1.0, 2.0, 1.0, 1.0, 1.0]), 3)
    assert kept.tolist() == [True, True, True, False, False]
    assert threshold == 1.0


@pytest.mark.parametrize("value", [0.0, 0.1, INF])
def test_exactly_as_many_as_asked_are_kept_of_scores_that_are_all_equal(value):
    kept, threshold = keep_largest(np.full(1000, value, np.float32), 77)
    assert np.flatnonzero(kept).tolist() == list(range(77))
    assert threshold == np.float32(value)


def test_the_threshold_has_the_bits_of_the_score():
    scores = np.array([0.1, 0.2, 0.3], np.float32)
    assert np.float32(keep_largest(scores, 2)[1]).tobytes() == scores[1].tobytes()


@pytest.mark.parametrize("count", [1, 4, 5, 6, 9, 10, 11, 50, 100])
def test_the_count_is_exact_where_95_of_100_are_zero_already(count):
    scores = np.zeros(100, np.float32)
    scores[[3, 20, 21, 70, 99]] = [5, 1, 4, 2, 3]
    kept, threshold = keep_largest(scores, count)
    expected, lowest = kept_by_hand(scores, count)
    assert kept.tolist() == expected
    assert threshold == lowest


@pytest.mark.parametrize(
    ("scores", "count", "kept"),
    [
        ([1.0, NAN, 3.0, 2.0], 1, [False, True, False, False]),
        ([1.0, NAN, INF, 2.0], 2, [False, True, True, False]),
        ([NAN, 1.0, NAN, NAN], 2, [True, False, True, False]),
        ([NAN, NAN, NAN], 2, [True, True, False]),
        ([0.0, 0.0, NAN, 0.0, 0.0], 1, [False, False, True, False, False]),
        ([0.0, 0.0, NAN, 0.0, 0.0], 2, [True, False, True, False, False]),
        ([0.0, 0.0, NAN, 0.0, 1.0], 1, [False, False, True, False, False]),
        ([0.0, 0.0, NAN, 0.0, 1.0], 2, [False, False, True, False, True]),
        ([0.0, 0.0, NAN, 0.0, 1.0], 3, [True, False, True, False, True]),
    ],
)
def test_nan_ranks_highest_and_the_count_is_exact(scores, count, kept):
    assert keep_largest(np.array(scores), count)[0].tolist() == kept


def test_one_score_is_kept():
    assert keep_largest(np.array([0.0], np.float32), 1) == (np.array([True]), 0.0)


@given(ANY_FLOATS, st.data())
def test_what_is_kept_is_what_a_stable_sort_keeps(scores, data):
    count = data.draw(st.integers(1, len(scores)))
    kept, threshold = keep_largest(scores, count)
    expected, lowest = kept_by_hand(scores, count)
    assert kept.tolist() == expected
    assert threshold == lowest


@given(
    hnp.arrays(np.float32, st.integers(100, 400), elements=st.one_of(REPEATING, st.floats(width=32))),
    st.data(),
)
def test_what_is_kept_of_many_is_what_sorting_all_of_them_finds(scores, data):
    """Many: more than a sample, which has eight here; the plain way has its tests above."""
    count = data.draw(st.integers(1, len(scores)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "SAMPLE", 8)
        kept, threshold = keep_largest(scores, count)
    expected, lowest = selection._by_sorting(scores, count)
    np.testing.assert_array_equal(kept, expected)
    np.testing.assert_array_equal(threshold, lowest)


@pytest.mark.parametrize("zeros", [0.0, 0.4, 0.6, 0.95])
def test_a_large_weight_is_split_as_a_sort_splits_it(zeros):
    generator = np.random.default_rng(0)
    scores = np.abs(generator.standard_normal(20_000)).astype(np.float32).round(3)
    scores[generator.random(len(scores)) < zeros] = 0
    before = scores.copy()
    for count in (1, 900, 4_000, 10_000, 19_999, 20_000):
        kept, threshold = keep_largest(scores, count)
        expected, lowest = kept_by_hand(scores.tolist(), count)
        assert kept.tolist() == expected
        assert threshold == lowest
    assert (scores == before).all()


@pytest.mark.parametrize(
    ("zeros", "kept"),
    [
        (0, [True, True, True, True]),
        (1, [True, True, True, True]),  # 0 and 2 are as close: the smaller one
        (2, [True, False, True, True]),
        (3, [True, False, True, True]),  # 2, not 6
        (5, [False, False, True, True]),  # 6
        (7, [False, False, True, True]),
        (9, [False, False, True, False]),  # 6 + 4 of the tie, the highest index first
        (99, [False, False, True, False]),
    ],
)
def test_units_are_masked_until_their_elements_are_closest_to_what_is_asked(zeros, kept):
    scores, sizes = np.array([2.0, 1.0, 3.0, 3.0]), np.array([4, 2, 3, 4])
    assert keep_by_size(scores, sizes, zeros)[0].tolist() == kept


def test_the_threshold_of_units_is_the_lowest_score_kept():
    scores, sizes = np.array([2.0, 1.0, 3.0]), np.array([4, 2, 3])
    assert [keep_by_size(scores, sizes, zeros)[1] for zeros in (0, 2, 6, 9)] == [1.0, 2.0, 3.0, 3.0]


def test_units_of_one_size_are_counted_with_the_same_rule():
    scores = np.array([4.0, 1.0, 3.0, 2.0])
    for zeros in range(20):
        one = keep_by_size(scores, 4, zeros)
        other = keep_by_size(scores, np.full(4, 4), zeros)
        assert one[0].tolist() == other[0].tolist()
        assert one[1] == other[1]


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.0, INF]), st.integers(1, 5)), min_size=1, max_size=12),
    st.integers(0, 70),
)
def test_no_other_number_of_units_is_closer_and_all_are_never_masked(units, zeros):
    scores = np.array([score for score, _ in units])
    sizes = np.array([size for _, size in units])
    kept, _ = keep_by_size(scores, sizes, zeros)
    order = sorted(range(len(units)), key=lambda index: (scores[index], -index))
    sums = [int(sizes[order[:count]].sum()) for count in range(len(units))]
    assert abs(int(sizes[~kept].sum()) - zeros) == min(abs(total - zeros) for total in sums)
    assert sorted(np.flatnonzero(~kept).tolist()) == sorted(order[: int((~kept).sum())])
    assert kept.any()


@pytest.mark.parametrize(
    ("elements", "kept"),
    [
        (1, [False, False, True, False]),
        (3, [False, False, True, False]),
        (4, [False, False, True, True]),
        (7, [False, False, True, True]),
        (8, [True, False, True, True]),
        (13, [True, True, True, True]),
    ],
)
def test_the_best_units_are_kept_until_they_have_elements_enough(elements, kept):
    scores, sizes = np.array([2.0, 1.0, 3.0, 3.0]), np.array([4, 2, 3, 4])
    assert keep_at_least(scores, sizes, elements).tolist() == kept


def test_the_best_units_of_one_size_are_counted_upwards():
    scores = np.array([2.0, 1.0, 3.0])
    assert keep_at_least(scores, 4, 4).tolist() == [False, False, True]
    assert keep_at_least(scores, 4, 5).tolist() == [True, False, True]
    assert keep_at_least(scores, 4, 12).all()


def test_the_nearest_number_of_units_is_the_smaller_one_of_two():
    assert [nearest_units(elements, 4) for elements in range(9)] == [0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert [nearest_units(elements, 3) for elements in range(7)] == [0, 0, 1, 1, 1, 2, 2]
    assert [nearest_units(elements, 1) for elements in range(4)] == [0, 1, 2, 3]
