"""Branch and bound over cones in NumPy: what `steppe_kernels.bound_cones` does, for where it is missing.

Both sides take the same decisions up to rounding; see branching.py for the bound itself.
"""

import heapq
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

Listed = list[tuple[float, int, list[float]]]
Array = np.ndarray[Any, np.dtype[np.float64]]

_Entry = tuple[float, int, int, Array, Array, int]  # −bound, age, sign, corners, sums, problem

_BATCH, _KEPT, _APART = 512, 256, 1 - 1e-6


@dataclass
class _Cones:
    """Cones of one sign: corners v [c, D, D] in rows, sums h [c, D] of the rows that raise g, bounds, problems."""

    v: Array
    h: Array
    bound: Array
    centre: np.ndarray[Any, np.dtype[np.int64]]

    def part(self, which: Any) -> "_Cones":
        return _Cones(self.v[which], self.h[which], self.bound[which], self.centre[which])


def bound_cones(
    z: Float[np.ndarray, "n d"],
    rho: Float[np.ndarray, " n"],
    *,
    centred: bool,
    target: float,
    precision: float,
    known: float,
    halves: bool,
    early: bool,
    most_cones: int,
    steps: int,
) -> tuple[float, float, int, bool, Listed]:
    """Best value, upper bound, cones seen, whether all were pruned, and points above the target or best so far.

    Args:
        z: Rows.
        rho: Weights.
        centred: Whether to solve the n problems with rows z_i − z_j at once.
        target: Cones below it are pruned.
        precision: Cones below (1 + precision) times the best value are pruned.
        known: A value known to be reached.
        halves: Whether g is even, so that one of two opposite cones is enough.
        early: Whether to stop soon after a point above the target was found.
        most_cones: Limit.
        steps: Steps of FISTA per cone.
    """
    tree = _Tree(z, rho, target=target, precision=precision, known=known, centred=centred, steps=steps)
    tree.plant(halves=halves)
    found_at, stopped = 0, False
    while tree.open() > tree.threshold and tree.cones < most_cones and not stopped:
        tree.grow()
        if tree.found and tree.best > target and not found_at:
            found_at = tree.cones
        stopped = early and found_at > 0 and tree.cones >= 2 * found_at
    upper = max(tree.best, tree.pruned, tree.open())
    return tree.best, upper, tree.cones, tree.open() <= tree.threshold, sorted(tree.found, key=lambda point: -point[0])


