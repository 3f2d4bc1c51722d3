"""pruneflow as a library: a whole run, and pruning and export in somebody's own fit."""

import doctest
import importlib
import json
import logging
import os
import random
import re
import runpy
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import forked
import numpy as np
import pytest
from conftest import QUICK
from hydra.core.global_hydra import GlobalHydra
from support import ROOT

import pruneflow
from pruneflow import api
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.flow import results
from pruneflow.flow.config import plain
from pruneflow.options import choices
from pruneflow.runtime import backend
from pruneflow.sparsity.measure import SparsityNotReachedError, count_zeros


def keras():
    return backend.keras()


def network(units=16):
    layers = keras().layers
    hidden = layers.Dense(units, activation="relu", name="hidden")
    return keras().Sequential([keras().Input((8,), name="input"), hidden, layers.Dense(2, name="scores")])


def examples(count=160):
    x = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(np.int64)


def fitted(pruned, *, epochs):
    """Ten steps an epoch."""
    loss = keras().losses.SparseCategoricalCrossentropy(from_logits=True)
    pruned.model.compile("adam", loss)
    x, y = examples()
    pruned.model.fit(x, y, batch_size=16, epochs=epochs, callbacks=pruned.callbacks, verbose=0)
    return pruned


def weights(model):
    return {layer.name: layer.get_weights()[0] for layer in model.layers if layer.get_weights()}


# A whole run


@pytest.mark.run
def test_a_run_is_what_the_command_line_makes_of_the_same_words(tmp_path):
    words = [*QUICK, "schedule.final_sparsity=0.9", "stages.reuse=false"]
    result = pruneflow.run(words, folder=tmp_path / "mine")
    written = json.loads((tmp_path / "mine" / "result.json").read_text())
    line = [sys.executable, "-m", "pruneflow", *words, "hydra.run.dir=typed"]
    assert forked.run(line).returncode == 0
    typed = json.loads((tmp_path / "typed" / "result.json").read_text())
    for key in ("config", "data", "plan", "dense", "pruned"):
        assert written[key] == typed[key]
    assert result.tflite[0].accuracy == typed["tflite"][0]["accuracy"]
    files = [(tmp_path / run / "pruned-float.tflite").read_bytes() for run in ("mine", "typed")]
    assert files[0] == files[1]
    assert written["command"] == typed["command"]


@pytest.mark.run
def test_a_run_changes_neither_logging_nor_the_working_folder_nor_somebody_elses_hydra(
    tmp_path, monkeypatch, shared_stages
):
    logger = logging.getLogger()
    monkeypatch.setattr(logger, "handlers", [])  # as where nobody has set up logging
    before = list(logger.handlers), logger.level, Path.cwd(), GlobalHydra.instance().hydra
    config = pruneflow.compose([*QUICK, shared_stages])
    config.schedule.final_sparsity = 0.75
    result = pruneflow.run(config)
    assert (list(logger.handlers), logger.level, Path.cwd(), GlobalHydra.instance().hydra) == before
    (file,) = tmp_path.glob("outputs/2*/*/result.json")
    assert result.pruned.requested_sparsity == 0.75
    assert [path.name for path in file.parent.iterdir() if path.name.startswith(".")] == [".hydra"]


def test_composing_inside_somebody_elses_hydra_leaves_it_as_it_was(tmp_path):
    import hydra

    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "main.yaml").write_text("a: 1\n")
    with hydra.initialize_config_dir(str(tmp_path / "own"), version_base="1.3"):
        assert pruneflow.compose(["model=lstm", "dataset=imdb"]).model.name == "lstm"
        assert hydra.compose("main") == {"a": 1}


