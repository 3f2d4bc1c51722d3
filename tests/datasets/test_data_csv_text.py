"""Texts of one's own, of any classes, in a CSV file."""

import csv
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_formats import opinions as two_opinions
from data_formats import table
from own_fixtures import opinions, own, rows, texts

from pruneflow.errors import ConfigError, DataError


def test_more_than_two_classes_are_numbered_in_their_order(tmp_path: Path) -> None:
    data = texts(rows(tmp_path / "o.csv", opinions(30))).load()
    assert (data.spec.classes, data.class_names) == (3, ("bad", "good", "so-so"))
    assert np.bincount(data.test.y).tolist() == [2, 2, 2]
    assert (len(data.train), len(data.validation), len(data.test)) == (22, 2, 6)
    assert data.note == (
        "The test part is 6 of 30 rows, held out by the hash of the text as a fifth of each class of o.csv: "
        "dataset.test_path is null."
    )


def test_words_are_counted_on_the_training_part_alone(tmp_path: Path) -> None:
    data = texts(rows(tmp_path / "o.csv", opinions(30)), vocabulary_size=1000, length=5).load()
    own_words = {word for word in data.vocabulary if word.startswith("w")}
    assert len(own_words) == len(data.train) == 22
    assert (data.validation.x[:, -1] == 2).all() and (data.test.x[:, -1] == 2).all()
    assert not (data.train.x == 2).any()


def test_the_file_of_imdb_reviews_of_kaggle_is_read_as_it_is(tmp_path: Path) -> None:
    """Its columns are review and sentiment; it has tags, and doubled quotes, in quoted fields."""
    said = ('"Bad.<br /><br />He said ""no, %d"", and I left.",negative', "A good film %d,positive")
    file = rows(tmp_path / "IMDB Dataset.csv", ["review,sentiment", *(said[i % 2] % i for i in range(40))])
    data = texts(file, text_column=None, label_column=None, vocabulary_size=1000, length=12).load()
    assert data.class_names == ("negative", "positive")
    assert len(data.train) + len(data.validation) + len(data.test) == 40
    ids = data.vocabulary
    negative = data.train.x[data.train.y == 0][0].tolist()
    read = ["bad", "br", "br", "he", "said", "no"]
    assert negative[-10:-4] == [ids[word] for word in read] and negative[-11] == 1  # the start of the text
    assert negative[-3:] == [ids[word] for word in ("and", "i", "left")]
    assert data.note.endswith("Texts are of column review, labels of column sentiment.")


def test_a_test_file_is_the_test_half_and_its_words_have_no_rank(tmp_path: Path) -> None:
    test = rows(tmp_path / "t.csv", ["text,label", "novelty,GOOD", "a film,bad"])
    data = texts(rows(tmp_path / "o.csv", opinions(30)), test_path=str(test)).load()
    assert (data.test.y.tolist(), data.note) == ([1, 0], "")
    assert data.test.x[0].tolist() == [0, 0, 1, 2]
    assert len(data.train) + len(data.validation) == 30


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_any_usual_separator_is_found(tmp_path: Path, sign: str) -> None:
    expected = texts(rows(tmp_path / "o.csv", opinions(30))).load().digest
    lines = [
        sign.join((f'"{label}"', text, "a, b; c|d")) for text, label in (o.split(",") for o in opinions(30))
    ]
    lines = [line.replace(f"{sign}a, b; c|d", f'{sign}"a, b; c|d"') for line in lines]
    assert texts(rows(tmp_path / "other.txt", lines)).load().digest == expected


def test_a_text_column_with_semicolons_in_its_name_does_not_mislead(tmp_path: Path) -> None:
    lines = [
        line.replace("text,label", "a;b;c,text,label") if not i else f"x,{line}"
        for i, line in enumerate(opinions())
    ]
    assert texts(rows(tmp_path / "o.csv", lines)).load().spec.classes == 3


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "latin-1", "utf-8-sig"])
def test_another_encoding_gives_the_same_data(tmp_path: Path, encoding: str) -> None:
    lines = [line.replace("film", "café") for line in opinions(30)]
    expected = texts(rows(tmp_path / "u.csv", lines)).load()
    other = texts(rows(tmp_path / "o.csv", lines, encoding=encoding), encoding=encoding).load()
    assert other.digest == expected.digest
    assert "café" in expected.vocabulary


def test_a_mark_at_the_beginning_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = rows(tmp_path / "o.csv", opinions(30), encoding="utf-8-sig")
    assert texts(path).load().spec.classes == 3


def test_a_file_that_is_not_of_its_encoding_says_which_one_would_read_it(tmp_path: Path) -> None:
    path = rows(tmp_path / "o.csv", [*opinions(), "caf\x81,good"], encoding="latin-1")
    with pytest.raises(DataError, match=r"\(0x81\) is not utf-8\. Set dataset\.encoding=latin-1"):
        texts(path).load()
    path = rows(tmp_path / "o.csv", [*opinions(), "café,good"])
    with pytest.raises(DataError, match=r"\(0xc3\) is not ascii\. Set dataset\.encoding=cp1252"):
        texts(path, encoding="ascii").load()


