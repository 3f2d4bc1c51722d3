"""NumPy arrays of one's own, from files and from a function."""

import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_fixtures import arrays, numbers, own

from pruneflow.datasets.reading.custom import check_data, given_of
from pruneflow.datasets.reading.labels import Naming, numbered
from pruneflow.datasets.reading.pixels import checked_pixels
from pruneflow.datasets.spec import Data, Part, Spec
from pruneflow.errors import ConfigError, DataError


def saved(folder: Path, **held: Any) -> Path:
    np.savez(folder / "mine.npz", **held)
    return folder / "mine.npz"


def halves(**changes: Any) -> dict[str, Any]:
    train, test = numbers(), numbers(20)
    return {
        "x_train": train["x"],
        "y_train": train["y"],
        "x_test": test["x"],
        "y_test": test["y"],
        **changes,
    }


def test_numbers_are_standardised_by_the_training_part_alone(tmp_path: Path) -> None:
    x = np.arange(40.0).reshape(20, 2)
    x_test, y = np.array([[1e6, 1e6], [2e6, 2e6]]), np.arange(20) % 2
    data = arrays(saved(tmp_path, x_train=x, y_train=y, x_test=x_test, y_test=[0, 1])).load()
    assert (data.spec, data.test.x.dtype) == (Spec("numbers", (2,), 2), np.float32)
    assert data.spec.model_input(data.test.x) is data.test.x
    np.testing.assert_allclose(data.train.x.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(data.train.x.std(axis=0), 1, atol=1e-6)
    mean, scale = (np.array(data.standardisation[key]) for key in ("mean", "scale"))
    np.testing.assert_allclose(data.test.x * scale + mean, x_test, rtol=1e-6)
    assert data.note == ""


def test_a_feature_that_never_changes_is_only_moved(tmp_path: Path) -> None:
    x = np.stack([np.full(20, 0.1), np.arange(20)], axis=1)
    data = arrays(saved(tmp_path, x=x, y=np.arange(20) % 2)).load()
    assert data.standardisation["scale"][0] == 1.0
    assert np.all(data.train.x[:, 0] == 0)


def test_without_standardisation_numbers_are_what_they_were(tmp_path: Path) -> None:
    data = arrays(saved(tmp_path, **halves()), standardise=False).load()
    np.testing.assert_array_equal(data.test.x, numbers(20)["x"].astype(np.float32))
    assert data.standardisation is None


def test_other_names_are_found_by_their_keys_and_usual_ones_by_themselves(tmp_path: Path) -> None:
    usual = arrays(saved(tmp_path, **halves())).load()
    renamed = {f"my_{name}": array for name, array in halves().items()}
    keys = {
        f"{key}_key": f"my_{key if '_' in key else f'{key}_train'}" for key in ("x", "y", "x_test", "y_test")
    }
    path = saved(tmp_path, **renamed)
    assert arrays(path, **keys).load().digest == usual.digest
    with pytest.raises(DataError, match=r"expected to be there, or another name in dataset\.x_key"):
        arrays(path).load()


def test_a_validation_part_of_its_own_is_taken_and_none_is_drawn(tmp_path: Path) -> None:
    x = np.arange(12.0).reshape(6, 2)
    path = saved(tmp_path, **halves(), x_val=np.zeros((6, 3)) + x[:, :1], y_val=[0, 1] * 3)
    data = arrays(path, standardise=False).load()
    assert (len(data.train), len(data.validation), len(data.test)) == (40, 6, 20)
    assert data.validation.x[:, 0].tolist() == [0, 2, 4, 6, 8, 10]


def test_two_npy_files_give_what_a_npz_file_gives(tmp_path: Path) -> None:
    held = numbers()
    np.save(tmp_path / "x.npy", held["x"])
    np.save(tmp_path / "y.npy", held["y"])
    pair = arrays(tmp_path / "x.npy", labels_path=str(tmp_path / "y.npy")).load()
    assert pair.digest == arrays(saved(tmp_path, **held)).load().digest
    assert (len(pair.train), len(pair.validation), len(pair.test)) == (29, 3, 8)
    assert pair.note.startswith("The test part is 8 of 40 examples, drawn by dataset.split_seed")
    limited = arrays(tmp_path / "x.npy", labels_path=str(tmp_path / "y.npy"), limit=6).load()
    assert limited.note.startswith("The test part is 6 of 12 examples, drawn by dataset.split_seed")


def test_the_parts_depend_on_the_split_seed_and_have_no_example_in_common(tmp_path: Path) -> None:
    path = saved(tmp_path, x=np.arange(80.0).reshape(40, 2), y=np.repeat([0, 1], 20))
    first, again, other = (arrays(path, standardise=False, split_seed=seed).load() for seed in (0, 0, 1))
    assert first.digest == again.digest != other.digest
    rows = np.concatenate([first.train.x, first.validation.x, first.test.x])[:, 0]
    assert sorted(rows.tolist()) == list(range(0, 80, 2))
    assert np.bincount(first.test.y).tolist() == [4, 4]
    assert first.test.x.tolist() != other.test.x.tolist()


@pytest.mark.parametrize(
    ("y", "classes", "first"),
    [
        ([0, 1, 2] * 4, (), [0, 1, 2]),
        ([5, -1, 10] * 4, ("-1", "5", "10"), [1, 0, 2]),
        ([1.0, 0.0, 2.0] * 4, (), [1, 0, 2]),
        (["b", " a", "C "] * 4, ("C", "a", "b"), [2, 1, 0]),
        ([b"b", b"a", b"b"] * 4, ("a", "b"), [1, 0, 1]),
        (["10", "9", "9.5"] * 4, ("9", "9.5", "10"), [2, 0, 1]),
        (["10", "9", "inf"] * 4, ("10", "9", "inf"), [0, 1, 2]),
        ([True, False, True] * 4, (), [1, 0, 1]),
        ([[7], [8], [7]] * 4, ("7", "8"), [0, 1, 0]),
        ([[0, 1, 0], [1, 0, 0], [0, 0, 1]] * 4, (), [1, 0, 2]),
    ],
)
def test_labels_of_any_kind_become_the_numbers_of_classes(
    y: list[Any], classes: tuple[str, ...], first: list[int]
) -> None:
    (found,), names = numbered("here", [("y", np.array(y))])
    assert found[:3].tolist() == first
    assert found.dtype == np.int64
    assert (names if classes else ()) == classes
    assert len(names) == len(set(first))


@pytest.mark.parametrize(
    ("y", "problem"),
    [
        ([[0.5, 0.5]] * 4, "a single 1 in each row"),
        ([[1, 1, 0]] * 4, "a single 1 in each row"),
        ([0.0, float("nan"), 1.0, 1.0], "found nan in row 1"),
        ([0.0, float("inf"), 1.0, 1.0], "found inf in row 1"),
        (["a", " ", "b", "b"], "a label in each row, found none in row 1"),
        (["a", "NaN", "b", "b"], "a label in each row, found none in row 1"),
        (["a", "b", "None", "b"], "a label in each row, found none in row 2"),
        ([0.0, 1e19, 0.0, 1e19], "labels that int64 can hold, found 1e\\+19 in row 1"),
        (
            np.array([0, 1 << 63] * 2, np.uint64),
            "labels that int64 can hold, found 9223372036854775808 in row 1",
        ),
        ([1 + 2j] * 4, "whole numbers or texts"),
    ],
)
def test_labels_that_are_none_are_refused(y: list[Any], problem: str) -> None:
    with pytest.raises(DataError, match=f"here: array y: expected .*{problem}"):
        numbered("here", [("y", np.array(y))])


def test_names_of_classes_number_the_labels(tmp_path: Path) -> None:
    (found,), _ = numbered("here", [("y", np.array(["dog", "CAT"] * 4))], Naming(("dog", "cat")))
    assert found[:2].tolist() == [0, 1]
    with pytest.raises(DataError, match="0, 1, found 2"):
        numbered("here", [("y", np.array([0, 1, 2] * 4))], Naming(("dog", "cat")))


@pytest.mark.parametrize(
    ("x", "pixel", "said"),
    [
        (np.array([0, 128, 255], np.uint8), [0, 128, 255], ""),
        (np.array([0, 1, 1], np.uint8), [0, 1, 1], ""),
        (np.array([0.0, 0.5, 1.0]), [0, 128, 255], "1 was taken as white"),
        (np.array([0.0, 128.4, 254.6], np.float32), [0, 128, 255], "float32, 0 to 254.6; 255 was"),
        (np.array([0, 128, 255]), [0, 128, 255], "255 was taken as white"),
        (np.array([False, True, True]), [0, 255, 255], "bool, 0 to 1; 1 was"),
    ],
)
def test_pixels_of_any_number_type_become_bytes_and_that_is_said(x: Any, pixel: list[int], said: str) -> None:
    (found,), note = checked_pixels("here", [("x", np.tile(x, 2).reshape(2, 1, 3))])
    assert (found.dtype, found.shape) == (np.uint8, (2, 1, 3, 1))
    assert found[1].ravel().tolist() == pixel
    assert said in note and bool(said) == bool(note)


def test_one_rule_holds_for_all_parts() -> None:
    dark, bright = np.zeros((1, 2, 2)), np.full((1, 2, 2), 200.0)
    (first, second), _ = checked_pixels("here", [("x", dark), ("x_test", bright)])
    assert (first.max(), second.max()) == (0, 200)
    with pytest.raises(
        DataError, match=r"array x_test: expected pixels from 0 to 255, .* found none above 0\.5"
    ):
        checked_pixels("here", [("x", bright), ("x_test", dark + 0.5)])
    with pytest.raises(DataError, match="array x_test: expected float64 as in x, found uint8"):
        checked_pixels("here", [("x", dark), ("x_test", bright.astype(np.uint8))])


@pytest.mark.parametrize("value", [-0.1, 255.5, np.nan, np.inf])
def test_pixels_beyond_a_byte_are_refused(value: float) -> None:
    with pytest.raises(DataError, match="pixels from 0 to 1 or from 0 to 255"):
        checked_pixels("here", [("x", np.array([[[0.0, value]]]))])


def test_an_array_that_declares_too_much_is_not_read(tmp_path: Path) -> None:
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 9), }".ljust(117) + "\n"
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00" + header.encode())
    np.save(tmp_path / "y.npy", np.zeros(3))
    with pytest.raises(DataError, match="at most 4294967296 bytes, found 7199999999928"):
        arrays(tmp_path / "x.npy", labels_path=str(tmp_path / "y.npy")).load()


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_npy_file_that_is_cut_short_is_refused(tmp_path: Path, kept: int) -> None:
    np.save(tmp_path / "x.npy", numbers()["x"])
    np.save(tmp_path / "y.npy", numbers()["y"])
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:kept])
    with pytest.raises(DataError, match=r"x\.npy: not a whole \.npy file without pickles"):
        arrays(tmp_path / "x.npy", labels_path=str(tmp_path / "y.npy")).load()


