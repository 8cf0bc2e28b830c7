"""Moving all neurons of a several-output network to a stationary point, kinks included.

At an optimum many neurons are exactly orthogonal to some samples. There the objective has kinks, and what follows
gradients stalls. Here relu(z) is replaced by t z − ε/2 (t − l)² with the gate t = clip(l + z/ε, 0, 1). For any l it is
smooth and lies within ε/2 of relu; and if l is a subgradient of relu that makes the network stationary, then the smooth
network is stationary at the same weights with t = l, for any ε. So ε need not vanish: after some steps of L-BFGS the
gates become the new l, the method of multipliers.
"""

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from .multi_output_data import MultiData
from .solution import row_norms

Gates = Float[np.ndarray, "n k"]


def slide(
    data: MultiData,
    u: Float[np.ndarray, "k D"],
    v: Float[np.ndarray, "k c"],
    gates: Gates,
    *,
    width: float,
    updates: int,
    steps: int,
) -> tuple[Float[np.ndarray, "m D"], Float[np.ndarray, "m c"], Float[np.ndarray, "n m"]]:
    """Neurons, sizes and gates after `updates` times `steps` steps; neurons of size zero are left out.

    The objective with weight decay on balanced weights, α/2 Σ (‖w_k‖² + ‖v_k‖²), is minimised; O(n k (D + c)) a step.

    Args:
        data: The problem.
        u: Neurons of penalty norm one.
        v: Their sizes.
        gates: l, in [0, 1].
        width: ε relative to the root mean square of the preactivations.
        updates: Of the gates.
        steps: Of L-BFGS between them.
    """
    if len(u) == 0:
        return u, v, gates
    smooth = _Smooth(data, u.shape[1], v.shape[1])
    sizes = np.sqrt(row_norms(v))
    x = np.concatenate([(u * sizes[:, None]).ravel(), (v / sizes[:, None]).ravel()])
    options = {"maxiter": steps, "maxcor": 20, "ftol": 1e-15, "gtol": 1e-10}
    for _ in range(updates):
        hidden = data.Z @ smooth.split(x)[0].T
        smooth.gates, smooth.width = gates, width * (float(np.sqrt(np.mean(hidden**2))) or 1.0)
        x = minimize(smooth, x, jac=True, method="L-BFGS-B", options=options).x
        gates = np.clip(gates + data.Z @ smooth.split(x)[0].T / smooth.width, 0.0, 1.0)
    weights, outer = smooth.split(x)
    inner = row_norms(weights[:, : data.penalised])
    kept = inner * row_norms(outer) > 1e-14
    return weights[kept] / inner[kept, None], outer[kept] * inner[kept, None], gates[:, kept]


def open_gates(data: MultiData, u: Float[np.ndarray, "k D"]) -> Gates:
    """1 where a neuron is active, else 0."""
    return (data.Z @ u.T > 0).astype(np.float64)


class _Smooth:
    """The smooth objective and its gradient as a function of one flat vector."""

    def __init__(self, data: MultiData, inputs: int, outputs: int) -> None:
        self.data, self.inputs, self.outputs = data, inputs, outputs
        self.gates: Gates = np.zeros((len(data.Z), 0))
        self.width = 1.0

    def split(self, x: Float[np.ndarray, " p"]) -> tuple[Float[np.ndarray, "k D"], Float[np.ndarray, "k c"]]:
        """Inner and outer weights."""
        k = len(x) // (self.inputs + self.outputs)
        return x[: k * self.inputs].reshape(k, self.inputs), x[k * self.inputs :].reshape(k, self.outputs)

    def __call__(self, x: Float[np.ndarray, " p"]) -> tuple[float, Float[np.ndarray, " p"]]:
        data = self.data
        weights, outer = self.split(x)
        hidden = data.Z @ weights.T
        gates = np.clip(self.gates + hidden / self.width, 0.0, 1.0)
        values = gates * hidden - self.width / 2 * (gates - self.gates) ** 2
        residual = data.without_free(data.root * (values @ outer)) - data.targets
        p = data.penalised
        decay = float((weights[:, :p] ** 2).sum() + (outer**2).sum())
        pull = data.root * residual
        d_inner = (gates * (pull @ outer.T)).T @ data.Z
        d_inner[:, :p] += data.alpha * weights[:, :p]
        d_outer = values.T @ pull + data.alpha * outer
        value = float((residual**2).sum()) / 2 + data.alpha / 2 * decay
        return value, np.concatenate([d_inner.ravel(), d_outer.ravel()])
