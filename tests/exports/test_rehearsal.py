"""Networks of the user's own are tried for export before they are trained; what crashes is a message."""

import os
import sys
import types
from dataclasses import dataclass

import numpy as np
import pytest
from conftest import QUICK

from pruneflow.datasets.spec import Part, Spec
from pruneflow.errors import ConfigError
from pruneflow.exports import rehearsal
from pruneflow.exports.exporters import Int8
from pruneflow.exports.rehearsal import BUILT, MADE, RAN
from pruneflow.flow import pipeline, prepare
from pruneflow.models.options import Model
from pruneflow.runtime import backend, child, extensions

MINE = """
import os
import tensorflow as tf

keras = tf.keras
layers = keras.layers
PARENT = {parent}


def flat(spec):
    return keras.Sequential([layers.Flatten(input_shape=spec.shape), layers.Dense(spec.classes)])


def dying(spec):
    if os.getpid() != PARENT:
        os.abort()
    return keras.Sequential([*flat(spec).layers, layers.Activation("softmax")])


def chosen(spec):
    inputs = keras.Input(spec.shape)
    x = layers.LSTM(4)(layers.Reshape((28, 28))(inputs))
    x = layers.Lambda(lambda v: tf.where(v > 0, v, 3 * v))(x)
    return keras.Model(inputs, layers.Dense(spec.classes)(x))


def looping(spec):
    inputs = keras.Input(spec.shape)
    return keras.Model(inputs, layers.Dense(spec.classes)(layers.GRU(4)(inputs)))
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module in the current folder, imported anew in each test; nothing was tried before."""
    (tmp_path / "mine.py").write_text(MINE.format(parent=os.getpid()))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.setattr(prepare, "_tried", {})
    yield lambda name: [*QUICK, "model=custom", f"model.factory=mine:{name}", "export=int8"]
    sys.modules.pop("mine", None)


@pytest.fixture
def outcomes(monkeypatch):
    """What came of each child."""
    found, values_of = [], child.values_of
    monkeypatch.setattr(child, "values_of", lambda *given: found.append(values_of(*given)) or found[-1])
    return found


@pytest.fixture
def only_apart(monkeypatch):
    """What is not done in a child fails."""
    monkeypatch.setattr(rehearsal._Trial, "steps", None)


def refused(composed, words):
    with pytest.raises(ConfigError) as answer:
        pipeline.prepare(composed(*words))
    return str(answer.value)


CANNOT = "export=int8: the network cannot be exported: "
OTHERWISE = " Take export=dynamic-range, which has int8 weights."


@pytest.mark.run
def test_int8_is_tried_in_a_child_once(composed, mine, only_apart, outcomes, capfd):
    for _ in range(2):
        pipeline.prepare(composed(*mine("flat")))
    assert outcomes == [child.Outcome([BUILT, MADE, RAN], 0)]
    assert capfd.readouterr().err == ""


@pytest.mark.run
def test_a_file_that_crashes_litert_is_refused(composed, mine, only_apart, capfd):
    message = refused(composed, mine("chosen"))
    assert message == f"{CANNOT}LiteRT crashes (signal 6, SIGABRT) when it runs the int8 file.{OTHERWISE}"
    assert capfd.readouterr().err == ""


@pytest.mark.run
def test_a_network_that_crashes_the_converter_is_refused(composed, mine, only_apart):
    """One with a loop, past the check that finds loops without a child."""
    spec = Spec("numbers", (8, 4), 2)
    examples = Part(np.ones((4, 8, 4), np.float32), np.zeros(4, np.int64))
    network = composed(*mine("looping")).model
    trial = rehearsal._Trial("int8", network, spec, examples)
    with pytest.raises(ConfigError) as answer:
        trial.run_apart(network.build(spec), Int8(name="int8", calibration_samples=4))
    crash = "TensorFlow's converter crashes (signal 11, SIGSEGV) when it makes the file int8."
    assert str(answer.value) == f"{CANNOT}{crash}{OTHERWISE}"


