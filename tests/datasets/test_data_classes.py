"""Which number each class gets, and that equal texts come into one part."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_fixtures import imdb_option
from own_fixtures import arrays, class_folders, images, opinions, rows, texts

from pruneflow.datasets.reading.names import sorted_classes
from pruneflow.datasets.split import Labels, copies_of, draw, draw_whole
from pruneflow.errors import ConfigError, DataError


def folder(path: Path) -> Callable[..., Any]:
    root = class_folders(path / "pets", classes=("Cat", "dog"), count=6)
    return lambda **settings: images(root, **settings)


def array(path: Path, labels: Any = ("dog", "Cat")) -> Callable[..., Any]:
    np.savez(path / "mine.npz", x=np.arange(60.0).reshape(30, 2), y=np.array([*labels] * 15))
    return lambda **settings: arrays(path / "mine.npz", **settings)


def table(path: Path, classes: tuple[str, ...] = ("dog", "Cat")) -> Callable[..., Any]:
    file = rows(path / "o.csv", opinions(30, classes=classes))
    return lambda **settings: texts(file, **settings)


@pytest.mark.parametrize("make", [folder, array, table])
def test_classes_have_the_order_of_their_characters_or_the_one_that_is_set(tmp_path: Path, make: Any) -> None:
    option = make(tmp_path)
    own, other = option().load(), option(class_names=["dog", "Cat"]).load()
    assert (own.class_names, other.class_names) == (("Cat", "dog"), ("dog", "Cat"))
    assert own.digest != other.digest
    assert np.bincount(own.test.y)[::-1].tolist() == np.bincount(other.test.y).tolist()


@pytest.mark.parametrize("make", [folder, array, table])
@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["dog"], r"it lacks Cat\. Name every class once"),
        (["dog", "Cat", "eel"], "the data have no eel, but Cat, dog"),
        (["dog", "cat"], "the data have no cat, but Cat, dog"),
        (["dog", "Cat", "dog"], "dog stands there twice"),
        (["dog", " "], "a name in it is empty"),
    ],
)
def test_an_order_that_does_not_name_every_class_once_is_refused(
    tmp_path: Path, make: Any, names: list[str], problem: str
) -> None:
    option = make(tmp_path)
    with pytest.raises(ConfigError, match=rf"^dataset\.class_names=.*{problem}"):
        option(class_names=names).load()


def test_numbers_are_ordered_by_value_and_by_a_setting(tmp_path: Path) -> None:
    option = array(tmp_path, (10, 9))
    assert option().load().class_names == ("9", "10")
    found = option(class_names=["10", "9"], standardise=False).load()
    assert found.class_names == ("10", "9")
    assert np.array_equal(found.test.x[:, 0] / 2 % 2, found.test.y)  # 10 is in every other row from the first
    with pytest.raises(ConfigError, match=r"dataset\.task=regression has no classes"):
        option(class_names=["10", "9"], task="regression")


@pytest.mark.parametrize("make", [array, table])
def test_labels_that_differ_in_case_alone_are_refused(tmp_path: Path, make: Any) -> None:
    with pytest.raises(DataError, match="the labels A and a differ in case alone"):
        make(tmp_path, ("a", "A"))().load()


def test_only_plain_numerals_are_numbers() -> None:
    assert sorted_classes(["10", "9", "-1", "+2.5"]) == ("-1", "+2.5", "9", "10")
    for odd in ("inf", "1_0", "1e3", "nan", "x"):
        assert sorted_classes(["9", "10", odd]) == tuple(sorted(["9", "10", odd]))


COPIES = [f"film {i // 4},{('bad', 'good')[i % 3 % 2]}" for i in range(120)]  # 4 of each, of both classes


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equal_texts_are_in_one_part_whatever_their_labels(tmp_path: Path, seed: int) -> None:
    path = rows(tmp_path / "o.csv", ["text,label", *COPIES])
    settings: dict[str, Any] = {"split_seed": seed, "vocabulary_size": 100, "validation_fraction": 0.25}
    index = tmp_path / "index.json"
    index.write_text(str({str(i): i + 1 for i in range(30)}).replace("'", '"'))
    own = texts(path, index_path=str(index), **settings).load()
    imdb = imdb_option(path=str(path), index_path=str(index), **settings).load()
    assert imdb.digest == own.digest == texts(path, index_path=str(index), **settings).load().digest
    parts = [set(part.x[:, -1].tolist()) for part in (own.train, own.validation, own.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 30
    assert (len(own.test), len(own.validation)) == (24, 24)
    assert all(len(set(part.y.tolist())) == 2 for part in (own.train, own.validation, own.test))


def test_without_copies_the_parts_are_those_that_are_drawn_row_by_row() -> None:
    y = np.random.default_rng(0).integers(0, 3, 50)
    labels = Labels(y, copies_of([str(i) for i in range(50)]))
    for count in (1, 7, 20):
        one, other = (np.random.default_rng(5) for _ in range(2))
        assert draw_whole(labels, count, one).tolist() == draw(y, count, other).tolist()


def test_a_part_of_texts_with_many_copies_is_as_large_as_it_should_be() -> None:
    rng = np.random.default_rng(0)
    y, copies = rng.integers(0, 5, 5000), rng.integers(0, 3000, 5000)
    chosen = draw_whole(Labels(y, copies), 500, rng)
    assert np.abs(np.bincount(y[chosen]) - np.bincount(y) / 10).max() < 8
    assert not np.isin(copies[chosen], np.delete(copies, chosen)).any()


def test_copies_that_leave_no_validation_part_are_refused(tmp_path: Path) -> None:
    lines = [f"film {i % 4},{('bad', 'good')[i % 2]}" for i in range(60)]
    with pytest.raises(ConfigError, match=r"dataset\.validation_fraction=0\.05: .* as copies stay together"):
        texts(
            rows(tmp_path / "o.csv", ["text,label", *lines]), test_fraction=0.5, validation_fraction=0.05
        ).load()
