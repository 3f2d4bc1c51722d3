"""Where data come from, and what a model must know of them."""

from pruneflow.data.spec import Data, Part, Spec, Targets

__all__ = ["Data", "Part", "Spec", "Targets"]
