import numpy as np
import pytest

from pruneflow.sparsity.measure import (
    SparsityNotReachedError,
    Total,
    WeightSparsity,
    count_zeros,
    require_target,
    total_sparsity,
)


def weight(zeros, masked, *, shape=(10, 10), expected=80, tolerance=0):
    size = int(np.prod(shape))
    requested = None if expected is None else expected / size
    return WeightSparsity(
        "dense", "kernel", shape, requested, zeros / size, zeros, masked, expected, tolerance
    )


def test_zeros_are_counted_exactly():
    assert count_zeros(np.array([0.0, -0.0, 1e-38, -3.0])) == 2
    assert count_zeros(np.zeros((3, 4))) == 12
    assert count_zeros(np.ones(5)) == 0


def test_masks_are_on_target_to_the_element():
    require_target([weight(80, 80)], Total(80, 0))


@pytest.mark.parametrize(("zeros", "masked"), [(79, 79), (81, 81), (0, 0), (100, 100)])
def test_a_single_weight_off_fails_and_says_where(zeros, masked):
    with pytest.raises(
        SparsityNotReachedError, match=rf"dense/kernel has {zeros} zeros .* of 100, 80 were asked for"
    ):
        require_target([weight(80, 80), weight(zeros, masked)], Total(160, 0))


@pytest.mark.parametrize("zeros", [79, 80, 81])
def test_tfmot_may_miss_by_one_weight(zeros):
    require_target([weight(zeros, zeros)], Total(80, 0), slack=1)
    with pytest.raises(SparsityNotReachedError):
        require_target([weight(zeros - 2, zeros - 2), weight(zeros + 2, zeros + 2)], Total(160, 0), slack=1)


@pytest.mark.parametrize(("masked", "fits"), [(75, False), (76, True), (84, True), (85, False)])
def test_blocks_of_unequal_size_may_miss_by_one_block(masked, fits):
    found = [weight(masked, masked, tolerance=4)]
    if fits:
        require_target(found, Total(80, 4))
    else:
        with pytest.raises(SparsityNotReachedError, match="80 were asked for"):
            require_target(found, Total(80, 4))


def test_weights_that_are_ranked_together_answer_for_their_total():
    together = [weight(95, 95, expected=None), weight(65, 65, expected=None)]
    require_target(together, Total(160, 0))
    with pytest.raises(
        SparsityNotReachedError, match="all weights together have 160 masked, 161 were asked for"
    ):
        require_target(together, Total(161, 0))


def test_a_masked_weight_that_is_not_zero_is_found_whatever_was_asked_of_it():
    with pytest.raises(SparsityNotReachedError, match=r"dense/kernel has 90 zeros \(95 masked\) of 100\. "):
        require_target([weight(90, 95, expected=None)], Total(95, 0))


def test_weights_that_were_zero_already_may_exceed_the_request():
    require_target([weight(zeros=95, masked=80)], Total(80, 0))


def test_total_sparsity_weighs_by_size():
    assert total_sparsity([weight(80, 80), weight(0, 0, shape=(300,))]) == 0.2
    assert total_sparsity([]) == 0.0
