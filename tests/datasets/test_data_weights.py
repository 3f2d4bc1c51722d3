"""How much each training example counts: weights of classes, and weights of examples."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_fixtures import arrays, numbers, own

from pruneflow.datasets.batches import Order, evaluation_batches, training_batches
from pruneflow.datasets.reading.custom import check_data
from pruneflow.datasets.spec import Data, Part, Spec
from pruneflow.datasets.split import digest_of, taken
from pruneflow.datasets.weights import check_class_weights, weighed
from pruneflow.errors import ConfigError, DataError

RNG = np.random.default_rng(0)


def part(y: list[int], weights: Any = None) -> Part:
    x = np.arange(2 * len(y), dtype=np.float32).reshape(-1, 2)
    return Part(x, np.array(y), None if weights is None else np.array(weights, np.float32))


def data_of(y: list[int], weights: Any = None, names: tuple[str, ...] = ("cat", "dog")) -> Data:
    train, other = part(y, weights), part([0, 1])
    digest = digest_of(train, other, other)
    return Data(
        "mine", Spec("numbers", (2,), len(names)), train, other, other, digest=digest, class_names=names
    )


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    """4 / (2 * 3) and 4 / (2 * 1): compute_class_weight("balanced", ...) gives these."""
    data = weighed(data_of([0, 0, 1, 0]), "balanced")
    np.testing.assert_allclose(data.train.weights, [2 / 3, 2 / 3, 2, 2 / 3], rtol=1e-6)
    assert data.train.weights.dtype == np.float32
    assert data.note == "The training loss counts examples by class: cat 0.6667, dog 2."
    assert data.validation.weights is None and data.test.weights is None


def test_a_class_that_never_occurs_takes_no_part_in_the_balance() -> None:
    data = weighed(data_of([1, 1, 2, 1], names=("none", "a", "b")), "balanced")
    np.testing.assert_allclose(data.train.weights, [2 / 3, 2 / 3, 2, 2 / 3], rtol=1e-6)
    assert "none" not in data.note


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"dog": 2.5}, [1, 2.5, 1]),
        ({"cat": 0, "dog": 3}, [0, 3, 0]),
        ([0.5, 4], [0.5, 4, 0.5]),
    ],
)
def test_weights_are_given_by_name_or_in_the_order_of_the_classes(given: Any, expected: list[float]) -> None:
    assert weighed(data_of([0, 1, 0]), given).train.weights.tolist() == expected


def test_numbers_name_classes_that_have_no_names() -> None:
    data = data_of([0, 1, 0], names=())
    plain = Data("mine", Spec("numbers", (2,), 2), data.train, data.validation, data.test)
    assert weighed(plain, {1: 2.0}).train.weights.tolist() == [1, 2, 1]


def test_the_weight_of_a_class_and_that_of_an_example_are_multiplied() -> None:
    data = weighed(data_of([0, 1, 0], weights=[1, 2, 3]), [10, 100])
    assert data.train.weights.tolist() == [10, 200, 30]


def test_without_weights_nothing_changes_and_with_them_the_data_have_the_same_digest() -> None:
    data = data_of([0, 1, 0])
    assert weighed(data, None) is data
    assert {weighed(data, given).digest for given in ("balanced", [1, 1], [1, 2])} == {data.digest}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("heavy", "allowed are balanced"),
        (2.0, "allowed are balanced"),
        ({"cat": -1}, "weights are numbers from 0 to 1,000,000, not all 0"),
        ({"cat": float("nan")}, "weights are numbers"),
        ([1, float("inf")], "weights are numbers"),
        ([True, 1], "weights are numbers"),
        ({"cat": "much"}, "weights are numbers"),
        ({"cat": None}, "weights are numbers"),
        ([0, 0], "weights are numbers"),
        ({}, "weights are numbers"),
    ],
)
def test_what_can_be_the_weights_of_no_data_is_refused_before_any_is_read(given: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=rf"^dataset\.class_weights=.*{problem}"):
        check_class_weights(given)
    with pytest.raises(ConfigError, match=problem):
        own("mnist", class_weights=given)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (
            {"cow": 2},
            r"the data have no cow, but cat, dog\. Name some of these, or give a list in this order; others",
        ),
        ({False: 2}, r"the data have no False, but cat, dog\. In YAML no and yes are truth values"),
        ([1, 2, 3], r"it has 3 weights, and the data set 2 classes: cat, dog\. Give one for each"),
        ([1, 0], r"no training example would count\. Give a class that occurs a weight above 0\."),
    ],
)
def test_weights_that_do_not_fit_the_classes_are_refused(given: Any, problem: str) -> None:
    y = [1, 1] if given == [1, 0] else [0, 1]
    with pytest.raises(ConfigError, match=rf"^dataset\.class_weights=.*{problem}"):
        weighed(data_of(y), given)


def test_a_regression_has_no_class_weights_but_may_have_weights_of_examples(tmp_path: Path) -> None:
    held = numbers()
    np.savez(tmp_path / "mine.npz", x=held["x"], y=held["x"][:, 0], w=np.arange(40))
    data = arrays(tmp_path / "mine.npz", task="regression", sample_weights="w").load()
    assert data.train.weights is not None
    with pytest.raises(ConfigError, match=r"has numbers to predict, and no classes\. Set it to null\."):
        weighed(data, "balanced")


def held_of(folder: Path, **changes: Any) -> Path:
    """40 examples whose first number says which they are, as their weights do."""
    x = np.stack([np.arange(40.0), RNG.random(40)], axis=1)
    np.savez(folder / "mine.npz", **{"x": x, "y": np.arange(40) % 2, "w": np.arange(40) + 0.5, **changes})
    return folder / "mine.npz"


def test_weights_go_with_their_examples_into_the_training_part(tmp_path: Path) -> None:
    path = held_of(tmp_path)
    data = arrays(path, sample_weights="w", standardise=False).load()
    assert data.train.weights.tolist() == (data.train.x[:, 0] + 0.5).tolist()
    assert len(data.train) == len(data.train.weights) == 29
    low, high = data.train.weights.min(), data.train.weights.max()
    assert f"The training loss counts examples by weights from {low:g} to {high:g}," in data.note
    assert "not used" not in data.note
    plain = arrays(path, standardise=False).load()
    assert plain.train.weights is None and plain.digest == data.digest
    np.testing.assert_array_equal(plain.train.x, data.train.x)


def test_weights_of_a_npy_file_are_those_of_a_npz_file(tmp_path: Path) -> None:
    path = held_of(tmp_path)
    with np.load(path) as held:
        for name in ("x", "y", "w"):
            np.save(tmp_path / f"{name}.npy", held[name])
    files = {"labels_path": str(tmp_path / "y.npy"), "sample_weights": str(tmp_path / "w.npy")}
    npy, npz = arrays(tmp_path / "x.npy", **files).load(), arrays(path, sample_weights="w").load()
    assert npy.train.weights.tolist() == npz.train.weights.tolist() and npy.digest == npz.digest


def test_a_function_gives_weights_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import numpy as np
def load():
    x = np.arange(80.0).reshape(40, 2)
    return {"x_train": x, "y_train": np.arange(40) % 2, "sample_weights": x[:, 0]}
"""
    (tmp_path / "of_weights.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    data = own("custom", factory="of_weights:load", standardise=False).load()
    assert data.train.weights.tolist() == data.train.x[:, 0].tolist()


@pytest.mark.parametrize(
    ("weights", "found"),
    [
        (np.ones(39), r"numbers \(40,\), one for each training example, found float64 \(39,\)"),
        (np.ones((40, 1)), r"numbers \(40,\)"),
        (np.array(["1"] * 40), r"numbers \(40,\)"),
        (
            np.where(np.arange(40) == 7, -2.0, 1),
            r"from 0 to 1,000,000, not all 0, found -2\.0 in row 7, 1 in all",
        ),
        (np.where(np.arange(40) == 7, np.nan, 1), r"found nan in row 7, 1 in all"),
        (np.where(np.arange(40) == 7, np.inf, 1), r"found inf in row 7, 1 in all"),
        (np.zeros(40), "found 0 in each row"),
    ],
)
def test_weights_of_examples_that_are_none_are_refused(tmp_path: Path, weights: Any, found: str) -> None:
    with pytest.raises(DataError, match=rf"mine\.npz: array of sample weights: expected .*{found}"):
        arrays(held_of(tmp_path, w=weights), sample_weights="w").load()


def test_a_data_has_weights_of_its_own() -> None:
    data = data_of([0, 1, 0], weights=[1, 2, 3])
    check_data("here", data)
    for weights, found in ((np.ones(3), "float64"), (np.ones(2, np.float32), "2,"), ([1, 2, 3], "list")):
        wrong = Data("mine", data.spec, Part(data.train.x, data.train.y, weights), data.test, data.test)
        with pytest.raises(DataError, match=rf"array train\.weights: expected .*found .*{found}"):
            check_data("here", wrong)


def test_batches_of_training_have_the_weights_and_those_of_evaluation_do_not() -> None:
    some, spec = part([0, 1] * 5, weights=range(10)), Spec("numbers", (2,), 2)
    seen: Counter[float] = Counter()
    for x, _, weights in training_batches(some, spec, Order(range(2), 4, (0, 1))):
        np.testing.assert_array_equal(x[:, 0] / 2, weights)
        seen.update(weights.numpy().tolist())
    assert seen == dict.fromkeys(range(10), 2)
    assert [len(batch) for batch in evaluation_batches(some, spec)] == [2]
    assert [len(batch) for batch in training_batches(part([0, 1]), spec, Order(range(1), 2, (0, 1)))] == [2]


def test_examples_that_are_taken_keep_their_weights() -> None:
    assert taken(part([0, 1, 0], weights=[1, 2, 3]), np.array([0, 2])).weights.tolist() == [1, 3]


def test_weights_that_are_all_zero_after_the_split_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"all training examples that are left .* have weight 0"):
        weighed(data_of([0, 1], [0, 0]), None)


def test_names_of_classes_in_yaml_are_texts(composed: Any) -> None:
    config = composed("dataset=arrays", "dataset.path=x.npz", "dataset.class_weights={1:2,other:3}")
    assert config.dataset.class_weights == {"1": 2, "other": 3}
