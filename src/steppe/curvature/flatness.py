"""Flatness measures that rescaling of neurons does not fool: relative flatness and the Fisher–Rao norm."""

import math
import time
from typing import Any, Literal, Unpack

import torch
from torch import Tensor

from steppe.core import Estimate, InputError, KindError, ShapeError, check_choice, check_integer, generator

from .fisher import fisher
from .likelihoods import fisher_map
from .nearby import Nearby
from .operators import build
from .options import ProblemOptions, refuse_unknown_options
from .selection import select_parameters, unwrapped


def relative_flatness(
    model: Any, loss: Any, data: Any, *, probes: int = 100, seed: int = 0, **options: Unpack[ProblemOptions]
) -> dict[str, Estimate]:
    """Relative flatness of every weight matrix, κ = Σ_{s,s'} ⟨w_s, w_s'⟩ Tr(H_{s,s'}).

    w_s are the rows of the matrix W [d, m] (one per output of the layer), H_{s,s'} the m × m blocks of the Hessian of
    the loss between two rows. It is the sum of ⟨D, H D⟩ over all D = W A with A one of the m² unit matrices: the
    curvature along perturbations of the layer's inputs. It does not change when all inputs of the layer are scaled and
    W against them, nor when its outputs are scaled one by one and the next layer against them; scaling its inputs one
    by one does change it.

    Exact if W has rank r with r·m ≤ `probes`; otherwise Hutchinson's estimator with random signs.

    Args:
        model: The module.
        loss: As in `hessian`.
        data: As in `hessian`.
        probes: Products per matrix, ≥ 2.
        seed: Seed of the signs (purpose `curvature.probe`).
        **options: As in `hessian`; `parameters` chooses the matrices, all parameters of two or more axes if None.
            Convolutions count as matrices with one row per output channel, which is our extension.

    Returns:
        An estimate by parameter name, with its standard error or error 0.

    Raises:
        ShapeError: A chosen parameter is no matrix.
        SteppeError: As `hessian`.

    Cost: at most `probes` products per matrix.
    Source: Petzka, Kamp, Adilova, Sminchisescu, Boley 2021, Definition 3, arXiv 2001.00939 (recalled).
    """
    refuse_unknown_options("relative_flatness", options, "probes", "seed")
    probes = check_integer("probes", probes, minimum=2)
    patterns = options.get("parameters")
    chosen = select_parameters(unwrapped(model), patterns) if isinstance(model, torch.nn.Module) else {}
    if not chosen:
        raise KindError(f"`model` must be a torch module, got {type(model).__name__}; pass a module")
    small = [name for name, parameter in chosen.items() if parameter.ndim < 2]
    if patterns is not None and small:
        raise ShapeError(
            f"`parameters` must choose matrices, got {small[0]!r} of shape {list(chosen[small[0]].shape)}; leave it out"
        )
    if len(small) == len(chosen):
        raise InputError("`model` must have a weight matrix that requires a gradient, got none; pass another model")
    return {
        name: _relative_flatness(model, loss, data, name, parameter, probes, seed, {**options, "parameters": [name]})
        for name, parameter in chosen.items()
        if name not in small
    }


