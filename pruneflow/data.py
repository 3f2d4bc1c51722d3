"""Types for data of the user's own, at the place of earlier versions; import them from ``pruneflow``."""

from pruneflow.datasets.spec import Data, Part, Spec, Targets

__all__ = ["Data", "Part", "Spec", "Targets"]
