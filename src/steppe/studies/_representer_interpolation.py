"""The interpolant of smallest second-order Radon-domain variation, for a few points in one, two or three dimensions.

minimize Σ |v_k| subject to Σ v_k relu(u_k·x_i − t_k) + affine(x_i) = y_i over all unit u and all t. Its dual, max cᵀy
subject to |Σ c_i relu(u·x_i − t)| ≤ 1 for all u and t and Σ c_i = 0, Σ c_i x_i = 0, is solved by cutting planes: a
linear program over finitely many neurons, then all local maxima of the dual function, and again. The optimum lies
between the program's value over the largest dual value and the program's value.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from steppe.core import ComputationError, derived_seed

Array = NDArray[np.float64]
_ROUNDS = 60
_TOL = 1e-9


@dataclass(frozen=True)
class Interpolant:
    """What the program found.

    Args:
        value: Σ |v|, an upper bound of the optimum.
        maximum: Largest |dual function|; value/maximum is a lower bound.
        neurons: Rows (u, t, v) of the vertex found.
        width: Number of different neurons after neurons of one sign and one activation pattern are added up.
    """

    value: float
    maximum: float
    neurons: Array
    width: int


def smallest_variation(x: Array, y: Array, *, seed: int = 0) -> Interpolant:
    """The interpolant of smallest variation.

    Args:
        x: Distinct points [n, d], d ≤ 3, that determine affine functions.
        y: Values [n].
        seed: Of the random directions with which the program begins; it does not change the optimum.

    Raises:
        ComputationError: The linear program failed.
    """
    n, d = x.shape
    rng = np.random.default_rng(derived_seed("study.extra", seed))
    directions = rng.standard_normal((8 * d, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    atoms = np.concatenate([np.column_stack([np.repeat(u[None], n, axis=0), x @ u]) for u in directions])
    for _ in range(_ROUNDS):
        value, v, dual = _program(x, y, atoms)
        found, sizes = local_maxima(x, dual)
        if sizes.max(initial=0.0) <= 1 + _TOL:
            break
        atoms = np.concatenate([atoms[np.abs(v) > 0], atoms[-40 * n :], found[sizes > 1 + _TOL][:100]])
        atoms = np.unique(atoms, axis=0)
    kept = np.abs(v) > 1e-9 * np.abs(v).max(initial=1e-300)
    neurons = np.column_stack([atoms[kept], v[kept]])
    return Interpolant(value, float(sizes.max(initial=0.0)), neurons, _merged_width(x, neurons))


def _program(x: Array, y: Array, atoms: Array) -> tuple[float, Array, Array]:
    """Value, coefficients and dual of the linear program over these neurons; the simplex method returns a vertex."""
    n, d = x.shape
    features = np.maximum(x @ atoms[:, :d].T - atoms[:, d], 0.0)
    free = np.column_stack([x, np.ones(n)])
    k = len(atoms)
    result = linprog(
        np.concatenate([np.ones(2 * k), np.zeros(d + 1)]),
        A_eq=np.column_stack([features, -features, free]),
        b_eq=y,
        bounds=[(0, None)] * (2 * k) + [(None, None)] * (d + 1),
        method="highs-ds",
        options={"dual_feasibility_tolerance": 1e-10, "primal_feasibility_tolerance": 1e-10},
    )
    if result.status != 0:
        raise ComputationError(f"the linear program of the interpolant failed: {result.message}")
    dual = np.asarray(result.eqlin.marginals)
    basis = np.linalg.qr(free)[0]
    dual = dual - basis @ (basis.T @ dual)
    return float(result.fun), result.x[:k] - result.x[k : 2 * k], dual


def local_maxima(x: Array, dual: Array) -> tuple[Array, Array]:
    """Candidates for the maxima of |Σ c_i relu(u·x_i − t)|, best first, all local maxima among them.

    The best t for a direction is u·x_j for some j, so that n problems in u remain. In each, the function is linear on
    cones bounded by planes through d − 1 of the points x_i − x_j; a maximum lies inside a cone, on a face or on a ray,
    and next to every face there is a ray. Exact for points in general position, d ≤ 3.
    """
    n, d = x.shape
    units: list[Array] = []
    for j in range(n):
        z = x - x[j]
        others = [i for i in range(n) if i != j]
        for chosen in itertools.combinations(others, d - 1):
            normal = _normal(z[list(chosen)], d)
            if normal is not None:
                units += [np.append(u, u @ x[j]) for u in _around(z, dual, normal, list(chosen))]
    found = np.array(units)
    sizes = np.abs(np.maximum(x @ found[:, :d].T - found[:, d], 0.0).T @ dual)
    order = np.argsort(-sizes, kind="stable")
    return found[order], sizes[order]


def _normal(rows: Array, d: int) -> Array | None:
    """A unit vector orthogonal to d − 1 rows."""
    if d == 1:
        return np.ones(1)
    normal = np.array([-rows[0, 1], rows[0, 0]]) if d == 2 else np.cross(rows[0], rows[1])
    size = float(np.linalg.norm(normal))
    return normal / size if size > 1e-12 * max(1.0, float(np.abs(rows).max())) else None


def _around(z: Array, dual: Array, normal: Array, chosen: list[int]) -> list[Array]:
    """The ray itself, and the stationary directions of the faces and cones next to it, on both sides."""
    found = [normal, -normal]
    active = z @ normal > 1e-12 * np.linalg.norm(z, axis=1)
    active[chosen] = False
    for signs in itertools.product((-1, 0, 1), repeat=len(chosen)):
        on = [i for i, sign in zip(chosen, signs, strict=True) if sign > 0]
        pull = z[active].T @ dual[active] + z[on].T @ dual[on]
        still = [i for i, sign in zip(chosen, signs, strict=True) if sign == 0]
        if still:
            basis = np.linalg.qr(z[still].T)[0]
            pull = pull - basis @ (basis.T @ pull)
        size = float(np.linalg.norm(pull))
        if size > 1e-14:
            found += [pull / size, -pull / size]
    return found


def _merged_width(x: Array, neurons: Array) -> int:
    """Number of neurons when those of one sign in one closed cone of activation are added; that costs no variation."""
    d = x.shape[1]
    groups: list[tuple[float, Array]] = []
    for neuron in neurons:
        z = x @ neuron[:d] - neuron[d]
        pattern = np.where(np.abs(z) <= 1e-6, 0.0, np.sign(z))
        for index, (sign, other) in enumerate(groups):
            if sign == np.sign(neuron[-1]) and (pattern * other >= 0).all():
                groups[index] = (sign, np.where(other == 0, pattern, other))
                break
        else:
            groups.append((float(np.sign(neuron[-1])), pattern))
    return len(groups)
