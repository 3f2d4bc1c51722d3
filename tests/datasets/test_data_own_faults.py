"""The table of bad data of one's own in docs/data.md: every row is made, and gets the answer there."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_fixtures import (
    arrays,
    class_folders,
    images,
    numbers,
    opinions,
    own,
    picture,
    rows,
    texts,
    three_parts,
)
from record_fixtures import image_files, number_files, png, record, shard, specification, tfrecords
from support import ROOT

from pruneflow.datasets.weights import weighed
from pruneflow.errors import PruneflowError

DOCS = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
SECTION = DOCS.split("## Messages about bad data of your own")[-1].split("\n## ")[0]
ROWS = re.findall(r"^\| (.+?) \| (.+) \|$", SECTION, re.M)[1:]

Load = Callable[[], Any]


SETTINGS = ("task", "examples", "white", "groups", "sample_weights", "class_weights")


def npz(folder: Path, **changes: Any) -> Load:
    """Load numbers, some of whose arrays are others or, as None, missing, with some `SETTINGS`."""
    settings = {key: changes.pop(key) for key in SETTINGS if key in changes}
    held = {**numbers(), **changes}
    path = folder / "mine.npz"
    np.savez(path, **{name: array for name, array in held.items() if array is not None})
    return lambda: weighed((option := arrays(path, **settings)).load(), option.class_weights)


def pair_of(folder: Path, load: Load) -> Load:
    """Load a .npz file of several arrays with a file of labels beside it."""
    np.save(folder / "y.npy", numbers()["y"])
    return lambda: arrays(folder / "mine.npz", labels_path=str(folder / "y.npy")).load()


def pair(folder: Path, y: Any, **changes: Any) -> Load:
    np.save(folder / "x.npy", numbers()["x"])
    np.save(folder / "y.npy", y)
    labels = {"labels_path": str(folder / "y.npy"), **changes}
    return lambda: arrays(folder / "x.npy", **labels).load()


def csv(folder: Path, lines: list[str], *, encoding: str = "utf-8", **changes: Any) -> Load:
    path = rows(folder / "mine.csv", lines, encoding=encoding)
    return lambda: texts(path, **changes).load()


def folder_of(folder: Path, break_it: Callable[[Path], Any], *, parts: bool = False, **changes: Any) -> Load:
    """Load a folder of images to which something has been done."""
    root = (three_parts if parts else class_folders)(folder / "pets")
    break_it(root)
    return lambda: images(root, **changes).load()


def records(
    folder: Path,
    break_it: Callable[[Path], Any],
    *,
    make: Callable[[Path], Path] = number_files,
    **changes: Any,
) -> Load:
    """Load TFRecord files to which something has been done."""
    root = make(folder / "records")
    break_it(root)
    return lambda: tfrecords(root, **changes).load()


def asking(root: Path, kind: str, shape: list[int], name: str = "x") -> None:
    """Ask for another feature than the records have."""
    file = specification(root, kind, shape)
    file.write_text(file.read_text().replace("name: x", f"name: {name}"))


def adding(content: bytes) -> Callable[[Path], Any]:
    """Add a file whose second record is another one."""
    return lambda root: shard(root / "z.tfrecord", [record(x=[1.0, 2.0, 3.0], y=1), content])


def changing(change: Callable[[bytes], bytes]) -> Callable[[Path], Any]:
    """Change the content of the first file."""
    file = "part-00000-of-00003.tfrecord"
    return lambda root: (root / file).write_bytes(change((root / file).read_bytes()))


def factory(folder: Path, code: str, name: str = "mine:load", **changes: Any) -> Load:
    (folder / "mine.py").write_text(code)
    return lambda: own("custom", factory=name, **changes).load()


def emptied(root: Path) -> None:
    for file in list(root.rglob("*.png")):
        file.unlink()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def longer(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"more")


def another_size(root: Path) -> None:
    picture(1, height=7).save(root / "dog" / "003.png")


def no_image(root: Path) -> None:
    (root / "dog" / "notes.txt").write_text("two dogs")


def one_class(root: Path) -> None:
    for file in list((root / "dog").iterdir()):
        file.unlink()
    (root / "dog").rmdir()


def only_in_test(root: Path) -> None:
    class_folders(root / "test" / "more", classes=("cow",))
    (root / "test" / "more" / "cow").rename(root / "test" / "cow")
    (root / "test" / "more").rmdir()


def nothing(root: Path) -> None:
    emptied(root)
    for inner in ("cat", "dog"):
        (root / inner).rmdir()


X, Y = numbers()["x"], numbers()["y"]
WITH_NAN = np.where(np.arange(120).reshape(40, 3) == 37, np.nan, X)
GREY = np.zeros((40, 8, 8), np.uint8)
FLAT = "def load():\n    return "
IMPORT = "import numpy as np\n"
NO_VALIDATION = """
import numpy as np
from pruneflow.datasets.spec import Data, Part, Spec
def load():
    part = Part(np.zeros((4, 2), np.float32), np.arange(4) % 2)
    return Data("mine", Spec("numbers", (2,), 2), part, None, part)
