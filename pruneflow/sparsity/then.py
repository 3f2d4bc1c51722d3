"""The group ``then``: a second pruning phase, of zeros in the network that the first one has cut."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pruneflow.errors import ConfigError
from pruneflow.options import SPARSITY, at_most, option, require, require_number, whole_from
from pruneflow.sparsity import structures

if TYPE_CHECKING:
    from pruneflow.sparsity.structures import Structure
else:  # OmegaConf refuses the keys of a subclass where its base is named
    Structure = Any

# Keys of the first phase in messages, and what is typed for the second.
_KEYS = {
    r"\bschedule\.final_sparsity\b": "then.final_sparsity",
    r"\btrainer\.epochs\b": "then.epochs",
    r"(?<![\w.])structure=": "then=",
    r"(?<![\w.])structure\.(?=\w)": "then.structure.",
}


@dataclass(kw_only=True)
class Then:
    """The base of the options for the time after the first pruning phase."""

    option_name: ClassVar[str]  # as chosen on the command line; set by @option

    name: str

    def check(self, first: structures.Structure) -> None:
        """Refuse a second phase after one that cuts nothing."""


@option("then", "none")
@dataclass(kw_only=True)
class Nothing(Then):
    """Nothing comes after the first phase."""


@option("then", "unstructured")
@dataclass(kw_only=True)
class Zeros(Then):
    """Zeros in the weights that the cut has left; what is not said here is as in the first phase."""

    structure: Structure
    final_sparsity: float
    epochs: int | None = at_most(1_000_000)

    def __post_init__(self) -> None:
        is_word = not isinstance(self.structure, structures.Structure)
        problem = "it holds the settings of a structure"
        require(not is_word, "then.structure", self.structure, problem, "Choose one with then=block_4x1.")
        kind = self.structure.option_name
        problem = "the network is cut once, and zeros follow"
        require(not self.structure.cuts, "then", kind, problem, "Take then=unstructured.")
        remedy = "Write for instance then.final_sparsity=0.8."
        require_number("then.final_sparsity", self.final_sparsity, SPARSITY, remedy)
        remedy = "null trains for as many epochs as the first phase."
        require_number("then.epochs", self.epochs, whole_from(1).said("{}, or null"), remedy)

    def check(self, first: structures.Structure) -> None:
        """Refuse a second phase after one that cuts nothing; see `Then.check`."""
        problem = f"it prunes the network that the first phase cuts, and structure={first.name} cuts nothing"
        require(first.cuts, "then", self.name, problem, "Choose structure=channel, or then=none.")


@contextmanager
def named() -> Iterator[None]:
    """Name the keys of ``then`` in refusals by options that both phases have.

    >>> with named():
    ...     raise ConfigError("structure.n=9: n of every m. Or set schedule.final_sparsity=0.5.")
    Traceback (most recent call last):
        ...
    pruneflow.errors.ConfigError: then.structure.n=9: n of every m. Or set then.final_sparsity=0.5.
    """
    try:
        yield
    except ConfigError as error:
        raise ConfigError(renamed(str(error))) from error


def renamed(text: str) -> str:
    """Return a sentence with the keys of ``then`` in place of those of the first phase.

    >>> renamed("Raise trainer.epochs=1.")
    'Raise then.epochs=1.'
    """
    for pattern, key in _KEYS.items():
        text = re.sub(pattern, key, text)
    return text
