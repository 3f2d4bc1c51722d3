import json
import subprocess
import sys

import numpy as np
import pytest

from pruneflow.errors import ConfigError
from pruneflow.runtime import backend
from pruneflow.sparsity.criteria import Magnitude, Taylor
from pruneflow.sparsity.distributions import Uniform
from pruneflow.sparsity.masked import mask_in_place
from pruneflow.sparsity.masks import MaskPlan
from pruneflow.sparsity.schedules import Constant, Polynomial
from pruneflow.sparsity.selected_layers import Pruning
from pruneflow.sparsity.structures import Unstructured


def plan(total_steps, *, final=0.8, frequency=1, schedule=Constant, **changes):
    extra = {"power": 3} if schedule is Polynomial else {}
    values = {
        "name": "x",
        "initial_sparsity": 0.0,
        "final_sparsity": final,
        "begin_fraction": 0.0,
        "end_fraction": 1.0,
        "begin_step": None,
        "end_step": None,
        "frequency": frequency,
    }
    return schedule(**{**values, **extra, **changes}).plan(total_steps)


def masks_of(model, plan, *, criterion=None, layers=None):
    """A plan for every weight of ``model`` that can be pruned, by magnitude, each by itself."""
    prunables = Pruning(include=layers or ["*"], skip=[], engine="pruneflow").select(model).prunables
    return MaskPlan(
        plan=plan,
        structure=Unstructured(name="x"),
        criterion=criterion or Magnitude(name="x"),
        distribution=Uniform(name="x", layers={}),
        prunables=prunables,
        seed=0,
    )


def small_model(kernel):
    keras = backend.keras()
    inputs = keras.Input((kernel.shape[0],), name="input")
    outputs = keras.layers.Dense(kernel.shape[1], name="dense", use_bias=False)(inputs)
    model = keras.Model(inputs, outputs)
    model.set_weights([kernel])
    return model


def under_masks(model, masks, engine="pruneflow"):
    from pruneflow.sparsity import tfmot_engine

    return (tfmot_engine.wrap if engine == "tfmot" else mask_in_place)(model, masks)


def callbacks_of(masked):
    from pruneflow.training.callbacks import pruning_callbacks

    return pruning_callbacks(masked)


def fit(masked, steps, learning_rate=0.0):
    model = masked.model
    model.compile(backend.keras().optimizers.SGD(learning_rate), loss="mse")
    x = np.ones((steps, model.input_shape[1]), np.float32)
    y = np.zeros((steps, model.output_shape[1]), np.float32)
    model.fit(x, y, batch_size=1, epochs=1, verbose=0, callbacks=callbacks_of(masked))


def pruned(kernel, plan, learning_rate=0.0, steps=None):
    """A dense layer with ``kernel``, trained under masks over the steps of ``plan``."""
    model = small_model(kernel)
    masked = under_masks(model, masks_of(model, plan))
    fit(masked, steps or plan.total_steps, learning_rate)
    return masked


def mask_of(masked):
    (mask,) = masked.masks().values()
    return mask


def test_the_smallest_magnitudes_are_masked():
    kernel = np.array([[0.1, -0.9], [-0.3, 0.7], [0.5, -0.2]], np.float32)
    masked = pruned(kernel, plan(1, final=0.5))
    np.testing.assert_array_equal(mask_of(masked), [[0, 1], [0, 1], [1, 0]])
    assert masked.thresholds() == {"dense/kernel": 0.5}
    stripped = masked.strip()
    np.testing.assert_array_equal(stripped.get_weights()[0], np.float32([[0, -0.9], [0, 0.7], [0.5, 0]]))


def test_at_least_one_weight_is_kept():
    masked = pruned(np.array([[0.1], [0.2]], np.float32), plan(1, final=0.99))
    np.testing.assert_array_equal(mask_of(masked), [[0], [1]])


@pytest.mark.run
@pytest.mark.parametrize(
    ("kernel", "final", "stock_zeros", "our_zeros"),
    [
        (np.full((10, 10), 0.5), 0.8, 0, 80),  # all equal: tfmot keeps all
        (np.sign(np.arange(99) % 3 - 1.0).reshape(9, 11), 0.5, 33, 49),  # ternary, round(49.5) = 50 stay
        (np.eye(10) * 0.5 + np.eye(10, k=1) * 0.1, 0.5, 0, 50),  # 81 % zero already: the threshold is 0
    ],
)
def test_where_weights_tie_tfmot_misses_its_target_and_pruneflow_keeps_the_lowest_indices(
    kernel, final, stock_zeros, our_zeros
):
    model = small_model(kernel.astype(np.float32))
    wanted = plan(1, final=final)
    found = {}
    for engine in ("tfmot", "pruneflow"):
        masked = under_masks(model, masks_of(model, wanted), engine)
        fit(masked, 1)
        found[engine] = mask_of(masked)
    assert int((found["tfmot"] == 0).sum()) == stock_zeros
    assert int((found["pruneflow"] == 0).sum()) == our_zeros
    kept = found["pruneflow"].ravel() != 0
    size = np.abs(kernel.ravel())
    threshold = size[kept].min()
    tied = np.flatnonzero(size == threshold)
    assert kept[size > threshold].all()
    assert not kept[size < threshold].any()
    assert (np.diff(kept[tied].astype(int)) <= 0).all()


