"""Trained networks that do not read the data as they were trained to: what gives them away."""

from types import SimpleNamespace

import numpy as np
import pytest

from pruneflow.datasets.spec import Spec
from pruneflow.flow import as_came
from pruneflow.models.doubts import better_reading, guessing, other_words
from pruneflow.models.pixels import pixels_said
from pruneflow.runtime import backend

SHAPE = (8, 8, 3)


def sequence(*layers):
    return backend.keras().Sequential([backend.keras().Input(SHAPE), *layers])


def function(transform):
    inputs = backend.keras().Input(SHAPE)
    return backend.keras().Model(inputs, backend.keras().layers.Flatten()(transform(inputs)))


def adapted(high):
    layer = backend.keras().layers.Normalization()
    layer.adapt(np.random.default_rng(0).uniform(0, high, (20, *SHAPE)).astype(np.float32))
    return layer


def augmenting():
    layers = backend.keras().layers
    return backend.keras().Sequential([layers.RandomFlip(input_shape=SHAPE), layers.RandomRotation(0.1)])


def shrinking():
    keras, tf = backend.keras(), backend.tensorflow()
    layers, applications = keras.layers, keras.applications
    yield "first", sequence(layers.Rescaling(1 / 255))
    yield "behind augmentation", sequence(layers.RandomFlip(), layers.Rescaling(1 / 127.5, -1))
    yield "behind a model", function(lambda x: layers.Rescaling(1 / 255)(augmenting()(x)))
    yield "in a model", function(sequence(layers.Resizing(4, 4), layers.Rescaling(1 / 255)))
    yield "adapted", sequence(adapted(255))
    yield "given", sequence(layers.Normalization(mean=[120.0] * 3, variance=[3000.0] * 3))
    yield "divided", function(lambda x: tf.image.resize(x, (4, 4)) / 255.0)
    yield "multiplied", function(lambda x: tf.cast(x, "float32") * (1 / 255))
    yield "mobilenet", function(applications.mobilenet_v2.preprocess_input)
    yield "resnet", function(applications.resnet50.preprocess_input)


def keeping():
    keras, tf = backend.keras(), backend.tensorflow()
    layers = keras.layers
    yield "nothing", sequence(layers.Conv2D(2, 3))
    yield "to 255 and back", sequence(layers.Rescaling(255), layers.Rescaling(1 / 255))
    yield "behind a convolution", sequence(layers.Conv2D(2, 3), layers.Rescaling(1 / 255))
    yield "to -1 and 1", sequence(layers.Rescaling(2, -1))
    yield "adapted", sequence(adapted(1))
    yield "of ImageNet", function(lambda x: (x - tf.constant([0.48, 0.45, 0.4])) / 0.22)
    yield "times 255", function(lambda x: keras.applications.mobilenet_v2.preprocess_input(x * 255.0))


def span(model):
    said = pixels_said(model)
    return said and said.span


def test_networks_that_read_pixels_up_to_255_are_recognised_wherever_they_make_them_smaller():
    models = list(shrinking())
    assert [name for name, model in models if span(model) != (0, 255)] == []
    again = backend.keras().models.model_from_json
    assert [name for name, model in models[4:] if span(rebuilt(again, model)) != (0, 255)] == []


def rebuilt(again, model):
    copy = again(model.to_json())
    copy.set_weights(model.get_weights())
    return copy


def test_networks_that_read_pixels_as_they_are_given_are_not_doubted():
    assert [name for name, model in keeping() if span(model) not in (None, (0, 1))] == []


def normalized(mean, variance):
    return backend.keras().layers.Normalization(mean=mean, variance=variance)


def rescaled(scale, offset=0.0):
    return backend.keras().layers.Rescaling(scale, offset)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (lambda: rescaled(1 / 256), (0, 255)),
        (lambda: rescaled(1 / 128, -1), (0, 255)),
        (lambda: rescaled(255), (0, 1)),
        (lambda: rescaled(2, -1), (0, 1)),
        (lambda: rescaled(0.5, 0.5), (-1, 1)),
        (lambda: rescaled(127.5, 127.5), (-1, 1)),
        (lambda: rescaled(1 / 65535), None),  # not 0 to 255, and nobody knows what
        (lambda: normalized([0.4] * 3, [0.06] * 3), (0, 1)),
        (lambda: normalized([0.4] * 3, [0.3] * 3), (-1, 1)),  # from 0 to 1 at most 0.24
        (lambda: normalized([-0.1] * 3, [0.2] * 3), (-1, 1)),
        (lambda: normalized([33.0] * 3, [6200.0] * 3), (0, 255)),  # MNIST
        (lambda: normalized([9000.0] * 3, [1e6] * 3), None),
    ],
)
def test_the_first_layer_says_what_range_it_reads(layer, expected):
    said = pixels_said(sequence(layer(), backend.keras().layers.Conv2D(2, 3)))
    assert said is not None and said.span == expected
    assert said.layer.startswith(("rescaling", "normalization"))


