"""Which layer of a model feeds which, and whose neurons can be taken out: read from the model's graph."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from steppe.core import InputError, KindError

from .compression_calls import output_of
from .compression_operations import CONVOLUTIONS, NORMS, SERVED, flattens, keeps_neurons_apart, reads_shape


@dataclass(frozen=True)
class Link:
    """A layer whose neurons feed one other layer, and nothing else.

    Args:
        layer: Qualified name of the layer that has the neurons.
        reader: Qualified name of the layer that reads them.
        between: Modules between the two that hold parameters per neuron (batch normalisation, PReLU).
        size: Columns of the reader's weight matrix per neuron: the entries of a kernel, or pixels after flattening.
    """

    layer: str
    reader: str
    between: tuple[str, ...]
    size: int


@dataclass(frozen=True)
class Structure:
    """What was read from a model: links in the order of its graph, and why other layers are left as they are."""

    links: tuple[Link, ...]
    left: Mapping[str, str]


class _UnclearError(Exception):
    """Why neurons cannot be removed."""


class _Tracer(fx.Tracer):
    def __init__(self, opaque: set[int]) -> None:
        super().__init__()
        self._opaque = opaque

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Layers of torch, and modules whose forward pass cannot be followed."""
        return id(m) in self._opaque or super().is_leaf_module(m, module_qualified_name)


