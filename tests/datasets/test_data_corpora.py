import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_fixtures import imdb_arrays, imdb_option, mnist_arrays, rows, saved
from data_formats import REVIEWS, archive, idx_folder, member, opinions, review_folder, table
from support import ROOT

from pruneflow.datasets.reading.text import encode_text
from pruneflow.datasets.spec import Data
from pruneflow.errors import DataError

# Rank + 3. Twice or more: bad 4, a 3, film 2, it 2, great 2; once: was, bore, br, fun, i, liked.
IDS = {"bad": 4, "a": 5, "film": 6, "it": 7, "great": 8, "was": 9, "bore": 10, "br": 11, "fun": 12, "i": 13}


def load(path: Path, **changes: Any) -> Data:
    return imdb_option(
        path=str(path), **{"vocabulary_size": 14, "validation_fraction": 0.34, **changes}
    ).load()


def refused(path: Path, pattern: str, **changes: Any) -> None:
    with pytest.raises(DataError, match=pattern):
        load(path, **changes)


def every_review(data: Data) -> list[list[int]]:
    return sorted(np.concatenate([data.train.x, data.validation.x]).tolist())


def test_the_folder_of_reviews_is_ranked_on_its_training_half(tmp_path: Path) -> None:
    data = load(review_folder(tmp_path / "aclImdb"))
    assert data.vocabulary == IDS
    assert data.test.x.tolist() == [[0, 0, 1, 4], [1, 5, 8, 2]]  # "novelty" is not in the training half
    assert data.test.y.tolist() == [0, 1]
    assert data.class_names == ("neg", "pos")
    # "It was a bore" loses its start mark; "liked" would have the id 14
    expected = [[1, 5, 4, 6], [1, 4, 4, 4], [7, 9, 5, 10], [1, 5, 8, 6], [1, 8, 11, 12], [1, 13, 2, 7]]
    assert every_review(data) == sorted(expected)


@pytest.mark.parametrize("top", ["aclImdb/", "", "./", "some/where/"])
def test_the_archive_gives_what_the_folder_gives_and_writes_nothing(tmp_path: Path, top: str) -> None:
    folder = review_folder(tmp_path / "aclImdb")
    expected = load(folder).digest
    shutil.rmtree(folder)
    data = load(archive(tmp_path / "aclImdb_v1.tar.gz", top=top))
    assert data.digest == expected
    assert data.vocabulary == IDS
    assert [file.name for file in tmp_path.iterdir()] == ["aclImdb_v1.tar.gz"]


def test_the_folder_above_and_a_folder_of_another_name_are_found(tmp_path: Path) -> None:
    folder = review_folder(tmp_path / "above" / "aclImdb")
    expected = load(folder).digest
    assert load(folder.parent).digest == expected
    assert load(folder.rename(tmp_path / "mine")).digest == expected


def test_unlabelled_hidden_and_other_files_are_ignored(tmp_path: Path) -> None:
    folder = review_folder(tmp_path / "aclImdb")
    expected = load(folder).digest
    others = {
        "train/unsup/0_0.txt": "x",
        "train/neg/._0_1.txt": "x",
        "train/pos/notes.md": "x",
        "README": "x",
    }
    review_folder(folder, others)
    assert load(folder).digest == expected
    extra = [member(f"aclImdb/{name}", b"\xff") for name in others]
    assert load(archive(tmp_path / "a.tgz", *extra)).digest == expected


@pytest.mark.parametrize("missing", ["train/neg", "train/pos", "test/neg", "test/pos"])
def test_a_folder_without_one_of_the_four_is_refused(tmp_path: Path, missing: str) -> None:
    folder = review_folder(tmp_path / "aclImdb")
    shutil.rmtree(folder / missing)
    refused(folder, rf"aclImdb/{missing}: no such file\. dataset\.path takes")
    (folder / missing).mkdir()
    refused(folder, rf"aclImdb: no texts in it as {missing}/\*\.txt")


def test_a_review_in_another_encoding_names_file_and_byte(tmp_path: Path) -> None:
    folder = review_folder(tmp_path / "aclImdb")
    (folder / "test/pos/0_9.txt").write_bytes("a caf\u00e9 film".encode("latin1"))
    refused(folder, r"test/pos/0_9\.txt: byte 5 \(0xe9\) is not UTF-8\. Convert the file, for .* iconv")
    path = archive(tmp_path / "a.tar.gz", member("aclImdb/test/pos/9_9.txt", b"\xff\xfe"))
    refused(path, r"a\.tar\.gz: aclImdb/test/pos/9_9\.txt: is UTF-16, not UTF-8\. Convert it with iconv")


