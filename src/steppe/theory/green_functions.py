"""Which activation belongs to which derivative: Green's functions of differential operators on the line.

Parhi, Nowak, *The Role of Neural Network Activation Functions*, IEEE Signal Processing Letters 27, 2020. A network with
activation ρ, L ρ = δ, and free polynomials in the null space of L solves min Σ l(y_i, f(x_i)) + λ‖L f‖; if ρ is
homogeneous of degree γ − 1, ‖L f‖ = Σ |v_k| |w_k|^(γ − 1).
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from steppe.core import ParameterError, check_choice, check_number

Operator = Literal["derivative", "laplacian"]


@dataclass(frozen=True)
class GreenFunction:
    """An activation ρ with L ρ = δ.

    Args:
        operator: `"derivative"`, L = D^γ, ρ(t) = max(t, 0)^(γ − 1)/Γ(γ) (γ = 1 step, 2 ReLU); `"laplacian"`,
            L = (−d²/dt²)^(γ/2), ρ(t) = |t|^(γ − 1)/(2 Γ(γ) cos(πγ/2)) (γ = 2: −|t|/2).
        order: γ ≥ 1 for the derivative; γ > 1 and not an odd integer for the Laplacian, where the function would be
            |t|^(γ − 1)·log|t|.

    Raises:
        ParameterError: The order is out of range, or there is no such homogeneous function.

    Example:
        >>> GreenFunction("derivative", 2.0)([-1.0, 0.5]).tolist()
        [0.0, 0.5]
    """

    operator: Operator
    order: float

    def __post_init__(self) -> None:
        check_choice("operator", self.operator, ("derivative", "laplacian"))
        check_number("order", self.order, minimum=1)
        if self.operator == "laplacian" and self.order % 2 == 1:
            raise ParameterError(
                f"`order` must not be an odd integer for the Laplacian, got {self.order:g}; "
                "its Green's function has a logarithm and is not homogeneous"
            )

    @property
    def degree(self) -> float:
        """Degree of homogeneity, γ − 1: ρ(ct) = c^(γ − 1)ρ(t) for c > 0."""
        return self.order - 1

    @property
    def free_dimension(self) -> int:
        """Dimension of the polynomials of degree < γ, which are not penalized."""
        return math.ceil(self.order)

    @property
    def constant(self) -> float:
        """The factor of the power."""
        if self.operator == "derivative":
            return 1 / math.gamma(self.order)
        return 1 / (2 * math.gamma(self.order) * math.cos(math.pi * self.order / 2))

    def __call__(self, t: ArrayLike) -> NDArray[np.float64]:
        """ρ(t)."""
        values = np.asarray(t, dtype=np.float64)
        if self.operator == "laplacian":
            return np.asarray(self.constant * np.abs(values) ** self.degree)
        powers = special.xlogy(self.degree, np.where(values > 0, values, 1.0))
        return np.asarray(np.where(values > 0, self.constant * np.exp(powers), 0.0))

    def regularizer(self, w: ArrayLike, v: ArrayLike) -> float:
        """‖L f‖ = Σ |v_k| |w_k|^(γ − 1) of a network Σ v_k ρ(w_k t − b_k) whose kinks w_k⁻¹b_k differ."""
        return float(np.sum(np.abs(np.asarray(v)) * np.abs(np.asarray(w)) ** self.degree))
