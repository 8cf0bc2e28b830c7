"""The certificates of one-vs-rest problems, read as one."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from .certificate import Certificate
from .maximum import Kind

_WEAKEST: tuple[Kind, ...] = ("heuristic", "bound", "exact")


@dataclass(frozen=True, eq=False)
class ClassCertificates:
    """One certificate per class against the rest; together they certify the sum of the objectives.

    The sum Σ_c P_c has no neurons shared between classes, so that its optimum is the sum of the optima and its gap the
    sum of the gaps. Iterates over the certificates in the order of `classes`.

    Args:
        classes: The labels.
        certificates: The certificate of each label against all others.
    """

    classes: tuple[Any, ...]
    certificates: tuple[Certificate, ...]

    @property
    def primal(self) -> float:
        """Sum of the objectives."""
        return float(sum(one.primal for one in self.certificates))

    @property
    def dual(self) -> float:
        """Sum of the dual values."""
        return float(sum(one.dual for one in self.certificates))

    @property
    def gap(self) -> float:
        """Sum of the gaps."""
        return float(sum(one.gap for one in self.certificates))

    @property
    def relative_gap(self) -> float:
        """The gap in units of the primal value."""
        return self.gap / self.primal if self.primal > 0 else 0.0

    @property
    def kind(self) -> Kind:
        """The weakest kind among the classes."""
        return min((one.kind for one in self.certificates), key=_WEAKEST.index)

    @property
    def method(self) -> str:
        """How the classes were solved."""
        return "one-vs-rest: " + ", ".join(sorted({one.method for one in self.certificates}))

    def sentence(self) -> str:
        """What is certified, in words, class by class."""
        return " ".join(
            f"{label} against the rest: {one.sentence()}"
            for label, one in zip(self.classes, self.certificates, strict=True)
        )

    def verify(self, X: Any, y: Float[np.ndarray, "n c"], sample_weight: Any = None) -> bool:
        """Whether every certificate holds.

        Args:
            X: The inputs of the fit.
            y: 1 in the column of the sample's class and −1 elsewhere, in the order of `classes`.
            sample_weight: The weights of the fit.
        """
        return all(one.verify(X, y[:, c], sample_weight=sample_weight) for c, one in enumerate(self.certificates))

    def save(self, path: str | PathLike[str]) -> list[Path]:
        """Write one file per class, `name-0.json`, `name-1.json`, … for the path `name.json`, in class order.

        Args:
            path: Where to.

        Returns:
            The paths written.
        """
        base = Path(path)
        paths = [base.with_name(f"{base.stem}-{c}{base.suffix or '.json'}") for c in range(len(self.certificates))]
        for one, target in zip(self.certificates, paths, strict=True):
            one.save(target)
        return paths

    def __len__(self) -> int:
        return len(self.certificates)

    def __getitem__(self, index: int) -> Certificate:
        return self.certificates[index]
