"""A primal-dual interior point for the cone programs of column generation, where every neuron is one block.

The program: minimise ½ x'P x − c'x + alpha · Σ t_k over x = (u_1, …, u_K, beta) subject to ‖u_k‖ ≤ t_k and
A_k u_k ≥ 0. After elimination of t_k and of the slacks one dense matrix P + blocks is left, which LAPACK
factors; a sparse solver would fill the same matrix in much slowlier. Nesterov–Todd scaling, Mehrotra's
predictor and corrector, infeasible start.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs

from .neuron_set import Array


@dataclass(frozen=True)
class ConeAnswer:
    """Where the interior point stopped.

    Args:
        u: One vector per neuron.
        beta: The free variables.
        slack: A_k u_k of every row, positive.
        multiplier: Dual variable of every row, positive.
        error: Relative complementarity or residual, the larger.
        iterations: Steps taken.
    """

    u: Array
    beta: Array
    slack: Array
    multiplier: Array
    error: float
    iterations: int


class _Scaling:
    """Nesterov–Todd scaling of one point (rows: s, z; norms: S, T with S = (t, u))."""

    def __init__(self, s: Array, z: Array, S: Array, T: Array) -> None:
        self.w = np.sqrt(s / z)
        self.low = np.sqrt(s * z)
        det_s, det_t = _determinant(S), _determinant(T)
        a, b = S / np.sqrt(det_s)[:, None], T / np.sqrt(det_t)[:, None]
        gamma = np.sqrt((1 + np.einsum("kj,kj->k", a, b)) / 2)
        bar = a.copy()
        bar[:, 0] += b[:, 0]
        bar[:, 1:] -= b[:, 1:]
        self.bar = bar / (2 * gamma)[:, None]
        self.eta = (det_s / det_t) ** 0.25
        self.norm = self.times(T)

    def times(self, v: Array) -> Array:
        """W v on the norm cones."""
        return self.eta[:, None] * _hyperbolic(self.bar, v, 1.0)

    def divide(self, v: Array) -> Array:
        """W⁻¹ v on the norm cones."""
        return _hyperbolic(self.bar, v, -1.0) / self.eta[:, None]

    def square_inverse(self, v: Array) -> Array:
        """W⁻² v on the norm cones."""
        return self.divide(self.divide(v))


def _hyperbolic(bar: Array, v: Array, sign: float) -> Array:
    """[[b0, ±b1'], [±b1, I + b1 b1'/(1 + b0)]] v for each cone."""
    inner = np.einsum("kj,kj->k", bar[:, 1:], v[:, 1:])
    out = np.empty_like(v)
    out[:, 0] = bar[:, 0] * v[:, 0] + sign * inner
    out[:, 1:] = v[:, 1:] + (sign * v[:, 0] + inner / (1 + bar[:, 0]))[:, None] * bar[:, 1:]
    return out


def _determinant(v: Array) -> Array:
    size = np.sqrt(np.einsum("kj,kj->k", v[:, 1:], v[:, 1:]))
    return np.maximum((v[:, 0] - size) * (v[:, 0] + size), 1e-300)


def _jordan(a: Array, b: Array) -> Array:
    out = a[:, :1] * b + b[:, :1] * a
    out[:, 0] = np.einsum("kj,kj->k", a, b)
    return out


def _jordan_solve(a: Array, d: Array) -> Array:
    out = np.empty_like(d)
    out[:, 0] = (a[:, 0] * d[:, 0] - np.einsum("kj,kj->k", a[:, 1:], d[:, 1:])) / _determinant(a)
    out[:, 1:] = (d[:, 1:] - out[:, :1] * a[:, 1:]) / a[:, :1]
    return out


def _longest(s: Array, ds: Array, S: Array, dS: Array) -> float:
    """The largest step that keeps both kinds of cone, at most infinity."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.max(-ds / s, initial=0.0)
        a = dS[:, 0] ** 2 - np.einsum("kj,kj->k", dS[:, 1:], dS[:, 1:])
        b = S[:, 0] * dS[:, 0] - np.einsum("kj,kj->k", S[:, 1:], dS[:, 1:])
        c = _determinant(S)
        inverse = (np.sqrt(np.maximum(b * b - a * c, 0.0)) - b) / c
    return 1.0 / max(float(ratio), float(np.max(inverse, initial=0.0)), 1e-300)


