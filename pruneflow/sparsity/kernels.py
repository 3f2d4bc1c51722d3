"""Layers and their weights: which are pruned, what they are called, how they lie in a matrix."""

from __future__ import annotations

import warnings
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any

from pruneflow.runtime import backend
from pruneflow.sparsity.structures import Layout

__all__ = [
    "Kernel",
    "copy_of",
    "kernels",
    "leaves",
    "named_weights",
    "opens",
    "reason_to_leave",
    "trained_variables",
]


@dataclass(frozen=True)
class Kernel:
    """One weight of a layer that can be pruned.

    Attributes:
        name: Within the layer, such as ``"kernel"`` or ``"forward/kernel"``.
        variable: Its variable, in full precision.
        layout: How it is read as a matrix.
    """

    name: str
    variable: Any
    layout: Layout

    def is_frozen(self, trained: Container[int]) -> bool:
        """Whether it was made to be trained, and is not among those that are: see `trained_variables`."""
        return bool(self.variable.trainable) and id(self.variable) not in trained


def leaves(model: Any) -> Iterator[tuple[str, Any]]:
    """Every layer once, with its name; the layers of models in the model as ``outer/inner``.

    Args:
        model: A ``tf_keras.Model``.
    """
    seen: set[int] = set()  # a layer may be used in several of these models
    for name, layer in _leaves(model, ""):
        if id(layer) not in seen:
            seen.add(id(layer))
            yield name, layer


