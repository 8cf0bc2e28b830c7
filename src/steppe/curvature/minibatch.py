"""Stability of mini-batch gradient descent at an interpolating shallow network, in closed form.

At such a point the Hessian of a sample's loss is J_iᵀ J_i with its Jacobian J_i [k, p], so that everything reduces to
the Gram matrix K = J Jᵀ [nk, nk] of all Jacobians; no p × p matrix is formed.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import (
    DataError,
    Estimate,
    KindError,
    SquaredLoss,
    check_integer,
    check_number,
    check_same_place,
    check_targets,
)
from steppe.linalg import SymmetricOperator, extreme_eigenvalues
from steppe.networks import ShallowProducts, ShallowReLU

_CRITERION = "Wu, Ma, E (NeurIPS 2018), Theorem 1 (recalled); reduced to Gram matrices (derived)"
_EXACT = "second moments of linearised SGD; reduced to Gram matrices (derived)"
_RTOL = 1e-9  # of eigenvalues of the second-moment operator


@dataclass(frozen=True, eq=False)
class SGDStability:
    """What decides whether SGD stays at an interpolating minimum; batches of B out of n without replacement.

    With H_i the Hessian of one sample's loss, H their mean and Σ the mean of H_i² − H²: the sharpness a is λ_max(H),
    the non-uniformity s = λ_max(Σ^½). The *criterion* is λ_max[(I − ηH)² + η² c Σ] ≤ 1, c = (n − B)/(B(n − 1)): the
    mean squared distance grows from no start in no step. It is sufficient. `exact` asks for the second moments of the
    linearised iteration not to grow in the long run. Both concern the directions that change an output at a sample;
    along the others nothing moves. Necessary for the criterion are a ≤ 2/η and s ≤ (1/η) √(B(n − 1)/(n − B)); only the
    first is necessary for stability itself.

    Args:
        gram: K [nk, nk], samples first, outputs second.
        samples: n.
        residual: Root mean squared residual; the closed form is that of residual zero.
    """

    gram: Float[Tensor, "nk nk"]
    samples: int
    residual: float = 0.0

    @cached_property
    def _basis(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues and eigenvectors of K on its range."""
        values, vectors = torch.linalg.eigh(self.gram)
        kept = values > len(values) * torch.finfo(values.dtype).eps * values[-1]
        return values[kept], vectors[:, kept]

    @cached_property
    def _own(self) -> Tensor:
        """UᵀDU with D the blocks of K that belong to one sample."""
        _, vectors = self._basis
        return vectors.T @ self._diagonal(self.gram) @ vectors

    def _diagonal(self, matrix: Tensor) -> Tensor:
        """The [k, k] blocks of single samples; everything else zero."""
        k = len(matrix) // self.samples
        each = torch.arange(self.samples, device=matrix.device).repeat_interleave(k)
        return matrix * (each[:, None] == each)

    @property
    def sharpness(self) -> Estimate:
        """The largest eigenvalue a of H, which is that of K/n; at zero residual the sharpness of the loss."""
        return self._estimate(float(self._basis[0][-1]) / self.samples, "sharpness", "H = (1/n) Σ H_i at zero residual")

    @property
    def non_uniformity(self) -> Estimate:
        """The largest eigenvalue s of Σ^½; zero iff all samples have the same Hessian."""
        values, _ = self._basis
        root = values.sqrt()
        spread = (root[:, None] * self._own * root - (values.square() / self.samples).diag()) / self.samples
        top = max(float(torch.linalg.eigvalsh(spread)[-1]), 0.0)
        return self._estimate(top**0.5, "non-uniformity", "Σ = (1/n) Σ H_i² − H²")

    def growth(self, step_size: float, *, batch_size: int, exact: bool = False) -> Estimate:
        """By which factor the mean squared distance may grow in a step, on the directions that change an output.

        Args:
            step_size: η > 0.
            batch_size: B in 1..n.
            exact: The asymptotic factor of second moments instead of the largest growth in one step.

        Returns:
            The factor; `theory.sgd_growth` on the matrices H_i is the larger of this and 1 (the other directions).

        Raises:
            ParameterError: A number is out of range.

        Cost: O((nk)³) once; `exact` takes as much for each of some tens of products.
        """
        step, batch = check_number("step_size", step_size, above=0.0), self._batch(batch_size)
        values, _ = self._basis
        if exact:
            sums = (values[:, None] + values) / self.samples

            def product(moment: Tensor) -> Tensor:
                return moment - step * sums * moment + step**2 * self._pushed(moment, batch)

            top = self._largest(product)
            value, error = float(top.values[0]), float(top.residuals[0])
            return self._estimate(value, "growth of second moments per step", _EXACT, batch, error=error)
        root = values.sqrt()
        middle = step**2 / self.samples * root[:, None] * self._mixed(batch) * root
        change = middle - (2 * step / self.samples * values).diag()
        value = 1 + float(torch.linalg.eigvalsh(change)[-1])
        return self._estimate(value, "largest growth in one step", _CRITERION, batch)

    def largest_step(self, *, batch_size: int, exact: bool = False) -> Estimate:
        """The largest step at which SGD with this batch size is stable.

        By the criterion 2/λ_max(P[(1 − c) K/n + cD]P), with D the single-sample blocks of K and P the projection on its
        range (derived): 2/a for full batches and, if K is regular, 2/max_i λ_max(K_ii) for single samples. With `exact`
        it is the step beyond which second moments grow, never smaller, at most 2/a.

        Args:
            batch_size: B in 1..n.
            exact: Second moments instead of the criterion.

        Raises:
            ParameterError: B is not in 1..n.
        """
        batch = self._batch(batch_size)
        if not exact:
            value = 2 / float(torch.linalg.eigvalsh(self._mixed(batch))[-1])
            return self._estimate(value, "largest step by the criterion", _CRITERION, batch)
        values, _ = self._basis
        scale = (self.samples / (values[:, None] + values)).sqrt()
        top = self._largest(lambda moment: scale * self._pushed(scale * moment, batch))
        rate = float(top.values[0])
        error = float(top.residuals[0]) / rate**2
        return self._estimate(1 / rate, "largest step by second moments", _EXACT, batch, error=error)

    def smallest_batch(self, step_size: float, *, exact: bool = False) -> int | None:
        """The smallest batch size that is stable for a step, or None if not even full batches are (η > 2/a).

        Args:
            step_size: η > 0.
            exact: Second moments instead of the criterion.

        Raises:
            ParameterError: The step is not positive.
        """
        step = check_number("step_size", step_size, above=0.0)

        def stable(batch: int) -> bool:
            return step <= self.largest_step(batch_size=batch, exact=exact).value

        low, high = 1, self.samples
        if not stable(high):
            return None
        while low < high:  # noise falls with the batch, in the order of positive maps
            middle = (low + high) // 2
            low, high = (low, middle) if stable(middle) else (middle + 1, high)
        return low

    def _batch(self, batch_size: int) -> int:
        return check_integer("batch_size", batch_size, minimum=1, maximum=self.samples)

    def _mixed(self, batch: int) -> Tensor:
        """(1 − c) K/n + cD in the basis."""
        n = self.samples
        c = (n - batch) / (batch * (n - 1)) if n > 1 else 0.0
        return c * self._own + ((1 - c) / n * self._basis[0]).diag()

    def _pushed(self, moment: Tensor, batch: int) -> Tensor:
        """Rᵀ E[D_B (R M Rᵀ) D_B] R / B² with R = UΛ^½: the term in η² of second moments M; D_B selects a batch."""
        n, (values, vectors) = self.samples, self._basis
        pair = (batch - 1) / (batch * n * (n - 1)) if n > 1 else 1.0
        roots = vectors * values.sqrt()
        outputs = roots @ moment @ roots.T
        kept = pair * outputs + (1 / (batch * n) - pair) * self._diagonal(outputs)
        return roots.T @ kept @ roots

    def _largest(self, product: Any) -> Any:
        """The largest eigenvalue of a symmetric map of symmetric matrices; the spectral radius of a positive one."""
        r = len(self._basis[0])

        def columns(block: Tensor) -> Tensor:
            moments = block.T.reshape(-1, r, r)
            images = [product((m + m.T) / 2) for m in moments]
            return torch.stack([(m + m.T).reshape(-1) / 2 for m in images], dim=1)

        start = torch.eye(r, dtype=self.gram.dtype).reshape(-1)
        operator = SymmetricOperator(columns, r * r)
        return extreme_eigenvalues(operator, rtol=_RTOL, start=start, confirm=False)

    def _estimate(
        self, value: float, quantity: str, source: str, batch: int | None = None, *, error: float | None = None
    ) -> Estimate:
        batches = "" if batch is None else f"; batches of {batch} of {self.samples} without replacement"
        residual = f"; at zero residual, here its root mean square is {self.residual:.2g}" if self.residual else ""
        known: dict[str, Any] = {} if error is None else {"error": error, "error_kind": "residual"}
        return Estimate(
            value=value,
            backend="closed form",
            convention=SquaredLoss().convention + batches + residual,
            source=source,
            quantity=quantity,
            **known,
        )