@pytest.mark.run
def test_a_report_is_made_where_it_is_asked_for(tmp_path, shared_stages):
    pruneflow.run([*QUICK, shared_stages], folder=tmp_path / "run", report=True)
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["schedule.final_sparsity=1.5"], "schedule.final_sparsity=1.5: sparsity is the fraction of zeros"),
        (["typo=1"], "typo: there is no such key."),
        (
            ["distribution.foo=1"],
            "distribution.foo: there is no such key. Did you mean distribution.name=1 or ",
        ),
        (["modle=cnn"], "modle: there is no such key. Did you mean model=cnn? "),
        (["model.hidden_units=[16]"], "model.hidden_units: model=cnn has no such key; model=mlp has it."),
        (["model.units=9"], "model.units: model=cnn has no such key; model=gru and model=lstm have it."),
        (["schedule.frequency=2000"], "schedule.frequency=2000: it never fires"),
        (["pruning.skip=[foo]"], "pruning.skip=foo: it matches no layer"),
        (["model"], "model: "),
        ("model=cnn", "settings='model=cnn': it must be a list, such as ['model=cnn']."),
    ],
)
def test_settings_that_cannot_be_used_raise_before_anything_is_written(tmp_path, settings, said):
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}"):
        pruneflow.run(settings, folder=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda config: setattr(config.schedule, "final_sparsity", 75), "schedule.final_sparsity=75"),
        (
            lambda config: setattr(config.trainer, "epochs", -3),
            "trainer.epochs=-3: allowed are numbers from 0",
        ),
        (
            lambda config: setattr(config.trainer, "epochs", "many"),
            "trainer.epochs=many: it must be a whole number. python -m pruneflow --cfg job shows",
        ),
        (
            lambda config: setattr(config.trainer.early_stopping, "patience", "long"),
            "trainer.early_stopping.patience=long: it must be a whole number",
        ),
        (
            lambda config: setattr(config.schedule, "final_sparsity", None),
            "schedule.final_sparsity=null: null is not allowed here",
        ),
        (lambda config: setattr(config, "seed", -1), "seed=-1: allowed are whole numbers"),
    ],
)
def test_changed_settings_are_checked_again(tmp_path, change, said):
    config = pruneflow.compose(QUICK)
    change(config)
    with pytest.raises(ConfigError, match=re.escape(said)):
        pruneflow.run(config, folder=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.run
def test_the_command_of_changed_settings_makes_them_again(tmp_path, shared_stages):
    words = [*QUICK, shared_stages, "structure=block_4x1", "export=int8"]
    config = pruneflow.compose(words)
    config.schedule.final_sparsity = 0.75
    config.distribution.layers = {"conv2d": 0.5}
    result = pruneflow.run(config, folder=tmp_path / "run")
    typed = shlex.split(result.command)[3:]
    assert plain(pruneflow.compose(typed)) == plain(config)
    assert not set(typed) & {"model=cnn", "dataset=mnist"} and "structure=block" in typed
    assert (tmp_path / "run" / ".hydra" / "overrides.yaml").is_file()
    assert (tmp_path / "run" / "int8").is_dir()  # for TensorBoard


@pytest.mark.run
@pytest.mark.parametrize(
    "words",
    [
        ["model=mlp", "dataset=arrays", "dataset.path=nowhere.npz"],
        [
            "model=gru",
            "dataset=csv_text",
            "dataset.path=nowhere.csv",
            "dataset.class_weights={good:2.5,no:0}",
        ],
        ["model=mobilenet", "dataset=image_folder", "dataset.path=no where/"],
        ["model=cnn", "dataset=image_folder", "dataset.path=no where/", "dataset.class_weights={1:2,b c:3}"],
        ["model=resnet8", "dataset=image_folder", "dataset.path=no where/", "augmentation=images"],
        ["model=keras_file", "model.path=nowhere.h5", "model.pixels=[0,255]"],
        ["model=custom", "model.factory=nowhere:build", "model.arguments={units:3,sizes:[1,2]}"],
        ["model=mlp", "dataset=custom", "dataset.factory=nowhere:load"],
        ["structure=channel", "then=n_of_m", "model=keras_file", "model.path=nowhere.h5"],
        ["structure=channel", "then=block_4x1", "model=keras_file", "model.path=nowhere.h5"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_composed_settings_of_every_option_run_and_are_spelled_as_they_were(tmp_path, words):
    """Also of those that take no run without a file or a function."""
    config = pruneflow.compose(words)
    assert plain(pruneflow.compose(api._words_of(config))) == plain(config)
    with pytest.raises(PruneflowError, match=r"no ?where"):
        pruneflow.run(config, folder=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.run
def test_threads_compose_and_run_one_after_the_other(monkeypatch):
    running, most = [], []

    def run_slowly(*given):
        running.append(given)
        time.sleep(0.02)
        most.append(len(running))
        running.pop()

    def work(_):
        for count in range(2, 4):
            assert pruneflow.compose([f"seed={count}"]).seed == count
        pruneflow.run()

    monkeypatch.setattr(api, "_run", run_slowly)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))
    assert most == [1] * 4


def test_a_run_gives_precision_and_random_numbers_back_also_when_it_fails(monkeypatch):
    mixed = keras().mixed_precision

    def fail(*given, report):
        backend.set_seed(7)
        mixed.set_global_policy("mixed_float16")
        raise PruneflowError("no more")

    monkeypatch.setattr(api, "_carried_out", fail)
    random.seed(1)
    np.random.seed(1)
    expected = random.random(), np.random.random()
    random.seed(1)
    np.random.seed(1)
    with pytest.raises(PruneflowError, match="no more"):
        pruneflow.run()
    assert (random.random(), np.random.random()) == expected
    assert mixed.global_policy().name == "float32"


@pytest.mark.run
def test_a_run_that_failed_leaves_its_message_and_may_be_run_again(tmp_path, shared_stages):
    bad = [*QUICK, "trainer.optimizer=sgd", "trainer.dense_learning_rate=1e30"]
    with pytest.raises(PruneflowError, match="Training diverged"):
        pruneflow.run(bad, folder=tmp_path / "run")
    assert "Training diverged" in (tmp_path / "run" / "failure.json").read_text()
    pruneflow.run([*QUICK, shared_stages], folder=tmp_path / "run")
    assert (tmp_path / "run" / "result.json").is_file()
    assert not (tmp_path / "run" / "failure.json").exists()


@pytest.mark.run
def test_a_run_whose_message_could_not_be_written_may_be_run_again_with_the_same_settings(
    tmp_path, monkeypatch, shared_stages
):
    words = [*QUICK, shared_stages]

    def full(*_):
        raise PruneflowError("No space left on device")

    with monkeypatch.context() as patched, pytest.raises(PruneflowError, match="No space"):
        patched.setattr(api, "record_failure", full)
        patched.setattr(results, "write", full)
        pruneflow.run(words, folder=tmp_path / "run")
    with pytest.raises(ConfigError, match="there is a run in this folder already"):
        pruneflow.run([*words, "seed=1"], folder=tmp_path / "run")
    assert pruneflow.run(words, folder=tmp_path / "run").seed == 0


def test_no_run_is_written_over(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "result.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"folder=.*: there is a run in this folder already"):
        pruneflow.run(QUICK, folder=tmp_path / "run")


def test_own_yaml_composes(tmp_path):
    (tmp_path / "schedule").mkdir()
    (tmp_path / "schedule" / "gentle.yaml").write_text(
        "defaults: [polynomial, _self_]\nfinal_sparsity: 0.6\n"
    )
    assert pruneflow.compose(["schedule=gentle"], config_dir=tmp_path).schedule.final_sparsity == 0.6
    with pytest.raises(ConfigError, match="config_dir=nowhere: there is no such folder"):
        pruneflow.compose([], config_dir="nowhere")


# Somebody's own fit


@pytest.mark.parametrize("copy", [False, True])
def test_a_model_is_pruned_in_a_fit_of_ones_own(copy):
    model = network()
    before = weights(model)
    pruned = fitted(pruneflow.prune(model, steps=40, schedule={"final_sparsity": 0.75}, copy=copy), epochs=4)
    plain = pruned.strip()
    assert (plain is model) == (not copy)
    assert {name: count_zeros(weight) for name, weight in weights(plain).items()} == {
        "hidden": 96,
        "scores": 24,
    }
    assert all(np.array_equal(weights(model)[name], before[name]) for name in before) == copy
    assert [type(layer).__name__ for layer in plain.layers] == ["Dense", "Dense"]


def test_a_model_whose_units_are_removed_is_given_back_smaller():
    model = network()
    structure = {"name": "channel", "of": "channels"}
    schedule = {"final_sparsity": 0.75}
    pruned = fitted(pruneflow.prune(model, steps=40, schedule=schedule, structure=structure), epochs=4)
    small = pruned.strip()
    assert (model.get_layer("hidden").units, small.get_layer("hidden").units) == (16, 4)
    x = np.random.default_rng(0).normal(size=(20, *model.input_shape[1:])).astype("float32")
    assert np.abs(model.predict(x, verbose=0) - small.predict(x, verbose=0)).max() < 1e-5


def test_options_are_names_dictionaries_or_objects():
    config = pruneflow.compose(["schedule=constant", "schedule.final_sparsity=0.5"])
    structure = {"name": "block", "inputs": 2, "outputs": 1}
    chosen = {"schedule": config.schedule, "structure": structure, "criterion": "random"}
    plan = pruneflow.prune(network(), steps=40, seed=3, skip=["scores"], **chosen).plan
    assert (plan.plan.schedule.final_sparsity, plan.structure.inputs, plan.criterion.name) == (
        0.5,
        2,
        "random",
    )
    assert ([prunable.name for prunable in plan.prunables], plan.seed) == (["hidden/kernel"], 3)


def test_dictionaries_hold_lists_mappings_and_nothing():
    layers = {"hidden": 0.5, "scores": 0.25}
    chosen = {"distribution": {"layers": layers}, "schedule": {"begin_step": None, "end_step": 31}}
    plan = pruneflow.prune(network(), steps=40, **chosen).plan
    assert plan.sparsities_after(40) == {"hidden/kernel": 0.5, "scores/kernel": 0.25}
    assert plan.plan.end_step == 31


def test_counts_may_be_those_of_numpy_and_a_pattern_may_stand_alone():
    plan = pruneflow.prune(network(), steps=np.int64(40), skip="sco*", seed=np.int32(3)).plan
    assert ([prunable.name for prunable in plan.prunables], plan.seed) == (["hidden/kernel"], 3)


def test_a_function_without_a_name_is_pruned_and_frozen_layers_are_not():
    model = network()
    model.get_layer("hidden").activation = lambda x: x * x
    model.get_layer("scores").trainable = False
    pruned = fitted(pruneflow.prune(model, steps=20, schedule={"final_sparsity": 0.75}), epochs=2)
    plain = pruned.strip()
    assert {name: count_zeros(weight) for name, weight in weights(plain).items()} == {
        "hidden": 96,
        "scores": 0,
    }
    x, _ = examples(10)
    np.testing.assert_array_equal(plain(x), pruned.model(x))


def test_a_copy_that_would_say_something_else_is_refused():
    class Counting(keras().layers.Layer):
        """Its copy begins with another number."""

        made = 0

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            Counting.made += 1
            self.factor = Counting.made

        def call(self, x):
            return x * self.factor

    class Uncopyable(keras().layers.Dense):
        def __init__(self, units, *, wanted):
            super().__init__(units, name="uncopyable")

    for layer, said in (
        (Counting(), "the copy of model gives other outputs"),
        (Uncopyable(4, wanted=1), "Keras cannot copy model: "),
    ):
        model = keras().Sequential([keras().Input((8,)), layer, keras().layers.Dense(2)], name="model")
        with pytest.raises(ConfigError, match=f"^copy=true: {said}"):
            pruneflow.prune(model, steps=20, copy=True)
        pruneflow.prune(model, steps=20)


def test_a_copy_of_keras_3_has_what_its_normalization_was_adapted_to():
    layers = backend.keras3().layers
    normalization = layers.Normalization()
    normalization.adapt(np.float32([[1, 10], [3, 30]]))
    model = backend.keras3().Sequential([backend.keras3().Input((2,)), normalization, layers.Dense(2)])
    assert pruneflow.prune(model, steps=20, copy=True).model is not model


ORDERS = {
    "TensorFlow first": ("import tensorflow as tf; tf.keras.layers; import pruneflow", None, "keras"),
    "pruneflow first": ("import pruneflow; pruneflow.compose(); import tensorflow as tf", None, "keras"),
    "Keras 2 is asked for": ("import tensorflow as tf; import pruneflow", "1", "tf_keras"),
}


@pytest.mark.run
@pytest.mark.parametrize("order", ORDERS)
def test_the_order_of_imports_does_not_matter(order):
    imports, legacy, kind = ORDERS[order]
    code = f"""
{imports}
import numpy as np
layers = tf.keras.layers
model = tf.keras.Sequential([tf.keras.Input((8,)), layers.Dense(4, activation="relu"), layers.Dense(2)])
pruned = pruneflow.prune(model, steps=4, schedule={{"final_sparsity": 0.5}})
model.compile("adam", "mse")
model.fit(np.ones((8, 8)), np.ones((8, 2)), batch_size=4, epochs=2, callbacks=pruned.callbacks, verbose=0)
plain = pruned.strip()
print(type(model).__module__.split(".")[0], [int((w == 0).sum()) for w in plain.get_weights() if w.ndim > 1])
"""
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    environment |= {"TF_USE_LEGACY_KERAS": legacy} if legacy else {}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.stdout == f"{kind} [16, 4]\n", done.stderr[-2000:]


def test_a_model_that_tfmot_has_wrapped_is_refused():
    model = backend.tfmot().sparsity.keras.prune_low_magnitude(network())
    with pytest.raises(
        ConfigError, match=r"wrapped by tfmot \(PruneLowMagnitude\)\. Take them off first: tfmot"
    ):
        pruneflow.prune(model, steps=20)


def test_a_model_of_several_replicas_is_stripped():
    """One here: its variables are mirrored all the same."""
    with backend.tensorflow().distribute.MirroredStrategy(["CPU:0"]).scope():
        pruned = pruneflow.prune(network(), steps=20, schedule={"final_sparsity": 0.75})
        pruned.model.compile("adam", keras().losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = examples()
    pruned.model.fit(x, y, batch_size=16, epochs=2, callbacks=pruned.callbacks, verbose=0)
    assert {name: count_zeros(each) for name, each in weights(pruned.strip()).items()} == {
        "hidden": 96,
        "scores": 24,
    }


@pytest.mark.parametrize("model", [None, "model.h5", object()])
def test_what_is_no_model_of_keras_is_refused(model):
    for work in (lambda: pruneflow.prune(model, steps=40), lambda: pruneflow.export(model)):
        with pytest.raises(ConfigError, match=r"^model=.*: it must be a built model of Keras 3"):
            work()


def test_the_initial_share_counts_only_where_there_are_steps():
    low = {"final_sparsity": 0.25}
    pruned = pruneflow.prune(network(), steps=0, schedule=low)
    assert {round(float(mask.mean()), 2) for mask in pruned._masked.masks().values()} == {0.75}
    with pytest.raises(ConfigError, match=r"Set schedule\.initial_sparsity=0, since"):
        pruneflow.prune(network(), steps=40, schedule=low)


def test_too_few_steps_are_noticed_when_the_network_is_stripped():
    pruned = fitted(pruneflow.prune(network(), steps=40, schedule={"initial_sparsity": 0.0}), epochs=1)
    with pytest.raises(SparsityNotReachedError, match="hidden/kernel has"):
        pruned.strip()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"steps": -1}, "steps=-1: allowed are whole numbers from 0"),
        ({"steps": 9.5}, "steps=9.5: allowed are whole numbers from 0"),
        ({"schedule": "never"}, "schedule=never: there is no such option"),
        ({"schedule": {"final_sparsity": 2}}, "schedule.final_sparsity=2.0: sparsity is the fraction"),
        (
            {"structure": {"name": "block", "inputs": 99}},
            "structure.inputs=99: it is more than hidden/kernel",
        ),
        ({"skip": ["foo"]}, "pruning.skip=foo: it matches no layer; the layers are hidden, scores"),
        ({"distribution": "sensitivity"}, "distribution=sensitivity: it needs a scan of the trained network"),
        ({"masks": "none"}, "prune(...)=masks: allowed are schedule, structure, criterion, distribution"),
    ],
)
def test_what_cannot_be_pruned_is_refused(arguments, said):
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}"):
        pruneflow.prune(network(), **{"steps": 40, **arguments})