@pytest.mark.run
def test_what_crashes_before_the_network_is_built_is_not_the_converter(composed, mine, outcomes):
    pipeline.prepare(composed(*mine("dying")))  # tried in this process
    assert [(outcome.values, outcome.crash) for outcome in outcomes] == [([], "signal 6, SIGABRT")]


def steps(trial, model, export):
    """In place of those that need TensorFlow."""
    trial.examples.append("here")
    yield RAN


@pytest.mark.parametrize(
    ("values", "status", "answer"),
    [
        ([BUILT, MADE, RAN], 0, []),
        ([BUILT, MADE, RAN], -11, []),  # when it was done
        ([], 0, ["here"]),  # another network
        ([], -11, ["here"]),
        ([BUILT], 1, ["here"]),
        ([BUILT, ConfigError("The child says why.")], 0, "The child says why."),
        ([BUILT], -6, "TensorFlow's converter crashes (signal 6, SIGABRT) when it makes the file int8. Take"),
        ([BUILT, MADE], 3, "LiteRT crashes (exit status 3) when it runs the int8 file. Take"),
        (
            [BUILT],
            -9,
            "the process in which TensorFlow's converter makes the file int8 was killed (signal 9, SIGKILL). "
            "Is memory short? Else: Take",
        ),
    ],
)
def test_every_outcome_has_an_answer(monkeypatch, values, status, answer):
    monkeypatch.setattr(child, "values_of", lambda *_: child.Outcome(values, status))
    monkeypatch.setattr(rehearsal._Trial, "steps", steps)
    trial = rehearsal._Trial("all", None, None, [])
    model = backend.keras().Sequential()
    export = Int8(name="int8", calibration_samples=4)
    if isinstance(answer, str):
        with pytest.raises(ConfigError) as said:
            trial.run_apart(model, export)
        assert answer in str(said.value)
        assert str(said.value).startswith(("export=all: the network", "The child"))
    else:
        trial.run_apart(model, export)
        assert trial.examples == answer


def test_an_option_that_only_this_process_knows_is_tried_here(monkeypatch, outcomes):
    """As one of a notebook."""
    module = types.ModuleType("typed_here")
    monkeypatch.setitem(sys.modules, "typed_here", module)

    @dataclass(kw_only=True)
    class Typed(Model):
        def build(self, spec):
            keras = backend.keras()
            return keras.Sequential([keras.layers.Dense(2, input_shape=spec.shape)])

    Typed.__module__, Typed.__qualname__, module.Typed = "typed_here", "Typed", Typed
    spec, examples = Spec("numbers", (3,), 2), Part(np.ones((4, 3), np.float32), np.zeros(4, np.int64))
    trial = rehearsal._Trial("int8", Typed(name="typed"), spec, examples)
    trial.run_apart(trial.network.build(spec), Int8(name="int8", calibration_samples=4))
    assert outcomes == [child.Outcome([], 1)]


def test_a_child_says_how_far_it_came_or_what_is_wrong(monkeypatch):
    """And nothing where it has another network than its parent."""
    layers, loaded = backend.keras().layers, []

    def network(*units):
        return backend.keras().Sequential([layers.Dense(each, input_shape=(3,)) for each in units])

    def wrong(*_):
        yield MADE
        raise ConfigError("It does not run.")

    monkeypatch.setattr(extensions, "load", lambda: loaded.append(1))
    trial = rehearsal._Trial("int8", types.SimpleNamespace(build=lambda spec: network(4, 2)), None, None)
    monkeypatch.setattr(rehearsal._Trial, "steps", wrong)
    assert list(rehearsal._apart(trial, None, rehearsal._weights(network(5, 2)))) == []
    *steps, error = rehearsal._apart(trial, None, rehearsal._weights(network(4, 2)))
    assert steps == [BUILT, MADE] and isinstance(error, ConfigError)
    assert loaded == [1, 1]
