"""Layers of Keras 2 and 3 and their weights: which are pruned, their names, how they lie in a matrix."""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any

from pruneflow.runtime import backend
from pruneflow.sparsity.structures import Layout

FROZEN = "is frozen (trainable=False)"  # what is not trained cannot make up for what was taken from it

# tfmot prunes the cells of an LSTM and names none of a ConvLSTM, whose weights are of the same kind.
MORE = {"ConvLSTMCell": ("kernel", "recurrent_kernel")}


@dataclass(frozen=True)
class Kernel:
    """One weight of a layer that can be pruned.

    Attributes:
        name: Within the layer, such as ``"kernel"`` or ``"forward/kernel"``.
        variable: Its ``tf.Variable``, in full precision.
    """

    name: str
    variable: Any
    layout: Layout

    def is_frozen(self, trained: Container[int]) -> bool:
        """Return whether it was made to be trained, and is not among `trained_variables`."""
        return bool(self.variable.trainable) and id(self.variable) not in trained


def keras_of(layer: Any) -> Any:
    """Return the Keras that ``layer`` is made with: the module ``tf_keras``, or ``keras`` of Keras 3."""
    keras2 = backend.keras()
    return keras2 if isinstance(layer, keras2.layers.Layer) else backend.keras3()


def leaves(model: Any) -> Iterator[tuple[str, Any]]:
    """Give every layer that is chosen by itself, once, with its name; inner ones as ``outer/inner``.

    A model, a wrapper of a model and a layer of the user's own that is made of layers are opened: the layers
    inside are given, and after them the outer one where it has weights of its own.

    Args:
        model: A built model of Keras 2 or 3.
    """
    seen: set[int] = set()  # a layer may be used in several places
    names: set[str] = set()
    inside = _leaves(model, "") if _opens(model) else iter([(model.name, model)])
    for name, layer in inside:
        if id(layer) not in seen:
            seen.add(id(layer))
            names.add(unused := _unused(name, names))
            yield unused, layer