def test_bytes_behind_the_end_of_an_array_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", numbers()["x"])
    np.save(tmp_path / "y.npy", numbers()["y"])
    longer = (tmp_path / "y.npy").read_bytes() + b"more"
    (tmp_path / "y.npy").write_bytes(longer)
    with pytest.raises(
        DataError, match=r"y\.npy: not a whole \.npy file .* \(4 bytes behind the end of array y\)"
    ):
        arrays(tmp_path / "x.npy", labels_path=str(tmp_path / "y.npy")).load()
    with zipfile.ZipFile(saved(tmp_path, x=numbers()["x"]), "a") as archive:
        archive.writestr("y.npy", longer)
    with pytest.raises(DataError, match=r"mine\.npz: not a whole .* \(4 bytes behind the end of array y\)"):
        arrays(tmp_path / "mine.npz").load()


def test_names_in_capitals_are_usual_too_and_what_is_not_used_is_said(tmp_path: Path) -> None:
    usual = arrays(saved(tmp_path, **halves(), x_validation=numbers(6)["x"], y_validation=[0, 1] * 3)).load()
    held = {f"X{name[1:]}" if name[0] == "x" else name: array for name, array in halves().items()}
    path = saved(tmp_path, **held, X_val=numbers(6)["x"], Y_val=[0, 1] * 3, ids=np.arange(3), Y=[1])
    found = arrays(path).load()
    assert found.digest == usual.digest
    assert found.note.startswith("Arrays of mine.npz that were not used: Y, ids.")


