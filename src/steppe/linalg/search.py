"""The search for the largest eigenvalues, and the proof that none was skipped."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from .certificates import MISS, Spread, ceiling, chance, enclosures
from .krylov import KrylovBasis
from .pace import Pace

_TIGHTEST = 0.02  # part of the tolerance below which residuals are not pressed
_NEAR = 10.0  # a larger eigenvalue farther away than so many tolerances must be improbable
_LEAST = 24  # steps that a companion is always granted


class Search:
    """Grows a Krylov basis until its k largest Ritz pairs are converged and nothing larger can hide.

    One random start: the share of a hidden eigenvector in it would be improbably small (see `certificates`).
    More eigenvalues, or a start that is not random: a random companion, orthogonal to the basis, is iterated apart.
    It either finds what was skipped (a further copy of a multiple eigenvalue, say), which then joins, or bounds all
    that is orthogonal to the basis.

    Args:
        krylov: The basis of an operator whose largest eigenvalues are wanted.
        k: How many.
        rtol: A residual is small if at most rtol·|value|.
        pace: Limits.
        companion: Most steps of a companion; None for as many as are worth it, 0 for none at all.
        random: Whether the first vector is random.
    """

    def __init__(
        self, krylov: KrylovBasis, k: int, *, rtol: float, pace: Pace, companion: int | None, random: bool
    ) -> None:
        self.krylov, self.k, self.rtol, self.pace = krylov, k, rtol, pace
        self.companion = companion
        self.alone = random and k == 1
        self._tighter = 1.0  # part of the tolerance that residuals must meet; enclosures may ask for less
        self.converged = False
        self.beyond = math.nan
        self.ends = torch.full((k,), torch.nan, dtype=torch.float64)

    def run(self) -> str:
        """Search, and say why it ended."""
        while True:
            reason = self._grow()
            if not self.converged or self.alone or self.companion == 0 or self._exhausted:
                return reason
            words = self._accompany()
            if words is not None:
                return f"{reason}; {words}"

    @property
    def _exhausted(self) -> bool:
        return self.krylov.size >= self.krylov.rows.shape[1]

    def _top(self) -> tuple[Tensor, Tensor, Tensor]:
        """Values, coefficients and residuals, largest first."""
        values, coefficients = (part.flip(-1) for part in self.krylov.ritz())
        return values, coefficients, self.krylov.residuals(coefficients)

    def _tolerances(self, values: Float[Tensor, " j"]) -> Float[Tensor, " j"]:
        return torch.clamp(self.rtol * values.abs(), min=self.krylov.rounding)

    def _step(self, text: str) -> None:
        """One step, of no more products than are left."""
        if (left := self.pace.left) is not None:
            self.krylov.frontier = self.krylov.frontier[: max(left, 1)]
        self.krylov.step()
        self.pace.advance(len(self.krylov.frontier), text)

    def _grow(self) -> str:
        """Grow the basis until the k pairs are converged."""
        self.converged = False
        while True:
            self._step(f"{self.krylov.size} dimensions")
            values, _, residuals = self._top()
            tolerances = self._tolerances(values)
            small = torch.clamp(self._tighter * tolerances[: self.k], min=self.krylov.rounding)
            met = len(values) >= self.k and bool((residuals[: self.k] <= small).all())
            if met and self._settled(values, residuals, tolerances):
                self.converged = True
                rounding = bool((residuals[: self.k] <= self.krylov.rounding).all())
                return "residual at rounding level" if rounding else f"residual ≤ {self.rtol:g} · |value|"
            if reason := self.pace.over:
                worst = float(residuals[: self.k].max())
                return f"{reason.replace('; ', f' with residual {worst:.3g}; ', 1)}"
            if not self.krylov.advance() and not self.krylov.advance(random=int(len(values) < self.k)):
                self.converged = met
                return "the whole space was searched" if self._exhausted else "invariant subspace"

    def _settled(self, values: Tensor, residuals: Tensor, tolerances: Tensor) -> bool:
        """Whether converged pairs may be believed."""
        if self.alone:
            gap = float(values[0] - values[1]) if len(values) > 1 else 0.0
            margin = max(min(gap, _NEAR * float(tolerances[0])), float(tolerances[0]))
            chain = self.krylov.spread()
            if chain is None:
                return True
            chains = [*self.krylov.cycles, chain]
            if chance(chains, float(values[0]) + margin, self.krylov.rows.shape[1]) > MISS:
                return False
            self.beyond = ceiling(chains, self.krylov.rows.shape[1])
            return True
        # A next Ritz value that is still uncertain may yet overtake the k-th.
        k = self.k
        return len(values) <= k or bool(values[k] + 2 * residuals[k] <= values[k - 1] + tolerances[k - 1])

    def _accompany(self) -> str | None:
        """Iterate a companion; None if it found something, which has joined, else what it proved, in words."""
        krylov, k, base = self.krylov, self.k, self.krylov.size
        values, coefficients, _ = self._top()
        gram = krylov.remainders @ krylov.remainders.T
        root = torch.linalg.eigh(gram)
        factor = root.eigenvectors * root.eigenvalues.clamp(min=0).sqrt()
        last = coefficients.T @ krylov.outlets @ factor
        tolerances = self._tolerances(values)[:k]
        steps = 0
        most = max(_LEAST, base) if self.companion is None else self.companion
        size = krylov.rows.shape[1] - base
        chain_was = krylov.spread()
        if not krylov.advance(random=1, since=base):
            return "the whole space was searched"
        while True:
            krylov.capacity = max(krylov.capacity, krylov.size + 1)  # a companion is never compressed
            self._step(f"companion, step {steps + 1}")
            steps += 1
            joint, _ = krylov.ritz()
            if bool((joint.flip(0)[:k] > values[:k] + tolerances).any()):
                krylov.advance()
                return None
            chain = krylov.spread(base)
            self.beyond = ceiling([chain], size) if chain is not None else math.nan
            if self._enclosed(values, last, tolerances):
                ends = enclosures(values, last, self.beyond, k)
                if bool((ends <= values[:k] + tolerances).all()):
                    self.ends = ends
                    return f"{steps} companion products: complete with probability 0.999"
                # In a dense spectrum the coupling is too strong for the law of inertia. Then the chain itself says
                # that nothing lies between the values, and the companion that none of them is multiple.
                if chain_was is None or self._nothing_between(chain_was, values, tolerances):
                    complete = (
                        "complete with probability 0.998" if chain_was else f"none hidden beyond {self.beyond:.4g}"
                    )
                    return f"{steps} companion products: {complete}"
                if self._tighter > _TIGHTEST:
                    self._tighter /= 3
                    krylov.advance(until=base)
                    return None
            stuck = not krylov.advance(since=base)
            if stuck or steps >= most or self.pace.over:
                return f"{steps} companion products: none hidden beyond {self.beyond:.4g} with probability 0.999"

    def _nothing_between(self, chain: Spread, values: Tensor, tolerances: Tensor) -> bool:
        """Whether an eigenvalue between the k largest Ritz values, or above them, is improbable."""
        chains = [*self.krylov.cycles, chain]
        top = values[: self.k]
        points = [float(top[0]) + float(tolerances[0])]
        apart = (top[:-1] - top[1:]) > 2 * tolerances[1:]
        points += (0.5 * (top[:-1] + top[1:]))[apart].tolist()
        return all(chance(chains, point, self.krylov.rows.shape[1]) <= MISS for point in points)

    def _enclosed(self, values: Tensor, last: Tensor, tolerances: Tensor) -> bool:
        """Whether, to first order, all ends lie within the tolerance."""
        if not math.isfinite(self.beyond):
            return False
        top = values[: self.k]
        # The root of (μ − ν)(μ − θ) = ‖last‖² beyond both.
        half = 0.5 * (top - self.beyond)
        end = self.beyond + half + torch.sqrt(half.square() + last[: self.k].square().sum(dim=1))
        return bool((end <= top + tolerances).all())
