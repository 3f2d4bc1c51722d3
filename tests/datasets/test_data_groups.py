"""Groups of parts that are given: nobody is in two of them, or it is said that this is not known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_fixtures import arrays, own, rows, texts

from pruneflow.errors import DataError

RNG = np.random.default_rng(0)


def people(first: int, count: int, each: int = 4) -> np.ndarray:
    return np.repeat(np.arange(first, first + count), each)


def held(**changes: Any) -> dict[str, Any]:
    """Ten people in training, two others in the test part that is given."""
    who, other = people(0, 10), people(10, 2)
    found = {
        "x": RNG.random((40, 2)),
        "y": who % 2,
        "who": who,
        "x_test": RNG.random((8, 2)),
        "y_test": other % 2,
        "who_test": other,
        **changes,
    }
    return {key: value for key, value in found.items() if value is not None}


def saved(folder: Path, name: str = "mine", **arrays_of: Any) -> Path:
    np.savez(folder / f"{name}.npz", **arrays_of)
    return folder / f"{name}.npz"


def note(path: Path, **changes: Any) -> str:
    return str(arrays(path, groups="who", **changes).load().note)


SHARED = (
    r"groups of dataset\.groups in the training and the test part: 3, 9 \(2 in all\)\. Take their examples"
)
KEPT = "No group of dataset.groups (10 in all) is in two parts (validation drawn)"


def test_somebody_of_the_training_part_in_the_test_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"mine\.npz: {SHARED}"):
        note(saved(tmp_path, **held(who_test=np.array([10, 9, 3, 11, 9, 10, 11, 12]))))


def test_others_in_the_test_part_are_taken_and_said(tmp_path: Path) -> None:
    said = note(saved(tmp_path, **held()))
    assert said.startswith(f"{KEPT}.")
    assert "not used" not in said


def test_a_test_part_without_groups_is_said(tmp_path: Path) -> None:
    said = note(saved(tmp_path, **held(who_test=None)))
    assert said == f"{KEPT}, but for the test part, whose groups are not known."


def test_two_given_parts_are_held_against_each_other(tmp_path: Path) -> None:
    more = {"x_val": RNG.random((8, 2)), "y_val": people(12, 2) % 2, "who_validation": people(12, 2)}
    said = note(saved(tmp_path, **held(**more)))
    assert said == "No group of dataset.groups (10 in all) is in two parts."
    with pytest.raises(DataError, match="in the test and the validation part: 11 "):
        note(saved(tmp_path, **held(**{**more, "who_validation": people(11, 2)})))


def test_a_test_part_in_a_file_of_its_own_has_groups_of_its_own(tmp_path: Path) -> None:
    alone = {key: value for key, value in held().items() if not key.endswith("_test")}
    path = saved(tmp_path, **alone)
    for names, of_groups in ((("x", "y"), "who"), (("x_test", "y_test"), "who_test")):
        for shared in (False, True):
            other = people(9 if shared else 10, 2)
            parts = dict(zip(names, (RNG.random((8, 2)), other % 2), strict=True))
            test = {"test_path": str(saved(tmp_path, "other", **parts, **{of_groups: other}))}
            if shared:
                with pytest.raises(DataError, match=r"the training and the test part: 9 \(1 in all\)"):
                    note(path, **test)
            else:
                assert note(path, **test).startswith(f"{KEPT}.")
    np.savez(tmp_path / "other.npz", x=RNG.random((8, 2)), y=people(0, 2) % 2)
    assert "but for the test part, whose groups are not known" in note(path, **test)


def test_a_function_gives_groups_of_all_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import numpy as np
def load(first):
    who, other = np.arange(40) // 4, first + np.arange(8) // 4
    return {"x_train": np.arange(80.0).reshape(40, 2), "y_train": who % 2, "groups": who,
            "x_test": np.arange(16.0).reshape(8, 2), "y_test": other % 2, "groups_test": other}
"""
    (tmp_path / "of_groups.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)

    def load(first: int) -> Any:
        return own("custom", factory="of_groups:load", arguments={"first": first}).load()

    assert load(10).note.startswith(f"{KEPT}.")
    with pytest.raises(DataError, match="the training and the test part: 9 "):
        load(9)


@pytest.mark.parametrize(("first", "shared"), [(15, False), (14, True)])
def test_authors_of_a_test_file_are_others_than_those_of_training(
    tmp_path: Path, first: int, shared: bool
) -> None:
    def lines(start: int, count: int) -> list[str]:
        body = (
            f"a {'bad' if i % 2 else 'good'} film w{start}{i},{i % 2},a{start + i // 6}" for i in range(count)
        )
        return ["text,label,author", *body]

    path, test = rows(tmp_path / "mine.csv", lines(0, 90)), rows(tmp_path / "test.csv", lines(first, 12))
    option = texts(path, test_path=str(test), groups="author")
    if shared:
        with pytest.raises(DataError, match=r"test\.csv: .*the training and the test part: a14 \(1 in all\)"):
            option.load()
    else:
        assert (
            "No group of dataset.groups (15 in all) is in two parts (validation drawn)." in option.load().note
        )
