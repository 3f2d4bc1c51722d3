"""Pruning without training: the rows that kernels multiply, and networks that are fitted layer by layer."""

import numpy as np
import pytest

import pruneflow
from pruneflow.accepted import batches_for
from pruneflow.errors import ConfigError
from pruneflow.runtime import backend
from pruneflow.sparsity import layer_inputs, reconstruction
from pruneflow.sparsity.kernels import leaves, weights
from pruneflow.sparsity.layer_inputs import calls_of, multiplied
from pruneflow.sparsity.least_squares import Moments
from pruneflow.sparsity.masked import Masked

KERAS = {"Keras 2": backend.keras, "Keras 3": backend.keras3}


def rows_of(each, model, batches):
    """The rows that a weight multiplies when examples run through the model, some at a time."""
    return [rows for x in batches for call in calls_of(each, model, x) for rows in call]


def images(count=60):
    return np.random.default_rng(0).normal(size=(count, 8, 8, 3)).astype(np.float32)


def network(keras):
    layers = keras.layers
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(8, 3, activation="relu", name="conv"),
            layers.Flatten(name="flatten"),
            layers.Dense(12, activation="relu", name="dense"),
            layers.Dense(4, name="last"),
        ]
    )


def of_text(keras):
    layers = keras.layers
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            layers.Embedding(20, 6, mask_zero=True, name="embedding"),
            layers.Bidirectional(layers.LSTM(5, return_sequences=True), name="both"),
            layers.GRU(4, name="gru"),
            layers.Dense(1, name="last"),
        ]
    )
    model(texts()[:1])
    return model


def texts():
    ids = np.random.default_rng(0).integers(1, 20, (50, 6)).astype(np.int32)
    ids[::2, 4:] = 0
    return ids


@pytest.mark.parametrize("keras", KERAS)
@pytest.mark.parametrize(
    "settings",
    [
        {"strides": 2, "padding": "same"},
        {"padding": "valid", "dilation_rate": 2},
        {"strides": 3, "padding": "same"},
    ],
)
def test_patches_times_the_kernel_are_the_convolution(keras, settings):
    layers = (keras := KERAS[keras]()).layers
    two = layers.Conv2D(4, 3, use_bias=False, name="two", **settings)
    one = layers.Conv1D(4, 3, use_bias=False, name="one", **settings)
    for layer, x in ((two, images(3)), (one, images(3)[:, 0])):
        model = keras.Sequential([keras.Input(x.shape[1:]), layer])
        wanted = np.asarray(model(x))
        (rows,) = rows_of(multiplied(model)[f"{layer.name}/kernel"], model, [x])
        kernel = layer.get_weights()[0].reshape(-1, 4)
        np.testing.assert_allclose(rows @ kernel, wanted.reshape(-1, 4), atol=1e-5)
        assert "call" not in layer.__dict__


def test_causal_convolutions_see_the_past_alone():
    keras = backend.keras()
    layer = keras.layers.Conv1D(2, 3, padding="causal", use_bias=False, name="one")
    x = images(2)[:, 0]
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    (rows,) = rows_of(multiplied(model)["one/kernel"], model, [x])
    kernel = layer.get_weights()[0].reshape(-1, 2)
    np.testing.assert_allclose(rows @ kernel, np.asarray(model(x)).reshape(-1, 2), atol=1e-5)


@pytest.mark.parametrize("keras", KERAS)
def test_a_recurrent_layer_multiplies_steps_that_are_not_masked_and_the_states_before_them(keras):
    keras = KERAS[keras]()
    layer = keras.layers.SimpleRNN(2, activation="linear", name="rnn")
    model = keras.Sequential([keras.Input((3, 1)), keras.layers.Masking(0.0, name="masking"), layer])
    layer.set_weights([np.array([[1.0, 2.0]]), np.eye(2), np.zeros(2)])
    known = multiplied(model)
    x = np.array([[[1.0], [3.0], [0.0]]], np.float32)
    steps, states = (
        np.concatenate(list(rows_of(known[f"rnn/{name}"], model, [x])))
        for name in ("kernel", "recurrent_kernel")
    )
    np.testing.assert_allclose(steps, [[1], [3]])
    np.testing.assert_allclose(states, [[1, 2]])  # before the second step; before the first it is zero
    assert layer.return_sequences is False


