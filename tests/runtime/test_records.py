"""JSON that is given back as the type that was written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from pruneflow.runtime.records import fitted, pick


@dataclass(frozen=True)
class Inner:
    sizes: tuple[int, int]
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Outer:
    inner: list[Inner]
    share: float | None
    names: dict[str, str] = field(default_factory=dict)


def test_dataclasses_lists_and_tuples_are_built_and_newer_fields_left_out() -> None:
    found = fitted({"inner": [{"sizes": [1, 2], "shape": [3]}], "share": 1, "newer": 5}, Outer)
    assert found == Outer([Inner((1, 2), (3,))], 1)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"inner": []}, "share is missing"),
        ({"inner": [{"sizes": [1]}], "share": 1}, r"inner\[0\].sizes is \[1\], and must have 2 values"),
        ({"inner": [{"sizes": [1, "a"]}], "share": 1}, r"inner\[0\].sizes\[1\] is 'a', and must be a whole"),
        ({"inner": [], "share": True}, "share is True, and must be a number"),
        ({"inner": [], "share": 1, "names": {"a": 1}}, "names.a is 1, and must be text"),
        ([], r"it is \[\], and must be an object"),
    ],
)
def test_other_values_are_refused_with_their_place(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        fitted(value, Outer)


def test_a_path_goes_through_objects_lists_and_dictionaries() -> None:
    found = {"outer": Outer([Inner((4, 5))], None, {"a": "b"})}
    assert [pick(found, path) for path in ("outer.inner.0.sizes.1", "outer.names.a", "outer.share.x")] == [
        *(5, "b", None),
    ]
    assert pick(found, "nothing.at.all") is None
