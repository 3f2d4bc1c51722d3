import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruneflow.errors import ConfigError
from pruneflow.sparsity.distributions import Erk, Global, Matrices, Uniform

NAMES = (
    "conv2d/kernel",
    "dense/kernel",
    "dense_1/kernel",
    "bidirectional/forward/kernel",
    "inner/dense/kernel",
)


def uniform(**layers):
    return Uniform(name="uniform", layers=layers)


def ranked(min_density=0.01):
    return Global(name="global", layers={}, min_density=min_density)


def erk(min_density=0.0):
    return Erk(name="erk", layers={}, min_density=min_density)


def matrices(min_density=0.0):
    return Matrices(name="matrices", layers={}, min_density=min_density)


def overrides(layers):
    return Uniform(name="uniform", layers=layers).overrides(NAMES)


def test_uniform_is_the_same_for_every_weight():
    assert uniform().share({"a": (2, 2), "b": (3,)}, 0.7) == {"a": 0.7, "b": 0.7}


def test_global_leaves_it_to_the_scores():
    assert ranked().share({"a": (2, 2), "b": (3,)}, 0.7) == {"a": None, "b": None}


@pytest.mark.parametrize(
    ("min_density", "size", "kept"),
    [
        (0.01, 1000, 10),
        (0.01, 1001, 11),
        (0.01, 10, 1),
        (0.0, 10, 1),
        (0.5, 1, 1),
        (0.07, 100, 7),  # in float64 0.07 * 100 = 7.000000000000001
        (0.9, 20, 18),
    ],
)
def test_a_floor_is_rounded_up_and_one_at_least(min_density, size, kept):
    assert ranked(min_density).floor(size) == erk(min_density).floor(size) == kept
    assert uniform().floor(size) == 1


# matrices first, by hand


def test_convolutions_stay_dense_while_matrices_can_hold_all_zeros():
    shapes = {"conv": (2, 2, 1, 5), "dense": (10, 4), "out": (4, 10)}  # 20, 40 and 40 elements
    assert matrices().share(shapes, 0.6) == {"conv": 0.0, "dense": 0.75, "out": 0.75}
    assert matrices(0.25).share(shapes, 0.6) == {"conv": 0.0, "dense": 0.75, "out": 0.75}


def test_what_matrices_cannot_hold_is_shared_by_the_others():
    shapes = {"conv": (2, 2, 1, 5), "dense": (10, 4), "out": (4, 10)}
    shared = matrices(0.25).share(shapes, 0.7)  # 70 zeros, of which matrices hold 60
    assert shared == {"conv": pytest.approx(0.5), "dense": 0.75, "out": 0.75}


def test_without_matrices_all_have_the_same():
    shapes = {"conv": (2, 2, 1, 5), "depthwise": (3, 3, 4, 1)}
    assert matrices().share(shapes, 0.5) == {"conv": 0.5, "depthwise": 0.5}
    assert matrices().share({"dense": (10, 4)}, 0.5) == {"dense": 0.5}
    assert matrices().share({}, 0.5) == {}
    assert matrices().share(shapes, 0.0) == {"conv": 0.0, "depthwise": 0.0}


# Erdos-Renyi-Kernel, by hand


def test_density_is_proportional_to_the_sum_over_the_product_of_the_shape():
    # Sums 8, 20 and 9, together 37, of 96 elements 24 are kept: 24 / 37 of each sum.
    shared = erk().share({"a": (4, 4), "b": (16, 4), "c": (2, 2, 1, 4)}, 0.75)
    assert shared == pytest.approx(
        {"a": 1 - 8 * 24 / 37 / 16, "b": 1 - 20 * 24 / 37 / 64, "c": 1 - 9 * 24 / 37 / 16}, abs=1e-12
    )


def test_densities_above_one_are_clipped_and_the_rest_scaled_anew():
    # Sums 4 and 20, 52 of 104 kept: 4 * 52 / 24 = 8.7 of 4 elements. So it keeps its 4, and the other one 48.
    shared = erk().share({"a": (2, 2), "b": (10, 10)}, 0.5)
    assert shared == {"a": 0.0, "b": pytest.approx(0.52, abs=1e-12)}


