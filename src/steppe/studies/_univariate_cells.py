"""What one cell of `qiao2024-univariate` computes: the part that needs torch. Everything is float64."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from steppe import data
from steppe.core import SquaredLoss, check_choice, generator
from steppe.curvature import SharpnessTracker, sharpness
from steppe.harness import Absent, Cell, Diverged
from steppe.networks import ShallowReLU
from steppe.norms import LinearSpline, balance_mean_gradient, univariate_knots
from steppe.solvers import fit_one_dimension
from steppe.theory import flatness_bound, largest_interpolating_step, noisy_variation_bound, rates
from steppe.training import AtSteps, History, gradient_descent

Array = NDArray[np.float64]
Columns = dict[str, Any]
LOSS = SquaredLoss()
CLIP = 50.0
INTERIOR = 1.6
REACH = 2.0


def row(cell: Cell, columns: list[str]) -> Columns | Diverged:
    """Compute one cell."""
    functions: dict[str, Callable[[Cell], Columns | Diverged]] = {
        "fit": _fit,
        "rate": _rate,
        "limit": _limit,
        "width": _width,
        "real": _real,
    }
    check_choice("experiment", cell["experiment"], list(functions))
    found = functions[cell["experiment"]](cell)
    if isinstance(found, Diverged):
        return found
    reason = f"not measured in the experiment '{cell['experiment']}'"
    return {name: Absent(reason) for name in columns} | found


def _sample(cell: Cell) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs in order, clean targets, noisy labels."""
    x = cell.parts["inputs"](cell["n"], seed=cell["seed"]).sort(dim=0).values
    clean = cell.parts["target"](x)
    return x, clean, clean + data.noise(tuple(x.shape), sigma=cell["noise"], seed=cell["seed"])


def _trained(cell: Cell, x: Tensor, y: Tensor, *, traced: bool) -> tuple[ShallowReLU, History]:
    # Torch's initialisation spreads the first knots; He's puts them all at 0.
    network = ShallowReLU(1, cell["width"], init="torch", seed=cell["seed"])
    steps = cell["steps"]
    watched = sorted({int(s) for s in np.geomspace(1, steps, 30)})
    history = gradient_descent(
        network, x, y, step_size=cell["step_size"], steps=steps, clip=CLIP,
        observers=[AtSteps(watched, _Trace(x, y))] if traced else [],
    )  # fmt: skip
    return network, history


