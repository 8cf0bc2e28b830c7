"""What `mulayoff2021-minima-stability` claims, and the near misses that must be rejected."""

from typing import Any

from steppe.harness import AtLeast, AtMost, Control, Equal, PowerLaw, Row, Settles, Within

PAPER = "Mulayoff, Michaeli, Soudry (2021)"
SGD = "Wu, Ma, E (2018), criterion recalled; closed form derived"
TRIPLE: dict[str, Any] = {"experiment": "triple", "inputs": "gaussian", "labels": "sine"}
_LEMMA: dict[str, Any] = {"experiment": "lemma"}
_WEIGHT: dict[str, Any] = {"experiment": "weight", "inputs": ["uniform", "gaussian", "laplace"]}
STOCHASTIC: dict[str, Any] = {"experiment": "sgd"}
_SMALL = STOCHASTIC | {"batch": [1, 2]}


def lemma_floor(row: Row) -> float:
    """1 + 2 ∫|f''| g."""
    return 1 + 2 * float(row["weighted_variation"])


def lemma_floor_weight(row: Row) -> float:
    """1 + 2 ∫|f''| g/P."""
    return 1 + 2 * float(row["halved_weight_variation"])


def lemma_floor_half(row: Row) -> float:
    """2 + 2 ∫|f''| g, as if ∫|f''| g ≤ λ/2 − 1."""
    return 1 + lemma_floor(row)


def gradient_floor(row: Row) -> float:
    """1 + 2 Σ |v_k| |w_k| g̃."""
    return 1 + 2 * float(row["one_sided_sum"])


def sharp_bound(row: Row) -> float:
    """λ/2 − ½ + ½ √(1+R²) √(2L), before tripling."""
    return float(row["bound_before"]) + (float(row["sharpness_before"]) - float(row["limit_before"])) / 2


def sharp_bound_after(row: Row) -> float:
    """λ/2 − ½ + ½ √(1+R²) √(2L), at the end."""
    return float(row["bound_after"]) + (float(row["sharpness_after"]) - float(row["limit_after"])) / 2


def tenth_bound_after(row: Row) -> float:
    """A tenth of λ/2 − ½ + ½ √(1+R²) √(2L)."""
    return sharp_bound_after(row) / 10


def half_limit_after(row: Row) -> float:
    """1/η of the tripled step."""
    return float(row["limit_after"]) / 2


def half_limit_before(row: Row) -> float:
    """1/η of the small step."""
    return float(row["limit_before"]) / 2


def hundredfold(row: Row) -> float:
    """100 times the loss before, or a hundredth if that is more."""
    return max(100 * float(row["loss_before"]), 0.01)


def kept_variation(row: Row) -> float:
    """∫|f''| g at the end over that before tripling."""
    return float(row["variation_after"]) / float(row["variation_before"])


def gained_variation(row: Row) -> float:
    """∫|f''| g before tripling over that at the end."""
    return 1 / kept_variation(row)


def difference_of_reductions(row: Row) -> float:
    """Share of ∫|f''| that went where g is large, minus that elsewhere."""
    return float(row["reduction_high"]) - float(row["reduction_low"])


def opposite_difference(row: Row) -> float:
    """Share of ∫|f''| that went where g is small, minus that where it is large."""
    return -difference_of_reductions(row)


def twice_least(row: Row) -> float:
    """Twice the infimum of ∫|f''| g over functions with the same values."""
    return 2 * float(row["least_same_values"])


def half_noise_limit(row: Row) -> float | None:
    """(1/2η) √(B(n−1)/(n−B))."""
    return float(row["non_uniformity_limit"]) / 2 if "non_uniformity_limit" in row else None


