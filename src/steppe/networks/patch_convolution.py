"""The same function as a convolution: `PatchReLU` with shared filters on a grid, and torch's `Conv2d`."""

from typing import Any

import torch
from torch import nn

from steppe.core import InputError, KindError, ShapeError

from .patch_relu import PatchReLU
from .patches import patch_indices

_LAYERS = [nn.Conv2d, nn.ReLU, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear]
_WORDS = "nn.Sequential(Conv2d, ReLU, AdaptiveAvgPool2d(1), Flatten, Linear)"


def patch_from_convolution(module: nn.Sequential, height: int, width: int) -> PatchReLU:
    """The same function as a convolution, ReLU, global average pooling and a linear layer, on flattened images.

    Args:
        module: `nn.Sequential(Conv2d, ReLU, AdaptiveAvgPool2d(1), Flatten, Linear)`, after an optional `Unflatten`; the
            kernel is square, the strides equal, and there is neither padding nor dilation nor a group.
        height: Rows of the images.
        width: Columns of the images.

    Raises:
        KindError: It is not such a sequence.
        ParameterError: The kernel is larger than the image.
    """
    layers: list[Any] = list(module) if isinstance(module, nn.Sequential) else []
    if layers and isinstance(layers[0], nn.Unflatten):
        layers = layers[1:]
    if [type(layer) for layer in layers] != _LAYERS or layers[2].output_size not in (1, (1, 1)):
        got = ", ".join(type(layer).__name__ for layer in layers) or type(module).__name__
        raise KindError(f"`module` must be {_WORDS}, got {got}; convert it first")
    convolution, linear = layers[0], layers[-1]
    size, stride = convolution.kernel_size[0], convolution.stride[0]
    plain = (convolution.padding, convolution.dilation, convolution.groups) == ((0, 0), (1, 1), 1)
    if convolution.kernel_size != (size, size) or convolution.stride != (stride, stride) or not plain:
        raise KindError(
            f"`module` must hold a square Conv2d without padding, dilation or groups, got {convolution}; "
            "a patch network has no other kernels"
        )
    filters = convolution.weight.flatten(1)
    b = filters.new_zeros(len(filters)) if convolution.bias is None else -convolution.bias
    patches = patch_indices(height, width, convolution.in_channels, size, stride=stride)
    inputs = convolution.in_channels * height * width
    return PatchReLU.from_weights(patches, filters, b, linear.weight, linear.bias, inputs=inputs)


def patch_to_convolution(
    network: PatchReLU, height: int, width: int, channels: int, size: int, *, stride: int = 1
) -> nn.Sequential:
    """The same function as `nn.Sequential(Unflatten, Conv2d, ReLU, AdaptiveAvgPool2d(1), Flatten, Linear)`.

    Args:
        network: Shared filters on the patches `patch_indices(height, width, channels, size, stride=stride)`.
        height: Rows of the images.
        width: Columns of the images.
        channels: Colours of the images.
        size: Side of the window.
        stride: Distance between windows.

    Raises:
        InputError: The filters are not shared.
        ShapeError: The patches are not those of this convolution.
        ParameterError: As `patch_indices`.
    """
    if not network.shared:
        raise InputError("a network without shared weights is no convolution; use the network itself as a module")
    patches = patch_indices(height, width, channels, size, stride=stride).to(network.patches.device)
    if not torch.equal(patches, network.patches) or network.inputs != channels * height * width:
        raise ShapeError(
            f"`network` must have the {len(patches)} patches of a {size} × {size} convolution with stride {stride} on "
            f"{channels} × {height} × {width} inputs, got {network.positions} patches of {network.patch_size} of "
            f"{network.inputs} inputs; give the sizes that made them"
        )
    place: dict[str, Any] = {"dtype": network.w.dtype, "device": network.w.device}
    convolution = nn.Conv2d(channels, network.width, size, stride=stride, **place)
    linear = nn.Linear(network.width, network.outputs, **place)
    with torch.no_grad():
        convolution.weight.copy_(network.w.view_as(convolution.weight))
        convolution.bias.copy_(-network.b)  # type: ignore[union-attr]  # there is a bias
        linear.weight.copy_(network.v)
        linear.bias.copy_(network.output_bias)
    start = nn.Unflatten(1, (channels, height, width))
    return nn.Sequential(start, convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
