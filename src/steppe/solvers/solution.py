"""A candidate network in the solvers' own coordinates: unit neurons, their sizes and the free part."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from steppe.core import ParameterError, ShapeError
from steppe.networks import ShallowReLU

if TYPE_CHECKING:
    from .problem import VariationProblem


@dataclass(frozen=True, eq=False)
class Solution:
    """f(x) = Σ_k v_k relu(w_k·x − b_k) + S(x) β with neurons (w_k, b_k) of penalty norm one.

    Args:
        u: Neurons (w_k, b_k), one per row, D = d + 1; k = 0 is an affine (or zero) function.
        v: Sizes: v_k, or one vector of c outputs per neuron.
        beta: Coefficients of the free columns [x, 1], or None without free part.
    """

    u: Float[np.ndarray, "k D"]
    v: Float[np.ndarray, "k *c"]
    beta: Float[np.ndarray, "q *c"] | None = None

    @property
    def penalty(self) -> float:
        """Σ_k ‖v_k‖₂."""
        sizes = np.abs(self.v) if self.v.ndim == 1 else row_norms(self.v)
        return float(sizes.sum())

    @property
    def width(self) -> int:
        """Number of neurons with v_k ≠ 0."""
        return int(np.count_nonzero(self.v if self.v.ndim == 1 else self.v.any(axis=1)))

    def network(self, problem: "VariationProblem") -> ShallowReLU:
        """The balanced network: every neuron has ‖(w, b)‖ = ‖v‖ (‖w‖ = ‖v‖ if the bias is free)."""
        d = problem.d
        v = self.v[:, None] if self.v.ndim == 1 else self.v
        sizes = row_norms(v)
        kept = sizes > 0
        u, v, root = self.u[kept], v[kept], np.sqrt(sizes[kept])
        if not kept.any():
            u, v, root = np.zeros((1, d + 1)), np.zeros((1, v.shape[1])), np.ones(1)
        free = self.beta is not None and len(self.beta) > 0
        beta = np.zeros((d + 1, v.shape[1]))
        if self.beta is not None and free:
            beta = self.beta[:, None] if self.beta.ndim == 1 else self.beta
        return ShallowReLU.from_weights(
            torch.from_numpy(u[:, :d] * root[:, None]),
            torch.from_numpy(u[:, d] * root),
            torch.from_numpy(np.ascontiguousarray((v / root[:, None]).T)),
            torch.from_numpy(beta[d].copy()),
            torch.from_numpy(np.ascontiguousarray(beta[:d].T)) if free else None,
        )

    @classmethod
    def from_network(cls, network: ShallowReLU, problem: "VariationProblem") -> "Solution":
        """The same function in the problem's coordinates; a neuron with w = 0 is a constant of a free part.

        Raises:
            ShapeError: Inputs or outputs do not suit the problem.
            ParameterError: The network has an affine part and the problem has none.
        """
        if network.inputs != problem.d or network.outputs != problem.outputs:
            raise ShapeError(
                f"`network` must have {problem.d} inputs and {problem.outputs} outputs, got {network.inputs} and "
                f"{network.outputs}; pass a network of the problem's shape"
            )
        w, b, v, bias = (
            parameter.detach().double().cpu().numpy()
            for parameter in (network.w, network.b, network.v, network.output_bias)
        )
        skip = None if network.skip is None else network.skip.detach().double().cpu().numpy()
        u, v = np.column_stack([w, b]), np.ascontiguousarray(v.T)
        norms = problem.penalty_norms(u)
        proper = norms > 0
        constant = np.maximum(-b[~proper], 0.0) @ v[~proper] + bias
        if problem.free.shape[1] == 0 and (constant.any() or (skip is not None and skip.any())):
            raise ParameterError(
                "`network` must have no skip connection and no output bias, got some; state the problem with skip=True"
            )
        u, v = u[proper] / norms[proper, None], v[proper] * norms[proper, None]
        beta = None
        if problem.free.shape[1]:
            beta = np.vstack([np.zeros((problem.d, problem.outputs)) if skip is None else skip.T, constant])
        if problem.y.ndim == 1:
            return cls(u, v[:, 0].copy(), None if beta is None else beta[:, 0].copy())
        return cls(u, v, beta)


def row_norms(rows: Float[np.ndarray, "k D"]) -> Float[np.ndarray, " k"]:
    """Euclidean norms of the rows, without under- or overflow of the squares."""
    if rows.size == 0:
        return np.zeros(len(rows))
    scale = np.abs(rows).max(axis=1)
    safe = np.where(scale > 0, scale, 1.0)
    return np.asarray(scale * np.sqrt(np.square(rows / safe[:, None]).sum(axis=1)))
