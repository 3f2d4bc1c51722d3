"""The cut: the same network, built of smaller layers, with the weights of the units that stay."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from pruneflow.errors import PruneflowError
from pruneflow.runtime import backend
from pruneflow.sparsity.channels.groups import Channels, Kept, Path
from pruneflow.sparsity.kernels import keras_of, plain, variables

Sizes = Mapping[Path, Mapping[str, tuple[int | None, ...]]]  # by path and setting; None = as it is

SHAPES = {"batch_input_shape", "batch_shape", "query_shape", "key_shape", "value_shape"}  # they have a batch


class CutError(PruneflowError):
    """The small network cannot be built."""


def cut(model: Any, channels: Channels, kept: Kept) -> Any:
    """Build the network without the units that go.

    Args:
        model: A network of Keras 2 or 3; it is not changed.
        channels: Its channels, by the names of its weights.
        kept: The units that stay, by id.

    Returns:
        A model of the same Keras and of its layers alone, with the same names.

    Raises:
        CutError: if Keras cannot build it.
    """
    small = rebuilt(model, sizes_of(channels, kept))
    names = {id(variable): name for name, variable in variables(model).items()}
    weights = [channels.cut(names.get(id(plain(each)), ""), each.numpy(), kept) for each in model.weights]
    try:
        small.set_weights(weights)
    except ValueError as error:
        raise CutError(f"The small network has weights of other shapes: {first_line(error)}") from error
    settle(small)
    return small


def settle(model: Any) -> None:
    """Let each layer compute with the weights that it was given: ``Normalization`` has copies of them."""
    for layer in model._flatten_layers():
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def sizes_of(channels: Channels, kept: Kept) -> Sizes:
    """Return the settings of each layer that becomes smaller."""
    counted: dict[Path, dict[str, tuple[int | None, ...]]] = {}
    changed = set()
    for (path, key), along in channels.settings.items():
        counted.setdefault(path, {})[key] = tuple(
            None if ids is None else int(kept[ids].sum()) for ids in along
        )
        if any(ids is not None and not kept[ids].all() for ids in along):
            changed.add(path)
    return {path: found for path, found in counted.items() if path in changed}


def rebuilt(model: Any, sizes: Sizes) -> Any:
    """Build a network from its description, with other sizes.

    Args:
        model: A functional or sequential model of Keras 2 or 3; it is not changed.
    """
    config = deepcopy(model.get_config())
    _resize_layers(config["layers"], (), sizes)
    own = {type(each).__name__: type(each) for each in model._flatten_layers()}
    try:
        keras = keras_of(model)
        with keras.utils.custom_object_scope(own), backend.own_functions(keras):
            return type(model).from_config(config)
    except Exception as error:  # of any kind, as of the user's own layers
        raise CutError(f"Keras cannot build the small network: {first_line(error)}") from error


def _resize_layers(entries: Sequence[dict[str, Any]], path: Path, sizes: Sizes) -> None:
    for entry in entries:
        _resize(entry, (*path, entry["config"]["name"]), sizes)


def _resize(entry: dict[str, Any], path: Path, sizes: Sizes) -> None:
    """Change the description of a layer, and of those inside of it."""
    entry.pop("build_config", None)  # shapes of the large network
    config = entry["config"]
    if "layers" in config:
        _resize_layers(config["layers"], path, sizes)
    if entry["class_name"] == "Bidirectional":
        _resize_halves(config, path, sizes)
    elif "layer" in config:
        _resize(config["layer"], (*path, config["layer"]["config"]["name"]), sizes)
    for key, size in sizes.get(path, {}).items():
        name = "batch_shape" if key == "batch_input_shape" and key not in config else key
        if name in config:
            config[name] = _resized(name, config[name], size)
    if path in sizes:  # a constant may be an array of the size before; the weights follow
        settings = {key: value for key, value in config.items() if isinstance(value, dict)}
        constants = [key for key, value in settings.items() if value.get("class_name") == "Constant"]
        config.update(dict.fromkeys(constants, "zeros"))


def _resize_halves(config: dict[str, Any], path: Path, sizes: Sizes) -> None:
    """Change the descriptions of both directions; without one the second is like the first."""
    _resize(config["layer"], (*path, "forward"), sizes)
    if "backward_layer" in config:
        _resize(config["backward_layer"], (*path, "backward"), sizes)


def _resized(key: str, before: Any, size: tuple[int | None, ...]) -> Any:
    """Return the new value of a setting: a number, or a shape of which some sizes stay."""
    if key != "target_shape" and key not in SHAPES:
        return size[0]
    if isinstance(before, dict):  # a TensorShape as Keras describes it
        before = before.get("items", before.get("config"))
    known = list(before)
    batch = known[: len(known) - len(size)]
    sizes = zip(known[len(batch) :], size, strict=True)
    return [*batch, *(old if new is None else new for old, new in sizes)]


def first_line(error: Exception) -> str:
    """Return the first line of a message, with a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".") + "."
