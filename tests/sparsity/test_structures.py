from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruneflow.errors import ConfigError
from pruneflow.sparsity.selection import kept_count
from pruneflow.sparsity.structures import Block, Layout, NOfM, Unstructured

UNSTRUCTURED = Unstructured(name="unstructured")
CONVOLUTION = Layout.default(4)


def block(inputs, outputs, indivisible="pad"):
    return Block(name="block", inputs=inputs, outputs=outputs, indivisible=indivisible)


def n_of_m(n, m, indivisible="pad"):
    return NOfM(name="n_of_m", n=n, m=m, indivisible=indivisible)


def ones(kept):
    return kept.astype(int).tolist()


def zeros(kept):
    return int(kept.size - np.count_nonzero(kept))


# How a weight is read as a matrix


def test_a_dense_kernel_is_its_own_matrix_and_not_copied():
    kernel = np.arange(6.0).reshape(2, 3)
    matrix = Layout.default(2).matrix(kernel)
    assert matrix.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert np.shares_memory(matrix, kernel)
    assert np.shares_memory(Layout.default(2).restore(matrix, (2, 3)), kernel)


def test_a_convolution_kernel_is_positions_and_channels_times_outputs():
    kernel = np.arange(16).reshape(2, 2, 2, 2)  # h, w, in, out
    matrix = CONVOLUTION.matrix(kernel)
    assert matrix.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11], [12, 13], [14, 15]]
    assert CONVOLUTION.shape((3, 3, 12, 8)) == (108, 8)
    assert np.shares_memory(matrix, kernel)


def test_axes_may_be_in_another_order():
    kernel = np.arange(12).reshape(2, 3, 2)  # h, out, in, as a transposed convolution has it
    layout = Layout(axes=(0, 2, 1), inputs=2)
    assert layout.shape((2, 3, 2)) == (4, 3)
    assert layout.matrix(kernel).tolist() == [[0, 2, 4], [1, 3, 5], [6, 8, 10], [7, 9, 11]]


@pytest.mark.parametrize(
    ("shape", "rows_columns"), [((), (1, 1)), ((5,), (1, 5)), ((4, 3), (4, 3)), ((2, 4, 3), (8, 3))]
)
def test_by_default_the_last_axis_is_the_outputs(shape, rows_columns):
    layout = Layout.default(len(shape))
    assert layout.matrix(np.zeros(shape)).shape == layout.shape(shape) == rows_columns
    assert layout.restore(np.zeros(rows_columns), shape).shape == shape


@pytest.mark.parametrize(
    "layout",
    [Layout.default(4), Layout((0, 1, 3, 2), 3), Layout((3, 0, 2, 1), 2), Layout((1, 2, 3, 0), 1)],
)
def test_restoring_is_the_inverse(layout):
    weight = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    assert (layout.restore(layout.matrix(weight), weight.shape) == weight).all()


# Unstructured


def test_unstructured_keeps_the_largest_elements():
    scores = np.array([[5.0, 1.0], [2.0, 4.0], [3.0, 0.0]])
    kept, threshold = UNSTRUCTURED.select(scores, 0.5)
    assert ones(kept) == [[1, 0], [0, 1], [1, 0]]
    assert threshold == 3.0


# Blocks


def test_a_block_is_ranked_by_its_mean():
    scores = np.array(
        [
            [9.0, 1.0, 0.0],  # means of the columns of the upper blocks: 4.5, 3, 2
            [0.0, 5.0, 4.0],
            [2.0, 0.0, 6.0],  # of the lower ones: 2.5, 0.5, 3.5
            [3.0, 1.0, 1.0],
        ]
    )
    kept, threshold = block(2, 1).select(scores, 0.5)
    assert ones(kept) == [[1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1]]
    assert threshold == 3.0


def test_a_block_may_be_wide():
    scores = np.array([[1.0, 1.0, 5.0, 0.0], [3.0, 3.0, 0.0, 1.0]])
    kept, threshold = block(1, 2).select(scores, 0.5)  # means 1, 2.5, 3, 0.5
    assert ones(kept) == [[0, 0, 1, 1], [1, 1, 0, 0]]
    assert threshold == 2.5


