"""What `qiao2024-univariate` claims, and the near misses that must be rejected."""

from typing import Any

from steppe.harness import AtLeast, AtMost, Control, Ordered, PowerLaw, Row, Settles, Within

from ._flatness_sides import half_limit

PAPER = "Qiao et al. (2024)"
_THEOREM = "Mulayoff, Michaeli, Soudry (2021), key lemma; term of the residual as in Qiao et al. (2024), derived"
_DATA: dict[str, Any] = {"target": "kink", "noise": 0.5}
FIT = _DATA | {"experiment": "fit", "inputs": "uniform"}
RATE = _DATA | {"experiment": "rate", "inputs": "uniform", "step_size": 0.2}
LIMIT: dict[str, Any] = {"experiment": "limit", "target": "kink"}
WIDTH = _DATA | {"experiment": "width", "inputs": "grid"}
REAL: dict[str, Any] = {"experiment": "real"}
_EDGE = FIT | {"step_size": [0.05, 0.2, 0.4]}
_WIDE = WIDTH | {"width": [300, 1000, 3000]}
_NEAR = WIDTH | {"width": [30, 36]}
_PHOTO = REAL | {"series": "photo-row", "step_size": [0.01, 0.4]}
_DIABETES = _PHOTO | {"series": "diabetes-bmi"}
_NOISY = LIMIT | {"noise": 0.5}


def trained(row: Row) -> bool:
    return row["experiment"] in ("fit", "rate", "real")


def stable(row: Row) -> bool:
    return row["experiment"] in ("fit", "rate") and float(row["sharpness"]) <= float(row["stability_limit"])


def above_limit(row: Row) -> bool:
    return row["experiment"] == "fit" and row["step_size"] >= 4 * float(row["interpolating_step"])


def tenth_noise(row: Row) -> float:
    """A tenth of the realised noise variance."""
    return 0.1 * float(row["noise_variance"])


def fitted_share(row: Row) -> float:
    """Interpolant's residual over a tenth of σ²."""
    return float(row["interpolant_error"]) / (0.1 * 0.25)


def _real(series: str, words: str) -> tuple[Any, ...]:
    scope = REAL | {"series": series, "step_size": [0.01, 0.4]}
    return (
        Ordered(
            f"real-{series}-variation", f"On {words}, too, ∫|f''| g falls as the step grows.",
            source="the same question on real data", figure="real", scope=scope,
            column="weighted_variation", along="step_size", direction="decreasing",
        ),
        Control(
            Ordered(f"control-{series}-variation", "… grows.", scope=scope,
                    column="weighted_variation", along="step_size", direction="increasing"),
            of=f"real-{series}-variation", near_miss="the order reversed",
        ),
    )  # fmt: skip


_SERIES = (
    *_real("diabetes-bmi", "the progression of diabetes against body-mass index"),
    *_real("photo-row", "a row of a photograph"),
)