def test_masks_change_only_at_the_updates_of_the_plan():
    kernel = (np.arange(1, 101, dtype=np.float32) / 100).reshape(10, 10)
    model, wanted = small_model(kernel), plan(7, frequency=3, schedule=Polynomial, begin_step=1)
    masked = under_masks(model, masks_of(model, wanted))
    seen = []
    keras = backend.keras()
    model.compile(keras.optimizers.SGD(0.0), loss="mse")
    spy = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(int((mask_of(masked) == 0).sum()))
    )
    callbacks = [*callbacks_of(masked), spy]
    model.fit(np.ones((7, 10)), np.ones((7, 10)), batch_size=1, verbose=0, callbacks=callbacks)
    # updates at steps 1, 4, 7; sparsity 0, 0.8 - 0.8/8 = 0.7, 0.8
    assert list(wanted.updates) == [1, 4, 7]
    assert seen == [0, 0, 0, 70, 70, 70, 80]


def test_validation_sees_the_masked_network():
    model = small_model(np.eye(10, dtype=np.float32) + 0.1)
    masked = under_masks(model, masks_of(model, plan(2, final=0.9)))
    keras = backend.keras()
    model.compile(keras.optimizers.SGD(0.5), loss="mse")
    seen = []
    spy = keras.callbacks.LambdaCallback(
        on_test_batch_end=lambda batch, logs: seen.append(model.layers[1].kernel.numpy())
    )
    x, y = np.ones((2, 10)), np.zeros((2, 10))
    callbacks = [*callbacks_of(masked), spy]
    model.fit(x, y, batch_size=1, validation_data=(x, y), verbose=0, callbacks=callbacks)
    assert int((seen[0] == 0).sum()) == 90


LAYERS = {
    "convolution": lambda layers: [
        layers.Conv2D(6, 3, name="conv", input_shape=(8, 8, 3)),
        layers.Flatten(name="flatten"),
        layers.Dense(5, name="dense"),
    ],
    "embedding and LSTM": lambda layers: [
        layers.Embedding(50, 7, input_length=9, name="embedding"),
        layers.LSTM(6, name="lstm"),
        layers.Dense(5, name="dense"),
    ],
    "separable and transposed convolution": lambda layers: [
        layers.SeparableConv2D(4, 3, name="separable", input_shape=(6, 6, 2)),
        layers.Conv2DTranspose(3, 3, name="transposed"),
        layers.GlobalAveragePooling2D(name="average"),
        layers.Dense(5, name="dense"),
    ],
}


def network(kind):
    """A network of ``kind`` whose weights have no two of equal magnitude, and examples for it."""
    keras = backend.keras()
    model = keras.Sequential(LAYERS[kind](keras.layers), name="network")
    rng = np.random.default_rng(5)
    model.set_weights([rng.normal(size=weight.shape).astype(np.float32) * 0.3 for weight in model.weights])
    flat = np.abs(np.concatenate([weight.numpy().ravel() for weight in model.weights]))
    assert len(np.unique(flat)) == len(flat)
    x = (
        rng.integers(0, 50, (63, 9))
        if kind.startswith("emb")
        else rng.normal(size=(63, *model.input_shape[1:]))
    )
    return model, x.astype(np.int32 if kind.startswith("emb") else np.float32), rng.integers(0, 5, 63)


# Each kind of layer at 0.9, where it is trained in one pass too; two other sparsities and both schedules.
STOCK = [
    ("convolution", 0.5, Constant),
    ("convolution", 0.9, Polynomial),
    ("embedding and LSTM", 0.9, Constant),
    ("embedding and LSTM", 0.99, Polynomial),
    ("separable and transposed convolution", 0.9, Polynomial),
]


