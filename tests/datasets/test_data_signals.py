"""What arrays are taken for: images, rows of numbers, signals, token ids; and groups that stay together."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import QUICK
from own_fixtures import arrays, numbers, own, rows, texts

import pruneflow
from pruneflow.datasets.as_trained import as_trained
from pruneflow.datasets.reading.custom import check_data
from pruneflow.datasets.reading.kinds import kind_of
from pruneflow.datasets.reading.pixels import Reading, checked_pixels
from pruneflow.datasets.spec import Data, Part, Spec
from pruneflow.datasets.split import joined
from pruneflow.errors import ConfigError, DataError
from pruneflow.evaluate import main as evaluate

RNG = np.random.default_rng(0)
Y = np.arange(60) % 2
BYTES = RNG.integers(0, 256, (20, 8, 8))


def saved(folder: Path, **held: Any) -> Path:
    np.savez(folder / "mine.npz", **held)
    return folder / "mine.npz"


def windows(n: int = 60) -> np.ndarray:
    """Sensor windows of 12 steps and 3 channels of very different scale; class 1 swings more."""
    swing = 1 + np.arange(n) % 2
    x = RNG.normal(size=(n, 12, 3)) * swing[:, None, None]
    return x * np.array([1e-4, 1.0, 300.0]) + np.array([0.0, 5.0, -40.0])


@pytest.mark.parametrize(
    ("x", "kind"),
    [
        (BYTES.astype(np.uint8), "image"),
        (BYTES, "image"),
        (BYTES.astype(np.float32), "image"),
        (BYTES / 255, "image"),
        ((BYTES / 255).astype(np.float16), "image"),
        ((BYTES / 127.5) - 1, "signal"),
        (BYTES.astype(np.int16) - 128, "signal"),
        (RNG.normal(size=(20, 8, 8)), "signal"),
        (RNG.random((20, 50, 1)), "signal"),
        (RNG.random((20, 8, 8, 3)), "image"),
        (RNG.random((20, 4, 8, 8, 3)), "signal"),
        (RNG.random((20, 5)), "numbers"),
        (BYTES > 127, "image"),
    ],
)
def test_arrays_are_what_their_shape_and_values_say(x: np.ndarray, kind: str) -> None:
    assert kind_of("here", [("x", x)], "auto")[0] == kind


@pytest.mark.parametrize("shape", [(20, 8, 8), (20, 8, 8, 13), (20, 8, 8, 1)])
def test_numbers_from_0_to_1_of_many_levels_are_asked_about(shape: tuple[int, ...]) -> None:
    x = [("x", RNG.random(shape))]
    with pytest.raises(DataError, match=r"dataset\.examples=image rounds .*dataset\.examples=signal keeps"):
        kind_of("here", x, "auto")
    for asked in ("image", "signal"):
        assert kind_of("here", x, asked) == (asked, "")
    assert kind_of("here", x, "auto", white=1.0)[0] == "image"


def test_a_signal_is_said_where_values_are_no_pixels(tmp_path: Path) -> None:
    note = arrays(saved(tmp_path, x=windows(), y=Y)).load().note
    assert "which pixels do not: it was taken as a signal" in note


@pytest.mark.parametrize("asked", ["image", "numbers", "signal", "tokens"])
def test_what_is_asked_for_needs_its_dimensions(asked: str) -> None:
    wrong = RNG.random((4, 3)) if asked in ("image", "signal") else RNG.random((4, 3, 3))
    with pytest.raises(DataError, match=rf"\(dataset\.examples={asked}\)"):
        kind_of("here", [("x", wrong)], asked)


def test_a_signal_is_standardised_by_channel_over_the_training_part_and_never_rounded(tmp_path: Path) -> None:
    x = windows()
    test = np.full((4, 12, 3), 1e6)
    data = arrays(saved(tmp_path, x=x, y=Y, x_test=test, y_test=Y[:4]), examples="signal").load()
    assert (data.spec.kind, data.spec.shape, data.train.x.dtype) == ("signal", (12, 3), np.float32)
    np.testing.assert_allclose(data.train.x.mean(axis=(0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(data.train.x.std(axis=(0, 1)), 1, atol=1e-5)
    assert data.standardisation is not None
    mean, scale = (np.array(data.standardisation[key]) for key in ("mean", "scale"))
    assert mean.shape == scale.shape == (3,)
    np.testing.assert_allclose(data.test.x * scale + mean, test, rtol=1e-6)
    assert len(np.unique(data.train.x[..., 1])) > 256


def test_a_signal_can_stay_as_it_is(tmp_path: Path) -> None:
    x = windows().astype(np.float32)
    data = arrays(saved(tmp_path, x=x, y=Y, x_test=x[:4], y_test=Y[:4]), standardise=False).load()
    np.testing.assert_array_equal(data.test.x, x[:4])
    assert data.standardisation is None


def test_a_data_of_signals_is_taken_as_it_is() -> None:
    def of(n: int) -> Part:
        return Part(windows(n).astype(np.float32), np.arange(n) % 2)

    data = Data("mine", Spec("signal", (12, 3), 2), of(40), of(6), of(8))
    check_data("here", data)
    with pytest.raises(DataError, match=r"spec\.shape: expected a tuple of 2 or more int, each from 1"):
        check_data("here", replace(data, spec=Spec("signal", (12,), 2)))
    with pytest.raises(DataError, match=r"a tuple of 1 int \(spec\.kind=signal has more\), each from 1"):
        check_data("here", replace(data, spec=Spec("numbers", (12, 3), 2)))


def test_a_number_that_is_none_is_named_by_its_place(tmp_path: Path) -> None:
    x = windows()
    x[3, 5, 1] = np.nan
    with pytest.raises(DataError, match=r"found nan in row 3, column \(5, 1\), 1 in all"):
        arrays(saved(tmp_path, x=x, y=Y), examples="signal").load()


def test_another_test_part_gets_the_scales_of_training(tmp_path: Path) -> None:
    x = windows()
    option = arrays(saved(tmp_path, x=x, y=Y), examples="signal")
    trained = option.load()
    file = tmp_path / "run" / "pruned-float.tflite"
    file.parent.mkdir()
    file.with_name("standardisation.json").write_text(json.dumps(trained.standardisation))
    later = arrays(saved(tmp_path, x=x * 2, y=Y, x_test=x[:4], y_test=Y[:4]), examples="signal")
    again = as_trained(file, later, later.load())
    assert again.standardisation == trained.standardisation
    mean, scale = (np.array(trained.standardisation[key]) for key in ("mean", "scale"))
    np.testing.assert_allclose(again.test.x, (x[:4] - mean) / scale, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float32])
def test_token_ids_are_what_they_were(tmp_path: Path, dtype: Any) -> None:
    x = RNG.integers(0, 200, (60, 7))
    data = arrays(saved(tmp_path, x=x.astype(dtype), y=Y), examples="tokens", test_fraction=0.5).load()
    assert (data.spec.kind, data.spec.vocabulary_size, data.train.x.dtype) == (
        "tokens",
        x.max() + 1,
        np.int32,
    )
    held = np.concatenate([data.train.x, data.validation.x, data.test.x])
    assert sorted(map(tuple, held.tolist())) == sorted(map(tuple, x.tolist()))
    assert f"Token ids go from 0 to {x.max()}, the largest that occurs." in data.note


@pytest.mark.parametrize("value", [-1, 0.5, 1e9])
def test_what_is_no_token_id_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(DataError, match="token ids: whole numbers from 0, below 100,000,000"):
        arrays(saved(tmp_path, x=np.full((60, 3), value), y=Y), examples="tokens").load()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
def test_images_have_any_number_of_channels(channels: int) -> None:
    x = RNG.integers(0, 256, (4, 6, 5, channels), dtype=np.uint8)
    (found,), said = checked_pixels("here", [("x", x)])
    assert (found is x, said) == (True, "")


@pytest.mark.parametrize("shape", [(4, 3, 8, 8), (4, 13, 64, 64), (4, 1, 8, 9)])
def test_channels_that_come_first_are_refused_or_turned(shape: tuple[int, ...]) -> None:
    x = RNG.integers(0, 256, shape, dtype=np.uint8)
    with pytest.raises(DataError, match=r"dataset\.channels_first=true, which turns them, or false"):
        checked_pixels("here", [("x", x)])
    (turned,), said = checked_pixels("here", [("x", x)], Reading(channels_first=True))
    np.testing.assert_array_equal(turned, x.transpose(0, 2, 3, 1))
    assert said == "Channels were moved from the first place to the last."
    assert checked_pixels("here", [("x", x)], Reading(channels_first=False))[0][0] is x


def test_settings_that_nothing_reads_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, x=RNG.random((60, 3)), y=Y)
    with pytest.raises(
        ConfigError, match=r"dataset\.white=16\.0: x of .* has no pixels, but is read as numbers"
    ):
        arrays(path, white=16.0).load()
    with pytest.raises(DataError, match=r"as dataset\.channels_first=true says, found uint8 \(4, 6, 5\)"):
        checked_pixels("here", [("x", np.zeros((4, 6, 5), np.uint8))], Reading(channels_first=True))
    held = {"x_test": RNG.random((4, 3)), "y_test": Y[:4], "x_val": RNG.random((4, 3)), "y_val": Y[:4]}
    path = saved(tmp_path, x=RNG.random((60, 3)), y=Y, g=Y, **held)
    said = "dataset.groups was not used: the groups of the test and validation part are not known."
    assert said in arrays(path, groups="g").load().note


@pytest.mark.parametrize(
    ("white", "high", "pixels"),
    [
        (16, 16, [0, 128, 255]),
        (4095, 4094, [0, 127, 255]),
        (65535, 65535, [0, 128, 255]),
        (1, 1, [0, 128, 255]),
    ],
)
def test_white_is_what_is_set(white: float, high: float, pixels: list[int]) -> None:
    x = np.array([0, high / 2, high]).reshape(1, 1, 3)
    (found,), said = checked_pixels("here", [("x", x)], Reading(white=white))
    assert found.ravel().tolist() == pixels
    assert f"float64, 0 to {high:g}; {white:g} was taken as white" in said


@pytest.mark.parametrize(
    ("high", "white"),
    [(2.0, 2), (16.0, 16), (127.0, 127), (256.0, 1023), (4011.0, 4095), (4096.0, 16383), (99999.0, 99999)],
)
def test_white_is_asked_for_where_it_is_not_known(high: float, white: int) -> None:
    x = np.array([[[0.0, high]]])
    with pytest.raises(
        DataError, match=rf"such as dataset\.white={white}; .*found float64 from 0 to {high:g}"
    ):
        checked_pixels("here", [("x", x)])


def test_rounding_elsewhere_makes_no_pixel_wrong() -> None:
    x = np.array([[[-1e-4, 1 + 1e-4]]])
    assert checked_pixels("here", [("x", x)])[0][0].ravel().tolist() == [0, 255]


def test_a_test_part_lies_in_files_of_its_own(tmp_path: Path) -> None:
    held, test = numbers(), numbers(12)
    for name, array in {"x": held["x"], "y": held["y"], "x_t": test["x"], "y_t": 1 - test["y"]}.items():
        np.save(tmp_path / f"{name}.npy", array)
    np.savez(tmp_path / "t.npz", x_test=test["x"], y_test=1 - test["y"])
    paths = {"labels_path": "y.npy", "test_path": "x_t.npy", "test_labels_path": "y_t.npy"}
    paths_of = {key: str(tmp_path / name) for key, name in paths.items()}
    pair = arrays(tmp_path / "x.npy", **paths_of).load()
    whole = arrays(saved(tmp_path, **held), test_path=str(tmp_path / "t.npz")).load()
    mixed = arrays(tmp_path / "x.npy", labels_path=paths_of["labels_path"], test_path=str(tmp_path / "t.npz"))
    assert mixed.load().digest == pair.digest
    twice = arrays(
        saved(tmp_path, **held, x_test=held["x"], y_test=held["y"]), test_path=str(tmp_path / "t.npz")
    )
    assert "x_test and y_test of mine.npz were not used: dataset.test_path names" in twice.load().note
    with pytest.raises(ConfigError, match=r"dataset\.test_labels_path=y\.npy: dataset\.test_path is null"):
        arrays(tmp_path / "mine.npz", test_labels_path="y.npy")
    assert pair.test.y.tolist() == (1 - test["y"]).tolist()
    assert pair.digest == whole.digest
    assert "The test part is" not in pair.note


def test_a_npz_file_of_one_array_is_read_like_a_npy_file(tmp_path: Path) -> None:
    held = numbers()
    for name in ("x", "y"):
        np.savez(tmp_path / f"{name}.npz", held[name])
        np.save(tmp_path / f"{name}.npy", held[name])
    npz, npy = (
        arrays(tmp_path / f"x.{kind}", labels_path=str(tmp_path / f"y.{kind}")).load()
        for kind in ("npz", "npy")
    )
    assert npz.digest == npy.digest


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_nobody_is_in_two_parts(tmp_path: Path, task: str) -> None:
    people = np.array([f"p{each:02}" for each in RNG.permutation(np.repeat(np.arange(30), 4))])
    number = np.array([int(each[1:]) for each in people])
    y = number % 2 if task == "classification" else number * 1.5
    path = saved(tmp_path, x=np.stack([number, RNG.random(120)], 1), y=y, who=people)
    data = arrays(path, groups="who", standardise=False, task=task).load()
    parts = [set(part.x[:, 0].tolist()) for part in (data.train, data.validation, data.test)]
    assert sum(map(len, parts)) == 30
    assert set.union(*parts) == set(range(30))
    assert 16 <= len(data.test) <= 32
    assert "No group of dataset.groups (30 in all) is in two parts (test and validation drawn)." in data.note
    assert "not used" not in data.note


def test_groups_come_from_a_function_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import numpy as np
def load():
    who = np.arange(40) // 4
    return {"x_train": np.stack([who, np.arange(40)], 1) * 1.0, "y_train": who % 2, "groups": who}
"""
    (tmp_path / "of_people.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    data = own("custom", factory="of_people:load", standardise=False).load()
    parts = [set(part.x[:, 0].tolist()) for part in (data.train, data.validation, data.test)]
    assert sum(map(len, parts)) == 10


def test_groups_of_texts_come_from_a_column_and_equal_texts_still_stay_together(tmp_path: Path) -> None:
    lines = ["text,label,author"]
    lines += [f"a {'bad' if i % 2 else 'good'} film w{i // 2},{i % 2},a{i // 6}" for i in range(90)]
    lines += [f"a very good film,0,a{i}" for i in (0, 1)]
    path = rows(tmp_path / "mine.csv", lines)
    data = texts(path, groups="author", vocabulary_size=200, length=5).load()
    word = {id_: name for name, id_ in (data.vocabulary or {}).items()}
    authors = [
        {int(word[token][1:]) // 3 for row in part.x for token in row if word.get(token, "")[:1] == "w"}
        for part in (data.train, data.validation)
    ]
    assert not authors[0] & authors[1]
    assert "No group of dataset.groups (15 in all)" in data.note


def test_groups_that_leave_no_part_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, x=RNG.random((40, 2)), y=np.arange(40) % 2, g=np.zeros(40, int))
    with pytest.raises(ConfigError, match=r"dataset\.test_fraction=0\.2: puts .* as copies stay together"):
        arrays(path, groups="g").load()
    with pytest.raises(ConfigError, match=r"dataset\.groups=who: the file has no array of this name; it has"):
        arrays(path, groups="who").load()


def test_what_is_one_in_either_list_is_one() -> None:
    assert joined(np.array([0, 1, 2, 3]), np.array([5, 6, 5, 6])).tolist() == [0, 1, 0, 1]
    assert joined(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 2, 3])).tolist() == [0, 0, 0, 0, 4]