def test_layers_without_a_rule_are_not_fitted():
    layers = backend.keras().layers
    found = [
        layers.Conv2D(4, 3, groups=2, name="grouped"),
        layers.Conv2DTranspose(4, 3, name="transposed"),
        layers.SeparableConv2D(4, 3, name="separable"),
    ]
    model = backend.keras().Sequential([backend.keras().Input((9, 9, 4)), *found])
    assert multiplied(model) == {}


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_recurrent_layers_that_read_time_before_examples_are_not_fitted(kind):
    keras = backend.keras()
    layer = getattr(keras.layers, kind)(4, time_major=True)
    assert multiplied(keras.Sequential([keras.Input((6, 3)), layer])) == {}


@pytest.mark.parametrize("keras", KERAS)
def test_patches_are_made_only_as_they_are_taken(keras, monkeypatch):
    monkeypatch.setattr(layer_inputs, "MOST_ELEMENTS", 1)  # one example at a time
    image, made = backend.tensorflow().image, []
    own = image.extract_patches
    monkeypatch.setattr(image, "extract_patches", lambda *args: made.append(1) or own(*args))
    model = network(KERAS[keras]())
    (rows,) = calls_of(multiplied(model)["conv/kernel"], model, images(3))
    assert len(made) == 0
    assert next(rows).shape == (36, 27) and len(made) == 1


@pytest.mark.parametrize("keras", KERAS)
def test_states_are_those_of_the_weights_at_the_call(keras):
    keras = KERAS[keras]()
    layer = keras.layers.SimpleRNN(1, activation="linear", return_sequences=True, name="rnn")
    model = keras.Sequential([keras.Input((2, 1)), layer])
    layer.set_weights([np.ones((1, 1)), np.ones((1, 1)), np.zeros(1)])
    (rows,) = calls_of(multiplied(model)["rnn/recurrent_kernel"], model, np.full((1, 2, 1), 3, np.float32))
    layer.set_weights([np.zeros((1, 1)), np.ones((1, 1)), np.zeros(1)])
    np.testing.assert_allclose(next(rows), [[3]])


def graph_of(keras):
    """Make a model whose ``call`` is a graph, with a layer that it never calls."""

    class Mine(keras.Model):
        def __init__(self):
            super().__init__()
            self.first = keras.layers.Dense(12, activation="relu", name="first")
            self.last = keras.layers.Dense(4, name="last")
            self.unused = keras.layers.Dense(4, name="unused")
            self.unused.build((None, 6))

        @backend.tensorflow().function
        def call(self, x, training=False):
            return self.last(self.first(x))

    keras.utils.set_random_seed(0)
    model = Mine()
    model(rows())
    return model


def rows(count=100):
    drawn = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    return np.concatenate([drawn, drawn + 0.1], axis=1)


def by_layers(model):
    """Return what the layers give: the graph that Keras 3 traces as it builds the model keeps old weights."""
    return np.array(model.last(model.first(rows())))


@pytest.mark.parametrize("keras", KERAS)
def test_layers_in_a_graph_are_fitted_and_those_that_are_never_called_are_named(keras):
    backend.tensorflow().config.run_functions_eagerly(False)
    off = {}
    for name, how in {"magnitude": {"steps": 0}, "fitted": {"examples": rows()}}.items():
        model = graph_of(KERAS[keras]())
        wanted, unused = by_layers(model), model.unused.get_weights()[0]
        pruned = pruneflow.prune(model, schedule={"final_sparsity": 0.5}, **how)
        off[name] = np.mean((by_layers(pruned.strip()) - wanted) ** 2)
    assert off["fitted"] < 0.5 * off["magnitude"]
    kept = model.unused.get_weights()[0]
    np.testing.assert_array_equal(kept[kept != 0], unused[kept != 0])
    assert np.count_nonzero(kept) == kept.size // 2
    assert pruned.notes == [
        "pruning.reconstruct masks unused/kernel by magnitude alone: no call of its layer was seen."
    ]
    assert not backend.tensorflow().config.functions_run_eagerly()