def _leaves(model: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for layer in model.layers:
        if opens(layer):
            yield from _leaves(layer, f"{prefix}{layer.name}/")
        else:
            yield f"{prefix}{layer.name}", layer


def opens(layer: Any) -> bool:
    """Whether ``layer`` is a model whose layers are known: a functional or a sequential one."""
    models = backend.keras()
    return isinstance(layer, models.Sequential) or (
        isinstance(layer, models.Model) and bool(layer._is_graph_network)
    )


def named_weights(layer: Any) -> dict[str, Any]:
    """The variables of a built layer by name within it.

    Names are those of the attributes, never those that Keras numbers: ``kernel``, and for both halves of a
    bidirectional layer ``forward/kernel`` and ``backward/kernel``.
    """
    return {name: variable for name, variable, _ in _own_and_inner(layer)}


def kernels(layer: Any) -> list[Kernel]:
    """The weights of a built layer that are pruned: those that tfmot prunes, also inside of wrappers.

    A layer of another kind names its own with a method ``get_prunable_weights``.
    """
    chosen = {id(_plain(variable)) for variable in _prunable(layer)}
    return [
        Kernel(name, _plain(variable), _layout(owner, name, len(variable.shape)))
        for name, variable, owner in _own_and_inner(layer)
        if id(_plain(variable)) in chosen
    ]


def trained_variables(model: Any) -> frozenset[int]:
    """Identities of the variables that training changes: those of layers that are not frozen, however deep.

    Args:
        model: A built ``tf_keras.Model``.
    """
    return frozenset(id(_plain(variable)) for variable in model.trainable_weights)


def reason_to_leave(layer: Any) -> str:
    """Why a built layer is not pruned; empty where it can be."""
    kind = type(layer).__name__
    if not layer.weights:
        return "has no weights"
    if isinstance(layer, backend.keras().Model):
        return f"{kind} is a subclassed model, whose layers are not known"
    if not any(_known(part) for part in _parts_with_rules(layer)):
        return f"pruning knows no weights of {kind}; a method get_prunable_weights of the layer names them"
    if not kernels(layer):
        return f"no weight of {kind} is pruned"
    if copy_of(layer) is None:
        return f"{kind} cannot be copied: it has no usable get_config and from_config"
    names = [name for name, _, _ in _own_and_inner(layer)]
    if len(set(names)) < len(names):
        return f"weights of {kind} have one name: {', '.join(sorted(names))}"
    if type(layer) is not backend.keras().layers.MultiHeadAttention and _made_of_layers(layer):
        return f"{kind} is made of layers that are not known before it is called; name them as a model"
    return ""


def copy_of(layer: Any) -> Any:
    """A copy of a built ``layer``, with none of its weights; None where it cannot be copied.

    Initializers, activations and the like that are the user's own need not be registered with Keras.
    """
    own = dict(_own_functions(layer))
    copy = _copied(layer, own) if own else None
    if copy is None:
        copy = _copied(layer, {})
    if copy is None or any(not _same(getattr(copy, key, None), value) for key, value in own.items()):
        return None
    if isinstance(layer, backend.keras().layers.MultiHeadAttention):
        # It has no weights before its first call, and tfmot's wrapper wants them before (tf_keras 2.21).
        for (_, part), (_, copied) in zip(_parts(layer), _parts(copy), strict=True):
            if part.weights:
                copied.build(part._build_input_shape)
    return copy


def _copied(layer: Any, given: dict[str, Any]) -> Any:
    """A copy by what Keras says of ``layer``, arguments of ``given`` as they are; None where it fails."""
    parts = list(layer._flatten_layers())  # submodules fails for an LSTM that has dropped inputs
    names = {_name_of(value): value for part in parts for _, value in _own_functions(part)}
    names |= {type(part).__name__: type(part) for part in parts if _is_own(type(part))}
    try:
        with backend.keras().utils.custom_object_scope(names):
            return type(layer).from_config({**_config_of(layer), **given})
    except (NotImplementedError, TypeError, ValueError, KeyError, AttributeError):
        return None  # what Keras raises for layers that are not made for it


def _config_of(layer: Any) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns of lambdas, which are not read back here
        return dict(layer.get_config())


def _own_functions(layer: Any) -> Iterator[tuple[str, Any]]:
    """Arguments of ``layer`` that Keras would look up by a name that it does not know, or knows otherwise."""
    layers = backend.keras().layers
    if not isinstance(layer, layers.Layer) or isinstance(layer, layers.Lambda):
        return
    try:
        keys = list(_config_of(layer))
    except (NotImplementedError, TypeError, ValueError, KeyError):
        return
    for key in keys:
        value = getattr(layer, key, None)
        if callable(value) and not isinstance(value, (type, layers.Layer)) and _is_own(value):
            yield key, value


def _is_own(thing: Any) -> bool:
    """Whether a function, an object or a class is the user's own, rather than of Keras or TensorFlow."""
    return str(thing.__module__).split(".")[0] not in ("tf_keras", "keras", "tensorflow", "builtins")


def _name_of(thing: Any) -> str:
    return str(getattr(thing, "__name__", type(thing).__name__))


def _same(copied: Any, original: Any) -> bool:
    """Whether a copy has the same; a function that is called as one of Keras would be taken for that."""
    return copied is original or (not hasattr(original, "__name__") and type(copied) is type(original))


def _own_and_inner(layer: Any) -> list[tuple[str, Any, Any]]:
    """Name, variable and owner of every weight, each variable once: a wrapper may hold one of its layer."""
    seen: set[int] = set()
    found = []
    for name, variable, owner in _weights(layer):
        if id(_plain(variable)) not in seen:
            seen.add(id(_plain(variable)))
            found.append((name, variable, owner))
    return found


def _made_of_layers(layer: Any) -> bool:
    """Whether ``layer`` holds others in a way of its own: neither a wrapper nor recurrent."""
    layers = backend.keras().layers
    known = (layers.Wrapper, layers.RNN, layers.StackedRNNCells)
    return not isinstance(layer, known) and bool(_parts(layer))


def _weights(layer: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Name, variable and the layer that owns it."""
    for variable in [*layer._trainable_weights, *layer._non_trainable_weights]:
        yield prefix + str(variable.name).rsplit("/", maxsplit=1)[-1].split(":")[0], variable, layer
    for name, part in _parts(layer):
        yield from _weights(part, prefix + name)


def _parts(layer: Any) -> list[tuple[str, Any]]:
    """Layers inside of ``layer``, and what the names of their weights begin with."""
    layers = backend.keras().layers
    if isinstance(layer, layers.Bidirectional):
        return [("forward/", layer.forward_layer), ("backward/", layer.backward_layer)]
    if isinstance(layer, layers.Wrapper):
        return [("", layer.layer)]
    if isinstance(layer, layers.RNN):
        return [("", layer.cell)]
    if isinstance(layer, layers.StackedRNNCells):
        return [(f"cell_{index}/", cell) for index, cell in enumerate(layer.cells)]
    inside = layer._flatten_layers(recursive=False, include_self=False)
    return [(f"{part.name}/", part) for part in inside]


def _parts_with_rules(layer: Any) -> list[Any]:
    """The layers that decide what is pruned: ``layer`` itself, or what a wrapper wraps."""
    if isinstance(layer, backend.keras().layers.Wrapper) and not hasattr(layer, "get_prunable_weights"):
        return [deeper for _, part in _parts(layer) for deeper in _parts_with_rules(part)]
    return [layer]


def _known(layer: Any) -> bool:
    return hasattr(layer, "get_prunable_weights") or bool(backend.prune_registry().supports(layer))


def _prunable(layer: Any) -> Iterator[Any]:
    registry = backend.prune_registry()
    for part in _parts_with_rules(layer):
        if hasattr(part, "get_prunable_weights"):
            yield from part.get_prunable_weights()
        elif registry.supports(part):
            weights = registry.make_prunable(part).get_prunable_weights
            del part.get_prunable_weights  # tfmot leaves it on the layer, which then would pass for its own
            yield from weights()


def _plain(variable: Any) -> Any:
    """The variable itself, not the view of it that Keras casts to half precision."""
    return getattr(variable, "_variable", variable)


def _layout(owner: Any, name: str, rank: int) -> Layout:
    """Inputs before outputs; Keras has the two the other way round in transposed convolutions."""
    layers = backend.keras().layers
    if isinstance(owner, (layers.Conv2DTranspose, layers.Conv3DTranspose, layers.Conv1DTranspose)):
        return Layout((*range(rank - 2), rank - 1, rank - 2), rank - 1)
    if isinstance(owner, layers.EinsumDense) and not name.startswith("attention_output/"):
        return Layout(tuple(range(rank)), 1)  # of attention: (inputs, heads, size of a key)
    return Layout.default(rank)