SPARK = [
    *("text,label", r'"they said \"wow\", twice",1', r'"a \"calm\" one",0'),
    *(f'"plain {i}",{i % 2}' for i in range(20)),
]


def test_quotes_behind_backslashes_are_read_where_that_is_set(tmp_path: Path) -> None:
    path = rows(tmp_path / "spark.csv", SPARK)
    with pytest.raises(
        DataError, match=r"A backslash stands before quotes there: set dataset\.escape=backslash"
    ):
        texts(path).load()
    data = texts(path, escape="backslash", vocabulary_size=99, length=9).load()
    assert len(data.train) + len(data.validation) + len(data.test) == 22
    with pytest.raises(ConfigError, match=r"dataset\.escape=backslash: is for quoted fields"):
        texts(path, escape="backslash", quotes="none")


def test_the_file_of_reviews_from_kaggle_is_read_as_it_is(tmp_path: Path) -> None:
    body = [
        f'"A ""{word}"" film, number {i}.<br /><br />Really.",{label}'
        for i in range(30)
        for word, label in (("fine", "positive"), ("poor", "negative"))
    ]
    data = own(
        "csv_text", path=str(rows(tmp_path / "IMDB Dataset.csv", ["review,sentiment", *body])), length=8
    ).load()
    assert data.class_names == ("negative", "positive")
    assert "Texts are of column review, labels of column sentiment." in data.note
    assert {"fine", "poor", "really"} <= set(data.vocabulary)
    assert len(data.train) + len(data.validation) + len(data.test) == 60


