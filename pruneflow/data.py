"""The names of ``pruneflow`` for data of one's own, where earlier versions had them."""

from pruneflow.datasets.spec import Data, Part, Spec, Targets

__all__ = ["Data", "Part", "Spec", "Targets"]
