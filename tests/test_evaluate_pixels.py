"""Files made elsewhere are given the pixels that they read, or it is said by which ones they know more."""

import json
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from own_fixtures import class_folders
from test_evaluate import FAST, convert, said

from pruneflow.errors import ConfigError
from pruneflow.exports.readings import pixels_of_file
from pruneflow.flow import as_came
from pruneflow.flow.prepare import prepare
from pruneflow.runtime import backend

SHAPE = (4, 4, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Dark and bright images of which every fourth pixel is black or white."""
    made = tmp_path_factory.mktemp("pixels")
    y = np.arange(240) % 2
    x = np.random.default_rng(0).integers(60, 100, (240, *SHAPE)) + 90 * y[:, None, None, None]
    x[:, ::2, ::2] = np.array([0, 255])[:, None]
    parts = {"x_train": x[:120], "y_train": y[:120], "x_test": x[120:], "y_test": y[120:]}
    np.savez(made / "data.npz", **{key: each.astype(np.uint8) for key, each in parts.items()})
    return made


@pytest.fixture
def data(folder):
    return ["dataset=arrays", f"dataset.path={folder / 'data.npz'}", FAST]


def network(low, high, keras=None):
    """It tells bright images from dark ones by the middle of the range."""
    keras = keras or backend.keras()
    layers = keras.layers
    model = keras.Sequential([keras.Input(SHAPE), layers.Flatten(), layers.Dense(2, activation="softmax")])
    middle, steep = (low + high) / 2, 40 / (high - low)
    model.set_weights([np.tile([-steep, steep], (16, 1)) / 16, np.array([steep, -steep]) * middle])
    return model


def int8(model, low, high):
    """A file whose input and output are int8, for pixels in a range."""
    tf = backend.tensorflow()
    levels = np.linspace(low, high, 16, dtype=np.float32)
    shades = [np.full((1, *SHAPE), level, np.float32) for level in levels]
    function = tf.function(model).get_concrete_function(tf.TensorSpec((1, *SHAPE), "float32"))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: [[shade] for shade in shades]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    with backend.quiet():
        return converter.convert()


def of(capsys, arguments):
    code, out, err = said(capsys, [*arguments, "--json"])
    assert code == 0, err
    return json.loads(out)["files"][0]


SPANS = [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)]


@pytest.mark.run
@pytest.mark.parametrize("span", SPANS)
def test_an_int8_file_is_given_the_pixels_that_its_scale_says(folder, data, capsys, span):
    (folder / "int8.tflite").write_bytes(int8(network(*span), *span))
    row = of(capsys, [folder / "int8.tflite", *data])
    assert (row["accuracy"], row["pixels"], row["doubt"]) == (1.0, list(span), "")
    other = "model.pixels=[0,1]" if span != (0.0, 1.0) else "model.pixels=[0,255]"
    assert of(capsys, [folder / "int8.tflite", *data, other])["accuracy"] == 0.5


@pytest.mark.run
@pytest.mark.parametrize("span", SPANS[1:])
def test_a_float_file_that_guesses_is_said_to_know_the_classes_by_other_pixels(folder, data, capsys, span):
    (folder / "float.tflite").write_bytes(convert(network(*span), (1, *SHAPE)))
    setting = "model.pixels=[{:g},{:g}]".format(*span)
    row = of(capsys, [folder / "float.tflite", *data])
    assert (row["accuracy"], row["pixels"]) == (0.5, [0, 1])
    assert row["doubt"].startswith("float.tflite gives the right one of 2 classes for 50.0% of 120 examples")
    assert row["doubt"].endswith(
        "It knows 100.0% of 120 examples with pixels from {:g} to {:g}: set {}.".format(*span, setting)
    )
    code, out, _ = said(capsys, [folder / "float.tflite", *data])
    assert (code, f"set {setting}." in out) == (0, True)
    row = of(capsys, [folder / "float.tflite", *data, setting])
    assert (row["accuracy"], row["pixels"], row["doubt"]) == (1.0, list(span), "")


@pytest.mark.run
@pytest.mark.parametrize(("number", "name"), [(2, "bright.h5"), (3, "bright.keras")])
def test_a_file_of_keras_that_guesses_is_too(folder, data, capsys, number, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras 2 calls its own .h5 format legacy
        network(0, 255, backend.keras() if number == 2 else backend.keras3()).save(folder / name)
    row = of(capsys, [folder / name, *data])
    assert (row["accuracy"], row["pixels"]) == (0.5, [0, 1])
    assert row["doubt"].endswith("with pixels from 0 to 255: set model.pixels=[0,255].")
    row = of(capsys, [folder / name, *data, "model.pixels=[0,255]"])
    assert (row["accuracy"], row["pixels"], row["doubt"]) == (1.0, [0, 255], "")
    row = of(capsys, [folder / name, *data, "model.pixels=[-1,1]"])
    assert row["doubt"].endswith("with pixels from 0 to 255: set model.pixels=[0,255].")


@pytest.mark.run
def test_a_file_that_guesses_by_any_pixels_is_said_to(folder, data, capsys):
    model = network(0, 255)
    model.set_weights([np.zeros((16, 2)), np.zeros(2)])
    (folder / "blind.tflite").write_bytes(convert(model, (1, *SHAPE)))
    doubt = of(capsys, [folder / "blind.tflite", *data])["doubt"]
    assert "guessing gives 50.0%" in doubt and doubt.endswith("No other usual range of pixels is better.")


def test_settings_that_a_file_cannot_follow_are_refused(folder, data, capsys):
    (folder / "any.tflite").write_bytes(convert(network(0, 1), (1, *SHAPE)))
    code, _, error = said(capsys, [folder / "any.tflite", *data, "model.output=logits"])
    assert (code, error[:19]) == (2, "model.output=logits")
    code, _, error = said(capsys, [folder / "any.tflite", *data, "model.pixels=[1,0]"])
    assert (code, error.startswith("model.pixels=[1.0,0.0]: allowed are two numbers")) == (2, True)


@pytest.mark.parametrize(
    ("span", "dtype", "expected"),
    [
        ((0.0, 0.996), "uint8", (0, 1)),
        ((-0.99, 1.0), "int8", (-1, 1)),
        ((0.0, 241.0), "int8", (0, 255)),
        ((-2.1, 2.6), "int8", None),
        ((-1.00003, 1.0), "int16", None),  # from 0 to 1: scales of int16 are symmetric
        ((-255.0, 255.0), "int16", (0, 255)),
        (None, "uint8", (0, 255)),
        (None, "int8", (-128, 127)),
        (None, "float32", None),
    ],
)
def test_the_range_of_pixels_is_that_of_the_integers_of_the_input(span, dtype, expected):
    graph = SimpleNamespace(inputs=[SimpleNamespace(span=span, dtype=dtype)])
    assert pixels_of_file(graph) == expected


@pytest.mark.run
def test_images_of_a_folder_get_the_size_that_the_file_reads(folder, tmp_path, capsys):
    root = class_folders(tmp_path / "pets", count=20)
    typed = ["dataset=image_folder", f"dataset.path={root}", f"dataset.cache_dir={tmp_path}", FAST]
    (tmp_path / "any.tflite").write_bytes(convert(network(0, 1), (1, *SHAPE)))
    network(0, 1).save(tmp_path / "any.keras")
    rows = [of(capsys, [tmp_path / name, *typed]) for name in ("any.tflite", "any.keras")]
    assert rows[0]["data"]["digest"] == rows[1]["data"]["digest"]
    code, _, error = said(capsys, [tmp_path / "any.tflite", *typed, "dataset.height=5", "dataset.width=5"])
    assert (code, "an example has shape 5x5x3" in error) == (2, True)


@pytest.mark.run
def test_a_network_that_nobody_says_the_pixels_of_is_asked_about_before_it_is_pruned(
    folder, data, composed, capsys
):
    network(0, 255).save(folder / "unsaid.keras")
    network(0, 1).save(folder / "unit.keras")

    def shown(name, *more):
        model = ["model=keras_file", f"model.path={folder / name}", *more]
        config = composed("trainer.epochs=1", "trainer.batch_size=40", *data[:2], *model)
        ready = prepare(config)
        as_came.show(config, ready, SimpleNamespace(model=config.model.build(ready.data.spec)))
        return " ".join(capsys.readouterr().out.split())

    with pytest.raises(ConfigError, match=r"model\.pixels=null: .*It knows 100\.0% of 12 examples") as asked:
        shown("unsaid.keras")
    assert str(asked.value).endswith(
        "with pixels from 0 to 255, and guesses with pixels from 0 to 1. Set model.pixels=[0,255]."
    )
    assert "knows" not in shown("unsaid.keras", "model.pixels=[0,255]")
    assert "knows" not in shown("unit.keras")
    assert "with pixels from 0 to 1: model.pixels=[0,1]." in shown("unit.keras", "model.pixels=[-1,0]")