class _Tree:
    """All cones not yet pruned, worst first; equal bounds by age."""

    def __init__(
        self, z: Array, rho: Array, *, target: float, precision: float, known: float, centred: bool, steps: int
    ) -> None:
        self.z, self.rho, self.centred = z, rho, centred
        self.sides = {
            sign: _Side(z[sign * rho < 0], np.abs(rho[sign * rho < 0]), z, centred=centred, steps=steps)
            for sign in (1, -1)
        }
        self.target, self.precision, self.best, self.pruned, self.cones = target, precision, known, 0.0, 0
        self.found: Listed = []
        self.heap: list[_Entry] = []
        self.age = itertools.count()

    @property
    def threshold(self) -> float:
        return max(self.target, self.best * (1 + self.precision))

    def open(self) -> float:
        """The largest bound of a cone in hand."""
        return -self.heap[0][0] if self.heap else 0.0

    def plant(self, *, halves: bool) -> None:
        """The orthants of every problem, or half of them."""
        D = self.z.shape[1]
        for centre in range(len(self.z)) if self.centred else [0]:
            corners = np.concatenate([np.eye(D), -np.eye(D)])
            raising, lowering = self._halves(corners, np.full(2 * D, centre))
            for value, w in zip(raising - lowering, corners, strict=True):
                self._meet(float(value), w, centre)
            for signs in itertools.product((0, 1), repeat=D - 1 if halves else D):
                chosen = np.arange(D) + D * np.array([*signs, *[0] * (D - len(signs))])
                for sign, sums in ((1, raising[chosen]), (-1, lowering[chosen])):
                    self._keep(float(np.sqrt(D) * sums.max()), sign, corners[chosen], sums, centre)

    def grow(self) -> None:
        """Cut the worst cones in two."""
        limit = self.threshold
        taken: list[_Entry] = []
        while self.heap and len(taken) < _BATCH and self.open() > limit:
            taken.append(heapq.heappop(self.heap))
        self.cones += 2 * len(taken)
        for sign in (1, -1):
            mine = [entry for entry in taken if entry[2] == sign]
            if mine:
                self._split(mine, sign, limit)

    def _split(self, taken: list[_Entry], sign: int, limit: float) -> None:
        v, h = np.array([entry[3] for entry in taken]), np.array([entry[4] for entry in taken])
        centre = np.array([entry[5] for entry in taken])
        first, second = _longest(v)
        each = np.arange(len(v))
        middle = v[each, first] + v[each, second]
        middle /= np.sqrt(np.square(middle).sum(axis=1))[:, None]
        raising, lowering = self._halves(middle, centre)
        v, h = np.repeat(v, 2, axis=0), np.repeat(h, 2, axis=0)
        replaced = np.column_stack([first, second]).ravel()
        every = np.arange(len(v))
        v[every, replaced] = np.repeat(middle, 2, axis=0)
        h[every, replaced] = np.repeat(raising if sign > 0 else lowering, 2)
        bounds = np.repeat([-entry[0] for entry in taken], 2)
        cones = _Cones(v, h, bounds, np.repeat(centre, 2))
        tried, points = self.sides[sign].bound(cones, limit)
        self._meet_all(middle, raising - lowering, centre)
        if len(tried):
            raising, lowering = self._halves(points, cones.centre[tried])
            self._meet_all(points, raising - lowering, cones.centre[tried])
        for k in range(len(v)):
            self._keep(float(cones.bound[k]), sign, v[k], h[k], int(cones.centre[k]))

    def _halves(self, w: Array, centre: Any) -> tuple[Array, Array]:
        """Σ max(a_i·w, 0) over the rows of positive and of negative weight, for each w."""
        T = w @ self.z.T
        if self.centred:
            T -= np.einsum("kj,kj->k", w, self.z[centre])[:, None]
        active = np.maximum(T, 0.0)
        return active @ np.maximum(self.rho, 0.0), active @ np.maximum(-self.rho, 0.0)

    def _keep(self, bound: float, sign: int, v: Array, h: Array, centre: int) -> None:
        if bound <= self.threshold:
            self.pruned = max(self.pruned, bound)
        else:
            heapq.heappush(self.heap, (-bound, next(self.age), sign, v, h, centre))

    def _meet_all(self, w: Array, values: Array, centre: Any) -> None:
        for k in np.flatnonzero(np.abs(values) > min(self.best, self.target)):
            self._meet(float(values[k]), w[k], int(centre[k]))

    def _meet(self, value: float, w: Array, centre: int) -> None:
        value = abs(value)
        if not (value > self.best or value > self.target):
            return
        self.best = max(self.best, value)
        name = centre if self.centred else -1
        for k, (other, place, at) in enumerate(self.found):
            if place == name and float(np.dot(at, w)) > _APART:
                if value > other:
                    self.found[k] = (value, name, w.tolist())
                return
        self.found.append((value, name, w.tolist()))
        if len(self.found) > _KEPT:
            self.found.remove(min(self.found))


def _longest(v: Array) -> tuple[Any, Any]:
    """The two corners of each cone that are farthest apart."""
    D = v.shape[1]
    first, second = np.triu_indices(D, 1)
    cosines = np.einsum("cij,ckj->cik", v, v)[:, first, second]
    longest = cosines.argmin(axis=1)
    return first[longest], second[longest]


