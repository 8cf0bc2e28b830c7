"""The Hessian as an adaptive optimizer sees it: P^(−1/2) H P^(−1/2)."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Unpack

from jaxtyping import Float
from torch import Tensor, nn

from steppe.core import Estimate, KindError
from steppe.linalg import SymmetricOperator

from .extremes import sharpness
from .layout import ParameterOperator
from .limits import unwrapped_optimizer
from .operators import CurvatureOperator, as_operator, build, kind_of
from .options import ProblemOptions, refuse_unknown_options
from .preconditioners import Preconditioner, preconditioner
from .selection import select_parameters, unwrapped


class PreconditionedOperator(ParameterOperator):
    """P^(−1/2) (H + D) P^(−1/2) for a curvature operator H and a diagonal D, zero unless decay was asked for.

    Attributes:
        inner: H; its products are counted too.
        root: The diagonal of P^(−1/2).
        step_size: The learning rate that P refers to; 0 where a schedule has all of them at zero.
    """

    def __init__(
        self, inner: SymmetricOperator, by: Preconditioner, variables: Mapping[str, Tensor], *, decay: bool = False
    ) -> None:
        self.inner, self.step_size = inner, by.step_size
        self.root = by.inverse.sqrt().to(inner.dtype)
        extra = (by.inverse * by.decay).to(inner.dtype)[:, None] if decay and bool(by.decay.any()) else None
        root = self.root[:, None]

        def product(block: Tensor) -> Tensor:
            image: Tensor = root * (inner @ (root * block))
            return image if extra is None else image.add_(extra * block)

        super().__init__(
            product,
            {name: parameter.shape for name, parameter in variables.items()},
            dtype=inner.dtype,
            device=inner.device,
            backend=inner.backend,
            convention=f"{inner.convention}, {by.words}{'' if extra is None else ', with coupled weight decay'}",
        )
        self.kind = f"preconditioned {kind_of(inner)}"

    def direction(self, y: Float[Tensor, "p *s"]) -> Float[Tensor, "p *s"]:
        """P^(−1/2) y: the direction in the parameters that an eigenvector y of this operator stands for."""
        return self.root * y if y.ndim == 1 else self.root[:, None] * y


def preconditioned(
    model: Any,
    loss: Any = None,
    data: Any = None,
    *,
    optimizer: Any,
    second_moment: Mapping[Any, Tensor] | None = None,
    decay: bool = False,
    check: bool = True,
    **options: Unpack[ProblemOptions],
) -> PreconditionedOperator:
    """P^(−1/2) H P^(−1/2), with P the diagonal by which the optimizer divides its steps.

    In the update θ ← θ − η P⁻¹ m of an adaptive optimizer, curvature acts through P⁻¹H, whose eigenvalues are those of
    this symmetric matrix. P is frozen at its present value: the optimizer's state after its last step.

    | optimizer | P |
    |---|---|
    | SGD | 1 |
    | Adam, AdamW, NAdam | √(v / (1 − β₂ᵗ)) + ε; with amsgrad the largest v met |
    | RAdam | (√v + ε) / (√(1 − β₂ᵗ) r), r its rectification; 1 before there is one |
    | Adamax | its running maximum |
    | RMSprop | √v + ε; centered √(v − ḡ²) + ε |
    | Adagrad | (√Σg² + ε) (1 + (t − 1) lr_decay) |
    | Adadelta | √(v + ε) / √(u + ε) |

    P has no step size in it. If groups have different learning rates, P is divided by their ratio to the first one that
    is not zero, so that one η belongs to the whole matrix; the convention says so.

    Args:
        model: A module (then loss and data follow), or a curvature operator alone.
        loss: As in `hessian`.
        data: As in `hessian`.
        optimizer: The optimizer that trains the model, after a step; read, not changed.
        second_moment: For optimizers of other packages: v̂ by parameter or name; P = √v̂ + ε.
        decay: Add λ P⁻¹ for weight decay that is coupled (added to the gradient), which belongs to the linear stability
            of the optimizer but not to the loss. Decoupled decay (AdamW) is never included.
        check: Evaluate an ordinary module twice and compare.
        **options: As in `hessian`.

    Raises:
        KindError: The optimizer is not known or trains another model.
        InputError: It has taken no step yet, or lacks a variable.
        SteppeError: As `hessian`.

    Cost per product: that of the Hessian. Source: Cohen et al. 2022, arXiv 2207.14484 (recalled).
    """
    refuse_unknown_options("preconditioned", options, "optimizer", "second_moment", "decay", "check")
    if isinstance(model, nn.Module):
        inner: SymmetricOperator = build(model, loss, data, kind="Hessian", check=check, **options)
        variables: Mapping[str, Tensor] = select_parameters(unwrapped(model), options.get("parameters"))
    else:
        inner = as_operator(model, loss, data, function="preconditioned", **options)
        variables = _variables(inner, optimizer)
    by = preconditioner(optimizer, variables, second_moment=second_moment)
    return PreconditionedOperator(inner, by, variables, decay=decay)


def preconditioned_sharpness(
    model: Any,
    loss: Any = None,
    data: Any = None,
    *,
    optimizer: Any,
    second_moment: Mapping[Any, Tensor] | None = None,
    decay: bool = False,
    rtol: float = 1e-3,
    start: Tensor | None = None,
    seed: int = 0,
    max_products: int | None = None,
    **options: Unpack[ProblemOptions],
) -> Estimate:
    """The largest eigenvalue of P^(−1/2) H P^(−1/2), which is that of P⁻¹H.

    The optimizer with P frozen is linearly stable where this is below its limit: 2/η for RMSprop and Adagrad without
    momentum, (2 + 2β₁)/((1 − β₁)η) for Adam; see `stability_threshold`. Training with an adaptive optimizer tends to
    hover there (Cohen et al. 2022). Rescaling the loss does not change it (up to ε), unlike plain sharpness.

    Args:
        model: As in `preconditioned`.
        loss: As in `preconditioned`.
        data: As in `preconditioned`.
        optimizer: As in `preconditioned`.
        second_moment: As in `preconditioned`.
        decay: As in `preconditioned`.
        rtol: As in `sharpness`.
        start: As in `sharpness`, a vector in the space of P^(1/2) θ.
        seed: As in `sharpness`.
        max_products: As in `sharpness`.
        **options: As in `hessian`.

    Returns:
        The estimate, with the residual in the same preconditioned space.

    Raises:
        SteppeError: As `preconditioned` and `sharpness`.
    """
    own = ("optimizer", "second_moment", "decay", "rtol", "start", "seed", "max_products")
    refuse_unknown_options("preconditioned_sharpness", options, *own)
    began = time.perf_counter()
    operator = preconditioned(
        model, loss, data, optimizer=optimizer, second_moment=second_moment, decay=decay, **options
    )
    found = sharpness(operator, rtol=rtol, start=start, seed=seed, max_products=max_products)
    return replace(found, quantity="preconditioned sharpness", seconds=time.perf_counter() - began)


def _variables(operator: SymmetricOperator, optimizer: Any) -> dict[str, Tensor]:
    """The parameters of an operator that came alone; for closed forms those of the optimizer, if their shapes agree."""
    source = operator.source if isinstance(operator, CurvatureOperator) else None
    parameters = getattr(source, "parameters", None)
    if source is not None and parameters is not None:
        return dict(zip(source.names, parameters, strict=True))
    groups = getattr(unwrapped_optimizer(optimizer), "param_groups", [])
    held = [parameter for group in groups for parameter in group["params"]]
    shapes = operator.shapes if isinstance(operator, ParameterOperator) else {}
    if not shapes or [parameter.shape for parameter in held] != list(shapes.values()):
        raise KindError(
            "`preconditioned` must know the parameters of the operator, got one whose parameters cannot be told; pass "
            "(model, loss, data)"
        )
    return dict(zip(shapes, held, strict=True))