@pytest.mark.parametrize("kind", ["float", "dynamic-range", "int8"])
@pytest.mark.parametrize("encoding", ["dense", "auto"])
def test_a_model_is_exported_and_the_file_gives_what_the_model_gives(tmp_path, kind, encoding):
    x, _ = examples(40)
    model = network()
    file = tmp_path / "model.tflite"
    content = pruneflow.export(model, file, kind=kind, encoding=encoding, examples=x)
    assert file.read_bytes() == content
    interpreter = backend.litert().Interpreter(model_content=content)
    interpreter.allocate_tensors()
    into, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert tuple(into["shape"]) == (1, 8)
    for example, expected in zip(x[:10], model.predict(x[:10], verbose=0), strict=True):
        interpreter.set_tensor(into["index"], quantized(example[None], into))
        interpreter.invoke()
        given = interpreter.get_tensor(out["index"])[0].astype(np.float32)
        scale, zero = out["quantization"]
        given = (given - zero) * scale if scale else given
        assert np.abs(given - expected).max() < (1e-5 if kind == "float" else 0.1)


def quantized(values, tensor):
    scale, zero = tensor["quantization"]
    return np.round(values / scale + zero).clip(-128, 127).astype(np.int8) if scale else values


def test_a_model_of_token_ids_is_exported():
    layers = keras().layers
    inputs = keras().Input((6,), dtype="int32")
    model = keras().Model(inputs, layers.Dense(1)(layers.Flatten()(layers.Embedding(9, 4)(inputs))))
    assert pruneflow.export(model).startswith(b"")
    ids = np.arange(60).reshape(10, 6) % 9
    assert len(pruneflow.export(model, kind="int8", examples=ids)) > 100


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"kind": "int2"}, "kind=int2: allowed are float, float16, dynamic-range, int8, int16x8, int4"),
        ({"kind": "int4", "encoding": "auto"}, "encoding=auto: a file of the kind int4 has no sparse"),
        ({"kind": "int16x8"}, "examples=null: int16x8 reads the ranges"),
        ({"encoding": "zip"}, "encoding=zip: allowed are dense, sparse, auto"),
        ({"kind": "int8"}, "examples=null: int8 reads the ranges"),
        ({"examples": np.zeros((3, 5))}, "examples=an array of (3, 5): the model reads (8,)"),
        ({"examples": np.zeros((0, 8))}, "examples=an array of (0, 8): the model reads (8,)"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_no_file_is_left(tmp_path, arguments, said):
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}"):
        pruneflow.export(network(), tmp_path / "model.tflite", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_reads_any_size_is_exported_for_that_of_the_examples():
    layers = keras().layers
    inputs = keras().Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(inputs))
    model = keras().Model(inputs, layers.Dense(2)(x))
    interpreter = backend.litert().Interpreter(
        model_content=pruneflow.export(model, examples=np.zeros((3, 9, 7, 3)))
    )
    assert interpreter.get_input_details()[0]["shape"].tolist() == [1, 9, 7, 3]
    with pytest.raises(
        ConfigError, match=r"examples=null: the model reads \(None, None, 3\), any size where"
    ):
        pruneflow.export(model)
    with pytest.raises(ConfigError, match=r"examples=an array of \(3, 9, 7, 1\): the model reads \(None, "):
        pruneflow.export(model, examples=np.zeros((3, 9, 7, 1)))