def test_clipping_one_weight_may_clip_the_next():
    # 242 of 1020 kept, sums 4, 8, 110. Scale 242 / 122 = 1.98 clips a only, then 238 / 118 = 2.02 clips b of
    # ratio 1/2 too, and c keeps the 222 that are left.
    shared = erk().share({"a": (2, 2), "b": (4, 4), "c": (100, 10)}, 1 - 242 / 1020)
    assert shared == {"a": 0.0, "b": 0.0, "c": pytest.approx(0.778, abs=1e-12)}


def test_densities_below_the_floor_are_raised_and_the_rest_scaled_anew():
    # 15.6 of 104 kept. Without a floor b has density 0.13; with 0.14 it keeps 14, which leaves 1.6 for a.
    shared = erk(0.14).share({"a": (2, 2), "b": (10, 10)}, 0.85)
    assert shared == pytest.approx({"a": 0.6, "b": 0.86}, abs=1e-12)


def test_one_weight_has_the_whole_sparsity():
    assert erk().share({"a": (30, 20)}, 0.8) == {"a": pytest.approx(0.8, abs=1e-12)}


def test_the_ends_of_the_scale():
    shapes = {"a": (2, 2), "b": (10, 10)}
    assert erk().share(shapes, 0.0) == {"a": 0.0, "b": 0.0}
    assert erk(0.25).share(shapes, 0.75) == pytest.approx({"a": 0.75, "b": 0.75}, abs=1e-12)
    assert erk().share({}, 0.5) == {}


SHAPES = st.dictionaries(
    st.sampled_from("abcdef"), st.lists(st.integers(1, 30), min_size=1, max_size=4).map(tuple), min_size=1
)


def product(shape):
    size = 1
    for length in shape:
        size *= length
    return size


@given(SHAPES, st.floats(0, 0.99), st.sampled_from([0.0, 0.005, 0.01]))
def test_erk_meets_the_total_within_its_bounds(shapes, sparsity, floor):
    shared = erk(floor).share(shapes, sparsity)
    sizes = {name: product(shape) for name, shape in shapes.items()}
    zeros = sum(shared[name] * size for name, size in sizes.items())
    assert zeros == pytest.approx(sparsity * sum(sizes.values()), abs=1e-6 * sum(sizes.values()))
    assert all(0 <= own <= 1 - floor + 1e-12 for own in shared.values())
    scales = [
        (1 - shared[name]) * sizes[name] / sum(shape)
        for name, shape in shapes.items()
        if floor + 1e-9 < 1 - shared[name] < 1
    ]
    assert scales == pytest.approx([scales[0]] * len(scales)) if scales else True


@given(SHAPES, st.floats(0, 0.99), st.sampled_from([0.0, 0.005, 0.01]))
def test_matrices_first_meets_the_total_within_its_bounds(shapes, sparsity, floor):
    shared = matrices(floor).share(shapes, sparsity)
    sizes = {name: product(shape) for name, shape in shapes.items()}
    zeros = sum(shared[name] * size for name, size in sizes.items())
    assert zeros == pytest.approx(sparsity * sum(sizes.values()), abs=1e-6 * sum(sizes.values()))
    assert all(0 <= own <= 1 - floor + 1e-9 for name, own in shared.items() if len(shapes[name]) == 2)
    assert all(0 <= own <= sparsity + 1e-9 for name, own in shared.items() if len(shapes[name]) != 2)
    room = any(own < 1 - floor - 1e-9 for name, own in shared.items() if len(shapes[name]) == 2)
    assert not room or all(own < 1e-9 for name, own in shared.items() if len(shapes[name]) != 2)


@given(SHAPES, st.floats(0, 0.99), st.floats(0, 0.99))
def test_a_higher_total_makes_no_weight_denser(shapes, one, other):
    for make in (erk, matrices):
        low, high = (make().share(shapes, sparsity) for sparsity in sorted((one, other)))
        assert all(low[name] <= high[name] + 1e-9 for name in shapes)


# Sparsities of their own


def test_a_pattern_is_matched_with_the_layer_and_with_the_weight():
    assert overrides({"conv2d": 0.5, "dense_1/kernel": 0.9}) == {"conv2d/kernel": 0.5, "dense_1/kernel": 0.9}
    assert overrides({"dense*": 0.9}) == {"dense/kernel": 0.9, "dense_1/kernel": 0.9}
    assert overrides({}) == {}