def _leaves(outer: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for layer in _inside(outer):
        name = f"{prefix}{layer.name}"
        if _opens(layer):
            yield from _leaves(layer, f"{name}/")
            if _own(layer):
                yield name, layer
        else:
            yield name, layer


def _unused(name: str, names: Container[str]) -> str:
    """Return the name with a number where another layer has it: attributes may hold layers of one name."""
    count, found = 2, name
    while found in names:
        found, count = f"{name}_{count}", count + 1
    return found


def weights(model: Any) -> dict[str, Any]:
    """Return every weight of a model by ``layer/weight``, as arrays."""
    return {name: variable.numpy() for name, variable in variables(model).items()}


def variables(model: Any) -> dict[str, Any]:
    """Return every variable of a model by ``layer/weight``."""
    return {
        f"{name}/{weight}": variable
        for name, layer in leaves(model)
        for weight, variable in named_weights(layer).items()
    }


def named_weights(layer: Any) -> dict[str, Any]:
    """Return the variables of a built layer by name within it.

    Names are those of the attributes, never those that Keras numbers: ``kernel``, and for both halves of a
    bidirectional layer ``forward/kernel`` and ``backward/kernel``.
    """
    return {name: variable for name, variable, _ in _own_and_inner(layer)}


def kernels(layer: Any) -> list[Kernel]:
    """Return the weights of a built layer that are pruned: those that tfmot prunes, also inside of wrappers.

    A layer of another kind names its own with a method ``get_prunable_weights``.
    """
    chosen = {id(plain(variable)) for variable in _prunable(layer)}
    return [
        Kernel(name, variable, _layout(owner, name, len(variable.shape)))
        for name, variable, owner in _own_and_inner(layer)
        if id(variable) in chosen
    ]


def trained_variables(model: Any) -> frozenset[int]:
    """Return the identities of the variables that training changes: those of layers that are not frozen.

    Args:
        model: A built model of Keras 2 or 3.
    """
    return frozenset(id(plain(variable)) for variable in model.trainable_variables)


def is_frozen(layer: Any, trained: Container[int]) -> bool:
    """Return whether a layer has weights that were made to be trained, none among `trained_variables`."""
    made = [id(each) for each in named_weights(layer).values() if each.trainable]
    return bool(made) and not any(each in trained for each in made)


def reason_to_leave(layer: Any) -> str:
    """Return why a built layer is not pruned; empty where it can be."""
    kind = type(layer).__name__
    if not layer.weights:
        return "has no weights"
    if not any(_known(part) for part in _parts_with_rules(layer)):
        return f"pruning knows no weights of {kind}; a method get_prunable_weights of the layer names them"
    if not kernels(layer):
        return f"no weight of {kind} is pruned"
    names = [name for name, _, _ in _own_and_inner(layer)]
    if len(set(names)) < len(names):
        return f"weights of {kind} have one name: {', '.join(sorted(names))}"
    return ""


def plain(variable: Any) -> Any:
    """Return the ``tf.Variable`` of a weight, not the view of it that Keras casts to half precision."""
    if isinstance(variable, backend.keras3().Variable):
        return variable._value
    return getattr(variable, "_variable", variable)


def _opens(layer: Any) -> bool:
    """Return whether the layers inside of ``layer`` are chosen one by one."""
    keras = keras_of(layer)
    if isinstance(layer, keras.Model):
        return not hasattr(layer, "get_prunable_weights")
    if isinstance(layer, keras.layers.Wrapper):
        return _opens(layer.layer)
    recurrent = (keras.layers.RNN, keras.layers.StackedRNNCells, keras.layers.Bidirectional)
    return not isinstance(layer, recurrent) and not _known(layer) and bool(_sublayers(layer))


def _inside(outer: Any) -> list[Any]:
    """Return the layers directly inside of one that opens."""
    return list(outer.layers) if isinstance(outer, keras_of(outer).Model) else _sublayers(outer)


def _sublayers(layer: Any) -> list[Any]:
    return list(layer._flatten_layers(recursive=False, include_self=False))


def _own(layer: Any) -> list[tuple[str, Any]]:
    keras3 = keras_of(layer) is not backend.keras()
    kinds = ("_trainable_variables", "_non_trainable_variables")
    kinds = kinds if keras3 else ("_trainable_weights", "_non_trainable_weights")
    variables = [variable for kind in kinds for variable in getattr(layer, kind)]
    return [(str(v.name).rsplit("/", maxsplit=1)[-1].split(":")[0], plain(v)) for v in variables]


def _own_and_inner(layer: Any) -> list[tuple[str, Any, Any]]:
    """Name, variable and owner of every weight, each variable once: a wrapper may hold one of its layer."""
    if _opens(layer):
        return [(name, variable, layer) for name, variable in _own(layer)]
    seen: set[int] = set()
    found = []
    for name, variable, owner in _weights(layer):
        if id(variable) not in seen:
            seen.add(id(variable))
            found.append((name, variable, owner))
    return found


def _weights(layer: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Name, variable and the layer that owns it."""
    for name, variable in _own(layer):
        yield prefix + name, variable, layer
    for name, part in parts(layer):
        yield from _weights(part, prefix + name)


def parts(layer: Any) -> list[tuple[str, Any]]:
    """Layers inside of one that does not open, and what the names of their weights begin with."""
    layers = keras_of(layer).layers
    if isinstance(layer, layers.Bidirectional):
        return [("forward/", layer.forward_layer), ("backward/", layer.backward_layer)]
    if isinstance(layer, layers.Wrapper):
        return [("", layer.layer)]
    if isinstance(layer, layers.RNN):
        return [("", layer.cell)]
    if isinstance(layer, layers.StackedRNNCells):
        return [(f"cell_{index}/", cell) for index, cell in enumerate(layer.cells)]
    return [(f"{part.name}/", part) for part in _sublayers(layer)]


def _parts_with_rules(layer: Any) -> list[Any]:
    """Return the layers that decide what is pruned: ``layer``, or those inside of a wrapper or recurrence."""
    layers = keras_of(layer).layers
    passes_on = (layers.Wrapper, layers.Bidirectional, layers.RNN, layers.StackedRNNCells)
    if isinstance(layer, passes_on) and not hasattr(layer, "get_prunable_weights"):
        return [deeper for _, part in parts(layer) for deeper in _parts_with_rules(part)]
    return [layer]


def _known(layer: Any) -> bool:
    return hasattr(layer, "get_prunable_weights") or _names(layer) is not None


def _names(layer: Any) -> tuple[str, ...] | None:
    """Return what tfmot prunes of a layer of Keras; None of one that it does not know."""
    kind = type(layer).__name__
    if type(layer) is not getattr(keras_of(layer).layers, kind, None) and kind not in MORE:
        return None
    return MORE.get(kind, backend.prunable_weights().get(kind))


def _prunable(layer: Any) -> Iterator[Any]:
    for part in _parts_with_rules(layer):
        if hasattr(part, "get_prunable_weights"):
            yield from part.get_prunable_weights()
            continue
        for name in _names(part) or ():
            inner, _, weight = name.rpartition(".")  # of attention, such as _query_dense.kernel
            yield getattr(getattr(part, inner) if inner else part, weight)


def _layout(owner: Any, name: str, rank: int) -> Layout:
    """Inputs before outputs; Keras has the two the other way round in transposed convolutions."""
    layers = keras_of(owner).layers
    if isinstance(owner, (layers.Conv2DTranspose, layers.Conv3DTranspose, layers.Conv1DTranspose)):
        return Layout((*range(rank - 2), rank - 1, rank - 2), rank - 1)
    if isinstance(owner, layers.EinsumDense) and not name.startswith("attention_output/"):
        return Layout(tuple(range(rank)), 1)  # of attention: (inputs, heads, size of a key)
    return Layout.default(rank)
