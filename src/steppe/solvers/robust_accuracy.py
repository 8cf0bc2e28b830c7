"""Accuracy of a shallow network against an adversary: proved from below, attacked from above."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from steppe.core import DataError, ShapeError, check_integer, check_number, derived_seed

if TYPE_CHECKING:
    from steppe.networks import ShallowReLU

Array = np.ndarray
_STARTS, _STEPS = 20, 40


@dataclass(frozen=True, eq=False)
class RobustAccuracy:
    """How many samples keep their label for all moves within the box.

    Args:
        clean: Accuracy without adversary.
        certified: Share of samples proved to keep their label: a lower bound of the robust accuracy.
        attacked: Share of samples that no attack turned: an upper bound.
        proved: Which samples are proved.
        turned: Which samples an attack turned (or that are wrong already).
        boxes: Boxes that the proof looked at.
    """

    clean: float
    certified: float
    attacked: float
    proved: Bool[np.ndarray, " n"]
    turned: Bool[np.ndarray, " n"]
    boxes: int

    @property
    def exact(self) -> bool:
        """Whether both bounds agree."""
        return bool((self.proved | self.turned).all())

    def __str__(self) -> str:
        share = f"{self.certified:.1%}" if self.exact else f"between {self.certified:.1%} and {self.attacked:.1%}"
        return f"robust accuracy {share}, clean accuracy {self.clean:.1%}"


def robust_accuracy(
    network: "ShallowReLU", X: Any, y: Any, *, radius: float, max_boxes: int = 2000, seed: int = 0
) -> RobustAccuracy:
    """Accuracy of sign f(x + δ) over all δ with ‖δ‖_∞ ≤ radius.

    An attack (signed projected gradient from several starts, and the corners the bounds point at) turns what it can.
    What is left is proved by linear bounds of the ReLUs on boxes, which are halved where they do not decide. With few
    neurons and inputs this settles every sample that is not exactly on the edge.

    Args:
        network: With one output, its sign the label.
        X: Inputs [n, d].
        y: Labels −1 and 1 [n].
        radius: Half the side of the box.
        max_boxes: Boxes for each sample; what is still open then counts as not proved and not turned.
        seed: Seed of the attack's starts.

    Raises:
        ShapeError: Shapes that do not fit, or several outputs.
        DataError: Labels other than −1 and 1.
    """
    radius = check_number("radius", radius, minimum=0.0)
    check_integer("max_boxes", max_boxes, minimum=1)
    margin = _Margin(network)
    inputs, labels = np.asarray(X, dtype=float), np.asarray(y, dtype=float).ravel()
    if inputs.ndim != 2 or inputs.shape[1] != margin.w.shape[1] or len(labels) != len(inputs):
        raise ShapeError(
            f"`X` must have shape [n, {margin.w.shape[1]}] and `y` one label per row, got {list(inputs.shape)} and "
            f"{len(labels)} labels; pass matching X and y"
        )
    if not np.isin(labels, (-1.0, 1.0)).all():
        raise DataError("`y` must hold the labels -1 and 1, got others; encode them so")
    right = labels * margin.value(inputs) > 0
    turned = ~right
    rng = np.random.default_rng(derived_seed("solvers.attack", seed))
    turned[right] = margin.attack(inputs[right], labels[right], radius, rng)
    proved = np.zeros(len(labels), dtype=bool)
    boxes = 0
    for i in np.flatnonzero(~turned):
        proved[i], turned[i], count = margin.decide(inputs[i], labels[i], radius, max_boxes)
        boxes += count
    return RobustAccuracy(float(right.mean()), float(proved.mean()), float((~turned).mean()), proved, turned, boxes)


class _Margin:
    """The function of a network with one output, its slope, and linear bounds on boxes."""

    def __init__(self, network: "ShallowReLU") -> None:
        if network.outputs != 1:
            raise ShapeError(f"`network` must have one output, got {network.outputs}; its sign is the label")
        w, b, v, beta = (
            p.detach().double().cpu().numpy() for p in (network.w, network.b, network.v, network.output_bias)
        )
        self.w, self.b, self.v, self.constant = w, b, v[0], float(beta[0])
        self.skip = np.zeros(w.shape[1]) if network.skip is None else network.skip.detach().double().cpu().numpy()[0]

    def value(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """The output."""
        return np.asarray(np.maximum(x @ self.w.T - self.b, 0.0) @ self.v + x @ self.skip + self.constant)

    def slope(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """The gradient in the inputs."""
        return np.asarray(((x @ self.w.T > self.b) * self.v) @ self.w + self.skip)

    def attack(self, x: Array, labels: Array, radius: float, rng: np.random.Generator) -> Array:
        """Which samples signed gradient steps turn; the step falls from half the radius to a fortieth."""
        turned = np.zeros(len(x), dtype=bool)
        for start in range(_STARTS):
            moved = x + (radius * rng.uniform(-1, 1, x.shape) if start else 0.0)
            for step in np.geomspace(0.5, 0.025, _STEPS) * radius:
                turned |= labels * self.value(moved) <= 0
                moved = np.clip(moved - step * labels[:, None] * np.sign(self.slope(moved)), x - radius, x + radius)
            turned |= labels * self.value(moved) <= 0
        return turned

    def decide(self, x: Array, label: float, radius: float, max_boxes: int) -> tuple[bool, bool, int]:
        """Whether the label is proved on the box, whether a corner turns it, and the boxes looked at."""
        centers, halves = x[None, :], np.full((1, len(x)), radius)
        count = 0
        while len(centers):
            count += len(centers)
            low, corner, push = self._below(centers, halves, label)
            if (label * self.value(corner) <= 0).any():
                return False, True, count
            rest = low <= 0
            if not rest.any():
                return True, False, count
            if count >= max_boxes:
                return False, False, count
            centers, halves = _halved(centers[rest], halves[rest], push[rest])
        return True, False, count

    def _below(self, centers: Array, halves: Array, label: float) -> tuple[Array, Array, Array]:
        """A lower bound of label · f on every box, the corner where its linear bound is least, and what to halve."""
        middle = centers @ self.w.T - self.b
        reach = halves @ np.abs(self.w).T
        low, high = middle - reach, middle + reach
        open_ = (low < 0) & (high > 0)
        signed = label * self.v
        chord = high / np.maximum(high - low, 1e-300)
        beneath = np.where(high > -low, 1.0, 0.0)
        slope = np.where(open_, np.where(signed < 0, chord, beneath), (middle > 0).astype(float))
        offset = np.where(open_ & (signed < 0), -chord * low, 0.0)
        direction = (signed * slope) @ self.w + label * self.skip
        constant = (signed * (offset - slope * self.b)).sum(axis=1) + label * self.constant
        least = (direction * centers).sum(axis=1) + constant - (np.abs(direction) * halves).sum(axis=1)
        corner = centers - halves * np.sign(direction)
        push = (open_ * np.abs(signed)) @ np.abs(self.w) * halves
        return least, corner, push


def _halved(centers: Array, halves: Array, push: Array) -> tuple[Array, Array]:
    """Both halves of every box, cut across the coordinate that moves its undecided neurons most."""
    axis = np.argmax(push, axis=1)
    place = np.arange(len(centers))
    smaller = halves.copy()
    smaller[place, axis] /= 2
    shift = np.zeros_like(centers)
    shift[place, axis] = smaller[place, axis]
    return np.concatenate([centers - shift, centers + shift]), np.concatenate([smaller, smaller])
