"""Least squares on the inputs of a matrix: cases worked out by hand, and what holds for any matrix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruneflow.sparsity import least_squares
from pruneflow.sparsity.least_squares import Moments, excess, reconstructed, refitted
from pruneflow.sparsity.structures import Block, NOfM, Unstructured

STRUCTURES = {
    "unstructured": Unstructured(name="unstructured"),
    "block": Block(name="block", inputs=2, outputs=1, indivisible="pad"),
    "n_of_m": NOfM(name="n_of_m", n=2, m=4, indivisible="pad"),
}


def moments(pruned, dense=None):
    found = Moments.none(pruned.shape[1])
    found.add(pruned.astype(np.float32), (pruned if dense is None else dense).astype(np.float32))
    return found


def masked(structure):
    return lambda scores, sparsity: structure.select(scores, sparsity)[0]


def test_moments_are_sums_over_all_rows():
    both = moments(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]))
    both.add(np.array([[0.0, 1.0]], np.float32), np.array([[0.0, 5.0]], np.float32))
    np.testing.assert_array_equal(both.gram, [[1, 2], [2, 5]])
    np.testing.assert_array_equal(both.cross, [[3, 4], [6, 13]])


def test_the_weight_that_stays_takes_what_its_inputs_share_with_the_one_that_goes(monkeypatch):
    """X^T X = [[2, 1], [1, 2]]: without the second input, v = w1 + w2 / 2."""
    monkeypatch.setattr(least_squares, "DAMPING", 1e-12)
    x = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    kept = np.array([[True, False], [False, True]])
    found = refitted(np.array([[3.0, 3.0], [2.0, 2.0]]), moments(x), kept)
    np.testing.assert_allclose(found, [[4.0, 0.0], [0.0, 3.5]], atol=1e-9)


def test_targets_are_outputs_of_the_dense_network(monkeypatch):
    """The pruned network gives half of each input, so that a weight that stays alone doubles."""
    monkeypatch.setattr(least_squares, "DAMPING", 1e-12)
    dense = np.array([[2.0, 0.0], [0.0, 4.0]])
    found = refitted(np.array([[3.0], [5.0]]), moments(dense / 2, dense), np.array([[True], [False]]))
    np.testing.assert_allclose(found, [[6.0], [0.0]], atol=1e-9)


def test_what_goes_is_what_others_can_make_up_for(monkeypatch):
    """Of two equal inputs one goes, though both weights are larger than the third's."""
    monkeypatch.setattr(least_squares, "DAMPING", 1e-9)
    x = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    weights = np.array([[3.0], [2.0], [1.0]])
    structure = STRUCTURES["unstructured"]
    plain = structure.select(np.abs(weights), 1 / 3)[0]
    found, kept = reconstructed(weights, moments(x), masked(structure), 1 / 3, plain)
    assert kept.sum() == 2 and kept[2, 0] and not plain[2, 0]
    np.testing.assert_allclose(x @ found, x @ weights, atol=1e-6)


def test_both_ways_to_fit_agree():
    """One takes from the fit of all inputs what goes, one solves for what stays."""
    rng = np.random.default_rng(0)
    x, dense = rng.normal(size=(30, 9)), rng.normal(size=(9, 4))
    problem = least_squares._Problem.of(dense, moments(x))
    for count in (1, 4, 5, 8):
        stays, goes = np.arange(count), np.arange(count, 9)
        one, other = (fit(stays, goes, 2, True) for fit in (problem._from_all, problem._from_none))
        np.testing.assert_allclose(one[0], other[0], rtol=1e-9)
        np.testing.assert_allclose(one[1], other[1], rtol=1e-9)


@pytest.mark.parametrize("structure", STRUCTURES)
@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    sizes=st.tuples(st.integers(1, 40), st.integers(4, 11), st.integers(1, 5)),
    sparsity=st.sampled_from([0.3, 0.5, 0.7, 0.9]),
)
def test_outputs_are_never_further_off_than_by_magnitude_and_the_share_is_exact(
    structure, seed, sizes, sparsity
):
    rows, inputs, outputs = sizes
    rng, chosen = np.random.default_rng(seed), STRUCTURES[structure]
    sparsity = max(sparsity, 0.5) if structure == "n_of_m" else sparsity
    dense, x = rng.normal(size=(inputs, outputs)), rng.normal(size=(rows, inputs))
    x[:, 0] = 0  # such as the corner of an image
    known = moments(x + rng.normal(size=x.shape) * 0.1, x)
    plain = chosen.select(np.abs(dense), sparsity)[0]
    found, kept = reconstructed(dense, known, masked(chosen), sparsity, plain)
    assert excess(known, dense, found) <= excess(known, dense, dense * plain)
    assert (found[~kept] == 0).all()
    wanted = chosen.expected_zeros(dense.shape, sparsity)
    assert abs((~kept).sum() - wanted) <= chosen.tolerance(dense.shape)


def test_large_matrices_take_one_level(monkeypatch):
    asked = []
    structure = STRUCTURES["unstructured"]
    rng = np.random.default_rng(0)
    weights, known = rng.normal(size=(8, 2)), moments(rng.normal(size=(20, 8)))

    def decide(scores, sparsity):
        asked.append(round(sparsity, 4))
        return structure.select(scores, sparsity)[0]

    reconstructed(weights, known, decide, 0.9375, weights > 0)
    monkeypatch.setattr(least_squares, "MOST_WORK", 1)
    reconstructed(weights, known, decide, 0.9375, weights > 0)
    assert asked == [0.5, 0.75, 0.875, 0.9375, 0.9375]
