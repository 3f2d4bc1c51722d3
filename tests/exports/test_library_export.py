"""Export of somebody's own model: inputs and outputs by name, drawn inputs, and a file that is judged."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import pruneflow
from pruneflow.errors import ConfigError, PruneflowError
from pruneflow.exports import library
from pruneflow.exports.causes import said
from pruneflow.exports.judging import compared
from pruneflow.runtime import backend

KINDS = ("float", "dynamic-range", "int8")
draw = np.random.default_rng(0)


def keras():
    return backend.keras()


def numbers(*shape):
    return draw.normal(size=shape).astype(np.float32)


def ids(below, *shape):
    return draw.integers(0, below, shape).astype(np.int32)


def said_by_name(content, examples):
    """Outputs of a file by name, of inputs by name, dequantized."""
    interpreter = backend.litert().Interpreter(model_content=content)
    run = interpreter.get_signature_runner("serving_default")
    inputs, outputs = run.get_input_details(), run.get_output_details()
    assert set(inputs) == set(examples)
    rows = []
    for index in range(len(next(iter(examples.values())))):
        given = {name: quantized(examples[name][index : index + 1], inputs[name]) for name in inputs}
        rows.append({name: real(value, outputs[name]) for name, value in run(**given).items()})
    return {name: np.concatenate([row[name] for row in rows]) for name in outputs}


def quantized(values, tensor):
    scale, zero = tensor["quantization"]
    return np.round(values / scale + zero).clip(-128, 127).astype(np.int8) if scale else values


def real(values, tensor):
    scale, zero = tensor["quantization"]
    return (values.astype(np.float32) - zero) * scale if scale else values


def siamese():
    layers = keras().layers
    left, right = keras().Input((8,), name="left"), keras().Input((8,), name="right")
    encoder = keras().Sequential([keras().Input((8,)), layers.Dense(16, activation="relu")], name="encoder")
    apart = layers.Subtract()([encoder(left), encoder(right)])
    model = keras().Model([left, right], layers.Dense(1, activation="sigmoid", name="same")(apart))
    x = {"left": numbers(40, 8), "right": numbers(40, 8)}
    return model, x, lambda: {"same": model.predict(x, verbose=0)}


def text_and_numbers():
    layers = keras().layers
    text, price = keras().Input((6,), dtype="int32", name="words"), keras().Input((3,), name="cents")
    joined = layers.Concatenate()([layers.Flatten()(layers.Embedding(50, 4)(text)), price])
    outputs = {"label": layers.Dense(4, activation="softmax")(joined), "cost": layers.Dense(1)(joined)}
    model = keras().Model({"text": text, "price": price}, outputs)
    x = {"text": ids(50, 40, 6), "price": numbers(40, 3)}
    return model, x, lambda: model.predict(x, verbose=0)


def two_heads():
    layers = keras().layers
    inputs = keras().Input((6, 6, 1), name="image")
    flat = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(inputs))
    model = keras().Model(inputs, [layers.Dense(4, name="kind")(flat), layers.Dense(1, name="size")(flat)])
    x = {"image": numbers(40, 6, 6, 1)}
    return model, x, lambda: dict(zip(("kind", "size"), model.predict(x["image"], verbose=0), strict=True))


def subclassed():
    layers = keras().layers

    class Own(keras().Model):
        def __init__(self):
            super().__init__()
            self.scores, self.side = layers.Dense(3), layers.Dense(1, activation="sigmoid")

        def call(self, inputs):
            return {"scores": self.scores(inputs["a"]), "side": self.side(inputs["b"])}

    model, x = Own(), {"a": numbers(40, 4), "b": numbers(40, 5)}
    model({name: values[:2] for name, values in x.items()})
    return model, x, lambda: model.predict(x, verbose=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("made", [siamese, text_and_numbers, two_heads, subclassed])
def test_a_file_takes_inputs_and_gives_outputs_by_name(made, kind):
    model, x, predicted = made()
    content = pruneflow.export(model, kind=kind, examples=x)
    given, expected = said_by_name(content, x), predicted()
    assert set(given) == set(expected)
    off = max(float(np.abs(given[name] - expected[name]).max()) for name in expected)
    assert off < (1e-5 if kind == "float" else 0.1)
    assert content.max_difference == pytest.approx(off, abs=1e-6)


def test_examples_may_be_a_list_a_tuple_or_a_dictionary_in_any_order():
    model, x, _ = siamese()
    files = [
        pruneflow.export(model, examples=given)
        for given in (
            [x["left"], x["right"]],
            (x["left"], x["right"]),
            {"right": x["right"], "left": x["left"]},
        )
    ]
    assert files[0] == files[1] == files[2]


def test_inputs_of_int8_keep_a_scale_each():
    model, x, _ = siamese()
    x["right"] = 1000 * x["right"]
    content = pruneflow.export(model, kind="int8", examples=x, tolerance=1)
    interpreter = backend.litert().Interpreter(model_content=content)
    details = interpreter.get_signature_runner().get_input_details()
    assert [each["dtype"] for each in details.values()] == [np.int8, np.int8]
    assert details["right"]["quantization"][0] > 500 * details["left"]["quantization"][0]


def test_ids_beside_numbers_stay_whole_numbers_in_int8():
    model, x, _ = text_and_numbers()
    content = pruneflow.export(model, kind="int8", examples=x)
    details = backend.litert().Interpreter(model_content=content).get_signature_runner().get_input_details()
    assert {name: each["dtype"] for name, each in details.items()} == {"text": np.int32, "price": np.int8}


@pytest.mark.parametrize("encoding", ["sparse", "auto"])
def test_sparse_files_of_several_inputs_have_names_too(encoding):
    model, x, predicted = siamese()
    kernel, bias = model.get_layer("encoder").get_weights()
    kernel[np.abs(kernel) < np.quantile(np.abs(kernel), 0.9)] = 0
    model.get_layer("encoder").set_weights([kernel, bias])
    given = said_by_name(pruneflow.export(model, encoding=encoding, examples=x), x)
    np.testing.assert_allclose(given["same"], predicted()["same"], atol=1e-5)


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        (lambda x: x["left"], "examples=ndarray: the model reads 2 inputs: left, right. Give a list or dict"),
        (lambda x: [x["left"]], "examples=list of 1: the model reads 2 inputs: left, right"),
        (lambda x: {"left": x["left"]}, "examples=[left]: the inputs are left, right"),
        (
            lambda x: [x["left"], x["right"][:3]],
            "examples={left:40,right:3}: each input needs as many",
        ),
        (
            lambda x: [x["left"], x["right"][:, :3]],
            "examples of right=an array of (40, 3): the model reads (8,)",
        ),
        (lambda x: [x["left"], x["right"] * np.nan], "examples of right=an array of float32: it has NaN"),
    ],
)
def test_examples_that_do_not_fit_several_inputs_are_refused(examples, said):
    model, x, _ = siamese()
    with pytest.raises(ConfigError) as error:
        pruneflow.export(model, examples=examples(x))
    assert str(error.value).startswith(said)


def test_a_subclassed_model_of_one_input_needs_one_call():
    class Own(keras().Model):
        def __init__(self):
            super().__init__()
            self.scores = keras().layers.Dense(3)

        def call(self, inputs):
            return self.scores(inputs)

    model, x = Own(), numbers(20, 4)
    with pytest.raises(
        ConfigError, match=r"it must be a built model of Keras 3.+ call it once on an example"
    ):
        pruneflow.export(model, examples=x)
    model(x[:1])
    assert pruneflow.export(model, examples=x).max_difference < 1e-5
    built = Own()
    built.build((None, 4))
    assert pruneflow.export(built, examples=x).max_difference < 1e-5


# Drawn inputs


def drawn(monkeypatch, model):
    """What is drawn for a model, by the names of its inputs."""
    found, draws = {}, library._drawn
    monkeypatch.setattr(library, "_drawn", lambda port: found.setdefault(port.name, draws(port)))
    pruneflow.export(model)
    return found


def test_ids_are_drawn_inside_the_vocabulary_that_each_input_reaches(monkeypatch):
    layers = keras().layers
    words, tags, size = (
        keras().Input((9,), name="words"),  # float32, as of Sequential([Embedding(..., input_length=9)])
        keras().Input((2,), dtype="int32", name="tags"),
        keras().Input((9,), name="size"),
    )
    low, high = layers.Embedding(7, 2)(layers.Reshape((3, 3))(words)), layers.Embedding(300, 2)(words)
    parts = [layers.Flatten()(each) for each in (low, high, layers.Embedding(40, 2)(tags))]
    model = keras().Model([words, tags, size], layers.Dense(2)(layers.Concatenate()([*parts, size])))
    x = drawn(monkeypatch, model)
    assert {name: values.dtype.name for name, values in x.items()} == {
        "words": "float32",
        "tags": "int32",
        "size": "float32",
    }
    assert (x["words"].min(), x["words"].max()) == (0, 6)  # the smaller of its two vocabularies
    assert x["tags"].max() > 30 and (x["words"] % 1 == 0).all()
    assert x["size"].min() < 0 and (x["size"] % 1 != 0).any()


def test_a_float_input_of_an_embedding_is_exported_without_examples(monkeypatch, capsys):
    layers = keras().layers
    model = keras().Sequential([layers.Embedding(300, 8, input_length=20), layers.Flatten(), layers.Dense(1)])
    assert max(values.max() for values in drawn(monkeypatch, model).values()) > 200
    assert (
        "No examples were given: the file was compared on drawn inputs, not on data."
        in capsys.readouterr().out
    )
    assert pruneflow.export(model, examples=ids(300, 5, 20)).max_difference < 1e-5
    assert capsys.readouterr().out == ""


def test_drawn_inputs_that_the_model_cannot_take_ask_for_examples():
    layers = keras().layers
    inputs = keras().Input((2,))
    model = keras().Model(inputs, layers.Dense(1)(layers.Flatten()(layers.Embedding(9, 4)(inputs + 8))))
    with pytest.raises(
        ConfigError, match=r"examples=null: the model cannot be run on inputs that were drawn: "
    ):
        pruneflow.export(model)
    assert pruneflow.export(model, examples=-ids(8, 5, 2)).max_difference < 1e-5


def test_ids_outside_the_vocabulary_are_refused():
    layers = keras().layers
    model = keras().Sequential([layers.Embedding(9, 4, input_length=2), layers.Flatten(), layers.Dense(1)])
    with pytest.raises(
        ConfigError, match=r"examples=an array of \(3, 2\): .+ = 12 is not in \[0, 9\)\. Give inp"
    ):
        pruneflow.export(model, examples=np.full((3, 2), 12))


# Judged


def test_the_content_is_bytes_that_know_how_good_they_are(tmp_path):
    model = keras().Sequential([keras().Input((8,)), keras().layers.Dense(3)])
    content = pruneflow.export(model, tmp_path / "model.tflite", examples=numbers(20, 8))
    assert isinstance(content, pruneflow.Exported) and isinstance(content, bytes)
    assert (tmp_path / "model.tflite").read_bytes() == content
    assert 0 <= content.max_difference < 1e-5 and content.agreement == 1.0
    for other in (pickle.loads(pickle.dumps(content)), copy.deepcopy(content)):
        assert (other, other.max_difference, other.agreement) == (content, content.max_difference, 1.0)


@pytest.mark.parametrize(
    ("keras_says", "file_says", "ending", "agreement", "wrong"),
    [
        ([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]], "BiasAdd", 1.0, 0.0),
        ([[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]], "BiasAdd", 0.5, 0.5),
        ([[0.51, 0.50], [0.0, 1.0]], [[0.50, 0.51], [0.0, 1.0]], "BiasAdd", 0.5, 0.0),  # leads by a hundredth
        ([[0.55, 0.50], [0.0, 1.0]], [[0.50, 0.55], [0.0, 1.0]], "BiasAdd", 0.5, 0.5),
        ([[0.101, 0.1], [0.1, 0.101]], [[0.1, 0.101], [0.1, 0.1]], "Softmax", 0.0, 0.0),  # of a range of 1
        ([[0.9], [0.1]], [[0.4], [0.1]], "Sigmoid", 0.5, 0.5),
        ([[0.9], [0.1]], [[0.4], [0.1]], "BiasAdd", None, 0.5),
        ([[100.0], [101.0]], [[100.4], [100.4]], "BiasAdd", None, 0.0),  # the range contains 0
        ([[3e-9, 1e-9], [1e-9, 2e-9]], [[0.0, 0.0], [0.0, 0.0]], "BiasAdd", 0.5, 0.0),  # nothing is said
        ([[3e-5, 1e-5], [1e-5, 2e-5]], [[0.0, 0.0], [0.0, 0.0]], "BiasAdd", 0.5, 1.0),
        ([[np.nan, 0.0], [-np.inf, 1.0]], [[np.nan, 0.0], [-np.inf, 1.0]], "BiasAdd", 1.0, 0.0),
        ([[1.0, 0.0], [0.0, 1.0]], [[np.nan, 0.0], [0.0, 1.0]], "BiasAdd", 1.0, 0.5),
        ([1.0, 2.0], [1.0, 2.0], "ArgMax", None, 0.0),
    ],
)
def test_answers_are_compared(keras_says, file_says, ending, agreement, wrong):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compared("out", np.array(keras_says), np.array(file_says), ending)
    assert (found.agreement, found.wrong) == (agreement, wrong)


def of_several_scales():
    """A trained network whose first feature decides, and vanishes in an int8 input."""
    numbers = np.random.default_rng(0).normal(size=(400, 3))
    x = (numbers * [0.5, 4000, 20000] + [0, 5000, 50000]).astype(np.float32)
    normal = keras().layers.Normalization()
    normal.adapt(x)
    model = keras().Sequential([keras().Input((3,), name="sensors"), normal, keras().layers.Dense(2)])
    model.layers[-1].set_weights([np.array([[-3.0, 3.0], [0.1, 0], [0, 0.1]]), np.zeros(2)])
    return model, x


def test_int8_that_lost_features_of_small_scale_is_refused_and_the_cause_is_named():
    model, x = of_several_scales()
    with pytest.raises(PruneflowError) as error:
        pruneflow.export(model, "lost.tflite", kind="int8", examples=x)
    message = str(error.value)
    assert message.startswith("kind=int8: output dense")
    assert "tolerance=0.05 allows 5.0%. Input sensors has features of very different scale" in message
    assert ": the spread of feature 0 is below four of the 256 steps of int8, 4" in message
    assert 'leave Normalization out of it, or take kind="dynamic-range".' in message
    for kind in ("float", "dynamic-range"):
        assert pruneflow.export(model, kind=kind, examples=x).agreement > 0.95
    assert pruneflow.export(model, kind="int8", examples=x, tolerance=1).agreement < 0.9


def test_int8_of_token_ids_as_float_is_refused_and_the_cause_is_named():
    layers = keras().layers
    model = keras().Sequential([layers.Embedding(3000, 8, input_length=5), layers.Flatten(), layers.Dense(1)])
    with pytest.raises(
        PruneflowError, match=r'holds token ids as float32, .+ keras\.Input\(shape, dtype="int32"\)'
    ):
        pruneflow.export(model, kind="int8", examples=ids(3000, 60, 5))


def test_a_file_that_is_refused_is_not_written(tmp_path):
    model, x = of_several_scales()
    with pytest.raises(PruneflowError, match="tolerance"):
        pruneflow.export(model, tmp_path / "lost.tflite", kind="int8", examples=x)
    assert list(tmp_path.iterdir()) == []


def test_a_float_file_that_differs_beyond_rounding_is_refused(monkeypatch):
    model = keras().Sequential([keras().Input((8,)), keras().layers.Dense(3, name="scores")])
    outputs = library.named_outputs
    off = {"by": 0.1}

    def differing(*given):
        return {name: values + off["by"] for name, values in outputs(*given).items()}

    monkeypatch.setattr(library, "named_outputs", differing)
    with pytest.raises(
        PruneflowError, match=r"^kind=float: output scores of the file differs from Keras by up to 0\.1"
    ):
        pruneflow.export(model, examples=numbers(20, 8))
    off["by"] = 1e-5
    assert pruneflow.export(model, examples=numbers(20, 8)).max_difference == pytest.approx(1e-5, rel=0.1)


@pytest.mark.parametrize("kind", ["dynamic-range", "int8"])
def test_untrained_networks_with_nearly_constant_outputs_pass(kind):
    layers = keras().layers
    model = keras().Sequential(
        [
            keras().Input((24, 24, 3)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.Conv2D(16, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    assert pruneflow.export(model, kind=kind, examples=draw.random((30, 24, 24, 3))).max_difference < 0.02


# Recurrent layers that keep their state


@pytest.mark.parametrize("kind", ["LSTM", "Bidirectional"])
def test_a_stateful_lstm_gives_a_file_that_keeps_its_state(kind):
    layers = keras().layers
    recurrent = layers.LSTM(8, stateful=True)
    recurrent = layers.Bidirectional(recurrent) if kind == "Bidirectional" else recurrent
    model = keras().Sequential([keras().Input((5, 3), batch_size=1), recurrent, layers.Dense(1)])
    x = numbers(6, 5, 3)
    content = pruneflow.export(model, examples=x)
    assert recurrent.stateful
    model.reset_states()
    streamed = np.concatenate([model.predict(example[None], verbose=0) for example in x])
    np.testing.assert_allclose(said_by_name(content, {"input": x})["output_0"], streamed, atol=1e-5)
    model.reset_states()
    assert np.abs(model.predict(x[-1:], verbose=0) - streamed[-1]).max() > 1e-4  # the state counts


def test_a_stateful_gru_gives_a_file_and_is_told_that_it_begins_anew(capsys):
    layers = keras().layers
    model = keras().Sequential([keras().Input((5, 3), batch_size=1), layers.GRU(4, stateful=True)])
    assert pruneflow.export(model, examples=numbers(6, 5, 3)).max_difference < 1e-5
    assert "stateful=True: only a fused LSTM keeps its state" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN", "Bidirectional"])
def test_a_stateful_network_of_another_batch_is_refused_by_that_reason(kind):
    layers = keras().layers
    wrapped = kind == "Bidirectional"
    recurrent = (
        layers.Bidirectional(layers.LSTM(4, stateful=True))
        if wrapped
        else getattr(layers, kind)(4, stateful=True)
    )
    model = keras().Sequential(
        [keras().Input((5, 3), batch_size=4), recurrent, layers.Dense(1)], name="stream"
    )
    with pytest.raises(
        ConfigError, match=r"^model=stream: stateful=True fixes its batch to 4, and a TFLite file"
    ):
        pruneflow.export(model, examples=numbers(8, 5, 3))
    assert recurrent.stateful


def test_a_batch_that_is_fixed_in_the_layers_is_named():
    inputs = keras().Input((4,), batch_size=4)
    reshaped = backend.tensorflow().reshape(inputs, (4, 2, 2))
    model = keras().Model(inputs, keras().layers.Flatten()(reshaped))
    with pytest.raises(PruneflowError) as error:
        pruneflow.export(model, examples=numbers(8, 4))
    assert "Cannot reshape a tensor" in str(error.value)
    assert "Its batch is fixed to 4, and a TFLite file reads one example" in str(error.value)


# The line of an error that says something

OF_KERAS = """in user code:

    File "mine.py", line 7, in None  *
        lambda x: model(x, training=False)
    File "tf_keras/src/utils/traceback_utils.py", line 70, in error_handler  **
        raise e.with_traceback(filtered_tb) from None

    ValueError: Exception encountered when calling layer 'stream' (type Sequential).

    Input 0 of layer "lstm" is incompatible with the layer: expected shape=(4, None, 3), found shape=(1, 5, 3)

    Call arguments received by layer 'stream' (type Sequential):
      \N{BULLET} inputs=tf.Tensor(shape=(1, 5, 3), dtype=float32)
