"""Channels and hidden units that are removed: who makes and reads them, how many stay, and the cut."""

from collections.abc import Mapping
from typing import Any

from pruneflow.sparsity.channels.graph import walk
from pruneflow.sparsity.channels.groups import Channels, Group, Kept, channels_of
from pruneflow.sparsity.kernels import FROZEN, is_frozen, kernels, leaves, trained_variables

__all__ = ["Channels", "Group", "Kept", "find"]


def find(model: Any, fixed: Mapping[str, str] | None = None) -> Channels:
    """Find the groups of channels of a network that can be removed.

    Args:
        model: A built functional or sequential ``tf_keras.Model``.
        fixed: Layers, ``outer/inner``, whose channels have to stay beside those of frozen layers, and why.
    """
    trained = trained_variables(model)
    maskable = [
        id(kernel.variable)
        for _, layer in leaves(model)
        for kernel in kernels(layer)
        if not kernel.is_frozen(trained)
    ]
    frozen = {name: FROZEN for name, layer in leaves(model) if is_frozen(layer, trained)}
    return channels_of(model, walk(model), maskable, {**frozen, **(fixed or {})})
