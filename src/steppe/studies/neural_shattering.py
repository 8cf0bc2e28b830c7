"""Neural shattering: stable minima of ReLU networks suffer from the curse of dimensionality, small-norm ones do not.

Liang, Qiao, Wang, Parhi, *Stable Minima of ReLU Neural Networks Suffer from the Curse of Dimensionality: The Neural
Shattering Phenomenon*, NeurIPS 2025 (arXiv 2506.20779). Numbers of theorems and figures refer to version 3.

What was read in the paper: its set-up, theorems in prose, figure captions. What is recalled or derived: the sharper
constant of the flatness inequality, the exact constants of caps and of the ball's weight, and the bands on fitted
slopes, which follow an independent re-run because the paper does not state how long its networks were trained.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from steppe.harness import Cell, Diverged, FigureSpec, Grid, Rows, Slot, Study, Verdict

from . import _neural_shattering_claims as claims
from . import _neural_shattering_figures as figures
from ._neural_shattering_controls import CONTROLS

if TYPE_CHECKING:
    from torch import Tensor, nn

# --- parts: what a cell holds by name ---


def uniform_ball(n: int, d: int, *, seed: int) -> "Tensor":
    """Inputs uniform on the unit ball."""
    from steppe import data

    return data.uniform_ball(n, d, seed=seed)


def uniform_sphere(n: int, d: int, *, seed: int) -> "Tensor":
    """Inputs uniform on the unit sphere, where nothing is deep."""
    from steppe import data

    return data.uniform_sphere(n, d, seed=seed)


def unit_linear(x: "Tensor", *, seed: int) -> "Tensor":
    """The target wᵀx with a random unit vector w."""
    from steppe import data

    return data.unit_linear_teacher(x.shape[1], seed=seed).forward(x)


def hoelder(x: "Tensor", *, seed: int) -> "Tensor":
    """The target (1/d) Σ |u_jᵀx|^½ + 1 with random unit vectors u_j."""
    from steppe import data

    return data.hoelder_teacher(x.shape[1], seed=seed)(x)


def shallow_relu(inputs: int, width: int, *, seed: int) -> "nn.Module":
    """A two-layer ReLU network, He-normal weights and zero biases."""
    from steppe.networks import ShallowReLU

    return ShallowReLU(inputs, width, init="he", seed=seed)


def shallow_relu_torch(inputs: int, width: int, *, seed: int) -> "nn.Module":
    """A two-layer ReLU network with the default initialisation of linear layers."""
    from steppe.networks import ShallowReLU

    return ShallowReLU(inputs, width, init="torch", seed=seed)


def shallow_gelu(inputs: int, width: int, *, seed: int) -> "nn.Module":
    """A two-layer GELU network with the weights of the ReLU one."""
    from torch import nn

    from steppe.networks import ShallowReLU

    layers: list[nn.Module] = list(ShallowReLU(inputs, width, init="he", seed=seed).to_sequential())
    return nn.Sequential(layers[0], nn.GELU(), layers[2])


def large_step() -> dict[str, float]:
    """Step 0.9, no weight decay (figures 1 and 3)."""
    return {"step_size": 0.9, "weight_decay": 0.0}


def half_step() -> dict[str, float]:
    """Step 0.5, no weight decay (figure 4)."""
    return {"step_size": 0.5, "weight_decay": 0.0}


def moderate_step() -> dict[str, float]:
    """Step 0.2, no weight decay (figure 2, left)."""
    return {"step_size": 0.2, "weight_decay": 0.0}


def weight_decay() -> dict[str, float]:
    """Step 0.01, weight decay 0.1 on all parameters (figures 1 to 3, right)."""
    return {"step_size": 0.01, "weight_decay": 0.1}


SLOTS = {
    "inputs": Slot(
        "(n, d, *, seed) -> x [n, d] float64",
        {"uniform-ball": uniform_ball, "uniform-sphere": uniform_sphere},
        "where the inputs come from",
    ),
    "target": Slot(
        "(x, *, seed) -> clean targets [n, 1] float64",
        {"unit-linear": unit_linear, "hoelder": hoelder},
        "what is to be learned, before noise",
    ),
    "network": Slot(
        "(inputs, width, *, seed) -> ShallowReLU or nn.Sequential(Linear, activation, Linear)",
        {"shallow-relu": shallow_relu, "shallow-relu-torch": shallow_relu_torch, "shallow-gelu": shallow_gelu},
        "what is trained",
    ),
    "recipe": Slot(
        "() -> {'step_size': …, 'weight_decay': …}",
        {
            "large-step": large_step,
            "half-step": half_step,
            "moderate-step": moderate_step,
            "weight-decay": weight_decay,
        },
        "how it is trained; gradients are clipped at global norm 50",
    ),
}


# --- cells ---

_BASE: dict[str, Any] = {"inputs": "uniform-ball", "target": "unit-linear", "network": "shallow-relu", "noise": 1.0}


def _figure_3(flat_steps: int, decay_steps: int, seeds: range, **axes: Any) -> Grid:
    base = _BASE | {"d": 10, "n": 512, "width": 2048} | axes
    return Grid(experiment="network", **base, recipe="large-step", steps=flat_steps, seed=seeds) + Grid(
        experiment="network", **base, recipe="weight-decay", steps=decay_steps, seed=seeds
    )


def _figure_2(flat_steps: int, n: list[int], d: list[int], flat_seeds: range, decay_seeds: range) -> Grid:
    # Decay slopes are judged at 1000 steps, said beforehand: later, decay 0.1 has shrunk every network to a constant.
    recipes = (("moderate-step", flat_steps, flat_seeds), ("weight-decay", 1000, decay_seeds))
    grids = [
        Grid(experiment="sweep", **_BASE, d=d, n=size, width=4 * size, recipe=recipe, steps=steps, seed=seeds)
        for size in n
        for recipe, steps, seeds in recipes
    ]
    return sum(grids[1:], start=grids[0])


def _inequality(seeds: range) -> Grid:
    return Grid(
        experiment="inequality", construction="random", d=[1, 2, 5, 10], n=[20, 80], width=[16, 64], seed=seeds
    ) + Grid(
        experiment="inequality",
        construction=["two-sided", "one-sided"],
        residual=[0.0, 1.0],
        d=[1, 2, 5],
        width=16,
        seed=seeds,
    )


def _weight(n: list[int], seeds: range) -> Grid:
    return Grid(experiment="weight", d=[1, 2, 3, 5], n=n, seed=seeds)


def _hard(n: list[int], seeds: range) -> Grid:
    return Grid(experiment="hard", d=[2, 3], n=n, seed=seeds)


def _real(flat_steps: int, decay_steps: int, seeds: range, *, width: int = 1024) -> Grid:
    base = {
        "experiment": "real",
        "dataset": ["diabetes", "digits", "patches"],
        "labels": ["teacher", "smooth"],
        "network": "shallow-relu",
        "noise": 1.0,
        "n": 442,
        "width": width,
    }
    return Grid(**base, recipe="large-step", steps=flat_steps, seed=seeds) + Grid(
        **base, recipe="weight-decay", steps=decay_steps, seed=seeds
    )


# The longest cells first, so that no core idles at the end.
GRID = (
    _figure_3(12_000, 6000, range(5))
    + _real(6000, 3000, range(5))
    + _figure_2(4000, [512, 256, 128, 64, 32], [1, 2, 3, 4, 5], range(8), range(16))
    + _weight([16384, 4096, 1024, 256], range(10))
    + _hard([256, 1024, 4096, 16384, 65536], range(5))
    + _inequality(range(3))
)
QUICK = (
    _figure_3(3000, 1000, range(3))
    + _real(1000, 500, range(4), width=512)
    + _figure_2(1500, [256, 128, 64, 32], [1, 5], range(4), range(6))
    + _weight([4096, 1024, 256], range(6))
    + _hard([256, 1024, 4096, 16384], range(4))
    + _inequality(range(1))
)
FULL = (
    _figure_3(12_000, 6000, range(5))
    + Grid(
        experiment="network",
        **_BASE,
        d=[1, 2, 3, 4, 5, 6],
        n=512,
        width=1024,
        recipe="half-step",
        steps=20_000,
        seed=range(5),
    )
    + _real(12_000, 6000, range(5))
    + _figure_2(20_000, [512, 256, 128, 64, 32], [1, 2, 3, 4, 5], range(5), range(16))
    + _weight([16384, 4096, 1024, 256], range(10))
    + _hard([256, 1024, 4096, 16384, 65536], range(5))
    + _inequality(range(5))
)


def rows(cells: list[Cell]) -> Iterator[tuple[Cell, dict[str, Any] | Diverged]]:
    """Compute cells that agree in all of `together`; their networks are trained in one call."""
    from . import _neural_shattering_cells as computed

    return computed.rows(cells, list(COLUMNS))


def cost(cell: Mapping[str, Any]) -> float:
    """About the seconds of a cell on one core of a server, measurements included; fitted to runs of all sizes."""
    experiment, n = cell["experiment"], cell.get("n", 8)
    if experiment == "weight":
        return 0.015 + 7.5e-5 * n
    if experiment in ("hard", "inequality"):
        return 0.15 if experiment == "hard" else 0.015
    d = cell.get("d") or {"diabetes": 10, "digits": 61, "patches": 48}[cell["dataset"]]
    pairs = n * cell["width"]
    slower = 1 if cell["network"] == "shallow-relu" else 20  # autograd instead of the compiled kernel
    measuring = (2.5e-8 if experiment == "sweep" else 1e-7) * pairs * (d + 5)
    return float(0.02 + 2.6e-11 * pairs * cell["steps"] * (d + 3) * slower + measuring)


COLUMNS = {
    "clean_error": "mean squared error to the clean targets at the training inputs (label units²)",
    "training_error": "mean squared residual on the noisy labels, without ½ (label units²)",
    "noise_variance": "realised mean squared noise of this draw (label units²)",
    "memorised_share": "clean error over realised noise variance; 1 is an interpolant of the noise",
    "heldout_error": "mean squared error to clean targets at 4000 fresh inputs (label units²)",
    "sharpness": "largest eigenvalue of the Hessian of ½ mean squared error, all parameters (loss/parameter²)",
    "sharpness_residual": "residual norm of that eigenvalue (loss/parameter²)",
    "gauss_newton_sharpness": "largest eigenvalue of its Gauss–Newton part (loss/parameter²)",
    "gauss_newton_error": "its numerical error (loss/parameter²)",
    "stability_limit": "2/η (loss/parameter²)",
    "plateau_sharpness": "median sharpness over the last quarter of training (loss/parameter²)",
    "live_fraction": "share of neurons active on at least one sample",
    "rare_share": "share of live neurons active on at most 10 % of the samples",
    "median_activation": "median over live neurons of the share of samples that activate them",
    "path_norm": "Σ |v_k| ‖w_k‖",
    "weighted_norm": "|f|_{V_g}: reduced, two-sided weighted variation seminorm with the empirical weight",
    "one_sided_sum": "Σ |v_k| ‖w_k‖ g̃(u_k, t_k): one-sided, not merged",
    "flatness_bound": "λ/2 − ½ + (R+1) √(2L), Theorem 3.2",
    "flatness_bound_sharper": "λ/2 − ½ + ½ √(1+R²) √(2L), derived",
    "flatness_error": "numerical error of the two bounds",
    "residual_term": "√(2L) = root mean squared residual",
    "radius": "R, the largest input norm",
    "mean_gradient_squared": "‖mean over samples of ∇f(x_i)‖²",
    "clipped": "number of updates shortened by clipping",
    "neuron_fraction": "curve: share of samples that activate each live neuron",
    "neuron_norm": "curve: |v_k| ‖w_k‖ of the same neurons",
    "trace_step": "curve: steps at which the two next curves were measured",
    "trace_sharpness": "curve: sharpness at those steps",
    "trace_clean_error": "curve: clean error at those steps",
    "weight_distance": "curve: distance 1 − t of a hyperplane to the boundary of the ball",
    "weight_empirical": "curve: empirical two-sided weight at that distance, mean over directions",
    "weight_population": "curve: exact weight of the uniform ball at that distance",
    "weight_lower": "curve: p·s, a lower bound on the one-sided weight, at random hyperplanes",
    "weight_one_sided": "curve: one-sided empirical weight at the same hyperplanes",
    "weight_upper": "curve: √(1+R²) p·s, an upper bound",
    "weight_supremum": "largest |empirical − population weight| over 64 directions and 41 thresholds",
    "weight_limit_ratio": "g_P(t)/(1−t)^(d+2) at 1−t = 10⁻⁵ over its limit G_d",
    "caps": "number of disjoint caps of height ε², ε = n^(−1/(d+1))",
    "empty_caps": "how many of them hold no sample",
    "hard_sharpness": "sharpness of the network of atoms on the empty caps (loss/parameter²)",
    "hard_sharpness_occupied": "the same after one cap that holds a sample was added (loss/parameter²)",
    "hard_training_error": "its mean squared residual on zero labels",
    "hard_training_error_occupied": "the same after one cap that holds a sample was added",
    "hard_energy": "its squared L2 norm under the uniform ball, number of empty caps × ‖Φ‖²",
    "hard_energy_deviation": "Monte Carlo minus that, in standard errors (10⁶ samples)",
    "hard_energy_deviation_all": "the same if the occupied caps were counted too",
    "hard_overlap": "largest number of atoms active at one of those samples",
    "hard_overlap_twice": "the same for all caps at twice the height",
}


# --- the study ---


def headline(rows: Rows, verdicts: dict[str, Verdict]) -> str:
    """The phenomenon in plain words, from the rows of figure 3 and of the real inputs."""
    flat, decay = rows.done.where(**claims.LARGE), rows.done.where(**claims.DECAY)
    if not flat or not decay:
        return "The networks of figure 3 were not trained in this run."

    def mean(found: Rows, column: str) -> float:
        return float(found.column(column).mean())

    def share(value: float) -> str:
        return f"{100 * value:.0f} %"

    contrast = (
        f"With weight decay {share(mean(decay, 'live_fraction'))} of the neurons are alive, "
        f"{share(mean(decay, 'rare_share'))} of them fire that rarely, and the error is "
        f"{share(mean(decay, 'memorised_share'))} of the noise."
    )
    return (
        f"With step 0.9 the networks settled at sharpness {mean(flat, 'plateau_sharpness'):.2f} "
        f"(limit {mean(flat, 'stability_limit'):.2f}); {share(mean(flat, 'rare_share'))} of their live neurons fire on "
        f"at most 10 % of the data, and their error to the clean targets is {share(mean(flat, 'memorised_share'))} of "
        f"the noise they were trained on. {contrast} {_real_headline(rows.done.where(experiment='real'))}"
    ).strip()


def _real_headline(rows: Rows) -> str:
    def shares(recipe: str) -> str:
        found = rows.where(recipe=recipe).by("dataset").items()
        return ", ".join(f"{claims.REAL[name]} {group.column('rare_share').mean():.0%}" for (name,), group in found)

    if not rows:
        return ""
    words = f"On real inputs the share of neurons that fire that rarely is {shares('large-step')} at the large step, "
    return (words + f"and {shares('weight-decay')} with weight decay.").replace("%", " %")


STUDY = Study(
    slug="neural-shattering",
    title="Neural shattering: what flatness buys, and what it hides",
    summary=(
        "Gradient descent with a large step can only settle in flat places. In two-layer ReLU networks flatness bounds "
        "a norm whose weight vanishes where few data lie, so a flat network may hide huge neurons that hardly ever "
        "fire, and memorise noise with them. Does it, on the paper's data and on real data, "
        "and does weight decay prevent it?"
    ),
    paper="liang2025stable",
    reference=(
        "T. Liang, D. Qiao, Y.-X. Wang, R. Parhi. Stable Minima of ReLU Neural Networks Suffer from the Curse of "
        "Dimensionality: The Neural Shattering Phenomenon. NeurIPS 2025. arXiv:2506.20779."
    ),
    revision=1,
    grid=GRID,
    quick=QUICK,
    full=FULL,
    columns=COLUMNS,
    rows=rows,
    together=(
        "experiment",
        "inputs",
        "dataset",
        "labels",
        "target",
        "network",
        "d",
        "n",
        "width",
        "noise",
        "recipe",
        "steps",
    ),
    slots=SLOTS,
    claims=claims.CLAIMS,
    controls=CONTROLS,
    figures=(
        FigureSpec("neurons", figures.neurons, claims=("shattering-rare-neurons", "decay-no-dead-neuron")),
        FigureSpec("sharpness", figures.sharpness_traces, claims=("edge-of-stability", "large-step-memorises")),
        FigureSpec("error", figures.errors, claims=("curse-at-dimension-5", "curse-of-dimension", "decay-no-curse")),
        FigureSpec("slack", figures.slack, claims=("flatness-inequality", "flatness-inequality-sharper")),
        FigureSpec("weight", figures.weight, claims=("weight-converges", "weight-boundary-limit")),
        FigureSpec(
            "hard", figures.hard, claims=("hard-functions-flat", "lower-bound-scaling-2", "lower-bound-scaling-3")
        ),
        FigureSpec("real-neurons", figures.real_neurons, section="real data"),
        FigureSpec("real-sharpness", figures.real_traces, section="real data"),
    ),
    headline=headline,
    cost=cost,
)
