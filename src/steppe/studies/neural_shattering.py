"""Neural shattering: stable minima of ReLU networks suffer from the curse of dimensionality, small-norm ones do not.

Liang, Qiao, Wang, Parhi, *Stable Minima of ReLU Neural Networks Suffer from the Curse of Dimensionality: The Neural
Shattering Phenomenon*, NeurIPS 2025 (arXiv 2506.20779). Numbers of theorems and figures refer to version 3.

What was read in the paper: its set-up, theorems in prose, figure captions. What is recalled or derived: the sharper
constant of the flatness inequality, the exact constants of caps and of the ball's weight, and the bands on fitted
slopes, which follow an independent re-run because the paper does not state how long its networks were trained.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from steppe.harness import (
    AtLeast,
    AtMost,
    Cell,
    Control,
    Diverged,
    Equal,
    FigureSpec,
    Grid,
    PowerLaw,
    Row,
    Rows,
    Settles,
    Slot,
    SlopesOrdered,
    Study,
    Verdict,
    Within,
)

from . import _neural_shattering_figures as figures

if TYPE_CHECKING:
    from torch import Tensor, nn

PAPER = "arXiv 2506.20779"


# --- parts: what a cell holds by name --------------------------------------------------------------------------------


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

    return data.unit_linear_teacher(x.shape[1], seed=seed)(x)


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

    first, _, second = shallow_relu(inputs, width, seed=seed).to_sequential()
    return nn.Sequential(first, nn.GELU(), second)


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


# --- cells -----------------------------------------------------------------------------------------------------------

_BASE: dict[str, Any] = {"inputs": "uniform-ball", "target": "unit-linear", "network": "shallow-relu", "noise": 1.0}


def _figure_3(flat_steps: int, decay_steps: int, seeds: range, **axes: Any) -> Grid:
    base = _BASE | {"d": 10, "n": 512, "width": 2048} | axes
    return Grid(experiment="network", **base, recipe="large-step", steps=flat_steps, seed=seeds) + Grid(
        experiment="network", **base, recipe="weight-decay", steps=decay_steps, seed=seeds
    )


def _figure_2(flat_steps: int, n: tuple[int, ...], d: tuple[int, ...], seeds: range) -> Grid:
    # Decay slopes are judged at 1000 steps, said beforehand: later, decay 0.1 has shrunk every network to a constant.
    grids = [
        Grid(experiment="sweep", **_BASE, d=d, n=size, width=4 * size, recipe=recipe, steps=steps, seed=seeds)
        for size in n
        for recipe, steps in (("moderate-step", flat_steps), ("weight-decay", 1000))
    ]
    return sum(grids[1:], start=grids[0])


def _inequality(seeds: range) -> Grid:
    return Grid(
        experiment="inequality", construction="random", d=[1, 2, 5, 10], n=[20, 80], width=[16, 64], seed=seeds
    ) + Grid(
        experiment="inequality", construction=["two-sided", "one-sided"], residual=[0.0, 1.0], d=[1, 2, 5], width=16,
        seed=seeds,
    )  # fmt: skip


def _weight(n: list[int], seeds: range) -> Grid:
    return Grid(experiment="weight", d=[1, 2, 3, 5], n=n, seed=seeds)


def _hard(n: list[int], seeds: range) -> Grid:
    return Grid(experiment="hard", d=[2, 3], n=n, seed=seeds)


def _real(flat_steps: int, decay_steps: int, seeds: range, *, width: int = 1024) -> Grid:
    base = {
        "experiment": "real", "dataset": ["diabetes", "digits", "patches"], "labels": ["teacher", "smooth"],
        "network": "shallow-relu", "noise": 1.0, "n": 442, "width": width,
    }  # fmt: skip
    return Grid(**base, recipe="large-step", steps=flat_steps, seed=seeds) + Grid(
        **base, recipe="weight-decay", steps=decay_steps, seed=seeds
    )


GRID = (
    _figure_3(12_000, 6000, range(3))
    + _figure_2(4000, (32, 64, 128, 256, 512), (1, 2, 3, 4, 5), range(5))
    + _inequality(range(3))
    + _weight([256, 1024, 4096, 16384], range(5))
    + _hard([256, 1024, 4096, 16384, 65536], range(5))
    + _real(6000, 3000, range(3))
)
QUICK = (
    _figure_3(3000, 1500, range(3))
    + _figure_2(2000, (32, 64, 128, 256), (1, 5), range(4))
    + _inequality(range(1))
    + _weight([256, 1024, 4096], range(4))
    + _hard([256, 1024, 4096, 16384], range(4))
    + _real(1500, 1000, range(2), width=512)
)
FULL = (
    _figure_3(12_000, 6000, range(5))
    + _figure_2(20_000, (32, 64, 128, 256, 512), (1, 2, 3, 4, 5), range(5))
    + _inequality(range(5))
    + _weight([256, 1024, 4096, 16384], range(5))
    + _hard([256, 1024, 4096, 16384, 65536], range(5))
    + _real(12_000, 6000, range(5))
    + Grid(
        experiment="network", **_BASE, d=[1, 2, 3, 4, 5, 6], n=512, width=1024, recipe="half-step", steps=20_000,
        seed=range(5),
    )  # fmt: skip
)


def rows(cells: list[Cell]) -> Iterator[tuple[Cell, dict[str, Any] | Diverged]]:
    """Compute cells that agree in all of `together`; their networks are trained in one call."""
    from . import _neural_shattering_cells as computed

    return computed.rows(cells, list(COLUMNS))


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
    "weight_supremum": "largest |empirical − population weight| over 256 directions and 41 thresholds",
    "weight_limit_ratio": "g_P(t)/(1−t)^(d+2) at 1−t = 10⁻⁵ over its limit G_d",
    "caps": "number of disjoint caps of height ε², ε = n^(−1/(d+1))",
    "empty_caps": "how many of them hold no sample",
    "hard_sharpness": "sharpness of the network of atoms on the empty caps (loss/parameter²)",
    "hard_sharpness_occupied": "the same after one cap that holds a sample was added (loss/parameter²)",
    "hard_training_error": "its mean squared residual on zero labels",
    "hard_energy": "its squared L2 norm under the uniform ball, number of empty caps × ‖Φ‖²",
    "hard_energy_deviation": "Monte Carlo minus that, in standard errors (10⁶ samples)",
    "hard_overlap": "largest number of atoms active at one of those samples",
}


# --- claims ----------------------------------------------------------------------------------------------------------

_PAPER_ROWS = {"inputs": "uniform-ball", "target": "unit-linear", "network": "shallow-relu"}
_FIGURE_3 = _PAPER_ROWS | {"experiment": "network", "d": 10}
_LARGE, _DECAY = _FIGURE_3 | {"recipe": "large-step"}, _FIGURE_3 | {"recipe": "weight-decay"}
_SWEEP_FLAT = _PAPER_ROWS | {"experiment": "sweep", "recipe": "moderate-step"}
_SWEEP_DECAY = _PAPER_ROWS | {"experiment": "sweep", "recipe": "weight-decay", "steps": 1000}


def _long(row: Row) -> bool:
    return all(row.get(key) == value for key, value in _LARGE.items()) and row["steps"] >= 10_000


def paper_bound(row: Row) -> float:
    """λ/2 − ½ + (R+1) √(2L)."""
    return float(row["flatness_bound"]) + float(row["flatness_error"])


def sharper_bound(row: Row) -> float:
    """λ/2 − ½ + ½ √(1+R²) √(2L)."""
    return float(row["flatness_bound_sharper"]) + float(row["flatness_error"])


def bound_minus_one(row: Row) -> float:
    """λ/2 − 1 + (R+1) √(2L)."""
    return paper_bound(row) - 0.5


def bound_without_half(row: Row) -> float:
    """λ/4 − ½ + (R+1) √(2L), as if the loss had no ½."""
    return paper_bound(row) - float(row["sharpness"]) / 4


def bound_quarter(row: Row) -> float:
    """λ/2 − ½ + ¼ √(1+R²) √(2L)."""
    return sharper_bound(row) - 0.25 * (1 + float(row["radius"]) ** 2) ** 0.5 * float(row["residual_term"])


def chain_floor(row: Row) -> float:
    """1 + 2 Σ |v_k| ‖w_k‖ g̃."""
    return 1 + 2 * float(row["one_sided_sum"])


def chain_floor_too_large(row: Row) -> float:
    """1 + 2.2 Σ |v_k| ‖w_k‖ g̃."""
    return 1 + 2.2 * float(row["one_sided_sum"])


def gauss_newton_bound(row: Row) -> float:
    """λ_max of the Gauss–Newton matrix."""
    return float(row["gauss_newton_sharpness"]) + float(row["gauss_newton_error"])


def mean_gradient_and_a_tenth(row: Row) -> float:
    """1.1 times the squared length of the mean gradient."""
    return 1.1 * float(row["mean_gradient_squared"])


def half_limit(row: Row) -> float:
    """1/η."""
    return float(row["stability_limit"]) / 2


def quarter_noise(row: Row) -> float:
    """¼ of the realised noise variance."""
    return 0.25 * float(row["noise_variance"])


def _low_slope(group: Any) -> float:
    return -2 / (float(group["d"]) + 1) - 0.1


def _high_slope(group: Any) -> float:
    return -2 / (float(group["d"]) + 1) + 0.1


def _shallower(group: Any) -> float:
    return -1 / (float(group["d"]) + 1) - 0.05


def _shallower_end(group: Any) -> float:
    return -1 / (float(group["d"]) + 1) + 0.05


CLAIMS = (
    # Theorems: inequalities and identities at finite n.
    AtMost(
        "flatness-inequality",
        "Flatness bounds the data-weighted variation seminorm.",
        source=f"{PAPER}, Theorem 3.2", kind="theorem", figure="slack",
        left="weighted_norm", right=paper_bound,
    ),
    AtMost(
        "flatness-inequality-sharper",
        "It bounds even the one-sided, unmerged sum, with a smaller constant on the residual.",
        source=f"derived from the proof of {PAPER}, Theorem 3.2", kind="theorem", figure="slack",
        left="one_sided_sum", right=sharper_bound,
    ),
    AtMost(
        "mean-gradient-floor",
        "The mean gradient is at least as long as the weighted path norm says.",
        source=f"derived from the proof of {PAPER}, Theorem 3.2", kind="theorem",
        left=chain_floor, right="mean_gradient_squared", rtol=1e-9,
    ),
    AtMost(
        "mean-gradient-ceiling",
        "The Gauss–Newton sharpness is at least the squared length of the mean gradient.",
        source=f"derived from the proof of {PAPER}, Theorem 3.2", kind="theorem",
        left="mean_gradient_squared", right=gauss_newton_bound,
    ),
    AtMost(
        "weight-lower-bound", "The one-sided weight is at least p·s.",
        source=f"derived from the definition in {PAPER}, Section 3", kind="theorem",
        left="weight_lower", right="weight_one_sided", slack=1e-12,
    ),
    AtMost(
        "weight-upper-bound", "The one-sided weight is at most √(1+R²) p·s.",
        source=f"derived from the definition in {PAPER}, Section 3", kind="theorem",
        left="weight_one_sided", right="weight_upper", slack=1e-12,
    ),
    Equal(
        "hard-functions-flat", "Bumps on empty caps have sharpness exactly 1, the least possible.",
        source=f"{PAPER}, Theorem 3.5, lower bound", kind="theorem", figure="hard",
        left="hard_sharpness", right=1.0, atol=1e-9,
    ),
    Equal(
        "hard-functions-interpolate", "They have zero training error.",
        source=f"{PAPER}, Theorem 3.5, lower bound", kind="theorem", figure="hard",
        left="hard_training_error", right=0.0,
    ),
    AtMost(
        "hard-functions-energy",
        "Their population norm is the number of empty caps times that of one atom (within 5 standard errors).",
        source=f"{PAPER}, lower bounds; constants derived", kind="theorem", figure="hard",
        left="hard_energy_deviation", right=5.0,
    ),
    AtMost(
        "hard-functions-disjoint", "At most one atom is active at any point.",
        source=f"{PAPER}, lower bounds", kind="theorem",
        left="hard_overlap", right=1.0,
    ),
    # Figures of the paper.
    Settles(
        "edge-of-stability", "Gradient descent settles where the sharpness is two over the step.",
        source=f"{PAPER}, Figures 1 and 3", kind="figure", figure="sharpness", scope=_LARGE,
        column="plateau_sharpness", at="stability_limit", within=0.1,
    ),
    Within(
        "shattering-rare-neurons", "At a large step most live neurons fire on at most 10 % of the data.",
        source=f"{PAPER}, Figures 1 and 3", kind="figure", figure="neurons", scope=_LARGE,
        column="rare_share", low=0.8, statistic="mean",
    ),
    AtLeast(
        "shattering-large-path-norm", "The path norm is in the hundreds or thousands …",
        source=f"{PAPER}, Figure 3", kind="figure", figure="neurons", scope=_LARGE,
        left="path_norm", right=100.0,
    ),
    AtMost(
        "shattering-small-weighted-norm", "… while the data-weighted norm stays below 1.",
        source=f"{PAPER}, Figure 3 and Corollary 3.3", kind="figure", figure="neurons", scope=_LARGE,
        left="weighted_norm", right=1.0,
    ),
    Equal(
        "decay-no-dead-neuron", "With weight decay every neuron stays alive.",
        source=f"{PAPER}, Figures 1 and 3", kind="figure", figure="neurons", scope=_DECAY,
        left="live_fraction", right=1.0,
    ),
    Within(
        "large-step-memorises", "After 10 000 steps the flat network has memorised the noise.",
        source=f"{PAPER}, Figure 3", kind="figure", figure="sharpness", scope=_long,
        column="memorised_share", low=0.65, high=1.25, statistic="mean",
    ),
    AtMost(
        "large-step-fits", "Its training error is far below the noise.",
        source=f"{PAPER}, Figure 3", kind="figure", figure="sharpness", scope=_long,
        left="training_error", right=quarter_noise,
    ),
    AtMost(
        "decay-does-not-memorise", "With weight decay the error to the clean targets stays far below the noise.",
        source=f"{PAPER}, Figure 3", kind="figure", figure="sharpness", scope=_DECAY,
        left="clean_error", right=quarter_noise,
    ),
    PowerLaw(
        "curse-at-dimension-5", "At d = 5 more data hardly help a flat network: the exponent of n is near −0.1.",
        source=f"{PAPER}, Figure 2 left", kind="figure", figure="error", scope=_SWEEP_FLAT | {"d": 5},
        x="n", y="clean_error", low=-0.3, high=0.1,
    ),
    SlopesOrdered(
        "curse-of-dimension", "The decay of its error with n flattens as the dimension grows.",
        source=f"{PAPER}, Figure 2 left and Theorem 3.5", kind="figure", figure="error",
        scope=_SWEEP_FLAT | {"d": [1, 3, 5]},
        x="n", y="clean_error", along="d", direction="decreasing",
    ),
    PowerLaw(
        "decay-no-curse", "With weight decay (1000 steps) the error falls faster than n^(−½) in every dimension.",
        source=f"{PAPER}, Figure 2 right", kind="figure", figure="error", scope=_SWEEP_DECAY,
        x="n", y="clean_error", high=-0.5, by=("d",),
    ),
    # Ours.
    PowerLaw(
        "weight-converges", "The empirical weight converges to that of the ball like n^(−½).",
        source=f"{PAPER}, Section 3 (Õ(√(d/n)), uniform)", kind="ours", figure="weight",
        scope={"experiment": "weight"}, x="n", y="weight_supremum", low=-0.65, high=-0.35, by=("d",),
    ),
    Equal(
        "weight-boundary-limit", "At the boundary the weight of the ball is G_d (1−t)^(d+2).",
        source="derived from the definition", kind="ours", figure="weight",
        left="weight_limit_ratio", right=1.0, rtol=1e-3,
    ),
    PowerLaw(
        "lower-bound-scaling", "What flat functions can hide on empty caps shrinks like n^(−2/(d+1)) only.",
        source=f"{PAPER}, Theorems 3.5 and 3.7", kind="ours", figure="hard", scope={"experiment": "hard"},
        x="n", y="hard_energy", low=_low_slope, high=_high_slope, by=("d",),
    ),
    *(
        Within(
            f"real-{name}-shatters", f"On {words} a large step shatters too: most live neurons fire on at most 10 %.",
            source="the same question on real inputs", kind="ours", figure="real-neurons",
            scope={"experiment": "real", "dataset": name, "recipe": "large-step"},
            column="rare_share", low=0.8, statistic="mean", by=("labels",),
        )
        for name, words in (("diabetes", "diabetes"), ("digits", "digits"), ("patches", "image patches"))
    ),
    AtMost(
        "real-decay-does-not-shatter", "On real inputs weight decay leaves hardly any rarely active neuron.",
        source="the same question on real inputs", kind="ours", figure="real-neurons",
        scope={"experiment": "real", "recipe": "weight-decay"}, left="rare_share", right=0.05,
    ),
    Settles(
        "real-edge-of-stability", "On real inputs, too, the sharpness settles at two over the step.",
        source="the same question on real inputs", kind="ours", figure="real-sharpness",
        scope={"experiment": "real", "recipe": "large-step"}, by=("dataset", "labels"),
        column="plateau_sharpness", at="stability_limit", within=0.1,
    ),
)  # fmt: skip


# --- negative controls: near misses that must be rejected ------------------------------------------------------------

CONTROLS = (
    Control(
        AtMost("control-minus-one", "… with −1 in place of −½.", left="weighted_norm", right=bound_minus_one),
        of="flatness-inequality", near_miss="−½ replaced by −1",
    ),
    Control(
        AtMost("control-loss-without-half", "… for a loss without ½.", left="weighted_norm", right=bound_without_half),
        of="flatness-inequality", near_miss="sharpness of the loss without its ½",
    ),
    Control(
        AtMost("control-quarter", "… with ¼ in place of ½.", left="one_sided_sum", right=bound_quarter),
        of="flatness-inequality-sharper", near_miss="constant ½ of the residual term replaced by ¼",
    ),
    Control(
        AtMost("control-chain", "… with 2.2 in place of 2.", left=chain_floor_too_large, right="mean_gradient_squared"),
        of="mean-gradient-floor", near_miss="factor 2 replaced by 2.2",
    ),
    Control(
        AtMost("control-ceiling", "… by a tenth.", left=mean_gradient_and_a_tenth, right=gauss_newton_bound),
        of="mean-gradient-ceiling", near_miss="squared length times 1.1",
    ),
    Control(
        AtMost("control-weight", "… without √(1+R²).", left="weight_one_sided", right="weight_lower", slack=1e-12),
        of="weight-upper-bound", near_miss="factor √(1+R²) left out",
    ),
    Control(
        Equal(
            "control-occupied-cap", "… also if one cap holds a sample.",
            left="hard_sharpness_occupied", right=1.0, atol=1e-9,
        ),
        of="hard-functions-flat", near_miss="one cap that holds a sample added",
    ),
    Control(
        Settles(
            "control-one-over-step", "… at one over the step.", scope=_LARGE,
            column="plateau_sharpness", at=half_limit, within=0.1,
        ),
        of="edge-of-stability", near_miss="limit 1/η, as if the loss had no ½",
    ),
    Control(
        Within("control-decay-rare", "… with weight decay.", scope=_DECAY, column="rare_share", low=0.8,
               statistic="mean"),
        of="shattering-rare-neurons", near_miss="the weight-decay networks in place of the flat ones",
    ),
    Control(
        Equal("control-large-step-alive", "… at a large step.", scope=_LARGE, left="live_fraction", right=1.0),
        of="decay-no-dead-neuron", near_miss="the flat networks in place of the weight-decay ones",
    ),
    Control(
        AtMost("control-large-step-clean", "… at a large step.", scope=_LARGE, left="clean_error", right=quarter_noise),
        of="decay-does-not-memorise", near_miss="the flat networks in place of the weight-decay ones",
    ),
    Control(
        PowerLaw(
            "control-curse-decay", "… with weight decay.", scope=_SWEEP_DECAY | {"d": 5},
            x="n", y="clean_error", low=-0.3, high=0.1,
        ),
        of="curse-at-dimension-5", near_miss="the weight-decay networks in place of the flat ones",
    ),
    Control(
        PowerLaw("control-flat-fast", "… for flat networks at d = 5.", scope=_SWEEP_FLAT | {"d": 5},
                 x="n", y="clean_error", high=-0.5),
        of="decay-no-curse", near_miss="the flat networks in place of the weight-decay ones",
    ),
    Control(
        PowerLaw(
            "control-fast-rate", "… like 1/n.", scope={"experiment": "weight"}, by=("d",),
            x="n", y="weight_supremum", low=-1.15, high=-0.85,
        ),
        of="weight-converges", near_miss="exponent −1 in place of −½",
    ),
    Control(
        PowerLaw(
            "control-half-exponent", "… like n^(−1/(d+1)).", scope={"experiment": "hard"}, by=("d",),
            x="n", y="hard_energy", low=_shallower, high=_shallower_end,
        ),
        of="lower-bound-scaling", near_miss="exponent halved",
    ),
    *(
        Control(
            Within(
                f"control-real-{name}", "… with weight decay.", statistic="mean", column="rare_share", low=0.8,
                scope={"experiment": "real", "dataset": name, "recipe": "weight-decay"}, by=("labels",),
            ),
            of=f"real-{name}-shatters", near_miss="the weight-decay networks in place of the flat ones",
        )
        for name in ("diabetes", "digits", "patches")
    ),
)  # fmt: skip


def headline(rows: Rows, verdicts: dict[str, Verdict]) -> str:
    """The phenomenon in two sentences, from the rows of figure 3."""
    flat, decay = (rows.done.where(**scope) for scope in (_LARGE, _DECAY))
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
        f"(limit {mean(flat, 'stability_limit'):.2f}); {share(mean(flat, 'rare_share'))} of their live neurons fire on at "
        f"most 10 % of the data, and their error to the clean targets is {share(mean(flat, 'memorised_share'))} of the "
        f"noise they were trained on. {contrast}"
    )


STUDY = Study(
    slug="neural-shattering",
    title="Neural shattering: what flatness buys, and what it hides",
    summary=(
        "Gradient descent with a large step can only settle in flat places. In two-layer ReLU networks flatness bounds a "
        "norm whose weight vanishes where few data lie, so a flat network may hide huge neurons that hardly ever fire, and "
        "memorise noise with them. Does it, on the paper's data and on real data, and does weight decay prevent it?"
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
        "experiment", "inputs", "dataset", "labels", "target", "network", "d", "n", "width", "noise", "recipe", "steps",
    ),
    slots=SLOTS,
    claims=CLAIMS,
    controls=CONTROLS,
    figures=(
        FigureSpec("neurons", figures.neurons, claims=("shattering-rare-neurons", "decay-no-dead-neuron")),
        FigureSpec("sharpness", figures.sharpness_traces, claims=("edge-of-stability", "large-step-memorises")),
        FigureSpec("error", figures.errors, claims=("curse-at-dimension-5", "curse-of-dimension", "decay-no-curse")),
        FigureSpec("slack", figures.slack, claims=("flatness-inequality", "flatness-inequality-sharper")),
        FigureSpec("weight", figures.weight, claims=("weight-converges", "weight-boundary-limit")),
        FigureSpec("hard", figures.hard, claims=("hard-functions-flat", "lower-bound-scaling")),
        FigureSpec("real-neurons", figures.real_neurons, section="real data", claims=("real-decay-does-not-shatter",)),
        FigureSpec("real-sharpness", figures.real_traces, section="real data", claims=("real-edge-of-stability",)),
    ),
    headline=headline,
)