CLAIMS = (
    # Theorems.
    AtMost(
        "key-lemma", "No parametrisation is flatter than 1 + 2 ∫|f''| g, not even the one with the shortest gradient.",
        source=f"{PAPER}, key lemma", kind="theorem", figure="slack", scope=_LEMMA,
        left=lemma_floor, right="balanced_sharpness", rtol=1e-9,
    ),
    Equal(
        "least-gradient", "That rescaling makes the squared mean gradient 1 + 2 Σ |v_k| |w_k| g̃.",
        source=f"proof of {PAPER}, key lemma", kind="theorem", scope=_LEMMA,
        left="balanced_gradient", right=gradient_floor, rtol=1e-9,
    ),
    AtMost(
        "stable-bound", "Where the small step led, ∫|f''| g obeys the bound.",
        source=f"{PAPER}, Theorem 1; term of the residual derived", kind="theorem", figure="slack", scope=TRIPLE,
        left="variation_before", right=sharp_bound, rtol=1e-6,
    ),
    AtMost(
        "stable-bound-after", "Where the tripled step led, too.",
        source=f"{PAPER}, Theorem 1; term of the residual derived", kind="theorem", figure="slack", scope=TRIPLE,
        left="variation_after", right=sharp_bound_after, rtol=1e-6,
    ),
    AtMost(
        "least-variation", "No network is smoother than the infimum over all functions with its values at the samples.",
        source=f"derived from {PAPER}, Theorem 1", kind="theorem", scope=TRIPLE,
        left="least_same_values", right="variation_after", slack=1e-9,
    ),
    Equal(
        "weight-vanishes", "At the two ends of the sample the weight is zero.",
        source=f"{PAPER}, definition of g", kind="theorem", figure="weight", scope=_WEIGHT,
        left="weight_ends", right=0.0, atol=1e-12,
    ),
    AtMost(
        "criterion-below-exact", "The criterion for SGD is sufficient: its step is below that of second moments …",
        source=SGD, kind="theorem", figure="sgd", scope=STOCHASTIC,
        left="step_criterion", right="step_exact", rtol=1e-6,
    ),
    AtMost(
        "exact-below-full", "… which is below that of full batches.",
        source=SGD, kind="theorem", figure="sgd", scope=STOCHASTIC, left="step_exact", right="step_full", rtol=1e-6,
    ),
    AtMost(
        "non-uniformity-limit", "At the criterion's step s ≤ (1/η) √(B(n−1)/(n−B)).",
        source=SGD, kind="theorem", scope=STOCHASTIC, left="non_uniformity", right="non_uniformity_limit", rtol=1e-9,
    ),
    AtMost(
        "second-moments", "Linearised SGD has the predicted mean square (within 5 standard errors).",
        source="derived", kind="theorem", scope=STOCHASTIC, left="moment_deviation", right=5.0,
    ),
    # Figures of the paper.
    Settles(
        "edge-before", "The small step leads to where the sharpness is two over it.",
        source=f"{PAPER}, stability of minima", kind="figure", figure="jump", scope=TRIPLE,
        column="sharpness_before", at="limit_before", within=0.1, statistic="mean",
    ),
    AtLeast(
        "tripling-jumps", "Tripling the step makes the loss jump.",
        source=f"{PAPER}, figures", kind="figure", figure="jump", scope=TRIPLE, left="loss_jump", right=hundredfold,
    ),
    AtMost(
        "tripled-settles", "Training then settles where the sharpness is below two over the tripled step.",
        source=f"{PAPER}, figures", kind="figure", figure="jump", scope=TRIPLE,
        left="sharpness_after", right="limit_after", rtol=0.1,
    ),
    AtMost(
        "tripled-fits", "It fits the labels again.",
        source=f"{PAPER}, figures", kind="figure", figure="jump", scope=TRIPLE, left="loss_after", right=0.02,
    ),
    Within(
        "tripled-is-another", "The function is another one.",
        source=f"{PAPER}, figures", kind="figure", figure="functions", scope=TRIPLE,
        column="distance", low=0.05, statistic="mean",
    ),
    Within(
        "tripled-is-smoother", "It is smoother: ∫|f''| g has fallen.",
        source=f"{PAPER}, figures", kind="figure", figure="functions", scope=TRIPLE,
        column=kept_variation, high=0.9, statistic="mean",
    ),
    Within(
        "reduced-where-weight", "|f''| was reduced mostly where g is large.",
        source=f"{PAPER}, figures", kind="figure", figure="curvature", scope=TRIPLE,
        column=difference_of_reductions, low=0.3, statistic="mean",
    ),
    Within(
        "weight-middle", "The weight is largest near the middle of the sample.",
        source=f"{PAPER}, figure of g", kind="figure", figure="weight", scope=_WEIGHT, by=("inputs",),
        column="weight_top", low=0.3, high=0.7, statistic="mean",
    ),
    # Ours.
    PowerLaw(
        "weight-converges", "The weight of a sample converges to that of its law like n^(−½).",
        kind="ours", figure="weight", scope=_WEIGHT, by=("inputs",),
        x="n", y="weight_distance", low=-0.65, high=-0.35, statistic="mean",
    ),
    AtMost(
        "balanced-flatter", "The rescaling with the shortest mean gradient lowers the sharpness.",
        kind="ours", figure="slack", scope=_LEMMA, left="balanced_sharpness", right="sharpness",
    ),
    PowerLaw(
        "step-follows-batch", "The largest step of SGD grows almost in proportion to the batch.",
        kind="ours", figure="sgd", scope=STOCHASTIC | {"batch": [1, 2, 5]},
        x="batch", y="step_exact", low=0.7, high=1.0, statistic="mean",
    ),
    Within(
        "returns-below", "At 0.8 of the criterion's step SGD comes back to the minimum.",
        kind="ours", figure="sgd", scope=STOCHASTIC, by=("batch",),
        column="returned_below", low=0.95, statistic="mean",
    ),
    Within(
        "returns-below-exact", "At 0.8 of the exact step, too.",
        kind="ours", figure="sgd", scope=STOCHASTIC, by=("batch",),
        column="returned_exact", low=0.95, statistic="mean",
    ),
)  # fmt: skip