def test_layers_that_change_nothing_are_looked_through():
    model = sequence(rescaled(1), normalized([0.0] * 3, [1.0] * 3), rescaled(0.5, 0.5))
    assert span(model) == (-1, 1)
    assert pixels_said(sequence(rescaled(1.0, -0.5))) is None


def test_the_range_by_which_a_network_knows_the_classes_is_the_best_of_the_others():
    spec, known = Spec(kind="image", shape=SHAPE, classes=4), {(-1, 1): 0.5, (0, 255): 0.75, (0, 1): 1.0}
    found = better_reading(known.__getitem__, (0, 1), spec, 300)
    assert (found.span, found.accuracy, found.setting) == ((0, 255), 0.75, "model.pixels=[0,255]")
    assert str(found) == "75.0% of 300 examples with pixels from 0 to 255"
    assert better_reading(lambda span: 0.32, (0, 1), spec, 300) is None  # by chance 0.325 at most
    assert better_reading(known.__getitem__, (0, 1), Spec("numbers", (3,), 4), 300) is None


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            Spec(kind="image", shape=SHAPE, classes=4),
            "pixels in another range (model.pixels), images that were resized",
        ),
        (Spec(kind="numbers", shape=(3,), classes=4), "numbers that were standardised in another way"),
        (
            Spec(kind="tokens", shape=(3,), classes=4, vocabulary_size=9),
            "words with other token ids (dataset.index_path",
        ),
    ],
)
def test_a_network_that_does_no_better_than_chance_is_doubted(spec, said):
    # of 300 examples, 0.25 + 3 * 0.025 = 0.325 are right by chance at most
    answer = guessing(0.31, spec, 300)
    assert answer.startswith(
        "The network as it came gives the right one of 4 classes for 31.0% of 300 examples"
    )
    assert said in answer and "classes in another order" in answer
    assert guessing(0.33, spec, 300) == ""


def test_numbers_to_predict_and_no_examples_are_not_doubted():
    assert guessing(0.0, Spec(kind="numbers", shape=(3,), classes=0), 300) == ""
    assert guessing(0.0, Spec(kind="numbers", shape=(3,), classes=2), 0) == ""


def test_the_words_beside_a_network_are_compared_with_those_of_the_data(tmp_path):
    file = tmp_path / "vocabulary.json"
    file.write_text('{"a": 4, "film": 5, "good": 6, "bad": 7}')
    assert other_words(file, {"a": 4, "film": 5, "good": 6, "bad": 7}) == ""
    assert other_words(file, {"a": 4, "film": 5, "bad": 6, "good": 7}) == (
        f"{file} lies beside the network, and the data give 2 of its 4 words the same token id. "
        f"Set dataset.index_path={file}, so that the network reads the ids that it learned."
    )


@pytest.mark.parametrize("content", ["[", '["a"]', '{"a": "b"}'])
def test_words_that_cannot_be_read_are_said_to_be_that(tmp_path, content):
    (tmp_path / "vocabulary.json").write_text(content)
    assert "cannot be compared with the words of the data" in other_words(tmp_path / "vocabulary.json", {})


def test_the_words_are_looked_for_beside_the_file_of_the_network(tmp_path):
    (tmp_path / "vocabulary.json").write_text('{"good": 4, "bad": 5}')
    config = SimpleNamespace(model=SimpleNamespace(path=str(tmp_path / "network.h5")))
    ready = SimpleNamespace(data=SimpleNamespace(vocabulary={"bad": 4, "good": 5}))
    assert "the data give 0 of its 2 words the same token id" in as_came._other_words(config, ready)
    ready.data.vocabulary = {"good": 4, "bad": 5}
    assert as_came._other_words(config, ready) == ""
    ready.data.vocabulary = None  # data without words
    assert as_came._other_words(config, ready) == ""