"""
OF_A_GRAPH = """Graph execution error:

Detected at node model/embedding/embedding_lookup defined at (most recent call last):
  File "mine.py", line 3, in <module>

  File "tf_keras/src/layers/core/embedding.py", line 272, in call

indices[0,1] = 12 is not in [0, 9)
\t [[{{node model/embedding/embedding_lookup}}]] [Op:__inference_call_42]"""
OF_MLIR = """Could not translate MLIR to FlatBuffer.<unknown>:0: error: loc(callsite(fused["a"] at "b")): \
'tf.TensorListReserve' op requires element_shape to be static during TF Lite transformation pass
<unknown>:0: note: loc("StatefulPartitionedCall"): called from
<unknown>:0: error: failed to legalize operation 'tf.TensorListReserve' that was explicitly marked illegal"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            OF_KERAS,
            'Input 0 of layer "lstm" is incompatible with the layer: expected shape=(4, None, 3), found',
        ),
        (OF_A_GRAPH, "indices[0,1] = 12 is not in [0, 9)"),
        (OF_MLIR, "'tf.TensorListReserve' op requires element_shape to be static during TF Lite"),
        ("one line.", "one line"),
        ("", "RuntimeError"),
    ],
)
def test_of_a_long_error_the_line_that_gives_the_reason_is_shown(text, line):
    shown = said(RuntimeError(text))
    assert shown.startswith(line) and "\n" not in shown


def test_int8_of_a_network_that_is_dead_says_which_layer_is():
    keras = backend.keras()
    layers = [keras.Input((6, 6, 1)), keras.layers.Conv2D(2, 3, activation="relu", name="dead")]
    model = keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(3)])
    kernel, bias = model.layers[0].get_weights()
    model.layers[0].set_weights([-abs(kernel), bias - 1])
    examples = np.random.default_rng(0).random((20, 6, 6, 1), np.float32)
    with pytest.raises(PruneflowError, match=r"/dead/Relu gives 0 for every example. If pruning"):
        pruneflow.export(model, kind="int8", examples=examples)