@pytest.mark.parametrize(
    ("name", "changes", "what"),
    [
        ("../escaped.txt", {}, "a path that leads out of it"),
        ("aclImdb/train/pos/../../../../escaped.txt", {}, "a path that leads out of it"),
        ("/tmp/escaped.txt", {}, "a path that leads out of it"),
        ("..\\escaped.txt", {}, "a path that leads out of it"),
        ("aclImdb/train/pos/7_7.txt", {"type": b"2", "linkname": "/etc/passwd"}, "a link or a device"),
        ("aclImdb/train/pos/7_7.txt", {"type": b"1", "linkname": "aclImdb/x"}, "a link or a device"),
        ("aclImdb/train/pos/7_7.txt", {"type": b"3"}, "a link or a device"),
        ("aclImdb/pipe", {"type": b"6"}, "a link or a device"),
    ],
)
def test_an_archive_that_reaches_out_is_refused_and_nothing_is_written(
    tmp_path: Path, name: str, changes: dict[str, Any], what: str
) -> None:
    (tmp_path / "inner").mkdir()
    path = archive(tmp_path / "inner" / "a.tar.gz", member(name, **changes))
    before = sorted(tmp_path.rglob("*"))
    refused(path, rf"a\.tar\.gz: member .* is {what}\. The archive is not used\. dataset\.path")
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/tmp/escaped.txt").exists()


def test_a_review_of_a_megabyte_is_no_review(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz", member("aclImdb/train/pos/7_7.txt", bytes((1 << 20) + 1)))
    refused(
        path, r"member 'aclImdb/train/pos/7_7\.txt' has 1048577 bytes, expected a review of at most 1048576"
    )


@pytest.mark.parametrize("kept", [0, 1, 30, 0.5, -9, -1])
def test_an_archive_that_is_cut_short_is_refused(tmp_path: Path, kept: float) -> None:
    path = archive(tmp_path / "a.tar.gz")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept) if kept == 0.5 else int(kept)])
    refused(path, r"a\.tar\.gz: (not a whole \.tar\.gz archive|no texts in it)")


def test_an_archive_whose_crc_is_wrong_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar.gz")
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    refused(path, r"a\.tar\.gz: not a whole \.tar\.gz archive \(CRC")


def test_a_csv_file_is_its_own_test_half_by_a_fifth_and_the_note_says_so(tmp_path: Path) -> None:
    data = load(table(tmp_path / "o.csv", opinions(20)), vocabulary_size=50)
    assert len(data.train) + len(data.validation) == 16
    assert np.bincount(data.test.y).tolist() == [2, 2]
    assert data.note == (
        "The test part is 4 of 20 rows, held out by the hash of the text as a fifth of each class of o.csv: "
        "dataset.test_path is null."
    )
    assert data.test.x[:, 3].tolist() == [2] * 4, "words of the test half have no rank"
    assert data.class_names == ("0", "1")


def test_with_a_test_file_nothing_is_held_out(tmp_path: Path) -> None:
    test = table(tmp_path / "t.csv", [("bad", 0), ("great", 1), ("bad", 0)])
    data = load(table(tmp_path / "o.csv", opinions(20)), test_path=str(test))
    assert len(data.train) + len(data.validation) == 20
    assert (data.test.y.tolist(), data.note) == ([0, 1, 0], "")


@pytest.mark.parametrize(
    ("bad", "good", "names"),
    [
        ("neg", "pos", ("neg", "pos")),
        ("negative", "Positive", ("negative", "Positive")),
        ("bad", "good", ("bad", "good")),
        ("ham", "spam", ("ham", "spam")),
        ("-1", "1", ("-1", "1")),
        ("2", "10", ("2", "10")),
        ("0.0", "1.0", ("0.0", "1.0")),
        (" no", "yes ", ("no", "yes")),
        ("0", "good", ("0", "good")),
    ],
)
def test_the_label_that_sorts_first_is_class_0(
    tmp_path: Path, bad: str, good: str, names: tuple[str, str]
) -> None:
    data = load(table(tmp_path / "o.csv", opinions(20, bad=bad, good=good)))
    assert data.class_names == names
    numbers = load(table(tmp_path / "n.csv", opinions(20)))
    assert data.digest == numbers.digest


def test_labels_are_read_without_regard_to_case(tmp_path: Path) -> None:
    test = table(tmp_path / "t.csv", [("x", "POS"), ("x", "neg")])
    data = load(table(tmp_path / "o.csv", opinions(20, bad="Neg", good="pos")), test_path=str(test))
    assert (data.test.y.tolist(), data.class_names) == ([1, 0], ("Neg", "pos"))


