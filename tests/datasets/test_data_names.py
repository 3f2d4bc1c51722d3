"""Names in two Unicode forms, names that YAML reads otherwise, and what does not count in a folder."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from own_fixtures import arrays, class_folders, images, rows, texts

from pruneflow.datasets.reading.names import in_order
from pruneflow.errors import ConfigError, DataError

NFC, NFD = (unicodedata.normalize(form, "crêpe") for form in ("NFC", "NFD"))


def test_class_folders_of_two_parts_are_one_class_in_either_unicode_form(tmp_path: Path) -> None:
    class_folders(tmp_path / "pets" / "train", classes=(NFC, "flan"))
    class_folders(tmp_path / "pets" / "test", classes=(NFD, "flan"), count=4)
    data = images(tmp_path / "pets").load()
    assert (len(data.class_names), np.bincount(data.test.y).tolist()) == (2, [4, 4])


def test_class_folders_beside_each_other_in_both_forms_are_refused_with_both_spellings(
    tmp_path: Path,
) -> None:
    root = class_folders(tmp_path / "pets", classes=(NFC, NFD, "flan"))
    with pytest.raises(
        DataError, match=r"'cre\\u0302pe' \(this one is 'cr\\xeape'\) differs in Unicode form"
    ):
        images(root).load()
    upper = class_folders(tmp_path / "others", classes=("Cat", "cat", "dog"))
    with pytest.raises(DataError, match=r"the class folder Cat differs in case alone\. Join the two\."):
        images(upper).load()


def test_an_order_may_have_the_other_unicode_form(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets", classes=(NFC, "flan"))
    assert images(root, class_names=["flan", NFD]).load().class_names == ("flan", NFC)


def test_labels_of_a_test_file_may_have_the_other_unicode_form(tmp_path: Path) -> None:
    lines = [f"a film {i},{NFC if i % 2 else 'flan'}" for i in range(30)]
    train = rows(tmp_path / "train.csv", ["text,label", *lines])
    test = rows(tmp_path / "test.csv", ["text,label", *(line.replace(NFC, NFD) for line in lines[:8])])
    data = texts(train, test_path=str(test)).load()
    assert (data.class_names, np.bincount(data.test.y).tolist()) == ((NFC, "flan"), [4, 4])


def test_labels_in_arrays_of_two_parts_are_one_class_in_either_form_and_refused_within_one(
    tmp_path: Path,
) -> None:
    x, y = np.random.default_rng(0).random((40, 3)), np.array([NFC, "flan"] * 20)
    np.savez(tmp_path / "two.npz", x=x, y=y, x_test=x[:2] + 1, y_test=np.array([NFD, "flan"]))
    assert arrays(tmp_path / "two.npz").load().test.y.tolist() == [0, 1]
    np.savez(tmp_path / "one.npz", x=x, y=np.array([NFC, "flan", NFD, "flan"] * 10))
    with pytest.raises(DataError, match=r"differ in Unicode form \(NFC, NFD\) alone"):
        arrays(tmp_path / "one.npz").load()


@pytest.mark.parametrize(
    ("names", "quoted"),
    [(["False", "True"], True), (["1", "2", "8"], True), (["nope", "yes"], False), (["1.0", "yes"], True)],
)
def test_names_that_yaml_reads_otherwise_are_explained(names: list[str], quoted: bool) -> None:
    with pytest.raises(ConfigError, match="Name each of these once") as told:
        in_order(("001", "no", "yes"), names)
    assert (
        "In YAML no and yes are truth values and 001 is a number: quote them" in str(told.value)
    ) == quoted


@pytest.mark.parametrize(
    "litter",
    ["._cover.png", ".hidden/x.png", "__MACOSX/cat/._00.png", "@eaDir/cat@SynoEAStream", "Thumbs.db"],
)
@pytest.mark.parametrize("place", ["", "train", "train/cat", "test"])
def test_what_is_hidden_or_left_by_file_managers_does_not_count(
    tmp_path: Path, litter: str, place: str
) -> None:
    for half in ("train", "test"):
        class_folders(tmp_path / "pets" / half)
    plain = images(tmp_path / "pets").load()
    file = tmp_path / "pets" / place / litter
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"\0\5\x16\7")
    again = images(tmp_path / "pets").load()
    assert (again.digest, again.class_names) == (plain.digest, plain.class_names)


def test_images_beside_class_folders_that_are_not_hidden_are_still_refused(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "pets")
    (root / "cover.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"cover\.png: images that lie in no class folder, 1 in all"):
        images(root).load()


def test_what_is_proposed_for_several_labels_at_once_is_read(tmp_path: Path) -> None:
    several = np.random.default_rng(0).integers(0, 2, (80, 2))
    number = np.unique(several, axis=0, return_inverse=True)[1]
    for y, classes in ((number, 4), (several[:, 0], 2)):
        np.savez(tmp_path / "mine.npz", x=np.random.default_rng(1).random((80, 3)), y=y)
        assert arrays(tmp_path / "mine.npz").load().spec.classes == classes
