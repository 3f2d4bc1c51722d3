"""Arguments that the functions of the library cannot use: each is a ConfigError that names it."""

import copy
import math
import multiprocessing
import os
import sys
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import pruneflow
from pruneflow import api
from pruneflow.errors import ConfigError
from pruneflow.flow import pipeline
from pruneflow.runtime import backend, forks


@pytest.fixture(scope="module")
def model():
    keras = backend.keras()
    layers = keras.layers
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4, name="hidden"), layers.Dense(2)])
    model.predict(np.zeros((1, 8)), verbose=0)  # TensorFlow is used
    return model


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no text")


LOOP = []
LOOP.append(LOOP)
VALUES = {
    "None": None,
    "5": 5,
    "-1": -1,
    "True": True,
    "nan": math.nan,
    "10**400": 10**400,
    "10**5000": 10**5000,
    "''": "",
    "abc": "abc",
    "b''": b"",
    "null character": "a\0b",
    "5,000 letters": "a" * 5000,
    "[]": [],
    "[None]": [None],
    "[[]]": LOOP,
    "{}": {},
    "{5: 5}": {5: 5},
    "{'name': 5}": {"name": 5},
    "a function": lambda: 1,
    "a class": int,
    "unprintable": Unprintable(),
    "objects": np.array([None, 1], object),
    "one number": np.array(5),
    "numbers": np.zeros((3, 8)),
    "a generator": (word for word in ["seed=1"]),
    "a file": "mine.txt",
    "below a file": "mine.txt/run",
}

# What is called, and which of the values are right.
CALLS = {
    "overrides": (lambda model, value: pruneflow.compose(value), ["[]"]),
    "config_dir": (lambda model, value: pruneflow.compose(config_dir=value), ["None"]),
    "settings": (lambda model, value: pruneflow.run(value), ["[]"]),
    "folder": (lambda model, value: pruneflow.run(folder=value), ["None", "abc"]),
    "report": (lambda model, value: pruneflow.run(report=value), ["None", "True"]),
    "model": (lambda model, value: pruneflow.prune(value, steps=40), []),
    "steps": (lambda model, value: pruneflow.prune(model, steps=value), ["5"]),
    "examples=": (lambda model, value: pruneflow.prune(model, examples=value), ["None", "numbers"]),
    "skip": (lambda model, value: pruneflow.prune(model, steps=40, skip=value), ["[]"]),
    "seed": (lambda model, value: pruneflow.prune(model, steps=40, seed=value), ["5"]),
    "schedule": (lambda model, value: pruneflow.prune(model, steps=40, schedule=value), ["{}"]),
    "distribution": (lambda model, value: pruneflow.prune(model, steps=40, distribution=value), ["{}"]),
    "path": (lambda model, value: pruneflow.export(model, value), ["None", "abc"]),
    "kind": (lambda model, value: pruneflow.export(model, kind=value), []),
    "encoding": (lambda model, value: pruneflow.export(model, encoding=value), []),
    "tolerance": (lambda model, value: pruneflow.export(model, tolerance=value), []),
    "examples": (lambda model, value: pruneflow.export(model, examples=value), ["None", "numbers"]),
}


@pytest.mark.parametrize("argument", CALLS)
def test_an_argument_that_cannot_be_used_is_refused_by_name(tmp_path, monkeypatch, model, argument):
    monkeypatch.setattr(pipeline, "prepare", lambda config: pytest.fail("it began"))
    (tmp_path / "mine.txt").write_text("mine")
    call, right = CALLS[argument]
    for name, value in VALUES.items():
        if name not in right:
            with pytest.raises(ConfigError) as error:
                call(model, value)
            said = str(error.value)
            assert argument in said and "\n" not in said and len(said) < 3000, (name, said)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("group", "option"),
    [
        ("schedule", {"final_sparsity": "high"}),
        ("schedule", {"final_sparsity": math.nan}),
        ("schedule", {"final_sparsity": 10**400}),
        ("schedule", {"frequency": 0.5}),
        ("schedule", {"power": object()}),
        ("schedule", {"final_sparsity": np.array([0.5, 0.8])}),
        ("structure", {"name": "block", "inputs": None}),
        ("structure", {"name": "block", "inputs": 10**400}),
        ("distribution", {"layers": ["hidden"]}),
        ("distribution", {"layers": {"hidden": "most"}}),
        ("distribution", {"layers": {"hidden": None}}),
        ("distribution", {"layers": {5: {5: 5}}}),
        ("distribution", {"layers": 5}),
    ],
)
def test_a_dictionary_with_a_wrong_value_is_refused(model, group, option):
    with pytest.raises(ConfigError, match=group):
        pruneflow.prune(model, steps=40, **{group: option})