@pytest.mark.parametrize("keras", KERAS)
@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("examples", [True, False])
def test_a_failure_gives_the_model_back_as_it_was(keras, failure, examples, monkeypatch):
    model = network(KERAS[keras]())
    before = model.get_weights()

    def fails(*args):
        raise failure

    monkeypatch.setattr(Moments if examples else Masked, "add" if examples else "apply", fails)
    with pytest.raises(failure):
        pruneflow.prune(model, **({"examples": images()} if examples else {"steps": 0}))
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert "train_step" not in model.__dict__
    assert not any("call" in layer.__dict__ for layer in model.layers)
    assert not backend.tensorflow().config.functions_run_eagerly()


@pytest.mark.parametrize("keras", KERAS)
def test_a_layer_whose_mask_a_pruned_layer_changes_is_masked_by_magnitude_and_said(keras):
    keras = KERAS[keras]()
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((3, 2)),
            layers.Dense(1, activation="relu", use_bias=False, name="dense"),
            layers.Masking(0.0, name="masking"),
            layers.SimpleRNN(2, name="rnn"),
        ]
    )
    model.get_layer("dense").set_weights([np.array([[2.0], [1.0]])])
    x = np.array([[[1, 0], [-1, 3], [1, 1]]] * 4, np.float32)  # the pruned layer gives 0 at the second step
    dense = model.get_layer("rnn").get_weights()[0]
    pruned = pruneflow.prune(model, examples=x, schedule={"final_sparsity": 0.5})
    assert pruned.notes == [
        "pruning.reconstruct masks rnn/kernel, rnn/recurrent_kernel by magnitude alone: "
        "pruned layers before it change the mask."
    ]
    kept = pruned.strip().get_layer("rnn").get_weights()[0]
    np.testing.assert_array_equal(kept[kept != 0], dense[kept != 0])


@pytest.mark.parametrize("keras", KERAS)
@pytest.mark.parametrize("structure", ["sequential", "one", "list", "dictionary"])
def test_examples_of_one_input_may_lie_in_a_list_or_dictionary(keras, structure):
    keras = KERAS[keras]()
    x, given = images(), keras.Input((8, 8, 3), name="picture")
    outputs = keras.layers.Dense(4, name="last")(keras.layers.Flatten()(given))
    read = {"one": given, "list": [given], "dictionary": {"picture": given}}
    model = network(keras) if structure == "sequential" else keras.Model(read[structure], outputs)
    name = model.inputs[0].name
    flat = backend.tensorflow().nest.flatten
    for examples in (x, [x], (x,), {name: x}):
        batches = batches_for(model, examples)  # the model is called, and Keras warns of another structure
        np.testing.assert_array_equal(np.concatenate([flat(batch)[0] for batch in batches]), x)


@pytest.mark.parametrize("keras", KERAS)
@pytest.mark.parametrize(
    "options",
    [
        {"schedule": {"final_sparsity": 0.6}},
        {"structure": "n_of_m", "schedule": {"final_sparsity": 0.5}},
        {"structure": "block_4x1", "schedule": {"final_sparsity": 0.5}, "skip": "conv"},
    ],
    ids=["unstructured", "n_of_m", "block"],
)
def test_outputs_are_nearer_to_the_dense_ones_than_by_magnitude(keras, options):
    model, x = network(KERAS[keras]()), images()
    wanted, before = np.asarray(model(x)), model.get_weights()
    off = {}
    for name, how in {"magnitude": {"steps": 0}, "fitted": {"examples": x}}.items():
        pruned = pruneflow.prune(model, copy=True, **how, **options)
        stripped = pruned.strip()
        off[name] = np.mean((np.asarray(stripped(x)) - wanted) ** 2)
        assert not any("reconstruct" in note for note in pruned.notes)
        for layer in pruned._masked.measure(1):
            assert layer.zeros == layer.masked == layer.expected
    assert off["fitted"] < 0.5 * off["magnitude"]
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("keras", KERAS)
def test_recurrent_layers_are_fitted_and_embeddings_masked_by_magnitude(keras):
    model = of_text(KERAS[keras]())
    dense = weights(model)
    pruned = pruneflow.prune(model, copy=True, schedule={"final_sparsity": 0.5}, examples=texts())
    for name, values in weights(pruned.strip()).items():
        if "kernel" in name or "embeddings" in name:
            kept = values != 0
            assert (~kept).sum() == values.size // 2
            assert np.array_equal(values[kept], dense[name][kept]) == (name == "embedding/embeddings")
    assert pruned.notes == [
        "pruning.reconstruct masks embedding/embeddings by magnitude alone: no rule for its kind of layer."
    ]