CLAIMS = (
    # Theorems.
    AtMost(
        "floor-below-sharpness", "Whatever the labels, ∫|f''| g ≤ λ/2 − ½ + ½ √(1+R²) √(2L).",
        source=_THEOREM, kind="theorem", figure="traces", scope=trained,
        left="weighted_variation", right="sharpness_bound", rtol=1e-6,
    ),
    AtMost(
        "noise-bound", "At stable points ∫|f''| g ≤ 1/η − ½ + ½ √(1+R²) (√error + √noise).",
        source=_THEOREM, kind="theorem", scope=stable, left="weighted_variation", right="noisy_bound",
    ),
    AtLeast(
        "interpolants-are-sharp", "No interpolating network is flatter than the infimum over all interpolants says.",
        source="derived from Mulayoff, Michaeli, Soudry (2021), Theorem 1", kind="theorem", figure="width", scope=WIDTH,
        left="interpolant_sharpness", right="interpolant_floor", rtol=1e-6,
    ),
    # Figures of the paper.
    Within(
        "few-knots", "With step 0.4 the fit is a linear spline with few knots …",
        source=f"{PAPER}, figure of fitted functions", kind="figure", figure="splines", scope=FIT | {"step_size": 0.4},
        column="effective_knots", high=12.0, statistic="mean",
    ),
    Within(
        "many-knots", "… and with step 0.01 it has many.",
        source=f"{PAPER}, figure of fitted functions", kind="figure", figure="splines", scope=FIT | {"step_size": 0.01},
        column="effective_knots", low=30.0, statistic="mean",
    ),
    Ordered(
        "variation-falls", "Once the edge is reached, ∫|f''| g falls as the step grows.",
        source=f"{PAPER}, figures", kind="figure", figure="step", scope=_EDGE,
        column="weighted_variation", along="step_size", direction="decreasing",
    ),
    Ordered(
        "knots-fall", "So does the number of effective knots.",
        source=f"{PAPER}, figures", kind="figure", figure="step", scope=_EDGE,
        column="effective_knots", along="step_size", direction="decreasing",
    ),
    Ordered(
        "u-shape-left", "The error in the interior first falls with the step, from 0.01 to 0.2 …",
        source=f"{PAPER}, figure of the error against the step", kind="figure", figure="step",
        scope=FIT | {"step_size": [0.01, 0.2]}, column="interior_error", along="step_size", direction="decreasing",
    ),
    Ordered(
        "u-shape-right", "… then it grows, from 0.2 to 0.8.",
        source=f"{PAPER}, figure of the error against the step", kind="figure", figure="step",
        scope=FIT | {"step_size": [0.2, 0.8]}, column="interior_error", along="step_size", direction="increasing",
    ),
    Settles(
        "edge-small-step", "With step 0.05 the sharpness settles at two over it.",
        source=f"{PAPER}, learning curves", kind="figure", figure="traces", scope=FIT | {"step_size": 0.05},
        column="sharpness", at="stability_limit", within=0.1, statistic="median",
    ),
    AtLeast(
        "large-steps-do-not-interpolate", "Steps well above the limit leave at least a tenth of the noise unfitted.",
        source=f"{PAPER}, abstract", kind="figure", figure="limit", scope=above_limit,
        left="training_error", right=tenth_noise,
    ),
    PowerLaw(
        "interior-rate", "The error in the interior falls at least like n^(−½); theory has n^(−4/5) at best.",
        source=f"{PAPER}, upper bound for optimised stable minima", kind="figure", figure="rate", scope=RATE,
        x="n", y="interior_error", low=-1.2, high=-0.5, statistic="mean",
    ),
    PowerLaw(
        "gap-vanishes", "The gap between training and population error in the interior vanishes.",
        source=f"{PAPER}, generalization gap", kind="figure", figure="rate", scope=RATE,
        x="n", y="interior_gap", high=-0.3, statistic="mean",
    ),
    Within(
        "catastrophic-near-n", "Interpolants of width near n are catastrophic somewhere: 20 times the noise …",
        source=f"{PAPER}, figure of growing width", kind="figure", figure="width", scope=_NEAR,
        column="worst_share", low=20.0, statistic="median",
    ),
    Within(
        "tempered-when-wide", "… wide ones are tempered: their error is about the noise.",
        source=f"{PAPER}, figure of growing width", kind="figure", figure="width", scope=_WIDE, by=("width",),
        column="error_share", low=0.5, high=1.5, statistic="mean",
    ),
    # Ours.
    PowerLaw(
        "interpolation-needs-small-steps", "On a grid the step that allows noise to be interpolated falls like n^(−2).",
        source=f"{PAPER} (order recalled); the number is derived", kind="ours", figure="limit",
        scope=_NOISY | {"inputs": "grid"}, x="n", y="interpolating_step", low=-2.3, high=-1.7,
    ),
    PowerLaw(
        "random-inputs-need-smaller", "For random inputs, some of which are close, it falls faster still.",
        source=f"{PAPER} (order recalled); the number is derived", kind="ours", figure="limit",
        scope=_NOISY | {"inputs": "uniform"}, x="n", y="interpolating_step", low=-3.0, high=-1.9,
    ),
    PowerLaw(
        "linear-rate", "The best smoothing spline in hindsight falls like n^(−3/4), up to 0.3.",
        source=f"{PAPER}, linear methods (recalled)", kind="ours", figure="rate", scope=RATE,
        x="n", y="spline_error", low=-1.05, high=-0.45, statistic="mean",
    ),
    PowerLaw(
        "variation-rate", "The certified fit of least ∫|f''|, never tuned, falls like n^(−4/5), up to 0.3.",
        source="Parhi and Nowak (2023), exponent 4/5 at d = 1", kind="ours", figure="rate", scope=RATE,
        x="n", y="variation_error", low=-1.1, high=-0.5, statistic="mean",
    ),
    Ordered(
        "photo-wants-small-steps", "A row of a photograph is rough: there a large step costs.",
        kind="ours", figure="real", scope=_PHOTO,
        column="heldout_inner", along="step_size", direction="increasing",
    ),
    Ordered(
        "diabetes-interior-gains", "On the diabetes data a large step helps between the outer tenths of the inputs …",
        kind="ours", figure="real", scope=_DIABETES,
        column="heldout_inner", along="step_size", direction="decreasing",
    ),
    Ordered(
        "diabetes-ends-lose", "… and hurts over all patients, because of the ends.",
        kind="ours", figure="real", scope=_DIABETES,
        column="heldout_error", along="step_size", direction="increasing",
    ),
    *_SERIES[::2],
)  # fmt: skip

