"""Which layer carries an eigenvector."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from steppe.core import DataError, KindError, ParameterError, ShapeError
from steppe.linalg import Eigenvalues

from .selection import select_parameters, unwrapped

Blocks = Literal["parameter", "module"] | int


@dataclass(frozen=True)
class Share:
    """How the squared length of a vector is spread over the blocks of the parameters.

    Attributes:
        shares: Squared mass by block, largest first; they sum to 1.
        error: Largest error of any share: sin Θ ≤ residual/gap (Davis–Kahan), where Θ is the angle to the true
            eigenvector, if the estimated gap is one; NaN where no gap is known.
        by: What the blocks are.
    """

    shares: Mapping[str, float]
    error: float
    by: str

    @property
    def top(self) -> str:
        """The block with the largest share."""
        return next(iter(self.shares))

    def __getitem__(self, block: str) -> float:
        return self.shares[block]

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values."""
        return {"shares": dict(self.shares), "error": self.error, "by": self.by}

    def __str__(self) -> str:
        error = "" if math.isnan(self.error) else f" ± {100 * self.error:.2g}"
        several = list(self.shares.items())
        listed = ", ".join(f"{name or 'model'} {100 * value:.3g}" for name, value in several[:5])
        return f"share per {self.by} in %: {listed}{error}" + (f" and {len(several) - 5} more" if several[5:] else "")


def share(found: Any, model: Any, *, by: Blocks = "parameter", parameters: Any = None) -> Share:
    """The squared mass of an eigenvector in each block of the parameters: the answer to "which layer".

    Of a preconditioned matrix it is that of its own eigenvector, which does not depend on the units of the parameters.

    Args:
        found: Eigenvalues (their first vector), or a vector [p].
        model: The module, or an operator that knows its parameters (`.shapes`), or shapes by name.
        by: `"parameter"`: each tensor. `"module"`: the module that holds it. An integer: the first so many parts of the
            name, 1 for the children of the model.
        parameters: The variables, as in `hessian`, where a module is given.

    Raises:
        KindError: An argument is of another kind.
        ShapeError: The vector does not have one entry per parameter.
        DataError: It is zero or not finite.
        ParameterError: `by` is not one of these.

    Cost: one pass over the vector; no products.

    Example:
        >>> shares = share(torch.tensor([3.0, 0.0, 4.0]), nn.Sequential(nn.Linear(2, 1)))
        >>> [(name, round(value, 6)) for name, value in shares.shares.items()]
        [('0.bias', 0.64), ('0.weight', 0.36)]
    """
    vector, error = _vector(found)
    shapes = _shapes(model, parameters)
    sizes = [math.prod(shape) for shape in shapes.values()]
    if vector.ndim != 1 or len(vector) != sum(sizes):
        raise ShapeError(
            f"`found` must hold a vector with one entry per parameter, {sum(sizes)}, got {list(vector.shape)}; pass "
            "the model, or the `parameters`, that it was computed for"
        )
    total = float(vector.square().sum())
    if not total > 0 or not math.isfinite(total):
        raise DataError("`found` must hold a finite vector that is not zero; pass an eigenvector")
    masses: dict[str, float] = {}
    for name, part in zip(shapes, vector.split(sizes), strict=True):
        block = _block(name, by)
        masses[block] = masses.get(block, 0.0) + float(part.square().sum()) / total
    ordered = dict(sorted(masses.items(), key=lambda item: -item[1]))
    return Share(shares=ordered, error=error, by=by if isinstance(by, str) else f"{by} parts of the name")


def _vector(found: Any) -> tuple[Tensor, float]:
    """The vector in float64, and sin Θ of it."""
    if isinstance(found, Tensor):
        return found.detach().to(torch.float64), math.nan
    if not isinstance(found, Eigenvalues):
        raise KindError(f"`found` must be Eigenvalues or a vector, got {type(found).__name__}; pass eigenvalues(…)")
    gap = float(found.gaps[0])
    sine = min(float(found.residuals[0]) / gap, 1.0) if gap > 0 else math.nan
    return found.vectors[:, 0].detach().to(torch.float64), sine


def _shapes(model: Any, parameters: Any) -> dict[str, Any]:
    if isinstance(model, nn.Module):
        chosen = select_parameters(unwrapped(model), parameters)
        return {name: parameter.shape for name, parameter in chosen.items()}
    shapes = model if isinstance(model, Mapping) else getattr(model, "shapes", None)
    if shapes is None:
        shapes = getattr(getattr(model, "inner", None), "shapes", None)  # of a preconditioned operator
    if not isinstance(shapes, Mapping):
        raise KindError(
            f"`model` must be a module or an operator that knows its parameters, got {type(model).__name__}; pass the "
            "module"
        )
    return dict(shapes)


def _block(name: str, by: Blocks) -> str:
    if by == "parameter":
        return name
    if by == "module":
        return name.rpartition(".")[0]
    if isinstance(by, bool) or not isinstance(by, int) or by < 1:
        raise ParameterError(f"`by` must be 'parameter', 'module' or an integer ≥ 1, got {by!r}; pass 1 for children")
    return ".".join(name.split(".")[:by])