def models_that_cannot_be_exported():
    layers, tf = keras().layers, backend.tensorflow()
    a = keras().Input((4,))
    odd = layers.Lambda(lambda v: tf.math.betainc(v + 1, v + 1, 0.5 * v), name="odd")
    yield (
        keras().Model(a, odd(a)),
        {},
        "kind=float: .+ TFLite has no operation for Betainc. Replace the layer",
    )
    yield (
        keras().Model(a, [odd(a), a]),
        {},
        "kind=float: .+ TFLite has no operation for Betainc. Replace the layer",
    )
    looping = keras().Sequential([keras().Input((3, 4)), layers.GRU(2)])
    int8 = {"kind": "int8", "examples": np.zeros((4, 3, 4))}
    yield looping, int8, "kind=int8: the file has a loop, as of a GRU, which the converter cannot make int8"


def test_what_tflite_cannot_do_is_refused_in_words(capfd):
    for model, arguments, said in models_that_cannot_be_exported():
        with pytest.raises(PruneflowError, match=f"^{said}"):
            pruneflow.export(model, **arguments)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("path", "said"),
    [(".", "it is a folder. Name a file"), ("no/where.tflite", "there is no folder .+ Make it first")],
)
def test_a_place_where_no_file_can_be_is_refused(path, said):
    with pytest.raises(ConfigError, match=f"^path={re.escape(path)}: {said}"):
        pruneflow.export(network(), path)