FACTORY = """
import numpy as np
from pruneflow.datasets.spec import Data, Part, Spec

X, Y = np.arange(80.0).reshape(40, 2), np.arange(40) % 2

def mapping(**more):
    return {"x_train": X, "y_train": Y, **more}

def lists():
    return {"x_train": X.tolist(), "y_train": Y.tolist()}

def pair():
    return X, Y

def pairs():
    return (X, Y), (X[:6], Y[:6])

def four():
    return X, Y, X[:6], Y[:6]

def named():
    return {"x_train": X, "y_train": Y, "class_names": ["even", "odd"]}

def data(ids=9, digest="mine"):
    parts = [Part(np.full((4, 3), 1, np.int32), np.arange(4) % 2) for _ in range(3)]
    return Data("theirs", Spec("tokens", (3,), 2, ids), *parts, digest=digest, vocabulary={"a": 1})

class Maker:
    def load():
        return pair()
"""


@pytest.fixture
def module(tmp_path: Path) -> None:
    """The current folder is the temporary one."""
    (tmp_path / "made_here.py").write_text(FACTORY)
    sys.modules.pop("made_here", None)


def custom(function: str, **changes: Any) -> Data:
    loaded: Data = own("custom", factory=f"made_here:{function}", **changes).load()
    return loaded


