import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_fixtures import imdb_option, mnist_option
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from support import ROOT

from pruneflow.datasets.options import Imdb, Mnist
from pruneflow.datasets.spec import Data, Spec
from pruneflow.errors import ConfigError

CONF = ROOT / "conf"


def composed(name: str, *overrides: str) -> Any:
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose(overrides=[f"+dataset={name}", *overrides])
    return OmegaConf.to_object(config.dataset)


def test_the_yaml_files_compose_into_options() -> None:
    assert composed("mnist") == mnist_option()
    assert composed("imdb") == imdb_option(vocabulary_size=10000, length=250)


def test_settings_of_the_command_line_reach_the_option() -> None:
    option = composed("imdb", "dataset.path='~/x'", "dataset.limit=500", "dataset.length=80")
    assert isinstance(option, Imdb)
    assert (option.path, option.limit, option.length) == ("~/x", 500, 80)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("validation_fraction", 0.0, "between 0 and 1"),
        ("validation_fraction", 1.0, "between 0 and 1"),
        ("validation_fraction", float("nan"), "between 0 and 1"),
        ("split_seed", -1, "0 or more"),
        ("limit", 1, "2 or more"),
        ("limit", 0, "2 or more"),
        ("path", "", "must not be empty"),
        ("cache_dir", "", "must not be empty"),
        ("name", "", "must not be empty"),
        ("vocabulary_size", 4, "5 or more"),
        ("length", 0, "1 or more"),
        ("label_column", "text", "is the text column too"),
        ("test_path", "test.csv", "is for a .csv file as dataset.path"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_with_key_and_value(
    key: str, value: Any, allowed: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^dataset\.{key}={value}: .*{allowed}"):
        imdb_option(**{key: value})


def test_a_limit_that_leaves_no_validation_part_is_refused_before_anything_is_read() -> None:
    with pytest.raises(
        ConfigError, match=r"^dataset\.validation_fraction=0\.1: puts 0 of 4 .*dataset\.limit"
    ):
        mnist_option(limit=4)
    assert mnist_option(limit=5).limit == 5


def real(option: Mnist | Imdb, folder: str) -> Data:
    """Load the real data, and print how long it took."""
    if not (Path(folder).expanduser() / f"{option.name}.npz").is_file():
        pytest.skip(f"PRUNEFLOW_DATA_DIR={folder} holds no {option.name}.npz")
    start = time.perf_counter()
    data = option.load()
    print(f"{option.name} loaded in {time.perf_counter() - start:.2f} s from {data.source}")
    return data


def test_the_real_mnist_is_whole(real_data: str) -> None:
    data = real(mnist_option(download=False), real_data)
    assert data.spec == Spec(kind="image", shape=(28, 28, 1), classes=10)
    assert (len(data.train), len(data.validation), len(data.test)) == (54000, 6000, 10000)
    whole = np.concatenate([data.train.y, data.validation.y])
    assert np.bincount(whole).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(data.test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    # a tenth of each digit, rounded down, and 5 more for the remainders .8, .8, .9, .8 and .5
    assert np.bincount(data.validation.y).tolist() == [592, 674, 596, 613, 584, 542, 592, 627, 585, 595]
    assert (data.train.x.shape, data.train.x.dtype) == ((54000, 28, 28, 1), np.uint8)
    assert data.note == ""


def test_the_real_imdb_is_whole(real_data: str) -> None:
    data = real(imdb_option(vocabulary_size=10000, length=250, download=False), real_data)
    if data.note:
        pytest.skip("imdb.npz was made from the wheel: it is not the whole data set")
    assert data.spec == Spec(kind="tokens", shape=(250,), classes=2, vocabulary_size=10000)
    assert np.bincount(data.train.y).tolist() == [11250, 11250]
    assert np.bincount(data.validation.y).tolist() == [1250, 1250]
    assert np.bincount(data.test.y).tolist() == [12500, 12500]
    assert (data.train.x.shape, data.train.x.dtype) == ((22500, 250), np.int32)
    assert (int(data.train.x.min()), int(data.train.x.max())) == (0, 9999)
