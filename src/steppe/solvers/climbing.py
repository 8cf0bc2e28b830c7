"""Ascent of one neuron to a local maximum of the dual function, landing exactly on its kinks.

g(u) = Σ_i ρ_i relu(z_i·u) is maximised over vectors u of penalty norm one. Where ρ_i > 0 the kink z_i·u = 0 is convex
and never carries a local maximum; where ρ_i < 0 it is concave and usually does. The ascent walks along great circles
of the face {z_i·u = 0, i in E}, with an exact line search over all kinks that the circle crosses: it ends inside a
cell, or on a concave kink, which joins the face. At a maximum on a face the multipliers of its kinks lie in [0, 1],
else one leaves.
"""

import numpy as np

from .neuron_set import Array, Indices, Mask

_ZERO = 1e-11  # margins below this, relative to the row, lie on a kink


class Climber:
    """Climbs for one ρ; rows z_i, norm over the first `penalised` coordinates.

    Args:
        Z: Rows, [n, D].
        rho: Weights of the rows, with the sign to be maximised.
        penalised: D if all coordinates are in the norm; D − 1 if the last one, the bias, is free.
        max_steps: Limit of circles for one climb.
    """

    def __init__(self, Z: Array, rho: Array, penalised: int, *, max_steps: int | None = None) -> None:
        self.Z, self.rho, self.p = Z, rho, penalised
        self.D = Z.shape[1]
        self.free = penalised < self.D
        self.sizes = np.sqrt(np.einsum("ij,ij->i", Z, Z))
        self.max_steps = max_steps or 4 * self.D + 20
        self.concave = rho < 0
        self._last: tuple[list[int], Array] = ([], np.zeros((0, self.p)))

    def value(self, u: Array) -> float:
        """g(u) for u of penalty norm one."""
        return float(self.rho @ np.maximum(self.Z @ u, 0.0))

    def best_bias(self, w: Array) -> Array:
        """(w, b) with the best b: g is piecewise linear in b with kinks at the data, and zero far out on one side."""
        at = self.Z[:, : self.p] @ w
        order = np.argsort(at)[::-1]
        mass = np.cumsum(self.rho[order])
        values = np.cumsum(self.rho[order] * at[order]) - mass * at[order]
        knot = order[int(np.argmax(values))]
        return np.append(w, -at[knot] / self.Z[knot, -1])

    def climb(self, u: Array) -> Array:
        """A local maximum above u, of penalty norm one."""
        u = u / np.sqrt(u[: self.p] @ u[: self.p])
        if self.free:
            u = self.best_bias(u[: self.p])
        margins = self.Z @ u
        face = self._nearest(np.flatnonzero(self.concave & (np.abs(margins) <= _ZERO * self.sizes)), margins)
        pushed: tuple[int, bool] | None = None
        best, top = u, self.value(u)
        for _ in range(self.max_steps):
            if self.free and not face:
                u = self.best_bias(u[: self.p])
                margins = self.Z @ u
                face = [int(np.argmin(np.abs(margins)))]
            near = np.abs(margins) <= _ZERO * self.sizes
            active = (margins > 0) & ~near
            if pushed is not None:
                active[pushed[0]] = pushed[1]
            q = self.rho[active] @ self.Z[active]
            tangent, slope = self._tangent(face, q, u)
            if slope > 1e-13 * max(float(np.abs(q).max()), 1e-300):
                moved = self._walk(u, tangent, margins, near, face)
                if moved is not None:
                    u, margins, hit = moved
                    # Where many data points meet, the face may be left on a wrong side: the best point is kept.
                    reached = float(self.rho @ np.maximum(margins, 0.0))
                    best, top = (u, reached) if reached > top else (best, top)
                    pushed = None
                    if hit is not None and len(face) < self.D - 1:
                        face.append(hit)
                    continue
            pushed = self._release(face, q, u)
            if pushed is None:
                break
            face.remove(pushed[0])
        return best

    def _nearest(self, candidates: Indices, margins: Array) -> list[int]:
        """At most D − 1 independent rows of the candidates."""
        chosen: list[int] = []
        space = np.zeros((0, self.D))
        for i in candidates[np.argsort(np.abs(margins[candidates]))][: 4 * self.D]:
            row = self.Z[i] / self.sizes[i]
            rest = row - space.T @ (space @ row)
            size = np.sqrt(rest @ rest)
            if size > 1e-8 and len(chosen) < self.D - 1:
                chosen.append(int(i))
                space = np.vstack([space, rest / size])
        return chosen

    def _normals(self, face: list[int]) -> Array:
        """Orthonormal rows spanning the normals of the face; with a free bias those within {z_j·v = 0}, j = face[0].

        The last call is remembered: most faces are the one before and one more kink.
        """
        kept, rows = self._last
        start = 1 if self.free else 0
        if face[: len(kept)] != kept or len(face) < len(kept):
            kept, rows = face[:start], np.zeros((0, self.p))
        for i in face[max(len(kept), start) :]:
            row = self.Z[i] / self.sizes[i]
            if self.free:
                row = row - self.Z[face[0]] * (row[-1] / self.Z[face[0], -1])
            row = row[: self.p]
            size = np.sqrt(row @ row)
            for _ in range(2):  # twice against rounding
                row = row - rows.T @ (rows @ row)
            rest = np.sqrt(row @ row)
            if rest > 1e-10 * size and size > 1e-13:
                rows = np.vstack([rows, row / rest])
        self._last = (list(face), rows)
        return rows

    def _tangent(self, face: list[int], q: Array, u: Array) -> tuple[Array, float]:
        """The unit direction of steepest ascent on the face, orthogonal to u in the norm, and its slope."""
        step, anchor = q, None
        if self.free:
            anchor = self.Z[face[0]]
            step = q[: self.p] - anchor[: self.p] * (q[-1] / anchor[-1])
        whole = float(np.sqrt(step @ step))
        rows = self._normals(face)
        step = step - rows.T @ (rows @ step)
        step = step - (step @ u[: self.p]) * u[: self.p]
        size = float(np.sqrt(step @ step))
        if size <= 1e-12 * whole:
            return np.zeros(self.D), 0.0
        step = step / size
        if anchor is not None:
            step = np.append(step, -(anchor[: self.p] @ step) / anchor[-1])
        return step, float(q @ step)

    def _walk(
        self, u: Array, v: Array, margins: Array, near: Mask, face: list[int]
    ) -> tuple[Array, Array, int | None] | None:
        """To the first maximum on cos(φ) u + sin(φ) v, φ in (0, π/2], and the concave kink it lies on, if any."""
        change = self.Z @ v
        still = near.copy()
        still[face] = True
        # A point on a kink outside the face starts on the side the circle leads to.
        start = np.where(still, change > _ZERO * self.sizes, margins > 0)
        start[face] = False
        angles = np.full(len(margins), np.inf)
        crossing = ~still & ((margins > 0) == (change < 0)) & (change != 0)
        angles[crossing] = np.arctan2(np.abs(margins[crossing]), np.abs(change[crossing]))
        order = np.flatnonzero(crossing)
        order = order[np.argsort(angles[order])]
        rho_m, rho_c = self.rho * np.where(still, 0.0, margins), self.rho * np.where(still & ~start, 0.0, change)
        side = np.where(start[order], -1.0, 1.0)  # active points leave, the others join
        a = np.concatenate([[rho_m[start].sum()], side * rho_m[order]]).cumsum()
        b = np.concatenate([[rho_c[start].sum()], side * rho_c[order]]).cumsum()
        if b[0] <= 0:
            return None
        ends = np.append(angles[order], np.pi / 2)
        begins = np.concatenate([[0.0], angles[order]])
        # Slope −a sin φ + b cos φ of segment j at its end; the first segment whose end slopes down holds the maximum.
        down = -a * np.sin(ends) + b * np.cos(ends) <= 0
        down[-1] = True
        j = int(np.argmax(down))
        inside = float(np.arctan2(b[j], a[j]))
        hit: int | None = None
        if j > 0 and inside <= begins[j]:
            hit, angle = int(order[j - 1]), float(begins[j])
        else:
            angle = float(min(max(inside, begins[j]), ends[j]))
        if angle <= 1e-15:
            return None
        moved = np.cos(angle) * u + np.sin(angle) * v
        moved /= np.sqrt(moved[: self.p] @ moved[: self.p])
        after = self.Z @ moved
        after[face] = 0.0
        if hit is not None:
            after[hit] = 0.0
        return moved, after, hit

    def _release(self, face: list[int], q: Array, u: Array) -> tuple[int, bool] | None:
        """The kink whose multiplier leaves [0, 1] most and the side it goes to; None at a local maximum."""
        if not face:
            return None
        rest = q.copy()
        rest[: self.p] -= (q @ u) * u[: self.p]
        rows = self.Z[face]
        # Least squares: equal rows may share a face.
        multiplier = np.linalg.lstsq(rows.T, rest, rcond=1e-12)[0] / np.maximum(-self.rho[face], 1e-300)
        # A point of positive ρ on the face (one that the bias was put on) always leaves.
        excess = np.maximum(-multiplier, multiplier - 1.0) * np.abs(self.rho[face])
        worst = int(np.argmax(excess))
        if excess[worst] <= 1e-12 * float(np.abs(self.rho).max()):
            return None
        return face[worst], bool(multiplier[worst] > 0.5)
