import numpy as np
import pytest

from pruneflow.sparsity.criteria import Lamp, Magnitude, Random, Taylor
from pruneflow.sparsity.structures import Block, NOfM, Unstructured

MAGNITUDE = Magnitude(name="magnitude")
LAMP = Lamp(name="lamp")
RANDOM = Random(name="random")
TAYLOR = Taylor(name="taylor")


def scores(criterion, weight, name="dense/kernel", seed=0, accumulated=None):
    return criterion.scores(weight, name=name, seed=seed, accumulated=accumulated)


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_magnitude_is_the_absolute_value_in_the_precision_of_the_weight(precision):
    ranked = scores(MAGNITUDE, np.array([[-2.0, 0.5], [-0.0, 1e-30]], precision))
    assert ranked.tolist() == [[2.0, 0.5], [0.0, precision(1e-30)]]
    assert ranked.dtype == precision


def test_lamp_divides_a_square_by_the_squares_that_are_not_smaller():
    ranked = scores(LAMP, np.array([[1.0, -2.0], [2.0, 0.0]], np.float32))
    np.testing.assert_array_equal(ranked, [[1 / 9, 4 / 8], [4 / 8, 0.0]])


def test_lamp_does_not_see_the_scale_of_a_weight_and_magnitude_does():
    kernel = np.random.default_rng(0).normal(size=(6, 5))
    np.testing.assert_allclose(scores(LAMP, 1e-3 * kernel), scores(LAMP, kernel))
    by_lamp, by_magnitude = (np.argsort(scores(each, kernel), axis=None) for each in (LAMP, MAGNITUDE))
    np.testing.assert_array_equal(by_lamp, by_magnitude)


def test_lamp_has_scores_for_a_weight_of_zeros_and_for_one_that_diverged():
    assert not scores(LAMP, np.zeros((2, 2))).any()
    assert scores(LAMP, np.array([1.0, np.inf, np.nan])).shape == (3,)


def test_taylor_is_what_was_accumulated():
    accumulated = np.array([[0.25, 3.0]], np.float32)
    ranked = scores(TAYLOR, np.array([[9.0, -9.0]], np.float32), accumulated=accumulated)
    assert ranked.tolist() == [[0.25, 3.0]]


def test_taylor_without_gradients_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="criterion taylor needs the gradients of dense/kernel"):
        scores(TAYLOR, np.ones((2, 2)))


def test_only_taylor_uses_gradients():
    assert [criterion.uses_gradients for criterion in (LAMP, MAGNITUDE, RANDOM, TAYLOR)] == [
        False,
        False,
        False,
        True,
    ]


def test_random_looks_at_the_shape_only():
    first = scores(RANDOM, np.zeros((3, 4)))
    assert first.shape == (3, 4)
    assert first.dtype == np.float64
    assert (first == scores(RANDOM, np.full((3, 4), np.nan, np.float32))).all()


def test_random_is_drawn_once_and_for_all():
    # Were it another draw, finished stages would have masks that nobody draws any more.
    drawn = scores(RANDOM, np.zeros(3), name="dense/kernel", seed=7)
    assert drawn.tolist() == pytest.approx(
        [0.547097297780573, 0.9432496637642781, 0.8439196880872901], abs=1e-15
    )


def test_random_differs_between_weights_and_seeds():
    draws = [
        scores(RANDOM, np.zeros(5000), name, seed)
        for name, seed in (("dense/kernel", 0), ("dense_1/kernel", 0), ("dense/kernel", 1), ("1/kernel", 11))
    ]
    for index, one in enumerate(draws):
        assert 0 <= one.min() < 0.01 < 0.99 < one.max() < 1
        for other in draws[:index]:
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.06


@pytest.mark.parametrize(
    "structure",
    [
        Unstructured(name="unstructured"),
        Block(name="block", inputs=3, outputs=2, indivisible="pad"),
        NOfM(name="n_of_m", n=1, m=8, indivisible="pad"),
    ],
)
def test_random_masks_only_grow(structure):
    before = np.ones((20, 7), bool)
    for sparsity in (0.1, 0.35, 0.6, 0.85, 0.95):
        drawn = scores(RANDOM, np.random.default_rng(int(100 * sparsity)).standard_normal((20, 7)))
        kept, _ = structure.select(drawn, sparsity)
        assert (before | ~kept).all()
        assert kept.any()
        before = kept


def test_criteria_compose(composed):
    for criterion in (MAGNITUDE, RANDOM, TAYLOR):
        assert composed(f"criterion={criterion.name}").criterion == criterion


def test_taylor_keeps_live_weights_without_a_gradient_before_masked_ones():
    weight = np.array([0.0, 0.0, 0.3, -0.2, 0.1], np.float32)
    seen = np.array([0.0, 0.0, 0.0, 0.0, 0.5], np.float32)
    scores = Taylor(name="x").scores(weight, name="w", seed=0, accumulated=seen)
    assert scores[4] == 0.5
    assert (scores[2:4] > scores[:2]).all()


def test_the_magnitude_of_what_numpy_does_not_sort_is_ranked_in_single_precision():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    scores = Magnitude(name="").scores(np.array([-1.5, 0.25], bfloat16), name="", seed=0, accumulated=None)
    assert (scores.dtype, scores.tolist()) == (np.float32, [1.5, 0.25])