CONTROLS = (
    Control(
        AtMost("control-plain-variation", "… without the weight.", scope=trained,
               left="variation", right="sharpness_bound"),
        of="floor-below-sharpness", near_miss="∫|f''| in place of ∫|f''| g",
    ),
    Control(
        AtMost("control-plain-noise", "… without the weight.", scope=stable, left="variation", right="noisy_bound"),
        of="noise-bound", near_miss="∫|f''| in place of ∫|f''| g",
    ),
    Control(
        AtMost("control-flat-interpolants", "… they are flatter.", scope=WIDTH,
               left="interpolant_sharpness", right="interpolant_floor"),
        of="interpolants-are-sharp", near_miss="the inequality reversed",
    ),
    Control(
        Within("control-few-knots", "… also with step 0.05.", scope=FIT | {"step_size": 0.05},
               column="effective_knots", high=12.0, statistic="mean"),
        of="few-knots", near_miss="step 0.05 in place of 0.4",
    ),
    Control(
        Within("control-many-knots", "… also with step 0.4.", scope=FIT | {"step_size": 0.4},
               column="effective_knots", low=30.0, statistic="mean"),
        of="many-knots", near_miss="step 0.4 in place of 0.01",
    ),
    Control(
        Ordered("control-variation", "… grows.", scope=_EDGE,
                column="weighted_variation", along="step_size", direction="increasing"),
        of="variation-falls", near_miss="the order reversed",
    ),
    Control(
        Ordered("control-knots", "… grows.", scope=_EDGE,
                column="effective_knots", along="step_size", direction="increasing"),
        of="knots-fall", near_miss="the order reversed",
    ),
    Control(
        Ordered("control-left", "… up to 0.8.", scope=FIT | {"step_size": [0.01, 0.8]},
                column="interior_error", along="step_size", direction="decreasing"),
        of="u-shape-left", near_miss="step 0.8 in place of 0.2",
    ),
    Control(
        Ordered("control-right", "… falls on.", scope=FIT | {"step_size": [0.2, 0.8]},
                column="interior_error", along="step_size", direction="decreasing"),
        of="u-shape-right", near_miss="the order reversed",
    ),
    Control(
        Settles("control-edge", "… one over it.", scope=FIT | {"step_size": 0.05}, statistic="median",
                column="sharpness", at=half_limit, within=0.1),
        of="edge-small-step", near_miss="1/η in place of 2/η",
    ),
    Control(
        AtLeast("control-interpolants", "… interpolants do.", scope=_WIDE, left=fitted_share, right=1.0),
        of="large-steps-do-not-interpolate", near_miss="interpolants in place of trained networks",
    ),
    Control(
        PowerLaw("control-affine", "… of the line, too.", scope=RATE, statistic="mean",
                 x="n", y="affine_error", low=-1.2, high=-0.5),
        of="interior-rate", near_miss="the least-squares line in place of the network",
    ),
    Control(
        PowerLaw("control-gap", "… the noise vanishes.", scope=RATE, statistic="mean",
                 x="n", y="noise_variance", high=-0.3),
        of="gap-vanishes", near_miss="the noise in place of the gap",
    ),
    Control(
        Within("control-wide-catastrophe", "… wide ones, too.", scope=_WIDE,
               column="worst_share", low=20.0, statistic="median"),
        of="catastrophic-near-n", near_miss="widths from 300 on in place of widths near n",
    ),
    Control(
        Within("control-near-tempered", "… of width near n, too, every one of them.", scope=_NEAR,
               column="error_share", low=0.5, high=1.5, statistic="each"),
        of="tempered-when-wide", near_miss="widths near n in place of widths from 300 on, each by itself",
    ),
    Control(
        PowerLaw("control-clean-labels", "… clean labels, too.", scope=LIMIT | {"noise": 0.0, "inputs": "grid"},
                 x="n", y="interpolating_step", low=-2.3, high=-1.7),
        of="interpolation-needs-small-steps", near_miss="labels without noise",
    ),
    Control(
        PowerLaw("control-clean-random", "… clean labels, too.", scope=LIMIT | {"noise": 0.0, "inputs": "uniform"},
                 x="n", y="interpolating_step", low=-3.0, high=-1.9),
        of="random-inputs-need-smaller", near_miss="labels without noise",
    ),
    Control(
        PowerLaw("control-line-rate", "… the line, too.", scope=RATE, statistic="mean",
                 x="n", y="affine_error", low=-1.05, high=-0.45),
        of="linear-rate", near_miss="the least-squares line in place of the spline",
    ),
    Control(
        PowerLaw("control-line-variation", "… the line, too.", scope=RATE, statistic="mean",
                 x="n", y="affine_error", low=-1.1, high=-0.5),
        of="variation-rate", near_miss="the least-squares line in place of the certified fit",
    ),
    Control(
        Ordered("control-photo", "… help.", scope=_PHOTO,
                column="heldout_inner", along="step_size", direction="decreasing"),
        of="photo-wants-small-steps", near_miss="the order reversed",
    ),
    Control(
        Ordered("control-diabetes-all", "… over all patients.", scope=_DIABETES,
                column="heldout_error", along="step_size", direction="decreasing"),
        of="diabetes-interior-gains", near_miss="all patients in place of the inner ones",
    ),
    Control(
        Ordered("control-diabetes-inner", "… between the outer tenths, too.", scope=_DIABETES,
                column="heldout_inner", along="step_size", direction="increasing"),
        of="diabetes-ends-lose", near_miss="the inner patients in place of all",
    ),
    *_SERIES[1::2],
)  # fmt: skip