def fisher_rao_norm(
    model: Any,
    loss: Any,
    data: Any,
    *,
    kind: Literal["empirical", "true"] = "empirical",
    depth: int | None = None,
    **options: Unpack[ProblemOptions],
) -> Estimate:
    """The Fisher–Rao norm √⟨θ, F θ⟩ of the parameters, F the Fisher matrix.

    It depends on the function only, as far as rescaling of ReLU neurons and permutations go, for θ moves with them. F
    is that of the data's labels (`"empirical"`, as in the source) or of the model's own (`"true"`); see `fisher`.

    For a network without biases whose outputs are homogeneous of degree `depth` in θ (ReLU networks with as many layers
    of weights), ⟨θ, F θ⟩ = depth² E⟨∂ℓ/∂f, f⟩², which takes forward passes only. With `depth` this form is used, after
    f(2θ) = 2^depth f(θ) was checked.

    Args:
        model: The module.
        loss: As in `fisher`.
        data: As in `fisher`.
        kind: Which labels.
        depth: Number of layers of weights, for the form in outputs; None for the form in parameters.
        **options: As in `fisher`; `parameters` restricts θ and F.

    Raises:
        InputError: With `depth`: the network is not homogeneous of that degree, or parameters were chosen.
        SteppeError: As `fisher`.

    Cost: one product; two forward passes with `depth`.
    Source: Liang, Poggio, Rakhlin, Stokes 2019, Theorem 3.1, arXiv 1711.01530 (recalled).
    """
    refuse_unknown_options("fisher_rao_norm", options, "kind", "depth")
    check_choice("kind", kind, ["empirical", "true"])
    began = time.perf_counter()
    if depth is not None:
        square, convention = _fisher_rao_of_outputs(model, loss, data, kind, depth, options)
        products, backend = 0, "forward passes"
    else:
        operator = fisher(model, loss, data, kind=kind, **options)
        chosen = select_parameters(unwrapped(model), options.get("parameters"))
        theta = torch.cat([parameter.detach().reshape(-1) for parameter in chosen.values()]).to(operator.dtype)
        square = float(theta.double() @ (operator @ theta).double())
        convention, products, backend = operator.convention, 1, operator.backend
    return Estimate(
        value=math.sqrt(max(square, 0.0)),
        error=0.0,
        reason="exact",
        products=products,
        seconds=time.perf_counter() - began,
        backend=backend,
        convention=convention,
        source="Liang, Poggio, Rakhlin, Stokes 2019",
        quantity="Fisher–Rao norm",
    )


def _relative_flatness(
    model: Any, loss: Any, data: Any, name: str, parameter: Tensor, probes: int, seed: int, options: Any
) -> Estimate:
    began = time.perf_counter()
    operator = build(model, loss, data, kind="Hessian", closed_form=False, **options)
    weight = parameter.detach().flatten(1).to(operator.dtype)
    left, sizes, _ = torch.linalg.svd(weight.double(), full_matrices=False)
    rank = int((sizes > 1e-12 * sizes.max()).sum()) if bool(sizes.any()) else 0
    root = (left[:, :rank] * sizes[:rank]).to(operator.dtype)  # W = root · (orthonormal rows)
    m = weight.shape[1]
    exact = rank * m <= probes
    if exact:
        pieces = torch.eye(rank * m, dtype=operator.dtype, device=operator.device).reshape(-1, rank, m)
    else:
        signs = torch.randint(0, 2, (probes, rank, m), generator=generator("curvature.probe", seed))
        pieces = (2 * signs - 1).to(dtype=operator.dtype, device=operator.device)
    samples = []
    for piece in pieces.split(8):
        block = (root @ piece).flatten(1).T
        samples.append((block.double() * (operator @ block).double()).sum(dim=0))
    values = torch.cat(samples) if samples else torch.zeros(1, dtype=torch.float64)
    return Estimate(
        value=float(values.sum() if exact else values.mean()),
        error=0.0 if exact else float(values.std()) / math.sqrt(probes),
        error_kind="none" if exact else "standard error",
        reason="exact" if exact else f"{probes} probes",
        products=operator.products,
        seconds=time.perf_counter() - began,
        backend=operator.backend,
        convention=f"{name}; {operator.convention}",
        source="Petzka et al. 2021, Definition 3",
        quantity="relative flatness",
    )


def _fisher_rao_of_outputs(
    model: Any, loss: Any, data: Any, kind: Literal["empirical", "true"], depth: int, options: Any
) -> tuple[float, str]:
    degree = check_integer("depth", depth, minimum=1)
    if options.get("parameters") is not None or loss is None:
        raise InputError("`depth` needs all parameters and loss(outputs, targets); leave out `depth` or the other")
    near = Nearby("fisher_rao_norm", model, loss, data, **options)
    if any(not parameter.requires_grad for parameter in near.model.parameters()):
        raise InputError("`depth` needs all parameters, got frozen ones; leave out `depth`")
    total = 0.0
    with near.session(), torch.no_grad():
        for scale, f, doubled, batch in near.outputs_doubled():
            if not torch.allclose(doubled, 2.0**degree * f, rtol=1e3 * torch.finfo(f.dtype).eps, atol=0.0):
                raise InputError(
                    f"`depth` must be the degree of homogeneity of the outputs, got {degree}, but doubling all "
                    f"parameters does not multiply them by 2^{degree}; are there biases? Leave out `depth`"
                )
            weigh = fisher_map(near.objective, f, batch, kind=kind)
            total += scale * float((f.double() * weigh(f).double()).sum())
    return degree**2 * total, f"{near.convention}; {kind} Fisher, form in outputs of degree {degree}"
