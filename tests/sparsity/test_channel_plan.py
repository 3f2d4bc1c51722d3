"""Which units go: shares of a network, multiples, criteria and distributions, worked out by hand."""

import numpy as np
import pytest

from pruneflow.errors import ConfigError
from pruneflow.runtime import backend
from pruneflow.sparsity.channels.option import Channel
from pruneflow.sparsity.channels.plan import ChannelPlan
from pruneflow.sparsity.criteria import Magnitude, Random, Taylor
from pruneflow.sparsity.distributions import Erk, Global, Uniform
from pruneflow.sparsity.schedules import Constant
from pruneflow.sparsity.selected_layers import Pruning

keras = backend.keras()
layers = keras.layers
UNIFORM = Uniform(name="uniform", layers={})


def network(*sizes, inputs=4):
    """Dense layers a, b, ... of these sizes, and d with two outputs."""
    keras.backend.clear_session()
    x = i = keras.Input((inputs,))
    for name, size in zip("abc", sizes, strict=False):
        x = layers.Dense(size, activation="relu", name=name)(x)
    return keras.Model(i, layers.Dense(2, name="d")(x))


def plan(model, sparsity, *, criterion=None, distribution=UNIFORM, skip=(), **settings):
    structure = Channel(**{"name": "channel", "of": "multiply_adds", "multiple": 1, **settings})
    pruning = Pruning(include=["*"], skip=list(skip), engine="pruneflow")
    selection = structure.narrowed(model, pruning.select(model))
    schedule = Constant(
        name="constant",
        initial_sparsity=sparsity,
        final_sparsity=sparsity,
        begin_step=1,
        end_step=1,
        begin_fraction=0,
        end_fraction=1,
        frequency=1,
    )
    return ChannelPlan(
        plan=schedule.plan(2, after_gradients=False),
        structure=structure,
        criterion=criterion or Magnitude(name="magnitude"),
        distribution=distribution,
        prunables=selection.prunables,
        seed=0,
        channels=selection.channels,
    )


def weights_of(model):
    return {f"{layer.name}/kernel": layer.kernel.numpy() for layer in model.layers[1:]}


def kept(found, model, accumulated=None):
    masks = found.update(1, weights_of(model), accumulated)
    alive = found.channels.kept_by({name: mask.kept for name, mask in masks.items()})
    return dict(zip([g.name for g in found.channels.groups], found.channels.counts(alive), strict=True))


@pytest.mark.parametrize(
    ("of", "sparsity", "a", "b"),
    [
        # 4 a + a b + 2 b multiply-adds, 112 at a=8, b=8; 5 a + (a + 1) b + 2 (b + 1) parameters, 130
        ("multiply_adds", 0.5, 5, 4),  # 20 + 20 + 8 = 48, 0.571 gone; 5 and 5: 55, 0.509 gone
        ("channels", 0.5, 4, 4),
        ("parameters", 0.5, 5, 5),
    ],
)
def test_the_share_is_of_what_is_asked_for(of, sparsity, a, b):
    model = network(8, 8)
    found = plan(model, sparsity, of=of)
    counts = kept(found, model)
    shares = {
        (x, y): abs(found.channels.share(of, np.array([x, y])) - sparsity)
        for x in range(1, 9)
        for y in range(max(1, x - 1), min(8, x + 1) + 1)
    }
    assert abs(found.described(masks_of(found, model))["removed"] - sparsity) <= min(
        shares[n, n] for n in range(1, 9)
    )
    assert all(abs(counts[name] - other) <= 1 for name, other in (("a", a), ("b", b)))


def masks_of(found, model):
    return {name: mask.kept for name, mask in found.update(1, weights_of(model)).items()}


def test_kept_counts_are_multiples_where_a_group_has_more():
    model = network(40, 12)
    counts = kept(plan(model, 0.5, multiple=16), model)
    assert counts["a"] in (16, 32)
    assert 1 <= counts["b"] <= 12


