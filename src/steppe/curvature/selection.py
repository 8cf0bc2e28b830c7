"""Which parameters of a module are the variables, chosen by name."""

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from steppe.core import DtypeError, InputError, KindError, UnknownNameError


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's module inside `torch.compile`, `DataParallel` and `DistributedDataParallel`; the weights are the same.

    Compiled code has no second derivative, and the wrappers move gradients between devices that products do not need.
    """
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def select_parameters(model: nn.Module, parameters: str | Sequence[str] | None) -> dict[str, nn.Parameter]:
    """The variables by name, in the order of `named_parameters()`; tied parameters appear once.

    Args:
        model: The module.
        parameters: A name or glob, a list of these, or None for all that require a gradient. A glob passes over frozen
            parameters.

    Raises:
        KindError: The patterns are not strings.
        UnknownNameError: A pattern matches nothing; the closest name is suggested.
        InputError: All that a pattern matches is frozen, nothing requires a gradient, or a layer is still lazy.
        DtypeError: They are not of one real floating dtype on one device.
    """
    everything = dict(model.named_parameters())
    lazy = [name for name, parameter in everything.items() if nn.parameter.is_lazy(parameter)]
    if lazy:
        raise InputError(f"`model` must be complete, got lazy parameters {', '.join(lazy)}; call it once on a batch")
    if parameters is None:
        chosen = {name: parameter for name, parameter in everything.items() if parameter.requires_grad}
        if not chosen:
            raise InputError(
                "`model` must have a parameter that requires a gradient, got none; call requires_grad_(True)"
            )
    else:
        wanted = _matched(model, [parameters] if isinstance(parameters, str) else parameters)
        chosen = {name: parameter for name, parameter in everything.items() if id(parameter) in wanted}
    _check_places(chosen)
    return chosen


def _matched(model: nn.Module, patterns: Sequence[str]) -> set[int]:
    """Identities of the parameters that require a gradient and match; a tied one answers to all its names."""
    if not isinstance(patterns, Sequence) or not all(isinstance(pattern, str) for pattern in patterns):
        raise KindError(
            f"`parameters` must be a name, a glob or a list of these, got {patterns!r}; pass 'layers.*.weight'"
        )
    if not patterns:
        raise KindError("`parameters` must name at least one parameter, got an empty list; pass None for all")
    names = list(model.named_parameters(remove_duplicate=False))
    found: set[int] = set()
    for pattern in patterns:
        hits = [(name, p) for name, p in names if name == pattern or fnmatchcase(name, pattern)]
        if not hits:
            close = difflib.get_close_matches(pattern, [name for name, _ in names], n=1, cutoff=0.4)
            remedy = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(name for name, _ in names)}"
            raise UnknownNameError(f"`parameters` {pattern!r} matches no parameter of the model; {remedy}")
        free = [p for _, p in hits if p.requires_grad]
        if not free:
            frozen = ", ".join(repr(name) for name, _ in hits[:3]) + (", …" if len(hits) > 3 else "")
            raise InputError(
                f"`parameters` {pattern!r} selects only frozen parameters ({frozen}); call requires_grad_(True) on them"
            )
        found.update(map(id, free))
    return found


def _check_places(chosen: dict[str, nn.Parameter]) -> None:
    """One real floating dtype on one device."""
    places = sorted({f"{parameter.dtype} on {parameter.device}" for parameter in chosen.values()})
    first = next(iter(chosen.values()))
    if not first.is_floating_point() or len(places) > 1:
        raise DtypeError(
            f"`model` must have parameters of one real floating dtype on one device, got {', '.join(places)}; "
            "convert it with .to(), or choose some with parameters="
        )