def test_blocks_at_the_edge_are_ranked_by_the_elements_that_exist():
    scores = np.array(
        [
            [4.0, 4.0, 7.0],  # blocks of 2 x 2: mean 4 (4 elements), mean 6 (2)
            [4.0, 4.0, 5.0],
            [1.0, 3.0, 5.0],  # mean 2 (2), mean 5 (1)
        ]
    )
    pruning = block(2, 2)
    # Of 9 elements 3 are asked for: the block of mean 2 makes 2, with the one of mean 4 it would be 6.
    kept, threshold = pruning.select(scores, 0.33)
    assert ones(kept) == [[1, 1, 1], [1, 1, 1], [0, 0, 1]]
    assert threshold == 4.0
    # Of 9 elements 6 are asked for.
    kept, threshold = pruning.select(scores, 0.66)
    assert ones(kept) == [[0, 0, 1], [0, 0, 1], [0, 0, 1]]
    assert threshold == 5.0


def test_a_block_spans_the_positions_of_a_convolution_kernel():
    kernel = np.arange(1.0, 9.0).reshape(2, 2, 1, 2)  # rows: positions (0,0), (0,1), (1,0), (1,1)
    kernel[0, 1, 0, 0] = 60  # output 0: 1, 60 | 5, 7; output 1: 2, 4 | 6, 8
    kept, _ = block(2, 1).select(CONVOLUTION.matrix(kernel), 0.5)  # means 30.5, 6 and 3, 7
    assert ones(CONVOLUTION.restore(kept, kernel.shape)) == [[[[1, 0]], [[1, 0]]], [[[0, 1]], [[0, 1]]]]


def test_blocks_are_counted_as_tfmot_counts():
    pruning = block(4, 1)
    assert pruning.expected_zeros((8, 5), 0.85) == 9 * 4  # of 10 blocks 1 is kept, in float32
    assert pruning.expected_zeros((9, 5), 0.8) == 36  # they differ in size: elements
    assert pruning.tolerance((8, 5)) == 0
    assert pruning.tolerance((9, 5)) == 4
    assert block(3, 2).tolerance((9, 5)) == 6


def test_equal_blocks_are_kept_from_the_first_on():
    kept, _ = block(2, 1).select(np.ones((4, 2)), 0.5)
    assert ones(kept) == [[1, 1], [1, 1], [0, 0], [0, 0]]


# N of M


def test_two_of_four_are_kept_in_every_column():
    scores = np.array(
        [[1.0, 9.0], [4.0, 8.0], [3.0, 7.0], [2.0, 6.0], [0.0, 5.0], [0.0, 5.0], [0.0, 1.0], [0.0, 5.0]]
    )
    kept, threshold = n_of_m(2, 4).select(scores, 0.5)
    assert ones(kept.T) == [[0, 1, 1, 0, 1, 1, 0, 0], [1, 1, 0, 0, 1, 1, 0, 0]]
    assert threshold == 0.0


def test_on_the_way_to_the_pattern_the_best_of_every_group_stay():
    scores = np.array([[0.1, 9.0], [0.2, 8.0], [0.3, 7.0], [0.4, 6.0]])
    kept, threshold = n_of_m(2, 4).select(scores, 0.125)
    assert ones(kept.T) == [[0, 1, 1, 1], [1, 1, 1, 1]]
    assert threshold == 0.2
    kept, threshold = n_of_m(2, 4).select(scores, 0.375)  # the third to go is not 0.3, which is protected
    assert ones(kept.T) == [[0, 0, 1, 1], [1, 1, 1, 0]]
    assert threshold == 7.0


def test_a_last_group_that_is_shorter_keeps_n_all_the_same():
    scores = np.array([[1.0], [2.0], [3.0], [4.0], [1.0], [3.0], [2.0]])
    pruning = n_of_m(2, 4)
    assert ones(pruning.select(scores, 0.5)[0].T) == [[0, 0, 1, 1, 0, 1, 1]]
    assert pruning.expected_zeros((7, 1), 0.5) == 3
    one_left = np.array([[1.0], [2.0], [3.0], [4.0], [0.0]])
    assert ones(pruning.select(one_left, 0.5)[0].T) == [[0, 0, 1, 1, 1]]
    assert pruning.expected_zeros((5, 1), 0.5) == 2
    assert pruning.expected_zeros((5, 1), 0.49) == 2  # as many as 5 - kept_count(5, 0.49) asks for
    assert pruning.expected_zeros((5, 1), 0.2) == 1


def test_groups_run_over_the_positions_of_a_convolution_kernel():
    kernel = np.array([3.0, 1.0, 2.0, 4.0]).reshape(2, 2, 1, 1)
    kept, _ = n_of_m(1, 4).select(CONVOLUTION.matrix(kernel), 0.75)
    assert ones(CONVOLUTION.restore(kept, kernel.shape).reshape(-1)) == [0, 0, 0, 1]