def read_structure(model: nn.Module, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Structure:
    """The links of a model.

    Args:
        model: In evaluation mode.
        arguments: What it is called with, on one batch.
        keywords: The same, by keyword.

    Raises:
        InputError: Its forward pass cannot be followed.
    """
    graph = _trace(model, arguments, keywords)
    shapes = _output_dimensions(model, arguments, keywords)
    calls = [node for node in graph.nodes if node.op == "call_module"]
    seen = {node.target for node in calls}
    links, left = [], {}
    for name, module in model.named_modules():
        if not isinstance(module, SERVED):
            continue
        if name not in seen:
            left[name] = _why_unseen(model, name, {id(model.get_submodule(node.target)) for node in calls}, module)
            continue
        try:
            _check_plain(model, name, calls)
            node = next(node for node in calls if node.target == name)
            links.append(_follow(model, graph, node, calls, shapes))
        except _UnclearError as reason:
            left[name] = str(reason)
    order = {str(node.target): place for place, node in enumerate(calls)}
    return Structure(tuple(sorted(links, key=lambda link: order[link.layer])), left)


def _trace(model: nn.Module, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> fx.Graph:
    """The graph; parts that cannot be traced are one node each."""
    absent = _defaults(model, arguments, keywords)
    try:
        return _Tracer(set()).trace(model, concrete_args=absent)
    except Exception:
        opaque = {id(module) for module in _untraceable(model)}
    try:
        return _Tracer(opaque).trace(model, concrete_args=absent)
    except Exception as error:
        raise InputError(
            f"the forward pass of `model` ({type(model).__name__}) cannot be followed by torch.fx "
            f"({_first_line(error)}); compress the part whose forward pass does not depend on the values of tensors"
        ) from error


def _defaults(model: nn.Module, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the forward pass that these calls leave at their defaults; their branches are not taken."""
    try:
        bound = inspect.signature(model.forward).bind(*arguments, **keywords)
    except TypeError as error:
        raise KindError(f"`model` cannot be called with these data: {error}; pass (x, y) or matching keys") from error
    parameters = bound.signature.parameters.values()
    return {p.name: p.default for p in parameters if p.name not in bound.arguments and p.default is not p.empty}


def _untraceable(model: nn.Module) -> list[nn.Module]:
    """The outermost children that fail on their own."""
    found: list[nn.Module] = []
    for child in model.children():
        try:
            _Tracer(set()).trace(child)
        except Exception:
            inner = _untraceable(child)
            found += [child] if not inner or not _traces(child, inner) else inner
    return found


def _traces(module: nn.Module, opaque: list[nn.Module]) -> bool:
    try:
        _Tracer({id(inner) for inner in opaque}).trace(module)
    except Exception:
        return False
    return True


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]


def _output_dimensions(model: nn.Module, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> dict[str, int]:
    """How many axes the output of each layer has."""
    found: dict[str, int] = {}

    def remember(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            found[name] = output.ndim

        return hook

    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, SERVED)]
    handles = [module.register_forward_hook(remember(name)) for name, module in layers]
    try:
        with torch.no_grad():
            output_of(model, (arguments, dict(keywords)))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _why_unseen(model: nn.Module, name: str, called: set[int], module: nn.Module) -> str:
    if id(module) in called:
        return "it is used under two names"
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        outer = model.get_submodule(".".join(parts[:length]))
        if id(outer) in called:
            return f"it lies inside {'.'.join(parts[:length])} ({type(outer).__name__}), which cannot be looked into"
    return "the model does not call it on these data"


def _check_plain(model: nn.Module, name: str, calls: list[fx.Node]) -> None:
    """Refuse a layer that is not an ordinary one of its own."""
    module = model.get_submodule(name)
    if type(module) not in SERVED:
        raise _UnclearError(f"{type(module).__name__} is not a plain {' or '.join(kind.__name__ for kind in SERVED)}")
    if sum(model.get_submodule(str(node.target)) is module for node in calls) > 1:
        raise _UnclearError("the model calls it more than once")
    if module._forward_pre_hooks or module._forward_hooks:
        raise _UnclearError("it has hooks")
    own = {id(parameter) for parameter in module.parameters()}
    for other_name, other in model.named_modules():
        if other is not module and own & {id(p) for p in other._parameters.values() if p is not None}:
            raise _UnclearError(f"it shares parameters with {other_name or 'the model'}")
    if getattr(module, "groups", 1) != 1:
        raise _UnclearError(f"it is a convolution in {module.groups} groups")


def _follow(model: nn.Module, graph: fx.Graph, start: fx.Node, calls: list[fx.Node], shapes: Mapping[str, int]) -> Link:
    """From a layer along its only way to the layer that reads it."""
    name = str(start.target)
    layer = model.get_submodule(name)
    own = {id(parameter) for parameter in layer.parameters()}
    if any(node.op == "get_attr" and id(_attribute(model, str(node.target))) in own for node in graph.nodes):
        raise _UnclearError("the model uses its parameters directly")
    spatial, flat, between, node = isinstance(layer, CONVOLUTIONS), False, [], start
    if spatial and shapes[name] != layer.weight.ndim:
        raise _UnclearError("its input has no axis of samples")
    while True:
        user = _only_user(node)
        if user.op == "output":
            raise _UnclearError("its outputs are outputs of the model")
        target = model.get_submodule(str(user.target)) if user.op == "call_module" else None
        if isinstance(target, SERVED):
            break
        if target is not None and _holds_per_neuron(target):
            _check_between(model, str(user.target), calls, per_channel=not flat and (spatial or shapes[name] == 2))
            between.append(str(user.target))
        elif flattens(user, target):
            if not spatial and shapes[name] != 2:
                raise _UnclearError("flattening mixes its neurons with positions")
            flat = flat or spatial
        elif not keeps_neurons_apart(user, node, target, pools=spatial and not flat):
            raise _UnclearError(f"it feeds {_spoken(user, target)}, which is not known to keep neurons apart")
        node = user
    _check_plain(model, str(user.target), calls)
    return Link(name, str(user.target), tuple(between), _columns(layer, target, user, spatial=spatial, flat=flat))


def _only_user(node: fx.Node) -> fx.Node:
    users = [user for user in node.users if not reads_shape(user)]
    if not users:
        raise _UnclearError("nothing reads its outputs")
    if len(users) > 1:
        raise _UnclearError(f"its outputs go {len(users)} ways ({', '.join(user.name for user in users[:3])})")
    return users[0]


def _columns(layer: Any, reader: Any, user: fx.Node, *, spatial: bool, flat: bool) -> int:
    """Columns of the reader per neuron."""
    if len(user.args) != 1 or user.kwargs:
        raise _UnclearError("the next layer is called with more than its input")
    if isinstance(reader, CONVOLUTIONS):
        if not spatial or flat or reader.weight.ndim != layer.weight.ndim:
            raise _UnclearError("a convolution reads the outputs of a layer of another kind")
        return int(reader.weight[0, 0].numel())
    if spatial and not flat:
        raise _UnclearError("a linear layer reads an axis of a convolution that does not hold its channels")
    neurons = layer.weight.shape[0]
    if reader.in_features % neurons:
        raise _UnclearError(f"{reader.in_features} inputs of the next layer do not divide into {neurons} neurons")
    return int(reader.in_features // neurons)


def _holds_per_neuron(module: nn.Module) -> bool:
    return type(module) in NORMS or (type(module) is nn.PReLU and module.num_parameters > 1)


def _check_between(model: nn.Module, name: str, calls: list[fx.Node], *, per_channel: bool) -> None:
    module = model.get_submodule(name)
    if sum(model.get_submodule(str(node.target)) is module for node in calls) > 1:
        raise _UnclearError(f"it feeds {name}, which the model calls more than once")
    if not per_channel:
        raise _UnclearError(f"it feeds {name} ({type(module).__name__}), whose parameters do not belong to its neurons")
    if type(module) in NORMS and module.running_mean is None:
        raise _UnclearError(f"it feeds {name}, which normalises by each batch")


def _spoken(node: fx.Node, module: nn.Module | None) -> str:
    if module is not None:
        return f"{node.target} ({type(module).__name__})"
    return f"`{getattr(node.target, '__name__', node.target)}`"


def _attribute(model: nn.Module, path: str) -> Any:
    found: Any = model
    for part in path.split("."):
        found = getattr(found, part)
    return found