class _Trace:
    """Observes the sharpness and the floor that ∫|f''| g puts under it."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self._x, self._y = x, y
        self._tracker: SharpnessTracker | None = None

    def __call__(self, step: int, network: nn.Module) -> Mapping[str, float]:
        assert isinstance(network, ShallowReLU)
        self._tracker = self._tracker or SharpnessTracker(network, LOSS, (self._x, self._y))
        found = self._tracker(step, network)
        assert found is not None
        return {
            "sharpness": found["sharpness"],
            "floor": 1 + 2 * univariate_knots(network).weighted_variation(self._x),
        }


# --- measures ---


def _measured(network: ShallowReLU, x: Tensor, y: Tensor, step_size: float) -> Columns:
    with torch.no_grad():
        loss = float(LOSS(network(x), y))
    spline = univariate_knots(network)
    top = sharpness(network, LOSS, (x, y), rtol=1e-8).value
    radius = float(x.abs().max())
    return {
        "training_error": 2 * loss,
        "sharpness": top,
        "stability_limit": 2 / step_size,
        "weighted_variation": spline.weighted_variation(x),
        "variation": spline.inside(x).variation,
        "effective_knots": spline.effective_knots(x),
        "all_knots": len(spline.inside(x).knots),
        "bound": float(flatness_bound(2 / step_size, loss, radius, sharper=True)),
        "sharpness_bound": float(flatness_bound(top, loss, radius, sharper=True)),
    }


def _interior() -> Tensor:
    return torch.linspace(-INTERIOR, INTERIOR, 801, dtype=torch.float64)[:, None]


def _errors(cell: Cell, network: ShallowReLU, x: Tensor, clean: Tensor, y: Tensor) -> Columns:
    fresh = _interior()
    inside = x.abs() <= INTERIOR
    with torch.no_grad():
        outputs = network(x)
        error = float((network(fresh) - cell.parts["target"](fresh)).square().mean())
    empirical = float((outputs - y)[inside].square().mean())
    clean_error = float((outputs - clean).square().mean())
    noise_variance = float((y - clean).square().mean())
    bound = noisy_variation_bound(cell["step_size"], float(x.abs().max()), noise=noise_variance**0.5, error=clean_error)
    return {
        "clean_error": clean_error,
        "interior_error": error,
        "interior_gap": abs(empirical - error - cell["noise"] ** 2),
        "noise_variance": noise_variance,
        "noisy_bound": float(bound),
    }


def _curves(spline: LinearSpline, x: Tensor, y: Tensor) -> Columns:
    at = torch.linspace(float(x.min()), float(x.max()), 161, dtype=torch.float64)
    return {
        "sample_x": x[:, 0].tolist(),
        "sample_y": y[:, 0].tolist(),
        "grid": at.tolist(),
        "function": spline(at).tolist(),
        "knots": spline.knots.tolist(),
        "jumps": spline.jumps.abs().tolist(),
    }


# --- experiments ---


def _fit(cell: Cell) -> Columns | Diverged:
    x, clean, y = _sample(cell)
    traced = cell["seed"] == 0  # one is shown
    network, history = _trained(cell, x, y, traced=traced)
    if history.state == "diverged":
        return Diverged(history.reason)
    curves = _curves(univariate_knots(network).inside(x), x, y)
    curves["clean"] = cell.parts["target"](torch.tensor(curves["grid"], dtype=torch.float64)[:, None])[:, 0].tolist()
    found = {
        **_measured(network, x, y, cell["step_size"]),
        **_errors(cell, network, x, clean, y),
        **curves,
        "interpolating_step": float(largest_interpolating_step(x.numpy(), y.numpy())),
    }
    if traced:
        steps, values = history.column("sharpness")
        found |= {"trace_step": steps, "trace_sharpness": values, "trace_floor": history.column("floor")[1]}
    return found


def _rate(cell: Cell) -> Columns | Diverged:
    x, clean, y = _sample(cell)
    network, history = _trained(cell, x, y, traced=False)
    if history.state == "diverged":
        return Diverged(history.reason)
    fresh = _interior()
    target = cell.parts["target"](fresh)[:, 0].numpy()
    at, flat, labels = fresh[:, 0].numpy(), x[:, 0].numpy(), y[:, 0].numpy()
    penalty = 0.5 * (cell["noise"] ** 2 / cell["n"]) ** float(rates.low_norm_mse(1))
    fit = fit_one_dimension(flat, labels, penalty)
    line = np.polynomial.Polynomial.fit(flat, labels, 1)
    return {
        **_measured(network, x, y, cell["step_size"]),
        **_errors(cell, network, x, clean, y),
        "spline_error": _best_spline(flat, labels, at, target),
        "variation_error": float(np.mean((fit.predict(at) - target) ** 2)),
        "affine_error": float(np.mean((line(at) - target) ** 2)),
    }


def _best_spline(x: Array, y: Array, at: Array, target: Array) -> float:
    """The least error to the target over 25 penalties of the cubic smoothing spline, which is linear in the labels."""
    from scipy.interpolate import make_smoothing_spline

    penalties = np.geomspace(1e-5, 1e3, 25)
    return float(min(np.mean((make_smoothing_spline(x, y, lam=lam)(at) - target) ** 2) for lam in penalties))


def _limit(cell: Cell) -> Columns:
    x, _, y = _sample(cell)
    return {"interpolating_step": float(largest_interpolating_step(x.numpy(), y.numpy()))}


def _width(cell: Cell) -> Columns:
    """Random knots and orientations, output weights of least norm among those of least squares."""
    x, _, y = _sample(cell)
    rng = generator("study.extra", cell["seed"])
    draw = torch.rand(2, cell["width"], generator=rng, dtype=torch.float64)
    w = torch.where(draw[0] < 0.5, -1.0, 1.0).double()
    b = w * REACH * (2 * draw[1] - 1)
    design = torch.cat([(x * w - b).clamp(min=0), torch.ones_like(x)], dim=1)
    solution = torch.from_numpy(np.linalg.pinv(design.numpy(), rcond=1e-12) @ y.numpy())
    network = ShallowReLU.from_weights(w[:, None], b, solution[:-1, 0], solution[-1])
    fresh = _interior()
    with torch.no_grad():
        wrong = (network(fresh) - cell.parts["target"](fresh)).square() / cell["noise"] ** 2
        residual = float((network(x) - y).square().mean())
    floor: Any = Absent("it does not interpolate the labels")
    top: Any = floor
    if residual < 1e-16:
        floor = 2 / float(largest_interpolating_step(x.numpy(), y.numpy()))
        top = sharpness(balance_mean_gradient(network, x), LOSS, (x, y), rtol=1e-6).value
    return {
        "error_share": float(wrong.mean()),
        "worst_share": float(wrong.max()),
        "interpolant_error": residual,
        "interpolant_sharpness": top,
        "interpolant_floor": floor,
    }


# --- real data ---


def _real(cell: Cell) -> Columns | Diverged:
    x, y, fresh, truth = _series(cell)
    network, history = _trained(cell, x, y, traced=False)
    if history.state == "diverged":
        return Diverged(history.reason)
    low, high = torch.quantile(x, 0.1), torch.quantile(x, 0.9)
    inner = (fresh > low) & (fresh < high)
    with torch.no_grad():
        wrong = (network(fresh) - truth).square()
    return {
        **_measured(network, x, y, cell["step_size"]),
        **_curves(univariate_knots(network).inside(x), x, y),
        "heldout_error": float(wrong.mean()),
        "heldout_inner": float(wrong[inner].mean()),
        "constant_error": float((y.mean() - truth).square().mean()),
    }


def _series(cell: Cell) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and held-out points of a real series, inputs in [−2, 2], labels standardised."""
    check_choice("series", cell["series"], ["diabetes-bmi", "photo-row"])
    rng = generator("data.subset", cell["seed"])
    if cell["series"] == "diabetes-bmi":
        table = data.tabular("diabetes")  # body-mass index; progression of the disease
        position, values = table.x[:, table.features.index("bmi")], table.y[:, 0]
    else:
        image = data.photograph("china").mean(dim=2)
        values = image[int(torch.randint(len(image), (1,), generator=rng))][::2]
        position = torch.arange(len(values), dtype=torch.float64)
    low, high = position.min(), position.max()
    x = (REACH * (2 * (position - low) / (high - low) - 1))[:, None]
    y = ((values - values.mean()) / values.std(correction=0))[:, None]
    order = torch.randperm(len(x), generator=rng)
    chosen, rest = order[: cell["n"]].sort().values, order[cell["n"] :]
    labels = y[chosen]
    if cell["series"] == "photo-row":  # the table is noisy as it is
        labels = labels + data.noise(tuple(labels.shape), sigma=cell["noise"], seed=cell["seed"])
    return x[chosen], labels, x[rest], y[rest]