@pytest.mark.run
@pytest.mark.parametrize(
    "key", ["schedule.final_sparsity", "schedule", "trainer", "trainer.learning_rate", "seed"]
)
def test_an_object_that_was_changed_to_a_wrong_value_is_refused(monkeypatch, model, key):
    monkeypatch.setattr(pipeline, "prepare", lambda config: pytest.fail("it began"))
    composed = pruneflow.compose()
    *groups, last = key.split(".")
    for value in (None, "high", -1, math.nan, 10**400, [], {5: 5}, np.zeros(2), Unprintable()):
        config = copy.deepcopy(composed)
        setattr(getattr(config, groups[0]) if groups else config, last, value)
        with pytest.raises(ConfigError):
            pruneflow.run(config)
        if key.startswith("schedule"):
            with pytest.raises(ConfigError):
                pruneflow.prune(model, steps=40, schedule=config.schedule)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_model_whose_weights_are_no_numbers_is_refused(model, value):
    broken = backend.keras().models.clone_model(model)
    weights = [np.zeros((8, 4)), np.full(4, value), *model.get_weights()[2:]]
    broken.set_weights(weights)
    for work in (lambda: pruneflow.prune(broken, steps=40), lambda: pruneflow.export(broken)):
        with pytest.raises(ConfigError, match=r"^model=.+: its weight hidden/bias:0 has NaN or infinity"):
            work()


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        (np.full((3, 8), math.nan), "an array of float64: it has NaN or infinity"),
        (np.full((3, 8), -math.inf, np.float16), "an array of float16: it has NaN or infinity"),
        (np.full((3, 8), 1e300), "an array of float64: it has numbers above 3.4e38"),
        (np.full((3, 8), 1j), "an array of complex128: allowed are numbers"),
        ([["1"] * 8], "an array of <U1: allowed are numbers"),
        ([[10**400] * 8], "an array of object: allowed are numbers"),
        ([[1.0], [1.0, 2.0]], "list: no array"),
        (np.zeros((3, 0, 8)), "an array of (3, 0, 8): the model reads (8,)"),
    ],
)
def test_examples_that_are_no_inputs_are_refused(model, examples, said):
    with pytest.raises(ConfigError) as error:
        pruneflow.export(model, examples=examples)
    assert str(error.value).startswith(f"examples={said}")


@pytest.mark.parametrize("ids", [0.5, 2.0**40, -math.inf])
def test_token_ids_are_whole_numbers(ids):
    layers = backend.keras().layers
    inputs = backend.keras().Input((2,), dtype="int32")
    reads_tokens = backend.keras().Model(inputs, layers.Flatten()(layers.Embedding(9, 4)(inputs)))
    with pytest.raises(ConfigError, match=r"examples=.+: (the model reads token ids|it has NaN)"):
        pruneflow.export(reads_tokens, examples=np.full((3, 2), ids))


def test_another_file_is_not_written_over(tmp_path, model):
    pruneflow.export(model, "model.tflite")
    assert pruneflow.export(model, "model.tflite") == (tmp_path / "model.tflite").read_bytes()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"path=notes\.txt: there is a file that is no TFLite file"):
        pruneflow.export(model, "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


# Forked processes


def in_fork(work):
    """What a forked process says of its work."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of threads
        child = os.fork()
    if child == 0:
        try:
            said = str(work())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.run
def test_a_forked_process_is_told_that_tensorflow_cannot_go_on_in_it(model):
    pruned = pruneflow.prune(model, steps=40)
    works = {
        "run": lambda: pruneflow.run([]),
        "prune": lambda: pruneflow.prune(model, steps=40),
        "export": lambda: pruneflow.export(model),
        "strip": pruned.strip,
    }
    for name, work in works.items():
        said = f"ConfigError: {name}: this process was forked from one that had used TensorFlow"
        assert in_fork(work).startswith(said)
    assert in_fork(lambda: pruneflow.compose(["seed=3"]).seed) == "3"


def run_here(_):
    try:
        pruneflow.run([])
    except ConfigError as error:
        return str(error)


def test_so_is_a_pool_of_forked_processes(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with multiprocessing.get_context("fork").Pool(1) as pool:
            (said,) = pool.map_async(run_here, [0]).get(60)
    assert said.endswith('Start it with multiprocessing.get_context("spawn"), or as a command of its own.')


@pytest.mark.parametrize(("context", "refused"), [(None, False), (False, False), (True, True)])
def test_tensorflow_that_was_not_used_may_be_forked(monkeypatch, context, refused):
    held = None if context is None else SimpleNamespace(_initialized=context)
    monkeypatch.setattr(forks, "_inherited", False)
    monkeypatch.setitem(sys.modules, "tensorflow.python.eager.context", SimpleNamespace(_context=held))
    forks._look()
    assert forks._inherited == refused


def test_a_lock_that_another_thread_holds_is_open_in_a_forked_process():
    held, go_on = threading.Event(), threading.Event()

    def hold():
        with api._COMPOSING:
            held.set()
            go_on.wait()

    threading.Thread(target=hold).start()
    held.wait()
    said = in_fork(lambda: api._COMPOSING.acquire(timeout=1))
    go_on.set()
    assert said == "True"


@pytest.mark.parametrize("word", ["hydra.run.dir=x", "+hydra/launcher=joblib"])
def test_settings_of_hydra_which_would_have_no_effect_are_refused(word):
    with pytest.raises(
        ConfigError, match=r"Hydra's own settings have no effect in the library\. Leave them out"
    ):
        pruneflow.compose(["seed=1", word])
