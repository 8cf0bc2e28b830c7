"""Real data that ships inside scikit-learn, scaled into the unit ball by one rule."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from steppe.core import (
    DataError,
    KindError,
    check_choice,
    check_inputs,
    check_integer,
    check_known,
    check_number,
    check_targets,
    generator,
)

_RULE = "columns standardised, constant ones dropped, then divided by the longest row"


@dataclass(frozen=True, eq=False)
class RealData:
    """A table as inputs in the unit ball and one target column.

    Attributes:
        x: Inputs [n, d], float64, ‖x_i‖ ≤ 1.
        y: Targets [n, 1], float64.
        name: What it is.
        rule: How x and y were made.
        features: Names of the columns of x.
    """

    x: Float[Tensor, "n d"]
    y: Float[Tensor, "n 1"]
    name: str
    rule: str
    features: tuple[str, ...]

    @property
    def n(self) -> int:
        """Number of samples."""
        return self.x.shape[0]

    @property
    def d(self) -> int:
        """Number of inputs."""
        return self.x.shape[1]


def into_unit_ball(x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n e"], list[int]]:
    """Standardise each column (mean 0, variance 1 over the n rows), drop constant ones, divide by the longest row.

    Args:
        x: Any table, n ≥ 2.

    Returns:
        The rows in the unit ball, at least one of norm 1, in float64; and the indices of the columns kept.

    Raises:
        DataError: Fewer than two samples, or every column is constant.
    """
    check_inputs(x, minimum=2)
    x = x.double()
    deviation = x.std(dim=0, correction=0)
    keep = deviation > 1e-12 * x.abs().amax(dim=0)
    if not keep.any():
        raise DataError(f"`x` must have a column that varies, got {x.shape[1]} constant ones; pass other data")
    x = (x[:, keep] - x[:, keep].mean(dim=0)) / deviation[keep]
    return x / x.norm(dim=1).max(), keep.nonzero().flatten().tolist()


def handwritten_digits() -> tuple[Float[Tensor, "1797 64"], Int[Tensor, " 1797"]]:
    """scikit-learn's 1797 handwritten digits: pixels 0 to 16 of 8 × 8 images, and their classes 0 to 9.

    `tabular("digits")` gives them as a regression problem in the unit ball.
    """
    from sklearn.datasets import load_digits

    table = load_digits()
    return torch.as_tensor(table.data, dtype=torch.float64), torch.as_tensor(table.target).long()


def _diabetes() -> tuple[Any, Any, list[str], str]:
    from sklearn.datasets import load_diabetes

    table = load_diabetes(scaled=False)
    y = table.target
    return table.data, (y - y.mean()) / y.std(), list(table.feature_names), "disease progression, standardised"


def _digits() -> tuple[Any, Any, list[str], str]:
    from sklearn.datasets import load_digits

    table = load_digits()
    return table.data, 1.0 - 2.0 * (table.target % 2), list(table.feature_names), "+1 for even digits, -1 for odd ones"


def _breast_cancer() -> tuple[Any, Any, list[str], str]:
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer()
    return table.data, 2.0 * table.target - 1.0, list(table.feature_names), "+1 for benign, -1 for malignant"


_TABLES: dict[str, Callable[[], tuple[Any, Any, list[str], str]]] = {
    "breast-cancer": _breast_cancer,
    "diabetes": _diabetes,
    "digits": _digits,
}


def tabular(name: str, *, rows: int | None = None, seed: int | None = None) -> RealData:
    """A table that ships inside scikit-learn, as a regression problem with inputs in the unit ball.

    `"diabetes"` (442 × 10, disease progression, standardised), `"digits"` (1797 × 61 after three constant pixels are
    dropped; +1 for even digits, −1 for odd ones) and `"breast-cancer"` (569 × 30; +1 for benign, −1 for malignant).
    Columns are standardised, constant ones dropped, and the table is divided by its longest row, all over the whole
    table, before rows are chosen. Nothing is downloaded.

    Args:
        name: Which table.
        rows: Number of rows to choose without replacement; None is all.
        seed: Which rows; needed with `rows`.

    Raises:
        UnknownNameError: There is no such table; the message names the closest.
        ParameterError: More rows than there are, or fewer than one.
        KindError: `rows` without `seed`.
    """
    check_known("name", name, _TABLES)
    inputs, targets, names, meaning = _TABLES[name]()
    x, kept = into_unit_ball(torch.as_tensor(np.ascontiguousarray(inputs), dtype=torch.float64))
    y = torch.as_tensor(np.ascontiguousarray(targets), dtype=torch.float64)[:, None]
    if rows is not None:
        chosen = _choose(x.shape[0], rows, seed)
        x, y = x[chosen], y[chosen]
    features = tuple(str(names[index]) for index in kept)
    return RealData(x=x, y=y, name=name, rule=f"x: {_RULE}; y: {meaning}", features=features)


def _choose(n: int, rows: int, seed: int | None) -> Tensor:
    rows = check_integer("rows", rows, minimum=1, maximum=n)
    if seed is None:
        raise KindError("`seed` is needed with `rows`, got none; pass seed=0 or any integer")
    return torch.randperm(n, generator=generator("data.subset", seed))[:rows]


def photograph(name: str) -> Float[Tensor, "427 640 3"]:
    """One of scikit-learn's two sample photographs, in three colours from 0 to 1.

    Args:
        name: `"china"` or `"flower"`.

    Raises:
        UnknownNameError: There is no such photograph.
    """
    check_choice("name", name, ["china", "flower"])
    from sklearn.datasets import load_sample_image

    return torch.as_tensor(np.array(load_sample_image(f"{name}.jpg")), dtype=torch.float64) / 255


def image_patches(n: int, *, size: int = 3, image: str = "both", seed: int) -> RealData:
    """Colour patches [n, 3 · size²] at random places of scikit-learn's two sample photographs, in the unit ball.

    The inputs are the 3 · size² values of a square patch, standardised and scaled as tables are, over the n patches
    chosen. The target is the brightness (mean of the three colours) of the pixel just right of the patch's middle row,
    standardised: predict the next pixel.

    Args:
        n: Number of patches ≥ 2, at different places as far as chance has it.
        size: Side in pixels, 1 to 32.
        image: `"china"`, `"flower"` or `"both"`.
        seed: Any integer ≥ 0.

    Raises:
        UnknownNameError: There is no such image.
        ParameterError: A number is out of range.
    """
    n = check_integer("n", n, minimum=2)
    size = check_integer("size", size, minimum=1, maximum=32)
    check_choice("image", image, ["both", "china", "flower"])
    pictures = [photograph(name) for name in (["china", "flower"] if image == "both" else [image])]
    rng = generator("data.patches", seed)
    which = torch.randint(len(pictures), (n,), generator=rng).tolist()
    place = torch.rand(n, 2, generator=rng, dtype=torch.float64)
    patches, targets = [], []
    for index, (down, right) in zip(which, place.tolist(), strict=True):
        picture = pictures[index]
        top = int(down * (picture.shape[0] - size + 1))
        left = int(right * (picture.shape[1] - size))
        patches.append(picture[top : top + size, left : left + size].reshape(-1))
        targets.append(picture[top + size // 2, left + size].mean())
    x, kept = into_unit_ball(torch.stack(patches))
    y = torch.stack(targets)[:, None]
    deviation = y.std(correction=0)
    if deviation == 0:
        raise DataError(f"`n` patches must have targets that vary, got {n} equal ones; pass a larger n or another seed")
    names = [
        f"row {i} column {j} {colour}" for i in range(size) for j in range(size) for colour in ("red", "green", "blue")
    ]
    rule = f"x: {_RULE}; y: brightness of the next pixel, standardised"
    return RealData(
        x=x, y=(y - y.mean()) / deviation, name=f"image-patches-{size}x{size}", rule=rule,
        features=tuple(names[i] for i in kept),
    )  # fmt: skip


def smooth_label_map(
    x: Float[Tensor, "n d"], y: Float[Tensor, "n 1"], *, ridge: float | int = 1.0
) -> Float[Tensor, "n 1"]:
    """Clean targets on real inputs: the smooth part of the real labels, by kernel ridge regression.

    The fitted values K (K + ρI)⁻¹ (y − ȳ) + ȳ with the Gaussian kernel K_ij = exp(−‖x_i − x_j‖²/ℓ²), ℓ² the median
    squared distance between different rows. What kernel regression takes for noise is removed, so noise of known
    variance can be added. Deterministic. (Our choice.) O(n³).

    Args:
        x: Inputs, n ≥ 2.
        y: Real labels [n, 1].
        ridge: ρ > 0; larger is smoother.

    Raises:
        DataError: Fewer than two samples, or all rows equal.
        ParameterError: ρ is not positive.
    """
    check_inputs(x, minimum=2)
    check_targets(y, (x.shape[0], 1))
    ridge = check_number("ridge", ridge, above=0)
    x, y = x.double(), y.double()
    distances = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").square()
    positive = distances[distances > 0]
    if positive.numel() == 0:
        raise DataError(f"`x` must have different rows, got {x.shape[0]} equal ones; pass other data")
    kernel = torch.exp(-distances / positive.median())
    mean = y.mean()
    eye = torch.eye(x.shape[0], dtype=torch.float64, device=x.device)
    factor = torch.linalg.cholesky(kernel + ridge * eye)
    return kernel @ torch.cholesky_solve(y - mean, factor) + mean
