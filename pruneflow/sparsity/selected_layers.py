"""The settings ``pruning``: which layers are pruned, by patterns on their names, and by which engine."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from pruneflow.errors import ConfigError, spelled
from pruneflow.options import FROM_0_TO_1, require, require_number, require_one_of, whole_from
from pruneflow.sparsity.channels.groups import Channels
from pruneflow.sparsity.criteria import Criterion
from pruneflow.sparsity.distributions import Distribution
from pruneflow.sparsity.kernels import FROZEN, kernels, leaves, reason_to_leave, trained_variables
from pruneflow.sparsity.masks import Prunable
from pruneflow.sparsity.structures import Structure

ENGINES = ("pruneflow", "tfmot")
MOST_EXAMPLES = 1_000_000
NOT_INCLUDED = "not in pruning.include"


@dataclass(kw_only=True)
class Pruning:
    """The layers to prune, by patterns on their names (``*``, ``?``, ``[...]``), and the engine."""

    include: list[str]
    skip: list[str]
    engine: str
    max_accuracy_drop: float | None = None
    reconstruct: bool = False
    reconstruct_examples: int = 512

    def __post_init__(self) -> None:
        problem = "no layer would be pruned; allowed is a list of one or more layer-name patterns"
        remedy = 'Write pruning.include=["*"] for all layers.'
        require(bool(self.include), "pruning.include", self.include, problem, remedy)
        require_one_of("pruning.engine", self.engine, ENGINES)
        shares = FROM_0_TO_1.said("{}, as a share of the validation examples, or null")
        remedy = "0.02 allows two more wrong answers in a hundred; null marks what is beyond 0.05."
        require_number("pruning.max_accuracy_drop", self.max_accuracy_drop, shares, remedy)
        count, remedy = self.reconstruct_examples, "512 will do for most networks."
        require_number("pruning.reconstruct_examples", count, whole_from(1, MOST_EXAMPLES), remedy)

    def select(self, model: Any) -> Selection:
        """Sort the layers of ``model`` into those to prune and those to leave, with the reason.

        Args:
            model: A built model of Keras 2 or 3; layers inside of others are called ``outer/inner``.

        Raises:
            ConfigError: if a pattern matches no layer, or nothing is left to prune.
        """
        layers = dict(leaves(model))
        self._require_matches(list(layers))
        trained = trained_variables(model)
        reasons = {name: self._reason(name, layer, trained) for name, layer in layers.items()}
        left = {name: reason for name, reason in reasons.items() if reason}
        pruned = tuple(name for name in layers if name not in left)
        if self.engine == "tfmot" and any(getattr(layers[name], "mask_zero", False) for name in pruned):
            raise ConfigError.of(
                "pruning.engine",
                self.engine,
                "its wrapper loses the mask of an embedding with mask_zero=True, which makes another network",
                "Choose pruning.engine=pruneflow, or leave that layer dense with pruning.skip.",
            )
        if not pruned:
            said = "; ".join(f"{name}: {reason}" for name, reason in left.items())
            raise ConfigError.of(
                "pruning.include", self.include, f"no layer is left to prune ({said})", "Widen it."
            )
        prunables = tuple(_prunables(((name, layers[name]) for name in pruned), trained))
        return Selection(pruned, left, prunables)

    def check_training(
        self,
        epochs: int | None,
        *,
        structure: Structure,
        criterion: Criterion,
        distribution: Distribution,
    ) -> None:
        """Refuse options that tfmot does not have, that need training, or that take its place.

        Args:
            epochs: Epochs of the pruning phase; None where they follow from the data.
        """
        if self.engine == "tfmot":
            self._check_tfmot(structure, criterion, distribution)
        if self.reconstruct:
            self._check_reconstruction(epochs, structure, criterion, distribution)
        if epochs != 0:
            return
        name, remedy = criterion.option_name, "Choose criterion=magnitude, or train (trainer.epochs=2)."
        problem = "it needs gradients, and trainer.epochs=0 trains nothing"
        require(not criterion.uses_gradients, "criterion", name, problem, remedy)
        problem = "tfmot masks in training steps, and trainer.epochs=0 makes none"
        remedy = "Choose pruning.engine=pruneflow, or train (trainer.epochs=2)."
        require(self.engine == "pruneflow", "pruning.engine", self.engine, problem, remedy)

    def _check_reconstruction(
        self, epochs: int | None, structure: Structure, criterion: Criterion, distribution: Distribution
    ) -> None:
        problem = "pruning.reconstruct=true takes the place of training in the pruning phase"
        remedy = "Set trainer.epochs=0, or pruning.reconstruct=false."
        require(epochs == 0, "trainer.epochs", epochs, problem, remedy)
        why = {
            "structure": (structure.cuts, "it is fitted weight by weight, and channels span several layers"),
            "criterion": (
                criterion.option_name != "magnitude",
                "it ranks weights by the outputs' error",
            ),
            "distribution": (
                distribution.option_name == "global",
                "it goes layer by layer, and global ranks the weights of all layers together",
            ),
        }
        usual = {"structure": "unstructured", "criterion": "magnitude", "distribution": "uniform"}
        chosen: dict[str, Structure | Criterion | Distribution] = {
            "structure": structure,
            "criterion": criterion,
            "distribution": distribution,
        }
        for key, (refused, problem) in why.items():
            remedy = f"Choose {key}={usual[key]}, or pruning.reconstruct=false."
            name = chosen[key].option_name
            require(not refused, key, name, f"with pruning.reconstruct=true {problem}", remedy)

    def _check_tfmot(self, structure: Structure, criterion: Criterion, distribution: Distribution) -> None:
        """Refuse what tfmot's own arithmetic cannot do."""
        allowed: dict[str, tuple[str, Structure | Criterion | Distribution]] = {
            "structure": ("unstructured", structure),
            "criterion": ("magnitude", criterion),
            "distribution": ("uniform", distribution),
        }
        for key, (option, chosen) in allowed.items():
            remedy = f"Choose {key}={option}, or pruning.engine=pruneflow."
            fits = chosen.option_name == option
            require(fits, key, chosen.name, f"pruning.engine=tfmot can do {option} only", remedy)
        problem = "pruning.engine=tfmot has one sparsity for all layers"
        remedy = "Leave it empty, or choose pruning.engine=pruneflow."
        require(not distribution.layers, "distribution.layers", spelled(distribution.layers), problem, remedy)

    def _require_matches(self, names: list[str]) -> None:
        for key in ("include", "skip"):
            for pattern in getattr(self, key):
                nested = [name for name in names if fnmatchcase(name, f"*/{pattern}")]
                remedy = "Patterns are file-name patterns, such as dense*."
                require(
                    any(fnmatchcase(name, pattern) for name in names),
                    f"pruning.{key}",
                    pattern,
                    f"it matches no layer; the layers are {', '.join(names)}",
                    f"Write {nested[0]}, since it is in a nested model." if nested else remedy,
                )

    def _reason(self, name: str, layer: Any, trained: Container[int]) -> str:
        for pattern in self.skip:
            if fnmatchcase(name, pattern):
                return f"pruning.skip={pattern}"
        reason = reason_to_leave(layer)
        if reason:
            return reason
        if all(kernel.is_frozen(trained) for kernel in kernels(layer)):
            return FROZEN
        if not any(fnmatchcase(name, pattern) for pattern in self.include):
            return NOT_INCLUDED
        return ""