def sgd_stability(network: ShallowReLU, x: Float[Tensor, "n d"], y: Float[Tensor, "n k"] | None = None) -> SGDStability:
    """Stability of SGD at an interpolating shallow network under the squared loss (1/2n) Σ ‖f(x_i) − y_i‖².

    Args:
        network: A shallow ReLU network, any number of inputs and outputs, with or without skip connection.
        x: Inputs.
        y: Targets; only their residual is reported. None takes the network's own outputs.

    Returns:
        Sharpness, non-uniformity, growth factors, largest stable step and smallest stable batch size.

    Raises:
        KindError: It is no `ShallowReLU`.
        ShapeError: The data do not fit it.
        DataError: Data or weights are not finite.

    Cost: O(n²(m + d)k²) for the Gram matrix and O((nk)³) for its eigenvalues; memory (nk)².

    Example:
        >>> one = ShallowReLU.from_weights([[1.0]], [0.0], [1.0])
        >>> x = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)  # gradients (1, −1, 1, 1) and (0, 0, 0, 1)
        >>> found = sgd_stability(one, x)
        >>> found.largest_step(batch_size=1).value  # 2/max ‖∇f‖²
        0.5
    """
    if not isinstance(network, ShallowReLU):
        raise KindError(
            f"`network` must be a ShallowReLU, got {type(network).__name__}; for other models pass their per-sample "
            "Hessians to theory.sgd_growth"
        )
    network.check(x)
    exact = network.copy(dtype=torch.float64)
    if not all(bool(torch.isfinite(p).all()) for p in exact.parameters()):
        raise DataError("the weights of `network` must be finite, got NaN or infinity; training has diverged")
    residual = 0.0
    if y is not None:
        check_targets(y, (len(x), network.outputs))
        check_same_place(network, y, names=("y",))
    with torch.no_grad():
        products = ShallowProducts(exact, x.detach().double())
        if y is not None:
            residual = float((products.outputs - y.double()).square().sum(dim=1).mean().sqrt())
        return SGDStability(products.gram().cpu(), len(x), residual)