class _Side:
    """The rows that lower g, for one sign of it, and the bounds that follow."""

    def __init__(self, z: Array, weight: Array, centres: Array, *, centred: bool, steps: int) -> None:
        self.z, self.weight, self.centres, self.centred, self.steps = z, weight, centres, centred, steps

    def bound(self, cones: _Cones, limit: float) -> tuple[Any, Array]:
        """Lowers `cones.bound` in place; which cones stay above the limit after FISTA, and the points to try there."""
        T = self._products(cones)
        centre = cones.v.sum(axis=1)
        size = np.sqrt(np.square(centre).sum(axis=1))
        along = np.einsum("cjk,ck->cj", cones.v, centre) / size[:, None]
        r = cones.h - np.einsum("cij,ci->cj", T, T.sum(axis=2) > 0)
        nothing = np.zeros_like(centre)
        np.minimum(cones.bound, _certified(cones.v, r, nothing, along), out=cones.bound)
        tried = np.flatnonzero((cones.bound > limit) & (r.sum(axis=1) <= limit * size))
        tried = tried[np.abs(np.linalg.det(cones.v[tried])) > 1e-30]
        part = cones.part(tried)
        u = self._descend(part, T[tried], along[tried], limit)
        cones.bound[tried] = part.bound
        length = np.sqrt(np.square(u).sum(axis=1))
        left = (part.bound > limit) & (length > 0)
        return tried[left], u[left] / length[left, None]

    def _products(self, cones: _Cones) -> Array:
        T = np.einsum("ij,ckj->cik", self.z, cones.v, optimize=True)
        if self.centred:
            T -= np.einsum("cj,ckj->ck", self.centres[cones.centre], cones.v)[:, None]
        return T * self.weight[:, None]

    def _columns(self, cones: _Cones, undecided: Any, W: Any) -> Array:
        """−a_i for the undecided rows, then the normals of the faces, of similar size."""
        shift = self.centres[cones.centre][:, None] if self.centred else 0.0
        A = np.where(undecided[:, :, None], (shift - self.z) * self.weight[:, None], 0.0)
        count = np.maximum(1, undecided.sum(axis=1))
        scale = np.where(undecided.any(axis=1), np.sqrt(np.square(A).sum(axis=(1, 2)) / count), 1.0)
        faces = W / np.sqrt(np.square(W).sum(axis=2, keepdims=True)) * scale[:, None, None]
        return np.concatenate([A, faces], axis=1)

    def _descend(self, cones: _Cones, T: Array, along: Array, limit: float) -> Array:
        """FISTA on ‖u‖² over l and the multipliers of the faces; the fewer these are, the more steps."""
        D = self.z.shape[1]
        low, high = T.min(axis=2, initial=np.inf), T.max(axis=2, initial=-np.inf)
        undecided = (low < 0) & (high > 0)
        fixed = cones.h - np.einsum("cij,ci->cj", T, low >= 0)
        W = np.linalg.inv(cones.v).transpose(0, 2, 1)  # W[k]·v_j = 1 where j = k
        columns = self._columns(cones, undecided, W)
        q = np.einsum("ck,ckj->cj", fixed, W)
        top = np.concatenate([undecided.astype(float), np.full((len(T), D), np.inf)], axis=1)
        x = np.concatenate([(T.sum(axis=2) > 0) & undecided, np.zeros((len(T), D))], axis=1)
        rate = 1 / np.maximum(_curvature(columns), 1e-300)[:, None]
        most = self.steps * np.clip(64 // (8 * ((undecided.sum(axis=1) + D + 7) // 8)), 1, 8)
        y, t, last, found = x.copy(), np.ones((len(T), 1)), np.full(len(T), np.inf), np.zeros((len(T), D))
        live, step = np.arange(len(T)), 0
        while len(live):
            step += 1
            c, before = columns[live], x[live]
            u = q[live] + np.einsum("ci,cij->cj", y[live], c)
            moved = np.clip(y[live] - rate[live] * np.einsum("cij,cj->ci", c, u), 0.0, top[live])
            following = (1 + np.sqrt(1 + 4 * t[live] ** 2)) / 2
            y[live], x[live] = moved + (t[live] - 1) / following * (moved - before), moved
            t[live] = following
            if step % 4 == 0:
                u = found[live] = q[live] + np.einsum("ci,cij->cj", moved, c)
                cones.bound[live] = np.minimum(
                    cones.bound[live], self._bound_at(cones, live, fixed, moved, c, u, along)
                )
                size = np.square(u).sum(axis=1)
                again = live[size > last[live]]  # the momentum overshoots
                t[again], y[again], last[live] = 1.0, x[again], size
                live = live[(cones.bound[live] > limit) & (step < most[live])]
        return found

    def _bound_at(
        self, cones: _Cones, live: Any, fixed: Array, x: Array, columns: Array, u: Array, along: Array
    ) -> Array:
        m = len(self.z)
        lowered = np.einsum("ci,cij->cj", x[:, :m], columns[:, :m])
        r = fixed[live] + np.einsum("cj,ckj->ck", lowered, cones.v[live])
        part = (cones.v[live], r)
        return np.minimum(_certified(*part, u, along[live]), _certified(*part, np.zeros_like(u), along[live]))


def _certified(v: Array, r: Array, u: Array, along: Array) -> Array:
    """‖u‖ + max_j (r_j − u·v_j)₊ / (v_j·c)."""
    excess = (r - np.einsum("cj,ckj->ck", u, v)) / along
    return np.sqrt(np.square(u).sum(axis=1)) + np.maximum(excess.max(axis=1), 0.0)


def _curvature(columns: Array) -> Array:
    """At least the largest eigenvalue of Σ c c': the eighth root of the trace of its eighth power."""
    g = np.einsum("cij,cik->cjk", columns, columns)
    trace = np.trace(g, axis1=1, axis2=2)
    g = g / np.maximum(trace, 1e-300)[:, None, None]
    g = g @ g
    g = g @ g
    return trace * np.square(g).sum(axis=(1, 2)) ** 0.125