@dataclass(frozen=True)
class Selection:
    """Layers of one model.

    Attributes:
        pruned: Names of the layers to prune.
        left: Name of each other layer, and why it is left as it is.
        prunables: The weights of the layers to prune.
        channels: What can be removed of the network, where that is the structure.
    """

    pruned: tuple[str, ...]
    left: dict[str, str]
    prunables: tuple[Prunable, ...]
    channels: Channels | None = None

    def renamed(self, names: Mapping[str, str]) -> Selection:
        """Return the same selection with other names of weights, ``layer/weight``."""
        prunables = tuple(replace(each, name=names[each.name]) for each in self.prunables)
        return replace(self, prunables=prunables, channels=self.channels and self.channels.renamed(names))

    @property
    def held(self) -> dict[str, str]:
        """Layers that could be pruned and are left as they are, and why."""
        chosen = (FROZEN, "pruning.skip=", NOT_INCLUDED)
        return {name: reason for name, reason in self.left.items() if reason.startswith(chosen)}


def _prunables(layers: Iterator[tuple[str, Any]], trained: Container[int]) -> Iterator[Prunable]:
    for name, layer in layers:
        for kernel in kernels(layer):
            if not kernel.is_frozen(trained):
                shape = tuple(int(size) for size in kernel.variable.shape)
                yield Prunable(f"{name}/{kernel.name}", shape, kernel.layout)
