"""Rules by which layers that feed forward pass channels on: one per kind of layer of Keras."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pruneflow.sparsity.channels.ids import IntArray, Tensor
from pruneflow.sparsity.channels.trace import ELEMENTWISE, Call

Rule = Callable[..., list[IntArray]]  # (call, layer, *tensors) -> the ids of each output

RULES: dict[str, Rule] = {}

TOGETHER = "reads all its channels together, so that those it reads stay"
# Without division and roots, whose gradients are no numbers at the zeros of masked units.
ARITHMETIC = "add subtract multiply maximum minimum cast identity abs square exp negative"


def rule(kinds: str) -> Callable[[Rule], Rule]:
    """Register the rule of the kinds of layers, names of classes with blanks between."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds.split(), function))
        return function

    return register


def unknown(call: Call, layer: Any, *tensors: Tensor) -> list[IntArray]:
    """Let everything stay that a layer without a rule reads and gives."""
    for tensor in tensors:
        call.stay(tensor.ids, f"{type(layer).__name__} has no rule, so that the channels it reads stay")
    return [np.zeros((1,) * len(shape), np.int64) for shape in call.outputs]


@rule(
    "InputLayer Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D GaussianNoise GaussianDropout "
    "AlphaDropout ActivityRegularization ReLU LeakyReLU ELU ThresholdedReLU"
)
def _passed_on(call: Call, layer: Any, x: Tensor) -> list[IntArray]:
    return [x.ids]


@rule("Activation")
def _activation(call: Call, layer: Any, x: Tensor) -> list[IntArray]:
    return [call.activated(layer.activation, x.ids)]


@rule("Softmax LayerNormalization GroupNormalization UnitNormalization Masking Normalization")
def _together(call: Call, layer: Any, x: Tensor, *more: Tensor) -> list[IntArray]:
    call.stay(x.ids, f"{type(layer).__name__} {TOGETHER}")
    return [x.ids]


@rule("Rescaling")
def _rescaling(call: Call, layer: Any, x: Tensor) -> list[IntArray]:
    by_channel = np.size(layer.scale) > 1 or np.size(layer.offset) > 1
    return unknown(call, layer, x) if by_channel else [x.ids]


@rule("PReLU")
def _prelu(call: Call, layer: Any, x: Tensor) -> list[IntArray]:
    channels = call.channels(x)
    if layer.alpha.shape[-1] == len(channels):
        call.tie(layer.alpha, len(layer.alpha.shape) - 1, channels)
    return [call.given(channels)]


@rule("BatchNormalization SyncBatchNormalization")
def _batch_normalization(call: Call, layer: Any, x: Tensor) -> list[IntArray]:
    if list(layer.axis) != [len(x.shape)]:
        return unknown(call, layer, x)
    channels = call.channels(x)
    for variable in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance):
        if variable is not None:
            call.tie(variable, 0, channels)
    return [call.given(channels)]


@rule("Dense")
def _dense(call: Call, layer: Any, x: Tensor) -> list[IntArray]:
    call.reads(layer.kernel, 0, call.channels(x))
    units = call.makes(layer.kernel, 1)
    call.setting("units", units)
    call.multiplies(layer.kernel, call.positions())
    return [_finished(call, layer, units)]


