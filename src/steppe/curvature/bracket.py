"""The first sign change of a rise, bracketed and closed in few evaluations."""

import math
from collections.abc import Callable

_GROW = 8.0  # factor between steps while nothing is known
_REACH = 64.0  # how far beyond the evaluated steps an extrapolation is believed


class Bracket:
    """Where a function with f(0) = 0 turns from falling to rising: f(below) ≤ 0 < f(above).

    The quotient f(η)/η is a straight line for a quadratic f; its zero is interpolated from the nearest evaluated steps
    and approached from both sides, with bisection as a safeguard.

    Args:
        rise: f.
        slope: −f'(0) if it is known.
        noise: What f cannot be told from zero below.
        rtol: Converged when (above − below) ≤ rtol·(above + below).
    """

    def __init__(self, rise: Callable[[float], float], *, slope: float | None, noise: float, rtol: float) -> None:
        self._rise, self.noise, self.rtol = rise, noise, rtol
        self.quotients: dict[float, float] = {} if slope is None else {0.0: -slope}
        self.below, self.above = 0.0, math.inf
        self._widths: list[float] = []
        self._misses = 0

    @property
    def closed(self) -> bool:
        """Whether the bracket is as narrow as asked for."""
        both = self.below > 0 and math.isfinite(self.above)
        return both and self.above - self.below <= self.rtol * (self.above + self.below)

    def search(self, start: float, evaluations: int) -> None:
        """Spend at most that many evaluations, the first at `start`."""
        step = start
        for left in range(evaluations, 0, -1):
            self._evaluate(step)
            if self.closed or not math.isfinite(step * _GROW) or step / _GROW == 0:
                return
            if left > 1:
                step = self._next(step)

    def _evaluate(self, step: float) -> None:
        zero = self._zero()
        rise = self._rise(step)
        # The step was meant to lie beyond the crossing; if it does not, the prediction errs by more than the push.
        missed = zero is not None and (rise > self.noise) != (step > zero)
        self._misses = self._misses + 1 if missed else 0
        self.quotients[step] = rise / step
        if rise > self.noise:
            self.above = min(self.above, step)
        elif step < self.above:
            self.below = max(self.below, step)
        if self.below >= self.above:  # it had risen and fallen again: the earlier crossing counts
            self.below = max((s for s, q in self.quotients.items() if s < self.above and q <= 0), default=0.0)
        if self.below > 0 and math.isfinite(self.above):
            self._widths.append(self.above - self.below)

    def _next(self, last: float) -> float:
        if not math.isfinite(self.above):
            step = self._pushed(self._zero(), 1.0)
            return step if step is not None and last < step <= _REACH * last else last * _GROW
        if self.below == 0:
            step = self._pushed(self._zero(), -1.0)
            return step if step is not None and self.above / _REACH <= step < self.above else self.above / _GROW
        return self._inside()

    def _inside(self) -> float:
        """A step in the bracket, next to the predicted zero, on the side where there is more to cut off."""
        middle = math.sqrt(self.below * self.above) if self.above > 4 * self.below else 0.5 * (self.below + self.above)
        if len(self._widths) >= 3 and self._widths[-1] > 0.5 * self._widths[-3]:
            self._widths.clear()
            return middle
        zero = self._zero()
        if zero is None or not self.below <= zero <= self.above:
            return middle
        step = self._pushed(zero, 1.0 if self.above - zero >= zero - self.below else -1.0)
        return step if step is not None and self.below < step < self.above else middle

    def _pushed(self, zero: float | None, side: float) -> float | None:
        """Slightly past the predicted zero, so that the bracket closes on it; further after each miss."""
        return None if zero is None else zero * (1 + side * min(0.9 * self.rtol * 2**self._misses, max(0.1, self.rtol)))

    def _zero(self) -> float | None:
        """Where the quotient vanishes, from the evaluated steps where it is smallest: inverse interpolation."""
        nearest = sorted((abs(q), q, step) for step, q in self.quotients.items() if math.isfinite(q))[:3]
        ends = [(0.0, self.quotients.get(end, math.inf), end) for end in (self.below, self.above)]
        straddling = all(math.isfinite(q) for _, q, _ in ends)
        for points in (nearest, ends if straddling else nearest[:2]):
            steps, values = [step for *_, step in points], [q for _, q, _ in points]
            if len(points) < 2 or len(set(values)) < len(values) or not _increasing(steps, values):
                continue
            zero = 0.0
            for i, step in enumerate(steps):
                others = [q for j, q in enumerate(values) if j != i]
                zero += step * math.prod(q / (q - values[i]) for q in others)
            inside = min(steps) <= zero <= max(steps)  # beyond them a line is the safer guide
            if zero > 0 and math.isfinite(zero) and (inside or len(points) == 2):
                return zero
        return None


def _increasing(steps: list[float], values: list[float]) -> bool:
    """Whether the values increase with the steps."""
    ordered = [value for _, value in sorted(zip(steps, values, strict=True))]
    return ordered == sorted(ordered)
