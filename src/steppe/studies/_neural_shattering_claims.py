"""What `neural-shattering` claims. The controls stand in `_neural_shattering_controls`."""

from typing import Any

from steppe.harness import (
    AtLeast,
    AtMost,
    Claim,
    Equal,
    PowerLaw,
    Row,
    Settles,
    SlopesOrdered,
    Within,
)

from ._flatness_sides import gauss_newton_bound, paper_bound, sharper_bound

PAPER = "arXiv 2506.20779"
_PAPER_ROWS: dict[str, Any] = {"inputs": "uniform-ball", "target": "unit-linear", "network": "shallow-relu"}
_FIGURE_3 = _PAPER_ROWS | {"experiment": "network", "d": 10}
LARGE, DECAY = _FIGURE_3 | {"recipe": "large-step"}, _FIGURE_3 | {"recipe": "weight-decay"}
SWEEP_FLAT = _PAPER_ROWS | {"experiment": "sweep", "recipe": "moderate-step"}
SWEEP_DECAY = _PAPER_ROWS | {"experiment": "sweep", "recipe": "weight-decay", "steps": 1000}


def relu(row: Row) -> bool:
    return "weighted_norm" in row


def long_run(row: Row) -> bool:
    return all(row.get(key) == value for key, value in LARGE.items()) and row["steps"] >= 10_000


def chain_floor(row: Row) -> float:
    """1 + 2 Σ |v_k| ‖w_k‖ g̃."""
    return 1 + 2 * float(row["one_sided_sum"])


def quarter_noise(row: Row) -> float:
    """¼ of the realised noise variance."""
    return 0.25 * float(row["noise_variance"])


REAL = {"diabetes": "diabetes", "digits": "digits", "patches": "image patches"}


def _on_real_inputs(name: str, words: str) -> tuple[Claim, ...]:
    source = "the same question on real inputs"
    large = {"experiment": "real", "network": "shallow-relu", "dataset": name, "recipe": "large-step"}
    return (
        Within(
            f"real-{name}-shatters", f"On {words} a large step shatters too: most live neurons fire on at most 10 %.",
            source=source, figure="real-neurons", scope=large, by=("labels",),
            column="rare_share", low=0.8, statistic="mean",
        ),
        Within(
            f"real-{name}-decay", f"On {words} weight decay leaves hardly any rarely active neuron.",
            source=source, figure="real-neurons", scope=large | {"recipe": "weight-decay"}, by=("labels",),
            column="rare_share", high=0.05, statistic="mean",
        ),
        Settles(
            f"real-{name}-edge", f"On {words}, too, the sharpness settles at two over the step.",
            source=source, figure="real-sharpness", scope=large, by=("labels",),
            column="plateau_sharpness", at="stability_limit", within=0.1,
        ),
    )  # fmt: skip