# What is public


def test_public_names_are_few_documented_and_typed():
    assert set(pruneflow.__all__) == {
        *("run", "compose", "prune", "Pruned", "export", "Exported", "__version__"),
        *("PruneflowError", "ConfigError", "DataError"),
        *("option", "require", "Model", "Dataset", "Data", "Part", "Spec", "Targets"),
        *("Schedule", "Rising", "Criterion", "Structure", "Distribution", "Export", "Augmentation"),
    }
    named = set(re.findall(r"\bpruneflow\.(\w+)", (ROOT / "docs" / "library.md").read_text()))
    assert named <= {*pruneflow.__all__, "options"}  # the group of entry points
    for name in set(pruneflow.__all__) - {"__version__"}:
        thing = getattr(pruneflow, name)
        assert thing.__doc__ and "\n" not in thing.__doc__.splitlines()[0]
    with pytest.raises(AttributeError, match="no attribute 'prunes'"):
        pruneflow.prunes  # noqa: B018
    assert (Path(pruneflow.__file__).parent / "py.typed").is_file()


def test_importing_pruneflow_loads_nothing_heavy():
    code = "import pruneflow, sys; print([m for m in ('numpy', 'hydra', 'tensorflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


LOADS = """
import gc, sys, weakref
from pruneflow.runtime import backend, surroundings

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "tf_keras.src.engine":
            print(gc.isenabled())

sys.meta_path.insert(0, Watch())
"""