def test_rows_that_lack_something_are_left_out_and_counted_if_one_says_so(tmp_path: Path) -> None:
    clean = texts(rows(tmp_path / "o.csv", opinions(30))).load()
    odd = [",bad", '"  ",good', "a film,", "a film, NaN", "a film,N/A", "a film,None", "a film,null"]
    lines = [*opinions(30)[:4], *odd, *opinions(30)[4:]]
    path = rows(tmp_path / "d.csv", lines)
    data = texts(path, missing="skip").load()
    assert data.digest == clean.digest
    assert data.note.endswith("7 rows of d.csv have no text or no label and were left out.")
    assert data.left_out == tuple(f"d.csv: line {line}" for line in range(5, 12))
    with pytest.raises(DataError, match=r"no text or no label in line 5, 6, 7, 8, 9, \.\.\., 7 in all\."):
        texts(path).load()


def test_a_class_that_is_called_as_none_is_one_if_a_setting_names_it(tmp_path: Path) -> None:
    path = rows(tmp_path / "o.csv", opinions(30, classes=("none", "some")))
    with pytest.raises(DataError, match="no text or no label in line 2, 4"):
        texts(path).load()
    assert texts(path, class_names=["some", "none"]).load().class_names == ("some", "none")


def test_long_texts_are_read_and_the_limit_of_the_process_is_what_it_was(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    data = texts(rows(tmp_path / "o.csv", [*opinions(30), f"{'good ' * 30_000},good"])).load()
    assert len(data.train) + len(data.validation) + len(data.test) == 31
    assert csv.field_size_limit() == before


def test_a_quote_that_is_not_closed_is_named_by_the_line_in_which_its_row_begins(tmp_path: Path) -> None:
    lines = opinions(30)
    lines[4:6] = ['"two', 'lines",bad', '"open,bad']
    with pytest.raises(
        DataError, match=r"o\.csv: the row that begins in line 7 is not whole \(.*Mend its quotes"
    ):
        texts(rows(tmp_path / "o.csv", lines)).load()


@pytest.mark.parametrize("encoding", ["utf-7", "unicode_escape"])
def test_an_encoding_that_gives_half_a_character_is_refused(tmp_path: Path, encoding: str) -> None:
    half = {"utf-7": "+2AA-", "unicode_escape": r"\ud800"}[encoding]
    path = rows(tmp_path / "o.csv", [*opinions(30), f"a {half} film,good"])
    with pytest.raises(
        DataError, match=rf"o\.csv: line 32: {encoding} gives U\+D800 there, half a character"
    ):
        texts(path, encoding=encoding).load()


def test_two_classes_give_what_imdb_gives_but_for_the_words_of_the_validation_part(tmp_path: Path) -> None:
    from data_fixtures import imdb_option

    path = table(tmp_path / "o.csv", two_opinions(20))
    other = imdb_option(path=str(path), vocabulary_size=7, length=4).load()
    data = texts(path, vocabulary_size=7).load()
    assert (data.digest, data.vocabulary) == (other.digest, other.vocabulary)


def test_a_limit_is_drawn_before_words_are_counted(tmp_path: Path) -> None:
    data = texts(rows(tmp_path / "o.csv", opinions(90)), limit=30, vocabulary_size=1000).load()
    assert data.note.startswith("The test part is 18 of 48 rows, held out")
    assert (len(data.train) + len(data.validation), len(data.test)) == (30, 18)
    assert sum(word.startswith("w") for word in data.vocabulary) == len(data.train)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("path", None, "it takes a file with a text and a label in each row"),
        ("missing", "drop", "allowed are refuse, skip"),
        ("encoding", "base64", "Python knows no such encoding"),
        ("encoding", "", "Python knows no such encoding"),
        ("length", 0, "1 or more"),
        ("vocabulary_size", 4, "5 or more"),
        ("label_column", "text", "is the text column too"),
        ("test_fraction", 0.0, "between 0 and 1"),
        ("test_fraction", float("nan"), "between 0 and 1"),
        ("test_path", "", "must not be empty"),
        ("split_seed", -1, "0 or more"),
        ("limit", 1, "2 or more"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(tmp_path: Path, key: str, value: Any, problem: str) -> None:
    shown = "null" if value is None else value
    with pytest.raises(ConfigError, match=rf"^dataset\.{key}={shown}: .*{problem}"):
        own("csv_text", **{"path": str(tmp_path / "o.csv"), "text_column": "text", key: value})


@pytest.mark.run
def test_two_classes_of_ones_own_go_through_the_lstm(tmp_path: Path) -> None:
    from conftest import QUICK, QUICK_LSTM
    from test_cli import exit_code

    table(tmp_path / "o.csv", two_opinions(120, bad="boring", good="lively"))
    line = "model=lstm dataset=csv_text dataset.path=o.csv hydra.run.dir=run"
    assert exit_code([*shlex.split(line), *QUICK, *QUICK_LSTM]) == 0
    assert (tmp_path / "run" / "vocabulary.json").exists()


def test_a_file_that_is_its_own_test_file_is_refused(tmp_path, composed):
    rows(tmp_path / "x.csv", opinions(40))
    config = composed("model=lstm", "dataset=csv_text", "dataset.path=x.csv", "dataset.test_path=./x.csv")
    with pytest.raises(ConfigError, match=r"dataset.test_path=./x.csv: it is the file of dataset.path"):
        config.dataset.load()
