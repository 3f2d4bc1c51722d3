"""An image folder takes size and channels from the file of the network that is pruned."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import QUICK
from own_fixtures import class_folders, images

import pruneflow
from pruneflow.datasets.reading.network_input import image_shape_in
from pruneflow.errors import ConfigError
from pruneflow.runtime import backend


def network(shape: tuple[Any, ...], library: Any = None) -> Any:
    keras = library or backend.keras()
    layers = keras.layers
    pooled = [layers.GlobalAveragePooling2D()] if len(shape) == 3 else []
    return keras.Sequential(
        [keras.Input(shape), *pooled, layers.Dense(8, activation="relu"), layers.Dense(2)]
    )


@pytest.mark.parametrize("name", ["n.keras", "n.h5", "folder"])
@pytest.mark.parametrize("shape", [(20, 10, 3), (8, 8, 1), (None, None, 3)])
def test_the_shape_of_images_is_read_from_every_kind_of_file(tmp_path: Path, name: str, shape: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network(shape).save(tmp_path / name)
    assert image_shape_in(tmp_path / name) == shape


def test_the_shape_is_read_from_a_file_of_keras_3_and_from_models_in_models(tmp_path: Path) -> None:
    keras3 = backend.keras3()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy 2, about Keras 3
        inner, inputs = network((6, 4, 3), keras3), keras3.Input((6, 4, 3))
        keras3.Model(inputs, inner(keras3.layers.Rescaling(1 / 255)(inputs))).save(tmp_path / "n.keras")
    assert image_shape_in(tmp_path / "n.keras") == (6, 4, 3)


def test_no_shape_is_read_from_what_reads_no_images_or_is_no_file(tmp_path: Path) -> None:
    network((5,)).save(tmp_path / "rows.keras")
    (tmp_path / "broken.keras").write_bytes(b"PK\x03\x04 no more")
    (tmp_path / "empty").mkdir()
    for name in ("rows.keras", "broken.keras", "missing.keras", "empty"):
        assert image_shape_in(tmp_path / name) is None


def test_images_get_what_the_network_reads_and_a_note_says_so(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    network((20, 10, 1)).save(tmp_path / "n.keras")
    data = images(root, network=str(tmp_path / "n.keras")).load()
    assert data.spec.shape == (20, 10, 1)
    assert data.note.startswith("Images have what n.keras reads: height 20, width 10, channels 1.")
    assert data.digest == images(root, height=20, width=10, channels=1).load().digest


def test_settings_count_before_the_network(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    network((20, 10, 1)).save(tmp_path / "n.keras")
    data = images(root, network=str(tmp_path / "n.keras"), height=4, width=4, channels=3).load()
    assert (data.spec.shape, "reads" in data.note) == ((4, 4, 3), False)
    with pytest.raises(ConfigError, match=r"dataset\.network=: must not be empty"):
        images(root, network="")


def test_a_network_of_any_size_says_its_channels_only(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    network((None, None, 1)).save(tmp_path / "n.keras")
    data = images(root, network=str(tmp_path / "n.keras")).load()
    assert (data.spec.shape, data.train.x.dtype) == ((6, 5, 1), np.uint8)


def test_only_a_network_in_a_file_is_taken_by_the_command_line(tmp_path: Path) -> None:
    words = ["dataset=image_folder", f"dataset.path={tmp_path}"]
    assert pruneflow.compose([*words, "model=cnn"]).dataset.network is None
    composed = pruneflow.compose([*words, "model=keras_file", "model.path=n.keras"])
    assert composed.dataset.network == "n.keras"


@pytest.mark.run
def test_a_trained_network_needs_no_size_of_images(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", count=30)
    network((20, 10, 1)).save(tmp_path / "n.keras")
    typed = [
        *(*QUICK, "model=keras_file", f"model.path={tmp_path / 'n.keras'}", "dataset=image_folder"),
        *(f"dataset.path={root}", f"dataset.cache_dir={tmp_path / 'cache'}", "trainer.batch_size=8"),
        *("trainer.dense_epochs=0", "trainer.dense_batch_size=8"),
    ]
    result = pruneflow.run(typed, folder=tmp_path / "run")
    assert "Images have what n.keras reads" in result.data.note
