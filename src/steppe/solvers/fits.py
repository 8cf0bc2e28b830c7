"""What is fitted: squared, logistic and Huber loss per sample, with gradient and convex conjugate in the output.

A loss l(f, y) of one output f is given by its values, its derivative l'(f, y) and its conjugate
l*(q, y) = sup_f (q f − l(f, y)), which is +∞ outside its domain. All three are what a dual value needs.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from steppe.core import DataError, KindError, check_choice, check_number

FitName = Literal["squared", "logistic", "huber"]
_SLACK = 1e-12  # rounding that may leave the conjugate's domain, relative to its width


@runtime_checkable
class Fit(Protocol):
    """A convex, smooth loss per sample."""

    @property
    def name(self) -> str:
        """How it is called in files and sentences."""
        ...

    @property
    def curvature(self) -> float:
        """Largest second derivative in the output."""
        ...

    @property
    def parameters(self) -> dict[str, float]:
        """What `fit_named` needs besides the name."""
        ...

    def values(self, f: Float[np.ndarray, "n *c"], y: Float[np.ndarray, "n *c"]) -> Float[np.ndarray, "n *c"]:
        """l(f, y), entry by entry."""
        ...

    def gradient(self, f: Float[np.ndarray, "n *c"], y: Float[np.ndarray, "n *c"]) -> Float[np.ndarray, "n *c"]:
        """l'(f, y), entry by entry."""
        ...

    def conjugate(self, q: Float[np.ndarray, "n *c"], y: Float[np.ndarray, "n *c"]) -> Float[np.ndarray, "n *c"]:
        """l*(q, y), entry by entry; infinite outside the domain."""
        ...

    def clipped(self, q: Float[np.ndarray, "n *c"], y: Float[np.ndarray, "n *c"]) -> Float[np.ndarray, "n *c"]:
        """The point of the conjugate's domain closest to q."""
        ...

    def check_targets(self, y: Float[np.ndarray, "n *c"]) -> None:
        """Raise a DataError if the targets do not suit the loss."""
        ...


@dataclass(frozen=True)
class SquaredFit:
    """l = ½ (f − y)²."""

    name: str = field(default="squared", init=False)
    curvature: float = field(default=1.0, init=False)

    @property
    def parameters(self) -> dict[str, float]:
        """None."""
        return {}

    def values(self, f: Float[np.ndarray, "n *c"], y: Float[np.ndarray, "n *c"]) -> Float[np.ndarray, "n *c"]:
        """½ (f − y)²."""
        return 0.5 * np.square(f - y)

    def gradient(self, f: Float[np.ndarray, "n *c"], y: Float[np.ndarray, "n *c"]) -> Float[np.ndarray, "n *c"]:
        """The residual f − y."""
        return f - y

    def conjugate(self, q: Float[np.ndarray, "n *c"], y: Float[np.ndarray, "n *c"]) -> Float[np.ndarray, "n *c"]:
        """The conjugate q y + ½ q²."""
        return q * (y + 0.5 * q)

    def clipped(self, q: Float[np.ndarray, "n *c"], y: Float[np.ndarray, "n *c"]) -> Float[np.ndarray, "n *c"]:
        """The point q itself: the domain is the whole line."""
        return q

    def check_targets(self, y: Float[np.ndarray, "n *c"]) -> None:
        """Any finite number will do."""


