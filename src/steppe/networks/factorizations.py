"""Lists of matrices W_1, …, W_L that multiply to a given one: checks, factors, and minimizers made to order."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from steppe.core import (
    DataError,
    DtypeError,
    KindError,
    ParameterError,
    ShapeError,
    check_inputs,
    check_integer,
    check_number,
    check_same_place,
    generator,
)
from steppe.theory import end_to_end_minimizer


def check_matrices(layers: Any) -> list[Tensor]:
    """`layers` as floating matrices that multiply, W_1 first. Plain lists and arrays become float64 tensors.

    Raises:
        KindError: It is no list of matrices.
        ShapeError: It is empty, or neighbours do not multiply.
        DtypeError: The dtypes differ or are not floating.
    """
    if isinstance(layers, Tensor | str | nn.Module) or not isinstance(layers, Iterable):
        remedy = "use DeepLinear.from_sequential first" if isinstance(layers, nn.Module) else "pass [W_1, …, W_L]"
        raise KindError(f"`layers` must be a DeepLinear or a list of matrices, got {type(layers).__name__}; {remedy}")
    matrices = [check_matrix(f"W_{index}", layer, of="layer") for index, layer in enumerate(layers, 1)]
    if not matrices:
        raise ShapeError("`layers` must hold at least one matrix, got none; pass [W_1, …, W_L]")
    previous: int | None = None
    for index, matrix in enumerate(matrices, 1):
        if matrix.ndim != 2 or 0 in matrix.shape or (previous is not None and matrix.shape[1] != previous):
            expected = f"[d_{index}, {'d_0' if previous is None else previous}]"
            raise ShapeError(
                f"W_{index} must have shape {expected}, got {list(matrix.shape)}; W_1 acts first: W_L … W_1 x"
            )
        if not matrix.is_floating_point() or matrix.dtype != matrices[0].dtype:
            raise DtypeError(
                f"W_{index} must have W_1's floating dtype, {matrices[0].dtype}, got {matrix.dtype}; convert it"
            )
        check_same_place(matrices[0], matrix, names=(f"W_{index}",))
        previous = matrix.shape[0]
    return matrices


def check_matrix(name: str, value: Any, *, of: str = "matrix") -> Tensor:
    """`value` as a tensor; lists and arrays become float64. Its shape and dtype are not checked.

    Raises:
        KindError: It is nothing of the kind.
    """
    if isinstance(value, Tensor):
        return value
    try:
        return torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise KindError(f"{name} must be a {of} of numbers, got {type(value).__name__}; pass a tensor") from error


def layer_matrices(layers: Any) -> list[Tensor]:
    """The matrices W_1, …, W_L of a `DeepLinear` or of a list, detached, finite, in float64.

    Narrower dtypes are upcast exactly.

    Args:
        layers: A `DeepLinear`, or matrices [d_l, d_{l−1}], W_1 first.

    Raises:
        KindError: It is neither.
        ShapeError: It is empty, or neighbours do not multiply.
        DtypeError: The dtypes differ or are not floating.
        DataError: A matrix is not finite.
    """
    inside = getattr(layers, "layers", None)
    matrices = check_matrices(list(inside) if isinstance(inside, nn.ParameterList) else layers)
    for index, matrix in enumerate(matrices, 1):
        if not torch.isfinite(matrix).all():
            raise DataError(
                f"W_{index} must be finite, got NaN or infinite entries; the weights have diverged, use earlier ones"
            )
    return [matrix.detach().to(torch.float64) for matrix in matrices]


def target_matrix(target: Any) -> Float[Tensor, "k d"]:
    """A target M [d_L, d_0], detached, finite, in float64.

    Args:
        target: A floating tensor, an array or a list of lists.

    Raises:
        KindError: It is nothing of the kind.
        ShapeError: It is no matrix.
        DtypeError: It is a tensor that is not floating.
        DataError: It is empty or not finite.
    """
    return check_inputs(check_matrix("`target`", target), name="target").detach().to(torch.float64)


def factors(
    layers: Any, data: Float[Tensor, "n d"] | None = None
) -> tuple[list[Float[Tensor, "_ _"]], list[Float[Tensor, "_ _"]]]:
    """The factors A_i = W_L ⋯ W_{i+1} and B_i = W_{i−1} ⋯ W_1, with W_L ⋯ W_1 = A_i W_i B_i for every i.

    Args:
        layers: A `DeepLinear`, or matrices [d_l, d_{l−1}], W_1 first; float64 is used.
        data: Inputs x [n, d_0], one row per sample; then B_i is B_i X with X = xᵀ.

    Returns:
        [A_1, …, A_L] with A_i [d_L, d_i] and A_L = I, and [B_1, …, B_L] with B_i [d_{i−1}, d_0 or n] and B_1 = I or X.

    Raises:
        SteppeError: As `layer_matrices`; DataError or ShapeError for the data.

    Cost: 2 (L − 1) matrix products.

    Example:
        >>> after, before = factors([[[2.0]], [[3.0]], [[5.0]]])
        >>> [a.item() for a in after], [b.item() for b in before]
        ([15.0, 5.0, 1.0], [1.0, 2.0, 6.0])
    """
    matrices = layer_matrices(layers)
    place: dict[str, Any] = {"dtype": torch.float64, "device": matrices[0].device}
    after = [torch.eye(matrices[-1].shape[0], **place)]
    for matrix in reversed(matrices[1:]):
        after.insert(0, after[0] @ matrix)
    if data is None:
        before = [torch.eye(matrices[0].shape[1], **place)]
    else:
        before = [check_inputs(data, name="data", inputs=matrices[0].shape[1]).to(torch.float64).T]
    for matrix in matrices[:-1]:
        before.append(matrix @ before[-1])
    return after, before


def balanced_layers(target: Any, sizes: Sequence[int], *, seed: int) -> list[Tensor]:
    """W_l = Q_l Σ^{1/L} Q_{l−1}ᵀ for the target U Σ Vᵀ, with Q_0 = V, Q_L = U and random orthonormal Q_l between."""
    matrix, dims = _checked_target(target, sizes)
    left, values, right = _nonzero_svd(matrix, dims)
    bases = _random_bases(left, right, dims, seed)
    return _joined(bases, values.pow(1 / (len(dims) - 1)))


def spread_layers(target: Any, sizes: Sequence[int], *, spread: float, seed: int) -> list[Tensor]:
    """A minimizer drawn at random: balanced layers plus idle units, then a random change of basis in each hidden layer.

    Idle units: W_l gets C_l N_l C_{l−1}ᵀ, where the columns of C_l complete Q_l to a basis and N_l is Gaussian, but
    zero for one layer, so that the product stays. Then W_l → G_l W_l G_{l−1}⁻¹ with G_0 = G_L = I and G_l of random
    singular vectors, whose logarithms of singular values are N(0, spread²).
    """
    matrix, dims = _checked_target(target, sizes)
    size = check_number("spread", spread, minimum=0.0)
    left, values, right = _nonzero_svd(matrix, dims)
    bases = _random_bases(left, right, dims, seed)
    layers = _joined(bases, values.pow(1 / (len(dims) - 1)))
    if size == 0 or len(layers) == 1:
        return layers
    rng = generator("networks.factorization.spread", seed)
    scale = size * (float(values[0]) if len(values) else 1.0) ** (1 / len(layers))
    layers = _with_idle_units(layers, bases, scale, rng)
    last = torch.eye(dims[0], dtype=torch.float64)
    inverses = [last]
    for index, width in enumerate(dims[1:-1]):
        left_basis, right_basis = (_orthonormal(width, width, rng) for _ in range(2))
        logs = size * torch.randn(width, generator=rng, dtype=torch.float64)
        layers[index] = (left_basis * logs.exp()) @ (right_basis.T @ layers[index])
        inverses.append((right_basis * (-logs).exp()) @ left_basis.T)
    return [layer @ inverse for layer, inverse in zip(layers, inverses, strict=True)]


def regularized_layers(
    target: Any, sizes: Sequence[int], *, weight: float | Sequence[float], scale: float, seed: int
) -> list[Tensor]:
    """A global minimizer of scale · ‖M − W‖_F² + Σ_l weight_l ‖W_l‖_F², with random orthonormal bases between."""
    matrix, dims = _checked_target(target, sizes)
    best = end_to_end_minimizer(matrix.numpy(), weight, dims, scale=scale)
    kept = best.rank
    left, right = (torch.from_numpy(part[:, :kept].copy()) for part in (best.left, best.right))
    bases = _random_bases(left, right, dims, seed)
    layers = _joined(bases, torch.from_numpy(best.singular_values[:kept].copy()).pow(1 / (len(dims) - 1)))
    return [layer * (best.weight / own) ** 0.5 for layer, own in zip(layers, best.weights, strict=True)]


def _checked_target(target: Any, sizes: Sequence[int]) -> tuple[Tensor, list[int]]:
    matrix = target_matrix(target).cpu()
    if isinstance(sizes, str) or not isinstance(sizes, Sequence):
        raise KindError(f"`sizes` must be a list of integers, got {type(sizes).__name__}; pass [d_0, d_1, …, d_L]")
    dims = [check_integer(f"sizes[{index}]", size, minimum=1) for index, size in enumerate(sizes)]
    if len(dims) < 2 or [dims[-1], dims[0]] != list(matrix.shape):
        raise ShapeError(
            f"`sizes` must be [d_0, …, d_L] with a target [d_L, d_0], got {dims} and {list(matrix.shape)}; "
            f"pass [{matrix.shape[1]}, …, {matrix.shape[0]}]"
        )
    return matrix, dims


def _nonzero_svd(matrix: Tensor, dims: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Singular vectors and values above rounding, if all layers are wide enough for them."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    rank = int((values > torch.finfo(torch.float64).eps * max(matrix.shape) * values[0]).sum())
    if min(dims) < rank:
        raise ParameterError(
            f"`sizes` must be ≥ the rank of `target`, {rank}, got {dims}; widen the hidden layers, or no product of "
            "them is the target"
        )
    return left[:, :rank], values[:rank], right[:rank].T


def _random_bases(left: Tensor, right: Tensor, dims: list[int], seed: int) -> list[Tensor]:
    """Q_0 = V, random orthonormal columns, Q_L = U."""
    rng = generator("networks.factorization", seed)
    return [right, *(_orthonormal(width, left.shape[1], rng) for width in dims[1:-1]), left]


def _joined(bases: list[Tensor], root: Tensor) -> list[Tensor]:
    return [(after * root) @ before.T for before, after in pairwise(bases)]


def _orthonormal(rows: int, columns: int, rng: torch.Generator) -> Tensor:
    """Uniformly random orthonormal columns."""
    q, r = torch.linalg.qr(torch.randn(rows, columns, generator=rng, dtype=torch.float64))
    return q * torch.where(r.diagonal() < 0, -1.0, 1.0)


def _with_idle_units(layers: list[Tensor], bases: list[Tensor], scale: float, rng: torch.Generator) -> list[Tensor]:
    """Layers plus paths through what the bases leave free; one layer has none of them, so that the product stays."""
    rank = bases[0].shape[1]
    free = [torch.linalg.qr(basis, mode="complete").Q[:, rank:] for basis in bases[1:-1]]
    ends = [torch.eye(len(bases[0]), dtype=torch.float64), *free, torch.eye(len(bases[-1]), dtype=torch.float64)]
    cut = int(torch.randint(len(layers), (), generator=rng))
    mixed = []
    for index, (layer, (before, after)) in enumerate(zip(layers, pairwise(ends), strict=True)):
        normal = torch.randn(after.shape[1], before.shape[1], generator=rng, dtype=torch.float64)
        idle = scale * after @ normal @ before.T / max(before.shape[1], 1) ** 0.5
        mixed.append(layer if index == cut else layer + idle)
    return mixed