@pytest.mark.long
@pytest.mark.parametrize(("kind", "final", "schedule"), STOCK)
def test_masks_thresholds_and_weights_are_those_of_stock_tfmot_bit_for_bit(
    kind, final, schedule, monkeypatch
):
    from pruneflow.runtime import fused
    from pruneflow.training import adam

    keras, sparsity = backend.keras(), backend.tfmot().sparsity.keras
    wanted = plan(
        42, final=final, frequency=5, schedule=schedule, begin_step=2, end_step=37, initial_sparsity=0.3
    )
    stock_schedule = (
        sparsity.PolynomialDecay(0.3, final, 2, 37, frequency=5)
        if schedule is Polynomial
        else sparsity.ConstantSparsity(final, 2, 37, frequency=5)
    )
    masks = masks_of(network(kind)[0], wanted)
    trained = {}
    # what XLA compiles is the same at each sparsity
    in_one_pass = ["ours in one pass"] if final == 0.9 else []
    for name, engine, optimizer in [
        ("stock", None, keras.optimizers.Adam),
        ("control", "tfmot", keras.optimizers.Adam),
        ("ours", "pruneflow", adam.Adam),
        *((name, "pruneflow", adam.Adam) for name in in_one_pass),
    ]:
        monkeypatch.setattr(fused, "LEAST", 1 if name == "ours in one pass" else 1 << 18)
        model, x, y = network(kind)
        if engine:
            masked = under_masks(model, masks, engine)
            model, callbacks = masked.model, callbacks_of(masked)
        else:
            model = sparsity.prune_low_magnitude(model, pruning_schedule=stock_schedule)
            callbacks = [sparsity.UpdatePruningStep()]
        model.compile(optimizer(0.003), "sparse_categorical_crossentropy", metrics=["accuracy"])
        validation = (x[:20], y[:20])
        options = {"batch_size": 9, "shuffle": False, "verbose": 0, "validation_data": validation}
        history = model.fit(x, y, epochs=6, callbacks=callbacks, **options)
        variables = (
            [v for each in masked.weights for v in (each.weight, each.mask, each.threshold)]
            if engine
            else [v for layer in model.layers for three in getattr(layer, "pruning_vars", ()) for v in three]
        )
        variables = [v.numpy().astype(np.float32) for v in variables]  # our masks are boolean
        trainable = [weight.numpy() for weight in model.trainable_weights]
        trained[name] = [*variables, *trainable, *map(np.asarray, history.history.values())]
    for name in ("control", "ours", *in_one_pass):
        for mine, theirs in zip(trained[name], trained["stock"], strict=True):
            assert mine.tobytes() == theirs.tobytes(), name


def test_the_network_given_is_the_one_that_is_trained_until_it_is_stripped():
    model = small_model(np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32))
    layers, variables, own = list(model.layers), [id(v) for v in model.variables], model.train_step
    masked = under_masks(model, masks_of(model, plan(4)))
    assert masked.model is model
    assert model.train_step != own
    fit(masked, 4, learning_rate=0.1)
    assert masked.strip() is model
    assert model.layers == layers
    assert [id(v) for v in model.variables] == variables
    assert model.train_step == own


def test_masks_of_an_earlier_call_are_taken_off():
    model = small_model(np.ones((6, 4), np.float32))
    own = model.train_step
    first, second = (under_masks(model, masks_of(model, plan(1, final=s))) for s in (0.5, 0.25))
    fit(second, 1)
    assert [masked.masks()["dense/kernel"].sum() for masked in (first, second)] == [24, 18]
    first.detach()
    assert model.train_step.masked is second
    second.detach()
    assert model.train_step == own


def test_measuring_counts_masked_weights_as_zero_without_changing_them():
    masked = pruned(np.random.default_rng(0).normal(size=(10, 10)).astype(np.float32), plan(1))
    layer = masked.model.layers[1]
    layer.kernel.assign(layer.kernel + 1.0)  # an optimizer step moves masked weights too
    before = layer.kernel.numpy()
    (measured,) = masked.measure(1)
    assert (measured.name, measured.weight, measured.shape) == ("dense", "kernel", (10, 10))
    assert (measured.zeros, measured.masked, measured.measured_sparsity) == (80, 80, 0.8)
    assert (measured.requested_sparsity, measured.expected, measured.tolerance) == (0.8, 80, 0)
    np.testing.assert_array_equal(layer.kernel.numpy(), before)


@pytest.mark.parametrize("engine", ["pruneflow", "tfmot"])
def test_stripping_applies_the_masks_first(engine):
    model = small_model(np.eye(10, dtype=np.float32) + 0.1)
    masked = under_masks(model, masks_of(model, plan(1, final=0.9)), engine)
    fit(masked, 1)
    masked.weights[0].weight.assign_add(np.ones((10, 10), np.float32))
    assert masked.strip() is model
    kept = masked.masks()["dense/kernel"]
    assert (model.get_weights()[0][~kept] == 0).all()
    assert (model.get_weights()[0][kept] != 0).all()


