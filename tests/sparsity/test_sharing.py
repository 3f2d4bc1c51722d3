"""Values that weights share: k-means in one dimension, and the settings that are refused."""

import itertools

import numpy as np
import pytest

from pruneflow.errors import ConfigError
from pruneflow.sparsity.sharing import Sharing, shared


def left_over(numbers, count):
    """Least squared error of any division of sorted numbers into ``count`` clusters."""
    numbers = np.sort(numbers)
    cuts = itertools.combinations(range(1, len(numbers)), count - 1)
    return min(sum(((p - p.mean()) ** 2).sum() for p in np.split(numbers, each)) for each in cuts)


def error_of(weight, count):
    return ((weight - shared(weight, count)) ** 2).sum()


def test_numbers_become_the_means_of_their_clusters_and_zeros_stay():
    weight = np.array([[0, 1, -3], [2, 0, 10], [1.5, -3.5, 0]], np.float32)
    found = shared(weight, 3)
    np.testing.assert_array_equal(found, [[0, 1.5, -3.25], [1.5, 0, 10], [1.5, -3.25, 0]])
    assert found.dtype == np.float32 and weight[0, 1] == 1  # a copy


@pytest.mark.parametrize("count", [2, 3, 5])
def test_no_other_division_has_a_smaller_error(count):
    for seed in range(5):
        numbers = np.random.default_rng(seed).standard_t(2, 12)
        assert error_of(numbers, count) == pytest.approx(left_over(numbers, count), rel=1e-9)


def test_equal_numbers_count_as_often_as_they_are_there():
    assert set(shared(np.array([1, 1, 1, 2, 9], float), 2)) == {1.25, 9}


def test_as_many_values_as_there_are_change_nothing():
    weight = np.array([0, 0.1, 0.2, 0.1, -7], np.float32)
    np.testing.assert_array_equal(shared(weight, 3), weight)
    np.testing.assert_array_equal(shared(np.zeros(4), 2), np.zeros(4))


def test_what_is_kept_does_not_become_zero():
    """The mean of -1 and 1 is 0, which would count as pruned."""
    assert list(shared(np.array([-1, 0, 1, 10.0]), 2)) == [1, 0, 1, 10]


def test_many_numbers_are_divided_about_as_well():
    """The best 16 levels of a normal distribution leave 0.009497 of its variance (Max 1960)."""
    weight = np.random.default_rng(0).normal(size=(300, 400)).astype(np.float32)
    assert error_of(weight, 16) / weight.size == pytest.approx(0.009497, rel=0.02)
    weight[0, 0] = 1000  # far out: one value of its own
    assert np.unique(shared(weight, 16)).size == 16
    assert error_of(weight, 17) / weight.size == pytest.approx(0.009497, rel=0.02)


def test_equal_weights_get_equal_bits():
    weight = np.random.default_rng(1).normal(size=5000).astype(np.float32)
    assert shared(weight, 8).tobytes() == shared(weight.copy(), 8).tobytes()


@pytest.mark.parametrize(
    ("values", "epochs", "message"),
    [
        (1, 0, "sharing.values=1: allowed are whole numbers from 2 to 256, or null"),
        (257, 0, "sharing.values=257: allowed are whole numbers from 2 to 256, or null"),
        (16, -1, "sharing.epochs=-1: allowed are whole numbers from 0"),
        (None, 2, "sharing.epochs=2: there are no shared values to train, since sharing.values=null"),
    ],
)
def test_settings_that_mean_nothing_are_refused(values, epochs, message):
    with pytest.raises(ConfigError) as error:
        Sharing(values=values, epochs=epochs)
    assert str(error.value).startswith(message)


def test_as_many_values_as_int4_has_levels_are_refused_with_it():
    with pytest.raises(ConfigError, match=r"sharing.values=16: export=int4 has 16 levels anyway"):
        Sharing(values=16, epochs=0).check_exports("int4", ["int4"])
    Sharing(values=15, epochs=0).check_exports("int4", ["int4"])
    Sharing(values=16, epochs=0).check_exports("every", ["float", "int4"])
    Sharing(values=None, epochs=0).check_exports("int4", ["int4"])