@pytest.mark.usefixtures("module")
def test_a_mapping_a_pair_and_lists_give_the_same_data() -> None:
    data = custom("mapping")
    assert {custom(each).digest for each in ("mapping", "lists", "pair", "Maker.load")} == {data.digest}
    assert (len(data.train), len(data.validation), len(data.test)) == (29, 3, 8)
    assert (data.name, data.source) == ("custom", "dataset.factory=made_here:mapping")


@pytest.mark.usefixtures("module")
def test_pairs_and_four_arrays_have_their_own_test_part() -> None:
    assert custom("pairs").digest == custom("four").digest
    assert (len(custom("pairs").test), custom("pairs").note) == (6, "")
    assert custom("named").class_names == ("even", "odd")


@pytest.mark.usefixtures("module")
def test_arguments_are_passed_on() -> None:
    assert len(custom("mapping", arguments={"x_test": [[1.0, 2.0]], "y_test": [1]}).test) == 1


@pytest.mark.usefixtures("module")
def test_a_data_is_taken_as_it_is_under_this_name_and_with_a_digest_of_its_content() -> None:
    data = custom("data")
    assert (data.name, data.vocabulary, len(data.digest)) == ("custom", {"a": 1}, 64)
    assert data.digest == custom("data", arguments={"digest": "another"}).digest
    with pytest.raises(
        DataError, match=r"train\.x: expected ids from 0 to spec\.vocabulary_size - 1 = 0, found 1"
    ):
        custom("data", arguments={"ids": 1})


@pytest.mark.parametrize(
    ("x", "y", "problem"),
    [
        (np.zeros((4, 3)), np.zeros(4, int), r"array train\.x: expected .*float32 \(n, 3\), found float64"),
        (np.zeros((4, 2), np.float32), np.zeros(4, int), r"found float32 \(4, 2\)"),
        (np.full((4, 3), np.nan, np.float32), np.zeros(4, int), "finite numbers"),
        (np.zeros((4, 3), np.float32), np.full(4, 2), "labels 0 to 1, found 2 to 2"),
        (np.zeros((4, 3), np.float32), np.zeros(3, int), r"integers \(4,\)"),
        (np.zeros((4, 3), np.float32), np.zeros(4, np.int32), "expected int64"),
        ([[0.0] * 3], np.zeros(1, int), "found list"),
        (np.zeros((0, 3), np.float32), np.zeros(0, int), r"found float32 \(0, 3\)"),
    ],
)
def test_a_data_whose_parts_are_not_what_its_spec_says_is_refused(x: Any, y: Any, problem: str) -> None:
    good = Part(np.zeros((4, 3), np.float32), np.zeros(4, np.int64))
    data = Data("theirs", Spec("numbers", (3,), 2), Part(x, y), good, good)
    with pytest.raises(DataError, match=problem):
        check_data("here", data)


ROWS = np.zeros((4, 3), np.float32)
GOOD = Data("theirs", Spec("numbers", (3,), 2), *[Part(ROWS, np.arange(4) % 2)] * 3, class_names=("a", "b"))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"train": (ROWS, np.arange(4) % 2)}, "array train: expected a pruneflow.Part, found tuple"),
        ({"validation": None}, "array validation: expected a pruneflow.Part, found NoneType"),
        ({"spec": None}, "spec.kind: expected image, tokens, numbers, signal, found None"),
        ({"spec": Spec(["image"], (3,), 2)}, r"spec.kind: expected .*, found \['image'\]"),
        ({"spec": Spec("numbers", (3,), "3")}, "spec.classes: expected an int, 2 or more, found '3'"),
        (
            {"spec": Spec("numbers", 3, 2)},
            "spec.shape: expected a tuple of 1 int .*, each from 1, found 3",
        ),
        ({"spec": Spec("numbers", (3,), 3), "class_names": ()}, "no example of 2 is in the training part"),
        ({"class_names": ("a", "b", "c")}, "class_names: expected none, or one for each of the 2 classes"),
        ({"class_names": ("a", "a")}, "class_names: expected each name once, found a, a"),
        ({"class_names": ("a", "A")}, "class_names: the labels A and a differ in case alone"),
        ({"class_names": "ab"}, "class_names: expected a list of texts, found 'ab'"),
        (
            {"standardisation": {"mean": ROWS[0]}},
            "standardisation: expected None, or a dict of lists of finite",
        ),
        ({"vocabulary": {"a": 1}}, "vocabulary: expected None, or a dict of words and their ids below 0"),
        ({"note": None}, "note: expected a text, found None"),
        ({"left_out": "x"}, "left_out: expected a tuple of texts, found 'x'"),
    ],
)
def test_a_data_that_is_none_gets_one_message(changes: dict[str, Any], problem: str) -> None:
    check_data("here", GOOD)
    with pytest.raises(DataError, match=f"^here: .*{problem}"):
        check_data("here", replace(GOOD, **changes))


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["even", "even"], "expected each name once, found even, even"),
        (["odd", "Odd"], "the labels Odd and odd differ in case alone"),
        (5, "expected a list of texts, found 5"),
    ],
)
def test_names_of_classes_in_a_mapping_are_texts_each_once(names: Any, problem: str) -> None:
    with pytest.raises(DataError, match=f"class_names: {problem}"):
        given_of("here", {"x_train": ROWS, "y_train": [0, 1, 0, 1], "class_names": names})


