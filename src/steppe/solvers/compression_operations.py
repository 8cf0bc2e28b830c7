"""What may stand between two layers without mixing the neurons of the first."""

import operator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

LINEAR = (nn.Linear,)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
SERVED = (*LINEAR, *CONVOLUTIONS)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
# Modules that treat every neuron alike and apart from the others.
_ALONE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.LogSigmoid,
    nn.Tanh, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softshrink, nn.Hardshrink,
    nn.Tanhshrink, nn.Threshold, nn.Identity, nn.Dropout, nn.PReLU,
)  # fmt: skip
_POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.Dropout1d, nn.Dropout2d,
)  # fmt: skip
_ALONE_FUNCTIONS = {
    torch.relu, torch.tanh, torch.sigmoid, torch.abs, torch.exp, torch.sin, torch.cos, torch.square, torch.clamp,
    torch.neg, torch.mul, torch.div, torch.add, torch.pow,
    F.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.celu, F.gelu, F.silu, F.mish, F.sigmoid, F.logsigmoid, F.tanh,
    F.softplus, F.softsign, F.hardtanh, F.hardswish, F.hardsigmoid, F.dropout,
    operator.neg, operator.mul, operator.truediv, operator.add, operator.sub, operator.pow,
}  # fmt: skip
_POOL_FUNCTIONS = {
    F.max_pool1d, F.max_pool2d, F.avg_pool1d, F.avg_pool2d, F.adaptive_avg_pool1d, F.adaptive_avg_pool2d,
    torch.max_pool1d, torch.max_pool2d, F.dropout1d, F.dropout2d,
}  # fmt: skip
_ALONE_METHODS = {
    "relu", "relu_", "tanh", "sigmoid", "abs", "exp", "square", "clamp", "neg", "contiguous", "mul", "div", "pow",
}  # fmt: skip
_SHAPE_READS = {"size", "dim"}


def reads_shape(node: fx.Node) -> bool:
    """Whether a node asks for shape, dtype or device only."""
    if node.op == "call_method" and node.target in _SHAPE_READS:
        return True
    return (
        node.op == "call_function" and node.target is getattr and node.args[1] in ("shape", "ndim", "device", "dtype")
    )


def flattens(node: fx.Node, module: nn.Module | None) -> bool:
    """Whether everything after the first axis becomes one."""
    if type(module) is nn.Flatten:
        return (module.start_dim, module.end_dim) == (1, -1)
    function = node.op == "call_function" and node.target is torch.flatten
    if function or (node.op == "call_method" and node.target == "flatten"):
        given = dict(enumerate(node.args[1:], start=1))
        start, end = (node.kwargs.get(key, given.get(at, default)) for key, at, default in (
            ("start_dim", 1, 0), ("end_dim", 2, -1)))  # fmt: skip
        return (start, end) == (1, -1)
    if node.op == "call_method" and node.target in ("view", "reshape") and len(node.args) > 1:
        shape = node.args[1] if isinstance(node.args[1], tuple | list) else node.args[1:]
        # A written number of columns would not shrink with the neurons.
        return (
            len(shape) == 2
            and isinstance(shape[1], int)
            and shape[1] == -1
            and not (isinstance(shape[0], int) and shape[0] == -1)
        )
    return False


def keeps_neurons_apart(node: fx.Node, source: fx.Node, module: nn.Module | None, *, pools: bool) -> bool:
    """Whether a node computes each neuron's output from that neuron of `source` alone; `pools`: positions may meet."""
    if module is not None:
        ordinary = type(module) in _ALONE or (pools and type(module) in _POOLS)
        return ordinary and not module._forward_hooks and not module._forward_pre_hooks
    known: Any = _ALONE_FUNCTIONS | (_POOL_FUNCTIONS if pools else set())
    if node.op == "call_function" and node.target not in known:
        return False
    if node.op == "call_method" and node.target not in _ALONE_METHODS:
        return False
    # A second tensor may have an entry per neuron.
    rest = [*node.args, *node.kwargs.values()]
    return sum(isinstance(value, fx.Node) for value in rest) == 1 and source in rest