def test_columns_that_are_named_count_before_usual_ones(tmp_path: Path) -> None:
    lines = ["review;stars;text;label", *(f"said {i};{i % 3};other {i};{i % 2}" for i in range(30))]
    path = rows(tmp_path / "mine.csv", lines)
    named, usual = texts(path, text_column="review", label_column="stars").load(), texts(path).load()
    assert (len(named.class_names), len(usual.class_names)) == (3, 2)
    assert "said" in (named.vocabulary or {}) and "other" in (usual.vocabulary or {})


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("several", [[[1, 1], [0, 1]], [[0, 0], [1, 0]]])
def test_several_labels_at_once_are_no_task(tmp_path: Path, task: str, several: list[list[int]]) -> None:
    path = saved(tmp_path, x=RNG.random((60, 3)), y=np.array(several * 30))
    with pytest.raises(DataError, match=r"several labels at once .* return_inverse=True\)\[1\]"):
        arrays(path, task=task).load()


@pytest.mark.run
def test_a_signal_is_trained_exported_and_evaluated_by_the_scales_of_its_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    y, y_test = np.arange(200) % 2, np.arange(100) % 2
    x, test = (windows(len(each)) + 400 * each[:, None, None] for each in (y, y_test))
    np.savez(tmp_path / "mine.npz", x=x, y=y, x_test=test, y_test=y_test)
    data = ["dataset=arrays", "dataset.examples=signal"]
    small = ["model=mlp", "model.hidden_units=[16]", "trainer.batch_size=16", "trainer.dense_batch_size=16"]
    longer = ["trainer.dense_epochs=12", "trainer.epochs=6", f"dataset.path={tmp_path / 'mine.npz'}"]
    result = pruneflow.run([*QUICK, *data, *small, *longer], folder=tmp_path / "run")
    scales = json.loads((tmp_path / "run" / "standardisation.json").read_text())
    assert len(scales["mean"]) == 3
    accuracy = result.tflite[0].metrics["accuracy"]
    assert accuracy == pytest.approx(result.pruned.metrics["accuracy"], abs=0.05)
    assert accuracy > 0.8
    # Beside another training part, of other scales, the same test part gets those of the first.
    np.savez(tmp_path / "other.npz", x=9 * x, y=y, x_test=test, y_test=y_test)
    file = tmp_path / "run" / result.tflite[0].file
    others = f"dataset.path={tmp_path / 'other.npz'}"
    capsys.readouterr()
    assert evaluate(["--json", str(file), *data, others, "latency.seconds=0"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["files"]
    assert row["accuracy"] == accuracy
    (tmp_path / "run" / "standardisation.json").unlink()
    assert evaluate(["--json", str(file), *data, others, "latency.seconds=0"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["files"]
    assert row["accuracy"] < accuracy - 0.1