CLAIMS = (
    # Theorems: inequalities and identities at finite n.
    AtMost(
        "flatness-inequality",
        "Flatness bounds the data-weighted variation seminorm.",
        source=f"{PAPER}, Theorem 3.2", kind="theorem", figure="slack",
        left="weighted_norm", right=paper_bound, scope=relu,
    ),
    AtMost(
        "flatness-inequality-sharper",
        "It bounds even the one-sided, unmerged sum, with a smaller constant on the residual.",
        source=f"derived from the proof of {PAPER}, Theorem 3.2", kind="theorem", figure="slack",
        left="one_sided_sum", right=sharper_bound, scope=relu,
    ),
    AtMost(
        "mean-gradient-floor",
        "The mean gradient is at least as long as the weighted path norm says.",
        source=f"derived from the proof of {PAPER}, Theorem 3.2", kind="theorem",
        left=chain_floor, right="mean_gradient_squared", rtol=1e-9, scope=relu,
    ),
    AtMost(
        "mean-gradient-ceiling",
        "The Gauss–Newton sharpness is at least the squared length of the mean gradient.",
        source=f"derived from the proof of {PAPER}, Theorem 3.2", kind="theorem",
        left="mean_gradient_squared", right=gauss_newton_bound, scope=relu,
    ),
    AtMost(
        "weight-lower-bound", "The one-sided weight is at least p·s.",
        source=f"derived from the definition in {PAPER}, Section 3", kind="theorem",
        scope={"experiment": "weight"}, left="weight_lower", right="weight_one_sided", slack=1e-12,
    ),
    AtMost(
        "weight-upper-bound", "The one-sided weight is at most √(1+R²) p·s.",
        source=f"derived from the definition in {PAPER}, Section 3", kind="theorem",
        scope={"experiment": "weight"}, left="weight_one_sided", right="weight_upper", slack=1e-12,
    ),
    Equal(
        "hard-functions-flat", "Bumps on empty caps have sharpness exactly 1, the least possible.",
        source=f"{PAPER}, Theorem 3.5, lower bound", kind="theorem", figure="hard",
        scope={"experiment": "hard"}, left="hard_sharpness", right=1.0, atol=1e-9,
    ),
    Equal(
        "hard-functions-interpolate", "They have zero training error.",
        source=f"{PAPER}, Theorem 3.5, lower bound", kind="theorem", figure="hard",
        scope={"experiment": "hard"}, left="hard_training_error", right=0.0,
    ),
    AtMost(
        "hard-functions-energy",
        "Their population norm is the number of empty caps times that of one atom (within 5 standard errors).",
        source=f"{PAPER}, lower bounds; constants derived", kind="theorem", figure="hard",
        scope={"experiment": "hard"}, left="hard_energy_deviation", right=5.0,
    ),
    AtMost(
        "hard-functions-disjoint", "At most one atom is active at any point.",
        source=f"{PAPER}, lower bounds", kind="theorem",
        scope={"experiment": "hard"}, left="hard_overlap", right=1.0,
    ),
    # Figures of the paper.
    Settles(
        "edge-of-stability", "Gradient descent settles where the sharpness is two over the step.",
        source=f"{PAPER}, Figures 1 and 3", kind="figure", figure="sharpness", scope=LARGE,
        column="plateau_sharpness", at="stability_limit", within=0.1,
    ),
    Within(
        "shattering-rare-neurons", "At a large step most live neurons fire on at most 10 % of the data.",
        source=f"{PAPER}, Figures 1 and 3", kind="figure", figure="neurons", scope=LARGE,
        column="rare_share", low=0.8, statistic="mean",
    ),
    AtLeast(
        "shattering-large-path-norm", "The path norm is in the hundreds or thousands …",
        source=f"{PAPER}, Figure 3", kind="figure", figure="neurons", scope=LARGE,
        left="path_norm", right=100.0,
    ),
    AtMost(
        "shattering-small-weighted-norm", "… while the data-weighted norm stays below 1.",
        source=f"{PAPER}, Figure 3 and Corollary 3.3", kind="figure", figure="neurons", scope=LARGE,
        left="weighted_norm", right=1.0,
    ),
    Equal(
        "decay-no-dead-neuron", "With weight decay every neuron stays alive.",
        source=f"{PAPER}, Figures 1 and 3", kind="figure", figure="neurons", scope=DECAY,
        left="live_fraction", right=1.0,
    ),
    Within(
        "large-step-memorises", "After 10 000 steps the flat network has memorised the noise.",
        source=f"{PAPER}, Figure 3", kind="figure", figure="sharpness", scope=long_run,
        column="memorised_share", low=0.65, high=1.25, statistic="mean",
    ),
    AtMost(
        "large-step-fits", "Its training error is far below the noise.",
        source=f"{PAPER}, Figure 3", kind="figure", figure="sharpness", scope=long_run,
        left="training_error", right=quarter_noise,
    ),
    AtMost(
        "decay-does-not-memorise", "With weight decay the error to the clean targets stays far below the noise.",
        source=f"{PAPER}, Figure 3", kind="figure", figure="sharpness", scope=DECAY,
        left="clean_error", right=quarter_noise,
    ),
    PowerLaw(
        "curse-at-dimension-5", "At d = 5 more data hardly help a flat network: the exponent of n is near −0.1.",
        source=f"{PAPER}, Figure 2 left", kind="figure", figure="error", scope=SWEEP_FLAT | {"d": 5},
        x="n", y="clean_error", low=-0.3, high=0.1,
    ),
    SlopesOrdered(
        "curse-of-dimension", "The decay of its error with n flattens as the dimension grows.",
        source=f"{PAPER}, Figure 2 left and Theorem 3.5", kind="figure", figure="error",
        scope=SWEEP_FLAT | {"d": [1, 3, 5]},
        x="n", y="clean_error", along="d", direction="decreasing",
    ),
    PowerLaw(
        "decay-no-curse", "With weight decay (1000 steps) the error falls faster than n^(−½) in every dimension.",
        source=f"{PAPER}, Figure 2 right", kind="figure", figure="error", scope=SWEEP_DECAY,
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
        scope={"experiment": "weight"}, left="weight_limit_ratio", right=1.0, rtol=1e-3,
    ),
    *(
        PowerLaw(
            f"lower-bound-scaling-{d}",
            f"What flat functions can hide on empty caps shrinks like n^(−2/(d+1)) only: n^(−2/{d + 1}) at d = {d}.",
            source=f"{PAPER}, Theorems 3.5 and 3.7", kind="ours", figure="hard",
            scope={"experiment": "hard", "d": d}, x="n", y="hard_energy",
            low=-2 / (d + 1) - 0.1, high=-2 / (d + 1) + 0.1,
        )
        for d in (2, 3)
    ),
    *(claim for name, words in REAL.items() for claim in _on_real_inputs(name, words)),
)  # fmt: skip
