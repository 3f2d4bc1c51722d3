"""Augmentation: each change on an image known by hand, the same bits for a seed, and only in training."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import QUICK
from test_flow import read_scalars

from pruneflow.datasets import batches as data_batches
from pruneflow.datasets.augmentation import Images, augment
from pruneflow.datasets.batches import Order, training_batches
from pruneflow.datasets.spec import Part, Spec
from pruneflow.exports.tflite import parse
from pruneflow.flow import pipeline
from pruneflow.flow.networks import dense_inputs
from pruneflow.runtime import backend

COPIES = 64
UNSET = {"flip": None, "shift": None, "crop": None, "rotation": None, "brightness": None}


def images(**chosen):
    return Images(name="images", **{**UNSET, **chosen})


def changed(image, step=3, seed=(0, 0), **chosen):
    """One image (height, width) changed in 64 ways."""
    batch = np.repeat(np.asarray(image, np.float32)[None, ..., None], COPIES, axis=0)
    return augment(images(**chosen).layers(), seed)(batch, step).numpy()[..., 0]


def counted(results, *expected):
    """How many results equal each image that is expected; all of them equal one."""
    counts = [sum(np.array_equal(result, np.float32(image)) for result in results) for image in expected]
    assert sum(counts) == len(results)
    return counts


CORNERS = np.array([[0.1, 0.2], [0.3, 0.4]])


@pytest.mark.parametrize(
    ("mode", "flipped"),
    [
        ("horizontal", [[[0.2, 0.1], [0.4, 0.3]]]),
        ("vertical", [[[0.3, 0.4], [0.1, 0.2]]]),
        (
            "horizontal_and_vertical",
            [[[0.2, 0.1], [0.4, 0.3]], [[0.3, 0.4], [0.1, 0.2]], [[0.4, 0.3], [0.2, 0.1]]],
        ),
    ],
)
def test_a_flip_turns_some_images_around_and_leaves_the_others(mode, flipped):
    assert min(counted(changed(CORNERS, flip=mode), CORNERS, *flipped)) >= 5  # of 64, 16 or 32 are expected


def test_a_shift_moves_an_image_by_whole_pixels_both_ways_and_mirrors_its_border():
    image = np.arange(16).reshape(4, 4) / 16
    around = np.pad(image, 1, mode="symmetric")
    windows = [around[top : top + 4, left : left + 4] for top in range(3) for left in range(3)]
    counts = counted(changed(image, shift=0.25), *windows)  # a quarter of four pixels is one
    assert min(counts) >= 1  # up is drawn apart from left


def test_a_crop_enlarges_what_is_around_the_centre():
    ramp = np.tile(np.arange(9) / 8, (9, 1))  # 0 at the left border, 1 at the right one
    results = changed(ramp, crop=0.5)
    np.testing.assert_allclose(results[:, :, 4], 0.5, atol=1e-5)  # the centre stays
    slopes = results[:, 4, 8] - results[:, 4, 0]
    assert 0.5 - 1e-5 <= slopes.min() < 0.6 and 0.9 < slopes.max() <= 1  # half of the ramp at least


def test_a_rotation_turns_an_image_in_both_directions_up_to_its_limit():
    rows, columns = np.mgrid[-10:11, -10:11]
    light = np.exp(-((columns - 6) ** 2 + rows**2) / 4)  # six pixels right of the centre
    results = changed(light, rotation=30)
    angles = [np.degrees(np.arctan2((each * rows).sum(), (each * columns).sum())) for each in results]
    assert -31 < min(angles) < -20 and 20 < max(angles) < 31


def test_brightness_is_a_fraction_of_white():
    results = changed([[0.5, 0.5], [0.5, 0.5]], brightness=0.2)
    assert (np.ptp(results, axis=(1, 2)) == 0).all()  # all pixels of an image alike
    assert 0.3 <= results.min() < 0.35 and 0.65 < results.max() <= 0.7
    assert changed([[0.9, 1.0]], brightness=0.2).max() == 1
    assert changed([[0.0, 0.1]], brightness=0.2).min() == 0


def test_the_settings_that_are_not_null_are_made_in_their_order():
    made = images(flip="vertical", brightness=0.1, crop=0.2).layers()
    assert [type(layer).__name__ for layer in made] == ["RandomFlip", "RandomZoom", "RandomBrightness"]


@pytest.mark.parametrize("channels", [1, 3, 13])
def test_any_number_of_channels_is_changed_in_float32_whatever_the_precision_is(channels):
    mixed = backend.keras().mixed_precision
    mixed.set_global_policy("mixed_bfloat16")
    try:
        every = images(flip="horizontal", shift=0.1, crop=0.1, rotation=10.0, brightness=0.1)
        batch = np.full((3, 6, 5, channels), 0.4, np.float32)
        result = augment(every.layers(), (0, 0))(batch, 0)
    finally:
        mixed.set_global_policy("float32")
    assert result.shape == batch.shape and result.dtype == "float32"
    assert (np.ptp(result.numpy(), axis=-1) < 1e-6).all()


def test_the_seed_and_the_step_decide_what_is_drawn():
    every = {"flip": "horizontal", "shift": 0.5, "crop": 0.5, "rotation": 90.0, "brightness": 0.5}
    image = np.random.default_rng(0).random((8, 8))
    results = [changed(image, step, seed, **every) for step, seed in ((3, (0, 0)), (4, (0, 0)), (3, (0, 1)))]
    np.testing.assert_array_equal(results[0], changed(image, 3, (0, 0), **every))
    assert not np.array_equal(results[0], results[1]) and not np.array_equal(results[0], results[2])


# In batches

SPEC = Spec("image", (8, 8, 1), 2)
PART = Part(
    np.random.default_rng(1).integers(0, 256, (10, 8, 8, 1)).astype(np.uint8), np.arange(10, dtype=np.int64)
)


def batches(augmentation, *epochs, skip=0):
    order = Order(range(*epochs), 4, (7, 0), skip=skip)
    return [(x.numpy(), y.numpy()) for x, y in training_batches(PART, SPEC, order, augmentation)]


def test_batches_without_augmentation_are_the_examples_as_the_network_reads_them(composed):
    for augmentation in (None, composed().augmentation):
        found = batches(augmentation, 2)
        assert [len(y) for _, y in found] == [4, 4, 2, 4, 4, 2]
        for x, y in found:
            np.testing.assert_array_equal(x, SPEC.model_input(PART.x[y]))


def test_each_epoch_draws_anew_and_labels_stay_with_their_images():
    found = batches(images(brightness=0.5), 2)
    added = [{}, {}]  # to each example, in each of the two epochs
    for number, (x, y) in enumerate(found):
        for image, label in zip(x, y, strict=True):
            plain = SPEC.model_input(PART.x[label])
            inside = (image > 0) & (image < 1)
            (added[number // 3][label],) = np.unique((image - plain)[inside].round(5))
    assert sorted(added[0]) == sorted(added[1]) == list(range(10))
    assert all(added[0][label] != added[1][label] for label in range(10))
    assert len(set(added[0].values())) == 10


def test_a_phase_that_is_resumed_gets_the_batches_that_were_left():
    chosen = images(flip="horizontal", shift=0.25, brightness=0.2)
    whole, rest = batches(chosen, 3), batches(chosen, 1, 3, skip=2)
    assert len(rest) == len(whole) - 5
    for (x, y), (x_again, y_again) in zip(whole[5:], rest, strict=True):
        np.testing.assert_array_equal(x, x_again)
        np.testing.assert_array_equal(y, y_again)


def test_changed_images_keep_their_weights():
    weighed = replace(PART, weights=np.arange(10, dtype=np.float32) / 4)
    found = training_batches(weighed, SPEC, Order(range(1), 4, (7, 0)), images(brightness=0.5))
    for x, y, weights in found:
        np.testing.assert_array_equal(weights, y.numpy() / 4)
        assert not np.array_equal(x, SPEC.model_input(PART.x[y]))


# In a run


def test_stages_keep_their_digest_without_augmentation_and_change_it_with_each_setting(composed):
    def fit(*words):
        config = composed(*QUICK, *words)
        return dense_inputs(config, pipeline.prepare(config))["fit"]

    assert "augmentation" not in fit()
    usual = {"option": "images", "flip": "horizontal", "shift": 0.125}
    assert fit("augmentation=images")["augmentation"] == usual
    assert fit("augmentation=images", "augmentation.name=other")["augmentation"] == usual
    more = fit("augmentation=images", "augmentation.crop=0.1", "augmentation.flip=null")
    assert more["augmentation"] == {"option": "images", "shift": 0.125, "crop": 0.1}
    assert "augmentation" not in fit("augmentation=images", "trainer.dense_epochs=0")  # nothing is trained


@pytest.fixture
def augmented(monkeypatch):
    """What the batches of each phase were changed by."""
    seen, whole = [], data_batches.training_batches

    def training_batches(part, spec, order, augmentation):
        seen.append(augmentation.option_name)
        return whole(part, spec, order, augmentation)

    monkeypatch.setattr(data_batches, "training_batches", training_batches)
    return seen


@pytest.mark.run
def test_both_phases_see_changed_images_and_neither_evaluation_nor_a_file_does(composed, tmp_path, augmented):
    counts = []
    for words in [], ["augmentation=images", "augmentation.brightness=1"]:
        config = composed(*QUICK, "model.filters=[4]", *words)
        ready = pipeline.prepare(config)
        result = pipeline.run(config, ready, tmp_path, command="test")
        content = (tmp_path / "pruned-float.tflite").read_bytes()
        counts.append(parse(content, "pruned-float.tflite").op_counts)
    assert augmented == ["none", "none", "images", "images"]
    assert counts[0] == counts[1]
    validation = ready.data.validation
    for phase, network in (("dense", result.dense), ("pruned", result.pruned)):
        model = backend.keras().models.load_model(tmp_path / f"{phase}.h5", compile=False)
        assert not [layer for layer in model.layers if "Random" in type(layer).__name__]
        said = model.predict(ready.data.spec.model_input(validation.x), verbose=0).argmax(1)
        reached = float((said == validation.y).mean())
        (*_, (_, watched)) = read_scalars(tmp_path / phase)["accuracy/validation"]
        assert watched == pytest.approx(reached) == pytest.approx(network.validation_accuracy)
