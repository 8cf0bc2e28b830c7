"""The negative controls of `cohen2021-edge-of-stability`: near misses of its claims, each of which must be rejected."""

from typing import Any

from steppe.harness import AtLeast, AtMost, Control, Equal, PowerLaw, Row, Settles, Within

from ._edge_of_stability_claims import (
    ABOVE,
    CROSS_ENTROPY,
    DESCENT,
    EQUILIBRIUM,
    FLOW,
    PAPER_START,
    QUADRATIC,
    TRAINED,
    TWO,
    WITHIN,
    half_gradient_distance,
)

_ABOVE = "a step at the edge in place of a small one"
_NEXT = {0.1: 3.641, 0.4: 2.001, 0.6: 5.609}


def plain_limit(row: Row) -> float:
    """2/η."""
    return 2 / float(row["step_size"])


def half_limit(row: Row) -> float:
    """1/η."""
    return 1 / float(row["step_size"])


def heavy_ball_limit(row: Row) -> float:
    """(2 + 2β)/η with β = ¾."""
    return 3.5 / float(row["step_size"])


def adam_limit(row: Row) -> float:
    """38/η."""
    return 38 / float(row["step_size"])


def next_recorded(row: Row) -> float:
    """The number recorded for another step."""
    return _NEXT[row["step_size"]]


def doubled_push(row: Row) -> float:
    """The push in units of ½x²∇S."""
    return 2 * float(row["cubic_push"])


def ratio_without_two(row: Row) -> float:
    """Curvature over √ν/η."""
    return 2 * float(row["equilibrium_ratio"])


def amplitude_over_step(row: Row) -> float:
    """|x| over η."""
    return 0.5 * float(row["equilibrium_amplitude"])


def ratio_without_four(row: Row) -> float:
    """Mean squared step over tr Σ."""
    return 4 * float(row["variance_ratio"])


def _plateau(name: str, id: str, near_miss: str, **change: Any) -> Control:
    fields: dict[str, Any] = {"column": "plateau_effective", "at": "stability_limit"} | change
    claim = Settles(
        f"control-{id}", f"… {near_miss}.", scope=TRAINED | {"optimizer": name},
        within=WITHIN.get(name, 0.1), statistic="each", **fields,
    )  # fmt: skip
    return Control(claim, of=f"plateau-{name}", near_miss=near_miss)


def _digits(name: str, near_miss: str, **change: Any) -> Control:
    fields: dict[str, Any] = {"column": "plateau_effective", "at": "stability_limit"} | change
    claim = Settles(
        f"control-digits-{name}", f"… {near_miss}.", scope=TRAINED | {"inputs": "digits", "optimizer": name},
        within=0.1, statistic="each", **fields,
    )  # fmt: skip
    return Control(claim, of=f"digits-{name}", near_miss=near_miss)


_EXACT = (
    Control(
        AtMost("control-heavy-ball-limit", "… also of Nesterov at the limit of heavy ball.",
               scope=QUADRATIC | {"optimizer": "nesterov"}, left="growth_below_heavy_ball", right=0.999),
        of="quadratic-converges", near_miss="(2 + 2β)/η for Nesterov, without its factor 1/(1 + 2β)",
    ),
    Control(
        AtLeast("control-plain-limit", "… also with momentum just above 2/η.",
                scope=QUADRATIC | {"optimizer": ["heavy-ball", "moving-average"]},
                left="growth_above_plain", right=1.001),
        of="quadratic-diverges", near_miss="2/η in place of the limit with momentum",
    ),
    Control(
        Equal("control-one-square", "… the larger of v² and w².", scope=TWO,
              left="settled_sharpness", right="settled_largest", rtol=1e-6),
        of="minima-sharpness", near_miss="one square left out",
    ),
    Control(
        AtMost("control-one-over-step", "… ≤ 1/η.", scope=TWO, left="settled_curvature", right=half_limit),
        of="settles-where-stable", near_miss="1/η, as for a loss without ½",
    ),
    Control(
        Equal("control-other-step", "… for another step.", scope=PAPER_START,
              left="settled_curvature", right=next_recorded, atol=5e-4),
        of="settles-as-recorded", near_miss="numbers of another step",
    ),
    Control(
        Equal("control-equilibrium", "… √ν/η.", scope=EQUILIBRIUM, left=ratio_without_two, right=1.0, rtol=1e-9),
        of="scalar-equilibrium", near_miss="factor 2 left out",
    ),
    Control(
        Equal("control-amplitude", "… at ±η.", scope=EQUILIBRIUM, left=amplitude_over_step, right=1.0, rtol=1e-9),
        of="scalar-amplitude", near_miss="η in place of η/2",
    ),
)  # fmt: skip