@rule("Conv1D Conv2D Conv3D Convolution1D Convolution2D Convolution3D")
def _convolution(call: Call, layer: Any, x: Tensor) -> list[IntArray]:
    if layer.data_format != "channels_last":
        return unknown(call, layer, x)
    channels, rank = call.channels(x), len(layer.kernel.shape)
    filters = call.makes(layer.kernel, rank - 1)
    per_group = len(channels) // layer.groups
    if layer.groups > 1 and min(per_group, len(filters) // layer.groups) == 1:
        _whole_groups(call, layer, channels, filters)
    else:  # with several groups, the same places of all groups go together
        for ids in (channels, filters):
            by_group = ids.reshape(layer.groups, -1)
            call.trace.ids.unite(by_group[:1], by_group)
        call.reads(layer.kernel, rank - 2, channels[:per_group])
    call.setting("filters", filters)
    call.multiplies(layer.kernel, call.positions())
    return [_finished(call, layer, filters)]


def _whole_groups(call: Call, layer: Any, channels: IntArray, filters: IntArray) -> None:
    """Unite all that a group of a convolution reads and makes: groups go whole."""
    for ids in (channels, filters):
        by_group = ids.reshape(layer.groups, -1)
        call.trace.ids.unite(by_group[:, :1], by_group)
    groups = channels.reshape(layer.groups, -1)[:, 0]
    call.trace.ids.unite(groups, filters.reshape(layer.groups, -1)[:, 0])
    call.setting("groups", groups)


@rule("Conv1DTranspose Conv2DTranspose Conv3DTranspose")
def _transposed_convolution(call: Call, layer: Any, x: Tensor) -> list[IntArray]:
    if layer.data_format != "channels_last":
        return unknown(call, layer, x)
    rank = len(layer.kernel.shape)
    call.reads(layer.kernel, rank - 1, call.channels(x))
    filters = call.makes(layer.kernel, rank - 2)
    call.setting("filters", filters)
    call.multiplies(layer.kernel, call.inside("", [x.shape]).positions())
    return [_finished(call, layer, filters)]


@rule("DepthwiseConv1D DepthwiseConv2D")
def _depthwise_convolution(call: Call, layer: Any, x: Tensor) -> list[IntArray]:
    if layer.data_format != "channels_last":
        return unknown(call, layer, x)
    channels = call.channels(x)
    call.tie(layer.depthwise_kernel, len(layer.depthwise_kernel.shape) - 2, channels)
    call.multiplies(layer.depthwise_kernel, call.positions())
    call.trace.units[call.name] = filters = np.repeat(channels, layer.depth_multiplier)
    return [_finished(call, layer, filters)]


@rule("SeparableConv1D SeparableConv2D")
def _separable_convolution(call: Call, layer: Any, x: Tensor) -> list[IntArray]:
    if layer.data_format != "channels_last":
        return unknown(call, layer, x)
    channels, rank = call.channels(x), len(layer.pointwise_kernel.shape)
    call.tie(layer.depthwise_kernel, rank - 2, channels)
    call.reads(layer.pointwise_kernel, rank - 2, np.repeat(channels, layer.depth_multiplier))
    filters = call.makes(layer.pointwise_kernel, rank - 1)
    call.setting("filters", filters)
    for kernel in (layer.depthwise_kernel, layer.pointwise_kernel):
        call.multiplies(kernel, call.positions())
    return [_finished(call, layer, filters)]


@rule(
    "MaxPooling1D MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D "
    "GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GlobalAveragePooling1D GlobalAveragePooling2D "
    "GlobalAveragePooling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D Cropping1D Cropping2D Cropping3D "
    "UpSampling1D UpSampling2D UpSampling3D"
)
def _over_positions(call: Call, layer: Any, x: Tensor) -> list[IntArray]:
    if getattr(layer, "data_format", "channels_last") == "channels_first":
        return unknown(call, layer, x)
    return [call.given(call.channels(x))]


@rule("Flatten")
def _flatten(call: Call, layer: Any, x: Tensor) -> list[IntArray]:
    if None in x.shape or layer.data_format != "channels_last":
        return unknown(call, layer, x)
    return [x.full.reshape(-1)]


@rule("Reshape")
def _reshape(call: Call, layer: Any, x: Tensor) -> list[IntArray]:
    (shape,) = call.outputs
    if None in x.shape or None in shape:
        return unknown(call, layer, x)
    ids = x.full.reshape(shape)
    call.setting("target_shape", *call.by_axis(ids))
    return [ids]


@rule("Permute")
def _permute(call: Call, layer: Any, x: Tensor) -> list[IntArray]:
    return [x.ids.transpose([dim - 1 for dim in layer.dims])]


@rule("RepeatVector")
def _repeat_vector(call: Call, layer: Any, x: Tensor) -> list[IntArray]:
    return [x.ids[np.newaxis]]


@rule("Add Subtract Multiply Average Maximum Minimum")
def _merge(call: Call, layer: Any, *tensors: Tensor) -> list[IntArray]:
    found = tensors[0].ids
    for other in tensors[1:]:
        call.trace.ids.unite(found, other.ids)
        found = np.broadcast_arrays(found, other.ids)[0]
    return [call.boxed(found)]


@rule("Concatenate")
def _concatenate(call: Call, layer: Any, *tensors: Tensor) -> list[IntArray]:
    rank = len(tensors[0].shape)
    axis = layer.axis % (rank + 1) - 1
    sizes = np.broadcast_shapes(*(_with(tensor.ids.shape, axis, 1) for tensor in tensors))
    parts = [np.broadcast_to(each.ids, _with(sizes, axis, each.shape[axis] or 1)) for each in tensors]
    ids = np.concatenate(parts, axis)
    if call.outputs[0][axis] is None:
        call.trace.ids.unite(ids.take([0], axis), ids)
        return [ids.take([0], axis)]
    return [call.boxed(ids)]


def _with(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])


@rule("TFOpLambda")
def _operator(call: Call, layer: Any, *tensors: Tensor) -> list[IntArray]:
    """Operators such as ``x + y`` and ``tf.nn.relu(x)``; constants must be single numbers."""
    name = str(layer.symbol).rpartition(".")[2].lower()
    args, named = call.arguments
    constants = [each for each in (*args, *named.values()) if not isinstance(each, (Tensor, str))]
    known = name in ELEMENTWISE or name in ARITHMETIC.split()
    if not known or len(call.outputs) != 1 or any(np.size(each) > 1 for each in constants):
        return unknown(call, layer, *tensors)
    return _merge(call, layer, *tensors)


def _finished(call: Call, layer: Any, channels: IntArray) -> IntArray:
    """Give the bias its ids, and return those after the activation."""
    if layer.use_bias:
        call.tie(layer.bias, 0, channels)
    return call.given(call.activated(layer.activation, channels))