def test_the_same_examples_give_the_same_bits():
    model = network(backend.keras())
    first, second = (
        pruneflow.prune(model, copy=True, examples=images(), schedule={"final_sparsity": 0.7}).strip()
        for _ in range(2)
    )
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        assert one.tobytes() == other.tobytes()


def test_a_matrix_that_is_too_wide_is_masked_by_magnitude_and_said(monkeypatch):
    monkeypatch.setattr(reconstruction, "MOST_INPUTS", 100)
    model = network(backend.keras())
    pruned = pruneflow.prune(model, copy=True, examples=images(), schedule={"final_sparsity": 0.5})
    assert pruned.notes == [
        "pruning.reconstruct masks dense/kernel by magnitude alone: more than 100 inputs."
    ]
    kept = dict(leaves(pruned.strip()))["dense"].get_weights()[0]
    own = dict(leaves(model))["dense"].get_weights()[0]
    np.testing.assert_array_equal(kept, own * (np.abs(own) >= np.sort(np.abs(own), axis=None)[own.size // 2]))


def test_a_layer_with_a_sparsity_of_0_stays_as_it_is():
    model = network(backend.keras())
    layers = {"layers": {"conv": 0, "dense": 0.5}}
    pruned = pruneflow.prune(
        model, copy=True, examples=images(), schedule={"final_sparsity": 0.7}, distribution=layers
    )
    own, kept = (dict(leaves(each))["conv"].get_weights()[0] for each in (model, pruned.strip()))
    np.testing.assert_array_equal(own, kept)


@pytest.mark.run
def test_masks_stay_in_a_fit_that_follows():
    model, x = network(backend.keras()), images()
    pruned = pruneflow.prune(model, examples=x, schedule={"final_sparsity": 0.7})
    masks = pruned._masked.masks()
    model.compile("sgd", "mse")
    model.fit(x, np.ones((len(x), 4)), epochs=1, verbose=0, callbacks=pruned.callbacks)
    pruned.strip()
    for name, mask in pruned._masked.masks().items():
        np.testing.assert_array_equal(mask, masks[name])


@pytest.mark.parametrize("keras", KERAS)
@pytest.mark.parametrize(
    ("examples", "options", "said"),
    [
        (images()[:0], {}, "examples="),
        (np.zeros((5, 3)), {}, "examples=ndarray: the model cannot read them: "),
        (np.full((2, 8, 8, 3), np.nan), {}, "examples=an array of float64: it has NaN or infinity"),
        (images(), {"steps": 5}, "steps=5: examples take the place of training"),
        (images(), {"structure": "channel"}, "structure=channel: with pruning.reconstruct=true "),
        (images(), {"criterion": "random"}, "criterion=random: with pruning.reconstruct=true "),
        (images(), {"distribution": "global"}, "distribution=global: with pruning.reconstruct=true "),
        (None, {"steps": 0, "criterion": "taylor"}, "criterion=taylor: it needs gradients"),
        (None, {}, "steps=null: allowed are whole numbers from 0"),
    ],
)
def test_what_cannot_be_done_without_training_is_refused(keras, examples, options, said):
    model = network(KERAS[keras]())
    with pytest.raises(ConfigError) as error:
        pruneflow.prune(model, examples=examples, **options)
    assert str(error.value).startswith(said)
    assert "\x1b" not in str(error.value)
    assert "train_step" not in model.__dict__