CONTROLS = (
    Control(
        AtMost("control-missing-half", "… with 1 in place of ½.", scope=_LEMMA,
               left=lemma_floor_half, right="balanced_sharpness"),
        of="key-lemma", near_miss="∫|f''| g ≤ λ/2 − 1, one half missing",
    ),
    Control(
        AtMost("control-weight", "… with P in place of P².", scope=_LEMMA,
               left=lemma_floor_weight, right="balanced_sharpness"),
        of="key-lemma", near_miss="the weight g/P",
    ),
    Control(
        Equal("control-gradient", "… without rescaling.", scope=_LEMMA,
              left="mean_gradient", right=gradient_floor, rtol=1e-9),
        of="least-gradient", near_miss="the network as drawn",
    ),
    Control(
        AtMost("control-bound", "… a tenth of it.", scope=TRIPLE, left="variation_after", right=tenth_bound_after),
        of="stable-bound-after", near_miss="a tenth of the bound",
    ),
    Control(
        AtMost("control-plain-variation", "… without the weight.", scope=TRIPLE,
               left="plain_after", right=sharp_bound_after),
        of="stable-bound", near_miss="∫|f''| in place of ∫|f''| g",
    ),
    Control(
        AtMost("control-twice-least", "… twice the infimum.", scope=TRIPLE,
               left=twice_least, right="variation_after"),
        of="least-variation", near_miss="infimum doubled",
    ),
    Control(
        Equal("control-inside", "… at the median.", scope=_WEIGHT, left="weight_inside", right=0.0, atol=1e-12),
        of="weight-vanishes", near_miss="the median in place of the ends",
    ),
    Control(
        AtMost("control-full-criterion", "… even the limit of full batches.", scope=_SMALL,
               left="step_full", right="step_exact"),
        of="criterion-below-exact", near_miss="2/a in place of the criterion",
    ),
    Control(
        AtMost("control-exact-criterion", "… below the criterion.", scope=_SMALL,
               left="step_exact", right="step_criterion"),
        of="exact-below-full", near_miss="the criterion in place of 2/a",
    ),
    Control(
        AtMost("control-half-noise", "… half of it.", scope=STOCHASTIC,
               left="non_uniformity", right=half_noise_limit),
        of="non-uniformity-limit", near_miss="1/2η in place of 1/η",
    ),
    Control(
        AtMost("control-moments", "… that of full batches.", scope=_SMALL,
               left="moment_deviation_full", right=5.0),
        of="second-moments", near_miss="the prediction without batch noise",
    ),
    Control(
        Settles("control-edge", "… one over it.", scope=TRIPLE, statistic="mean",
                column="sharpness_before", at=half_limit_before, within=0.1),
        of="edge-before", near_miss="1/η in place of 2/η",
    ),
    Control(
        AtLeast("control-same-step", "… and so does going on with the same step.", scope=TRIPLE,
                left="loss_same", right=hundredfold),
        of="tripling-jumps", near_miss="the step not tripled",
    ),
    Control(
        AtMost("control-one-over-step", "… below one over it.", scope=TRIPLE,
               left="sharpness_after", right=half_limit_after, rtol=0.1),
        of="tripled-settles", near_miss="1/η in place of 2/η",
    ),
    Control(
        AtMost("control-during-jump", "… at once.", scope=TRIPLE, left="loss_jump", right=0.02),
        of="tripled-fits", near_miss="the loss during the jump",
    ),
    Control(
        Within("control-same-function", "… also without tripling.", scope=TRIPLE,
               column="distance_same", low=0.05, statistic="mean"),
        of="tripled-is-another", near_miss="the step not tripled",
    ),
    Control(
        Within("control-rougher", "… has grown.", scope=TRIPLE,
               column=gained_variation, high=0.9, statistic="mean"),
        of="tripled-is-smoother", near_miss="before and after exchanged",
    ),
    Control(
        Within("control-elsewhere", "… where g is small.", scope=TRIPLE,
               column=opposite_difference, low=0.3, statistic="mean"),
        of="reduced-where-weight", near_miss="small g in place of large g",
    ),
    Control(
        Within("control-left", "… in its lowest quarter.", scope=_WEIGHT, by=("inputs",),
               column="weight_top", high=0.25, statistic="mean"),
        of="weight-middle", near_miss="the lowest quarter in place of the middle",
    ),
    Control(
        PowerLaw("control-other-law", "… to that of another law.", scope=_WEIGHT, by=("inputs",),
                 x="n", y="weight_distance_other", low=-0.65, high=-0.35, statistic="mean"),
        of="weight-converges", near_miss="the weight of another law",
    ),
    Control(
        PowerLaw("control-square-root", "… like its square root.", scope=STOCHASTIC | {"batch": [1, 2, 5]},
                 x="batch", y="step_exact", low=0.4, high=0.6, statistic="mean"),
        of="step-follows-batch", near_miss="exponent ½",
    ),
    Control(
        Within("control-full-step", "… at 0.8 of 2/a.", scope=_SMALL, by=("batch",),
               column="returned_full", low=0.95, statistic="mean"),
        of="returns-below", near_miss="2/a in place of the criterion's step",
    ),
)  # fmt: skip