@dataclass
class _Point:
    """All variables of the interior point."""

    x: Array
    t: Array
    s: Array
    z: Array
    S: Array
    T: Array


class ConeProgram:
    """Minimise ½ x'P x − c'x + alpha · Σ t_k with ‖(u_k)_penalised‖ ≤ t_k and rows_k u_k ≥ 0.

    Args:
        quadratic: P, of size K·D + q, positive semidefinite; the q last variables are free.
        linear: c.
        rows: A_k for every neuron, [K, R, D].
        alpha: Weight of the norms, positive.
        penalised: Number of leading coordinates of u_k inside the norm.
        tol: Relative complementarity and residuals to reach.
        max_iter: Limit of steps.
    """

    def __init__(
        self,
        quadratic: Array,
        linear: Array,
        rows: Array,
        alpha: float,
        penalised: int,
        *,
        tol: float = 1e-10,
        max_iter: int = 60,
    ) -> None:
        self.P, self.c, self.rows, self.alpha, self.p = quadratic, linear, rows, alpha, penalised
        self.tol, self.max_iter = tol, max_iter
        self.K, self.R, self.D = rows.shape
        self.degree = self.K * (self.R + 1)

    def solve(self, u: Array, beta: Array) -> ConeAnswer:
        """The optimum, from the directions u as a hint for the starting slacks."""
        at = self._start(u, beta)
        steps = 0
        best: tuple[float, Array, Array, Array] = (np.inf, at.x, at.s, at.z)
        unit = max(float(np.abs(self.c).max(initial=0.0)), self.alpha)
        size = max(float(np.abs(at.s).max(initial=0.0)), float(at.t.max()))
        while steps < self.max_iter:
            steps += 1
            residuals = self._residuals(at)
            gap = float(np.sum(at.s * at.z) + np.sum(at.S * at.T))
            scale = abs(0.5 * float(at.x @ self.P @ at.x) - float(self.c @ at.x)) + self.alpha * float(at.t.sum())
            error = max(gap / max(scale, 1e-300), float(np.abs(residuals[0]).max()) / unit)
            error = max(error, float(max(np.abs(r).max(initial=0.0) for r in residuals[1:])) / size)
            if not np.isfinite(error):
                break
            if error < best[0]:
                best = (error, at.x, at.s, at.z)
            if error <= self.tol:
                break
            # Rounding ends the descent a little above or below the tolerance; the best point so far is kept.
            with np.errstate(all="ignore"):
                if not self._step(at, residuals, gap):
                    break
        error, x, s, z = best
        count = self.K * self.D
        return ConeAnswer(x[:count].reshape(self.K, self.D), x[count:], s, z, error, steps)

    def _start(self, u: Array, beta: Array) -> _Point:
        """Slacks pushed off the boundary, duals on the central path of that point."""
        x = np.concatenate([u.ravel(), beta])
        size = np.sqrt(np.einsum("kj,kj->k", u[:, : self.p], u[:, : self.p]))
        typical = max(float(size.mean()), 1e-3)
        t = 1.2 * size + 0.3 * typical
        s = np.einsum("krd,kd->kr", self.rows, u)
        s = np.maximum(s, 0.1 * typical)
        S = np.concatenate([t[:, None], u[:, : self.p]], axis=1)
        mu = 0.1 * self.alpha * typical
        T = np.empty_like(S)
        T[:, 0] = self.alpha
        T[:, 1:] = -self.alpha * u[:, : self.p] / t[:, None]
        return _Point(x, t, s, mu / s, S, T)

    def _residuals(self, at: _Point) -> tuple[Array, Array, Array]:
        u = at.x[: self.K * self.D].reshape(self.K, self.D)
        first = self.P @ at.x - self.c
        block = first[: self.K * self.D].reshape(self.K, self.D)
        block -= np.einsum("krd,kr->kd", self.rows, at.z)
        block[:, : self.p] -= at.T[:, 1:]
        second = at.s - np.einsum("krd,kd->kr", self.rows, u)
        third = at.S - np.concatenate([at.t[:, None], u[:, : self.p]], axis=1)
        return first, second, third

    def _factor(self, scaling: _Scaling) -> Any:
        K, D, p = self.K, self.D, self.p
        weighted = self.rows / (scaling.w * scaling.w)[:, :, None]
        blocks = np.matmul(self.rows.transpose(0, 2, 1), weighted)
        w0, w1, e2 = scaling.bar[:, 0], scaling.bar[:, 1:], scaling.eta**2
        blocks[:, :p, :p] -= (2 / ((2 * w0 * w0 - 1) * e2))[:, None, None] * w1[:, :, None] * w1[:, None, :]
        index = np.arange(p)
        blocks[:, index, index] += (1 / e2)[:, None]
        matrix = self.P.copy()
        view = matrix[: K * D, : K * D].reshape(K, D, K, D)
        every = np.arange(K)
        view[every, :, every, :] += blocks
        diagonal = np.einsum("ii->i", matrix)
        diagonal += 1e-14 * diagonal.max()
        factor, info = dpotrf(matrix, lower=1, overwrite_a=1, clean=0)
        return factor if info == 0 else None

    def _direction(
        self, factor: Any, scaling: _Scaling, residuals: tuple[Array, Array, Array], at: _Point, v: Array, V: Array
    ) -> tuple[Array, Array, Array, Array, Array, Array]:
        K, D, p = self.K, self.D, self.p
        first, second, third = residuals
        inverse = 1 / scaling.w
        g = inverse * (v + inverse * second)
        G = scaling.divide(V + scaling.divide(third))
        e2 = scaling.eta**2
        w0, w1 = scaling.bar[:, 0], scaling.bar[:, 1:]
        a, b = (2 * w0 * w0 - 1) / e2, (-2 * w0 / e2)[:, None] * w1
        free = G[:, 0] - (self.alpha - at.T[:, 0])
        rhs = -first
        block = rhs[: K * D].reshape(K, D)
        block += np.einsum("krd,kr->kd", self.rows, g)
        block[:, :p] += G[:, 1:] - b * (free / a)[:, None]
        dx, _ = dpotrs(factor, rhs, lower=1)
        du = dx[: K * D].reshape(K, D)
        dt = (free - np.einsum("kj,kj->k", b, du[:, :p])) / a
        ds = np.einsum("krd,kd->kr", self.rows, du) - second
        dS = np.concatenate([dt[:, None], du[:, :p]], axis=1) - third
        dz = inverse * (v - inverse * ds)
        dT = scaling.divide(V - scaling.divide(dS))
        return dx, dt, ds, dz, dS, dT

    def _step(self, at: _Point, residuals: tuple[Array, Array, Array], gap: float) -> bool:
        scaling = _Scaling(at.s, at.z, at.S, at.T)
        factor = self._factor(scaling)
        if factor is None:
            return False
        mu = gap / (self.K * (self.R + 1))
        low, norm = scaling.low, scaling.norm
        _, _, ds, dz, dS, dT = self._direction(factor, scaling, residuals, at, -low, -norm)
        step = min(1.0, _longest(at.s, ds, at.S, dS), _longest(at.z, dz, at.T, dT))
        after = np.sum((at.s + step * ds) * (at.z + step * dz)) + np.sum((at.S + step * dS) * (at.T + step * dT))
        sigma = min(max(float(after) / gap, 0.0), 1.0) ** 3
        v = -low - (ds * dz - sigma * mu) / low
        # On the norms the correction is a Jordan product in scaled variables.
        correction = _jordan(scaling.divide(dS), scaling.times(dT))
        correction[:, 0] -= sigma * mu
        V = -norm - _jordan_solve(norm, correction)
        dx, dt, ds, dz, dS, dT = self._direction(factor, scaling, residuals, at, v, V)
        step = min(1.0, 0.995 * min(_longest(at.s, ds, at.S, dS), _longest(at.z, dz, at.T, dT)))
        if not step > 1e-10:
            return False
        at.x = at.x + step * dx
        at.t, at.s, at.z = at.t + step * dt, at.s + step * ds, at.z + step * dz
        at.S, at.T = at.S + step * dS, at.T + step * dT
        return True