def test_zeros_of_a_stripped_network_have_no_sign():
    kernel = np.array([[0.1, -0.9], [-0.3, 0.7], [0.5, -0.2]], np.float32)
    masked = pruned(kernel, plan(1, final=0.5))
    weight = masked.weights[0].weight
    weight.assign_sub(np.ones((3, 2), np.float32))  # as a step moves them
    masked.apply()
    before = weight.numpy()
    assert np.signbit(before[before == 0]).any()  # as tfmot leaves them
    (stripped,) = masked.strip().get_weights()
    np.testing.assert_array_equal(stripped, before)
    assert not np.signbit(stripped[stripped == 0]).any()
    assert stripped.dtype == np.float32


def test_taylor_keeps_where_gradient_times_weight_is_largest():
    """Loss (x w)^2 / 2 of one output at x = (1, 2): gradient x_i s with s = w1 + 2 w2, by hand."""
    keras = backend.keras()
    model = small_model(np.array([[0.9], [0.5]], np.float32))  # by magnitude the first would be kept
    wanted = plan(3, final=0.5, frequency=2, begin_step=0)
    masked = under_masks(model, masks_of(model, wanted, criterion=Taylor(name="x")))
    model.compile(keras.optimizers.SGD(0.0), loss=lambda y, out: keras.backend.sum(out**2) / 2)
    seen = []
    spy = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(masked.weights[0].saliency.numpy().ravel())
    )
    callbacks = [*callbacks_of(masked), spy]
    model.fit(np.float32([[1, 2]] * 3), np.zeros((3, 1)), batch_size=1, verbose=0, callbacks=callbacks)
    s = 0.9 + 2 * 0.5
    np.testing.assert_allclose(seen[0], [s * 1 * 0.9, s * 2 * 0.5], rtol=1e-6)
    # the update before step 2 masks the first weight and begins anew: s = 1, gradient of the masked one is 1
    np.testing.assert_allclose(seen[1], [0, 1 * 2 * 0.5], rtol=1e-6)
    np.testing.assert_allclose(seen[2], [0, 2 * 1 * 2 * 0.5], rtol=1e-6)
    np.testing.assert_array_equal(mask_of(masked), [[0], [1]])


@pytest.mark.run
def test_layers_without_prunable_weights_are_listed_with_the_reason(composed):
    config = composed("experiment=mnist_cnn", "pruning.skip=[dense_1]")
    model = config.model.build(tiny_spec())
    selection = config.pruning.select(model)
    assert selection.pruned == ("conv2d", "conv2d_1", "dense")
    assert selection.left["dense_1"] == "pruning.skip=dense_1"
    assert selection.left["max_pooling2d"] == "has no weights"
    assert selection.left["batch_normalization"] == "no weight of BatchNormalization is pruned"


def test_include_leaves_the_rest_dense(composed):
    config = composed("pruning.include=[conv*]")
    selection = config.pruning.select(config.model.build(tiny_spec()))
    assert selection.pruned == ("conv2d",)
    assert selection.left["dense"] == "not in pruning.include"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pruning.skip=[foo*]", r"pruning\.skip=foo\*: it matches no layer; the layers are input, conv2d"),
        ("pruning.include=[foo]", r"pruning\.include=foo: it matches no layer"),
        ("pruning.skip=['*']", "no layer is left to prune"),
        ("pruning.include=[flatten]", "no layer is left to prune"),
    ],
)
def test_patterns_that_match_nothing_are_refused(composed, override, message):
    config = composed(override)
    with pytest.raises(ConfigError, match=message):
        config.pruning.select(config.model.build(tiny_spec()))


def test_an_empty_include_is_refused(composed):
    with pytest.raises(ConfigError, match=r"pruning\.include=\[\]"):
        composed("pruning.include=[]")


def tiny_spec():
    from pruneflow.datasets.spec import Spec

    return Spec(kind="image", shape=(28, 28, 1), classes=10)


@pytest.mark.run
def test_a_stripped_model_loads_without_tfmot(tmp_path, composed):
    config = composed()
    model = config.model.build(tiny_spec())
    stripped = under_masks(model, masks_of(model, plan(1))).strip()
    from pruneflow.flow.networks import _h5

    (tmp_path / "pruned.h5").write_bytes(_h5(stripped))
    code = (
        "import sys, json, tf_keras; m = tf_keras.models.load_model('pruned.h5', compile=False); "
        "print(json.dumps(['tensorflow_model_optimization' in sys.modules, [l.name for l in m.layers]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    loaded_tfmot, names = json.loads(done.stdout.splitlines()[-1])
    assert not loaded_tfmot
    assert names == ["input", "conv2d", "max_pooling2d", "flatten", "dense"]