@pytest.mark.parametrize(
    ("sparsity", "step"), [(0.6, 16), (0.2, 16), (0.8, 8), (0.9, 4), (0.5, 4), (0.975, 1)]
)
def test_null_takes_the_largest_step_that_comes_near(sparsity, step):
    assert plan(network(40), sparsity, multiple=None).step == step  # 40 units cost alike


def test_a_unit_is_worth_the_mean_of_its_weights_on_both_sides():
    model = network(3, inputs=1)
    model.get_layer("a").kernel.assign([[1.0, 5.0, 3.0]])
    model.get_layer("d").kernel.assign([[9.0, 9.0], [0.0, 0.0], [3.0, 3.0]])  # means 19/3, 5/3, 9/3
    found = plan(model, 0.34, of="channels")
    masks = masks_of(found, model)
    assert masks["a/kernel"].tolist() == [[True, False, True]]
    assert masks["d/kernel"].tolist() == [[True, True], [False, False], [True, True]]


def test_one_ranking_takes_more_of_what_is_worth_less():
    model = network(4, 4)
    model.get_layer("a").kernel.assign(np.full((4, 4), 9.0))
    model.get_layer("b").kernel.assign(np.full((4, 4), 1.0))
    model.get_layer("d").kernel.assign(np.full((4, 2), 0.1))
    found = plan(model, 0.25, of="channels", distribution=Global(name="global", layers={}, min_density=0))
    assert kept(found, model) == {"a": 4, "b": 2}


def test_random_units_are_drawn_and_taylor_follows_gradients():
    model = network(8)
    drawn = plan(model, 0.5, of="channels", criterion=Random(name="random"))
    first = masks_of(drawn, model)
    model.get_layer("a").kernel.assign(-model.get_layer("a").kernel * 7)
    assert all(np.array_equal(first[name], mask) for name, mask in masks_of(drawn, model).items())
    seen = {name: np.zeros_like(values) for name, values in weights_of(model).items()}
    seen["a/kernel"][:, [1, 2, 5, 6]] = 1
    found = plan(model, 0.5, of="channels", criterion=Taylor(name="taylor"))
    masks = found.update(1, weights_of(model), seen)
    assert masks["a/kernel"].kept[0].tolist() == [False, True, True, False, False, True, True, False]


def test_a_group_can_have_a_share_of_its_own():
    model = network(8, 8)
    found = plan(model, 0.5, of="channels", distribution=Uniform(name="uniform", layers={"b": 0.25}))
    assert kept(found, model) == {"a": 2, "b": 6}


def test_what_goes_of_each_layer_is_described():
    model = network(8, 8)
    found = plan(model, 0.5, of="channels")
    described = found.described(masks_of(found, model))["layers"]
    assert {each["name"]: each["units"] for each in described} == {
        "a": [{"name": "", "units": 8, "kept": 4}],
        "b": [{"name": "", "units": 8, "kept": 4}],
        "d": [{"name": "", "units": 2, "kept": 2}],
    }
    assert [(each["multiply_adds"], each["parameters"]) for each in described] == [
        ([4 * 8, 4 * 4], [5 * 8, 5 * 4]),
        ([8 * 8, 4 * 4], [9 * 8, 5 * 4]),
        ([8 * 2, 4 * 2], [9 * 2, 5 * 2]),
    ]


def test_zeros_of_each_weight_are_known_before_training():
    model = network(8)
    found = plan(model, 0.5, of="channels")
    masks = masks_of(found, model)
    assert {name: int((~mask).sum()) for name, mask in masks.items()} == {"a/kernel": 16, "d/kernel": 8}
    assert found.expected_zeros("a/kernel", 2) == 16
    assert found.total_expected_zeros(2) == 24
    assert found.check() == [
        "0.5000 of the channels are asked for, the nearest choice of units removes 0.5000."
    ]


def refused(*sizes, sparsity=0.5, **changes):
    with pytest.raises(ConfigError) as caught:
        plan(network(*sizes), sparsity, **changes).check()
    return str(caught.value)