@pytest.mark.parametrize("value", [0.0, 1.0, float("nan"), float("inf")])
def test_the_pattern_is_complete_whatever_the_scores_are(value):
    scores = np.full((8, 3), value, np.float32)
    scores[5, 0] = 2.0
    for sparsity in (0.25, 0.5):
        kept, _ = n_of_m(2, 4).select(scores, sparsity)
        assert (kept.reshape(2, 4, 3).sum(axis=1) >= 2).all()
        assert zeros(kept) == round(24 * sparsity)


@pytest.mark.parametrize("value", [1e9, float("inf"), float("nan")])
def test_no_score_is_high_enough_to_break_the_pattern_of_another_group(value):
    scores = np.array([[value], [value], [value], [value], [1.0], [2.0], [3.0], [4.0]])
    assert ones(n_of_m(2, 4).select(scores, 0.375)[0].T) == [[1, 1, 1, 0, 0, 0, 1, 1]]


def test_the_zeros_of_the_pattern_are_counted_without_rounding():
    assert kept_count(30_000_000, 0.9) > 3_000_000  # in float32
    assert n_of_m(1, 10).expected_zeros((30_000_000, 1), 0.9) == 27_000_000


def test_of_equal_scores_in_a_group_the_lowest_index_is_kept():
    assert ones(n_of_m(2, 4).select(np.ones((4, 1)), 0.5)[0].T) == [[1, 1, 0, 0]]
    assert ones(n_of_m(1, 3).select(np.zeros((3, 2)), 0.9)[0].T) == [[1, 0, 0], [1, 0, 0]]


def test_n_of_m_ends_at_one_minus_n_over_m():
    assert [n_of_m(*pattern).max_sparsity for pattern in ((2, 4), (1, 4), (1, 16), (9, 10))] == [
        0.5,
        0.75,
        0.9375,
        0.1,
    ]
    assert UNSTRUCTURED.max_sparsity == block(4, 1).max_sparsity == 1.0
    assert n_of_m(2, 4).limit == "structure=n_of_m 2:4 keeps 2 of every 4 inputs"


# Properties


@st.composite
def weights(draw):
    """A matrix, scores with ties in it."""
    rows, columns = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    seed, levels = draw(st.integers(0, 99)), draw(st.sampled_from([1, 3, 1000]))
    return np.random.default_rng(seed).integers(0, levels, (rows, columns)).astype(np.float32)


SPARSITIES = st.floats(0, 0.999)


@given(weights(), SPARSITIES)
def test_unstructured_has_the_zeros_of_tfmot_and_keeps_the_largest(scores, sparsity):
    kept, threshold = UNSTRUCTURED.select(scores, sparsity)
    assert np.count_nonzero(kept) == kept_count(scores.size, sparsity) >= 1
    assert scores[kept].min() == threshold
    masked = scores[~kept]
    assert (masked <= threshold).all()
    tied = np.flatnonzero(scores.reshape(-1) == threshold)
    assert kept.reshape(-1)[tied].tolist() == sorted(kept.reshape(-1)[tied].tolist(), reverse=True)


@given(weights(), SPARSITIES, st.integers(1, 12), st.integers(1, 6))
def test_blocks_are_whole_and_within_one_of_what_is_asked(scores, sparsity, inputs, outputs):
    rows, columns = scores.shape
    inputs, outputs = min(inputs, rows), min(outputs, columns)
    pruning = block(inputs, outputs)
    kept, threshold = pruning.select(scores, sparsity)
    means = {True: [], False: []}
    for top in range(0, rows, inputs):
        for left in range(0, columns, outputs):
            part = np.s_[top : top + inputs, left : left + outputs]
            assert len(set(kept[part].reshape(-1).tolist())) == 1
            means[bool(kept[top, left])].append(scores[part].mean(dtype=np.float64))
    assert min(means[True]) == pytest.approx(threshold)
    assert max(means[False], default=-1) <= threshold + 1e-9
    off = abs(zeros(kept) - pruning.expected_zeros(scores.shape, sparsity))
    assert off <= pruning.tolerance(scores.shape)
    assert abs(zeros(kept) - scores.size * sparsity) <= inputs * outputs + 1e-3


@given(weights(), SPARSITIES, st.integers(2, 12), st.data())
def test_n_of_m_never_masks_more_than_its_pattern(scores, sparsity, m, data):
    n = data.draw(st.integers(1, m - 1))
    pruning = n_of_m(n, m)
    kept, _ = pruning.select(scores, sparsity)
    assert zeros(kept) == pruning.expected_zeros(scores.shape, sparsity)
    for top in range(0, len(scores), m):
        for column in range(scores.shape[1]):
            part, group = kept[top : top + m, column], scores[top : top + m, column]
            stays = sorted(range(len(group)), key=lambda index, group=group: -group[index])[:n]
            assert part[stays].all()
            if sparsity >= pruning.max_sparsity:
                assert np.count_nonzero(part) == min(n, len(group))