def test_a_layer_in_a_layer_is_matched_before_each_slash():
    for pattern in ("bidirectional", "bidirectional/forward", "bi*/kernel", "bidirectional/*"):
        assert overrides({pattern: 0.5}) == {"bidirectional/forward/kernel": 0.5}
    assert overrides({"inner/dense": 0.5}) == {"inner/dense/kernel": 0.5}


def test_a_pattern_is_not_matched_with_a_part_of_a_name():
    assert "inner/dense/kernel" not in overrides({"dense": 0.5})
    assert "dense_1/kernel" not in overrides({"dense": 0.5})


def test_the_last_pattern_that_matches_counts():
    assert overrides({"*": 0.5, "dense": 0.9}) == {**dict.fromkeys(NAMES, 0.5), "dense/kernel": 0.9}


def test_case_counts():
    with pytest.raises(ConfigError):
        overrides({"Dense": 0.5})


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            {"dense": 0.5, "lstm*": 0.9},
            "distribution.layers={lstm*:0.9}: lstm* matches nothing that is pruned, which is conv2d/kernel, "
            "dense/kernel, dense_1/kernel, bidirectional/forward/kernel, inner/dense/kernel. Patterns are",
        ),
        (
            {"dense": 0.9, "*": 0.5},
            "distribution.layers={dense:0.9}: dense decides nothing, since the last pattern that matches "
            "counts. Put it after",
        ),
        (
            {"dense*": 0.9, "dense": 0.5, "dense_1": 0.5},
            "distribution.layers={dense*:0.9}: dense* decides nothing",
        ),
        ({"dense": 1.0}, "distribution.layers={dense:1.0}: sparsity is the fraction of zeros;"),
        ({"dense": -0.1}, "distribution.layers={dense:-0.1}: sparsity is the fraction of zeros;"),
        ({"dense": float("nan")}, "distribution.layers={dense:nan}: sparsity is the fraction of zeros;"),
    ],
)
def test_a_pattern_that_cannot_count_is_refused(layers, message):
    with pytest.raises(ConfigError) as refusal:
        overrides(layers)
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize("make", [ranked, erk, matrices])
@pytest.mark.parametrize("min_density", [1.0, -0.01, float("nan")])
def test_a_floor_that_is_no_fraction_is_refused(make, min_density):
    with pytest.raises(ConfigError) as refusal:
        make(min_density)
    assert str(refusal.value).startswith(f"distribution.min_density={min_density}: it is the least fraction")


@pytest.mark.parametrize("make", [ranked, erk, matrices])
def test_a_floor_above_what_the_sparsity_leaves_is_refused(make):
    with pytest.raises(ConfigError) as refusal:
        make(0.3).check(0.8)
    assert str(refusal.value) == (
        "distribution.min_density=0.3: every weight would keep more than schedule.final_sparsity=0.8 leaves, "
        "which is 0.2. Lower it to 0.2 or less, or lower schedule.final_sparsity."
    )
    make(0.2).check(0.8)  # in float64 1 - 0.8 is 0.19999999999999996
    make(0.01).check(0.99)


def test_no_layer_has_a_sparsity_of_its_own_by_default():
    assert type(Uniform(name="uniform").layers) is dict
    assert Uniform(name="uniform") == uniform()


# As YAML and on the command line


def test_sparsities_of_layers_are_taken_from_the_command_line(composed):
    given = composed("distribution.layers={conv2d:0.5,dense*:0.95,dense_?/kernel:0}").distribution
    assert given == Uniform(name="uniform", layers={"conv2d": 0.5, "dense*": 0.95, "dense_?/kernel": 0.0})
    assert list(given.layers) == ["conv2d", "dense*", "dense_?/kernel"]
    assert type(given.layers) is dict
    assert composed("distribution.layers.conv2d=0.5").distribution.layers == {"conv2d": 0.5}


@pytest.mark.run
def test_distributions_compose(composed):
    assert composed("distribution=uniform").distribution == uniform()
    assert composed("distribution=uniform", "distribution.layers=null").distribution == uniform()
    assert composed("distribution=global").distribution == ranked(0.001)
    assert composed("distribution=erk", "distribution.min_density=0").distribution == erk()