def test_what_no_choice_of_units_reaches_is_refused():
    # 4 + 1 + 2 of 112 multiply-adds are left at least
    assert refused(8, 8, sparsity=0.95) == (
        "schedule.final_sparsity=0.95: structure=channel can remove at most 0.9375 of the multiply-adds of "
        "this network. Lower it to 0.9375 or less."
    )
    assert "structure.multiple=1" in refused(40, sparsity=0.9, multiple=16)


def test_a_multiple_above_every_group_is_refused():
    assert refused(8, 4, multiple=9) == (
        "structure.multiple=9: it is more than the 8 units of a, the largest group. Lower it to 8 or less; 1 "
        "allows any number."
    )


def test_a_share_below_the_first_step_is_refused():
    assert refused(32, sparsity=0.1, multiple=16).startswith(
        "structure.multiple=16: no choice of units comes"
    )


def test_ways_of_sharing_among_weights_are_refused():
    said = refused(8, distribution=Erk(name="erk", layers={}, min_density=0))
    assert said.startswith("distribution=erk: structure=channel shares what is removed among groups of units")


def test_readers_that_are_skipped_keep_what_they_read():
    model = network(8, 8)
    found = plan(model, 0.25, skip=["d"])
    assert [group.name for group in found.channels.groups] == ["a"]
    assert refused(8, skip=["d"]).startswith(
        "structure=channel: no channel of this network can be removed (d: "
    )


def coupled():
    """Dense layers a and b of eight units, which are added."""
    keras.backend.clear_session()
    i = keras.Input((4,))
    added = layers.Add()([layers.Dense(8, name=name)(i) for name in "ab"])
    return keras.Model(i, layers.Dense(2, name="d")(added))


def test_layers_whose_units_go_together_have_one_share_of_their_own():
    found = plan(coupled(), 0.5, distribution=Uniform(name="uniform", layers={"a": 0.5, "b": 0.75}))
    with pytest.raises(ConfigError) as caught:
        found.check()
    assert str(caught.value) == (
        "distribution.layers={a:0.5,b:0.75}: units of a, b go together, and are given several shares (a 0.5, "
        "b 0.75). Give one of these layers a share, or all the same."
    )
    for layers_ in ({"b": 0.75}, {"*": 0.75}):
        same = plan(coupled(), 0.75, distribution=Uniform(name="uniform", layers=layers_))
        same.check()
        assert same.units_after(2) == {("a", 8): 2}


def test_a_network_that_draws_at_inference_is_refused_with_that_reason():
    keras.backend.clear_session()
    i = keras.Input((4,))
    x = layers.Dropout(0.5)(layers.Dense(8, name="a")(i), training=True)
    model = keras.Model(i, layers.Dense(2, name="d")(x))
    with pytest.raises(ConfigError, match="network draws random numbers at inference"):
        plan(model, 0.5)


def test_a_step_from_which_the_share_cannot_be_reached_is_not_taken():
    """16 of each 128 units is the least in steps of 16, which removes 0.9636."""
    found = plan(network(128, 128, inputs=20), 0.97, multiple=None)
    assert found.check() and found.step == 8


def test_networks_that_differ_in_what_may_go_have_different_inputs():
    """Half of the units of c are added to those of a, and half to those of b."""
    keras.backend.clear_session()
    i = keras.Input((4,))
    c = layers.ReLU()(layers.BatchNormalization()(layers.Dense(16, name="c")(i)))
    a, b = (layers.Dense(8, name=name)(i) for name in "ab")
    added = layers.Add()([c, layers.Concatenate()([a, b])])
    model = keras.Model(i, layers.Dense(2, name="d")(added))
    one, other = (plan(model, 0.2, skip=[name]) for name in "ab")
    assert one.units_after(2).keys() == other.units_after(2).keys()
    assert one.inputs() != other.inputs()


def test_groups_with_a_sparsity_of_their_own_follow_the_steps():
    found = plan(network(8, 8), 0.5, distribution=Uniform(name="uniform", layers={"a": 0.75}))
    found.check()
    assert found.units_after(0) == {("a", 8): 8, ("b", 8): 8}
    assert found.units_after(2)["a", 8] == 2