_TRAINING = (
    Control(
        AtLeast("control-no-room", "… also where 2/η is near the sharpness at the start.",
                scope=DESCENT | {"step_size": 0.4}, left="sharpening", right=3.0),
        of="progressive-sharpening", near_miss="a step that leaves no room below its limit",
    ),
    _plateau("gradient-descent", "half-limit", "1/η, as if the loss had no ½", at=half_limit),
    _plateau("heavy-ball", "momentum-plain", "2/η, the limit without momentum", at=plain_limit),
    _plateau("nesterov", "nesterov-heavy-ball", "(2 + 2β)/η, the limit of heavy ball", at=heavy_ball_limit),
    _plateau("nesterov", "nesterov-plain", "2/η, the limit without momentum", at=plain_limit),
    _plateau("adam", "adam-plain-sharpness", "the sharpness without preconditioner", column="plateau_sharpness"),
    _plateau("adam", "adam-without-momentum", "2/η, the limit without its moving average", at=plain_limit),
    _plateau("rmsprop", "rmsprop-as-adam", "38/η, the limit of Adam", at=adam_limit),
    _plateau("scalar-rmsprop", "scalar-plain-sharpness", "the sharpness without √ν", column="plateau_sharpness"),
    Control(
        PowerLaw("control-plateau-constant", "… does not depend on the step.", scope=DESCENT,
                 x="step_size", y="plateau_sharpness", low=-0.1, high=0.1),
        of="plateau-halves", near_miss="a plateau independent of the step",
    ),
    Control(
        PowerLaw("control-plateau-root", "… falls like η^(−½).", scope=DESCENT,
                 x="step_size", y="plateau_sharpness", low=-0.6, high=-0.4),
        of="plateau-halves", near_miss="exponent halved",
    ),
    Control(
        Within("control-monotone-before", "… before it is reached.", scope=DESCENT,
               column="rise_share_before", low=0.1, high=0.6, statistic="each"),
        of="edge-not-monotone", near_miss="the updates before the edge",
    ),
    Control(
        AtMost("control-edge-monotone", "… and hardly ever rises.", scope=DESCENT,
               left="rise_share_edge", right=0.05),
        of="edge-decreases", near_miss="a fall from update to update in place of one over long times",
    ),
    Control(
        AtMost("control-above-below", "… with a large one.", scope=ABOVE,
               left="peak_effective", right="stability_limit"),
        of="below-stays-below", near_miss=_ABOVE,
    ),
    Control(
        Equal("control-above-monotone", "… with a large one.", scope=ABOVE, left="rise_share", right=0.0),
        of="below-monotone", near_miss=_ABOVE,
    ),
    Control(
        AtMost("control-above-flow", "… with a large one.", scope=ABOVE, left="half_step_difference", right=0.05),
        of="below-follows-flow", near_miss=_ABOVE,
    ),
    Control(
        AtMost("control-squared-falls", "… with the squared loss.", scope=CROSS_ENTROPY | {"loss": "squared"},
               left="late_over_peak", right=0.25),
        of="cross-entropy-falls", near_miss="squared loss in place of cross-entropy",
    ),
    Control(
        Settles("control-relu-half-limit", "… 1/η.", scope=DESCENT | {"network": "relu"},
                column="plateau_effective", at=half_limit, within=0.1, statistic="each"),
        of="relu-plateau", near_miss="1/η, as if the loss had no ½",
    ),
    _digits("gradient-descent", "1/η, as if the loss had no ½", at=half_limit),
    _digits("heavy-ball", "2/η, the limit without momentum", at=plain_limit),
    _digits("adam", "the sharpness without preconditioner", column="plateau_sharpness"),
)  # fmt: skip

_FLOWS = (
    Control(
        Equal("control-push-without-half", "… x²∇S.", scope=FLOW, left=doubled_push, right=0.5, rtol=1e-3),
        of="cubic-push", near_miss="the ½ left out",
    ),
    Control(
        Equal("control-half-slope", "… of half the sharpness.", scope=FLOW,
              left="sharpness_slope", right=0.5, rtol=1e-2),
        of="sharpness-gradient", near_miss="a ½ put in",
    ),
    Control(
        AtMost("control-gradient-flow-bounded", "… nor does the gradient flow.", scope=FLOW,
               left="gradient_flow_peak", right="stability_limit", rtol=0.02),
        of="central-flow-bounded", near_miss="gradient flow in place of the central flow",
    ),
    Control(
        AtMost("control-gradient-flow-followed", "… from the gradient flow.", scope=FLOW,
               left="gradient_distance", right=half_gradient_distance),
        of="central-flow-followed", near_miss="gradient flow in place of the central flow",
    ),
    Control(
        Within("control-bare-loss", "… L alone.", scope=FLOW,
               column="bare_loss_ratio", low=0.85, high=1.18, statistic="each"),
        of="central-flow-loss", near_miss="σ²/η left out",
    ),
    Control(
        Within("control-gradient-flow-loss", "… the loss of the gradient flow.", scope=FLOW,
               column="gradient_loss_ratio", low=0.85, high=1.18, statistic="each"),
        of="central-flow-loss", near_miss="gradient flow in place of the central flow",
    ),
    Control(
        Within("control-variance-without-four", "… if steps and displacements are confused.", scope=FLOW,
               column=ratio_without_four, low=0.75, high=1.33, statistic="each"),
        of="central-flow-variance", near_miss="factor 4 between squared steps and variance left out",
    ),
)  # fmt: skip

CONTROLS: tuple[Control, ...] = (*_EXACT, *_TRAINING, *_FLOWS)