def test_columns_have_any_name_and_place_and_further_ones_do_not_count(tmp_path: Path) -> None:
    wide = [(label, "x", text) for text, label in opinions(20)]
    path = table(tmp_path / "w.csv", wide, header=("sentiment", "source", "review"))
    data = load(path, text_column="review", label_column="sentiment")
    assert data.digest == load(table(tmp_path / "o.csv", opinions(20))).digest


def test_quoted_lines_blank_lines_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = table(tmp_path / "o.csv", [*opinions(20), ('two\nlines, "quoted"', 1)])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\r\n\r\n")
    data = load(path)
    assert len(data.train) + len(data.validation) + len(data.test) == 21


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", r"no column 'text' among none\. Set dataset\.text_column"),
        (b"text,label\n", r"expected rows of text and label, found none"),
        (b"review,label\na,0\n", r"no column 'text' among review, label\. Set dataset\.text_column"),
        (b"text,text,label\na,b,0\n", r"more than one column 'text' among text, text, label"),
        (b"text;label\na;0\n", r"semicolons separate its columns, and only commas do here"),
        (b"text\tlabel\na\t0\n", r"tabs separate its columns, and only commas do here"),
        (b"text;note,label\na,0\n", r"no column 'text' among text;note, label"),
        (b"text,label\na,0\nb\n", r"line 3: 1 fields, expected 2 as in the first line"),
        (b"text,label\na,0\nb, c,1\n", r"line 3: 3 fields, expected 2"),
        (b"text,label\na,0\nb,\n", r"line 3: the label is ''\. Every row needs one"),
        (b"text,label\na,0\nb,NaN\n", r"line 3: the label is 'NaN'"),
        (b"text,label\na,0\nb,0\n", r"expected two different labels, found 1: 0\."),
        (b"text,label\na,0\nb,1\nc,2\n", r"expected two different labels, found 3: 0, 1, 2\."),
        (
            b"text,label\na,0\nb,1\n",
            r"too few rows to hold out a fifth of each class\. Set dataset\.test_path",
        ),
        (
            b'text,label\na,0\n"b,1\n',
            r"the row that begins in line 3 is not whole \(unexpected end of data\)",
        ),
        (b"text,label\n" + b"a,0\n" * 9000 + b"caf\xe9,1\n", r"byte 36014 \(0xe9\) is not UTF-8"),
        ("text,label\na,0\n".encode("utf-16"), r"is UTF-16, not UTF-8\. Convert it with iconv -f utf-16 "),
        ("text,label\na,0\n".encode("utf-16-le"), r"is UTF-16LE, not UTF-8"),
        ("text,label\na,0\n".encode("utf-16-be"), r"is UTF-16BE, not UTF-8"),
        ("text,label\na,0\n".encode("utf-32"), r"is UTF-32, not UTF-8"),
        (b"text,label\na\0b,0\nc,0\n", r"(found 1: 0|line contains NUL)"),  # the latter of Python 3.10
    ],
)
def test_a_csv_file_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "o.csv").write_bytes(content)
    refused(tmp_path / "o.csv", rf"^{tmp_path / 'o.csv'}: .*{problem}")


def test_a_test_file_with_another_label_names_line_and_label(tmp_path: Path) -> None:
    train = table(tmp_path / "o.csv", opinions(20, bad="neg", good="pos"))
    test = table(tmp_path / "t.csv", [("x", "neg"), ("x", "meh")])
    refused(train, r"t\.csv: line 3: the label is 'meh', expected neg or pos", test_path=str(test))
    missing = str(tmp_path / "no.csv")
    refused(
        train, r"no\.csv: no such file\. dataset\.test_path takes a \.csv file, or null", test_path=missing
    )


def test_texts_without_a_word_are_refused(tmp_path: Path) -> None:
    silent = review_folder(tmp_path / "aclImdb", dict.fromkeys(REVIEWS, "..."))
    refused(silent, r"aclImdb: no word of the training half has a rank")


def index_file(path: Path, content: object) -> str:
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def test_with_an_index_its_ranks_count(tmp_path: Path) -> None:
    index = index_file(tmp_path / "index.json", {"bad": 2, "great": 1, "film": 9, "cheese": 3})
    data = load(review_folder(tmp_path / "aclImdb"), index_path=index, vocabulary_size=8)
    assert data.vocabulary == {"great": 4, "bad": 5, "cheese": 6}
    assert data.test.x.tolist() == [[0, 0, 1, 5], [1, 2, 4, 2]]