@dataclass(frozen=True)
class LogisticFit:
    """l = log(1 + exp(−y f)) with y in {−1, 1}."""

    name: str = field(default="logistic", init=False)
    curvature: float = field(default=0.25, init=False)

    @property
    def parameters(self) -> dict[str, float]:
        """None."""
        return {}

    def values(self, f: Float[np.ndarray, "n *c"], y: Float[np.ndarray, "n *c"]) -> Float[np.ndarray, "n *c"]:
        """log(1 + exp(−y f)), without overflow."""
        return np.logaddexp(0.0, -y * f)

    def gradient(self, f: Float[np.ndarray, "n *c"], y: Float[np.ndarray, "n *c"]) -> Float[np.ndarray, "n *c"]:
        """−y / (1 + exp(y f))."""
        z = np.exp(-np.abs(f))
        return -y * np.where(y * f >= 0, z, 1.0) / (1.0 + z)

    def conjugate(self, q: Float[np.ndarray, "n *c"], y: Float[np.ndarray, "n *c"]) -> Float[np.ndarray, "n *c"]:
        """The negative entropy t log t + (1 − t) log(1 − t) with t = −q y in [0, 1]."""
        t = -q * y
        inside = (t >= -_SLACK) & (t <= 1.0 + _SLACK)
        t = np.clip(t, 0.0, 1.0)
        lower = np.where(t > 0, t, 1.0)
        upper = np.where(t < 1, 1.0 - t, 1.0)
        return np.where(inside, t * np.log(lower) + (1.0 - t) * np.log(upper), np.inf)

    def clipped(self, q: Float[np.ndarray, "n *c"], y: Float[np.ndarray, "n *c"]) -> Float[np.ndarray, "n *c"]:
        """−y clip(−q y, 0, 1)."""
        return -y * np.clip(-q * y, 0.0, 1.0)

    def check_targets(self, y: Float[np.ndarray, "n *c"]) -> None:
        """Labels are −1 and 1, both of them.

        Raises:
            DataError: Another value, or one class only.
        """
        if not np.isin(y, (-1.0, 1.0)).all():
            strange = y[~np.isin(y, (-1.0, 1.0))].flat[0]
            raise DataError(f"`y` must hold the labels -1 and 1 for the logistic fit, got {strange:g}; encode them so")
        if y.min() == y.max():
            raise DataError(f"`y` must hold both labels, got only {y.min():g}; a constant has no least logistic loss")


@dataclass(frozen=True)
class HuberFit:
    """l = ½ r² for |r| ≤ δ, δ (|r| − δ/2) beyond, with r = f − y.

    Args:
        delta: δ > 0, in the unit of the targets.
    """

    delta: float = 1.0
    name: str = field(default="huber", init=False)
    curvature: float = field(default=1.0, init=False)

    def __post_init__(self) -> None:
        check_number("delta", self.delta, above=0.0)

    @property
    def parameters(self) -> dict[str, float]:
        """The threshold δ."""
        return {"delta": self.delta}

    def values(self, f: Float[np.ndarray, "n *c"], y: Float[np.ndarray, "n *c"]) -> Float[np.ndarray, "n *c"]:
        """Quadratic near zero, linear beyond δ."""
        r = np.abs(f - y)
        near = np.minimum(r, self.delta)
        return near * (r - 0.5 * near)

    def gradient(self, f: Float[np.ndarray, "n *c"], y: Float[np.ndarray, "n *c"]) -> Float[np.ndarray, "n *c"]:
        """The residual, clipped at ±δ."""
        return np.clip(f - y, -self.delta, self.delta)

    def conjugate(self, q: Float[np.ndarray, "n *c"], y: Float[np.ndarray, "n *c"]) -> Float[np.ndarray, "n *c"]:
        """The conjugate q y + ½ q² for |q| ≤ δ."""
        inside = np.abs(q) <= self.delta * (1.0 + _SLACK)
        return np.where(inside, q * (y + 0.5 * q), np.inf)

    def clipped(self, q: Float[np.ndarray, "n *c"], y: Float[np.ndarray, "n *c"]) -> Float[np.ndarray, "n *c"]:
        """The point of [−δ, δ] closest to q."""
        return np.clip(q, -self.delta, self.delta)

    def check_targets(self, y: Float[np.ndarray, "n *c"]) -> None:
        """Any finite number will do."""


def fit_named(fit: Any, **parameters: float) -> Fit:
    """The data fit of a name, or the fit itself.

    Args:
        fit: `"squared"`, `"logistic"`, `"huber"`, or one of the three objects.
        parameters: `delta` of the Huber fit.

    Raises:
        UnknownNameError: No such fit.
        KindError: A parameter that the fit does not have, or no fit at all.
    """
    if isinstance(fit, SquaredFit | LogisticFit | HuberFit):
        return fit
    if not isinstance(fit, str):
        raise KindError(f'`fit` must be a name or a data fit, got {type(fit).__name__}; pass "squared" for example')
    name = check_choice("fit", fit, ["squared", "logistic", "huber"])
    known = {"delta"} if name == "huber" else set()
    for other in set(parameters) - known:
        raise KindError(f"the {name} fit has no parameter `{other}`, got {other}={parameters[other]!r}; leave it out")
    if name == "huber":
        return HuberFit(**{key: float(value) for key, value in parameters.items()})
    return SquaredFit() if name == "squared" else LogisticFit()
