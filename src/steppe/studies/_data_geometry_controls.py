"""The negative controls of `liang2025-data-geometry`: near misses of its claims, each of which must be rejected."""

from typing import Any

from steppe.harness import AtMost, Control, Equal, Ordered, PowerLaw, Row, Within

from ._data_geometry_claims import (
    BALL,
    CONSTRUCTION,
    LINES,
    PLANE,
    PRECISION,
    RADIAL,
    SPHERE,
    TABLE_WORDS,
    fullest,
    promised_less_certified,
)
from ._flatness_sides import bound_minus_one, half_limit, sharper_bound

_SIGNS: dict[str, Any] = CONSTRUCTION | {"labels": "signs"}


def sharper_bound_without_half(row: Row) -> float:
    """λ/4 − ½ + ½ √(1+R²) √(2L), as if the loss had no ½."""
    return sharper_bound(row) - float(row["sharpness"]) / 4


def rounding_at_best(row: Row) -> float:
    """(s + 4) · 3 times precision times label size, the bound for a condition of one."""
    return float(row.get("d", 6) + 4) * PRECISION * 3 * float(row["size"])


def rescaled_gap(row: Row) -> float:
    """|certified − Lanczos| sharpness after rescaling."""
    return abs(float(row["certified_sharpness"]) - float(row["rescaled_sharpness"]))


def promised_without_root(row: Row) -> float:
    """1 + 2 D/(nL), or as much less for the simple split."""
    return 1 + (float(row["promised_sharpness"]) - 1) / 2**0.5


def share_less_one_sample(row: Row) -> list[float]:
    """The active share, less one sample."""
    return [share - float(row["one_sample"]) for share in row["reached_share"]]


def _table(name: str) -> Control:
    return Control(
        Ordered(f"control-{name}", "… more than on Gaussian inputs.", column="memorised_share", along="inputs",
                scope={"experiment": "table", "table": name, "inputs": ["data", "gaussian"]}, direction="decreasing"),
        of=f"{name}-resist", near_miss="the order reversed",
    )  # fmt: skip


CONTROLS = (
    Control(
        AtMost("control-minus-one", "… with −1 in place of −½.", scope=CONSTRUCTION,
               left="weighted_norm", right=bound_minus_one),
        of="flatness-inequality", near_miss="−½ replaced by −1",
    ),
    Control(
        AtMost("control-loss-without-half", "… for a loss without ½.", scope=CONSTRUCTION,
               left="one_sided_sum", right=sharper_bound_without_half),
        of="flatness-inequality-sharper", near_miss="sharpness of the loss without its ½",
    ),
    Control(
        AtMost("control-condition", "… whatever the condition.", scope=CONSTRUCTION,
               left="interpolation_error", right=rounding_at_best),
        of="sphere-interpolates", near_miss="the condition taken as one",
    ),
    Control(
        AtMost("control-rescaled", "… for neurons rescaled by 1.25.", scope={"experiment": "construction"},
               left=rescaled_gap, right="certified_error", slack=1e-12),
        of="sphere-certified", near_miss="every neuron rescaled by 1.25, which leaves the function as it is",
    ),
    Control(
        AtMost("control-two", "… with 2 in place of 2√2.", scope=_SIGNS,
               left="certified_sharpness", right=promised_without_root),
        of="sphere-flat", near_miss="2√2 replaced by 2",
    ),
    Control(
        Equal("control-attained", "… for labels of different sizes.", scope=CONSTRUCTION | {"labels": "uniform"},
              left=promised_less_certified, right=0.0, atol=1e-13),
        of="sphere-flat-attained", near_miss="labels uniform in [−D, D]",
    ),
    Control(
        AtMost("control-reach", "… not even one as deep.", scope=PLANE,
               left="reached_depth", right=share_less_one_sample, slack=1e-12),
        of="rare-neurons-reach-shallow-points", near_miss="one sample less",
    ),
    Control(
        AtMost("control-piece", "… with π_j in place of π_j².", scope=LINES, left="piece_ratio_near", right=1.0),
        of="piece-inequality", near_miss="π_j² replaced by π_j",
    ),
    Control(
        Ordered("control-radial-order", "… the larger the error.",
                scope=fullest(**RADIAL | {"alpha": [0.1, 5.0]}),
                column="clean_error", along="alpha", direction="increasing"),
        of="radial-ordered", near_miss="the order reversed",
    ),
    Control(
        PowerLaw("control-sphere-falls", "… like n^(−½) near the sphere.", scope=RADIAL | {"alpha": 0.1},
                 x="n", y="clean_error", high=-0.5),
        of="radial-slopes-ordered", near_miss="the exponent of low-norm networks at α = 0.1",
    ),
    Control(
        PowerLaw("control-ball-overlaps", "… nor on the radial law.", scope=fullest(**BALL),
                 x="d", y="memorised_share", by=("n",), low=-0.1, high=0.1),
        of="lines-overlap", near_miss="the radial law with α = 1 in place of lines",
    ),
    Control(
        PowerLaw("control-lines-degrade", "… on lines too.", scope=LINES, x="d", y="memorised_share",
                 by=("n",), low=0.1),
        of="ball-degrades", near_miss="lines in place of the radial law",
    ),
    Control(
        PowerLaw("control-parametric", "… like 1/n or faster.", scope=LINES,
                 x="n", y="clean_error", by=("d",), high=-1.0),
        of="lines-fall", near_miss="the exponent of a parametric model",
    ),
    Control(
        AtMost("control-ball-memorised", "… on the radial law with α = 5 too.", scope=RADIAL | {"alpha": 5.0},
               left="training_error", right=0.01),
        of="sphere-memorised", near_miss="the radial law in place of the sphere",
    ),
    Control(
        AtMost("control-half-limit", "… of at most one over the step.", scope=SPHERE,
               left="plateau_sharpness", right=half_limit, rtol=0.05),
        of="sphere-stable", near_miss="limit 1/η, as if the loss had no ½",
    ),
    Control(
        Within("control-lines-specialise", "… on lines too.", scope=LINES | {"d": [50, 100, 500]}, by=("d",),
               column="rare_share", low=0.6, statistic="mean"),
        of="sphere-specialised", near_miss="lines in place of the sphere",
    ),
    Control(
        Within("control-sphere-shares", "… on the sphere too.", scope=SPHERE,
               column="rare_share", high=0.4, statistic="mean"),
        of="lines-shared", near_miss="the sphere in place of lines",
    ),
    Control(
        Within("control-deep-first", "… positive.", scope=RADIAL | {"alpha": [1.5, 5.0]}, by=("alpha",),
               column="depth_rank_correlation", low=0.0, statistic="mean"),
        of="shallow-first", near_miss="the sign reversed",
    ),
    Control(
        AtMost("control-shell", "… the mass δ^(0.95 α).", scope={"experiment": "shell"},
               left="shell_deviation_near", right=5.0),
        of="shell-mass", near_miss="exponent 5 % smaller",
    ),
    *(_table(name) for name in TABLE_WORDS),
)  # fmt: skip