def printed(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.run
def test_no_garbage_is_collected_while_something_loads_and_as_before_after_it():
    after = "backend.keras(); print(gc.isenabled(), gc.get_freeze_count()); gc.disable(); backend.tfmot()"
    assert printed(f"{LOADS}{after}; print(gc.isenabled())") == ["False", "True", "0", "False"]


@pytest.mark.run
def test_only_a_process_of_our_own_leaves_what_it_loaded_out_of_garbage_collection_and_no_network():
    network = (
        "model = backend.keras().Sequential([backend.keras().layers.Dense(1)]); alive = weakref.ref(model)"
    )
    end = "backend.tfmot(); backend.litert(); del model; gc.collect(); print(alive() is None)"
    own = f"{LOADS}surroundings.own_process(); {network}; {end}; print(gc.get_freeze_count() > 100_000)"
    assert printed(own) == ["False", "True", "True"]


PACKAGE = Path(pruneflow.__file__).parent
WITH_EXAMPLES = [file for file in sorted(PACKAGE.rglob("*.py")) if ">>>" in file.read_text()]


@pytest.mark.parametrize("file", WITH_EXAMPLES, ids=lambda file: file.stem)
def test_the_examples_in_docstrings_run(file):
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    failed, tried = doctest.testmod(importlib.import_module(".".join(parts)))
    assert (failed, tried > 0) == (0, True)


def test_the_library_has_examples():
    assert "api" in {file.stem for file in WITH_EXAMPLES}


@pytest.mark.run
def test_the_examples_of_the_docs_run_as_written(tmp_path, shared_stages):
    text = (ROOT / "docs" / "library.md").read_text()
    first, second, third, loop, at_once = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    x, y = examples()
    names = {"x": x, "y": y}
    quick = [*QUICK, shared_stages]
    for words, block in ((quick, first), (quick, second), ([], third)):
        listed = "".join(f', "{word}"' for word in words)
        exec(re.sub(r'(\["model=cnn".*?)\]', rf"\1{listed}]", block), names)
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"ninety", "three-quarters"}
    assert (tmp_path / "runs" / "three-quarters" / "report.html").is_file()
    assert names["result"].pruned.requested_sparsity == 0.75
    kernel = names["small"].layers[0].get_weights()[0]
    assert count_zeros(kernel) == 232  # of 64 blocks of 4 inputs, 6 stay: 256 - 24
    assert (tmp_path / "small.tflite").read_bytes()
    batches = [(x[:16], y[:16])] * 50
    exec(loop, {**names, "batches": batches, "train_step": names["model"].train_on_batch})
    assert count_zeros(names["model"].layers[0].get_weights()[0]) == 256 - 26
    exec(at_once, names)
    assert count_zeros(names["small"].layers[0].get_weights()[0]) >= 205  # of 256, at 0.8


