"""Options of the group ``export`` that make several files, side by side in one run and one table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pruneflow.exports.base import Export
from pruneflow.exports.exporters import Calibrated, DynamicRange, Float, Float16, Int8, Int16x8
from pruneflow.exports.int4 import Int4
from pruneflow.options import option, require, require_one_of

KINDS = ("float", "float16", "dynamic-range", "int8", "int16x8", "int4")
NEVER_SPARSE = ("dynamic-range", "int8")  # with LiteRT 2.3 they do not load, or give other outputs


@option("export", "all")
@dataclass(kw_only=True)
class All(Calibrated):
    """Float, dynamic-range and int8, side by side in one run and one table."""

    def __post_init__(self) -> None:
        require(
            self.encoding != "sparse" or not set(self._wanted) & set(NEVER_SPARSE),
            "export.encoding",
            self.encoding,
            f"export={self.option_name} makes files of several kinds, and LiteRT cannot run some of them so",
            "Take export.encoding=auto, which takes dense for these, or a single kind such as export=float.",
        )
        super().__post_init__()

    @property
    def _wanted(self) -> Sequence[str]:
        return KINDS

    def exports(self) -> Sequence[Export]:
        """One of each kind, with the settings of this one."""
        common = _common(self)
        return [
            Float(name="float", **common),
            DynamicRange(name="dynamic-range", **common),
            Int8(name="int8", calibration_samples=self.calibration_samples, **common),
        ]


@option("export", "every")
@dataclass(kw_only=True)
class Every(All):
    """All kinds that can be made of the network here; the others are named, with the reason."""

    leaves_out = True

    kinds: list[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.kinds), "export.kinds", self.kinds, "no kind is wanted", "Give one or more.")
        for kind in self.kinds:
            require_one_of("export.kinds", kind, KINDS)

    @property
    def _wanted(self) -> Sequence[str]:
        return self.kinds

    @property
    def must_be_tried(self) -> bool:
        """Always: which kinds can be made is not known before."""
        return True

    def exports(self) -> Sequence[Export]:
        """One of each kind; those without a sparse encoding are dense-encoded."""
        dense = {**_common(self), "encoding": "dense"}
        as_float, dynamic_range, int8 = super().exports()
        made = [
            as_float,
            Float16(name="float16", **_common(self)),
            dynamic_range,
            int8,
            Int16x8(name="int16x8", calibration_samples=self.calibration_samples, **dense),
            Int4(name="int4", **dense),
        ]
        return [each for each in made if each.kind in self.kinds]


def _common(export: Export) -> dict[str, Any]:
    """The settings that all kinds share."""
    return {key: getattr(export, key) for key in ("encoding", "compression", "max_accuracy_drop")}
