"""What `neural-shattering` claims, and the near misses that must be rejected. All bands were fixed before the runs."""

from typing import Any

from steppe.harness import (
    AtLeast,
    AtMost,
    Claim,
    Control,
    Equal,
    PowerLaw,
    Row,
    Settles,
    SlopesOrdered,
    Within,
)

PAPER = "arXiv 2506.20779"
_PAPER_ROWS: dict[str, Any] = {"inputs": "uniform-ball", "target": "unit-linear", "network": "shallow-relu"}
_FIGURE_3 = _PAPER_ROWS | {"experiment": "network", "d": 10}
LARGE, DECAY = _FIGURE_3 | {"recipe": "large-step"}, _FIGURE_3 | {"recipe": "weight-decay"}
_SWEEP_FLAT = _PAPER_ROWS | {"experiment": "sweep", "recipe": "moderate-step"}
SWEEP_DECAY = _PAPER_ROWS | {"experiment": "sweep", "recipe": "weight-decay", "steps": 1000}


def _relu(row: Row) -> bool:
    return "weighted_norm" in row


def _long(row: Row) -> bool:
    return all(row.get(key) == value for key, value in LARGE.items()) and row["steps"] >= 10_000


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


REAL = {"diabetes": "diabetes", "digits": "digits", "patches": "image patches"}


def _on_real_inputs(name: str, words: str) -> tuple[Claim, ...]:
    source = "the same question on real inputs"
    large = {"experiment": "real", "dataset": name, "recipe": "large-step"}
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
        left="weighted_norm", right=paper_bound, scope=_relu,
    ),
    AtMost(
        "flatness-inequality-sharper",
        "It bounds even the one-sided, unmerged sum, with a smaller constant on the residual.",
        source=f"derived from the proof of {PAPER}, Theorem 3.2", kind="theorem", figure="slack",
        left="one_sided_sum", right=sharper_bound, scope=_relu,
    ),
    AtMost(
        "mean-gradient-floor",
        "The mean gradient is at least as long as the weighted path norm says.",
        source=f"derived from the proof of {PAPER}, Theorem 3.2", kind="theorem",
        left=chain_floor, right="mean_gradient_squared", rtol=1e-9, scope=_relu,
    ),
    AtMost(
        "mean-gradient-ceiling",
        "The Gauss–Newton sharpness is at least the squared length of the mean gradient.",
        source=f"derived from the proof of {PAPER}, Theorem 3.2", kind="theorem",
        left="mean_gradient_squared", right=gauss_newton_bound, scope=_relu,
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
        source=f"{PAPER}, Figure 3", kind="figure", figure="sharpness", scope=DECAY,
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


# --- negative controls: near misses that must be rejected ---

CONTROLS = (
    Control(
        AtMost("control-minus-one", "… with −1 in place of −½.", left="weighted_norm", right=bound_minus_one,
               scope=_relu),
        of="flatness-inequality", near_miss="−½ replaced by −1",
    ),
    Control(
        AtMost("control-loss-without-half", "… for a loss without ½.", left="weighted_norm", right=bound_without_half,
               scope=_relu),
        of="flatness-inequality", near_miss="sharpness of the loss without its ½",
    ),
    Control(
        AtMost("control-quarter", "… with ¼ in place of ½.", left="one_sided_sum", right=bound_quarter, scope=_relu),
        of="flatness-inequality-sharper", near_miss="constant ½ of the residual term replaced by ¼",
    ),
    Control(
        AtMost("control-chain", "… with 2.2 in place of 2.", left=chain_floor_too_large, right="mean_gradient_squared",
               scope=_relu),
        of="mean-gradient-floor", near_miss="factor 2 replaced by 2.2",
    ),
    Control(
        AtMost("control-ceiling", "… by a tenth.", left=mean_gradient_and_a_tenth, right=gauss_newton_bound,
               scope=_relu),
        of="mean-gradient-ceiling", near_miss="squared length times 1.1",
    ),
    Control(
        AtMost("control-weight", "… without √(1+R²).", left="weight_one_sided", right="weight_lower", slack=1e-12,
               scope={"experiment": "weight"}),
        of="weight-upper-bound", near_miss="factor √(1+R²) left out",
    ),
    Control(
        Equal(
            "control-occupied-cap", "… also if one cap holds a sample.",
            scope={"experiment": "hard"}, left="hard_sharpness_occupied", right=1.0, atol=1e-9,
        ),
        of="hard-functions-flat", near_miss="one cap that holds a sample added",
    ),
    Control(
        Settles(
            "control-one-over-step", "… at one over the step.", scope=LARGE,
            column="plateau_sharpness", at=half_limit, within=0.1,
        ),
        of="edge-of-stability", near_miss="limit 1/η, as if the loss had no ½",
    ),
    Control(
        Within("control-decay-rare", "… with weight decay.", scope=DECAY, column="rare_share", low=0.8,
               statistic="mean"),
        of="shattering-rare-neurons", near_miss="the weight-decay networks in place of the flat ones",
    ),
    Control(
        Equal("control-large-step-alive", "… at a large step.", scope=LARGE, left="live_fraction", right=1.0),
        of="decay-no-dead-neuron", near_miss="the flat networks in place of the weight-decay ones",
    ),
    Control(
        AtMost("control-large-step-clean", "… at a large step.", scope=LARGE, left="clean_error", right=quarter_noise),
        of="decay-does-not-memorise", near_miss="the flat networks in place of the weight-decay ones",
    ),
    Control(
        PowerLaw(
            "control-curse-decay", "… with weight decay.", scope=SWEEP_DECAY | {"d": 5},
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
    *(
        Control(
            PowerLaw(
                f"control-half-exponent-{d}", f"… like n^(−1/{d + 1}).", scope={"experiment": "hard", "d": d},
                x="n", y="hard_energy", low=-1 / (d + 1) - 0.05, high=-1 / (d + 1) + 0.05,
            ),
            of=f"lower-bound-scaling-{d}", near_miss="exponent halved",
        )
        for d in (2, 3)
    ),
    *(
        Control(
            Within(
                f"control-real-{name}", "… with weight decay.", statistic="mean", column="rare_share", low=0.8,
                scope={"experiment": "real", "dataset": name, "recipe": "weight-decay"}, by=("labels",),
            ),
            of=f"real-{name}-shatters", near_miss="the weight-decay networks in place of the flat ones",
        )
        for name in REAL
    ),
)  # fmt: skip