@pytest.mark.run
def test_the_example_of_the_readme_runs_as_written(tmp_path, shared_stages):
    """On a small model, and with as many steps as it makes."""
    text = (ROOT / "README.md").read_text()
    (block,) = [each for each in re.findall(r"```python\n(.*?)```", text, flags=re.S) if "prune(" in each]
    x, y = examples()
    layers = keras().layers
    model = keras().Sequential([keras().Input((8,)), layers.Dense(16), layers.Dense(2, activation="softmax")])
    listed = "".join(f', "{word}"' for word in (*QUICK, shared_stages))
    small = re.sub(r'(\["model=cnn".*?)\]', rf"\1{listed}]", block).replace("steps=2000", "steps=50")
    names = {"x": x, "y": y, "model": model}
    exec(small, names)
    assert names["result"].pruned.requested_sparsity == 0.9
    assert (tmp_path / "small.tflite").read_bytes()


def test_the_table_of_base_classes_is_true():
    text = (ROOT / "docs" / "library.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| `([\w.]+)` \|", text, flags=re.M)
    assert len(rows) == 8
    for group, path in rows:
        module, _, name = path.rpartition(".")
        base = getattr(importlib.import_module(module), name)
        assert any(issubclass(option, base) for option in choices(group).values())


@pytest.mark.run
def test_the_examples_run(tmp_path, capsys, shared_stages):
    runpy.run_path(str(ROOT / "examples" / "own_fit.py"))["main"]("small.tflite", 10)
    assert re.fullmatch(
        r"small.tflite: sparsity 0.900, accuracy in Keras 0.9\d+", capsys.readouterr().out.strip()
    )
    assert (tmp_path / "small.tflite").stat().st_size < 8000
    runpy.run_path(str(ROOT / "examples" / "whole_run.py"))["main"]([*QUICK, shared_stages])
    assert "times smaller than the dense file" in capsys.readouterr().out
