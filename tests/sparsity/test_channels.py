"""Channels: their groups, the cut, and the proof that it changes nothing."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks_with_channels import NETWORKS

from pruneflow.runtime import backend
from pruneflow.sparsity import channels
from pruneflow.sparsity.channels import proof, rules, rules_of_sequences, trace
from pruneflow.sparsity.channels.cut import CutError, cut

keras = backend.keras()
layers = keras.layers


def apart(model, seed=0):
    found = channels.find(model)
    return proof.difference(model, found, proof.halved(found, seed=seed), seed=seed)


def groups(model):
    return {group.name: group.size for group in channels.find(model).groups}


@pytest.mark.parametrize("name", NETWORKS)
def test_half_of_each_group_can_go_from_every_kind_of_network(name):
    keras.backend.clear_session()
    model = NETWORKS[name]()
    assert channels.find(model).groups
    assert apart(model) <= 1e-5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cnn", {"a": 8, "b": 6, "c": 10}),
        ("residual", {"a": 8, "c": 6}),  # b is added to a
        ("nested", {"a": 6, "inner/b": 7, "row/dense": 8, "row/dense_1": 6}),
        ("lstm", {"a": 8, "b": 6, "c": 5}),
        ("bidirectional", {"a": 8, "b/forward": 6, "c/forward": 4}),
        ("gru", {"a": 6, "b": 6}),  # c starts with the state of b
        ("concatenate", {"a": 6, "b": 8}),  # c is added to both, one after the other
        ("squeeze_excite", {"a": 8, "b": 4}),
        ("grouped", {"a": 4, "b": 8, "c": 8}),  # of two groups, and of eight groups of one
        ("attention", {"a": 12, "b/heads": 4, "b/values": 6, "c": 10, "e": 12}),
        ("transformer", {"b/heads": 4, "b/values": 5, "c": 10, "e": 12}),
        ("generator", {"a": 6, "b": 5}),  # eight units for each channel
        ("with_a_function", {"b": 5}),
    ],
)
def test_what_is_coupled_is_one_group(name, expected):
    keras.backend.clear_session()
    assert groups(NETWORKS[name]()) == expected


def test_multiply_adds_and_parameters_are_those_of_the_layers():
    keras.backend.clear_session()
    found = channels.find(NETWORKS["cnn"]())
    # 10x10 positions of 3*3*1*8, 3x3 of 3*3*8*6, 54 * 10, 10 * 4
    assert found.cost("multiply_adds", found.sizes) == 7200 + 3888 + 540 + 40
    assert found.cost("parameters", np.array([1, 1, 1])) == (9 + 1) + 4 + (9 + 1) + (9 + 1) + (4 + 4)
    assert found.share("channels", np.array([8, 3, 5])) == pytest.approx(8 / 24)


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("attention", {"a": 12, "b/heads": 4, "b/values": 6, "c": 10, "e": 12, "d": 2}),
        ("bidirectional", {"a": 8, "b/forward": 6, "b/backward": 6, "c/forward": 4, "c/backward": 4, "d": 3}),
        ("depthwise", {"a": 8, "b": 16, "d": 3}),
    ],
)
def test_units_and_costs_are_known_layer_by_layer(name, units):
    keras.backend.clear_session()
    found = channels.find(NETWORKS[name]())
    assert {path: len(ids) for path, ids in found.units.items()} == units
    for of in ("multiply_adds", "parameters"):
        assert sum(found.costs_of_layers(of, found.sizes).values()) == found.cost(of, found.sizes)


def test_a_layer_without_a_rule_keeps_what_it_reads_and_is_named():
    keras.backend.clear_session()
    found = channels.find(NETWORKS["with_a_function"]())
    assert found.kept["lambda"] == "Lambda has no rule, so that the channels it reads stay"


def test_a_frozen_reader_keeps_its_channels():
    keras.backend.clear_session()
    model = NETWORKS["cnn"]()
    model.get_layer("b").trainable = False
    assert groups(model) == {"c": 10}  # nor does it lose what it makes


def test_the_channels_of_a_layer_that_is_fixed_stay():
    keras.backend.clear_session()
    model = NETWORKS["cnn"]()
    found = channels.find(model, {"c": "pruning.skip=c"})
    assert [group.name for group in found.groups] == ["a"]
    assert found.kept["c"] == "pruning.skip=c"


@pytest.mark.parametrize("frozen", ["batch_normalization", "dw"])
def test_channels_of_a_frozen_layer_without_a_kernel_that_is_pruned_stay(frozen):
    keras.backend.clear_session()
    i = keras.Input((8, 8, 3))
    x = layers.DepthwiseConv2D(3, name="dw")(layers.Conv2D(6, 3, name="a")(i))
    x = layers.BatchNormalization()(layers.Conv2D(8, 1, name="b")(x))
    model = keras.Model(i, layers.Dense(2, name="d")(layers.GlobalAveragePooling2D()(x)))
    assert groups(model) == {"a": 6, "b": 8}
    model.get_layer(frozen).trainable = False
    found = channels.find(model)
    assert [group.name for group in found.groups] == ["b" if frozen == "dw" else "a"]
    assert found.kept[frozen] == "is frozen (trainable=False)"


def test_a_normalization_keeps_what_it_has_learned():
    keras.backend.clear_session()
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(5, 3, (20, 4)))
    i = keras.Input((4,))
    x = layers.Dense(8, activation="relu", name="a")(normalization(i))
    model = keras.Model(i, layers.Dense(2)(x))
    assert apart(model) <= 1e-5
    small = cut(model, found := channels.find(model), proof.halved(found))
    proof.mask(model, found, proof.halved(found))
    assert proof.apart(model, small, np.random.default_rng(1)) <= 1e-5


def test_layers_without_a_rule_are_named_with_the_reason():
    keras.backend.clear_session()
    i = keras.Input((4, 8, 8, 3))
    x = layers.TimeDistributed(layers.Conv2D(6, 3, name="a"))(i)
    x = layers.Flatten()(layers.ConvLSTM2D(5, 3, name="lstm")(x))
    x = layers.EinsumDense("ab,bc->ac", 7, name="einsum")(layers.Dense(9, name="b")(x))
    found = channels.find(keras.Model(i, layers.Dense(2, name="d")(x)))
    assert not found.groups
    assert found.kept["lstm"] == "ConvLSTM2D has no rule, so that the channels it reads stay"
    assert found.kept["einsum"] == "EinsumDense has no rule, so that the channels it reads stay"


def test_the_proof_multiplies_all_of_float32_and_leaves_the_setting_as_it_was(monkeypatch):
    setting = backend.tensorflow().config.experimental
    keras.backend.clear_session()
    model, seen, said = NETWORKS["transposed"](), [], proof._outputs

    def noted(*given):
        seen.append(setting.tensor_float_32_execution_enabled())
        return said(*given)

    monkeypatch.setattr(proof, "_outputs", noted)
    before = setting.tensor_float_32_execution_enabled()
    apart(model)
    assert seen == [False, False]
    assert setting.tensor_float_32_execution_enabled() == before


def test_the_small_network_is_one_of_keras_alone(tmp_path):
    keras.backend.clear_session()
    model = NETWORKS["attention"]()
    found = channels.find(model)
    small = cut(model, found, proof.halved(found))
    small.save(tmp_path / "small.keras")
    opened = keras.models.load_model(tmp_path / "small.keras")
    assert {type(each).__module__.split(".")[0] for each in opened.layers} == {"tf_keras"}
    assert opened.get_layer("c").units == 5
    assert opened.count_params() == found.cost("parameters", found.sizes // 2)


def test_masks_tell_the_units_that_are_kept():
    keras.backend.clear_session()
    found = channels.find(NETWORKS["bidirectional"]())
    kept = proof.halved(found)
    full = {name: found.mask(name, kept) for name in found.masked}
    assert np.array_equal(found.kept_by(full), kept)


def broken(monkeypatch, name):
    """Break one rule, as a person might get it wrong."""
    passed_on = rules.RULES["Dropout"]
    if name == "order of Flatten":

        def flatten(call, layer, x):
            return [np.moveaxis(x.full, -1, 0).reshape(-1)]

        monkeypatch.setitem(rules.RULES, "Flatten", flatten)
    elif name == "Add not coupled":
        monkeypatch.setitem(rules.RULES, "Add", lambda call, layer, a, b: [a.ids])
    elif name == "LayerNormalization let through":

        def normalized(call, layer, x):
            call.tie(layer.gamma, 0, call.channels(x))
            call.tie(layer.beta, 0, call.channels(x))
            return passed_on(call, layer, x)

        monkeypatch.setitem(rules.RULES, "LayerNormalization", normalized)
    elif name == "softmax let through":
        monkeypatch.setattr(trace, "ELEMENTWISE", trace.ELEMENTWISE | {"softmax"})
    else:
        monkeypatch.setattr(rules_of_sequences, "_by_gate", np.repeat)


def test_examples_of_the_proof_reach_the_outputs_of_a_deep_network():
    """Kernels of depthwise convolutions have few inputs: drawn too small, all outputs would be constants."""
    keras.backend.clear_session()
    model, rng = NETWORKS["mobilenet"](), np.random.default_rng(0)
    model.set_weights([proof._drawn(variable, rng) for variable in model.weights])
    (outputs,) = proof._outputs(model, list(proof._examples(model, rng, *proof.FREE[0])))
    assert np.abs(outputs[0] - outputs[1]).max() > 0.05 * np.abs(outputs).max()


def hidden_softmax():
    i = keras.Input((5,))
    x = layers.Dense(8, activation="softmax")(i)
    return keras.Model(i, layers.Dense(3)(x))


@pytest.mark.parametrize(
    ("wrong", "build"),
    [
        ("order of Flatten", NETWORKS["cnn"]),
        ("Add not coupled", NETWORKS["residual"]),
        ("LayerNormalization let through", NETWORKS["transformer"]),
        ("softmax let through", hidden_softmax),
        ("gates interleaved", NETWORKS["lstm"]),
    ],
)
def test_the_proof_catches_a_rule_that_is_wrong(wrong, build, monkeypatch):
    keras.backend.clear_session()
    if build is not hidden_softmax:
        assert apart(build()) <= proof.TOLERANCE
    broken(monkeypatch, wrong)
    with suppress(CutError):  # which catches it too
        assert apart(build()) > 100 * proof.TOLERANCE


def _sized(x, size):
    return layers.Conv2D(size, 1, activation="elu")(x)


STEPS = (
    lambda x, _, size: layers.Conv2D(size, 3, padding="same", activation="relu")(x),
    lambda x, _, size: layers.Conv2D(4, 3, padding="same", groups=2)(_sized(x, 2 * size)),
    lambda x, _, size: layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x),
    lambda x, _, size: layers.BatchNormalization()(x),
    lambda x, other, size: layers.Concatenate()([x, other]),
    lambda x, other, size: layers.Add()([x, _sized(other, x.shape[-1])]),
    lambda x, other, size: layers.Multiply()([x, layers.GlobalMaxPooling2D(keepdims=True)(x)]),
    lambda x, other, size: layers.Reshape((6, 6, -1))(layers.Permute((2, 1, 3))(x)),
    lambda x, other, size: layers.Reshape((6, 6, size))(layers.Dense(36 * size)(layers.Flatten()(x))),
    lambda x, other, size: layers.Softmax()(x),
    lambda x, other, size: layers.LayerNormalization()(x),
)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(STEPS), *[st.integers(1, 5)] * 3), min_size=2, max_size=6))
def test_random_networks_are_cut_without_a_change(steps):
    """Up to six layers over images, with branches that are joined again."""
    keras.backend.clear_session()
    tensors = [keras.Input((6, 6, 2))]
    for step, size, one, other in steps:
        tensors.append(step(tensors[-one % len(tensors)], tensors[-other % len(tensors)], size))
    x = layers.Dense(5, activation="tanh")(layers.Flatten()(tensors[-1]))
    assert apart(keras.Model(tensors[0], layers.Dense(3)(x))) <= 2e-5


def test_inputs_of_any_length_are_as_long_as_the_layers_need():
    keras.backend.clear_session()
    x = i = keras.Input((None,))
    x = layers.Embedding(20, 8)(x)
    for name in "ab":
        x = layers.Conv1D(8, 7, strides=3, activation="relu", name=name)(x)
    assert apart(keras.Model(i, layers.Dense(2)(layers.GlobalMaxPooling1D()(x)))) <= 1e-5


def test_a_stateful_network_is_proved_with_batches_of_its_own_and_keeps_no_state():
    keras.backend.clear_session()
    i = keras.Input(batch_shape=(2, 5, 3))
    model = keras.Model(i, layers.Dense(2)(layers.LSTM(6, stateful=True, name="a")(i)))
    assert apart(model) <= 1e-5
    assert not any(np.any(state.numpy()) for state in model.get_layer("a").states)


def test_groups_of_one_maker_have_names_of_their_own():
    """c is added to a beside b: eight of its channels go with those of a, and eight with those of b."""
    keras.backend.clear_session()
    i = keras.Input((6, 6, 3))
    c = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, name="c")(i)))
    a, b = (layers.Conv2D(8, 3, name=name)(i) for name in "ab")
    added = layers.Add()([c, layers.Concatenate()([a, b])])
    model = keras.Model(i, layers.Dense(2)(layers.GlobalAveragePooling2D()(added)))
    found = channels.find(model)
    assert {group.name: group.makers for group in found.groups} == {"c": ("c", "a"), "b": ("c", "b")}
    assert apart(model) <= 1e-5


def test_what_a_shared_model_reads_at_two_calls_goes_together():
    keras.backend.clear_session()
    i = keras.Input((6, 6, 3))
    inner = keras.Sequential([keras.Input((4, 4, 8)), layers.ReLU(), layers.MaxPooling2D()], name="inner")
    a, b = (inner(layers.Conv2D(8, 3, name=name)(i)) for name in "ab")
    joined = layers.GlobalAveragePooling2D()(layers.Concatenate()([a, b]))
    model = keras.Model(i, layers.Dense(2)(joined))
    (group,) = channels.find(model).groups
    assert ({*group.makers}, group.size) == ({"a", "b"}, 8)
    assert apart(model) <= 1e-5


def test_a_constant_initializer_does_not_stand_in_the_way():
    keras.backend.clear_session()
    values = keras.initializers.Constant(np.ones((20, 8), np.float32))
    x = i = keras.Input((5,))
    x = layers.Embedding(20, 8, embeddings_initializer=values, name="a")(x)
    assert apart(keras.Model(i, layers.Dense(2)(layers.Flatten()(x)))) <= 1e-5
