"""The neurons of a fitted network as a table one can read, and as a figure."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from steppe.core import NotComputedError
from steppe.networks import ShallowReLU
from steppe.plotting import Axis, Figure, Heatmap, Panel, Scatter

_ROWS = 12  # of the printed table
_TERMS = 3  # features named in a direction
_SMALL = 0.05  # of the largest entry: features below are not named


@dataclass(frozen=True, eq=False)
class Neurons:
    """One row per neuron v·max(wᵀx − t, 0) with ‖w‖ = 1, the largest contribution first. Prints as a table.

    A neuron whose weights on the inputs vanish is a constant; its direction is zero, its threshold −∞ and its
    coefficient its value.

    Args:
        names: Names of the features.
        directions: w, one unit vector per neuron.
        thresholds: t: the neuron is active where wᵀx > t.
        coefficients: v, per neuron and output.
        active: Share of the samples on which it is active.
        contributions: Standard deviation of its output over the samples, in units of y (norm over the outputs).
        outputs: Names of the outputs, empty if there is one.
    """

    names: tuple[str, ...]
    directions: Float[np.ndarray, "k d"]
    thresholds: Float[np.ndarray, " k"]
    coefficients: Float[np.ndarray, "k c"]
    active: Float[np.ndarray, " k"]
    contributions: Float[np.ndarray, " k"]
    outputs: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, network: ShallowReLU, X: Float[np.ndarray, "n d"], names: Sequence[str], outputs: Sequence[str] = ()
    ) -> "Neurons":
        """The neurons of a network on a table, those that do nothing left out.

        Args:
            network: The network.
            X: Inputs.
            names: Names of the columns of X.
            outputs: Names of the outputs if there are several.
        """
        w, b, v = (p.detach().cpu().double().numpy() for p in (network.w, network.b, network.v))
        norm = np.linalg.norm(w, axis=1)
        proper = norm > 1e-12 * np.abs(b)
        size = np.where(proper, norm, 1.0)
        directions = np.where(proper[:, None], w / size[:, None], 0.0)
        thresholds = np.where(proper, b / size, -np.inf)
        coefficients = v.T * np.where(proper, norm, np.maximum(-b, 0.0))[:, None]
        place = X @ directions.T - np.where(proper, thresholds, -1.0)
        spread = np.maximum(place, 0.0).std(axis=0)
        reach = np.linalg.norm(coefficients, axis=1)
        order = np.argsort(-spread * reach, kind="stable")
        order = order[reach[order] > 0]
        return cls(
            tuple(map(str, names)),
            directions[order],
            thresholds[order],
            coefficients[order],
            (place > 0).mean(axis=0)[order],
            (spread * reach)[order],
            tuple(map(str, outputs)),
        )

    def direction(self, k: int) -> str:
        """The direction of neuron k by feature name, its largest terms: `0.81 bmi − 0.42 bp …`.

        Args:
            k: The row.
        """
        entries = self.directions[k]
        largest = np.abs(entries).max(initial=0.0)
        if largest == 0:
            return "constant"
        named = [j for j in np.argsort(-np.abs(entries), kind="stable") if abs(entries[j]) > _SMALL * largest]
        text = f"{entries[named[0]]:.2g} {self.names[named[0]]}".replace("-", "−", 1)
        for j in named[1:_TERMS]:
            text += f" {'−' if entries[j] < 0 else '+'} {abs(entries[j]):.2g} {self.names[j]}"
        return text + (" …" if len(named) > _TERMS else "")

    def to_dict(self) -> dict[str, list[Any]]:
        """Every column as a plain list: direction in words, threshold, coefficients, active, contribution."""
        shown: dict[str, list[Any]] = {
            "direction": [self.direction(k) for k in range(len(self))],
            "threshold": self.thresholds.tolist(),
        }
        labels = [f"coefficient {name}" for name in self.outputs] or ["coefficient"]
        shown.update(zip(labels, self.coefficients.T.tolist(), strict=True))
        return {**shown, "active": self.active.tolist(), "contribution": self.contributions.tolist()}

    def to_pandas(self) -> Any:
        """A pandas DataFrame: the columns of `to_dict`, then the weight of every feature as `w_<name>`.

        Raises:
            NotComputedError: pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            raise NotComputedError(
                "to_pandas() needs pandas, which is not installed; pip install 'steppe[data]', or read to_dict()"
            ) from error
        weights = {f"w_{name}": self.directions[:, j] for j, name in enumerate(self.names)}
        return pandas.DataFrame({**self.to_dict(), **weights})

    def plot(self) -> Figure:
        """Two panels: how much each neuron contributes against how often it is active, and its direction by feature.

        Returns:
            A figure, which saves itself with `.save("neurons.pdf")`.
        """
        hover = [f"neuron {k + 1}: {self.direction(k)} > {self.thresholds[k]:.3g}" for k in range(len(self))]
        points = Scatter("neurons", self.active.tolist(), self.contributions.tolist(), hover=hover)
        axes = (
            Axis("share of samples on which it is active", range=(0.0, 1.0)),
            Axis("contribution, in units of y"),
        )
        panels = [Panel("size", *axes, [points])]
        if len(self):
            rows, columns = list(range(1, len(self) + 1)), list(range(1, len(self.names) + 1))
            colours = Heatmap(columns, rows, self.directions.tolist(), "weight of the feature")
            listed = ", ".join(f"{j} {name}" for j, name in zip(columns, self.names[:20], strict=False))
            label = f"feature ({listed}{', …' if len(self.names) > 20 else ''})"
            panels.append(Panel("directions", Axis(label), Axis("neuron, largest first"), [colours]))
        many = f"{len(self)} neuron" + ("" if len(self) == 1 else "s")
        caption = "A neuron is v·max(wᵀx − t, 0) with ‖w‖ = 1; its row shows w."
        return Figure("neurons", f"The fitted network has {many} besides its free part", panels, caption=caption)

    def __len__(self) -> int:
        return len(self.thresholds)

    def __str__(self) -> str:
        if not len(self):
            return "no neurons: the free part alone is the optimum"
        texts = [[str(k + 1), *cells] for k, cells in enumerate(zip(*self._cells(), strict=True))]
        header = ["", "direction w", "threshold t", *(self.outputs or ["coefficient v"])[:4], "active", "contribution"]
        widths = [max(map(len, column)) for column in zip(header, *texts, strict=True)]
        lines = ["  ".join(_aligned(cells, widths)).rstrip() for cells in [header, *texts]]
        if len(self) > _ROWS:
            lines.append(f"… and {len(self) - _ROWS} more with smaller contributions; see to_pandas()")
        return "\n".join(lines)

    __repr__ = __str__

    def _cells(self) -> list[list[str]]:
        shown = range(min(len(self), _ROWS))
        return [
            [self.direction(k) for k in shown],
            [f"{self.thresholds[k]:.3g}" for k in shown],
            *([f"{self.coefficients[k, j]:.3g}" for k in shown] for j in range(min(self.coefficients.shape[1], 4))),
            [f"{self.active[k]:.0%}" for k in shown],
            [f"{self.contributions[k]:.3g}" for k in shown],
        ]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Words to the left, numbers to the right."""
    pairs = enumerate(zip(cells, widths, strict=True))
    return [text.ljust(width) if column == 1 else text.rjust(width) for column, (text, width) in pairs]
