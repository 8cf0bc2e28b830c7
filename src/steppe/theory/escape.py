"""How long gradient descent stays near a minimizer that is too sharp for its step."""

import math

from steppe.core import Fact, check_number


def escape_steps(step_size: float, sharpness: float, *, start: float = 1e-9, radius: float = 1e-3) -> Fact:
    """Updates that gradient descent needs to leave a minimizer of sharpness S, started on its top eigenvector.

    Near the minimizer an update multiplies the distance along that eigenvector by |1 − ηS|, so that it first exceeds
    r after about ln(r/r₀)/ln(ηS − 1) updates if ηS > 2. With ηS ≤ 2 it never does, and the answer is infinite. The
    first step beyond r is this number rounded up, or the next one where the landscape bends within r.

    Args:
        step_size: η > 0.
        sharpness: S > 0, the largest eigenvalue of the Hessian at the minimizer.
        start: Distance r₀ > 0 at the start.
        radius: Distance r > 0 to be exceeded; 0 updates if it is exceeded at the start.

    Raises:
        ParameterError: A number is not positive.

    Example:
        >>> round(float(escape_steps(2.1, 1.0)), 2)
        144.95
    """
    step, curvature = check_number("step_size", step_size, above=0.0), check_number("sharpness", sharpness, above=0.0)
    first, last = check_number("start", start, above=0.0), check_number("radius", radius, above=0.0)
    growth = math.log(step * curvature - 1) if step * curvature > 2 else 0.0
    value = 0.0 if first > last else math.log(last / first) / growth if growth > 0 else math.inf
    return Fact(
        value,
        source="linearisation at the minimizer",
        status="derived",
        statement=f"updates from distance {first:g} to {last:g} at step · sharpness {step * curvature:g}",
        hypotheses=("full-batch gradient descent", "a start on the top eigenvector", "the loss is quadratic within r"),
    )