@pytest.mark.parametrize("kind", ["folder", "archive", "table"])
def test_one_sentence_gets_the_ids_that_loading_gave_it(tmp_path: Path, kind: str) -> None:
    texts = [text for name, text in REVIEWS.items() if name.startswith("test/")]
    if kind == "table":
        halves = (
            [(REVIEWS[n], n.split("/")[1]) for n in REVIEWS if n.startswith(h)] for h in ("train", "test")
        )
        train, test = (table(tmp_path / f"{i}.csv", half) for i, half in enumerate(halves))
        data = load(train, test_path=str(test), length=7)
    else:
        make = {"folder": review_folder, "archive": archive}[kind]
        data = load(make(tmp_path / "a.tar.gz"), length=7)
    assert data.vocabulary == IDS
    for text, row in zip(texts, data.test.x, strict=True):
        assert np.array_equal(encode_text(text, data.vocabulary or {}, length=7), row)


def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path: Path) -> None:
    folder = review_folder(tmp_path / "aclImdb", {**REVIEWS, "test/neg/0_1.txt": "\ufeffbad"})
    assert load(folder).test.x[0].tolist() == [0, 0, 1, 4]


def test_a_npz_file_has_the_vocabulary_of_the_index_beside_it_or_the_one_that_is_named(
    tmp_path: Path,
) -> None:
    flat = saved(tmp_path / "imdb.npz", imdb_arrays())
    keras = saved(
        tmp_path / "keras.npz",
        {"x_train": rows([1], [2]), "y_train": [0, 1], "x_test": rows([1]), "y_test": [0]},
    )
    assert load(flat).vocabulary is None
    assert load(keras, validation_fraction=0.5).vocabulary is None
    index_file(tmp_path / "imdb_word_index.json", {"two": 2, "one": 1, "eleven": 11})
    assert load(flat).vocabulary == {"one": 4, "two": 5}
    assert load(keras, validation_fraction=0.5).vocabulary == {"one": 4, "two": 5}
    other = index_file(tmp_path / "other.json", {"eins": 1})
    assert load(flat, index_path=other).vocabulary == {"eins": 4}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not a JSON object of words and ranks"),
        (b"[" * 100_000, "not a JSON object of words and ranks"),
        (b'{"a": 1', "not a JSON object of words and ranks"),
        (b'["a"]', "but list"),
        (b"{}", "but dict"),
        (b'{"a": 0}', "the rank of 'a' is 0, expected a whole number from 1"),
        (b'{"a": 1.5}', "the rank of 'a' is 1.5"),
        (b'{"a": true}', "the rank of 'a' is True"),
        (b'{"a": "1"}', "the rank of 'a' is '1'"),
        (b'{"a": 99999999999}', "the rank of 'a' is 99999999999"),
        (b'{"\xe9": 1}', r"byte 2 \(0xe9\) is not UTF-8"),
    ],
)
def test_an_index_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "index.json"
    path.write_bytes(content)
    folder = review_folder(tmp_path / "aclImdb")
    refused(folder, rf"^{path}: .*{problem}.* dataset\.index_path takes a JSON", index_path=str(path))


DOCS = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"\| `python -m pruneflow(.*?)` \|$", DOCS.split("## Data of your own")[0], re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_docs_composes_and_loads(
    command: str, composed: Callable[..., Any], tmp_path: Path
) -> None:
    """The working directory is the temporary folder."""
    for name in ("fashion", "letters"):
        idx_folder(tmp_path / name)
    saved(tmp_path / "mnist.npz", mnist_arrays())
    saved(tmp_path / "imdb.npz", imdb_arrays())
    review_folder(tmp_path / "aclImdb")
    archive(tmp_path / "aclImdb_v1.tar.gz")
    index_file(tmp_path / "index.json", {"film": 1})
    both = [(text, label, text, label) for text, label in opinions(20)]
    for name in ("mine.csv", "train.csv", "test.csv"):
        table(tmp_path / name, both, header=("text", "label", "review", "sentiment"))
    config = composed(*shlex.split(command), "dataset.validation_fraction=0.4")
    data = config.dataset.load()
    assert (data.vocabulary is not None) == (data.spec.kind == "tokens" and "imdb.npz" not in command)
    assert data.name in command or data.name == "mnist"


def test_the_docs_have_a_command_for_each_format() -> None:
    assert len(COMMANDS) == 11


@pytest.mark.parametrize("name", ["reviews.txt", "imdb", "reviews.json"])
def test_a_file_of_another_kind_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    refused(tmp_path / name, r": not a file whose name ends with \.npz or \.tar\.gz or \.csv\. Images need ")
