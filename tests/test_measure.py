import numpy as np
import pytest

from pruneflow.sparsity.measure import (
    SparsityNotReachedError,
    WeightSparsity,
    count_zeros,
    expected_zeros,
    require_target,
    total_sparsity,
)


def weight(zeros, masked, shape=(10, 10), requested=0.8):
    size = int(np.prod(shape))
    return WeightSparsity("dense", "kernel", shape, requested, zeros / size, zeros, masked)


def test_zeros_are_counted_exactly():
    assert count_zeros(np.array([0.0, -0.0, 1e-38, -3.0])) == 2
    assert count_zeros(np.zeros((3, 4))) == 12
    assert count_zeros(np.ones(5)) == 0


@pytest.mark.parametrize(
    ("size", "sparsity", "zeros"),
    [(20280, 0.8, 16224), (108, 0.8, 86), (10, 0.0, 0), (10, 0.99, 9), (1, 0.5, 0), (4, 0.5, 2)],
)
def test_expected_zeros_keep_at_least_one_weight(size, sparsity, zeros):
    assert expected_zeros(size, sparsity) == zeros


@pytest.mark.parametrize("zeros", [79, 80, 81])
def test_one_weight_more_or_less_is_on_target(zeros):
    require_target([weight(zeros, zeros)])


@pytest.mark.parametrize(("zeros", "masked"), [(78, 78), (82, 82), (0, 0), (100, 100)])
def test_two_weights_off_fail_and_say_where(zeros, masked):
    with pytest.raises(
        SparsityNotReachedError, match=rf"dense/kernel has {zeros} zeros .* 80 were asked for"
    ):
        require_target([weight(80, 80), weight(zeros, masked)])


def test_weights_that_were_zero_already_may_exceed_the_request():
    require_target([weight(zeros=95, masked=80)])


def test_total_sparsity_weighs_by_size():
    assert total_sparsity([weight(80, 80), weight(0, 0, shape=(300,))]) == 0.2
    assert total_sparsity([]) == 0.0
