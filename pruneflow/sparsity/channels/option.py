"""The option ``structure=channel``: channels and hidden units, which are cut out after training."""

from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, ClassVar

from pruneflow.errors import ConfigError
from pruneflow.options import at_most, option, require, require_number, require_one_of, whole_from
from pruneflow.sparsity.channels.groups import SHARES, Channels
from pruneflow.sparsity.kernels import leaves
from pruneflow.sparsity.structures import Structure

MOST_UNITS = 1_000_000


@option("structure", "channel")
@dataclass(kw_only=True)
class Channel(Structure):
    """Channels of convolutions, units of dense and recurrent layers, heads and values of attention."""

    cuts: ClassVar[bool] = True

    of: str
    multiple: int | None = at_most(MOST_UNITS)

    def __post_init__(self) -> None:
        require_one_of("structure.of", self.of, SHARES)
        remedy = "1 allows any number of kept units, null takes 16 where that comes near enough to the share."
        require_number("structure.multiple", self.multiple, whole_from(1).said("{}, or null"), remedy)

    def narrowed(self, model: Any, selection: Any) -> Any:
        """Find the channels, prove one random cut of all groups, and choose the weights to mask.

        Args:
            model: A built network of Keras 2; its weights are as before afterwards.
            selection: The layers that may be pruned, a `Selection`.

        Raises:
            ConfigError: if nothing can be removed, or the cut network would be another one.
        """
        from pruneflow.sparsity import channels

        found = channels.find(model, selection.held)
        self._require_groups(found)
        _prove(model, found)
        prunables = tuple(each for each in selection.prunables if each.name in found.masked)
        pruned = tuple(dict.fromkeys(each.name.rpartition("/")[0] for each in prunables))
        pruned = tuple(name for name in selection.pruned if _is_among(name, pruned))
        stay = {name: "no channel of it can be removed" for name in selection.pruned if name not in pruned}
        said = {name: reason for name, reason in found.kept.items() if name not in pruned}
        return replace(
            selection,
            pruned=pruned,
            left={**selection.left, **stay, **said},
            prunables=prunables,
            channels=found,
        )

    def _require_groups(self, found: Channels) -> None:
        if not found.groups:
            said = "; ".join(f"{name}: {reason}" for name, reason in found.kept.items())
            problem = f"no channel of this network can be removed ({said or 'no layer makes any'})"
            raise ConfigError.of("structure", self.option_name, problem, "Take structure=unstructured.")
        largest = max(found.groups, key=lambda group: group.size)
        require(
            self.multiple is None or self.multiple <= largest.size,
            "structure.multiple",
            self.multiple,
            f"it is more than the {largest.size} units of {largest.name}, the largest group",
            f"Lower it to {largest.size} or less; 1 allows any number.",
        )


def _is_among(layer: str, owners: tuple[str, ...]) -> bool:
    """Return whether a weight, ``layer/forward`` too, is of the layer."""
    return any(owner == layer or owner.startswith(f"{layer}/") for owner in owners)


def _require_one_answer(model: Any) -> None:
    """Refuse a network that answers the same question in two ways, of which a proof can compare none."""
    from pruneflow.sparsity.channels import proof

    apart = proof.draws(model)
    same = apart <= proof.tolerance(model) or not isfinite(apart)
    problem = "the network draws random numbers at inference, so that a cut cannot be proved: two answers to "
    problem += f"the same examples are {apart:.2g} apart"
    remedy = "Let it draw in training alone, as Dropout does, or take structure=unstructured."
    require(same, "structure", "channel", problem, remedy)


def _prove(model: Any, found: Channels) -> None:
    """Cut half of each group at random, and refuse the network where that changes what it says."""
    from pruneflow.sparsity.channels import proof
    from pruneflow.sparsity.channels.cut import CutError, first_line

    try:
        apart = proof.difference(model, found, proof.halved(found))
    except CutError as error:
        problem = f"the network cannot be built without some channels: {error}"
        raise ConfigError.of("structure", "channel", problem, "Take structure=unstructured.") from error
    except Exception as error:  # of any kind: layers of any kind get random examples
        problem = f"the cut cannot be proved, as the network fails on random examples: {first_line(error)}"
        raise ConfigError.of("structure", "channel", problem, "Take structure=unstructured.") from error
    if not apart <= proof.tolerance(model):
        _require_one_answer(model)
        guilty = proof.guilty(model, found)
        layers = [name for name, _ in leaves(model) if any(_is_among(name, (group,)) for group in guilty)]
        wrong = ", ".join(layers) or "all layers together"
        problem = f"without half of the units of {wrong} the network says something else, by {apart:.2g}"
        remedy = "Leave these layers whole with pruning.skip, and report it."
        raise ConfigError.of("structure", "channel", problem, remedy)