@given(weights(), st.lists(SPARSITIES, min_size=2, max_size=4))
def test_masks_grow_with_the_sparsity(scores, sparsities):
    for structure in (UNSTRUCTURED, block(2, 3), n_of_m(2, 4)):
        masks = [structure.select(scores, sparsity)[0] for sparsity in sorted(sparsities)]
        for wider, narrower in pairwise(masks):
            assert (wider | ~narrower).all()


# Refused, and said


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: block(0, 1), "structure.inputs=0: allowed are whole numbers from 1."),
        (lambda: block(4, -1), "structure.outputs=-1: allowed are whole numbers from 1."),
        (lambda: block(4, 1, "cut"), "structure.indivisible=cut: allowed are pad, refuse."),
        (lambda: n_of_m(0, 4), "structure.n=0: allowed are whole numbers from 1."),
        (
            lambda: n_of_m(4, 4),
            "structure.n=4: n of every m inputs are kept; allowed are whole numbers from 1 to below "
            "structure.m=4.",
        ),
        (lambda: n_of_m(1, 1), "structure.m=1: allowed are whole numbers from 2"),
        (lambda: n_of_m(2, 4, ""), "structure.indivisible=: allowed are pad, refuse."),
        (
            lambda: block(16, 1).check("dense/kernel", (9, 10)),
            "structure.inputs=16: it is more than dense/kernel (9 inputs x 10 outputs) has. Lower it to 9",
        ),
        (
            lambda: block(1, 16).check("dense/kernel", (90, 10)),
            "structure.outputs=16: it is more than dense/kernel (90 inputs x 10 outputs) has. Lower it to 10",
        ),
        (
            lambda: n_of_m(2, 4).check("conv2d/kernel", (3, 12)),
            "structure.m=4: it is more than conv2d/kernel (3 inputs x 12 outputs) has. Lower it to 3 or less",
        ),
        (
            lambda: block(4, 2, "refuse").check("dense/kernel", (8, 9)),
            "structure.indivisible=refuse: blocks of 4 x 2 (inputs x outputs) do not divide dense/kernel "
            "(8 inputs x 9 outputs). structure.indivisible=pad allows it",
        ),
        (
            lambda: n_of_m(2, 4, "refuse").check("conv2d/kernel", (9, 12)),
            "structure.indivisible=refuse: groups of 4 inputs do not divide conv2d/kernel (9 inputs x "
            "12 outputs). structure.indivisible=pad allows it",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ConfigError) as refusal:
        make()
    assert str(refusal.value).startswith(message)


def test_what_fits_is_not_spoken_of():
    for indivisible in ("pad", "refuse"):
        assert block(4, 2, indivisible).check("dense/kernel", (8, 4)) is None
        assert n_of_m(2, 4, indivisible).check("dense/kernel", (8, 3)) is None
    assert UNSTRUCTURED.check("dense/kernel", (1, 1)) is None


def test_padding_is_said():
    assert block(4, 2).check("dense/kernel", (9, 4)) == (
        "Blocks of 4 x 2 (inputs x outputs) do not divide dense/kernel (9 inputs x 4 outputs): those at its "
        "edge are smaller."
    )
    assert n_of_m(2, 4).check("conv2d/kernel", (9, 12)) == (
        "Groups of 4 inputs do not divide conv2d/kernel (9 inputs x 12 outputs): the last 1 of each "
        "output keeps 1."
    )
    assert n_of_m(2, 4).check("conv2d/kernel", (11, 12)).endswith("the last 3 of each output keep 2.")


@pytest.mark.parametrize(
    ("preset", "shape"), [("block_4x1", (4, 1)), ("block_16x1", (16, 1)), ("block", (4, 1))]
)
def test_the_blocks_that_tflite_has_kernels_for_have_names(composed, preset, shape):
    structure = composed(f"structure={preset}").structure
    assert (structure.inputs, structure.outputs) == shape
    assert (structure.name, structure.option_name, structure.indivisible) == (preset, "block", "pad")


def test_the_other_structures_compose(composed):
    assert composed("structure=unstructured").structure == UNSTRUCTURED
    assert composed("structure=n_of_m").structure == n_of_m(2, 4)