"""
GOOD = IMPORT + "def load(n=40):\n    return {'x_train': np.zeros((n, 2)), 'y_train': np.arange(n) % 2}\n"

MAKERS: dict[str, Callable[[Path], Load]] = {
    "no path": lambda f: lambda: own("arrays"),
    "a path at which nothing is": lambda f: lambda: images(f / "pets").load(),
    "`arrays`: a file of another kind": lambda f: lambda: arrays(rows(f / "mine.txt", ["x"])).load(),
    "`arrays`: no labels in the file": lambda f: npz(f, y=None),
    "`arrays`: test examples without labels": lambda f: npz(f, x_test=X),
    "`arrays`: a key that is not there": lambda f: (
        lambda: (
            npz(f),
            arrays(f / "mine.npz", y_key="target").load(),
        )
    ),
    "`arrays`: fewer labels than examples": lambda f: npz(f, y=Y[:39]),
    "`arrays`: NaN among the numbers": lambda f: npz(f, x=WITH_NAN),
    "`arrays`: words as Python objects": lambda f: npz(f, y=np.array(["a", "b"] * 20, object)),
    "`arrays`: labels that are measurements": lambda f: npz(f, y=X[:, 0]),
    "`arrays`: words as numbers to predict": lambda f: npz(f, y=np.array(["a", "b"] * 20), task="regression"),
    "`arrays`: a number to predict that is always the same": lambda f: npz(
        f, y=np.full(40, 1.5), task="regression"
    ),
    "`arrays`: a label in each row": lambda f: npz(f, y=np.arange(40)),
    "`arrays`: one label alone": lambda f: npz(f, y=np.zeros(40, int)),
    "`arrays`: a label that training lacks": lambda f: npz(f, x_test=X, y_test=Y + 1),
    "`arrays`: test examples of another width": lambda f: npz(f, x_test=X[:, :2], y_test=Y),
    "`arrays`: images with channels first": lambda f: npz(f, x=np.zeros((40, 3, 8, 8), np.uint8)),
    "`arrays`: pixels from 0 to 16": lambda f: npz(f, x=GREY + 16.0),
    "`arrays`: images or signals": lambda f: npz(f, x=np.random.default_rng(0).random((40, 8, 8))),
    "`arrays`: examples that are all equal": lambda f: npz(f, x=X * 0),
    "`arrays`: several labels at once": lambda f: npz(f, y=np.array([[1, 1], [0, 1]] * 20)),
    "`arrays`: several labels at once as numbers to predict": lambda f: npz(
        f, y=np.array([[1, 1], [0, 1]] * 20), task="regression"
    ),
    "`arrays`: token ids below 0": lambda f: npz(f, x=np.full((40, 3), -1), examples="tokens"),
    "`arrays`: signals without channels": lambda f: npz(f, examples="signal"),
    "`arrays`: a white level without pixels": lambda f: npz(f, examples="signal", white=16.0),
    "`arrays`: groups of another number": lambda f: npz(f, g=np.arange(39), groups="g"),
    "`arrays`: a group in training and test part": lambda f: npz(
        f, g=Y * 0, groups="g", x_test=X, y_test=Y, g_test=Y * 0
    ),
    "`arrays`: weights of another number": lambda f: npz(f, w=np.ones(39), sample_weights="w"),
    "`arrays`: a weight below 0": lambda f: npz(f, w=-np.ones(40), sample_weights="w"),
    "`arrays`: weights that are not there": lambda f: npz(f, sample_weights="w"),
    "`arrays`: class weights of numbers to predict": lambda f: npz(
        f, y=X[:, 0], task="regression", class_weights="balanced"
    ),
    "`arrays`: a weight of a class that there is not": lambda f: npz(f, class_weights={2: 1.0}),
    "`arrays`: weights of other classes": lambda f: npz(f, class_weights=[1, 2, 3]),
    "`arrays`: keys beside a .npy file": lambda f: pair(f, Y, x_test_key="x_test"),
    "`arrays`: test examples in a .npy file without labels": lambda f: pair(f, Y, test_path="x_test.npy"),
    "`arrays`: examples of one dimension": lambda f: npz(f, x=X[:, 0]),
    "`arrays`: labels that differ in case alone": lambda f: npz(f, y=np.array(["a", "A"] * 20)),
    "`arrays`: an order without one of the classes": lambda f: (
        lambda: (npz(f), arrays(f / "mine.npz", class_names=["1"]).load())
    ),
    "`arrays`: labels too large": lambda f: npz(f, y=np.where(np.arange(40) < 39, Y, 1e19)),
    "`arrays`: test images to 1, others to 255": lambda f: npz(
        f, x=GREY + 200.0, x_test=GREY + 0.5, y_test=Y
    ),
    "`arrays`: a .npy file without labels": lambda f: pair(f, Y, labels_path=None),
    "`arrays`: a .npy file of Python objects": lambda f: pair(f, np.array([[1], [1, 2]] * 20, object)),
    "`arrays`: a .npy file that is too long": lambda f: (lambda load: lambda: (longer(f / "y.npy"), load()))(
        pair(f, Y)
    ),
    "`arrays`: labels beside a .npz file": lambda f: pair_of(f, npz(f)),
    "`tfrecord`: no specification": lambda f: records(f, lambda r: (r / "features.yaml").unlink()),
    "`tfrecord`: a kind that there is not": lambda f: records(f, lambda r: asking(r, "sound", [3])),
    "`tfrecord`: shards that are missing": lambda f: records(
        f, lambda r: (r / "part-00001-of-00003.tfrecord").unlink()
    ),
    "`tfrecord`: no files": lambda f: records(f, lambda r: [each.unlink() for each in r.glob("part*")]),
    "`tfrecord`: a pattern of no file": lambda f: records(f, str, test="test-*"),
    "`tfrecord`: a file in two parts": lambda f: records(
        f, str, test="part-00000*", validation="part-0000[01]*"
    ),
    "`tfrecord`: no examples": lambda f: records(f, lambda r: [shard(each, []) for each in r.glob("part*")]),
    "`tfrecord`: a feature of another name": lambda f: records(
        f, lambda r: asking(r, "numbers", [3], "image")
    ),
    "`tfrecord`: a feature of another type": lambda f: records(f, lambda r: asking(r, "tokens", [3])),
    "`tfrecord`: a feature of another shape": lambda f: records(f, lambda r: asking(r, "signal", [4, 2])),
    "`tfrecord`: a later record of another shape": lambda f: records(f, adding(record(x=[1.0, 2.0], y=1))),
    "`tfrecord`: a record that is no Example": lambda f: records(f, adding(b"\xff\xff none")),
    "`tfrecord`: a file that was cut short": lambda f: records(f, changing(lambda held: held[:-5])),
    "`tfrecord`: a file that was cut short in a header": lambda f: records(
        f, changing(lambda held: held[:5])
    ),
    "`tfrecord`: a changed byte": lambda f: records(f, changing(lambda held: held[:99] + b"!" + held[100:])),
    "`tfrecord`: a compressed file": lambda f: records(f, changing(gzip.compress)),
    "`tfrecord`: NaN among the numbers": lambda f: records(f, adding(record(x=[1.0, np.nan, 1.0], y=1))),
    "`tfrecord`: a label beyond the classes": lambda f: records(
        f, adding(record(x=[1.0, 2.0, 3.0], y=7)), class_names=["low", "high"]
    ),
    "`tfrecord`: a name that is no class": lambda f: records(
        f, lambda r: shard(r / "z.tfrecord", [record(x=png(1), y=b"cow")]), make=image_files
    ),
    "`tfrecord`: an image that is none": lambda f: records(
        f,
        lambda r: shard(r / "part-00000-of-00003.tfrecord", [record(x=b"none", y=b"cat")]),
        make=image_files,
    ),
    "`tfrecord`: a share of nothing": lambda f: records(f, str, test_fraction=0.0001),
    "`csv_text`: other columns": lambda f: csv(f, ["remark,points", "a,1", "b,2"]),
    "`csv_text`: rows without a text or a label": lambda f: csv(f, [*opinions(), ",bad", "a film,"]),
    "`csv_text`: NA as a label": lambda f: csv(f, [*opinions(), "a film,NA"]),
    "`csv_text`: labels that differ in case alone": lambda f: csv(f, [*opinions(), "a film,Bad"]),
    "`csv_text`: an order with a class that there is not": lambda f: csv(
        f, opinions(), class_names=["bad", "good", "so"]
    ),
    "`csv_text`: quotes behind backslashes": lambda f: csv(f, [*opinions(), '"a \\"good\\", film",good']),
    "`csv_text`: labels that differ in Unicode form alone": lambda f: csv(
        f, [*opinions(), "a film,caf\u00e9", "a film,cafe\u0301"]
    ),
    "`csv_text`: an order that YAML has read": lambda f: csv(
        f,
        [line.replace("good", "yes").replace("bad", "no") for line in opinions(classes=("bad", "good"))],
        class_names=["False", "True"],
    ),
    "`csv_text`: a quote that is not closed": lambda f: csv(f, [*opinions(), '"a film,bad']),
    "`csv_text`: an encoding that gives half a character": lambda f: (
        csv(f, [*opinions(), "a +2AA- film,bad"]) and texts(f / "mine.csv", encoding="utf-7").load
    ),
    "`csv_text`: one class": lambda f: csv(f, opinions(classes=("bad",))),
    "`csv_text`: as many labels as rows": lambda f: csv(f, ["text,label", "a,b", "c,d", "e,f", "g,h"]),
    "`csv_text`: too few rows": lambda f: csv(f, opinions(6)),
    "`csv_text`: Latin-1": lambda f: csv(f, [*opinions(), "a café film,good"], encoding="latin-1"),
    "`csv_text`: UTF-16": lambda f: csv(f, opinions(), encoding="utf-16"),
    "`csv_text`: an encoding that there is not": lambda f: (
        csv(f, opinions(), encoding="utf-8") and (lambda: texts(f / "mine.csv", encoding="utf8000"))
    ),
    "`csv_text`: a comma too many": lambda f: csv(f, [*opinions(), "bad, very bad,bad"]),
    "`csv_text`: a test file with another label": lambda f: csv(
        f, opinions(), test_path=str(rows(f / "test.csv", ["text,label", "a,meh"]))
    ),
    "`custom`: no function": lambda f: lambda: own("custom"),
    "`custom`: a file in place of a module": lambda f: lambda: own("custom", factory="mine.py"),
    "`custom`: no such module": lambda f: factory(f, GOOD, "other:load"),
    "`custom`: no such function": lambda f: factory(f, GOOD, "mine:lod"),
    "`custom`: a module with an error": lambda f: factory(f, "def load(:\n"),
    "`custom`: a module that needs another": lambda f: factory(f, "import nowhere\n"),
    "`custom`: a function that raises": lambda f: factory(f, "def load(n=1):\n    return 1 / 0\n"),
    "`custom`: an argument that it lacks": lambda f: factory(f, GOOD, arguments={"size": 3}),
    "`custom`: a function that returns something else": lambda f: factory(f, FLAT + "[1, 2]\n"),
    "`custom`: unknown keys": lambda f: factory(f, FLAT + "{'images': 1}\n"),
    "`custom`: examples without labels": lambda f: factory(f, FLAT + "{'x_train': [[1.0]]}\n"),
    "`custom`: a name of a class twice": lambda f: factory(
        f, FLAT + "{'x_train': [[1.0]], 'y_train': [0], 'class_names': ['a', 'a']}\n"
    ),
    "`custom`: a Data without a validation part": lambda f: factory(f, NO_VALIDATION),
    "`image_folder`: a file": lambda f: lambda: images(rows(f / "pets.zip", ["PK"])).load(),
    "`image_folder`: an empty folder": lambda f: folder_of(f, nothing),
    "`image_folder`: images at the top": lambda f: folder_of(f, lambda r: picture(1).save(r / "1.png")),
    "`image_folder`: one class": lambda f: folder_of(f, one_class),
    "`image_folder`: an empty class folder": lambda f: folder_of(f, lambda r: (r / "eel").mkdir()),
    "`image_folder`: a folder in a class folder": lambda f: folder_of(f, lambda r: (r / "cat/x").mkdir()),
    "`image_folder`: a class that train lacks": lambda f: folder_of(f, only_in_test, parts=True),
    "`image_folder`: another folder beside train": lambda f: folder_of(
        f, lambda r: (r / "more").mkdir(), parts=True
    ),
    "`image_folder`: an image that was cut short": lambda f: folder_of(f, lambda r: cut(r / "dog/003.png")),
    "`image_folder`: an empty file": lambda f: folder_of(f, lambda r: (r / "cat/001.png").write_bytes(b"")),
    "`image_folder`: a file that is no image": lambda f: folder_of(f, no_image),
    "`image_folder`: an order that names a class twice": lambda f: folder_of(
        f, lambda r: None, class_names=["cat", "dog", "cat"]
    ),
    "`image_folder`: images of two sizes": lambda f: folder_of(f, another_size),
    "`image_folder`: a height without a width": lambda f: folder_of(f, lambda r: None, height=8),
    "`image_folder`: a link to nothing": lambda f: folder_of(
        f, lambda r: (r / "cat" / "z.png").symlink_to("nowhere")
    ),
    "`image_folder`: a cache that cannot be written": lambda f: folder_of(
        f, lambda r: None, cache_dir=str(rows(f / "file", ["x"]) / "cache")
    ),
    "a limit that leaves a class out": lambda f: (
        npz(f, y=np.repeat([0, 1, 2], [19, 19, 2])) and (lambda: arrays(f / "mine.npz", limit=5).load())
    ),
}


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def answer_to(folder: Path, what: str) -> str:
    """The message, without the folder."""
    import sys

    sys.modules.pop("mine", None)
    load = MAKERS[what](folder)
    with pytest.raises(PruneflowError) as caught:
        load()
    return str(caught.value).replace(f"{folder}/", "").replace("\n", " ")


def test_the_table_has_the_rows_that_are_made_here_once_each() -> None:
    assert [what for what, _ in ROWS] == list(MAKERS)


@pytest.mark.parametrize(("what", "answer"), ROWS, ids=[what for what, _ in ROWS])
def test_bad_data_of_ones_own_get_the_answer_of_the_table_and_nothing_is_left(
    tmp_path: Path, what: str, answer: str
) -> None:
    message = answer_to(tmp_path, what)
    pattern = r".*".join(re.escape(piece.strip()) for piece in answer.split("..."))
    assert re.fullmatch(pattern, message), message
    left = {path.name for path in contents(tmp_path / "cache")} if (tmp_path / "cache").is_dir() else set()
    assert all(name.endswith(".lock") for name in left)