def test_the_console_script_finds_modules_of_the_current_folder_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def load():\n    return [[0.0], [1.0]] * 20, [0, 1] * 20\n")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    before = list(sys.path)
    data = own("custom", factory="only_here:load").load()
    assert (data.spec.shape, sys.path) == ((1,), before)


def test_a_factory_is_refused_by_its_spelling_before_anything_is_imported() -> None:
    for name in ("load", "mine:", ":load", "mine.py", "mine:load()", "../mine:load", "mine:load:x"):
        with pytest.raises(ConfigError, match=r"it must be spelled package\.module:function"):
            own("custom", factory=name)


@pytest.mark.run
def test_numbers_train_a_network_and_the_standardisation_lies_beside_the_file(
    tmp_path: Path, composed: Any
) -> None:
    from dataclasses import dataclass

    from conftest import QUICK

    from pruneflow.flow import pipeline
    from pruneflow.models.options import Model
    from pruneflow.runtime import backend

    @dataclass(kw_only=True)
    class Tiny(Model):
        reads = "numbers"
        option_name = "tiny"

        def build(self, spec: Spec) -> Any:
            layers = backend.keras().layers
            inputs = backend.keras().Input(spec.shape, name="input")
            x = layers.Dense(16, activation="relu", name="dense")(inputs)
            return backend.keras().Model(inputs, layers.Dense(spec.classes, name="dense_1")(x), name="tiny")

    path = saved(tmp_path, x=1000 * numbers(400)["x"], y=np.where(numbers(400)["y"], "up", "down"))
    config = composed(*QUICK, "dataset=mnist", "export=all", "trainer.learning_rate=0.05")
    config = replace(config, model=Tiny(name="tiny"), dataset=arrays(path))
    (tmp_path / "run").mkdir()
    result = pipeline.run(config, pipeline.prepare(config), tmp_path / "run", command="test")
    assert [each.kind for each in result.tflite] == ["float", "dynamic-range", "int8"]
    assert min(each.accuracy for each in result.tflite) >= 0.8
    assert result.data.class_names == ("down", "up")
    facts = json.loads((tmp_path / "run" / "standardisation.json").read_text())
    assert facts == arrays(path).load().standardisation
    with pytest.raises(
        ConfigError, match=r"model=cnn: it reads images, and the data set has rows of numbers"
    ):
        pipeline.prepare(replace(config, model=composed().model))


@pytest.mark.parametrize(
    ("x", "settings", "white", "first"),
    [
        (np.full((20, 5, 4), 255, np.uint8), {}, None, False),
        (np.linspace(0, 1, 400).reshape(20, 5, 4), {"examples": "image"}, 1.0, False),
        (np.arange(1200, dtype=np.uint16).reshape(20, 3, 5, 4), {"white": 4095}, 4095, True),
    ],
)
def test_a_script_is_told_how_images_were_read(
    tmp_path: Path, x: Any, settings: dict[str, Any], white: float | None, first: bool
) -> None:
    """Of arrays and of what a function returns, an example is an array as those that came."""
    option = arrays(
        saved(tmp_path, x=x, y=np.arange(20) % 2), **settings, channels_first=True if first else None
    )
    reads = option.preparation(option.load())
    assert (reads.file, reads.white, reads.channels_first) == ("array", white, first)
    assert reads.shape == (5, 4, 3 if first else 1)
